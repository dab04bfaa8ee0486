/* test_panel.c - groups that pair across entries, covariances of means, draws: against direct computation. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>

#include "metavar/memory.h"
#include "metavar/panel.h"

enum { META = 2, DRAWS = 400 };

static void near(double x, double y, double relative)
{
  if (!(fabs(x - y) <= relative * fmax(fabs(x), fabs(y)) + 1e-300))
    fail_msg("%.17g is not %.17g within %g", x, y, relative);
}

/* Groups of all entries, filled with random numbers; entries of one family share part of them. */
static void fill(struct mv_panel *p, gsl_rng *rng)
{
  double common[p->groups][META];
  for (int g = 0; g < p->groups; g++)
    for (int m = 0; m < META; m++)
      common[g][m] = gsl_ran_gaussian(rng, 1);
  for (int e = 0; e < p->entries; e++) {
    struct mv_groups *all = &p->sheet[e].groups;
    for (int g = 0; g < all->groups; g++)
      all->count[g] = 5 + (int64_t)gsl_rng_uniform_int(rng, 20);
    for (int s = 0; s < all->settings; s++)
      for (int g = 0; g < all->groups; g++)
        for (int m = 0; m < META; m++) {
          int64_t at = ((int64_t)s * all->groups + g) * META + m;
          all->mean[at] = 3 + e + common[p->sheet[e].first + g][m] + gsl_ran_gaussian(rng, 0.5 + s);
          all->square[at] = gsl_rng_uniform(rng) * 10;
        }
  }
}

/* Ends and beginnings of groups: the same task instances for every entry of a family. */
static void test_ranges(void **state)
{
  (void)state;
  const struct mv_extent extent[] = {{1, 100, 1, 0}, {2, 3000, 1, 0}, {1, 301, 3, 0}, {1, 7, 1, 1}};
  struct mv_panel p;
  mv_panel_make(&p, META, 4, extent);
  /* family 0: chunks end at 100, 101 and 3000: 100 + 1 + 127 ranges (2899 in widths of 23) */
  assert_int_equal(p.sheet[0].groups.groups, 100);
  assert_int_equal(p.sheet[2].groups.groups, 101);
  assert_int_equal(p.sheet[1].groups.groups, 100 + 1 + 127);
  assert_int_equal(p.sheet[2].groups.end[99], 300);
  assert_int_equal(p.sheet[2].groups.end[100], 303); /* whole task instances, the last ones in part */
  assert_int_equal(p.sheet[1].groups.end[101], 101 + 23);
  assert_int_equal(p.sheet[1].groups.end[227], 3000);
  assert_int_equal(p.sheet[3].first, 228);
  assert_int_equal(p.groups, 235);
  for (int64_t b = 0; b < 3000; b++) { /* one replicate a block */
    double mean[META] = {(double)b, 1}, comoment[3] = {0}, largest[MV_LARGEST] = {0};
    int64_t id[MV_LARGEST] = {0};
    struct mv_setting at[2] = {{.base = -1, .watched = -1}, {.base = -1, .watched = -1}};
    mv_panel_add(&p, 1, &(struct mv_settings){2, META, at}, &(struct mv_layout){.moments = 2},
                 &(struct mv_moments){b, 1, 0, mean, comoment, largest, id});
  }
  assert_int_equal(p.sheet[1].groups.count[101], 23);
  near(p.sheet[1].groups.mean[101 * META], 101 + 11, 1e-15);
  mv_panel_free(&p);
}

/* Draws are what weighting groups by their counts gives; their scatter is the error of the mean. */
static void test_draws(void **state)
{
  (void)state;
  const struct mv_extent extent[] = {{3, 40, 1, 0}, {9, 90, 1, 0}, {1, 1, 1, 1}};
  gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
  struct mv_panel p;
  mv_panel_make(&p, META, 3, extent);
  fill(&p, rng);
  mv_panel_close(&p, DRAWS, 7);
  for (int e = 0; e < 2; e++) {
    const struct mv_sheet *sheet = &p.sheet[e];
    const struct mv_groups *all = &sheet->groups;
    for (int s = 0; s < all->settings; s++)
      for (int r = 0; r < DRAWS; r++) {
        double mean[META] = {0}, square[META] = {0}, trace = 0;
        int64_t count = 0;
        for (int g = 0; g < all->groups; g++)
          for (int k = 0; k < p.times[r * p.groups + sheet->first + g]; k++) {
            int64_t at = ((int64_t)s * all->groups + g) * META;
            count = mv_merge(META, count, mean, square, all->count[g], all->mean + at, all->square + at);
          }
        for (int m = 0; m < META; m++) {
          near(sheet->mean[s * META + m] + sheet->error[(s * DRAWS + r) * META + m], mean[m], 1e-12);
          trace += square[m] / (double)(count - 1);
        }
        near(sheet->trace[s * DRAWS + r], trace, 1e-11);
      }
  }
  struct mv_estimate one = mv_panel_variance(&p, 2, 0, 0.95, NULL); /* one group tells nothing of its error */
  assert_true(isnan(p.sheet[2].error[0]) && isnan(p.sheet[2].trace[0]));
  assert_true(one.value > 0 && isnan(one.se) && isnan(one.low) && isnan(one.high));
  mv_panel_free(&p);
  gsl_rng_free(rng);
}

/* Counts are Poisson(1): mean, variance and third central moment 1, within 4 standard errors; and the generator stays. */
static void test_counts(void **state)
{
  (void)state;
  enum { N = 400000 };
  static uint8_t count[N];
  double moment[3] = {0};
  mv_draw_counts(1, 2, 3, N, count);
  for (int i = 0; i < N; i++)
    for (int k = 0; k < 3; k++)
      moment[k] += (k == 0 ? count[i] : pow(count[i] - 1, k + 1)) / N;
  /* Var of c, (c - 1)^2, (c - 1)^3: 1, 3, 41 - 1 by the central moments 1, 1, 4, 11, 41 of orders 2 to 6 */
  assert_true(fabs(moment[0] - 1) < 4 / sqrt(N) && fabs(moment[1] - 1) < 4 * sqrt(3.0 / N) &&
              fabs(moment[2] - 1) < 4 * sqrt(40.0 / N));
  const uint8_t known[8] = {0, 0, 2, 2, 2, 0, 1, 2};
  assert_memory_equal(count, known, sizeof known);
}

/* Entries of unequal length, unequal groups: the covariance of means averages to the truth; parts add up to rounding. */
static void test_covariance(void **state)
{
  (void)state;
  enum { TRIALS = 4000 };
  const struct mv_extent extent[] = {{2, 12, 1, 0}, {1, 30, 1, 0}, {1, 30, 1, 1}};
  gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
  static double got[4][TRIALS];
  double truth[4] = {0};
  for (int i = 0; i < TRIALS; i++) {
    struct mv_panel p;
    mv_panel_make(&p, 1, 3, extent);
    for (int g = 0; g < 30;
         g++) { /* all replicates of a group paired: x = u + noise, u and noise of variance 1 a replicate */
      int n = 2 + g % 5;
      double u = gsl_ran_gaussian(rng, 1 / sqrt(n));
      for (int e = 0; e < 3; e++)
        for (int s = 0; s < extent[e].settings && g < p.sheet[e].groups.groups; s++) {
          p.sheet[e].groups.count[g] = n;
          p.sheet[e].groups.mean[s * p.sheet[e].groups.groups + g] = u + gsl_ran_gaussian(rng, 1 / sqrt(n));
        }
    }
    mv_panel_close(&p, 0, 0);
    struct mv_term a = {0, 0, 1}, b = {0, 1, 1}, c = {1, 0, 1}, d = {2, 0, 1};
    double n = p.sheet[0].count, k = p.sheet[1].count;
    got[0][i] = mv_panel_covariance(&p, &a, &a, NULL), truth[0] = 2 / n;
    got[1][i] = mv_panel_covariance(&p, &a, &b, NULL), truth[1] = 1 / n;
    got[2][i] = mv_panel_covariance(&p, &a, &c, NULL), truth[2] = 1 / k;
    got[3][i] = mv_panel_covariance(&p, &a, &d, NULL); /* another family */
    assert_true(got[3][i] == 0 && mv_panel_covariance(&p, &c, &a, NULL) == got[2][i]);
    struct mv_vector whole, part[2];
    mv_vector_make(&part[0], &p, 2, (struct mv_term[]){a, {0, 1, -0.5}});
    mv_vector_make(&part[1], &p, 2, (struct mv_term[]){{0, 1, 0.5}, {1, 0, -1}});
    mv_vector_make(&whole, &p, 2, (struct mv_term[]){a, {1, 0, -1}});
    near(mv_vector_product(&whole, &whole, 0.95, NULL).value,
         mv_vector_product(&part[0], &whole, 0.95, NULL).value + mv_vector_product(&part[1], &whole, 0.95, NULL).value,
         1e-12);
    mv_vector_free(&part[0]);
    mv_vector_free(&part[1]);
    mv_vector_free(&whole);
    mv_panel_free(&p);
  }
  for (int k = 0; k < 3; k++) {
    double mean = 0, se = mv_deviation(got[k], TRIALS) / sqrt(TRIALS);
    for (int i = 0; i < TRIALS; i++)
      mean += got[k][i] / TRIALS;
    print_message("covariance %d: %.5f (%.5f), truth %.5f\n", k, mean, se, truth[k]);
    assert_true(fabs(mean - truth[k]) < 4 * se);
  }
  gsl_rng_free(rng);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_ranges),
      cmocka_unit_test(test_draws),
      cmocka_unit_test(test_counts),
      cmocka_unit_test(test_covariance),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
