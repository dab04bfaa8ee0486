/* selfcheck.c - the inner loops against their oracles, with this binary on this machine.
 *
 * Derivatives: the shadow build carries eta + i h e_j with h = 1e-30 through the same source text; the imaginary part
 * over h is the derivative without truncation or cancellation (Squire & Trapp 1998). Golden digests pin the bits of
 * every pair of task and estimator across kernels, compilers and versions.
 */
#include <assert.h>
#include <complex.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "metavar/blas.h"
#include "metavar/selfcheck.h"

#define JVP_STEPS         40
#define JVP_REPLICATES    25
#define DIGEST_STEPS      12
#define DIGEST_REPLICATES 64
#define REPORTS           5 /* numbers in struct mv_report */

static const struct {
  const char *task, *estimator, *recipe, *digest;
} golden[] = {
#include "golden.h"
    {NULL}};

const char *const mv_recipe_names[] = {"plain", "rich", "reverse", NULL};

const char *mv_selfcheck_golden(const char *task, const char *estimator, enum mv_recipe recipe)
{
  for (int i = 0; golden[i].task; i++)
    if (!strcmp(golden[i].task, task) && !strcmp(golden[i].estimator, estimator) &&
        !strcmp(golden[i].recipe, mv_recipe_names[recipe]))
      return golden[i].digest;
  return NULL;
}

void mv_selfcheck_eta(const struct mv_shape *shape, double *eta)
{
  for (int j = 0; j < shape->meta; j++)
    eta[j] = 0.4 + 0.7 * ((j * 5) % 7) / 7.0;
}

bool mv_selfcheck_philox(void)
{
  static const struct {
    uint32_t counter[4];
    struct mv_key key;
    uint32_t out[4];
  } vector[] = {/* Random123, kat_vectors, philox4x32-10 */
                {{0, 0, 0, 0}, {{0, 0}}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
                {{~0u, ~0u, ~0u, ~0u}, {{~0u, ~0u}}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
                {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                 {{0xa4093822, 0x299f31d0}},
                 {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
  for (size_t i = 0; i < sizeof vector / sizeof *vector; i++) {
    uint32_t out[4];
    mv_philox(vector[i].counter, vector[i].key, out);
    if (memcmp(out, vector[i].out, sizeof out))
      return false;
  }
  return true;
}

void mv_selfcheck_small(const struct mv_task *task, void *settings)
{
  const struct mv_field *hidden = mv_field_find(task->fields, "hidden");
  const struct mv_field *environments = mv_field_find(task->fields, "environments");
  if (hidden && hidden->kind == MV_INT_LIST)
    *(struct mv_ints *)((char *)settings + hidden->offset) = (struct mv_ints){2, {6, 5}};
  if (environments && environments->kind == MV_INT)
    *(int64_t *)((char *)settings + environments->offset) = 2;
}

struct mv_problem mv_selfcheck_problem(const struct mv_kernel *kernel, const char *task, const void *given,
                                       int64_t steps, void **settings)
{
  struct mv_problem p = {.task = mv_task_find(kernel, task), .steps = steps, .sampler = MV_INVERSE_CDF};
  assert(p.task);
  *settings = calloc(1, p.task->settings_size ? p.task->settings_size : 1);
  mv_field_defaults(p.task->fields, *settings);
  mv_selfcheck_small(p.task, *settings);
  if (given)
    memcpy(*settings, given, p.task->settings_size);
  p.settings = *settings;
  p.shape = p.task->shape(p.settings);
  return p;
}

bool mv_selfcheck_serves(const struct mv_kernel *kernel, const char *task)
{
  void *settings;
  struct mv_problem p = mv_selfcheck_problem(kernel, task, NULL, 1, &settings);
  free(settings);
  return mv_kernel_for(kernel, &p.shape) == kernel;
}

bool mv_selfcheck_holds(const char *task)
{
  void *settings;
  struct mv_problem p = mv_selfcheck_problem(mv_kernel_find("scalar"), task, NULL, 1, &settings);
  free(settings);
  return p.shape.lanes != 1 || !strcmp(mv_blas_core(), MV_GOLDEN_CORE);
}

/* --- derivatives ------------------------------------------------------------------------------------------- */

struct tangents {
  int meta, lanes;
  double *dot; /* [step][column][REPORTS], lane 0 */
};

static void record_tangents(void *self, int64_t n, const struct mv_report *r, struct mv_block *blocks)
{
  (void)r;
  struct tangents *t = self;
  const double *dot = (const double *)blocks[0].dot;
  for (int j = 0; j < t->meta; j++)
    for (int part = 0; part < REPORTS; part++)
      t->dot[(n * t->meta + j) * REPORTS + part] = dot[(j * REPORTS + part) * t->lanes];
}

static void record_shadow(void *self, int64_t n, const struct mv_report *r, struct mv_block *blocks)
{
  (void)blocks;
  memcpy((double complex *)self + n * REPORTS, r, REPORTS * sizeof(double complex));
}

static double worst_of(const struct tangents *t, int column, const double complex *shadow, double h)
{
  double worst = 0;
  for (int part = 0; part < REPORTS; part++) {
    double scale = 1e-3, difference = 0;
    for (int64_t n = 0; n < JVP_STEPS; n++) {
      double exact = cimag(shadow[n * REPORTS + part]) / h;
      scale = fmax(scale, fabs(exact));
      double d = fabs(t->dot[(n * t->meta + column) * REPORTS + part] - exact);
      difference = d <= difference ? difference : d; /* NaN counts */
    }
    worst = difference / scale <= worst ? worst : difference / scale;
  }
  return worst;
}

double mv_selfcheck_jvp(const struct mv_kernel *kernel, const char *task, const void *settings_of_task,
                        enum mv_hessian hessian, enum mv_sampler sampler)
{
  const struct mv_kernel *shadow = mv_kernel_find("shadow");
  const double h = 1e-30;
  void *settings[2];
  struct mv_problem real = mv_selfcheck_problem(kernel, task, settings_of_task, JVP_STEPS, &settings[0]);
  struct mv_problem imaginary = mv_selfcheck_problem(shadow, task, settings_of_task, JVP_STEPS, &settings[1]);
  real.sampler = imaginary.sampler = sampler;
  const int meta = real.shape.meta, lanes = kernel->lanes;
  double eta[meta];
  mv_selfcheck_eta(&real.shape, eta);
  struct mv_arena arena;
  mv_arena_create(&arena, shadow->walk_bytes(&imaginary, 0) + kernel->walk_bytes(&real, 1) +
                              mv_arena_cost(sizeof(double) * (size_t)(meta * lanes)));
  double *lane_eta = mv_arena_take(&arena, sizeof(double) * (size_t)(meta * lanes));
  for (int i = 0; i < meta * lanes; i++)
    lane_eta[i] = eta[i / lanes];
  struct mv_block block = {.hessian = hessian, .length = JVP_STEPS};
  struct tangents tangents = {meta, lanes, calloc((size_t)(JVP_STEPS * meta * REPORTS), sizeof(double))};
  double complex *report = calloc(JVP_STEPS * REPORTS, sizeof *report), *point = calloc((size_t)meta, sizeof *point);
  double worst = 0;
  for (int64_t replicate = 0; replicate < JVP_REPLICATES; replicate++) {
    struct mv_walk walk = {
        .problem = &real, .eta = lane_eta, .steps = JVP_STEPS, .blocks = &block, .block_count = 1, .arena = &arena};
    walk.coords.key = mv_key_make(3, eta, meta);
    for (int l = 0; l < MV_LANES_MAX; l++)
      walk.coords.task[l] = replicate + l;
    kernel->walk_run(&walk, record_tangents, &tangents);
    for (int j = 0; j < meta; j++) {
      for (int i = 0; i < meta; i++)
        point[i] = eta[i] + (i == j ? I * h : 0);
      struct mv_walk other = {
          .problem = &imaginary, .eta = (const double *)point, .steps = JVP_STEPS, .arena = &arena, .shadow = hessian};
      other.coords = walk.coords;
      shadow->walk_run(&other, record_shadow, report);
      double found = worst_of(&tangents, j, report, h);
      worst = found <= worst ? worst : found;
    }
  }
  mv_arena_free(&arena);
  free(tangents.dot), free(report), free(point), free(settings[0]), free(settings[1]);
  return worst;
}

/* --- recipes ----------------------------------------------------------------------------------------------- */

/* The setting called name, if the estimator has one of that kind. */
static void *setting(const struct mv_estimator *estimator, void *settings, const char *name, enum mv_kind kind)
{
  const struct mv_field *f = mv_field_find(estimator->fields, name);
  return f && f->kind == kind ? (char *)settings + f->offset : NULL;
}

/* Sets a list of words to those of `wanted` that the setting knows; a list that would be empty stays as it is. */
static void choose_words(const struct mv_estimator *estimator, void *settings, const char *name,
                         const char *const *wanted)
{
  struct mv_choices *list = setting(estimator, settings, name, MV_CHOICE_LIST), chosen = {0};
  if (!list)
    return;
  const char *const *known = mv_field_find(estimator->fields, name)->choices;
  for (; *wanted; wanted++)
    for (int i = 0; known[i]; i++)
      if (!strcmp(known[i], *wanted))
        chosen.value[chosen.count++] = i;
  if (chosen.count)
    *list = chosen;
}

bool mv_recipe_valid(enum mv_recipe recipe, const struct mv_task *task, const struct mv_estimator *estimator)
{
  return mv_pair_valid(task, estimator) &&
         (recipe != MV_REVERSE || (task->step_vjp && mv_field_find(estimator->fields, "mode")));
}

void mv_selfcheck_arrange(enum mv_recipe recipe, const struct mv_estimator *estimator, void *settings,
                          struct mv_problem *p)
{
  if (recipe == MV_PLAIN)
    return;
  p->sampler = MV_GUMBEL;
  struct mv_ints *truncation = setting(estimator, settings, "truncation", MV_INT_LIST);
  if (truncation)
    *truncation = (struct mv_ints){3, {2, 5, p->steps}};
  struct mv_reals *discount = setting(estimator, settings, "meta_discount", MV_REAL_LIST);
  if (discount)
    *discount = (struct mv_reals){3, {0, 0.9, 1}};
  int64_t *lifetimes = setting(estimator, settings, "lifetimes", MV_INT);
  if (lifetimes)
    *lifetimes = 2;
  int64_t *population = setting(estimator, settings, "population", MV_INT);
  if (population)
    *population = 4;
  double *smoothing = setting(estimator, settings, "smoothing", MV_REAL);
  if (smoothing)
    *smoothing = 0.2;
  choose_words(estimator, settings, "noise_shared", (const char *const[]){"task", "action", "reward", "window", NULL});
  const char *offered[MV_HESSIANS + 1] = {NULL};
  for (int mode = 0, count = 0; mode < MV_HESSIANS; mode++)
    if (p->shape.hessians & 1u << mode)
      offered[count++] = mv_hessian_names[mode];
  choose_words(estimator, settings, "hessian", offered);
  if (recipe == MV_REVERSE) {
    const char *const *modes = mv_field_find(estimator->fields, "mode")->choices;
    int *mode = setting(estimator, settings, "mode", MV_CHOICE);
    while (strcmp(modes[*mode], "reverse"))
      ++*mode;
    *(int64_t *)setting(estimator, settings, "checkpoints", MV_INT) = 3;
  }
}

/* --- golden digests ---------------------------------------------------------------------------------------- */

static int64_t values_of(const struct mv_estimator *estimator, const void *settings, const struct mv_problem *p)
{
  struct mv_output output[MV_OUTPUTS_MAX];
  int outputs = estimator->outputs(settings, p, output);
  int64_t total = 0;
  for (int o = 0; o < outputs; o++) {
    int64_t size = output[o].role <= MV_TARGET ? p->shape.meta : 1;
    for (int a = 0; a < output[o].rank; a++)
      size *= output[o].axis[a].length;
    total += size;
  }
  return total;
}

void mv_selfcheck_digest(const struct mv_kernel *kernel, const char *task, const char *name, enum mv_recipe recipe,
                         char hex[33])
{
  void *task_settings;
  struct mv_problem p = mv_selfcheck_problem(kernel, task, NULL, DIGEST_STEPS, &task_settings);
  const struct mv_estimator *estimator = mv_estimator_find(kernel, name);
  assert(estimator);
  void *settings = calloc(1, estimator->settings_size ? estimator->settings_size : 1);
  mv_field_defaults(estimator->fields, settings);
  mv_selfcheck_arrange(recipe, estimator, settings, &p);
  if (estimator->complete)
    estimator->complete(settings, &p, NULL);
  const int lanes = kernel->lanes;
  const int64_t values = values_of(estimator, settings, &p);
  struct mv_arena arena;
  mv_arena_create(&arena, estimator->workspace(settings, &p));
  double eta[p.shape.meta], *out = aligned_alloc(MV_ALIGN, mv_arena_cost(sizeof(double) * (size_t)(values * lanes)));
  double *row = malloc(sizeof(double) * (size_t)values);
  mv_selfcheck_eta(&p.shape, eta);
  XXH3_state_t *state = XXH3_createState();
  assert(out && row && state);
  XXH3_128bits_reset(state);
  struct mv_request request = {.problem = &p,
                               .settings = settings,
                               .eta = eta,
                               .key = mv_key_make(11, eta, p.shape.meta),
                               .count = lanes,
                               .arena = &arena,
                               .values = out};
  for (int64_t first = 0; first < DIGEST_REPLICATES; first += lanes) {
    for (int l = 0; l < MV_LANES_MAX; l++)
      request.task[l] = first + (l < lanes ? l : 0);
    arena.used = 0;
    estimator->sample(&request);
    for (int l = 0; l < lanes; l++) {
      for (int64_t i = 0; i < values; i++)
        row[i] = out[i * lanes + l];
      XXH3_128bits_update(state, row, sizeof(double) * (size_t)values);
    }
  }
  XXH128_hash_t hash = XXH3_128bits_digest(state);
  snprintf(hex, 33, "%016llx%016llx", (unsigned long long)hash.high64, (unsigned long long)hash.low64);
  XXH3_freeState(state);
  mv_arena_free(&arena);
  free(out), free(row), free(settings), free(task_settings);
}
