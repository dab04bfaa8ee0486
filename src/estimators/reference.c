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
 *
 * In reverse mode dV_n has the weight 1 (w_n where window-weighted), and dl_m the weight F_m - b_m, whose sums over n > m are
 * there when the walk back comes to m; V_n of the other lifetimes is from walks before.
 */
#include "metavar/mode.h"
#include "metavar/window.h"

struct settings {
  struct mv_ints truncation;
  int64_t lifetimes;
  int window;
  double smoothing;
  struct mv_mode_settings mode;
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
    {"mode", MV_CHOICE, offsetof(struct settings, mode.mode), "auto", 0, 0, mv_mode_names, NULL, MV_MODE_DOC},
    {"checkpoints", MV_INT, offsetof(struct settings, mode.checkpoints), "0", 0, 1e9, NULL, "1", MV_CHECKPOINTS_DOC},
    {"memory", MV_INT, offsetof(struct settings, mode.memory), "250000000", 1, 0x1p50, NULL, "byte", MV_MEMORY_DOC},
    MV_FIELD_END};

static double work_of(const struct settings *, const struct mv_problem *, enum mv_mode);
static bool back(const struct settings *s) { return s->mode.mode == MV_MODE_REVERSE; }

static void complete(void *settings, const struct mv_problem *p, struct mv_complaints *complaints)
{
  struct settings *s = settings;
  if (s->truncation.count)
    mv_truncation_complete(&s->truncation, p, complaints);
  mv_mode_complete(&s->mode, p, work_of(s, p, MV_MODE_FORWARD), work_of(s, p, MV_MODE_REVERSE), complaints);
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

/* Evaluations of inner steps in one lifetime; in reverse those that the baselines of the others need come on top. */
static double primal_of(const struct settings *s, const struct mv_problem *p, enum mv_mode mode)
{
  if (mode != MV_MODE_REVERSE)
    return (double)p->steps;
  return mv_mode_evaluations(&s->mode, p, p->steps) + (s->lifetimes > 1 ? (double)p->steps : 0.0);
}

static int cost(const void *settings, const struct mv_problem *p, double *primal, double *tangent)
{
  const struct settings *s = settings;
  primal[0] = (double)s->lifetimes * primal_of(s, p, (enum mv_mode)s->mode.mode);
  tangent[0] = (double)(s->lifetimes * p->steps * (back(s) ? 1 : p->shape.meta));
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

static double work_of(const struct settings *s, const struct mv_problem *p, enum mv_mode mode)
{
  const bool reverse = mode == MV_MODE_REVERSE;
  double steps = primal_of(s, p, mode) + (double)(p->steps * (reverse ? 1 : p->shape.meta));
  for (int t = 0; reverse && t < s->truncation.count; t++)
    steps += (double)mv_window_span(p, (enum mv_window)s->window, s->truncation.value[t]);
  return (double)s->lifetimes * steps;
}

static double work(const void *settings, const struct mv_problem *p)
{
  const struct settings *s = settings;
  return work_of(s, p, (enum mv_mode)s->mode.mode);
}

static bool reversal(const void *settings, const struct mv_problem *p, struct mv_reversal *out)
{
  return mv_mode_reversal(&((const struct settings *)settings)->mode, p, out);
}

/* Blocks of a walk: in reverse the objective itself and each target of `weighted`, one adjoint column each. */
static int block_count(const struct settings *s) { return back(s) ? 1 + s->truncation.count : 1; }

/* nums of each of the sums in struct watch, of the record of all lifetimes, of the room for their futures */
struct sizes {
  int64_t sums, record, future;
};

static struct sizes sizes_of(const struct settings *s, const struct mv_problem *p)
{
  const int meta = p->shape.meta;
  const bool several = s->lifetimes > 1;
  if (back(s))
    return (struct sizes){block_count(s), several ? p->steps : 0, 0};
  return (struct sizes){meta, several ? s->lifetimes * p->steps * (1 + meta) : 0, several ? s->lifetimes : 0};
}

static size_t workspace(const void *settings, const struct mv_problem *p)
{
  const struct settings *s = settings;
  const struct sizes z = sizes_of(s, p);
  const int blocks = block_count(s);
  size_t walk = back(s) ? mv_walk_back_bytes(p, mv_mode_records(&s->mode, p, p->steps), blocks, blocks)
                        : mv_walk_bytes(p, blocks);
  return walk + 2 * mv_arena_cost(sizeof(num) * (size_t)p->shape.meta) +
         3 * mv_arena_cost(sizeof(num) * (size_t)z.sums) + mv_arena_cost(sizeof(struct mv_block) * (size_t)blocks) +
         mv_arena_cost(sizeof(num) * (size_t)z.record) + mv_arena_cost(sizeof(num) * (size_t)z.future);
}

struct watch {
  const struct settings *s;
  const struct mv_problem *p;
  num *gradient, *weighted, *objective;
  /* Restart with every lifetime. Forward: [M] sums over earlier steps of dl_m, of baseline_m dl_m. Reverse: of each block,
   * sums over later steps of w_n V_n, of w_n, of w_n times V_n of the others. */
  num *cum, *cum_baseline, *cum_others;
  num previous; /* R_{m-1} */
  num *
      record; /* for the baselines of the others. Forward: [lifetimes][N][1 + M] V_n and dl_n; reverse: [N] sum of V_n */
  int64_t life;
};

/* --- forward ------------------------------------------------------------------------------------------------ */

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
  if (w->s->lifetimes > 1) {
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
  const int64_t lag = w->p->shape.expected ? 0 : 1; /* V_m, or R_{m-1} */
  const double others = 1.0 / (double)(lifetimes - 1);
  double rest = 0; /* sum_{n>m} w_n */
  for (int64_t i = 0; i < lifetimes; i++)
    future[i] = num_set(0.0);
  for (int64_t m = w->p->steps - 1; m >= 0; m--) {
    const num *now = w->record + m * (1 + meta), *known = m < lag ? NULL : now - lag * (1 + meta);
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

/* --- reverse ------------------------------------------------------------------------------------------------ */

/* V_n, or R_n where the task knows no expectation. */
static num reward_of(const struct watch *w, const struct mv_report *r)
{
  return w->p->shape.expected ? r->expected : r->objective;
}

static void observe_reward(void *self, int64_t n, const struct mv_report *r, struct mv_block *blocks)
{
  (void)blocks;
  const struct watch *w = self;
  w->record[n] += reward_of(w, r);
}

static void observe_objective(void *self, int64_t n, const struct mv_report *r, struct mv_block *blocks)
{
  (void)n, (void)blocks;
  *((const struct watch *)self)->objective += r->objective;
}

/* Block b: target b - 1. */
static void weigh(void *self, int64_t n, const struct mv_report *r, const num *before, struct mv_block *blocks)
{
  const struct watch *w = self;
  const bool expected = w->p->shape.expected, several = w->s->lifetimes > 1;
  const double others = several ? 1.0 / (double)(w->s->lifetimes - 1) : 0.0;
  const num reward = reward_of(w, r), own = expected ? reward : *before;
  const int64_t known = expected ? n : n - 1; /* the step at which `own` was seen */
  num own_others = num_set(0.0);
  if (several && known >= 0)
    own_others = others * (w->record[known] - own);
  for (int b = 0; b < block_count(w->s); b++) {
    if (!blocks[b].active)
      continue;
    const double weight = weight_of(w, b - 1, n);
    num baseline = w->cum_baseline[b] * own;
    if (several)
      baseline = others * w->cum_others[b] + 0.5 * (baseline - w->cum_baseline[b] * own_others);
    *(expected ? &blocks[b].weight->expected : &blocks[b].weight->surrogate) = num_set(weight);
    blocks[b].weight->logp = w->cum[b] - baseline;
    w->cum[b] += weight * reward;
    w->cum_baseline[b] += weight;
    if (several)
      w->cum_others[b] += weight * (w->record[n] - reward);
  }
}

/* gradient and weighted lie side by side, as their blocks do. */
static void place_adjoints(const struct watch *w, struct mv_block *blocks)
{
  for (int b = 0; b < block_count(w->s); b++)
    blocks[b] = (struct mv_block){
        .hessian = MV_PATHWISE,
        .length =
            b == 0 ? w->p->steps : mv_window_span(w->p, (enum mv_window)w->s->window, w->s->truncation.value[b - 1]),
        .columns = 1,
        .eta_bar = w->gradient + b * w->p->shape.meta};
}

/* --- a sample ----------------------------------------------------------------------------------------------- */

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

static void walk_lifetime(struct mv_walk *walk, struct watch *w)
{
  w->previous = num_set(0.0);
  for (int64_t i = 0; i < sizes_of(w->s, w->p).sums; i++)
    w->cum[i] = w->cum_baseline[i] = w->cum_others[i] = num_set(0.0);
  if (back(w->s)) {
    place_adjoints(w, walk->blocks);
    mv_walk_back(walk, mv_mode_records(&w->s->mode, w->p, w->p->steps), observe_objective, weigh, w);
    return;
  }
  walk->blocks[0] = (struct mv_block){.hessian = MV_PATHWISE, .length = w->p->steps};
  mv_walk_run(walk, observe, w);
}

static void walk_for_rewards(struct mv_walk *walk, struct watch *w)
{
  struct mv_walk primal = *walk;
  primal.block_count = 0;
  mv_walk_run(&primal, observe_reward, w);
}

/* Every lifetime in turn, each where it belongs. */
static void for_lifetimes(const struct mv_request *r, struct watch *w, struct mv_walk walk, num *eta, num *z,
                          void (*visit)(struct mv_walk *, struct watch *))
{
  for (w->life = 0; w->life < w->s->lifetimes; w->life++) {
    place(r, &walk, w->life, z, eta);
    visit(&walk, w);
    for (int l = 0; l < MV_LANES_MAX; l++)
      walk.coords.lifetime[l]++;
  }
}

static void sample(const struct mv_request *r)
{
  const struct settings *s = r->settings;
  const struct mv_problem *p = r->problem;
  const int meta = p->shape.meta, targets = s->truncation.count * meta;
  const struct sizes size = sizes_of(s, p);
  const size_t mark = r->arena->used;
  num *eta = mv_arena_take(r->arena, sizeof(num) * (size_t)meta);
  num *z = mv_arena_take(r->arena, sizeof(num) * (size_t)meta);
  struct watch w = {.s = s, .p = p, .gradient = r->values};
  w.weighted = w.gradient + meta;
  w.objective = w.weighted + targets;
  w.cum = mv_arena_take(r->arena, sizeof(num) * (size_t)size.sums);
  w.cum_baseline = mv_arena_take(r->arena, sizeof(num) * (size_t)size.sums);
  w.cum_others = mv_arena_take(r->arena, sizeof(num) * (size_t)size.sums);
  w.record = mv_arena_take(r->arena, sizeof(num) * (size_t)size.record);
  num *future = mv_arena_take(r->arena, sizeof(num) * (size_t)size.future);
  struct mv_walk walk = mv_request_walk(r, s->lifetimes, eta);
  walk.block_count = block_count(s);
  walk.blocks = mv_arena_take(r->arena, sizeof(struct mv_block) * (size_t)walk.block_count);
  for (num *x = r->values; x <= w.objective; x++)
    *x = num_set(0.0);

  if (back(s) && s->lifetimes > 1)
    for_lifetimes(r, &w, walk, eta, z, walk_for_rewards);
  for_lifetimes(r, &w, walk, eta, z, walk_lifetime);
  for (int t = -1; size.future > 0 && t < s->truncation.count; t++)
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
           "choices they weigh. The whole lifetime, by one forward tangent per meta-parameter or by adjoints.",
    .fields = fields,
    .settings_size = sizeof(struct settings),
    .needs = MV_NEEDS_DERIVATIVE,
    .complete = complete,
    .outputs = outputs,
    .cost = cost,
    .aim = aim,
    .lifetimes = lifetimes,
    .workspace = workspace,
    .work = work,
    .reversal = reversal,
    .sample = sample,
};
