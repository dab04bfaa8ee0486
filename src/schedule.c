/* schedule.c - from what is committed to the units that are still to do.
 *
 * The replicates of a cell are 0, 1, ..., plan->replicates[cell] - 1. Those missing form a few ranges, and a range is cut
 * into equal units, so the whole work list is a short list of runs (equal units that follow each other in one range) and
 * never a list of units: a study of a hundred million replicates takes no more memory than one of a thousand.
 *
 * Longest units first keeps the ranks busy to the end (Graham 1969: at most 4/3 of the best makespan). Every unit is a
 * whole number of lane groups, and of blocks where the entry stores moments.
 */
#include "metavar/schedule.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "metavar/memory.h"
#include "metavar/ranges.h"
#include "metavar/sample.h"

#define UNIT_SECONDS   0.75 /* long against a message, short against a patient user; or as rank 0 needs */
#define UNITS_PER_RANK 8    /* so that the last units end at about the same time everywhere */
#define UNIT_BYTES     (INT64_C(64) << 20)     /* of one result */
#define GROUP          ((int64_t)MV_LANES_MAX) /* replicates that any kernel computes side by side without waste */

struct run {
  int64_t cell, first, size, units; /* units of `size` replicates from `first` on */
  double seconds;                   /* of one unit */
};

struct mv_schedule {
  const struct mv_plan *plan;
  struct mv_ranges known; /* committed */
  struct run *runs;
  size_t run_count, run_capacity;
  size_t run; /* the next unit: run and number within it */
  int64_t within;
  int64_t units;
  double seconds;
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
  free(s->runs);
  free(s);
}

void mv_schedule_mark(void *schedule, const struct mv_unit *unit)
{
  struct mv_schedule *s = schedule;
  assert(!s->runs && mv_unit_fits(s->plan, unit));
  mv_ranges_add(&s->known, unit);
}

static void add_run(struct mv_schedule *s, int64_t cell, int64_t first, int64_t size, int64_t units, double seconds)
{
  if (size == 0 || units == 0) {
    return;
  }
  if (s->run_count == s->run_capacity) {
    s->run_capacity = 2 * s->run_capacity + 64;
    s->runs = mv_memory_grow(s->runs, s->run_capacity, sizeof *s->runs);
  }
  s->runs[s->run_count++] = (struct run){cell, first, size, units, (double)size * seconds};
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
  int64_t *size;         /* [entry] replicates in a unit */
};

static void time_range(void *self, const struct mv_unit *gap)
{
  struct cut *cut = self;
  struct mv_schedule *s = cut->schedule;
  s->seconds += (double)gap->count * cut->seconds[mv_plan_entry(s->plan, (int)gap->cell)];
}

static void cut_range(void *self, const struct mv_unit *gap)
{
  struct cut *cut = self;
  int entry = mv_plan_entry(cut->schedule->plan, (int)gap->cell);
  int64_t size = cut->size[entry], units = gap->count / size, rest = gap->count % size;
  add_run(cut->schedule, gap->cell, gap->first, size, units, cut->seconds[entry]);
  add_run(cut->schedule, gap->cell, gap->first + gap->count - rest, rest, 1, cut->seconds[entry]);
}

static int64_t round_up(int64_t x, int64_t multiple) { return (x + multiple - 1) / multiple * multiple; }

/* Replicates in a unit of this entry, when a unit should take `target` seconds. */
static int64_t unit_size(const struct mv_plan *plan, int entry, double seconds, double target)
{
  const struct mv_job *job = plan->job;
  bool moments = job->entries[entry].store == MV_STORE_MOMENTS;
  int64_t grain = moments ? job->block : GROUP;
  int64_t replicates = job->entries[entry].replicates;
  struct mv_unit least = {(int64_t)entry * job->points, 0, grain < replicates ? grain : replicates};
  int64_t most = UNIT_BYTES / (int64_t)mv_result_bytes(plan, &least) * grain;
  double wanted = job->unit > 0 ? (double)job->unit : target / seconds;
  int64_t size = wanted < 1e15 ? (int64_t)wanted : INT64_C(1000000000000000);
  if (size > most) {
    size = most;
  }
  if (size < 1) {
    size = 1;
  }
  return job->unit > 0 && !moments ? size : round_up(size, grain);
}

static int compare_runs(const void *left, const void *right)
{
  const struct run *a = left, *b = right;
  if (a->seconds != b->seconds) {
    return a->seconds > b->seconds ? -1 : 1;
  }
  if (a->cell != b->cell) {
    return a->cell < b->cell ? -1 : 1;
  }
  return (a->first > b->first) - (a->first < b->first);
}

void mv_schedule_cut(struct mv_schedule *s, const double *seconds, int ranks)
{
  assert(!s->runs && ranks > 0);
  int entries = s->plan->job->entry_count;
  struct cut cut = {s, seconds, mv_memory_take((size_t)entries, sizeof *cut.size)};
  each_missing(s, time_range, &cut);
  double target = fmax(UNIT_SECONDS, mv_unit_seconds(&mv_costs_usual, ranks));
  target = fmin(target, s->seconds / (UNITS_PER_RANK * ranks));
  for (int e = 0; e < entries; e++) {
    assert(seconds[e] > 0);
    cut.size[e] = unit_size(s->plan, e, seconds[e], target);
  }
  each_missing(s, cut_range, &cut);
  if (s->run_count > 0) {
    qsort(s->runs, s->run_count, sizeof *s->runs, compare_runs);
  }
  for (size_t i = 0; i < s->run_count; i++) {
    s->units += s->runs[i].units;
  }
  free(cut.size);
}

bool mv_schedule_next(struct mv_schedule *s, struct mv_unit *unit)
{
  if (s->run == s->run_count) {
    return false;
  }
  const struct run *run = &s->runs[s->run];
  *unit = (struct mv_unit){run->cell, run->first + s->within * run->size, run->size};
  if (++s->within == run->units) {
    s->run++;
    s->within = 0;
  }
  return true;
}

struct mv_load *mv_schedule_loads(const struct mv_schedule *s, size_t *count)
{
  struct mv_load *loads = mv_memory_take(s->run_count, sizeof *loads);
  *count = s->run_count;
  for (size_t i = 0; i < s->run_count; i++) {
    const struct run *run = &s->runs[i];
    struct mv_unit unit = {run->cell, run->first, run->size};
    loads[i] = (struct mv_load){run->units, run->seconds, (int64_t)mv_result_bytes(s->plan, &unit)};
  }
  return loads;
}

int64_t mv_schedule_units(const struct mv_schedule *s) { return s->units; }

double mv_schedule_longest(const struct mv_schedule *s) { return s->run_count > 0 ? s->runs[0].seconds : 0; }

double mv_schedule_seconds(const struct mv_schedule *s) { return s->seconds; }
