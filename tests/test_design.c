/* test_design.c - nested designs through the real es and backprop, from a job text to samples.
 *
 * With P perturbations of each of L lifetime draws, replicate r has perturbation r % P, lifetime draw (r / P) % L and
 * task instance r / (P L). A tiny sigma parts them: lifetimes at eta +- sigma z are then those at eta, to the last
 * choice, so objective and F+ - F- belong to task and lifetime, and g = (F+ - F-) z / (2 sigma) shows z.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metavar/sample.h"

#define SIGMA 1e-9

/* All samples of every entry. */
struct study {
  struct mv_job *job;
  struct mv_plan *plan;
  void *bytes[4];
  struct mv_result result[4];
};

/* task: a flow mapping; estimators: flow mappings, one a line. */
static struct study study_make(int steps, const char *task, const char *estimators)
{
  char text[2000];
  int length = snprintf(text, sizeof text,
                        "name: design\nseed: 3\nlifetime_length: %d\ntask: %s\neta: {zip: [[0.5], [1]]}\n"
                        "estimators:\n%s",
                        steps, task, estimators);
  struct study s = {.job = mv_job_parse("design", text, (size_t)length, NULL, 0, mv_kernel_best(), stderr)};
  assert_non_null(s.job);
  s.plan = mv_plan_make(s.job);
  struct mv_worker *worker = mv_worker_create(s.plan);
  assert_true(s.job->entry_count <= 4);
  for (int e = 0; e < s.job->entry_count; e++) {
    struct mv_unit unit = {e, 0, s.job->entries[e].replicates};
    size_t size = mv_result_bytes(s.plan, &unit);
    s.bytes[e] = calloc(size, 1);
    mv_worker_compute(worker, &unit, s.bytes[e]);
    assert_true(mv_result_view(s.plan, s.bytes[e], size, &s.result[e]));
  }
  mv_worker_free(worker);
  return s;
}

static void study_free(struct study *s)
{
  for (int e = 0; e < s->job->entry_count; e++)
    free(s->bytes[e]);
  mv_plan_free(s->plan);
  mv_job_free(s->job);
}

/* Value k of an output in one replicate. */
static double value(const struct study *s, int entry, int64_t r, const char *output, int64_t k)
{
  const struct mv_layout *l = &s->plan->layout[entry];
  for (int o = 0; o < l->output_count; o++)
    if (!strcmp(l->output[o].name, output))
      return s->result[entry].values[r * l->values + l->offset[o] + k];
  fail_msg("no output %s", output);
  return NAN;
}

/* The direction at its documented address: task instance, replicate within it, pair. */
static void direction(const struct study *s, int64_t task, int64_t draw, int64_t pair, double z[2])
{
  struct mv_coords coords = {.key = s->plan->key[0], .task = {task}, .lifetime = {draw}};
  mv_kernel_find("scalar")->draw(&coords, MV_FOR_PERTURB, pair, 2, z);
}

/* (F+ - F-) / (2 sigma) of a replicate of one pair, from each coordinate of its gradient. */
static double slope(const struct study *s, int entry, int64_t r, int64_t task, int64_t draw)
{
  double z[2], d[2];
  direction(s, task, draw, 0, z);
  for (int j = 0; j < 2; j++)
    d[j] = value(s, entry, r, "gradient", j) / z[j];
  assert_true(fabs(d[0] - d[1]) <= 1e-12 * fabs(d[0])); /* the gradient lies along z */
  return d[0];
}

#define BANDIT "{name: bandit, arms: 7, batch: 3, cutoff: 3}"

static void perturbations_and_lifetimes(void **state)
{
  (void)state;
  enum { TASKS = 10, L = 2, P = 3 };
  struct study s = study_make(12, BANDIT,
                              "  - {name: es, sigma: 1e-9, lifetimes_per_task: 2, perturbations_per_lifetime: 3, "
                              "replicates: 60}\n");
  for (int64_t r = 0; r < TASKS * L * P; r++) {
    int64_t task = r / (P * L), lifetime = r / P % L, first = r / P * P;
    double objective = value(&s, 0, r, "objective", 0), d = slope(&s, 0, r, task, r % (P * L));
    /* the same lifetime: a difference of rewards of order 1, to rounding and sigma */
    assert_true(fabs(objective - value(&s, 0, first, "objective", 0)) < 1e-6);
    assert_true(fabs(d - slope(&s, 0, first, task, first % (P * L))) < 1e-6 / SIGMA);
    if (r > first) /* another direction */
      assert_true(value(&s, 0, r, "gradient", 0) != value(&s, 0, first, "gradient", 0));
    if (lifetime > 0)
      assert_true(fabs(objective - value(&s, 0, r - P, "objective", 0)) > 1e-6);
  }
  study_free(&s);
}

/* Two arms without noise and one choice: a lifetime's objective is the mean of one arm or the other, so a task instance
 * is known by its objectives. */
static void task_instances(void **state)
{
  (void)state;
  enum { TASKS = 8, EACH = 6 };
  struct study s = study_make(1, "{name: bandit, arms: 2, batch: 1, cutoff: 1, noise_std: 0, log_mean_min: -1}",
                              "  - {name: backprop, lifetimes_per_task: 6, replicates: 48}\n"
                              "  - {name: reference, lifetimes_per_task: 6, replicates: 48}\n");
  for (int entry = 0; entry < 2; entry++)
    for (int64_t task = 0; task < TASKS; task++) {
      double seen[2] = {value(&s, entry, task * EACH, "objective", 0), NAN};
      for (int64_t r = task * EACH; r < (task + 1) * EACH; r++) {
        double x = value(&s, entry, r, "objective", 0);
        if (x != seen[0] && isnan(seen[1]))
          seen[1] = x;
        assert_true(x == seen[0] || x == seen[1]);
        assert_true(x == value(&s, 0, r, "objective", 0)); /* estimators are paired */
        for (int64_t other = 0; other < task * EACH; other++)
          assert_true(x != value(&s, entry, other, "objective", 0));
      }
    }
  study_free(&s);
}

/* Lifetimes of one estimate and draws of one instance count on: two draws of two lifetimes are four draws of one. Those of
 * the reference are baselines of each other: of its moments only the last, the objective, is a mean of theirs. */
static void lifetimes_in_estimates(void **state)
{
  (void)state;
  struct study s = study_make(12, BANDIT,
                              "  - {name: backprop, lifetimes: 2, lifetimes_per_task: 2, replicates: 20}\n"
                              "  - {name: backprop, label: single, lifetimes_per_task: 4, replicates: 40}\n"
                              "  - {name: reference, lifetimes: 2, lifetimes_per_task: 2, replicates: 20}\n"
                              "  - {name: reference, label: one, lifetimes_per_task: 4, replicates: 40}\n");
  for (int64_t r = 0; r < 20; r++)
    for (int entry = 0; entry < 4; entry += 2)
      for (int64_t k = entry ? s.plan->layout[entry].moments - 1 : 0; k < s.plan->layout[entry].moments; k++) {
        const double *x = s.result[entry].values + r * s.plan->layout[entry].values;
        const double *y = s.result[entry + 1].values + 2 * r * s.plan->layout[entry + 1].values;
        double mean = 0.5 * (y[k] + y[s.plan->layout[entry + 1].values + k]);
        assert_true(fabs(x[k] - mean) <= 1e-12 * (1 + fabs(mean)));
      }
  study_free(&s);
}

/* Pairs likewise, each with its own direction: the gradient of two pairs is the mean of two slopes times two z. */
static void pairs_in_estimates(void **state)
{
  (void)state;
  struct study s = study_make(12, BANDIT,
                              "  - {name: es, sigma: 1e-9, population: 4, lifetimes_per_task: 2, replicates: 20}\n"
                              "  - {name: es, label: single, sigma: 1e-9, lifetimes_per_task: 4, replicates: 40}\n");
  for (int64_t r = 0; r < 20; r++)
    for (int j = 0; j < 2; j++) {
      double expected = 0;
      for (int64_t pair = 0; pair < 2; pair++) {
        double z[2];
        direction(&s, r / 2, r % 2, pair, z);
        expected += 0.5 * z[j] * slope(&s, 1, 2 * r + pair, r / 2, (2 * r + pair) % 4);
      }
      assert_true(fabs(value(&s, 0, r, "gradient", j) - expected) < 1e-6 / SIGMA);
    }
  study_free(&s);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(perturbations_and_lifetimes), cmocka_unit_test(task_instances),
                                     cmocka_unit_test(lifetimes_in_estimates), cmocka_unit_test(pairs_in_estimates)};
  return cmocka_run_group_tests_name("nested designs", tests, NULL, NULL);
}
