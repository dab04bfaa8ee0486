/* test_revolve.c - binomial checkpointing on chains of nothing: every step is walked back once, in order, from what is
 * kept, no step is evaluated more often than Griewank & Walther (2000) allow, and the number of evaluations is as
 * predicted and near the least that there is. */
#include "harness.h"
#include "metavar/revolve.h"

/* A walk back over steps 0 .. length - 1 as unroll_back.c does it; evaluated[n] counts. */
static int64_t walk_back(int64_t length, int64_t records, int *evaluated)
{
  int64_t *at = calloc((size_t)records + 1, sizeof *at), top = 0, total = 0;
  bool *taped = calloc((size_t)records + 1, sizeof *taped);
  for (int64_t to = length; to > 0;) {
    if (to - at[top] > 1) {
      int64_t steps = mv_revolve_split(to - at[top], records - top);
      assert_true(steps >= 1 && at[top] + steps < to);
      for (int64_t n = at[top]; n < at[top] + steps; n++, total++)
        evaluated[n]++;
      taped[top] = true;
      assert_true(top + 1 < records || at[top] + steps == to - 1); /* the spare one holds a single step */
      at[top + 1] = at[top] + steps;
      taped[++top] = false;
    } else {
      assert_true(at[top] == to - 1);
      if (!taped[top]) {
        evaluated[at[top]]++;
        total++;
      }
      top--;
      to--;
    }
  }
  assert_true(top == -1);
  free(at), free(taped);
  return total;
}

static double beta(int64_t s, int64_t r)
{
  double value = 1;
  for (int64_t k = 1; k <= r; k++)
    value = value * (double)(s + k) / (double)k;
  return value;
}

static void check_chain(int64_t length, int64_t records)
{
  int *evaluated = calloc((size_t)length, sizeof *evaluated);
  int64_t total = walk_back(length, records, evaluated), r = mv_revolve_repetitions(length, records);
  assert_true((double)length <= beta(records, r) * (1 + 1e-12));
  assert_true(r == 1 || (double)length > beta(records, r - 1) * (1 - 1e-12));
  for (int64_t n = 0; n < length; n++)
    assert_true(evaluated[n] >= 1 && evaluated[n] <= r);
  assert_true((double)total == mv_revolve_evaluations(length, records));
  free(evaluated);
}

static void chains(void **state)
{
  (void)state;
  for (int64_t records = 1; records <= 12; records++)
    for (int64_t length = 1; length <= 200; length++)
      check_chain(length, records);
  check_chain(200, 199);
  check_chain(200, 198);
  check_chain(20301, 200);
  check_chain(20302, 200);
}

/* A million steps, 200 records: three evaluations of each are enough, and two are not. */
static void a_million(void **state)
{
  (void)state;
  assert_int_equal(mv_revolve_repetitions(1000000, 200), 3);
  assert_int_equal(mv_revolve_repetitions(1373701, 200), 3); /* 203! / (200! 3!) */
  assert_int_equal(mv_revolve_repetitions(1373702, 200), 4);
  assert_true(mv_revolve_evaluations(1000000, 200) <= 3e6);
  check_chain(1000000, 200);
  assert_true(mv_revolve_evaluations(1000000000, 1000000) < 2e9);
}

/* The least number of evaluations of a segment whose first step is evaluated, by dynamic programming. */
static void near_the_least(void **state)
{
  (void)state;
  enum { LENGTH = 80, RECORDS = 8 };
  static int64_t least[RECORDS + 1][LENGTH + 1];
  for (int s = 0; s <= RECORDS; s++)
    for (int l = 2; l <= LENGTH; l++) {
      least[s][l] = INT32_MAX;
      for (int m = 1; s > 0 && m < l; m++) {
        int64_t right = l - m == 1 ? 1 : least[s - 1][l - m], total = m + right + least[s][m];
        least[s][l] = total < least[s][l] ? total : least[s][l];
      }
    }
  for (int s = 1; s <= RECORDS; s++)
    for (int l = 2; l <= LENGTH; l++) {
      double got = mv_revolve_evaluations(l, s);
      assert_true(got >= (double)least[s][l] && got <= 1.03 * (double)least[s][l]);
    }
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(chains), cmocka_unit_test(a_million),
                                     cmocka_unit_test(near_the_least)};
  return cmocka_run_group_tests_name("binomial checkpointing", tests, NULL, NULL);
}
