/* test_schedule.c - units cover what is missing, exactly once, in whole blocks, longest blocks first, and end together. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metavar/sample.h"
#include "metavar/schedule.h"

#define POINTS        3
#define ENTRIES       2
#define SAMPLES_TOTAL 1003 /* entry 0 stores samples, */
#define MOMENTS_TOTAL 1050 /* entry 1 moments in blocks of 100 */
#define BLOCK         100

struct fake {
  struct mv_job job;
  struct mv_entry entries[ENTRIES];
  struct mv_layout layout[ENTRIES];
  int64_t replicates[POINTS * ENTRIES];
  struct mv_plan plan;
};

static void set_replicates(struct fake *f, int entry, int64_t replicates)
{
  f->entries[entry].replicates = replicates;
  for (int p = 0; p < POINTS; p++) {
    f->replicates[entry * POINTS + p] = replicates;
  }
}

static void make_fake(struct fake *f)
{
  memset(f, 0, sizeof *f);
  f->entries[0] = (struct mv_entry){.replicates = SAMPLES_TOTAL, .store = MV_STORE_SAMPLES};
  f->entries[1] = (struct mv_entry){.replicates = MOMENTS_TOTAL, .store = MV_STORE_MOMENTS};
  for (int e = 0; e < ENTRIES; e++) {
    set_replicates(f, e, f->entries[e].replicates);
    f->layout[e] = (struct mv_layout){.values = 10, .moments = 9, .pairs = 45, .vectors = 2};
  }
  f->job.points = POINTS;
  f->job.entry_count = ENTRIES;
  f->job.entries = f->entries;
  f->job.block = BLOCK;
  f->plan =
      (struct mv_plan){.job = &f->job, .layout = f->layout, .cells = POINTS * ENTRIES, .replicates = f->replicates};
}

static int64_t replicates_of(const struct fake *f, int64_t cell)
{
  return f->entries[mv_plan_entry(&f->plan, (int)cell)].replicates;
}

/* Seconds of the smallest unit of a cell, if the job asks for no size. */
static double piece_seconds(const struct fake *f, int64_t cell, const double *seconds)
{
  int entry = mv_plan_entry(&f->plan, (int)cell);
  return seconds[entry] * (f->entries[entry].store == MV_STORE_MOMENTS ? BLOCK : 8);
}

/* Hands out everything and checks each unit; cover[cell][replicate] counts. Returns the number of units. */
static int64_t drain(const struct fake *f, struct mv_schedule *s, const double *seconds, int8_t *cover)
{
  struct mv_unit unit, last = {0};
  int64_t units = 0;
  while (mv_schedule_next(s, &unit)) {
    assert_true(mv_unit_fits(&f->plan, &unit));
    assert_true((double)unit.count * seconds[mv_plan_entry(&f->plan, (int)unit.cell)] <= mv_schedule_longest(s));
    if (units > 0 && f->job.unit == 0) {
      double piece = piece_seconds(f, unit.cell, seconds), before = piece_seconds(f, last.cell, seconds);
      assert_true(piece <= before);
      if (piece == before) {
        assert_true(unit.cell > last.cell || (unit.cell == last.cell && unit.first > last.first));
      }
    }
    for (int64_t r = unit.first; r < unit.first + unit.count; r++) {
      cover[unit.cell * 2000 + r]++;
    }
    last = unit;
    units++;
  }
  assert_false(mv_schedule_next(s, &unit));
  return units;
}

static int8_t *new_cover(void)
{
  int8_t *cover = calloc(POINTS * ENTRIES * 2000, 1);
  assert_non_null(cover);
  return cover;
}

static const double even[ENTRIES] = {1e-3, 1e-3}, uneven[ENTRIES] = {3.7e-4, 2.9e-2};

static void everything_once(void **state)
{
  (void)state;
  struct fake f;
  make_fake(&f);
  const int64_t units[] = {0, 1, 7, 64, 100, 130, 5000};
  for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
    for (int ranks = 1; ranks <= 9; ranks += 4) {
      f.job.unit = units[u];
      int8_t *cover = new_cover();
      struct mv_schedule *s = mv_schedule_create(&f.plan);
      assert_int_equal(mv_schedule_samples(s), POINTS * (SAMPLES_TOTAL + MOMENTS_TOTAL));
      mv_schedule_cut(s, uneven, ranks);
      drain(&f, s, uneven, cover);
      for (int64_t cell = 0; cell < POINTS * ENTRIES; cell++) {
        for (int64_t r = 0; r < 2000; r++) {
          assert_int_equal(cover[cell * 2000 + r], r < replicates_of(&f, cell));
        }
      }
      mv_schedule_free(s);
      free(cover);
    }
  }
}

/* Random committed units, overlapping and in any order: just the rest is handed out. */
static void only_what_is_missing(void **state)
{
  (void)state;
  struct fake f;
  make_fake(&f);
  srand(1);
  for (int trial = 0; trial < 200; trial++) {
    int8_t *cover = new_cover(), *known = new_cover();
    struct mv_schedule *s = mv_schedule_create(&f.plan);
    int marks = trial == 0 ? 0 : rand() % 300;
    for (int i = 0; i < marks; i++) {
      struct mv_unit unit = {rand() % (POINTS * ENTRIES), 0, 0};
      int64_t replicates = replicates_of(&f, unit.cell);
      if (unit.cell >= POINTS) {
        unit.first = rand() % 11 * BLOCK;
        unit.count = BLOCK * (1 + rand() % 3);
        unit.count = unit.first + unit.count > replicates ? replicates - unit.first : unit.count;
      } else {
        unit.first = rand() % replicates;
        unit.count = 1 + rand() % (replicates - unit.first < 20 ? replicates - unit.first : 20);
      }
      mv_schedule_mark(s, &unit);
      memset(known + unit.cell * 2000 + unit.first, 1, (size_t)unit.count);
    }
    int64_t missing = 0;
    for (int64_t cell = 0; cell < POINTS * ENTRIES; cell++) {
      for (int64_t r = 0; r < replicates_of(&f, cell); r++) {
        missing += !known[cell * 2000 + r];
      }
    }
    assert_int_equal(mv_schedule_samples(s), missing);
    mv_schedule_cut(s, uneven, 2);
    drain(&f, s, uneven, cover);
    for (int64_t cell = 0; cell < POINTS * ENTRIES; cell++) {
      for (int64_t r = 0; r < replicates_of(&f, cell); r++) {
        assert_int_equal(cover[cell * 2000 + r] + known[cell * 2000 + r], 1);
      }
    }
    mv_schedule_free(s);
    free(cover);
    free(known);
  }
}

static void sizes(void **state)
{
  (void)state;
  struct fake f;
  make_fake(&f);
  int8_t *cover = new_cover();
  struct mv_unit unit;

  /* slow replicates: one lane group, one block */
  const double slow[ENTRIES] = {10, 10};
  struct mv_schedule *s = mv_schedule_create(&f.plan);
  mv_schedule_cut(s, slow, 4);
  assert_int_equal(drain(&f, s, slow, cover), POINTS * (126 + 11));
  mv_schedule_free(s);

  /* one replicate at a time, as networks have it */
  f.job.problem.shape.lanes = 1;
  s = mv_schedule_create(&f.plan);
  mv_schedule_cut(s, slow, 4);
  while (mv_schedule_next(s, &unit)) {
    assert_int_equal(unit.count, unit.cell < POINTS ? 1 : unit.first == 1000 ? 50 : BLOCK);
  }
  mv_schedule_free(s);
  f.job.problem.shape.lanes = 8;

  /* fast ones: still 8 units a rank */
  const double fast[ENTRIES] = {1e-9, 1e-9};
  set_replicates(&f, 1, 100 * BLOCK);
  s = mv_schedule_create(&f.plan);
  mv_schedule_cut(s, fast, 4);
  int64_t units = 0;
  while (mv_schedule_next(s, &unit)) {
    units++;
  }
  assert_in_range(units, 32, 63);
  mv_schedule_free(s);

  /* half a second to a second each where there is enough work */
  set_replicates(&f, 0, 1000000);
  s = mv_schedule_create(&f.plan);
  mv_schedule_cut(s, even, 4);
  assert_true(mv_schedule_next(s, &unit));
  assert_in_range(unit.count, 500, 1000);
  mv_schedule_free(s);

  /* longer ones when there are so many ranks that rank 0 would have no rest */
  set_replicates(&f, 0, INT64_C(10000000000));
  s = mv_schedule_create(&f.plan);
  mv_schedule_cut(s, even, 16384);
  assert_true(mv_schedule_next(s, &unit));
  double seconds = mv_unit_seconds(&mv_costs_usual, 16384);
  assert_true(seconds > 1);
  assert_in_range(unit.count, (int64_t)(999 * seconds), (int64_t)(1001 * seconds) + BLOCK);
  mv_schedule_free(s);

  /* a result stays small whatever the job asks for */
  set_replicates(&f, 0, INT64_C(100000000000));
  f.job.unit = INT64_C(50000000000);
  s = mv_schedule_create(&f.plan);
  mv_schedule_cut(s, even, 4);
  while (mv_schedule_next(s, &unit) && unit.cell < POINTS) {
    assert_true(mv_result_bytes(&f.plan, &unit) < (size_t)65 << 20);
  }
  mv_schedule_free(s);
  free(cover);
}

/* Ranks that take a unit from the schedule when they begin the one they hold: seconds between the first rank's end and
 * the last one's. seconds[entry] is what was predicted, times[entry] by how much it takes longer. */
static double spread_of_ends(const struct fake *f, const double *seconds, const double *times, int ranks)
{
  struct mv_schedule *s = mv_schedule_create(&f->plan);
  struct mv_unit held[16];
  bool holds[16];
  double end[16] = {0}, first = INFINITY, last = 0;
  mv_schedule_cut(s, seconds, ranks);
  for (int rank = 0; rank < ranks; rank++) {
    holds[rank] = mv_schedule_next(s, &held[rank]);
  }
  for (;;) {
    int next = -1;
    for (int rank = 0; rank < ranks; rank++) {
      next = holds[rank] && (next < 0 || end[rank] < end[next]) ? rank : next;
    }
    if (next < 0) {
      break;
    }
    int entry = mv_plan_entry(&f->plan, (int)held[next].cell);
    end[next] += (double)held[next].count * seconds[entry] * times[entry];
    holds[next] = mv_schedule_next(s, &held[next]);
  }
  for (int rank = 0; rank < ranks; rank++) {
    first = fmin(first, end[rank]);
    last = fmax(last, end[rank]);
  }
  mv_schedule_free(s);
  return last - first;
}

/* However wrong a prediction was, all ranks end within a small unit or one piece of each other. */
static void ends_together(void **state)
{
  (void)state;
  struct fake f;
  make_fake(&f);
  set_replicates(&f, 0, 200000);
  set_replicates(&f, 1, 20000);
  const double short_blocks[ENTRIES] = {1e-4, 2e-4}, long_blocks[ENTRIES] = {1e-4, 4e-3};
  for (int ranks = 2; ranks <= 16; ranks *= 2) {
    for (double times = 0.25; times <= 4; times *= 2) {
      assert_true(spread_of_ends(&f, short_blocks, (double[]){times, 1}, ranks) < 2 * 0.02 * fmax(times, 1));
      assert_true(spread_of_ends(&f, long_blocks, (double[]){1, times}, ranks) < 2 * 0.02 * fmax(times, 1));
    }
  }
  /* nothing but blocks of 0.4 s */
  set_replicates(&f, 0, 8);
  assert_true(spread_of_ends(&f, long_blocks, (double[]){1, 1}, 4) < 0.4 + 1e-9);
}

/* What is simulated is what is handed out. */
static void loads(void **state)
{
  (void)state;
  struct fake f;
  make_fake(&f);
  set_replicates(&f, 0, 100000);
  struct mv_schedule *s = mv_schedule_create(&f.plan);
  mv_schedule_cut(s, uneven, 2);
  size_t count;
  struct mv_load *load = mv_schedule_loads(s, &count);
  struct mv_unit unit;
  double seconds = 0;
  for (size_t k = 0; k < count; k++) {
    for (int64_t i = 0; i < load[k].units; i++) {
      assert_true(mv_schedule_next(s, &unit));
      assert_true(load[k].seconds == (double)unit.count * uneven[mv_plan_entry(&f.plan, (int)unit.cell)]);
      assert_int_equal(load[k].bytes, mv_result_bytes(&f.plan, &unit));
      seconds += load[k].seconds;
    }
  }
  assert_false(mv_schedule_next(s, &unit));
  assert_true(fabs(seconds / mv_schedule_seconds(s) - 1) < 1e-9);
  free(load);
  mv_schedule_free(s);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(everything_once), cmocka_unit_test(only_what_is_missing),
      cmocka_unit_test(sizes),           cmocka_unit_test(ends_together),
      cmocka_unit_test(loads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
