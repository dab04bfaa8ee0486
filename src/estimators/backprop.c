/* backprop.c - (truncated) backpropagation through the inner loop, with sampling correction.
 *
 * Vuorio et al. 2022, section on estimators. In a window of T steps from step s, with the tangent stopped at s
 * (theta'_0 = d init / d eta for s = 0):
 *   D_n = d surrogate_n      C_n = R_n cum_n         cum_{n+1} = gamma (cum_n + dl_n),  cum_s = 0
 *   direct = (1/T) sum D_n   correction = (1/T) sum C_n      estimate = direct + lambda correction, any lambda offline.
 * One simulated lifetime serves all T, gamma and Hessian modes at once: they share the primal, only tangents differ.
 * `weighted` is the unbiased gradient of the window-weighted objective (weights P(n in window)/T, full tangents, lambda
 * = gamma = 1), which parts the bias of lost credit from that of window coverage.
 *
 * In forward mode M tangent columns for each window and Hessian mode; in reverse 1 + discounts adjoint columns (correction.h).
 */
#include "metavar/correction.h"
#include "metavar/mode.h"

struct settings {
  struct mv_ints truncation;
  struct mv_reals meta_discount;
  struct mv_choices hessian;
  int64_t lifetimes;
  int window;
  bool weighted;
  struct mv_mode_settings mode;
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
    {"mode", MV_CHOICE, offsetof(struct settings, mode.mode), "auto", 0, 0, mv_mode_names, NULL, MV_MODE_DOC},
    {"checkpoints", MV_INT, offsetof(struct settings, mode.checkpoints), "0", 0, 1e9, NULL, "1", MV_CHECKPOINTS_DOC},
    {"memory", MV_INT, offsetof(struct settings, mode.memory), "250000000", 1, 0x1p50, NULL, "byte", MV_MEMORY_DOC},
    MV_FIELD_END};

static double work_of(const struct settings *, const struct mv_problem *, enum mv_mode);

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
  mv_mode_complete(&s->mode, p, work_of(s, p, MV_MODE_FORWARD), work_of(s, p, MV_MODE_REVERSE), complaints);
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
      const int64_t length = s->truncation.value[t];
      const bool back = s->mode.mode == MV_MODE_REVERSE;
      double again = back ? mv_mode_evaluations(&s->mode, p, length) - (double)length : 0.0;
      primal[t * s->hessian.count + h] =
          (double)s->lifetimes * (mv_window_reach(p, (enum mv_window)s->window, length) + again);
      tangent[t * s->hessian.count + h] = (double)(s->lifetimes * length * (back ? 2 : p->shape.meta));
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

/* What the settings say of the sums; their places are those of one sample. */
static struct mv_correction correction_of(const struct settings *s, const struct mv_problem *p)
{
  struct mv_correction c = {.problem = p,
                            .truncation = &s->truncation,
                            .hessian = &s->hessian,
                            .discount = &s->meta_discount,
                            .window = (enum mv_window)s->window,
                            .has_weighted = s->weighted};
  c.full = mv_correction_full(&c);
  return c;
}

/* Reverse: adjoint columns of a window and Hessian mode. */
static int columns_each(const struct settings *s) { return 1 + s->meta_discount.count; }

static double work_of(const struct settings *s, const struct mv_problem *p, enum mv_mode mode)
{
  const bool back = mode == MV_MODE_REVERSE;
  double steps = back ? mv_mode_evaluations(&s->mode, p, p->steps) : (double)p->steps;
  for (int t = 0; t < s->truncation.count; t++) {
    const int64_t length = s->truncation.value[t];
    steps += (double)(length * s->hessian.count * (back ? columns_each(s) : p->shape.meta));
    if (back && s->weighted)
      steps += (double)mv_window_span(p, (enum mv_window)s->window, length);
  }
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

/* --- a sample ----------------------------------------------------------------------------------------------- */

/* Blocks of a walk and their adjoint columns; nums of cum, cum_full and eta_bar. */
struct sizes {
  int blocks, columns, cum, cum_full, eta_bar;
};

static struct sizes sizes_of(const struct settings *s, const struct mv_problem *p)
{
  const struct mv_correction c = correction_of(s, p);
  const int meta = p->shape.meta, blocks = mv_correction_blocks(&c), discounts = s->meta_discount.count;
  const int weighted = s->weighted ? s->truncation.count : 0, each = columns_each(s);
  if (s->mode.mode == MV_MODE_REVERSE)
    return (struct sizes){blocks + weighted, blocks * each + weighted, blocks * discounts, weighted,
                          blocks * each * meta};
  return (struct sizes){blocks + (s->weighted && c.full == blocks), 0, blocks * discounts * meta, meta, 0};
}

static size_t workspace(const void *settings, const struct mv_problem *p)
{
  const struct settings *s = settings;
  const struct sizes z = sizes_of(s, p);
  size_t walk = s->mode.mode == MV_MODE_REVERSE
                    ? mv_walk_back_bytes(p, mv_mode_records(&s->mode, p, p->steps), z.blocks, z.columns)
                    : mv_walk_bytes(p, z.blocks);
  return walk + mv_arena_cost(sizeof(struct mv_block) * (size_t)z.blocks) +
         mv_arena_cost(sizeof(num) * (size_t)p->shape.meta) + mv_arena_cost(sizeof(num) * (size_t)z.cum) +
         mv_arena_cost(sizeof(num) * (size_t)z.cum_full) + mv_arena_cost(sizeof(num) * (size_t)z.eta_bar);
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
static void average(const struct settings *s, const struct mv_correction *c)
{
  const int meta = c->problem->shape.meta, corrections = s->meta_discount.count * meta;
  const double share = 1.0 / (double)s->lifetimes;
  for (int b = 0; b < mv_correction_blocks(c); b++) {
    double scale = share / (double)s->truncation.value[b / s->hessian.count];
    for (int j = 0; j < meta; j++)
      c->direct[b * meta + j] *= scale;
    for (int i = 0; i < corrections; i++)
      c->correction[b * corrections + i] *= scale;
  }
  for (int i = 0; s->weighted && i < s->truncation.count * meta; i++)
    c->weighted[i] *= share;
  *c->objective *= share / (double)c->problem->steps;
}

static void walk_lifetime(const struct settings *s, struct mv_walk *walk, struct mv_correction *c)
{
  if (s->mode.mode == MV_MODE_REVERSE) {
    mv_correction_place(c, walk->blocks);
    mv_walk_back(walk, mv_mode_records(&s->mode, c->problem, c->problem->steps), mv_correction_watch,
                 mv_correction_weigh, c);
    return;
  }
  if (s->weighted && c->full == mv_correction_blocks(c))
    walk->blocks[c->full] = (struct mv_block){.hessian = MV_PATHWISE, .length = c->problem->steps};
  mv_walk_run(walk, mv_correction_observe, c);
}

static void sample(const struct mv_request *r)
{
  const struct settings *s = r->settings;
  const struct mv_problem *p = r->problem;
  const int meta = p->shape.meta, lengths = s->truncation.count;
  const struct sizes z = sizes_of(s, p);
  const size_t mark = r->arena->used;
  num *eta = mv_arena_take(r->arena, sizeof(num) * (size_t)meta);
  for (int j = 0; j < meta; j++)
    eta[j] = num_set(r->eta[j]);
  struct mv_walk walk = mv_request_walk(r, s->lifetimes, eta);
  walk.block_count = z.blocks;
  walk.no_expected = true;
  walk.blocks = mv_arena_take(r->arena, sizeof(struct mv_block) * (size_t)z.blocks);
  struct mv_correction c = correction_of(s, p);
  c.cum = mv_arena_take(r->arena, sizeof(num) * (size_t)z.cum);
  c.cum_full = mv_arena_take(r->arena, sizeof(num) * (size_t)z.cum_full);
  c.eta_bar = mv_arena_take(r->arena, sizeof(num) * (size_t)z.eta_bar);
  c.direct = r->values;
  c.correction = c.direct + mv_correction_blocks(&c) * meta;
  c.weighted = c.correction + mv_correction_blocks(&c) * s->meta_discount.count * meta;
  c.objective = c.weighted + (s->weighted ? lengths * meta : 0);
  num *window_start = c.objective + 1;
  for (num *x = r->values; x < window_start; x++)
    *x = num_set(0.0);

  for (int64_t life = 0; life < s->lifetimes; life++) {
    place_windows(&walk, s, window_start + life * lengths);
    for (int i = 0; i < z.cum; i++)
      c.cum[i] = num_set(0.0);
    for (int i = 0; i < z.cum_full; i++)
      c.cum_full[i] = num_set(0.0);
    walk_lifetime(s, &walk, &c);
    mv_walk_next(&walk);
  }
  if (s->mode.mode == MV_MODE_REVERSE)
    mv_correction_take(&c);
  average(s, &c);
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
    .needs = MV_NEEDS_DERIVATIVE,
    .carries = true,
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
