/* reference.c - the ground truth: backprop with T = N, lambda = 1, made quieter without touching its mean.
 *
 *   g = (1/N) sum_n [ dV_n + sum_{m<n} (V_n - V_m) dl_m ]
 * V_n = E[R_n | theta_n] stands for the sampled reward of the outer objective in both terms (Rao-Blackwell). V_m is
 * known before step m's choices are made, so E[V_m dl_m | theta_m] = 0 and it may serve as a baseline of dl_m. The
 * expected reward of step n itself may not: (R_n - V_n) cum_n has mean zero and silently gives the naive gradient.
 * Without an expected reward the task's R_n and the previous step's R_{m-1} take these places. `weighted`: the same for
 * the window-weighted objectives of the listed truncation lengths. With `smoothing` sigma it is taken at eta + sigma z,
 * z ~ N(0, I): grad J_sigma(eta) = E_z grad J(eta + sigma z), the target of es. Lifetimes then come in antithetic pairs:
 * number 2k at +z_k, number 2k + 1 at -z_k.
 */
#include "metavar/window.h"

struct settings {
  struct mv_ints truncation;
  int64_t lifetimes;
  int window;
  double smoothing;
};

static const struct mv_field fields[] = {
    {"truncation", MV_INT_LIST, offsetof(struct settings, truncation), "[]", 1, 1e9, NULL, "inner steps",
     "also estimate the gradients of the window-weighted objectives of these truncation lengths"},
    {"lifetimes", MV_INT, offsetof(struct settings, lifetimes), "1", 1, 1e6, NULL, "1",
     "lifetimes of one task instance that one estimate averages"},
    {"window", MV_CHOICE, offsetof(struct settings, window), "random", 0, 0, mv_window_names, NULL, MV_WINDOW_DOC},
    {"smoothing", MV_REAL, offsetof(struct settings, smoothing), "0", 0, 1e6, NULL, "1",
     "sigma of the smoothed objective J_sigma(eta) = E J(eta + sigma z), the target of es; 0: J itself"},
    MV_FIELD_END};

static void complete(void *settings, const struct mv_problem *p, struct mv_complaints *complaints)
{
  struct settings *s = settings;
  if (s->truncation.count)
    mv_truncation_complete(&s->truncation, p, complaints);
}

static int outputs(const void *settings, const struct mv_problem *p, struct mv_output *out)
{
  (void)p;
  const struct settings *s = settings;
  struct mv_axis truncation = MV_AXIS_TRUNCATION(&s->truncation);
  int n = 0;
  out[n++] = (struct mv_output){
      .name = "gradient", .role = MV_GRADIENT, .unit = "1", .doc = "unbiased, variance-reduced estimate of grad J"};
  if (s->truncation.count)
    out[n++] = (struct mv_output){.name = "weighted",
                                  .role = MV_TARGET,
                                  .rank = 1,
                                  .axis = {truncation},
                                  .unit = "1",
                                  .doc = "unbiased estimate of the gradient of the window-weighted objective"};
  out[n++] = (struct mv_output){
      .name = "objective", .role = MV_OBJECTIVE, .unit = "1", .doc = "mean objective over the lifetime"};
  return n;
}

static int cost(const void *settings, const struct mv_problem *p, double *primal, double *tangent)
{
  const struct settings *s = settings;
  primal[0] = (double)(s->lifetimes * p->steps);
  tangent[0] = (double)(s->lifetimes * p->steps * p->shape.meta);
  return 0;
}

static struct mv_aim aim(const void *settings, const struct mv_problem *p, int output, const int *index, double lambda)
{
  (void)lambda;
  const struct settings *s = settings;
  int64_t length = output == 0 ? p->steps : s->truncation.value[index[0]];
  return mv_window_aim(p, (enum mv_window)s->window, length, s->smoothing, !p->shape.biased);
}

static int64_t lifetimes(const void *settings, const struct mv_problem *p)
{
  (void)p;
  return ((const struct settings *)settings)->lifetimes;
}

static double work(const void *settings, const struct mv_problem *p)
{
  return (double)(((const struct settings *)settings)->lifetimes * p->steps * (1 + p->shape.meta));
}

static size_t workspace(const void *settings, const struct mv_problem *p)
{
  (void)settings;
  return mv_walk_bytes(p, 1) + 4 * mv_arena_cost(sizeof(num) * (size_t)p->shape.meta) +
         mv_arena_cost(sizeof(struct mv_block));
}

struct watch {
  const struct settings *s;
  const struct mv_problem *p;
  num *gradient, *weighted, *objective;
  num *cum, *cum_baseline; /* [M] sum of dl_m, and of baseline_m dl_m; restart with every lifetime */
  num previous;            /* R_{m-1} */
};

static void observe(void *self, int64_t n, const struct mv_report *r, struct mv_block *blocks)
{
  struct watch *w = self;
  const bool expected = w->p->shape.expected;
  num reward = expected ? r->expected : r->objective, baseline = expected ? r->expected : w->previous;
  *w->objective += r->objective;
  const int meta = w->p->shape.meta;
  num exact[meta];
  for (int j = 0; j < meta; j++) {
    const struct mv_report *dot = &blocks[0].dot[j];
    exact[j] = (expected ? dot->expected : dot->surrogate) + (reward * w->cum[j] - w->cum_baseline[j]);
    w->gradient[j] += exact[j];
    w->cum[j] += dot->logp;
    w->cum_baseline[j] += baseline * dot->logp;
  }
  for (int t = 0; t < w->s->truncation.count; t++) {
    double weight = mv_window_weight(w->p, (enum mv_window)w->s->window, w->s->truncation.value[t], n);
    for (int j = 0; j < meta; j++)
      w->weighted[t * meta + j] += mv_window_share(weight, exact[j]);
  }
  w->previous = r->objective;
}

/* Where lifetime number `life` runs: eta, or eta +- smoothing z. */
static void place(const struct mv_request *r, const struct mv_walk *walk, int64_t life, num *z, num *eta)
{
  const double sigma = ((const struct settings *)r->settings)->smoothing;
  for (int j = 0; j < r->problem->shape.meta; j++)
    eta[j] = num_set(r->eta[j]);
  if (sigma == 0.0)
    return;
  mv_direction_draw(walk, r->draw, life / 2, z);
  for (int j = 0; j < r->problem->shape.meta; j++)
    eta[j] += (life % 2 ? -sigma : sigma) * z[j];
}

static void sample(const struct mv_request *r)
{
  const struct settings *s = r->settings;
  const struct mv_problem *p = r->problem;
  const int meta = p->shape.meta, targets = s->truncation.count * meta;
  const size_t mark = r->arena->used;
  num *eta = mv_arena_take(r->arena, sizeof(num) * (size_t)meta);
  num *z = mv_arena_take(r->arena, sizeof(num) * (size_t)meta);
  struct watch w = {.s = s, .p = p, .gradient = r->values};
  w.weighted = w.gradient + meta;
  w.objective = w.weighted + targets;
  w.cum = mv_arena_take(r->arena, sizeof(num) * (size_t)meta);
  w.cum_baseline = mv_arena_take(r->arena, sizeof(num) * (size_t)meta);
  struct mv_walk walk = mv_request_walk(r, s->lifetimes, eta);
  walk.block_count = 1;
  walk.blocks = mv_arena_take(r->arena, sizeof(struct mv_block));
  for (num *x = r->values; x <= w.objective; x++)
    *x = num_set(0.0);

  for (int64_t life = 0; life < s->lifetimes; life++) {
    walk.blocks[0] = (struct mv_block){.hessian = MV_PATHWISE, .length = p->steps};
    w.previous = num_set(0.0);
    for (int j = 0; j < meta; j++)
      w.cum[j] = w.cum_baseline[j] = num_set(0.0);
    place(r, &walk, life, z, eta);
    mv_walk_run(&walk, observe, &w);
    for (int l = 0; l < MV_LANES_MAX; l++)
      walk.coords.lifetime[l]++;
  }
  const double share = 1.0 / (double)s->lifetimes;
  for (int j = 0; j < meta; j++)
    w.gradient[j] *= share / (double)p->steps;
  for (int i = 0; i < targets; i++)
    w.weighted[i] *= share;
  *w.objective *= share / (double)p->steps;
  r->arena->used = mark;
}

MV_ESTIMATOR(reference) = {
    .name = "reference",
    .doc = "The ground truth: unbiased for grad J, with the variance reduced by conditional expectations of the reward "
           "and by baselines that are known before the "
           "choices they weigh. The whole lifetime, one forward tangent per meta-parameter.",
    .fields = fields,
    .settings_size = sizeof(struct settings),
    .needs = MV_NEEDS_JVP,
    .complete = complete,
    .outputs = outputs,
    .cost = cost,
    .aim = aim,
    .lifetimes = lifetimes,
    .workspace = workspace,
    .work = work,
    .sample = sample,
};
