/* calibrate.c - how long one replicate of each entry takes on this machine.
 *
 * Times the production worker on a few lane groups of the middle eta point. The worker runs on a copy of the job in which every entry
 * stores samples: a unit of moments is at least a block, which may be long. The results are thrown away, and no result depends
 * on the times: they only size and order units and predict core-hours.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "metavar/clock.h"
#include "metavar/memory.h"
#include "metavar/sample.h"
#include "metavar/schedule.h"

#define RESULT_BYTES (INT64_C(64) << 20) /* largest result of a timed unit */

/* Seconds per replicate of one entry: one lane group, then twice as many until they take `slice` seconds. */
static double time_entry(struct mv_worker *worker, const struct mv_plan *plan, int entry, double slice)
{
  const struct mv_job *job = plan->job;
  struct mv_unit unit = {(int64_t)entry * job->points + job->points / 2, 0, MV_LANES_MAX};
  for (;;) {
    if (unit.count > job->entries[entry].replicates) {
      unit.count = job->entries[entry].replicates;
    }
    size_t bytes = mv_result_bytes(plan, &unit);
    void *out = mv_memory_take(1, bytes);
    double start = mv_clock_monotonic();
    mv_worker_compute(worker, &unit, out);
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
  double per_step = 0; /* seconds per inner step, mean over the entries measured */
  int measured = 0;
  for (int e = 0; e < entries; e++) {
    double left = budget - (mv_clock_monotonic() - start);
    assert(plan->work[e] > 0);
    if (measured > 0 && left <= 0) {
      seconds[e] = per_step * plan->work[e];
      continue;
    }
    seconds[e] = time_entry(worker, &sampled, e, left / (entries - e) / 2);
    measured++;
    per_step += (seconds[e] / plan->work[e] - per_step) / measured;
  }
  mv_worker_free(worker);
  free(job.entries);
  return mv_clock_monotonic() - start;
}
