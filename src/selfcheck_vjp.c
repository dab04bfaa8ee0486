/* selfcheck_vjp.c - step_vjp and init_vjp against their oracles, with this binary on this machine.
 *
 * Dot products: with the Jacobian J of one step, (theta, eta) -> (theta', R, ell, surrogate, V), step_jvp gives J v and
 * step_vjp gives J' w, so <w, J v> = <J' w, v> for any v and w. A w that is zero but for one output, and a v that is
 * zero but for theta or for eta, tell which part of the transpose is wrong.
 *
 * Lifetimes: the gradient of sum_n w_n x_n, x one of the reports, by the walk back against the complex step (selfcheck.c).
 */
#include <assert.h>
#include <complex.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metavar/memory.h"
#include "metavar/selfcheck.h"

#define STEPS      40
#define REPLICATES 10
#define RECORDS    3

/* Outputs of a step: theta', then the fields of a report, in their order. */
enum { THETA, REPORT, OUTPUTS = REPORT + 4, FIELDS = sizeof(struct mv_report) / sizeof(num) };
static const char *const output_names[OUTPUTS] = {"theta", "R", "ell", "surrogate", "V"};

/* In (-1, 1), from its coordinates. */
static double random_at(uint32_t a, uint32_t b)
{
  uint32_t out[4];
  mv_philox((const uint32_t[4]){a, b, 0, 0}, (struct mv_key){{17, 4}}, out);
  return (out[0] + 0.5) * 0x1p-31 - 1;
}

/* terms: sum of the absolute values of what was added up on either side. */
static void judge(struct mv_selfcheck_transpose *t, double left, double right, double terms, const char *format,
                  const char *name)
{
  double d = fabs(left - right) / fmax(terms, 1e-300);
  if (left == right || d <= t->worst)
    return;
  t->worst = isnan(d) ? HUGE_VAL : d;
  snprintf(t->where, sizeof t->where, format, name);
}

static struct mv_walk walk_make(const struct mv_problem *p, const struct mv_key key, int64_t replicate,
                                struct mv_arena *arena)
{
  struct mv_walk w = {.problem = p, .steps = p->steps, .arena = arena, .coords.key = key};
  for (int l = 0; l < MV_LANES_MAX; l++)
    w.coords.task[l] = replicate + l;
  return w;
}

static double *lane_eta_make(const double *eta, int meta, int lanes)
{
  double *x = aligned_alloc(MV_ALIGN, mv_arena_cost(sizeof(double) * (size_t)(meta * lanes)));
  assert(x);
  for (int i = 0; i < meta * lanes; i++)
    x[i] = eta[i / lanes];
  return x;
}

/* --- dot products ------------------------------------------------------------------------------------------- */

/* Stands in for the task's derivatives during a walk forwards, which hands it theta and tape. */
struct probe {
  const struct mv_task *task;
  int meta, state, lanes;
  enum mv_hessian hessian;
  bool expected;
  struct mv_arena arena;
  double *dot, *moved[2], *w, *bar, *eta_bar; /* v's theta; J v with and without it; w's theta'; J' w */
  double *report[2], *weight;
  bool *zero;
  struct mv_selfcheck_transpose result;
};
static struct probe *probe; /* tasks are called without anything of their own */

static double *fill(double *x, int64_t count, uint32_t purpose)
{
  for (int64_t i = 0; i < count; i++)
    x[i] = random_at((uint32_t)i, purpose);
  return x;
}

/* Sum over k of a[k] b[k] in one lane; *terms grows by the absolute terms. */
static double dot_of(const double *a, const double *b, int count, int lane, double *terms)
{
  double sum = 0;
  for (int k = 0; k < count; k++) {
    sum += a[k * probe->lanes + lane] * b[k * probe->lanes + lane];
    *terms += fabs(a[k * probe->lanes + lane] * b[k * probe->lanes + lane]);
  }
  return sum;
}

/* One output against one column, in one lane. */
static void judge_output(int output, int column, int lane)
{
  struct probe *p = probe;
  const int size = p->state * p->lanes;
  double left[2], terms = 0;
  for (int k = 0; k < 2; k++)
    if (output == THETA) {
      left[k] = dot_of(p->w, p->moved[k] + column * size, p->state, lane, &terms);
    } else {
      const int field = output - REPORT;
      left[k] = p->weight[(output * FIELDS + field) * p->lanes + lane] *
                p->report[k][(column * FIELDS + field) * p->lanes + lane];
      terms += fabs(left[k]);
    }
  double by_theta = dot_of(p->bar + output * size, p->dot + column * size, p->state, lane, &terms);
  double by_eta = p->eta_bar[(output * p->meta + column) * p->lanes + lane];
  judge(&p->result, left[1], by_eta, terms, "%s by eta", output_names[output]);
  judge(&p->result, left[0] - left[1], by_theta, terms, "%s by theta", output_names[output]);
}

static void probe_step(const struct mv_life *life, int64_t n, const num *theta, const num *tape,
                       struct mv_columns *blocks, int block_count)
{
  (void)blocks, (void)block_count;
  struct probe *p = probe;
  const int size = p->state * p->lanes, meta = p->meta;
  for (int k = 0; k < 2; k++) { /* v = (random, e_c), (0, e_c) */
    memset(p->moved[k], 0, sizeof(double) * (size_t)(meta * size));
    if (k == 0)
      memcpy(p->moved[k], p->dot, sizeof(double) * (size_t)(meta * size));
    memset(p->zero, 0, sizeof(bool) * (size_t)meta);
    struct mv_columns columns = {meta, p->hessian, true, p->zero, p->moved[k], (struct mv_report *)p->report[k]};
    p->task->step_jvp(life, n, theta, tape, &columns, 1);
  }
  memset(p->bar, 0, sizeof(double) * (size_t)(OUTPUTS * size));
  memset(p->weight, 0, sizeof(double) * (size_t)(OUTPUTS * FIELDS * p->lanes));
  memset(p->eta_bar, 0, sizeof(double) * (size_t)(OUTPUTS * meta * p->lanes));
  memcpy(p->bar + THETA * size, p->w, sizeof(double) * (size_t)size);
  for (int o = REPORT; o < OUTPUTS; o++)
    fill(p->weight + (o * FIELDS + o - REPORT) * p->lanes, p->lanes, 4);
  struct mv_adjoints adjoints = {OUTPUTS, p->hessian, p->bar, p->eta_bar, (const struct mv_report *)p->weight};
  p->task->step_vjp(life, n, theta, tape, &adjoints, 1);
  for (int o = 0; o < (p->expected ? OUTPUTS : OUTPUTS - 1); o++)
    for (int c = 0; c < meta; c++)
      for (int lane = 0; lane < p->lanes; lane++)
        judge_output(o, c, lane);
}

static void probe_init(const struct mv_life *life, struct mv_columns *columns)
{
  struct probe *p = probe;
  const int size = p->state * p->lanes;
  p->task->init_jvp(life, columns);
  memset(p->eta_bar, 0, sizeof(double) * (size_t)(p->meta * p->lanes));
  memcpy(p->bar, p->w, sizeof(double) * (size_t)size);
  struct mv_adjoints adjoints = {1, p->hessian, p->bar, p->eta_bar, (const struct mv_report *)p->weight};
  p->task->init_vjp(life, &adjoints);
  for (int c = 0; c < p->meta; c++)
    for (int lane = 0; lane < p->lanes; lane++) {
      double terms = 0, left = dot_of(p->w, (const double *)columns->theta_dot + c * size, p->state, lane, &terms);
      judge(&p->result, left, p->eta_bar[c * p->lanes + lane], terms + fabs(left), "%s_0 by eta", "theta");
    }
}

static void watch_nothing(void *self, int64_t n, const struct mv_report *r, struct mv_block *blocks)
{
  (void)self, (void)n, (void)r, (void)blocks;
}

static void probe_make(struct probe *p, const struct mv_problem *problem, int lanes, enum mv_hessian hessian)
{
  const struct mv_shape *s = &problem->shape;
  *p = (struct probe){.task = problem->task,
                      .meta = s->meta,
                      .state = s->state,
                      .lanes = lanes,
                      .hessian = hessian,
                      .expected = s->expected};
  const size_t size = sizeof(double) * (size_t)(s->state * lanes), meta = (size_t)s->meta;
  const size_t report = sizeof(double) * (size_t)(FIELDS * lanes);
  mv_arena_create(&p->arena, (3 * meta + OUTPUTS + 1) * size + (2 * meta + OUTPUTS) * report +
                                 OUTPUTS * meta * sizeof(double) * (size_t)lanes + meta + 10 * MV_ALIGN);
  p->dot = fill(mv_arena_take(&p->arena, meta * size), (int64_t)s->meta * s->state * lanes, 2);
  p->w = fill(mv_arena_take(&p->arena, size), s->state * lanes, 3);
  p->bar = mv_arena_take(&p->arena, OUTPUTS * size);
  p->eta_bar = mv_arena_take(&p->arena, OUTPUTS * meta * sizeof(double) * (size_t)lanes);
  p->weight = mv_arena_take(&p->arena, OUTPUTS * report);
  p->zero = mv_arena_take(&p->arena, meta);
  for (int k = 0; k < 2; k++) {
    p->moved[k] = mv_arena_take(&p->arena, meta * size);
    p->report[k] = mv_arena_take(&p->arena, meta * report);
  }
}

struct mv_selfcheck_transpose mv_selfcheck_dot(const struct mv_kernel *kernel, const char *task,
                                               enum mv_hessian hessian, enum mv_sampler sampler)
{
  void *settings;
  struct mv_problem problem = mv_selfcheck_problem(kernel, task, NULL, STEPS, &settings);
  struct probe p;
  problem.sampler = sampler;
  probe_make(&p, &problem, kernel->lanes, hessian);
  double eta[p.meta];
  mv_selfcheck_eta(&problem.shape, eta);
  double *lane_eta = lane_eta_make(eta, p.meta, p.lanes);
  struct mv_task probed = *problem.task;
  probed.step_jvp = probe_step;
  probed.init_jvp = probe_init;
  problem.task = &probed;
  struct mv_arena arena;
  mv_arena_create(&arena, kernel->walk_bytes(&problem, 1));
  probe = &p;
  for (int64_t replicate = 0; replicate < REPLICATES; replicate++) {
    struct mv_walk walk = walk_make(&problem, mv_key_make(3, eta, p.meta), replicate, &arena);
    struct mv_block block = {.hessian = hessian, .length = STEPS};
    walk.eta = lane_eta;
    walk.blocks = &block;
    walk.block_count = 1;
    kernel->walk_run(&walk, watch_nothing, NULL);
  }
  mv_arena_free(&arena), mv_arena_free(&p.arena);
  free(lane_eta), free(settings);
  return p.result;
}

/* --- lifetimes ---------------------------------------------------------------------------------------------- */

struct weights {
  int lanes;
  double complex *report; /* [step][FIELDS] of the shadow */
};

static double weight_at(int64_t n, int field) { return random_at((uint32_t)n, 5 + (uint32_t)field); }

/* Column f weighs field f. */
static void weigh(void *self, int64_t n, const struct mv_report *r, const num *before, struct mv_block *blocks)
{
  (void)r, (void)before;
  const int lanes = ((struct weights *)self)->lanes;
  double *weight = (double *)blocks->weight;
  for (int f = 0; f < OUTPUTS - REPORT; f++)
    for (int l = 0; l < lanes; l++)
      weight[(f * FIELDS + f) * lanes + l] = weight_at(n, f);
}

static void record_shadow(void *self, int64_t n, const struct mv_report *r, struct mv_block *blocks)
{
  (void)blocks;
  memcpy(((struct weights *)self)->report + n * FIELDS, r, FIELDS * sizeof(double complex));
}

struct mv_selfcheck_transpose mv_selfcheck_back(const struct mv_kernel *kernel, const char *task,
                                                enum mv_hessian hessian, enum mv_sampler sampler)
{
  enum { COLUMNS = OUTPUTS - REPORT };
  const struct mv_kernel *shadow = mv_kernel_find("shadow");
  const double h = 1e-30;
  void *settings[2];
  struct mv_problem real = mv_selfcheck_problem(kernel, task, NULL, STEPS, &settings[0]);
  struct mv_problem imaginary = mv_selfcheck_problem(shadow, task, NULL, STEPS, &settings[1]);
  real.sampler = imaginary.sampler = sampler;
  const int meta = real.shape.meta, lanes = kernel->lanes;
  double eta[meta];
  mv_selfcheck_eta(&real.shape, eta);
  double *lane_eta = lane_eta_make(eta, meta, lanes);
  struct mv_arena arena;
  const size_t bytes = sizeof(double) * (size_t)(COLUMNS * meta * lanes);
  mv_arena_create(&arena, shadow->walk_bytes(&imaginary, 0) + kernel->walk_back_bytes(&real, RECORDS, 1, COLUMNS) +
                              mv_arena_cost(bytes));
  struct weights w = {lanes, mv_memory_take(STEPS * FIELDS, sizeof *w.report)};
  double complex *point = mv_memory_take((size_t)meta, sizeof *point);
  struct mv_selfcheck_transpose result = {0};
  for (int64_t replicate = 0; replicate < REPLICATES; replicate++) {
    arena.used = 0;
    struct mv_block block = {
        .hessian = hessian, .length = STEPS, .columns = COLUMNS, .eta_bar = mv_arena_take(&arena, bytes)};
    struct mv_walk walk = walk_make(&real, mv_key_make(3, eta, meta), replicate, &arena);
    walk.eta = lane_eta;
    walk.blocks = &block;
    walk.block_count = 1;
    kernel->walk_back(&walk, RECORDS, watch_nothing, weigh, &w);
    for (int j = 0; j < meta; j++) {
      for (int i = 0; i < meta; i++)
        point[i] = eta[i] + (i == j ? I * h : 0);
      struct mv_walk other = walk_make(&imaginary, walk.coords.key, replicate, &arena);
      other.eta = (const double *)point;
      other.shadow = hessian;
      shadow->walk_run(&other, record_shadow, &w);
      for (int f = 0; f < COLUMNS - !real.shape.expected; f++) {
        double exact = 0, terms = 0;
        for (int64_t n = 0; n < STEPS; n++) {
          double term = weight_at(n, f) * cimag(w.report[n * FIELDS + f]) / h;
          exact += term;
          terms += fabs(term);
        }
        judge(&result, ((double *)block.eta_bar)[(f * meta + j) * lanes], exact, terms, "sum of %s",
              output_names[1 + f]);
      }
    }
  }
  mv_arena_free(&arena);
  free(w.report), free(point), free(lane_eta), free(settings[0]), free(settings[1]);
  return result;
}
