/* tree_bandit.c - the ruler: a bandit small enough to enumerate every history.
 *
 * 3 arms, batch 2; arm k pays v_k + d_k or v_k - d_k with probability 1/2 each, d = (.7, .5, .6); two equally likely
 * task instances. With 4 inner steps there are 21^4 = 194,481 distinct weighted histories of each instance, so the
 * exact mean and covariance of every estimator follow by running it over all of them with forced choices
 * (tests/test_tree.c). alpha_n = softplus(eta_0) for n < change, softplus(eta_1) after.
 */
#include "metavar/softmax.h"

#define ARMS  3
#define BATCH 2

struct settings {
  int64_t change;
};

static const struct mv_field fields[] = {{"change", MV_INT, offsetof(struct settings, change), "2", 1, 1e9, NULL, "1",
                                          "inner step from which the second learning rate serves"},
                                         MV_FIELD_END};

static const char *const meta_names[] = MV_RATES_NAMES;

static const double value[2][ARMS] = {{1.0, 0.3, -0.5}, {-0.2, 0.8, 0.4}};
static const double spread[ARMS] = {0.7, 0.5, 0.6};

static struct mv_shape shape(const void *settings)
{
  (void)settings;
  return (struct mv_shape){.meta = 2,
                           .state = ARMS,
                           .instance = ARMS,
                           .prepared = 4,
                           .tape = 5 * ARMS + 1,
                           .hessians = 1u << MV_PATHWISE | 1u << MV_DICE,
                           .expected = true,
                           .at_instance = {.uniforms = 1},
                           .at_step = {.uniforms = BATCH, .choices = BATCH, .arity = ARMS}};
}

static void instance(const void *settings, const struct mv_noise *noise, num *mean)
{
  (void)settings;
  numb first = num_less(noise->uniform[0], num_set(0.5));
  for (int k = 0; k < ARMS; k++)
    mean[k] = num_select(first, num_set(value[0][k]), num_set(value[1][k]));
}

static int phase_of(const struct mv_life *life, int64_t n)
{
  return n >= ((const struct settings *)life->settings)->change;
}

static void init(const struct mv_life *life, const struct mv_noise *noise, num *theta)
{
  (void)life, (void)noise;
  mv_zero(theta, ARMS);
}

static void init_jvp(const struct mv_life *life, struct mv_columns *columns)
{
  (void)life;
  mv_softmax_init_jvp(ARMS, columns);
}

static void step(const struct mv_life *life, int64_t n, const struct mv_noise *noise, enum mv_hessian hessian,
                 const num *theta, num *theta_next, num *tape, struct mv_report *report)
{
  struct mv_softmax record = mv_softmax_view(tape, ARMS);
  num shifted[ARMS], payoff[BATCH];
  numi arm[BATCH];
  num log_sum = mv_softmax_policy(ARMS, theta, shifted, record.pi);
  mv_choose(noise, 0, BATCH, ARMS, shifted, record.pi, arm);
  for (int b = 0; b < BATCH; b++) {
    num up = num_select(num_less(noise->uniform[b], num_set(0.5)), num_set(1.0), num_set(-1.0));
    for (int l = 0; l < MV_LANES; l++)
      NUM_LANE(payoff, b, l) = spread[NUMI_LANE(arm, b, l)] * NUM_LANE(&up, 0, l);
  }
  mv_softmax_tally(ARMS, BATCH, arm, life->instance, payoff, tape);
  mv_softmax_update(ARMS, BATCH, life->prepared[phase_of(life, n)], hessian, life->instance, shifted, log_sum, theta,
                    theta_next, tape, report);
}

static void step_jvp(const struct mv_life *life, int64_t n, const num *theta, const num *tape,
                     struct mv_columns *blocks, int block_count)
{
  (void)theta;
  mv_softmax_jvp(ARMS, BATCH, phase_of(life, n), life, tape, blocks, block_count);
}

static void step_vjp(const struct mv_life *life, int64_t n, const num *theta, const num *tape,
                     struct mv_adjoints *blocks, int block_count)
{
  (void)theta;
  mv_softmax_vjp(ARMS, BATCH, phase_of(life, n), life, tape, blocks, block_count);
}

MV_TASK(tree_bandit) = {
    .name = "tree_bandit",
    .doc = "The ruler: a bandit with 3 arms, batch 2 and two-point rewards, small enough that every history can be "
           "enumerated and the "
           "exact mean and covariance of every estimator are known. Two meta-parameters, the learning rates alpha = "
           "softplus(eta) of the inner "
           "steps before and after `change`; meant for lifetime_length 4.",
    .fields = fields,
    .settings_size = sizeof(struct settings),
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
