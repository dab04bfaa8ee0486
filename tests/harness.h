/* harness.h - what the tests of the inner loops share: problems with default settings, one call per replicate. */
#ifndef METAVAR_TESTS_HARNESS_H
#define METAVAR_TESTS_HARNESS_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metavar/selfcheck.h"

/* A task and an estimator with default settings, ready to sample in one kernel. */
struct rig {
  const struct mv_kernel *kernel;
  struct mv_problem problem;
  const struct mv_estimator *estimator;
  void *task_settings, *settings;
  struct mv_arena arena;
  struct mv_output output[MV_OUTPUTS_MAX];
  int outputs;
  int64_t offset[MV_OUTPUTS_MAX + 1]; /* of each output in values, and their total */
  double *values;                     /* [total][lanes] */
};

static inline struct mv_problem problem_make(const struct mv_kernel *kernel, const char *task, int64_t steps,
                                             void **settings)
{
  return mv_selfcheck_problem(kernel, task, NULL, steps, settings);
}

/* Call rig_ready() after changing settings. */
static inline void rig_make(struct rig *r, const struct mv_kernel *kernel, const char *task, const char *estimator,
                            int64_t steps)
{
  memset(r, 0, sizeof *r);
  r->kernel = kernel;
  r->problem = problem_make(kernel, task, steps, &r->task_settings);
  r->estimator = mv_estimator_find(kernel, estimator);
  assert_non_null(r->estimator);
  r->settings = calloc(1, r->estimator->settings_size);
  mv_field_defaults(r->estimator->fields, r->settings);
}

static inline void rig_ready(struct rig *r)
{
  if (r->estimator->complete)
    r->estimator->complete(r->settings, &r->problem, NULL);
  r->outputs = r->estimator->outputs(r->settings, &r->problem, r->output);
  for (int o = 0; o < r->outputs; o++) {
    int64_t size = r->output[o].role <= MV_TARGET ? r->problem.shape.meta : 1;
    for (int a = 0; a < r->output[o].rank; a++)
      size *= r->output[o].axis[a].length;
    r->offset[o + 1] = r->offset[o] + size;
  }
  mv_arena_create(&r->arena, r->estimator->workspace(r->settings, &r->problem));
  r->values =
      aligned_alloc(MV_ALIGN, mv_arena_cost(sizeof(double) * (size_t)(r->offset[r->outputs] * r->kernel->lanes)));
}

static inline void rig_free(struct rig *r)
{
  mv_arena_free(&r->arena);
  free(r->values), free(r->settings), free(r->task_settings);
}

/* A setting by name; the caller knows its type. */
static inline void *rig_setting(struct rig *r, const char *name)
{
  const struct mv_field *f = mv_field_find(r->estimator->fields, name);
  assert_non_null(f);
  return (char *)r->settings + f->offset;
}

/* Index of a word that a setting knows. */
static inline int rig_word(const struct rig *r, const char *name, const char *word)
{
  const char *const *known = mv_field_find(r->estimator->fields, name)->choices;
  int i = 0;
  while (known[i] && strcmp(known[i], word))
    i++;
  assert_non_null(known[i]);
  return i;
}

/* Sets a list of words; NULL-terminated. */
static inline void rig_choose(struct rig *r, const char *name, const char *const *words)
{
  struct mv_choices *list = rig_setting(r, name);
  for (list->count = 0; *words; words++)
    list->value[list->count++] = rig_word(r, name, *words);
}

static inline int64_t rig_total(const struct rig *r) { return r->offset[r->outputs]; }

static inline void *rig_task_setting(struct rig *r, const char *name)
{
  const struct mv_field *f = mv_field_find(r->problem.task->fields, name);
  assert_non_null(f);
  return (char *)r->task_settings + f->offset;
}

static inline int64_t rig_offset(const struct rig *r, const char *output)
{
  for (int o = 0; o < r->outputs; o++)
    if (!strcmp(r->output[o].name, output))
      return r->offset[o];
  fail_msg("no output %s", output);
  return -1;
}

/* One lane group whose first replicate is `first`: tasks first, first + 1, ... */
static inline void rig_sample(struct rig *r, struct mv_key key, const double *eta, int64_t first,
                              const struct mv_forced *forced)
{
  struct mv_request q = {.problem = &r->problem,
                         .settings = r->settings,
                         .eta = eta,
                         .key = key,
                         .count = r->kernel->lanes,
                         .forced = forced,
                         .arena = &r->arena,
                         .values = (void *)r->values};
  for (int l = 0; l < MV_LANES_MAX; l++)
    q.task[l] = first + (l < r->kernel->lanes ? l : 0);
  r->arena.used = 0;
  r->estimator->sample(&q);
}

static inline double rig_value(const struct rig *r, int64_t i, int lane)
{
  return r->values[i * r->kernel->lanes + lane];
}

/* The widest kernel that serves a task. */
static inline const struct mv_kernel *kernel_of(const char *task)
{
  return mv_selfcheck_serves(mv_kernel_best(), task) ? mv_kernel_best() : mv_kernel_find("scalar");
}

/* Kernels that make samples: all but the shadow. */
static inline int kernels_real(const struct mv_kernel *out[8])
{
  const struct mv_kernel *all[8];
  int n = mv_kernel_list(all), kept = 0;
  for (int i = 0; i < n; i++)
    if (strcmp(all[i]->name, "shadow"))
      out[kept++] = all[i];
  return kept;
}

#endif
