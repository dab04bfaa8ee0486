/* again.c - a unit computed once more. Samples follow from their coordinates; an update from the one before; with lifetimes
 * that are carried from all before it, so that it is computed from the start of the curve. */
#include "metavar/again.h"

#include <assert.h>
#include <string.h>

#include "metavar/memory.h"
#include "metavar/train.h"

struct mv_again {
  const struct mv_plan *plan;
  struct mv_worker *worker;         /* of a measurement */
  struct mv_population *population; /* of training */
};

struct mv_again *mv_again_create(const struct mv_plan *plan)
{
  struct mv_again *a = mv_memory_take(1, sizeof *a);
  a->plan = plan;
  if (plan->job->train.updates) {
    a->population = mv_population_create(plan);
  } else {
    a->worker = mv_worker_create(plan);
  }
  return a;
}

void mv_again_watch(struct mv_again *a, struct mv_trace *trace)
{
  if (a->worker)
    mv_worker_watch(a->worker, trace);
}

void mv_again_free(struct mv_again *a)
{
  mv_worker_free(a->worker);
  mv_population_free(a->population);
  free(a);
}

/* The row of an update before its measurement. False: cannot be read, told. */
static bool read_state(const struct mv_plan *plan, const struct mv_results *results, int cell, int64_t update,
                       double *state)
{
  int8_t status;
  if (update == 0) {
    mv_record_start(plan, cell, state);
    return true;
  }
  double *row = mv_memory_take((size_t)plan->layout[mv_plan_entry(plan, cell)].values, sizeof *row);
  bool fine = mv_results_sample(results, cell, update - 1, row, &status);
  if (fine) {
    mv_record_next(plan, cell, row, state);
  }
  free(row);
  return fine;
}

/* All updates of the curve up to the unit's last. */
static void compute_curve(struct mv_again *a, const struct mv_unit *unit, void *out, size_t size)
{
  const int cell = (int)unit->cell;
  const int64_t values = a->plan->layout[mv_plan_entry(a->plan, cell)].values;
  double *carried = mv_memory_take(1, mv_piece_curve(a->plan, cell));
  double *row = mv_memory_take((size_t)values, sizeof *row), *next = mv_memory_take((size_t)values, sizeof *next);
  struct mv_result_head *head = out;
  struct mv_result view;
  *head = (struct mv_result_head){.unit = *unit, .bytes = (int64_t)size};
  bool fits = mv_result_view(a->plan, out, size, &view);
  assert(fits);
  (void)fits;
  mv_record_start(a->plan, cell, next);
  for (int64_t u = 0; u < unit->first + unit->count; u++) {
    memcpy(row, next, (size_t)values * sizeof *row);
    int8_t status = mv_population_row(a->population, cell, u, carried, row);
    mv_record_next(a->plan, cell, row, next);
    if (u >= unit->first) {
      memcpy((double *)view.values + (u - unit->first) * values, row, (size_t)values * sizeof *row);
      ((int8_t *)view.status)[u - unit->first] = status;
      head->nonfinite += status != MV_OK;
    }
  }
  free(next);
  free(row);
  free(carried);
}

static bool compute_update(struct mv_again *a, const struct mv_results *results, const struct mv_unit *unit, void *out,
                           size_t size)
{
  struct mv_piece *piece = mv_memory_take(1, mv_piece_bytes(a->plan));
  *piece = (struct mv_piece){.cell = unit->cell, .row = unit->first, .rows = 1};
  bool fine = read_state(a->plan, results, (int)unit->cell, unit->first, (double *)(piece + 1));
  if (fine) {
    struct mv_answer *answer = mv_memory_take(1, mv_answer_bytes(a->plan, piece));
    mv_answer_compute(a->population, piece, answer);
    memcpy(out, answer + 1, size);
    free(answer);
  }
  free(piece);
  return fine;
}

void *mv_again_compute(struct mv_again *a, const struct mv_results *results, const struct mv_unit *unit, size_t *size)
{
  *size = mv_result_bytes(a->plan, unit);
  void *out = mv_memory_take(*size, 1);
  if (a->worker) {
    mv_worker_compute(a->worker, unit, out);
  } else if (mv_job_carries(a->plan->job)) {
    compute_curve(a, unit, out, *size);
  } else if (!compute_update(a, results, unit, out, *size)) {
    free(out);
    return NULL;
  }
  return out;
}
