/* ranges.c - sets of replicates as sorted ranges.
 *
 * Units arrive almost in order, so they join into a few ranges per cell and the set stays small however many units it
 * is made of. Finding is a binary search; adding moves what lies behind.
 */
#include "metavar/ranges.h"

#include <stdlib.h>
#include <string.h>

#include "metavar/memory.h"

void mv_ranges_free(struct mv_ranges *set)
{
  free(set->range);
  *set = (struct mv_ranges){0};
}

static int64_t end_of(const struct mv_unit *range) { return range->first + range->count; }

/* Index of the first range that ends at this replicate of the cell or later. */
static size_t find(const struct mv_ranges *set, int64_t cell, int64_t replicate)
{
  size_t low = 0, high = set->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    const struct mv_unit *range = &set->range[middle];
    if (range->cell < cell || (range->cell == cell && end_of(range) < replicate)) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/* Puts one range in the place of those at [from, to). */
static void replace(struct mv_ranges *set, size_t from, size_t to, struct mv_unit range)
{
  if (from == to && set->count == set->capacity) {
    set->capacity = 2 * set->capacity + 16;
    set->range = mv_memory_grow(set->range, set->capacity, sizeof *set->range);
  }
  if (from + 1 != to) {
    memmove(set->range + from + 1, set->range + to, (set->count - to) * sizeof *set->range);
  }
  set->range[from] = range;
  set->count = set->count + 1 - (to - from);
}

void mv_ranges_add(struct mv_ranges *set, const struct mv_unit *unit)
{
  int64_t first = unit->first, end = end_of(unit);
  size_t from = find(set, unit->cell, first), to = from;
  for (; to < set->count && set->range[to].cell == unit->cell && set->range[to].first <= end; to++) {
    first = set->range[to].first < first ? set->range[to].first : first;
    end = end_of(&set->range[to]) > end ? end_of(&set->range[to]) : end;
    set->samples -= set->range[to].count;
  }
  set->samples += end - first;
  replace(set, from, to, (struct mv_unit){unit->cell, first, end - first});
}

void mv_ranges_gaps(const struct mv_ranges *set, const struct mv_unit *unit,
                    void (*visit)(void *self, const struct mv_unit *gap), void *self)
{
  int64_t at = unit->first, end = end_of(unit);
  for (size_t k = find(set, unit->cell, at); k < set->count && at < end; k++) {
    const struct mv_unit *range = &set->range[k];
    if (range->cell != unit->cell || range->first >= end) {
      break;
    }
    if (range->first > at) {
      visit(self, &(struct mv_unit){unit->cell, at, range->first - at});
    }
    at = end_of(range);
  }
  if (at < end) {
    visit(self, &(struct mv_unit){unit->cell, at, end - at});
  }
}

static void count_gap(void *samples, const struct mv_unit *gap) { *(int64_t *)samples += gap->count; }

int64_t mv_plan_missing(const struct mv_plan *plan, const struct mv_ranges *have)
{
  int64_t samples = 0;
  for (int cell = 0; cell < plan->cells; cell++) {
    mv_ranges_gaps(have, &(struct mv_unit){cell, 0, plan->replicates[cell]}, count_gap, &samples);
  }
  return samples;
}

int64_t mv_plan_samples(const struct mv_plan *plan)
{
  int64_t samples = 0;
  for (int cell = 0; cell < plan->cells; cell++) {
    samples += plan->replicates[cell];
  }
  return samples;
}
