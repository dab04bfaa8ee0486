/* bandit.c - the K-armed bandit of Vuorio et al. 2022: a softmax policy learns by REINFORCE; the learning-rate schedule
 * is meta-learned.
 *
 * Task instance: mu_k = exp(U_k), U_k ~ Uniform(log_mean_min, log_mean_max). Reward of arm k: mu_k + noise_std N(0,1).
 * theta_0 = 0. alpha_n = softplus(eta_0) for n < floor(N / cutoff), softplus(eta_1) from there on (M = 2). Update:
 * softmax.h.
 */
#include "metavar/softmax.h"

struct settings {
  int64_t arms, batch, cutoff;
  double noise_std, log_mean_min, log_mean_max;
};

static const struct mv_field fields[] = {
    {"arms", MV_INT, offsetof(struct settings, arms), "30", 2, 1024, NULL, "1", "number of arms K"},
    {"batch", MV_INT, offsetof(struct settings, batch), "10", 1, 4096, NULL, "1", "choices per inner step B"},
    {"cutoff", MV_INT, offsetof(struct settings, cutoff), "4", 1, 1e9, NULL, "1",
     "the first learning rate serves the first floor(lifetime_length / cutoff) steps"},
    {"noise_std", MV_REAL, offsetof(struct settings, noise_std), "2", 0, 1e6, NULL, "1",
     "standard deviation of a reward given its arm"},
    {"log_mean_min", MV_REAL, offsetof(struct settings, log_mean_min), "-100", -700, 100, NULL, "1",
     "lower end of the uniform log mean reward of an arm"},
    {"log_mean_max", MV_REAL, offsetof(struct settings, log_mean_max), "1", -700, 100, NULL, "1",
     "upper end of the uniform log mean reward of an arm"},
    MV_FIELD_END};

static const char *const meta_names[] = MV_RATES_NAMES;

static void complete(void *settings, int64_t steps, struct mv_complaints *complaints)
{
  const struct settings *s = settings;
  if (s->cutoff > steps)
    mv_complain(complaints, "cutoff",
                "%lld exceeds lifetime_length %lld, so eta_0 would have no effect; use a smaller cutoff",
                (long long)s->cutoff, (long long)steps);
  if (s->log_mean_min > s->log_mean_max)
    mv_complain(complaints, "log_mean_min", "%g is above log_mean_max %g; swap them", s->log_mean_min, s->log_mean_max);
}

static struct mv_shape shape(const void *settings)
{
  const struct settings *s = settings;
  int arms = (int)s->arms, batch = (int)s->batch;
  return (struct mv_shape){.meta = 2,
                           .state = arms,
                           .instance = arms,
                           .prepared = 4,
                           .tape = mv_softmax_tape(arms),
                           .hessians = 1u << MV_PATHWISE | 1u << MV_DICE,
                           .expected = true,
                           .at_instance = {.uniforms = arms},
                           .at_step = {.normals = batch, .choices = batch, .arity = arms}};
}

static void instance(const void *settings, const struct mv_noise *noise, num *mean)
{
  const struct settings *s = settings;
  for (int k = 0; k < s->arms; k++)
    mean[k] = num_exp(s->log_mean_min + (s->log_mean_max - s->log_mean_min) * noise->uniform[k]);
}

static int phase_of(const struct mv_life *life, int64_t n)
{
  const struct settings *s = life->settings;
  return n >= life->steps / s->cutoff;
}

static void init(const struct mv_life *life, const struct mv_noise *noise, num *theta)
{
  (void)noise;
  const struct settings *s = life->settings;
  mv_zero(theta, s->arms);
}

static void init_jvp(const struct mv_life *life, struct mv_columns *columns)
{
  const struct settings *s = life->settings;
  mv_softmax_init_jvp((int)s->arms, columns);
}

static void step(const struct mv_life *life, int64_t n, const struct mv_noise *noise, enum mv_hessian hessian,
                 const num *theta, num *theta_next, num *tape, struct mv_report *report)
{
  const struct settings *s = life->settings;
  int arms = (int)s->arms, batch = (int)s->batch;
  struct mv_softmax record = mv_softmax_view(tape, arms);
  num shifted[arms], noise_of[batch];
  numi arm[batch];
  num log_sum = mv_softmax_policy(arms, theta, shifted, record.pi);
  mv_choose(noise, 0, batch, arms, shifted, record.pi, arm);
  for (int b = 0; b < batch; b++)
    noise_of[b] = s->noise_std * noise->normal[b];
  mv_softmax_tally(arms, batch, arm, life->instance, noise_of, tape);
  mv_softmax_update(arms, batch, life->prepared[phase_of(life, n)], hessian, life->instance, shifted, log_sum, theta,
                    theta_next, tape, report);
}

static void step_jvp(const struct mv_life *life, int64_t n, const num *theta, const num *tape,
                     struct mv_columns *blocks, int block_count)
{
  (void)theta;
  const struct settings *s = life->settings;
  mv_softmax_jvp((int)s->arms, (int)s->batch, phase_of(life, n), life, tape, blocks, block_count);
}

static void step_vjp(const struct mv_life *life, int64_t n, const num *theta, const num *tape,
                     struct mv_adjoints *blocks, int block_count)
{
  (void)theta;
  const struct settings *s = life->settings;
  mv_softmax_vjp((int)s->arms, (int)s->batch, phase_of(life, n), life, tape, blocks, block_count);
}

MV_TASK(bandit) = {
    .name = "bandit",
    .doc = "K-armed bandit (Vuorio et al. 2022, section on bandits). A softmax policy starts at zero logits and learns "
           "by REINFORCE "
           "from batches of B rewards mu_k + noise_std N(0,1); mu_k = exp(U) differs by task instance. The two "
           "meta-parameters "
           "are the learning rates alpha = softplus(eta) of the first floor(N / cutoff) inner steps and of the rest.",
    .fields = fields,
    .settings_size = sizeof(struct settings),
    .complete = complete,
    .shape = shape,
    .meta_names = meta_names,
    .instance = instance,
    .prepare = mv_rates_prepare,
    .init = init,
    .step = step,
    .init_jvp = init_jvp,
    .step_jvp = step_jvp,
    .init_vjp = mv_softmax_init_vjp,
    .step_vjp = step_vjp,
};
