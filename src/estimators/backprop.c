/* backprop.c - (truncated) backpropagation through the inner loop, with sampling correction.
 *
 * Vuorio et al. 2022, section on estimators. In a window of T steps from step s, with the tangent stopped at s
 * (theta'_0 = d init / d eta for s = 0):
 *   D_n = d surrogate_n      C_n = R_n cum_n         cum_{n+1} = gamma (cum_n + dl_n),  cum_s = 0
 *   direct = (1/T) sum D_n   correction = (1/T) sum C_n      estimate = direct + lambda correction, any lambda offline.
 * One simulated lifetime serves all T, gamma and Hessian modes at once: they share the primal, only tangents differ.
 * `weighted` is the unbiased gradient of the window-weighted objective (weights P(n in window)/T, full tangents, lambda
 * = gamma = 1), which parts the bias of lost credit from that of window coverage. Forward mode: M tangent columns per
 * window and Hessian mode.
 */
#include "metavar/window.h"

struct settings {
  struct mv_ints truncation;
  struct mv_reals meta_discount;
  struct mv_choices hessian;
  int64_t lifetimes;
  int window;
  bool weighted;
};

static const struct mv_field fields[] = {
    {"truncation", MV_INT_LIST, offsetof(struct settings, truncation), "[]", 1, 1e9, NULL, "inner steps",
     MV_TRUNCATION_DOC},
    {"meta_discount", MV_REAL_LIST, offsetof(struct settings, meta_discount), "[1]", 0, 1, NULL, "1",
     "meta-discounts gamma of the sampling correction; 1 is the full correction"},
    {"hessian", MV_CHOICE_LIST, offsetof(struct settings, hessian), "[pathwise]", 0, 0, mv_hessian_names, NULL,
     "derivative of the inner update: pathwise (samples held fixed) or dice (through the magic box)"},
    {"lifetimes", MV_INT, offsetof(struct settings, lifetimes), "1", 1, 1e6, NULL, "1",
     "lifetimes of one task instance that one estimate averages"},
    {"window", MV_CHOICE, offsetof(struct settings, window), "random", 0, 0, mv_window_names, NULL, MV_WINDOW_DOC},
    {"weighted", MV_BOOL, offsetof(struct settings, weighted), "true", 0, 0, NULL, NULL,
     "also estimate the exact gradient of each truncation's window-weighted objective"},
    MV_FIELD_END};

static void complete(void *settings, const struct mv_problem *p, struct mv_complaints *complaints)
{
  struct settings *s = settings;
  mv_truncation_complete(&s->truncation, p, complaints);
  for (int i = 0; i < s->hessian.count; i++) {
    if (!(p->shape.hessians & 1u << s->hessian.value[i]))
      mv_complain(complaints, "hessian", "task %s does not define mode %s; use [pathwise]", p->task->name,
                  mv_hessian_names[s->hessian.value[i]]);
    for (int j = 0; j < i; j++)
      if (s->hessian.value[i] == s->hessian.value[j])
        mv_complain(complaints, "hessian", "mode %s is listed twice; remove one",
                    mv_hessian_names[s->hessian.value[i]]);
  }
  for (int i = 0; i < s->meta_discount.count; i++)
    for (int j = 0; j < i; j++)
      if (s->meta_discount.value[i] == s->meta_discount.value[j])
        mv_complain(complaints, "meta_discount", "discount %g is listed twice; remove one", s->meta_discount.value[i]);
}

static int outputs(const void *settings, const struct mv_problem *p, struct mv_output *out)
{
  (void)p;
  const struct settings *s = settings;
  static const char *const reversed[] = {"dice", "pathwise"};
  struct mv_axis truncation = MV_AXIS_TRUNCATION(&s->truncation);
  struct mv_axis hessian = {.name = "hessian",
                            .kind = MV_AXIS_NAMES,
                            .length = s->hessian.count,
                            .value.names = s->hessian.value[0] == MV_PATHWISE ? mv_hessian_names : reversed,
                            .doc = "derivative of the inner update"};
  struct mv_axis discount = {.name = "meta_discount",
                             .kind = MV_AXIS_REALS,
                             .length = s->meta_discount.count,
                             .value.reals = s->meta_discount.value,
                             .unit = "1",
                             .doc = "meta-discount gamma of the sampling correction"};
  struct mv_axis lifetime = {.name = "lifetime_in_estimate",
                             .kind = MV_AXIS_INTS,
                             .length = (int)s->lifetimes,
                             .doc = "lifetime averaged by one estimate"};
  int n = 0;
  out[n++] = (struct mv_output){.name = "direct",
                                .role = MV_GRADIENT,
                                .rank = 2,
                                .axis = {truncation, hessian},
                                .unit = "1",
                                .doc = "mean over the window of the direct term D_n: the naive estimate (lambda = 0)"};
  out[n++] = (struct mv_output){
      .name = "correction",
      .role = MV_COMPONENT,
      .base = 0,
      .rank = 3,
      .unit = "1",
      .axis = {truncation, hessian, discount},
      .doc = "mean over the window of the sampling correction C_n; direct + lambda correction is the estimate"};
  if (s->weighted)
    out[n++] = (struct mv_output){.name = "weighted",
                                  .role = MV_TARGET,
                                  .rank = 1,
                                  .axis = {truncation},
                                  .unit = "1",
                                  .doc = "unbiased estimate of the gradient of the window-weighted objective"};
  out[n++] = (struct mv_output){
      .name = "objective", .role = MV_OBJECTIVE, .unit = "1", .doc = "mean objective over the lifetime"};
  out[n++] = (struct mv_output){.name = "window_start",
                                .role = MV_NOTE,
                                .rank = 2,
                                .axis = {lifetime, truncation},
                                .unit = "inner steps",
                                .doc = "first step of the window"};
  return n;
}

static int cost(const void *settings, const struct mv_problem *p, double *primal, double *tangent)
{
  const struct settings *s = settings;
  for (int t = 0; t < s->truncation.count; t++)
    for (int h = 0; h < s->hessian.count; h++) {
      int64_t length = s->truncation.value[t];
      primal[t * s->hessian.count + h] = (double)s->lifetimes * mv_window_reach(p, (enum mv_window)s->window, length);
      tangent[t * s->hessian.count + h] = (double)(s->lifetimes * length * p->shape.meta);
    }
  return 2;
}

/* Unbiased: the full correction over the whole lifetime, samples held fixed; and `weighted`. */
static struct mv_aim aim(const void *settings, const struct mv_problem *p, int output, const int *index, double lambda)
{
  const struct settings *s = settings;
  const int64_t length = s->truncation.value[index[0]];
  bool unbiased = output == 2;
  if (output == 1)
    unbiased = length == p->steps && s->hessian.value[index[1]] == MV_PATHWISE &&
               s->meta_discount.value[index[2]] == 1.0 && lambda == 1.0;
  return mv_window_aim(p, (enum mv_window)s->window, length, 0.0, unbiased && !p->shape.biased);
}

static int64_t lifetimes(const void *settings, const struct mv_problem *p)
{
  (void)p;
  return ((const struct settings *)settings)->lifetimes;
}

/* Index of the block whose window is the whole lifetime, pathwise; -1 if `weighted` has to add one. */
static int full_block(const struct settings *s, const struct mv_problem *p)
{
  for (int t = 0; t < s->truncation.count; t++)
    for (int h = 0; h < s->hessian.count; h++)
      if (s->truncation.value[t] == p->steps && s->hessian.value[h] == MV_PATHWISE)
        return t * s->hessian.count + h;
  return -1;
}

static int block_count(const struct settings *s, const struct mv_problem *p)
{
  return s->truncation.count * s->hessian.count + (s->weighted && full_block(s, p) < 0);
}

static double work(const void *settings, const struct mv_problem *p)
{
  const struct settings *s = settings;
  double steps = (double)p->steps;
  for (int t = 0; t < s->truncation.count; t++)
    steps += (double)(s->truncation.value[t] * s->hessian.count * p->shape.meta);
  return (double)s->lifetimes * steps;
}

/* What one walk adds to. Sums over windows and lifetimes; all [.. M]. */
struct watch {
  const struct settings *s;
  const struct mv_problem *p;
  int settings, full; /* (T, hessian) blocks; index of the full-lifetime block or -1 */
  num *direct, *correction, *weighted, *objective;
  num *cum, *cum_full; /* restart with every lifetime */
};

/* The pointers are read once: a num may alias anything. */
static void observe_block(const struct watch *w, int b, const struct mv_report *r, const struct mv_block *block)
{
  const int meta = w->p->shape.meta, discounts = w->s->meta_discount.count;
  const double *gamma = w->s->meta_discount.value;
  const struct mv_report *dot = block->dot;
  const numb inside = num_less(num_set(0.5), *block->inside);
  const num credit = r->objective - r->baseline;
  num *direct = w->direct + b * meta, *correction = w->correction + b * discounts * meta;
  num *cum = w->cum + b * discounts * meta;
  for (int j = 0; j < meta; j++) {
    const num logp = dot[j].logp;
    direct[j] += dot[j].surrogate;
    for (int g = 0; g < discounts; g++) {
      const num before = cum[g * meta + j];
      correction[g * meta + j] += mv_keep(inside, credit * before);
      cum[g * meta + j] = gamma[g] * (before + logp);
    }
  }
}

/* The whole lifetime, pathwise, weighted by the windows. */
static void observe_full(const struct watch *w, int64_t n, const struct mv_report *r, const struct mv_report *dot)
{
  const int meta = w->p->shape.meta;
  num exact[meta];
  for (int j = 0; j < meta; j++) {
    exact[j] = dot[j].surrogate + r->objective * w->cum_full[j];
    w->cum_full[j] += dot[j].logp;
  }
  for (int t = 0; t < w->s->truncation.count; t++) {
    double weight = mv_window_weight(w->p, (enum mv_window)w->s->window, w->s->truncation.value[t], n);
    for (int j = 0; j < meta; j++)
      w->weighted[t * meta + j] += mv_window_share(weight, exact[j]);
  }
}

static void observe(void *self, int64_t n, const struct mv_report *r, struct mv_block *blocks)
{
  struct watch *w = self;
  *w->objective += r->objective;
  for (int b = 0; b < w->settings; b++)
    if (blocks[b].active)
      observe_block(w, b, r, &blocks[b]);
  if (w->full >= 0)
    observe_full(w, n, r, blocks[w->full].dot);
}

static size_t workspace(const void *settings, const struct mv_problem *p)
{
  const struct settings *s = settings;
  size_t meta = (size_t)p->shape.meta, settings_count = (size_t)(s->truncation.count * s->hessian.count);
  return mv_walk_bytes(p, block_count(s, p)) + mv_arena_cost(sizeof(struct mv_block) * (size_t)block_count(s, p)) +
         mv_arena_cost(sizeof(num) * meta) + mv_arena_cost(sizeof(num) * meta) +
         mv_arena_cost(sizeof(num) * settings_count * (size_t)s->meta_discount.count * meta);
}

/* Draws this lifetime's window of each truncation length; all Hessian modes share it. window_start[truncation] out. */
static void place_windows(struct mv_walk *walk, const struct settings *s, num *window_start)
{
  for (int t = 0; t < s->truncation.count; t++) {
    struct mv_block block = {.length = s->truncation.value[t]};
    mv_window_place(walk, (enum mv_window)s->window, block.length, block.start);
    for (int l = 0; l < MV_LANES; l++)
      NUM_LANE(window_start, t, l) = (double)block.start[l];
    for (int h = 0; h < s->hessian.count; h++) {
      block.hessian = (enum mv_hessian)s->hessian.value[h];
      walk->blocks[t * s->hessian.count + h] = block;
    }
  }
}

/* Sums over windows and lifetimes become means. */
static void average(const struct watch *w)
{
  const struct settings *s = w->s;
  const int meta = w->p->shape.meta, corrections = s->meta_discount.count * meta;
  const double share = 1.0 / (double)s->lifetimes;
  for (int b = 0; b < w->settings; b++) {
    double scale = share / (double)s->truncation.value[b / s->hessian.count];
    for (int j = 0; j < meta; j++)
      w->direct[b * meta + j] *= scale;
    for (int i = 0; i < corrections; i++)
      w->correction[b * corrections + i] *= scale;
  }
  for (int i = 0; s->weighted && i < s->truncation.count * meta; i++)
    w->weighted[i] *= share;
  *w->objective *= share / (double)w->p->steps;
}

static void sample(const struct mv_request *r)
{
  const struct settings *s = r->settings;
  const struct mv_problem *p = r->problem;
  const int meta = p->shape.meta, lengths = s->truncation.count, settings = lengths * s->hessian.count;
  const int corrections = settings * s->meta_discount.count * meta;
  const size_t mark = r->arena->used;
  num *eta = mv_arena_take(r->arena, sizeof(num) * (size_t)meta);
  for (int j = 0; j < meta; j++)
    eta[j] = num_set(r->eta[j]);
  struct mv_walk walk = mv_request_walk(r, s->lifetimes, eta);
  walk.block_count = block_count(s, p);
  walk.no_expected = true;
  walk.blocks = mv_arena_take(r->arena, sizeof(struct mv_block) * (size_t)walk.block_count);
  struct watch w = {.s = s, .p = p, .settings = settings, .full = -1};
  if (s->weighted)
    w.full = full_block(s, p) < 0 ? settings : full_block(s, p);
  w.cum = mv_arena_take(r->arena, sizeof(num) * (size_t)corrections);
  w.cum_full = mv_arena_take(r->arena, sizeof(num) * (size_t)meta);
  w.direct = r->values;
  w.correction = w.direct + settings * meta;
  w.weighted = w.correction + corrections;
  w.objective = w.weighted + (s->weighted ? lengths * meta : 0);
  num *window_start = w.objective + 1;
  for (num *x = r->values; x < window_start; x++)
    *x = num_set(0.0);

  for (int64_t life = 0; life < s->lifetimes; life++) {
    place_windows(&walk, s, window_start + life * lengths);
    if (w.full == settings)
      walk.blocks[settings] = (struct mv_block){.hessian = MV_PATHWISE, .length = p->steps};
    for (int i = 0; i < corrections; i++)
      w.cum[i] = num_set(0.0);
    for (int j = 0; j < meta; j++)
      w.cum_full[j] = num_set(0.0);
    mv_walk_run(&walk, observe, &w);
    for (int l = 0; l < MV_LANES_MAX; l++)
      walk.coords.lifetime[l]++;
  }
  average(&w);
  r->arena->used = mark;
}

MV_ESTIMATOR(backprop) = {
    .name = "backprop",
    .doc = "Backpropagation through the inner loop, truncated to windows of T steps, with the sampling correction of "
           "Al-Shedivat et al. 2018 and Stadie et al. "
           "2018 as a component of its own: direct + lambda * correction for any lambda (Vuorio et al. 2022). "
           "Truncation lengths, meta-discounts and "
           "Hessian modes (pathwise; DiCE, Foerster et al. 2018) are computed jointly from one simulated lifetime. T = "
           "N, lambda = 1, gamma = 1, pathwise is unbiased.",
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
