/* calibrate.c - how long one replicate of each entry takes on this machine.
 *
 * Times the production worker on a few lane groups of the middle eta point. The worker runs on a copy of the job in
 * which every entry stores samples, because a unit of moments is at least a block, which may be long; the making of
 * moments is timed on those samples. The results are thrown away, and no result depends on the times: they only size
 * and order units and predict core-hours.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "metavar/clock.h"
#include "metavar/memory.h"
#include "metavar/sample.h"
#include "metavar/schedule.h"

#define PROBE_STEPS  8
#define RESULT_BYTES (INT64_C(64) << 20) /* largest result of a timed unit */

/* Makes the moments of a timed unit's samples, into memory of its own. */
static void make_moments(const struct mv_plan *plan, const struct mv_layout *layout, const void *bytes, size_t size)
{
  struct mv_result r;
  bool fits = mv_result_view(plan, bytes, size, &r);
  assert(fits && "result of a timed unit");
  size_t largest = (size_t)layout->vectors * MV_LARGEST;
  double *out = mv_memory_take((size_t)(layout->moments + layout->pairs) + largest, sizeof *out);
  int64_t finite, nonfinite, *ids = mv_memory_take(largest, sizeof *ids);
  double *comoment = out + layout->moments;
  mv_moments_make(layout, r.values, r.status, 0, r.head->unit.count, &finite, &nonfinite, out, comoment,
                  comoment + layout->pairs, ids);
  free(ids);
  free(out);
}

static void watch_nothing(void *self, int64_t n, const struct mv_report *report, struct mv_block *blocks)
{
  (void)self, (void)n, (void)report, (void)blocks;
}

/* Seconds of one inner step of one lifetime, primal only: bounds what a lane group of an entry will take. */
static double time_step(const struct mv_plan *plan)
{
  const struct mv_job *job = plan->job;
  const int lanes = job->kernel->lanes, point = job->points / 2;
  struct mv_arena arena;
  size_t eta_bytes = sizeof(double) * (size_t)(job->meta * lanes);
  mv_arena_create(&arena, job->kernel->walk_bytes(&job->problem, 0) + mv_arena_cost(eta_bytes));
  double *eta = mv_arena_take(&arena, eta_bytes);
  for (int i = 0; i < job->meta * lanes; i++)
    eta[i] = job->eta[point * job->meta + i / lanes];
  struct mv_walk walk = {.problem = &job->problem, .eta = eta, .arena = &arena, .coords.key = plan->key[point]};
  walk.steps = job->lifetime_length < PROBE_STEPS ? job->lifetime_length : PROBE_STEPS;
  double start = mv_clock_monotonic();
  job->kernel->walk_run(&walk, watch_nothing, NULL);
  double took = mv_clock_monotonic() - start;
  mv_arena_free(&arena);
  return took / (double)(walk.steps * lanes);
}

/* Seconds per replicate of one entry: one lane group, then twice as many until they take `slice` seconds. */
static double time_entry(struct mv_worker *worker, const struct mv_plan *plan, int entry, bool moments, double slice)
{
  const struct mv_job *job = plan->job;
  struct mv_unit unit = {(int64_t)entry * job->points + job->points / 2, 0, job->kernel->lanes};
  for (;;) {
    if (unit.count > job->entries[entry].replicates) {
      unit.count = job->entries[entry].replicates;
    }
    size_t bytes = mv_result_bytes(plan, &unit);
    void *out = mv_memory_take(1, bytes);
    double start = mv_clock_monotonic();
    mv_worker_compute(worker, &unit, out);
    if (moments) {
      make_moments(plan, &plan->layout[entry], out, bytes);
    }
    double took = mv_clock_monotonic() - start;
    free(out);
    if (2 * took > slice || unit.count == job->entries[entry].replicates || 2 * (int64_t)bytes > RESULT_BYTES) {
      return (took > 1e-9 ? took : 1e-9) / (double)unit.count;
    }
    unit.count *= 2;
  }
}

double mv_calibrate(const struct mv_plan *plan, double budget, double *seconds)
{
  double start = mv_clock_monotonic();
  int entries = plan->job->entry_count;
  struct mv_job job = *plan->job;
  struct mv_plan sampled = *plan;
  job.entries = mv_memory_take((size_t)entries, sizeof *job.entries);
  memcpy(job.entries, plan->job->entries, (size_t)entries * sizeof *job.entries);
  for (int e = 0; e < entries; e++) {
    job.entries[e].store = MV_STORE_SAMPLES;
  }
  sampled.job = &job;
  struct mv_worker *worker = mv_worker_create(&sampled);
  double per_step = time_step(plan); /* seconds per inner step; mean over the entries measured once there are some */
  int measured = 0;
  for (int e = 0; e < entries; e++) {
    double left = budget - (mv_clock_monotonic() - start);
    assert(plan->work[e] > 0);
    double group = per_step * plan->work[e] * plan->job->kernel->lanes; /* one lane group, roughly */
    if ((measured > 0 && left <= 0) || group > 4 * budget) {
      seconds[e] = per_step * plan->work[e];
      continue;
    }
    bool moments = plan->job->entries[e].store == MV_STORE_MOMENTS;
    seconds[e] = time_entry(worker, &sampled, e, moments, left / (entries - e) / 2);
    measured++;
    per_step += (seconds[e] / plan->work[e] - per_step) / measured;
  }
  mv_worker_free(worker);
  free(job.entries);
  return mv_clock_monotonic() - start;
}
