/* schedule.c - from what is committed to the units that are still to do.
 *
 * The replicates of a cell are 0, 1, ..., plan->replicates[cell] - 1. Those missing form a few ranges, and units are cut
 * from these when they are asked for, so a study of a hundred million replicates takes no more memory than one of a
 * thousand. A unit is a whole number of pieces: of lane groups, or of blocks where the entry stores moments.
 *
 * Guided self-scheduling (Polychronopoulos & Kuck 1987): with W seconds of work left, P ranks get units of W / (8 P)
 * seconds, between bounds, so that all end at about the same time, however wrong a prediction was. A piece cannot be cut,
 * so the ranges of the longest pieces come first (Graham 1969).
 */
#include "metavar/schedule.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "metavar/memory.h"
#include "metavar/ranges.h"
#include "metavar/sample.h"

#define UNIT_SECONDS   0.75 /* long against a message, short against a patient user; or as rank 0 needs */
#define LAST_SECONDS   0.02 /* the last ones; or as rank 0 needs */
#define UNITS_PER_RANK 8    /* in what is left */
#define UNIT_BYTES     (INT64_C(64) << 20)     /* of one result */
#define GROUP          ((int64_t)MV_LANES_MAX) /* replicates that any kernel computes side by side without waste */

struct range {
  int64_t cell, first, count;
  int64_t piece, most; /* replicates of the smallest and of the largest unit */
  double seconds;      /* of a replicate */
};

struct cursor { /* the next unit: */
  size_t range;
  int64_t within; /* replicates of the range before it */
  double left;    /* seconds, from there on */
};

struct mv_schedule {
  const struct mv_plan *plan;
  struct mv_ranges known; /* committed */
  struct range *ranges;
  size_t count, capacity;
  double seconds;     /* of all ranges */
  double longest;     /* of a unit, */
  double least, most; /* aimed at */
  double share;       /* of what is left that a unit is */
  struct cursor next;
};

struct mv_schedule *mv_schedule_create(const struct mv_plan *plan)
{
  struct mv_schedule *s = mv_memory_take(1, sizeof *s);
  s->plan = plan;
  return s;
}

void mv_schedule_free(struct mv_schedule *s)
{
  if (!s) {
    return;
  }
  mv_ranges_free(&s->known);
  free(s->ranges);
  free(s);
}

void mv_schedule_mark(void *schedule, const struct mv_unit *unit)
{
  struct mv_schedule *s = schedule;
  assert(!s->ranges && mv_unit_fits(s->plan, unit));
  mv_ranges_add(&s->known, unit);
}

/* Calls visit for each range of missing replicates, in order. */
static void each_missing(const struct mv_schedule *s, void (*visit)(void *self, const struct mv_unit *gap), void *self)
{
  for (int cell = 0; cell < s->plan->cells; cell++) {
    mv_ranges_gaps(&s->known, &(struct mv_unit){cell, 0, s->plan->replicates[cell]}, visit, self);
  }
}

int64_t mv_schedule_samples(const struct mv_schedule *s) { return mv_plan_missing(s->plan, &s->known); }

struct cut {
  struct mv_schedule *schedule;
  const double *seconds; /* [entry] per replicate */
};

static int64_t round_up(int64_t x, int64_t multiple) { return (x + multiple - 1) / multiple * multiple; }

/* Bounds of the units of an entry; one size for all if the job asks for it. */
static void bound_units(const struct mv_plan *plan, int entry, struct range *r)
{
  const struct mv_job *job = plan->job;
  bool moments = job->entries[entry].store == MV_STORE_MOMENTS;
  int64_t replicates = job->entries[entry].replicates;
  r->piece = moments ? job->block : job->problem.shape.lanes == 1 ? 1 : GROUP;
  struct mv_unit least = {(int64_t)entry * job->points, 0, r->piece < replicates ? r->piece : replicates};
  int64_t fit = UNIT_BYTES / (int64_t)mv_result_bytes(plan, &least);
  r->most = (fit > 1 ? fit : 1) * r->piece;
  if (job->unit > 0) {
    int64_t unit = job->unit < r->most ? job->unit : r->most;
    r->piece = r->most = moments ? round_up(unit, job->block) : unit;
  }
}

static void add_range(void *self, const struct mv_unit *gap)
{
  const struct cut *cut = self;
  struct mv_schedule *s = cut->schedule;
  int entry = mv_plan_entry(s->plan, (int)gap->cell);
  if (s->count == s->capacity) {
    s->capacity = 2 * s->capacity + 64;
    s->ranges = mv_memory_grow(s->ranges, s->capacity, sizeof *s->ranges);
  }
  struct range r = {.cell = gap->cell, .first = gap->first, .count = gap->count, .seconds = cut->seconds[entry]};
  assert(r.seconds > 0 && r.count > 0);
  bound_units(s->plan, entry, &r);
  s->seconds += (double)r.count * r.seconds;
  s->ranges[s->count++] = r;
}

/* Replicates of a unit from this range when so many seconds are left. */
static int64_t unit_size(const struct mv_schedule *s, const struct range *r, double left)
{
  double target = fmax(s->least, fmin(s->most, s->share * left));
  double pieces = fmin(round(target / (r->seconds * (double)r->piece)), (double)(r->most / r->piece));
  return pieces > 1 ? (int64_t)pieces * r->piece : r->piece;
}

static int compare_ranges(const void *left, const void *right)
{
  const struct range *a = left, *b = right;
  double first = (double)a->piece * a->seconds, second = (double)b->piece * b->seconds;
  if (first != second) {
    return first > second ? -1 : 1;
  }
  if (a->cell != b->cell) {
    return a->cell < b->cell ? -1 : 1;
  }
  return (a->first > b->first) - (a->first < b->first);
}

void mv_schedule_cut(struct mv_schedule *s, const double *seconds, int ranks)
{
  assert(!s->ranges && ranks > 0);
  each_missing(s, add_range, &(struct cut){s, seconds});
  if (s->count == 0) {
    return;
  }
  qsort(s->ranges, s->count, sizeof *s->ranges, compare_ranges);
  double served = mv_unit_seconds(&mv_costs_usual, ranks);
  s->share = 1.0 / (UNITS_PER_RANK * ranks);
  s->most = fmax(UNIT_SECONDS, served);
  s->least = fmin(fmax(LAST_SECONDS, served), s->share * s->seconds);
  s->next.left = s->seconds;
  for (size_t i = 0; i < s->count; i++) {
    const struct range *r = &s->ranges[i];
    int64_t size = unit_size(s, r, s->seconds);
    s->longest = fmax(s->longest, (double)(size < r->count ? size : r->count) * r->seconds);
  }
}

static bool take(const struct mv_schedule *s, struct cursor *at, struct mv_unit *unit)
{
  if (at->range == s->count) {
    return false;
  }
  const struct range *r = &s->ranges[at->range];
  int64_t size = unit_size(s, r, at->left), rest = r->count - at->within;
  *unit = (struct mv_unit){r->cell, r->first + at->within, size < rest ? size : rest};
  at->within += unit->count;
  at->left -= (double)unit->count * r->seconds;
  if (at->within == r->count) {
    at->range++;
    at->within = 0;
  }
  return true;
}

bool mv_schedule_next(struct mv_schedule *s, struct mv_unit *unit) { return take(s, &s->next, unit); }

struct mv_load *mv_schedule_loads(const struct mv_schedule *s, size_t *count)
{
  struct cursor at = {.left = s->seconds};
  struct mv_load *loads = NULL;
  struct mv_unit unit;
  size_t capacity = 0;
  *count = 0;
  for (size_t range = 0; take(s, &at, &unit); range = at.range) {
    struct mv_load load = {1, (double)unit.count * s->ranges[range].seconds, (int64_t)mv_result_bytes(s->plan, &unit)};
    if (*count > 0 && loads[*count - 1].seconds == load.seconds && loads[*count - 1].bytes == load.bytes) {
      loads[*count - 1].units++;
      continue;
    }
    if (*count == capacity) {
      capacity = 2 * capacity + 64;
      loads = mv_memory_grow(loads, capacity, sizeof *loads);
    }
    loads[(*count)++] = load;
  }
  return loads;
}

double mv_schedule_longest(const struct mv_schedule *s) { return s->longest; }

double mv_schedule_seconds(const struct mv_schedule *s) { return s->seconds; }
