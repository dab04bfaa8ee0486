/* store_fake.h - a kernel of its own for the tests of plan, samples and store: an estimator whose outputs are a known
 * function of the replicate's coordinates, not finite now and then. Stands in for kernel.c. */
#ifndef METAVAR_TESTS_STORE_FAKE_H
#define METAVAR_TESTS_STORE_FAKE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metavar/memory.h"
#include "metavar/sample.h"

enum { LANES = 4 };

/* --- the function ---------------------------------------------------------------------------------------- */

/* Value k of the replicate with these coordinates; `notes` is where notes begin. */
static inline double wave_value(const double *eta, int64_t task, int64_t lifetime, int64_t draw, int64_t k,
                                int64_t notes)
{
  uint64_t h = (uint64_t)task * 0x9e3779b97f4a7c15u + (uint64_t)lifetime * 0xbf58476d1ce4e5b9u +
               (uint64_t)draw * 0x94d049bb133111ebu;
  if (k >= notes)
    return (double)((task + lifetime + draw) % (7 + k - notes));
  uint64_t sample = (h ^ (h >> 29)) * 0xff51afd7ed558ccdu >> 32;
  if (sample % 19 == 3 && k == 1)
    return sample % 2 ? -(double)NAN : (double)INFINITY;
  h += (uint64_t)(k + 1) * 0xd6e8feb86659fd93u;
  h = (h ^ (h >> 32)) * 0xff51afd7ed558ccdu;
  h = (h ^ (h >> 29)) * 0xc4ceb9fe1a85ec53u;
  return (double)(h >> 11) * 0x1p-53 + eta[0] - eta[1] * (double)k;
}

/* --- task ------------------------------------------------------------------------------------------------ */

struct tone {
  int64_t arms;
};
static const struct mv_field tone_fields[] = {
    {"arms", MV_INT, offsetof(struct tone, arms), .fallback = "3", .min = 1, .max = 100, .unit = "1", .doc = "arms"},
    MV_FIELD_END};
static struct mv_shape tone_shape(const void *settings)
{
  (void)settings;
  return (struct mv_shape){.meta = 2, .state = 1};
}
static const struct mv_task fake_tone = {.name = "tone",
                                         .doc = "a task that nobody walks",
                                         .fields = tone_fields,
                                         .settings_size = sizeof(struct tone),
                                         .shape = tone_shape};

/* --- estimators: wave has every kind of output, plain the least ------------------------------------------- */

struct wave {
  struct mv_ints truncation;
  struct mv_reals meta_discount;
};
static const struct mv_field wave_fields[] = {
    {"truncation", MV_INT_LIST, offsetof(struct wave, truncation), .fallback = "[2, 9]", .min = 1, .max = 1e6,
     .unit = "1", .doc = "window length"},
    {"meta_discount", MV_REAL_LIST, offsetof(struct wave, meta_discount), .fallback = "[0, 0.5, 1]", .min = 0, .max = 1,
     .unit = "1", .doc = "discount"},
    MV_FIELD_END};

static int wave_outputs(const void *settings, const struct mv_problem *problem, struct mv_output *out)
{
  (void)problem;
  static const char *const modes[] = {"pathwise", "dice"};
  const struct wave *s = settings;
  struct mv_axis t = {"truncation", MV_AXIS_INTS,   s->truncation.count, {.ints = s->truncation.value},
                      "steps",      "window length"};
  struct mv_axis h = {"hessian", MV_AXIS_NAMES, 2, {.names = modes}, NULL, "derivative of the update"};
  struct mv_axis g = {"meta_discount", MV_AXIS_REALS, s->meta_discount.count, {.reals = s->meta_discount.value}, "1",
                      "gamma"};
  out[0] = (struct mv_output){"direct", "direct term", "1", MV_GRADIENT, 0, 2, {t, h}};
  out[1] = (struct mv_output){"correction", "sampling correction", "1", MV_COMPONENT, 0, 3, {t, h, g}};
  out[2] = (struct mv_output){"weighted", "window-weighted gradient", "1", MV_TARGET, 0, 1, {t}};
  out[3] = (struct mv_output){"objective", "mean objective", "1", MV_OBJECTIVE, 0, 0, {{0}}};
  out[4] = (struct mv_output){"window_start", "first step of the window", "steps", MV_NOTE, 0, 1, {t}};
  return 5;
}

static int wave_cost(const void *settings, const struct mv_problem *problem, double *primal, double *tangent)
{
  const struct wave *s = settings;
  for (int k = 0; k < 2 * s->truncation.count; k++) {
    primal[k] = (double)problem->steps;
    tangent[k] = (double)s->truncation.value[k / 2];
  }
  return 2;
}

static int plain_outputs(const void *settings, const struct mv_problem *problem, struct mv_output *out)
{
  (void)settings, (void)problem;
  out[0] = (struct mv_output){"gradient", "gradient", "1", MV_GRADIENT, 0, 0, {{0}}};
  out[1] = (struct mv_output){"objective", "mean objective", "1", MV_OBJECTIVE, 0, 0, {{0}}};
  return 2;
}

static int plain_cost(const void *settings, const struct mv_problem *problem, double *primal, double *tangent)
{
  (void)settings;
  primal[0] = (double)problem->steps;
  tangent[0] = 0;
  return 0;
}

static int64_t one(const void *settings, const struct mv_problem *problem)
{
  (void)settings, (void)problem;
  return 1;
}
static size_t little(const void *settings, const struct mv_problem *problem)
{
  (void)settings, (void)problem;
  return 64;
}
static double work(const void *settings, const struct mv_problem *problem)
{
  (void)settings;
  return (double)problem->steps;
}

static void sample(const struct mv_request *r, int64_t notes, int64_t values)
{
  double *x = (double *)r->values;
  mv_arena_take(r->arena, 64);
  for (int64_t k = 0; k < values; k++)
    for (int lane = 0; lane < LANES; lane++)
      x[k * LANES + lane] = wave_value(r->eta, r->task[lane], r->lifetime[lane], r->draw[lane], k, notes);
}
static void wave_sample(const struct mv_request *r)
{
  const struct wave *s = r->settings;
  int64_t t = s->truncation.count, notes = 4 * t + 4 * t * s->meta_discount.count + 2 * t + 1;
  sample(r, notes, notes + t);
}
static void plain_sample(const struct mv_request *r) { sample(r, 3, 3); }

static const struct mv_estimator fake_wave = {.name = "wave",
                                              .doc = "every kind of output",
                                              .fields = wave_fields,
                                              .settings_size = sizeof(struct wave),
                                              .perturbs = true,
                                              .outputs = wave_outputs,
                                              .cost = wave_cost,
                                              .lifetimes = one,
                                              .workspace = little,
                                              .work = work,
                                              .sample = wave_sample};
static const struct mv_field plain_fields[] = {MV_FIELD_END};
static const struct mv_estimator fake_plain = {.name = "plain",
                                               .doc = "one gradient",
                                               .fields = plain_fields,
                                               .outputs = plain_outputs,
                                               .cost = plain_cost,
                                               .lifetimes = one,
                                               .workspace = little,
                                               .work = work,
                                               .sample = plain_sample};

/* --- in place of kernel.c -------------------------------------------------------------------------------- */

static const struct mv_task *const fake_tasks[] = {&fake_tone, NULL};
static const struct mv_estimator *const fake_estimators[] = {&fake_plain, &fake_wave, NULL};
static const struct mv_kernel fake_kernel = {
    .name = "fake", .lanes = LANES, .tasks = fake_tasks, .estimators = fake_estimators};

const char *const mv_hessian_names[] = {"pathwise", "dice", NULL};
const char *const mv_sampler_names[] = {"inverse_cdf", "gumbel", NULL};
int mv_kernel_list(const struct mv_kernel *out[8])
{
  out[0] = &fake_kernel;
  return 1;
}
const struct mv_kernel *mv_kernel_best(void) { return &fake_kernel; }
const struct mv_kernel *mv_kernel_find(const char *name) { return strcmp(name, "fake") == 0 ? &fake_kernel : NULL; }
const struct mv_kernel *mv_kernel_for(const struct mv_kernel *kernel, const struct mv_shape *shape)
{
  (void)shape;
  return kernel;
}
void mv_kernel_label(const struct mv_kernel *kernel, const struct mv_shape *shape, char out[MV_KERNEL_LABEL])
{
  (void)shape;
  snprintf(out, MV_KERNEL_LABEL, "%s", kernel->name);
}
const struct mv_task *mv_task_find(const struct mv_kernel *kernel, const char *name)
{
  return strcmp(name, kernel->tasks[0]->name) == 0 ? kernel->tasks[0] : NULL;
}
const struct mv_estimator *mv_estimator_find(const struct mv_kernel *kernel, const char *name)
{
  for (int k = 0; kernel->estimators[k]; k++)
    if (strcmp(name, kernel->estimators[k]->name) == 0)
      return kernel->estimators[k];
  return NULL;
}

/* --- jobs ------------------------------------------------------------------------------------------------ */

/* Six eta points, a nested design with samples, the same with moments, and one entry with neither axes nor fields. */
static inline struct mv_job *fake_job(int block, int unit, int seed)
{
  char text[2000];
  snprintf(text, sizeof text,
           "name: fake\nseed: %d\nlifetime_length: 30\nblock: %d\nunit: %d\n"
           "task: {name: tone}\n"
           "eta:\n  grid:\n    - [1, 2]\n    - [0.5, 1.5, 2.5]\n"
           "estimators:\n"
           "  - {name: wave, label: waves, replicates: 101, lifetimes_per_task: 3, perturbations_per_lifetime: 2}\n"
           "  - {name: wave, label: sums, replicates: 101, lifetimes_per_task: 3, perturbations_per_lifetime: 2, "
           "store: moments}\n"
           "  - {name: plain, replicates: 37}\n",
           seed, block, unit);
  struct mv_job *job = mv_job_parse("fake.yaml", text, strlen(text), NULL, 0, &fake_kernel, stderr);
  assert_non_null(job);
  return job;
}

/* What sample `r` of an entry must be: values, every NaN the same. */
static inline void expected_row(const struct mv_plan *plan, int cell, int64_t r, double *row)
{
  const struct mv_entry *e = &plan->job->entries[mv_plan_entry(plan, cell)];
  const struct mv_layout *layout = &plan->layout[mv_plan_entry(plan, cell)];
  const double *eta = plan->job->eta + mv_plan_point(plan, cell) * plan->job->meta;
  int64_t p = e->perturbations_per_lifetime, l = e->lifetimes_per_task;
  for (int64_t k = 0; k < layout->values; k++) {
    row[k] = wave_value(eta, r / (p * l), r / p % l, r % (p * l), k, layout->moments);
    if (isnan(row[k]))
      row[k] = (double)NAN;
  }
}

static inline bool row_is_finite(const struct mv_layout *layout, const double *row)
{
  for (int64_t k = 0; k < layout->moments; k++)
    if (!isfinite(row[k]))
      return false;
  return true;
}

/* One block by the book: the mean, then sums of products of deviations, sample after sample. */
static inline void direct_moments(const struct mv_layout *layout, const double *rows, int64_t count, int64_t *finite,
                                  double *mean, double *comoment)
{
  *finite = 0;
  for (int64_t i = 0; i < layout->moments; i++) {
    double sum = 0;
    for (int64_t r = 0; r < count; r++)
      if (row_is_finite(layout, rows + r * layout->values))
        sum += rows[r * layout->values + i];
    mean[i] = sum;
  }
  for (int64_t r = 0; r < count; r++)
    *finite += row_is_finite(layout, rows + r * layout->values);
  for (int64_t i = 0; i < layout->moments; i++)
    mean[i] = *finite ? mean[i] / (double)*finite : (double)NAN;
  for (int64_t i = 0, k = 0; i < layout->moments; i++)
    for (int64_t j = i; j < layout->moments; j++, k++) {
      comoment[k] = 0;
      for (int64_t r = 0; r < count; r++) {
        const double *x = rows + r * layout->values;
        if (row_is_finite(layout, x))
          comoment[k] += (x[i] - mean[i]) * (x[j] - mean[j]);
      }
    }
}

static inline void assert_same_bits(const void *a, const void *b, size_t size)
{
  assert_memory_equal(a, b, size); /* NaN too */
}

#endif
