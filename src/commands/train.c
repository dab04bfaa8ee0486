/* train.c - `metavar train`: the missing updates of a job's curves, by all ranks, into a run directory. */
#include <stdlib.h>

#include "metavar/launch.h"
#include "metavar/memory.h"
#include "metavar/ranges.h"
#include "metavar/schedule.h"
#include "metavar/train.h"

struct train {
  struct mv_launch launch;
  struct mv_population *population;
  struct mv_curves *curves; /* rank 0 */
};

static int read_row(void *self, int cell, int64_t row, double *values, int8_t *status)
{
  struct train *t = self;
  return mv_store_row(t->launch.store, cell, row, values, status);
}

static void store(void *self, const void *result, size_t size)
{
  struct train *t = self;
  const struct mv_result_head *head = result;
  mv_meter_add(&t->launch.meter, head->unit.count, head->nonfinite, 0);
  mv_launch_store(&t->launch, result, size);
}

static int64_t find_carried(void *self, int cell, int64_t limit, size_t bytes, double **state)
{
  struct train *t = self;
  return mv_store_carried(t->launch.store, cell, limit, bytes, (void **)state);
}

static const void *carried(void *self, int64_t cell, int64_t row, size_t *bytes)
{
  struct train *t = self;
  *bytes = mv_piece_curve(t->launch.plan, cell);
  return mv_curves_carried(t->curves, cell, row);
}

static int begin(void *self, bool *missing)
{
  struct train *t = self;
  t->curves = mv_curves_create(t->launch.plan, &(struct mv_curves_hooks){t, read_row, find_carried, store});
  if (mv_job_carries(t->launch.job)) {
    mv_store_on_carried(t->launch.store, carried, t);
  }
  mv_store_committed(t->launch.store, mv_curves_mark, t->curves);
  *missing = mv_curves_missing(t->curves) > 0;
  return MV_EXIT_OK;
}

static double start(void *self)
{
  struct train *t = self;
  const struct mv_plan *plan = t->launch.plan;
  t->population = mv_population_create(plan);
  if (!t->curves) {
    return 0;
  }
  double *seconds = mv_memory_take((size_t)plan->job->entry_count + 1, sizeof *seconds);
  mv_population_calibrate(plan, MV_CALIBRATION_SECONDS, seconds);
  t->launch.exit_code = mv_curves_start(t->curves, seconds, t->launch.hands);
  mv_meter_start(&t->launch.meter, "updates", t->launch.options.period, mv_plan_samples(plan),
                 mv_curves_left(t->curves), mv_curves_seconds(t->curves));
  free(seconds);
  return mv_curves_longest(t->curves);
}

static size_t unit_size(const void *self) { return mv_piece_bytes(((const struct train *)self)->launch.plan); }

static enum mv_next next(void *self, void *unit)
{
  struct train *t = self;
  enum mv_next next = t->launch.exit_code ? MV_NEXT_NONE : mv_curves_next(t->curves, unit);
  bool late = next == MV_NEXT_UNIT && !mv_launch_admit(&t->launch, mv_curves_predict(t->curves, unit));
  return late ? MV_NEXT_NONE : next;
}

static bool done(void *self, const void *bytes, size_t size)
{
  struct train *t = self;
  const struct mv_answer *answer = bytes;
  double predicted = mv_curves_predict(t->curves, &answer->piece);
  (void)size;
  mv_launch_back(&t->launch, predicted, answer->seconds);
  mv_meter_add(&t->launch.meter, 0, 0, predicted);
  mv_curves_done(t->curves, answer);
  return t->launch.exit_code == MV_EXIT_OK;
}

static size_t load(void *self, const void *unit, void *out)
{
  return mv_curves_load(((const struct train *)self)->curves, unit, out);
}

static size_t compute(void *self, const void *unit, void **result, size_t *capacity)
{
  struct train *t = self;
  size_t size = mv_answer_bytes(t->launch.plan, unit);
  if (size > *capacity) {
    free(*result);
    *result = mv_memory_take(1, size);
    *capacity = size;
  }
  mv_answer_compute(t->population, unit, *result);
  return size;
}

static void flush(void *self)
{
  struct train *t = self;
  if (t->launch.exit_code == MV_EXIT_OK) {
    mv_curves_flush(t->curves);
  }
}

static void release(void *self)
{
  struct train *t = self;
  mv_population_free(t->population);
  mv_curves_free(t->curves);
}

static const struct mv_undertaking undertaking = {.verb = "train",
                                                  .other = "run",
                                                  .trains = true,
                                                  .size = sizeof(struct train),
                                                  .begin = begin,
                                                  .start = start,
                                                  .unit_size = unit_size,
                                                  .next = next,
                                                  .done = done,
                                                  .load = load,
                                                  .compute = compute,
                                                  .flush = flush,
                                                  .release = release};

static int run(const struct mv_args *args) { return mv_launch(&undertaking, args); }

const struct mv_command mv_command_train = {
    .name = "train",
    .positional = "JOB",
    .least = 1,
    .most = 1,
    .summary = "follow estimated gradients from the job's starting points; go on where an earlier run of it stopped",
    .doc =
        "Trains eta: one curve for each starting point (eta:), seed and estimator of the job file JOB, which has a "
        "section `train:`. Every update of every curve is stored, with eta, the gradient, its error and norm, and the "
        "objective, and is a checkpoint. RUN/results.h5 is written when all are there; it is the same bits for any "
        "number of ranks. Start it under mpirun or srun to use many cores: many curves are shared out among the ranks, "
        "and the populations of a few curves are spread over all of them. Stopping, time limits, and going on work as "
        "with metavar run; more updates, seeds, starts or estimators extend the run.",
    .options = (const struct mv_option[]){MV_LAUNCH_OPTIONS, {0}},
    .run = run,
};
