/* store_join.c - results of units that follow each other become one before they are written.
 *
 * A unit of a shard is an HDF5 group with a dozen objects: a fifth of a millisecond and 2.4 kB, whatever it holds. Rank 0
 * of a few thousand ranks has thousands of results to write each second. They were handed out in order, so those of
 * one commit lie side by side but for some that are still under way, and a few groups hold them all.
 */
#include "metavar/store_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "metavar/memory.h"

#define JOINED_BYTES (1 << 20) /* beyond, a group costs less than a copy */

/* One field of a result: so many bytes for each replicate, or each block of moments. */
struct part {
  const void *bytes;
  size_t row;
};

#define PARTS_MAX 6

/* The fields in the order of sample.h; *rows of each. */
static int result_parts(const struct mv_plan *plan, const struct mv_result *r, struct part *part, int64_t *rows)
{
  const struct mv_layout *l = &plan->layout[mv_plan_entry(plan, (int)r->head->unit.cell)];
  if (r->values) {
    part[0] = (struct part){r->values, 8 * (size_t)l->values};
    part[1] = (struct part){r->status, 1};
    *rows = r->head->unit.count;
    return 2;
  }
  size_t largest = 8 * (size_t)l->vectors * MV_LARGEST;
  part[0] = (struct part){r->count, 8};
  part[1] = (struct part){r->nonfinite, 8};
  part[2] = (struct part){r->mean, 8 * (size_t)l->moments};
  part[3] = (struct part){r->comoment, 8 * (size_t)l->pairs};
  part[4] = (struct part){r->largest, largest};
  part[5] = (struct part){r->largest_id, largest};
  *rows = r->blocks;
  return PARTS_MAX;
}

static int compare_results(const void *left, const void *right)
{
  const struct mv_unit *a = &((const struct mv_result *)left)->head->unit;
  const struct mv_unit *b = &((const struct mv_result *)right)->head->unit;
  if (a->cell != b->cell)
    return a->cell < b->cell ? -1 : 1;
  return (a->first > b->first) - (a->first < b->first);
}

/* How many of the sorted results, from the first on, can be one; the head of that. Only the last block of a cell can be
 * short, so whole blocks stay whole. */
static int join_length(const struct mv_plan *plan, const struct mv_result *r, int count, struct mv_result_head *head)
{
  int n = 1;
  for (*head = *r[0].head; n < count; n++) {
    const struct mv_result_head *next = r[n].head;
    struct mv_unit both = {head->unit.cell, head->unit.first, head->unit.count + next->unit.count};
    if (next->unit.cell != both.cell || next->unit.first != both.first + head->unit.count ||
        mv_result_bytes(plan, &both) > JOINED_BYTES)
      break;
    head->unit = both;
    head->nonfinite += next->nonfinite;
    head->seconds += next->seconds;
  }
  head->bytes = (int64_t)mv_result_bytes(plan, &head->unit);
  return n;
}

/* results[count] become one; they are freed. */
static struct mv_result join(const struct mv_plan *plan, const struct mv_result *results, int count,
                             const struct mv_result_head *head)
{
  struct mv_result joined;
  struct part from[PARTS_MAX], to[PARTS_MAX];
  int64_t at = 0, rows;
  struct mv_result_head *bytes = mv_memory_grow(NULL, (size_t)head->bytes, 1);
  *bytes = *head;
  bool fits = mv_result_view(plan, bytes, (size_t)head->bytes, &joined);
  assert(fits && "units of one cell that follow each other");
  int parts = result_parts(plan, &joined, to, &rows);
  for (int k = 0; k < count; k++, at += rows) {
    result_parts(plan, &results[k], from, &rows);
    for (int p = 0; p < parts; p++)
      memcpy((char *)to[p].bytes + (size_t)at * to[p].row, from[p].bytes, (size_t)rows * from[p].row);
    free((void *)results[k].head);
  }
  return joined;
}

int mv_results_join(const struct mv_plan *plan, struct mv_result *results, int count)
{
  int kept = 0, n;
  if (count > 1)
    qsort(results, (size_t)count, sizeof *results, compare_results);
  for (int k = 0; k < count; k += n) {
    struct mv_result_head head;
    n = join_length(plan, results + k, count - k, &head);
    results[kept++] = n == 1 ? results[k] : join(plan, results + k, n, &head);
  }
  return kept;
}
