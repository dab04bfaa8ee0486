/* schedule.c - from what is committed to the units that are still to do.
 *
 * The replicates of a cell are 0, 1, ..., replicates - 1. Those missing form a few ranges, and a range is cut into
 * equal units, so the whole work list is a short list of runs (equal units that follow each other in one range) and
 * never a list of units: a study of a hundred million replicates takes no more memory than one of a thousand.
 *
 * Longest units first keeps the ranks busy to the end (Graham 1969: at most 4/3 of the best makespan). Every unit is a
 * whole number of lane groups, and of blocks where the entry stores moments.
 */
#include "metavar/schedule.h"

#include <assert.h>
#include <stdlib.h>

#include "metavar/memory.h"
#include "metavar/sample.h"

#define UNIT_SECONDS   0.75                    /* long against a message, short against a patient user */
#define UNITS_PER_RANK 8                       /* so that the last units end at about the same time everywhere */
#define UNIT_BYTES     (INT64_C(64) << 20)     /* of one result */
#define GROUP          ((int64_t)MV_LANES_MAX) /* replicates that any kernel computes side by side without waste */

struct run {
  int64_t cell, first, size, units; /* units of `size` replicates from `first` on */
  double seconds;                   /* of one unit */
};

struct mv_schedule {
  const struct mv_plan *plan;
  struct mv_unit *known; /* committed ranges */
  size_t known_count, known_capacity;
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
  free(s->known);
  free(s->runs);
  free(s);
}

static int compare_units(const void *left, const void *right)
{
  const struct mv_unit *a = left, *b = right;
  if (a->cell != b->cell) {
    return a->cell < b->cell ? -1 : 1;
  }
  return (a->first > b->first) - (a->first < b->first);
}

/* Sorts the committed ranges and joins those that touch. */
static void join_known(struct mv_schedule *s)
{
  if (s->known_count == 0) {
    return;
  }
  qsort(s->known, s->known_count, sizeof *s->known, compare_units);
  size_t last = 0;
  for (size_t i = 1; i < s->known_count; i++) {
    struct mv_unit *a = &s->known[last], *b = &s->known[i];
    if (b->cell == a->cell && b->first <= a->first + a->count) {
      int64_t end = b->first + b->count;
      if (end > a->first + a->count) {
        a->count = end - a->first;
      }
    } else {
      s->known[++last] = *b;
    }
  }
  s->known_count = last + 1;
}

void mv_schedule_mark(void *schedule, const struct mv_unit *unit)
{
  struct mv_schedule *s = schedule;
  assert(!s->runs && unit->cell >= 0 && unit->cell < s->plan->cells && unit->first >= 0);
  const struct mv_entry *entry = &s->plan->job->entries[mv_plan_entry(s->plan, (int)unit->cell)];
  int64_t first = unit->first, end = unit->first + unit->count, block = s->plan->job->block;
  if (entry->store == MV_STORE_MOMENTS) {
    /* Replicates may have been added or taken away since: the last block of a cell counts only if it still is the last.
     */
    first = (first + block - 1) / block * block;
    if (end != entry->replicates) {
      end = (end < entry->replicates ? end : entry->replicates) / block * block;
    }
  } else if (end > entry->replicates) {
    end = entry->replicates;
  }
  if (end <= first) {
    return;
  }
  if (s->known_count == s->known_capacity) {
    join_known(s);
    if (2 * s->known_count >= s->known_capacity) {
      s->known_capacity = 2 * s->known_capacity + 64;
      s->known = mv_memory_grow(s->known, s->known_capacity, sizeof *s->known);
    }
  }
  s->known[s->known_count++] = (struct mv_unit){unit->cell, first, end - first};
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
static void each_missing(const struct mv_schedule *s,
                         void (*visit)(void *self, int64_t cell, int64_t first, int64_t end), void *self)
{
  size_t k = 0;
  for (int cell = 0; cell < s->plan->cells; cell++) {
    int64_t at = 0, end = s->plan->job->entries[mv_plan_entry(s->plan, cell)].replicates;
    for (; k < s->known_count && s->known[k].cell == cell; k++) {
      if (s->known[k].first > at) {
        visit(self, cell, at, s->known[k].first);
      }
      at = s->known[k].first + s->known[k].count;
    }
    if (at < end) {
      visit(self, cell, at, end);
    }
  }
}

static void count_range(void *self, int64_t cell, int64_t first, int64_t end)
{
  (void)cell;
  *(int64_t *)self += end - first;
}

int64_t mv_schedule_samples(struct mv_schedule *s)
{
  int64_t samples = 0;
  join_known(s);
  each_missing(s, count_range, &samples);
  return samples;
}

struct cut {
  struct mv_schedule *schedule;
  const double *seconds; /* [entry] per replicate */
  int64_t *size;         /* [entry] replicates in a unit */
};

static void time_range(void *self, int64_t cell, int64_t first, int64_t end)
{
  struct cut *cut = self;
  struct mv_schedule *s = cut->schedule;
  s->seconds += (double)(end - first) * cut->seconds[mv_plan_entry(s->plan, (int)cell)];
}

static void cut_range(void *self, int64_t cell, int64_t first, int64_t end)
{
  struct cut *cut = self;
  int entry = mv_plan_entry(cut->schedule->plan, (int)cell);
  int64_t size = cut->size[entry], units = (end - first) / size, rest = (end - first) % size;
  add_run(cut->schedule, cell, first, size, units, cut->seconds[entry]);
  add_run(cut->schedule, cell, end - rest, rest, 1, cut->seconds[entry]);
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
  join_known(s);
  each_missing(s, time_range, &cut);
  double target = s->seconds / (UNITS_PER_RANK * ranks);
  if (!(target < UNIT_SECONDS)) {
    target = UNIT_SECONDS;
  }
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

int64_t mv_schedule_units(const struct mv_schedule *s) { return s->units; }

double mv_schedule_seconds(const struct mv_schedule *s) { return s->seconds; }
