/* test_tails.c - heavy tails seen through the few largest samples that blocks keep. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>

#include "metavar/plan.h"
#include "metavar/tails.h"

static int descending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? 1 : x > y ? -1 : 0;
}

/* x[n] in blocks; sorts x. */
static struct mv_tail gather(double *x, int n, int block)
{
  struct mv_tail tail = mv_tail_make();
  for (int first = 0; first < n; first += block) {
    int size = n - first < block ? n - first : block;
    double sorted[size], largest[MV_LARGEST];
    memcpy(sorted, x + first, sizeof sorted);
    qsort(sorted, (size_t)size, sizeof *sorted, descending);
    for (int k = 0; k < MV_LARGEST; k++)
      largest[k] = k < size ? sorted[k] : -1;
    mv_tail_add(&tail, largest);
  }
  qsort(x, (size_t)n, sizeof *x, descending);
  return tail;
}

/* What is said to be known is the truth, from blocks of 3 (all of each) to few large ones. */
static void order_statistics(void **state)
{
  (void)state;
  gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
  static double x[20000];
  static const int blocks[] = {3, 5, 40, 1000, 5000};
  for (int k = 0; k < 5; k++)
    for (int n = 150; n <= 20000; n *= 11) {
      for (int i = 0; i < n; i++)
        x[i] = gsl_ran_pareto(rng, 1.2, 1);
      struct mv_tail tail = gather(x, n, blocks[k]);
      int known = 0;
      for (; known < tail.filled && tail.top[known] > tail.known; known++)
        assert_true(tail.top[known] == x[known]);
      assert_true(known == n || tail.known == x[known] || tail.known == -1);
      assert_true(known >= (n < MV_LARGEST ? n : MV_LARGEST - 1));
      struct mv_hill hill = mv_tail_hill(&tail, n);
      assert_true(hill.count <= n / 100 && hill.count <= known);
      double sum = 0;
      for (int i = 0; i < hill.count; i++)
        sum += log(x[i] / x[hill.count]);
      assert_true(hill.count ? fabs(sum * hill.index / hill.count - 1) < 1e-12 : isnan(hill.index));
    }
  gsl_rng_free(rng);
}

/* 1 / index is unbiased for Pareto samples, with relative error 1 / sqrt(k). Warnings: always where |g|^4 has no mean,
 * hardly ever where it has, never for normal samples. */
static void pareto_and_normal(void **state)
{
  (void)state;
  enum { N = 20000, TRIALS = 100, NORMAL = 4 };
  static const double index[] = {0.8, 1.5, 3, 6, NAN};
  gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
  static double x[N];
  for (int kind = 0; kind <= NORMAL; kind++) {
    double inverse = 0, error2 = 0;
    int warned = 0;
    for (int i = 0; i < TRIALS; i++) {
      double all = 0;
      for (int k = 0; k < N; k++)
        all += x[k] = kind == NORMAL ? gsl_ran_chisq(rng, 2) : gsl_ran_pareto(rng, index[kind], 1);
      struct mv_tail tail = gather(x, N, 200);
      struct mv_hill hill = mv_tail_hill(&tail, N);
      assert_true(hill.count >= 8);
      inverse += 1 / hill.index / TRIALS;
      error2 += 1 / (hill.count * index[kind] * index[kind]) / TRIALS / TRIALS;
      warned += mv_tail_warns(&hill, x[0] / all);
    }
    print_message("index %g: 1 / index %.4f, warned %d of %d\n", index[kind], inverse, warned, TRIALS);
    if (kind < NORMAL)
      assert_true(fabs(inverse - 1 / index[kind]) < 4 * sqrt(error2));
    if (kind < 2)
      assert_true(warned > 0.98 * TRIALS);
    else
      assert_true(warned < 0.02 * TRIALS);
  }
  assert_true(mv_tail_warns(&(struct mv_hill){NAN, 0}, 0.2)); /* too few order statistics, but one sample makes it */
  assert_false(mv_tail_warns(&(struct mv_hill){NAN, 0}, NAN));
  gsl_rng_free(rng);
}

/* Infinite variance: the mean of a million samples is far off now and then, the median of means is not. */
static void median_of_means(void **state)
{
  (void)state;
  enum { GROUPS = 240, EACH = 50, TRIALS = 400 };
  gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
  int64_t count[GROUPS];
  double mean[2 * GROUPS], far[2] = {0};
  for (int i = 0; i < TRIALS; i++) {
    double all = 0;
    for (int g = 0; g < GROUPS; g++) {
      count[g] = EACH;
      mean[2 * g] = 0;
      for (int k = 0; k < EACH; k++)
        mean[2 * g] += (gsl_rng_uniform(rng) < 0.5 ? -1 : 1) * gsl_ran_pareto(rng, 1.3, 1) / EACH;
      all += mean[2 * g] / GROUPS;
    }
    far[0] = fmax(far[0], fabs(all));
    far[1] = fmax(far[1], fabs(mv_median_of_means(GROUPS, count, mean, 2)));
  }
  print_message("farthest mean %.3g, median of means %.3g\n", far[0], far[1]);
  assert_true(far[1] < far[0] / 4);
  /* 24 bins of groups of any size, empty ones too; fewer groups are bins themselves */
  for (int g = 0; g < 48; g++) {
    count[g] = g % 2 ? 10 : g % 4;
    mean[g] = g % 2 ? g : 1e9 * (g % 4 == 0);
  }
  assert_true(fabs(mv_median_of_means(48, count, mean, 1) - 24) < 3);
  assert_true(mv_median_of_means(1, count + 1, mean + 1, 1) == 1);
  count[0] = 0;
  assert_true(isnan(mv_median_of_means(1, count, mean, 1)));
  gsl_rng_free(rng);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(order_statistics),
      cmocka_unit_test(pareto_and_normal),
      cmocka_unit_test(median_of_means),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
