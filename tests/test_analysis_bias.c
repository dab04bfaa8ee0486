/* test_analysis_bias.c - bias, its errors and intervals, against simulations whose truth is known. Fixed seeds. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>

#include "metavar/analysis.h"
#include "metavar/memory.h"

enum { META = 2 };

static void near(double x, double y, double relative)
{
  if (!(fabs(x - y) <= relative * fmax(fabs(x), fabs(y))))
    fail_msg("%.17g is not %.17g within %g", x, y, relative);
}

/* --- bias of two means with shared noise
 * ------------------------------------------------------------------------------- */

enum { SMALL = 40, LARGE = 100, EACH = 25 }; /* groups of entry and reference, samples in a group */

/* The entry's samples g = bias + a u + e, the reference's r = b u + f, u shared by replicates of the same id; u, e and
 * f are normal with standard deviations 1, s_m and 0.4. Coordinates are independent; the group means have their exact
 * laws, and the sums of squares within groups too (up to the covariance within a group, which nothing uses). */
struct truth {
  double bias[META], s[META];
  double distance; /* |bias| */
  double noise;    /* tr Var(gbar - rbar) */
};

static const double with_u = 0.8, reference_u = 0.5, reference_s = 0.4;

/* Var of gbar_m - rbar_m: all of the entry's replicates are paired. */
static double difference_variance(double s)
{
  double n = SMALL * EACH, r = LARGE * EACH;
  return (with_u * with_u + s * s) / n + (reference_u * reference_u + reference_s * reference_s) / r -
         2 * with_u * reference_u / r;
}

static struct truth make_truth(double standard_errors, double stretch)
{
  struct truth t = {.s = {0.6, 0.6 * stretch}};
  for (int m = 0; m < META; m++)
    t.noise += difference_variance(t.s[m]);
  t.distance = standard_errors * sqrt(t.noise);
  t.bias[0] = t.distance * 0.6;
  t.bias[1] = t.distance * 0.8;
  return t;
}

static void simulate(gsl_rng *rng, const struct truth *truth, struct mv_groups *g, struct mv_groups *r)
{
  for (int at = 0; at < LARGE; at++)
    for (int m = 0; m < META; m++) {
      double root = 1 / sqrt(EACH), u = gsl_ran_gaussian(rng, root);
      double vg = with_u * with_u + truth->s[m] * truth->s[m],
             vr = reference_u * reference_u + reference_s * reference_s;
      r->count[at] = EACH;
      r->mean[at * META + m] = 1 + reference_u * u + gsl_ran_gaussian(rng, reference_s * root);
      r->square[at * META + m] = vr * gsl_ran_chisq(rng, EACH - 1);
      if (at >= SMALL)
        continue;
      g->count[at] = EACH;
      g->mean[at * META + m] = 1 + truth->bias[m] + with_u * u + gsl_ran_gaussian(rng, truth->s[m] * root);
      g->square[at * META + m] = vg * gsl_ran_chisq(rng, EACH - 1);
    }
}

struct study {
  double unbiased, unbiased_error; /* mean of the unbiased squared bias and its standard error */
  double spread, se;               /* standard deviation of it, root mean square of the reported standard error */
  double variance, variance_spread, variance_se;
  double covered, cosine_covered; /* shares of intervals that hold the truth */
};

static struct study run_study(double standard_errors, double stretch, int trials)
{
  struct truth truth = make_truth(standard_errors, stretch);
  struct mv_setting one = {.base = -1, .watched = -1};
  struct mv_settings settings = {1, META, &one};
  struct mv_groups g = mv_groups_make(META, 1, SMALL, 1), r = mv_groups_make(META, 1, LARGE, 1);
  gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
  struct study out = {0};
  double *unbiased = mv_memory_take((size_t)trials, sizeof *unbiased),
         *variance = mv_memory_take((size_t)trials, sizeof *variance);
  double a = 1 + truth.bias[0], b = 1 + truth.bias[1], cosine = (a + b) / sqrt(2 * (a * a + b * b));
  for (int i = 0; i < trials; i++) {
    struct mv_row row;
    double coordinates[MV_COORDINATES * META];
    simulate(rng, &truth, &g, &r);
    mv_cell_analyze(&(struct mv_analysis){400, 0.95}, &settings, &g, 1, &r, 1, (uint32_t)i, &row, coordinates);
    double square = truth.distance * truth.distance;
    unbiased[i] = row.stat[MV_STAT_BIAS2_UNBIASED];
    variance[i] = row.stat[MV_STAT_VARIANCE];
    out.unbiased += unbiased[i] / trials;
    out.variance += variance[i] / trials;
    out.se += row.stat[MV_STAT_BIAS2_SE] * row.stat[MV_STAT_BIAS2_SE] / trials;
    out.variance_se += row.stat[MV_STAT_VARIANCE_SE] * row.stat[MV_STAT_VARIANCE_SE] / trials;
    out.covered += (row.stat[MV_STAT_BIAS2_LOW] <= square && square <= row.stat[MV_STAT_BIAS2_HIGH]) / (double)trials;
    out.cosine_covered +=
        (row.stat[MV_STAT_COSINE_LOW] <= cosine + 1e-12 && cosine - 1e-12 <= row.stat[MV_STAT_COSINE_HIGH]) /
        (double)trials;
  }
  out.spread = mv_deviation(unbiased, trials);
  out.unbiased_error = out.spread / sqrt(trials);
  out.variance_spread = mv_deviation(variance, trials);
  out.se = sqrt(out.se);
  out.variance_se = sqrt(out.variance_se);
  free(unbiased);
  free(variance);
  mv_groups_free(&g);
  mv_groups_free(&r);
  gsl_rng_free(rng);
  return out;
}

static void test_bias(void **state)
{
  (void)state;
  enum { TRIALS = 1500 };
  const double stretches[] = {1, 4};
  for (int k = 0; k < 2; k++)
    for (int bias = 0; bias <= 4; bias += bias == 1 ? 3 : 1) { /* 0, 1, 4 standard errors */
      struct truth truth = make_truth(bias, stretches[k]);
      struct study s = run_study(bias, stretches[k], TRIALS);
      double least = 0.93 - 3 * sqrt(0.93 * 0.07 / TRIALS);
      print_message("bias %d se, stretch %g: unbiased %.3g +- %.1g of noise (truth %.3g); se %.3g (spread %.3g); "
                    "covered %.3f, cosine %.3f; variance %.4g, se %.3g (spread %.3g)\n",
                    bias, stretches[k], s.unbiased / truth.noise, s.unbiased_error / truth.noise,
                    truth.distance * truth.distance / truth.noise, s.se / truth.noise, s.spread / truth.noise,
                    s.covered, s.cosine_covered, s.variance, s.variance_se, s.variance_spread);
      assert_true(fabs(s.unbiased - truth.distance * truth.distance) < 4 * s.unbiased_error);
      near(s.se, s.spread, 0.35);
      near(s.variance_se, s.variance_spread, 0.15);
      assert_true(s.covered >= least);
      assert_true(s.cosine_covered >= least);
      if (bias == 4) /* away from the boundary intervals are not too wide either */
        assert_true(s.covered <= 0.98 + 3 * sqrt(0.02 * 0.98 / TRIALS));
    }
}

/* The same input gives the same bits; another stream gives other resamples. */
static void test_determinism(void **state)
{
  (void)state;
  struct truth truth = make_truth(1, 2);
  struct mv_setting one = {.base = -1, .watched = -1};
  struct mv_settings settings = {1, META, &one};
  struct mv_groups g = mv_groups_make(META, 1, SMALL, 1), r = mv_groups_make(META, 1, LARGE, 1);
  gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
  struct mv_row row[3];
  double coordinates[MV_COORDINATES * META];
  memset(row, 0, sizeof row);
  simulate(rng, &truth, &g, &r);
  for (int k = 0; k < 3; k++)
    mv_cell_analyze(&(struct mv_analysis){300, 0.9}, &settings, &g, 1, &r, 1, k == 2, &row[k], coordinates);
  assert_memory_equal(&row[0], &row[1], sizeof row[0]);
  assert_true(row[0].stat[MV_STAT_BIAS2_SE] != row[2].stat[MV_STAT_BIAS2_SE]);
  int drawn[8];
  mv_draw_indices(1, 2, 3, 0, 1000, 8, drawn); /* the generator itself stays what it is */
  const int known[8] = {699, 384, 125, 729, 329, 920, 617, 121};
  assert_memory_equal(drawn, known, sizeof known);
  mv_groups_free(&g);
  mv_groups_free(&r);
  gsl_rng_free(rng);
}

/* Task instances that serve 4 replicates each: the replicates of one are alike, so the mean is worse than tr S / n
 * says, and they pair with a quarter as many blocks of a plain reference. */
static void test_nested(void **state)
{
  (void)state;
  enum { NEST = 4, GROUPS = 60, TRIALS = 2000 };
  struct mv_setting one = {.base = -1, .watched = -1};
  struct mv_settings settings = {1, 1, &one};
  gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
  double unbiased[TRIALS], mean = 0, coordinates[2];
  for (int i = 0; i < TRIALS;
       i++) { /* blocks of one replicate; every fourth block a new instance u; reference u + noise */
    struct mv_groups g = mv_groups_make(1, 1, GROUPS * NEST, NEST), r = mv_groups_make(1, 1, 2 * GROUPS, 1);
    for (int t = 0; t < 2 * GROUPS; t++) {
      double u = gsl_ran_gaussian(rng, 1), zero = 0;
      r.count[t] = 1;
      r.mean[t] = 1 + u + gsl_ran_gaussian(rng, 0.5);
      for (int k = 0; k < NEST && t < GROUPS; k++) {
        double x = 1 + u + gsl_ran_gaussian(rng, 0.5);
        g.count[t] = mv_merge(1, g.count[t], g.mean + t, g.square + t, 1, &x, &zero);
      }
    }
    struct mv_row row;
    mv_cell_analyze(&(struct mv_analysis){100, 0.95}, &settings, &g, NEST, &r, 1, (uint32_t)i, &row, coordinates);
    unbiased[i] = row.stat[MV_STAT_BIAS2_UNBIASED];
    mean += unbiased[i] / TRIALS;
    mv_groups_free(&g);
    mv_groups_free(&r);
  }
  assert_true(fabs(mean) < 4 * mv_deviation(unbiased, TRIALS) / sqrt(TRIALS));
  gsl_rng_free(rng);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bias),
      cmocka_unit_test(test_determinism),
      cmocka_unit_test(test_nested),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
