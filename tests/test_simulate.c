/* test_simulate.c - the simulated farm against closed forms and against small cases worked out by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metavar/simulate.h"
#include "metavar/store.h"

static struct mv_forecast simulate(struct mv_costs costs, struct mv_load load, int ranks, bool computes)
{
  return mv_simulate(&costs, &load, 1, ranks, computes);
}

static void near(double a, double b, double tolerance)
{
  if (!(fabs(a - b) <= tolerance)) {
    fail_msg("%.9g is not %.9g within %g", a, b, tolerance);
  }
}

#define FREE    .commit_wait = INFINITY
#define BY_HAND .service = 2, .latency = 1

/* One worker, three units of 10 s; 1 s of rank 0 before a unit is sent and 1 s to take a result. The worker begins at 2,
 * 12 and 22, because it holds the next unit; its results are there at 13, 23 and 33. */
static void two_ranks(void **state)
{
  (void)state;
  struct mv_forecast f = simulate((struct mv_costs){BY_HAND, FREE}, (struct mv_load){3, 10, 1}, 2, false);
  near(f.seconds, 34, 0);
  near(f.efficiency, 30.0 / 68, 1e-12);
  near(f.master, 34.0 / 68, 1e-12);
  near(f.tail, 2.0 / 68, 1e-12);
  near(f.waiting, 2.0 / 68, 1e-12);
  near(f.busy, 6.0 / 34, 1e-12); /* three units given, three results taken */
  /* Each result is written at once, for 5 s: only the last one is waited for. */
  f = simulate((struct mv_costs){BY_HAND, .commit = 5}, (struct mv_load){3, 10, 1}, 2, false);
  near(f.seconds, 39, 0);
  near(f.committing, 15.0 / 39, 1e-12);
  assert_int_equal(f.commits, 3);
  /* For 30 s: the second result waits until 45, the third until 76. */
  f = simulate((struct mv_costs){BY_HAND, .commit = 30}, (struct mv_load){3, 10, 1}, 2, false);
  near(f.seconds, 13 + 2 + 30 + 1 + 30 + 1 + 30, 0);
}

/* Three units on two ranks that both compute, nothing costs anything: one of them idles for a unit. */
static void the_end(void **state)
{
  (void)state;
  struct mv_forecast f = simulate((struct mv_costs){FREE}, (struct mv_load){3, 1, 1}, 2, true);
  near(f.seconds, 2, 0);
  near(f.tail, 0.25, 1e-12);
  near(f.waiting, 0, 1e-12);
  f = simulate((struct mv_costs){FREE}, (struct mv_load){2, 1, 1}, 8, true); /* six have nothing to do */
  near(f.tail, 0.75, 1e-12);
  /* Rank 0's compute thread gives its core up for the second in which each unit is handed out, not for longer. */
  f = simulate((struct mv_costs){.service = 2, FREE}, (struct mv_load){2, 10, 1}, 2, true);
  near(f.seconds, 14, 0);
  /* Whatever the lengths, longest first: the end takes no longer than the longest unit (Graham 1969). */
  const struct mv_load loads[] = {{501, 7, 1}, {1003, 3.1, 1}, {777, 0.9, 1}};
  struct mv_costs costs = {FREE};
  f = mv_simulate(&costs, loads, 3, 64, true);
  assert_true(f.seconds >= f.work / 64 && f.seconds < f.work / 64 + 7);
}

/* Rank 0 alone limits: one unit in each service, however many ranks. */
static void saturated(void **state)
{
  (void)state;
  for (int ranks = 8; ranks <= 4096; ranks *= 8) {
    struct mv_costs costs = {.service = 1e-4, .per_rank = 1e-7, .per_byte = 1e-9, .latency = 5e-6, FREE};
    struct mv_forecast f = simulate(costs, (struct mv_load){100000, 0, 1000}, ranks, false);
    double service = 1e-4 + 1e-7 * ranks + 1e-9 * 1000;
    near((double)f.units / f.seconds * service, 1, 0.01);
    near(f.busy, 1, 0.01);
  }
}

/* Plenty of equal units: P workers bring P / (s + w) units a second while rank 0 can follow, and 1 / c beyond. */
static void plenty(void **state)
{
  (void)state;
  struct mv_costs costs = {.service = 1e-4, .worker = 0.02, .latency = 5e-6, FREE};
  for (int ranks = 2; ranks <= 16384; ranks *= 4) {
    struct mv_forecast f = simulate(costs, (struct mv_load){(int64_t)(ranks - 1) * 200, 0.98, 64}, ranks, false);
    double asked = ranks - 1, served = 1 / costs.service;
    near((double)f.units / f.seconds / fmin(asked, served), 1, 0.02);
    if (asked < 0.9 * served) { /* the worker's own overhead and rank 0 are all that is lost */
      near(f.efficiency, 0.98 * (ranks - 1) / ranks, 0.01);
    }
  }
}

/* Unit lengths scatter around the predicted ones and keep their mean; the same call gives the same answer. */
static void scatter(void **state)
{
  (void)state;
  struct mv_costs costs = {.service = 1e-5, .spread = 0.5, FREE};
  struct mv_load load = {100000, 1, 64};
  struct mv_forecast a = simulate(costs, load, 100, false), b = simulate(costs, load, 100, false);
  assert_memory_equal(&a, &b, sizeof a);
  near(a.work / 1e5, 1, 4 * sqrt((exp(0.25) - 1) / 1e5));
  assert_true(fabs(a.work / 1e5 - 1) > 1e-9);
}

/* With the shortest units that plan allows, rank 0 is busy with messages for a quarter of its time. */
static void unit_rule(void **state)
{
  (void)state;
  struct mv_costs costs = mv_costs_usual;
  costs.commit = costs.commit_byte = costs.spread = 0;
  for (int ranks = 64; ranks <= 16384; ranks *= 16) {
    double seconds = mv_unit_seconds(&costs, ranks);
    struct mv_forecast f = simulate(costs, (struct mv_load){(int64_t)ranks * 100, seconds, 64}, ranks, false);
    near(f.busy, 0.25, 0.02);
    assert_true(f.waiting < 0.04);
  }
}

/* Commits take a tenth of the time until so much has gathered that they cannot wait. */
static void commits(void **state)
{
  (void)state;
  struct mv_costs costs = {.service = 1e-5, .commit = 0.05, .commit_wait = 1e9};
  struct mv_load load = {100000, 0.1, 60 << 10};
  double rate = 50 / 0.1 * (60 << 10); /* bytes a second, */
  struct mv_forecast f = simulate(costs, load, 51, false);
  near(f.committing, 0.1, 0.01);
  costs.commit = 0.2; /* 1.8 s of which would be more than 32 MiB; fewer while rank 0 writes */
  f = simulate(costs, load, 51, false);
  double period = 4 * MV_COMMIT_BYTES / rate;
  assert_true(f.committing > 0.2 / (period + 0.2) && f.committing < 0.2 / period);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(two_ranks), cmocka_unit_test(the_end),   cmocka_unit_test(saturated), cmocka_unit_test(plenty),
      cmocka_unit_test(scatter),   cmocka_unit_test(unit_rule), cmocka_unit_test(commits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
