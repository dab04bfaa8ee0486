/* test_rounds.c - the stopping rule: its rounds, and its errors against what is known of normal samples. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>

#include "metavar/memory.h"
#include "metavar/rounds.h"
#include "metavar/sample.h"

enum { META = 2, BLOCK = 50, VALUES = 4 };

/* One cell of one entry: a gradient (values 0, 1) and a component (2, 3) that is watched on top of it. */
struct fake {
  struct mv_job job;
  struct mv_entry entry;
  struct mv_layout layout;
  struct mv_plan plan;
  int64_t vector[2][2];
};

static void make_fake(struct fake *f, enum mv_statistic statistic, double target)
{
  *f = (struct fake){.vector = {{0, -1}, {0, 2}}};
  f->entry = (struct mv_entry){.replicates = 100000, .lifetimes_per_task = 1, .perturbations_per_lifetime = 1};
  f->layout = (struct mv_layout){
      .output_count = 1, .values = VALUES, .moments = VALUES, .pairs = 10, .vectors = 2, .vector = f->vector};
  f->layout.output[0] = (struct mv_output){.rank = 1, .axis = {{.length = META}}};
  f->job = (struct mv_job){.meta = META, .points = 1, .entry_count = 1, .block = BLOCK, .entries = &f->entry};
  f->job.stop = (struct mv_stopping){target, statistic, 32 * BLOCK};
  f->plan = (struct mv_plan){.job = &f->job, .layout = &f->layout, .cells = 1};
}

/* Samples x[n][VALUES], in blocks; status NULL: all are finite. */
static double error_of(const struct fake *f, const double *x, int64_t n, const int8_t *status)
{
  struct mv_gauge *gauge = mv_gauge_create(&f->plan, 0, n);
  int8_t ok[BLOCK] = {0};
  for (int64_t b = 0; b * BLOCK < n; b++) {
    int64_t first = b * BLOCK, count = n - first < BLOCK ? n - first : BLOCK, finite, nonfinite, id[2 * MV_LARGEST];
    double mean[VALUES], comoment[10], largest[2 * MV_LARGEST];
    mv_moments_make(&f->layout, x + first * VALUES, status ? status + first : ok, first, count, &finite, &nonfinite,
                    mean, comoment, largest, id);
    mv_gauge_add(gauge, b, finite, nonfinite, mean, comoment);
  }
  double error = mv_gauge_error(gauge);
  assert_true(mv_gauge_reached(gauge) == (error <= f->job.stop.relative_error));
  mv_gauge_free(gauge);
  return error;
}

/* Means (3, 4) and standard deviation `sd` of each coordinate of gradient and component; `shared` replicates in a row
 * share all of it. */
static void fill(gsl_rng *rng, double *x, int64_t n, double mean, double sd, int64_t shared)
{
  for (int64_t r = 0; r < n; r++)
    for (int k = 0; k < VALUES; k++)
      x[r * VALUES + k] =
          r % shared ? x[(r - 1) * VALUES + k] : mean * (k % META ? 4 : 3) / 5 + gsl_ran_gaussian(rng, sd);
}

static void rounds_double(void **state)
{
  (void)state;
  struct fake f;
  make_fake(&f, MV_STATISTIC_VARIANCE, 0.1);
  static const int64_t want[] = {1600, 3200, 6400, 12800, 25600, 51200, 100000, 100000};
  for (int k = 0; k < 8; k++) {
    assert_int_equal(mv_round_replicates(&f.job, &f.entry, k + 1), want[k]);
    assert_true(mv_round_is_end(&f.job, &f.entry, want[k]));
    assert_false(mv_round_is_end(&f.job, &f.entry, want[k] + 1));
  }
  assert_false(mv_round_is_end(&f.job, &f.entry, 0));
  assert_false(mv_round_is_end(&f.job, &f.entry, INT64_MIN));
  f.entry.replicates = 1000; /* less than a first round */
  assert_int_equal(mv_round_replicates(&f.job, &f.entry, 1), 1000);
  assert_int_equal(mv_round_replicates(&f.job, &f.entry, 40), 1000);
  f.job.stop.relative_error = 0; /* no rule */
  assert_int_equal(mv_round_replicates(&f.job, &f.entry, 1), 1000);
  assert_false(mv_round_is_end(&f.job, &f.entry, 1600));
}

/* Mean over trials of the squared estimate against its truth: the variance of tr S over M coordinates of normal samples
 * is 2 (tr S)^2 / (M n), that of the mean tr S / n. Shared replicates count once. The worst of two vectors counts, so the
 * other, base + component, gets the larger error in `gradient` (its variance is twice, its mean too), and the same in
 * `variance`; there both are drawn apart and the mean of the maximum is a little above. */
static void errors_are_right(void **state)
{
  (void)state;
  enum { TRIALS = 200, N = 6400 };
  gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
  double *x = mv_memory_take(N * VALUES, sizeof *x);
  for (int statistic = 0; statistic < 2; statistic++)
    for (int64_t shared = 1; shared <= 4; shared += 3) {
      struct fake f;
      make_fake(&f, (enum mv_statistic)statistic, 0.1);
      f.entry.lifetimes_per_task = shared;
      f.layout.vectors = 1;
      double sum = 0, square = 0;
      for (int t = 0; t < TRIALS; t++) {
        fill(rng, x, N, 5, 2, shared);
        double e2 = pow(error_of(&f, x, N, NULL), 2);
        sum += e2 / TRIALS;
        square += e2 * e2 / TRIALS;
      }
      double n = (double)N / (double)shared, se = sqrt((square - sum * sum) / TRIALS);
      double truth = statistic == MV_STATISTIC_VARIANCE ? 2 / (META * n) : META * 4 / n / 25;
      assert_true(fabs(sum - truth) < 4 * se);
      assert_true(se < 0.03 * truth); /* else this says little */
    }
  free(x);
  gsl_rng_free(rng);
}

/* A component makes the error of base + component; here it takes the mean away and leaves the noise. */
static void worst_vector_counts(void **state)
{
  (void)state;
  enum { N = 3200 };
  gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
  double *x = mv_memory_take(N * VALUES, sizeof *x);
  struct fake f;
  make_fake(&f, MV_STATISTIC_GRADIENT, 0.5);
  fill(rng, x, N, 5, 1, 1);
  double alone = error_of(&f, x, N, NULL);
  for (int r = 0; r < N; r++)
    for (int m = 0; m < META; m++)
      x[r * VALUES + 2 + m] -= m ? 8 : 6;
  assert_true(alone < 0.01);
  assert_true(error_of(&f, x, N, NULL) > 0.3); /* a mean of zero: near 1 for any n */
  free(x);
  gsl_rng_free(rng);
}

static void what_cannot_be_told(void **state)
{
  (void)state;
  enum { N = 3200 };
  gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
  double *x = mv_memory_take(N * VALUES, sizeof *x);
  int8_t *status = mv_memory_take(N, 1);
  for (int statistic = 0; statistic < 2; statistic++) {
    struct fake f;
    make_fake(&f, (enum mv_statistic)statistic, 1);
    fill(rng, x, N, 5, 1, 1);
    assert_true(error_of(&f, x, N, NULL) < 0.1);
    assert_true(isfinite(error_of(&f, x, 20 * BLOCK, NULL)));
    assert_true(isinf(error_of(&f, x, 19 * BLOCK, NULL))); /* few groups */
    f.layout.vectors = 0;                                  /* the objective alone */
    assert_true(isinf(error_of(&f, x, N, NULL)));
    f.layout.vectors = 2;
    f.entry.lifetimes_per_task = 7; /* 64 blocks, but 7 of them make whole instances */
    assert_true(isinf(error_of(&f, x, N, NULL)));
    f.entry.lifetimes_per_task = 1;
    status[N / 2] = MV_NONFINITE;
    assert_true(isinf(error_of(&f, x, N, status)));
    memset(status, MV_NONFINITE, N);
    assert_true(isinf(error_of(&f, x, N, status)));
    memset(status, MV_OK, N);
    for (int k = 0; k < N * VALUES; k++) /* all the same: known exactly, up to rounding */
      x[k] = 0.1 + k % VALUES;
    assert_true(error_of(&f, x, N, NULL) < 1e-12);
    memset(x, 0, N * VALUES * sizeof *x);
    assert_true(error_of(&f, x, N, NULL) == 0);
    for (int k = 0; k < N * VALUES; k++)
      x[k] = k % 3 ? 1e200 : -1e200; /* squares overflow */
    assert_true(isinf(error_of(&f, x, N, NULL)));
  }
  free(status);
  free(x);
  gsl_rng_free(rng);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rounds_double),
      cmocka_unit_test(errors_are_right),
      cmocka_unit_test(worst_vector_counts),
      cmocka_unit_test(what_cannot_be_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
