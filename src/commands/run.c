/* run.c - `metavar run`: every missing replicate of a job, by all ranks, into a run directory. */
#include <assert.h>
#include <stdlib.h>

#include "metavar/launch.h"
#include "metavar/memory.h"
#include "metavar/ranges.h"
#include "metavar/schedule.h"

struct run {
  struct mv_launch launch;
  struct mv_worker *worker;
  /* rank 0 */
  struct mv_schedule *schedule;
  double *seconds; /* [entry_count] per replicate */
};

/* As the calibration has it. */
static double predicted_seconds(const struct run *r, const struct mv_unit *unit)
{
  return (double)unit->count * r->seconds[mv_plan_entry(r->launch.plan, (int)unit->cell)];
}

/* Decides what a stopping rule has to decide, if a round is complete; then what is missing. Exit code. */
static int next_round(struct run *r, bool *more)
{
  int exit_code = mv_store_decide(r->launch.store, more);
  mv_schedule_free(r->schedule);
  r->schedule = mv_schedule_create(r->launch.plan);
  mv_store_committed(r->launch.store, mv_schedule_mark, r->schedule);
  return exit_code;
}

static int begin(void *self, bool *missing)
{
  struct run *r = self;
  bool more;
  int exit_code = next_round(r, &more);
  *missing = mv_schedule_samples(r->schedule) > 0;
  return exit_code;
}

static bool more(void *self)
{
  struct run *r = self;
  bool there = false;
  if (r->launch.late || r->launch.exit_code != MV_EXIT_OK) {
    return false;
  }
  r->launch.exit_code = next_round(r, &there);
  if (r->launch.exit_code != MV_EXIT_OK || !there) {
    return false;
  }
  mv_schedule_cut(r->schedule, r->seconds, mv_comm_size(r->launch.comm));
  mv_meter_grow(&r->launch.meter, mv_plan_samples(r->launch.plan), mv_schedule_seconds(r->schedule));
  return true;
}

/* Rank 0 cuts the missing replicates into units. */
static double start(void *self)
{
  struct run *r = self;
  const struct mv_plan *plan = r->launch.plan;
  r->worker = mv_worker_create(plan);
  if (!r->schedule) {
    return 0;
  }
  r->seconds = mv_memory_take((size_t)plan->job->entry_count, sizeof *r->seconds);
  mv_calibrate(plan, MV_CALIBRATION_SECONDS, r->seconds);
  mv_schedule_cut(r->schedule, r->seconds, mv_comm_size(r->launch.comm));
  mv_meter_start(&r->launch.meter, "samples", r->launch.options.period, mv_plan_samples(plan),
                 mv_schedule_samples(r->schedule), mv_schedule_seconds(r->schedule));
  return mv_schedule_longest(r->schedule);
}

static size_t unit_size(const void *self)
{
  (void)self;
  return sizeof(struct mv_unit);
}

static enum mv_next next(void *self, void *unit)
{
  struct run *r = self;
  bool there = mv_schedule_next(r->schedule, unit) && mv_launch_admit(&r->launch, predicted_seconds(r, unit));
  return there ? MV_NEXT_UNIT : MV_NEXT_NONE;
}

static bool done(void *self, const void *bytes, size_t size)
{
  struct run *r = self;
  struct mv_result result;
  bool fits = mv_result_view(r->launch.plan, bytes, size, &result);
  assert(fits && "result of a unit");
  const struct mv_unit *unit = &result.head->unit;
  double predicted = predicted_seconds(r, unit);
  mv_meter_add(&r->launch.meter, unit->count, result.head->nonfinite, predicted);
  mv_launch_back(&r->launch, predicted, result.head->seconds);
  return mv_launch_store(&r->launch, bytes, size);
}

static size_t compute(void *self, const void *bytes, void **result, size_t *capacity)
{
  struct run *r = self;
  const struct mv_unit *unit = bytes;
  size_t size = mv_result_bytes(r->launch.plan, unit);
  if (size > *capacity) {
    free(*result);
    *result = mv_memory_take(1, size);
    *capacity = size;
  }
  mv_worker_compute(r->worker, unit, *result);
  return size;
}

static void release(void *self)
{
  struct run *r = self;
  mv_worker_free(r->worker);
  mv_schedule_free(r->schedule);
  free(r->seconds);
}

static const struct mv_undertaking undertaking = {.verb = "run",
                                                  .other = "train",
                                                  .size = sizeof(struct run),
                                                  .begin = begin,
                                                  .start = start,
                                                  .unit_size = unit_size,
                                                  .next = next,
                                                  .more = more,
                                                  .done = done,
                                                  .compute = compute,
                                                  .release = release};

static int run(const struct mv_args *args) { return mv_launch(&undertaking, args); }

const struct mv_command mv_command_run = {
    .name = "run",
    .positional = "JOB",
    .least = 1,
    .most = 1,
    .summary = "compute a job into a run directory; go on where an earlier run of it stopped",
    .doc =
        "Computes every replicate of the job file JOB that the run directory does not hold yet, and writes "
        "RUN/results.h5 when all "
        "are there. Start it under mpirun or srun to use many cores; results are the same bits for any number of "
        "ranks. On SIGTERM, SIGINT or SIGUSR1, when somebody says metavar stop RUN, and when the time is nearly up "
        "it stores what is done and leaves with exit code 75: run the same command again to go on. SIGTERM or "
        "SIGINT a second time ends it at once; what was stored stays.\n"
        "The time is that of --max-time, or else what SLURM grants this job (SLURM_JOB_END_TIME, or squeue), less a "
        "margin of 60 seconds or a tenth of it, whichever is less. No work is begun that would not be back by then.\n"
        "A job file with more replicates, eta points or estimators than the run was made with extends it: what is "
        "done is kept.\n"
        "With --target-se (or stop: in the job file) replicates go where they are needed: all cells get a first round "
        "of 32 blocks, and those whose relative error is still larger get twice as many, and so on, at most the "
        "entry's replicates. Which samples result does not depend on ranks, units or interruptions. Cells that have "
        "the most "
        "and not reached the target are told.",
    .options =
        (const struct mv_option[]){
            MV_LAUNCH_OPTIONS,
            {"target-se", 0, "X[:STATISTIC]",
             "stop a cell where the relative standard error of the variance (default) or of the gradient is at most X; "
             "short for --set stop='{relative_error: X, statistic: STATISTIC}'"},
            {"max-replicates", 0, "N", "the most that a cell may get; short for --set 'estimators.*.replicates=N'"},
            {0}},
    .run = run,
};
