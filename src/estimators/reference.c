/* reference.c - the ground truth: backprop with T = N, lambda = 1, made quieter without touching its mean.
 *
 *   g = (1/N) sum_n [ dV_n + sum_{m<n} (V_n - V_m) dl_m ]
 * V_n = E[R_n | theta_n] stands for the sampled reward of the outer objective in both terms (Rao-Blackwell). V_m is
 * known before step m's choices are made, so E[V_m dl_m | theta_m] = 0 and it may serve as a baseline of dl_m. The
 * expected reward of step n itself may not: (R_n - V_n) cum_n has mean zero and silently gives the naive gradient.
 * Without an expected reward the task's R_n and the previous step's R_{m-1} take these places. With several lifetimes of
 * one task instance the baseline of dl_m is, half and half, V_m and what the other lifetimes say (leave one out):
 *   b_m = mean over the others of F_m  +  1/2 (N - 1 - m) (V_m - mean over the others of V_m),   F_m = sum_{n>m} V_n
 * in place of (N - 1 - m) V_m. Given the instance the others know nothing of this lifetime's choices. `weighted`: the same for
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
     "lifetimes of one task instance that one estimate averages; with several each is a baseline of the others, and 8 "
     "or "
     "16 make the estimate far quieter for its cost"},
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
  return mv_window_aim(p, (enum mv_window)s->window, length, s->smoothing, true);
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
  const struct settings *s = settings;
  const size_t meta = (size_t)p->shape.meta;
  size_t records = 0;
  if (s->lifetimes > 1)
    records = mv_arena_cost(sizeof(num) * (size_t)s->lifetimes) +
              mv_arena_cost(sizeof(num) * (size_t)(s->lifetimes * p->steps) * (1 + meta));
  return mv_walk_bytes(p, 1) + 4 * mv_arena_cost(sizeof(num) * meta) + mv_arena_cost(sizeof(struct mv_block)) + records;
}

struct watch {
  const struct settings *s;
  const struct mv_problem *p;
  num *gradient, *weighted, *objective;
  num *cum, *cum_baseline; /* [M] sum of dl_m, and of baseline_m dl_m; restart with every lifetime */
  num previous;            /* R_{m-1} */
  num *record;             /* [lifetimes][N][1 + M] V_n and dl_n, for the baselines of the others; NULL: one lifetime */
  int64_t life;
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
  if (w->record) {
    num *record = w->record + (w->life * w->p->steps + n) * (1 + meta);
    record[0] = reward;
    for (int j = 0; j < meta; j++)
      record[1 + j] = blocks[0].dot[j].logp;
  }
}

/* Weight of step n in target t of `weighted`, or in the objective itself (t = -1), up to its scale. */
static double weight_of(const struct watch *w, int t, int64_t n)
{
  return t < 0 ? 1.0 : mv_window_weight(w->p, (enum mv_window)w->s->window, w->s->truncation.value[t], n);
}

/* Moves every dl_m of a target from its own baseline to one that the other lifetimes share in. future[lifetimes] is
 * room for sum_{n>m} w_n V_n of each. */
static void lean_on_others(const struct watch *w, int t, num *future, num *gradient)
{
  const int meta = w->p->shape.meta;
  const int64_t lifetimes = w->s->lifetimes, stride = w->p->steps * (1 + meta);
  const int64_t back = w->p->shape.expected ? 0 : 1; /* V_m, or R_{m-1} */
  const double others = 1.0 / (double)(lifetimes - 1);
  double rest = 0; /* sum_{n>m} w_n */
  for (int64_t i = 0; i < lifetimes; i++)
    future[i] = num_set(0.0);
  for (int64_t m = w->p->steps - 1; m >= 0; m--) {
    const num *now = w->record + m * (1 + meta), *known = m < back ? NULL : now - back * (1 + meta);
    num future_sum = num_set(0.0), known_sum = num_set(0.0);
    for (int64_t i = 0; i < lifetimes; i++) {
      future_sum += future[i];
      if (known)
        known_sum += known[i * stride];
    }
    const double weight = weight_of(w, t, m);
    for (int64_t i = 0; i < lifetimes; i++) {
      num own = known ? known[i * stride] : num_set(0.0);
      num shift = 0.5 * rest * (own + others * (known_sum - own)) - others * (future_sum - future[i]);
      for (int j = 0; j < meta; j++)
        gradient[j] += shift * now[i * stride + 1 + j];
      future[i] += mv_window_share(weight, now[i * stride]);
    }
    rest += weight;
  }
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
  num *future = NULL;
  if (s->lifetimes > 1) {
    future = mv_arena_take(r->arena, sizeof(num) * (size_t)s->lifetimes);
    w.record = mv_arena_take(r->arena, sizeof(num) * (size_t)(s->lifetimes * p->steps) * (size_t)(1 + meta));
  }
  for (num *x = r->values; x <= w.objective; x++)
    *x = num_set(0.0);

  for (w.life = 0; w.life < s->lifetimes; w.life++) {
    walk.blocks[0] = (struct mv_block){.hessian = MV_PATHWISE, .length = p->steps};
    w.previous = num_set(0.0);
    for (int j = 0; j < meta; j++)
      w.cum[j] = w.cum_baseline[j] = num_set(0.0);
    place(r, &walk, w.life, z, eta);
    mv_walk_run(&walk, observe, &w);
    for (int l = 0; l < MV_LANES_MAX; l++)
      walk.coords.lifetime[l]++;
  }
  for (int t = -1; w.record && t < s->truncation.count; t++)
    lean_on_others(&w, t, future, t < 0 ? w.gradient : w.weighted + t * meta);
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
