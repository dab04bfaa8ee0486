/* piece.c - a part of the outer loop as bytes: what a rank is given, computes and gives back.
 *
 *   piece    struct mv_piece, the row before its measurement up to mv_record_state; what its lifetimes carry, if any
 *   answer   struct mv_answer; measured rows as a result (sample.h), or sums of blocks; what the lifetimes carry then
 * An answer follows from its piece alone.
 */
#include <assert.h>
#include <string.h>

#include "metavar/clock.h"
#include "metavar/train.h"

size_t mv_piece_bytes(const struct mv_plan *plan)
{
  return sizeof(struct mv_piece) + (size_t)mv_record_state(plan->job) * sizeof(double);
}

int64_t mv_piece_carried(const struct mv_plan *plan, const struct mv_piece *piece, int64_t *at)
{
  const int entry = mv_plan_entry(plan, (int)piece->cell);
  int64_t blocks = piece->rows > 0 ? mv_population_blocks(plan->job, entry, piece->row) : piece->blocks;
  return mv_population_state(plan->job, entry, piece->rows > 0 ? 0 : piece->block, blocks, at);
}

size_t mv_piece_curve(const struct mv_plan *plan, int64_t cell)
{
  int64_t at;
  return (size_t)mv_piece_carried(plan, &(struct mv_piece){.cell = cell, .rows = 1}, &at) * sizeof(double);
}

static struct mv_unit unit_of(const struct mv_piece *piece)
{
  return (struct mv_unit){piece->cell, piece->row, piece->rows};
}

/* An answer's bytes before what is carried. */
static size_t measured_bytes(const struct mv_plan *plan, const struct mv_piece *piece)
{
  struct mv_unit unit = unit_of(piece);
  int width = mv_population_width(plan->job, mv_plan_entry(plan, (int)piece->cell));
  size_t sums = (size_t)(piece->blocks * width) * sizeof(double);
  return sizeof(struct mv_answer) + (piece->rows > 0 ? mv_result_bytes(plan, &unit) : sums);
}

size_t mv_answer_bytes(const struct mv_plan *plan, const struct mv_piece *piece)
{
  int64_t at;
  return measured_bytes(plan, piece) + (size_t)mv_piece_carried(plan, piece, &at) * sizeof(double);
}

const double *mv_answer_carried(const struct mv_plan *plan, const struct mv_answer *answer)
{
  return (const double *)((const char *)answer + measured_bytes(plan, &answer->piece));
}

static void compute_rows(struct mv_population *p, const struct mv_plan *plan, const struct mv_piece *piece,
                         double *carried, void *bytes)
{
  struct mv_result_head *head = bytes;
  struct mv_result view;
  *head = (struct mv_result_head){.unit = unit_of(piece)};
  size_t size = mv_result_bytes(plan, &head->unit);
  head->bytes = (int64_t)size;
  bool fits = mv_result_view(plan, bytes, size, &view);
  assert(fits);
  (void)fits;
  int64_t values = plan->layout[mv_plan_entry(plan, (int)piece->cell)].values;
  double *row = (double *)view.values;
  int8_t *status = (int8_t *)view.status;
  memset(status, 0, (size_t)(piece->rows + 7) / 8 * 8);
  memcpy(row, piece + 1, (size_t)mv_record_state(plan->job) * sizeof *row);
  for (int64_t r = 0; r < piece->rows; r++, row += values) {
    if (r > 0) {
      mv_record_next(plan, (int)piece->cell, row - values, row);
    }
    status[r] = mv_population_row(p, (int)piece->cell, piece->row + r, carried, row);
    head->nonfinite += status[r] != MV_OK;
  }
}

void mv_answer_compute(struct mv_population *p, const struct mv_piece *piece, struct mv_answer *answer)
{
  const struct mv_plan *plan = mv_population_plan(p);
  double start = mv_clock_monotonic();
  *answer = (struct mv_answer){.piece = *piece};
  int64_t at, count = mv_piece_carried(plan, piece, &at);
  double *carried = count > 0 ? (double *)mv_answer_carried(plan, answer) : NULL;
  if (carried && piece->row > 0) {
    memcpy(carried, (const char *)piece + mv_piece_bytes(plan), (size_t)count * sizeof *carried);
  }
  if (piece->rows > 0) {
    compute_rows(p, plan, piece, carried, answer + 1);
  } else {
    double *sums = (double *)(answer + 1), *eta = mv_record_view(plan->job, (double *)(piece + 1)).eta;
    mv_population_compute(p, (int)piece->cell, piece->row, eta, piece->block, piece->blocks, carried, sums);
  }
  answer->seconds = mv_clock_monotonic() - start;
}
