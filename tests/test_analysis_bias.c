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

/* Entry and reference, one block a group. */
static struct mv_panel make_panel(int small, int large, int nest, int meta)
{
  struct mv_panel p;
  mv_panel_make(&p, meta, 2, (struct mv_extent[]){{1, (int64_t)small * nest, nest, 0}, {1, large, 1, 0}});
  return p;
}

/* The entry's row against the reference. */
static struct mv_row analyze(struct mv_panel *p, int resamples, double confidence, uint32_t stream, int64_t nest)
{
  const struct mv_setting one = {.base = -1, .watched = -1};
  const struct mv_analysis options = {resamples, confidence};
  double coordinates[MV_COORDINATES * META];
  struct mv_row row;
  struct mv_point at;
  memset(&row, 0, sizeof row);
  mv_panel_close(p, resamples, stream);
  mv_point_make(&at, p, &options, &(struct mv_term){1, 0, 1});
  mv_cell_fill(&at, 0, 0, nest, &one, &row, coordinates, NULL);
  mv_point_free(&at);
  return row;
}

static void simulate(gsl_rng *rng, const struct truth *truth, struct mv_panel *p)
{
  struct mv_groups *g = &p->sheet[0].groups, *r = &p->sheet[1].groups;
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

/* Mean of a number over trials, and its standard error. */
struct mean {
  double value, error;
};

static struct mean mean_of(const double *x, int count)
{
  struct mean m = {0, mv_deviation(x, count) / sqrt(count)};
  for (int i = 0; i < count; i++)
    m.value += x[i] / count;
  return m;
}

struct study {
  struct mean unbiased, square_error;   /* the unbiased squared bias, and the square of its error */
  struct mean se2, variance, variance2; /* squares of the reported standard errors */
  struct mean variance_error;           /* square of the error of the variance */
  double covered, cosine_covered;       /* shares of intervals that hold the truth */
};

/* Variances that theory gives, of d = gbar - rbar with covariance V and mean delta: Var |d|^2 = 4 delta' V delta + 2 tr
 * V^2. The reported one is E max(4 d' V d - 2 tr V^2, 2 tr V^2) where V is known: the same but for the floor. Of the
 * variance of the entry's samples, which are normal: sum_m 2 s_m^4 / (n - 1). */
struct theory {
  double square, reported, variance, variance2;
};

static struct theory make_theory(const struct truth *truth)
{
  enum { DRAWS = 200000 };
  struct theory t = {0};
  gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
  double v[META], trace = 0;
  for (int m = 0; m < META; m++) {
    double s2 = with_u * with_u + truth->s[m] * truth->s[m];
    v[m] = difference_variance(truth->s[m]);
    trace += 2 * v[m] * v[m];
    t.square += 4 * v[m] * truth->bias[m] * truth->bias[m];
    t.variance += s2;
    t.variance2 += 2 * s2 * s2 / (SMALL * EACH - 1);
  }
  t.square += trace;
  for (int i = 0; i < DRAWS; i++) {
    double along = 0;
    for (int m = 0; m < META; m++)
      along += 4 * v[m] * pow(truth->bias[m] + gsl_ran_gaussian(rng, sqrt(v[m])), 2);
    t.reported += fmax(along - trace, trace) / DRAWS;
  }
  gsl_rng_free(rng);
  return t;
}

static struct study run_study(double standard_errors, double stretch, int trials)
{
  struct truth truth = make_truth(standard_errors, stretch);
  gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
  struct study out = {0};
  struct theory theory = make_theory(&truth);
  double *x[6];
  for (int k = 0; k < 6; k++)
    x[k] = mv_memory_take((size_t)trials, sizeof **x);
  double a = 1 + truth.bias[0], b = 1 + truth.bias[1], cosine = (a + b) / sqrt(2 * (a * a + b * b));
  for (int i = 0; i < trials; i++) {
    double square = truth.distance * truth.distance;
    struct mv_panel p = make_panel(SMALL, LARGE, 1, META);
    simulate(rng, &truth, &p);
    struct mv_row row = analyze(&p, 400, 0.95, (uint32_t)i, 1);
    mv_panel_free(&p);
    x[0][i] = row.stat[MV_STAT_BIAS2_UNBIASED];
    x[1][i] = pow(x[0][i] - square, 2);
    x[2][i] = pow(row.stat[MV_STAT_BIAS2_SE], 2);
    x[3][i] = row.stat[MV_STAT_VARIANCE];
    x[4][i] = pow(row.stat[MV_STAT_VARIANCE_SE], 2);
    x[5][i] = pow(x[3][i] - theory.variance, 2);
    out.covered += (row.stat[MV_STAT_BIAS2_LOW] <= square && square <= row.stat[MV_STAT_BIAS2_HIGH]) / (double)trials;
    out.cosine_covered +=
        (row.stat[MV_STAT_COSINE_LOW] <= cosine + 1e-12 && cosine - 1e-12 <= row.stat[MV_STAT_COSINE_HIGH]) /
        (double)trials;
  }
  struct mean *mean[6] = {&out.unbiased, &out.square_error, &out.se2,
                          &out.variance, &out.variance2,    &out.variance_error};
  for (int k = 0; k < 6; k++) {
    *mean[k] = mean_of(x[k], trials);
    free(x[k]);
  }
  gsl_rng_free(rng);
  return out;
}

/* Within 4 standard errors, and a relative slack for what theory leaves out. */
static void agree(const char *what, struct mean got, double theory, double slack)
{
  print_message("  %s: %.4g +- %.1g, theory %.4g\n", what, got.value, got.error, theory);
  if (!(fabs(got.value - theory) <= 4 * got.error + slack * theory))
    fail_msg("%s: %.6g +- %.2g, theory %.6g", what, got.value, got.error, theory);
}

static void test_bias(void **state)
{
  (void)state;
  enum { TRIALS = 600 };
  /* The bootstrap estimates V from as few as SMALL groups: E V^2 is larger than its truth by the factor 1 + 2 / (SMALL -
   * 1). */
  const double stretches[] = {1, 4}, bootstrap = 2.0 / (SMALL - 1);
  for (int k = 0; k < 2; k++)
    for (int bias = 0; bias <= 4; bias += bias == 1 ? 3 : 1) { /* 0, 1, 4 standard errors */
      struct truth truth = make_truth(bias, stretches[k]);
      struct theory theory = make_theory(&truth);
      struct study s = run_study(bias, stretches[k], TRIALS);
      double least = 0.93 - 3 * sqrt(0.93 * 0.07 / TRIALS);
      print_message("bias %d se, stretch %g: covered %.3f, cosine %.3f\n", bias, stretches[k], s.covered,
                    s.cosine_covered);
      agree("unbiased squared bias", s.unbiased, truth.distance * truth.distance, 0);
      agree("its variance", s.square_error, theory.square, 0);
      agree("its squared standard error", s.se2, theory.reported, bootstrap);
      agree("variance", s.variance, theory.variance, 0);
      agree("its variance", s.variance_error, theory.variance2, 0);
      agree("its squared standard error", s.variance2, theory.variance2, bootstrap);
      assert_true(s.covered >= least);
      assert_true(s.cosine_covered >= least);
      if (bias == 4) /* away from the boundary intervals are not too wide either */
        assert_true(s.covered <= 0.98 + 3 * sqrt(0.02 * 0.98 / TRIALS));
    }
}

/* Averages over many eta points, at every one of which there is no bias, or a bias of one or four standard errors: the
 * plug-in's excess is many times the interval's width there. */
static void test_average(void **state)
{
  (void)state;
  enum { TRIALS = 150, POINTS = 16, FEW = 150 };
  gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
  for (int bias = 0; bias <= 4; bias += bias == 1 ? 3 : 1) {
    struct truth truth = make_truth(bias, 1);
    double covered = 0, square = truth.distance * truth.distance;
    for (int i = 0; i < TRIALS; i++) {
      struct mv_average average = {0};
      for (int point = 0; point < POINTS; point++) {
        double errors[FEW];
        struct mv_panel p = make_panel(SMALL, LARGE, 1, META);
        struct mv_vector d;
        simulate(rng, &truth, &p);
        mv_panel_close(&p, FEW, (uint32_t)(i * POINTS + point));
        mv_vector_make(&d, &p, 2, (struct mv_term[]){{0, 0, 1}, {1, 0, -1}});
        struct mv_estimate e = mv_vector_product(&d, &d, 0.95, errors);
        mv_average_add(&average, &e, FEW, errors);
        mv_vector_free(&d);
        mv_panel_free(&p);
      }
      struct mv_estimate e = mv_average_finish(&average, 0.95, true);
      covered += (e.low <= square && square <= e.high) / (double)TRIALS;
      mv_average_free(&average);
    }
    print_message("average of %d points, bias %d se: covered %.3f\n", POINTS, bias, covered);
    assert_true(covered >= 0.93 - 3 * sqrt(0.93 * 0.07 / TRIALS));
    assert_true(bias < 4 || covered <= 0.97 + 3 * sqrt(0.97 * 0.03 / TRIALS));
  }
  gsl_rng_free(rng);
}

/* The same input gives the same bits; another stream gives other resamples. */
static void test_determinism(void **state)
{
  (void)state;
  struct truth truth = make_truth(1, 2);
  struct mv_row row[3];
  for (int k = 0; k < 3; k++) {
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    struct mv_panel p = make_panel(SMALL, LARGE, 1, META);
    simulate(rng, &truth, &p);
    row[k] = analyze(&p, 300, 0.9, k == 2, 1);
    mv_panel_free(&p);
    gsl_rng_free(rng);
  }
  assert_memory_equal(row[0].stat, row[1].stat, sizeof row[0].stat);
  assert_true(row[0].stat[MV_STAT_BIAS2_SE] != row[2].stat[MV_STAT_BIAS2_SE]);
}

/* Task instances that serve 4 replicates each: the replicates of one are alike, so the mean is worse than tr S / n
 * says, and they pair with a quarter as many blocks of a plain reference. */
static void test_nested(void **state)
{
  (void)state;
  enum { NEST = 4, GROUPS = 60, TRIALS = 2000 };
  gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
  double unbiased[TRIALS], mean = 0;
  for (int i = 0; i < TRIALS; i++) { /* a group of the entry: NEST replicates of an instance u; reference u + noise */
    struct mv_panel p = make_panel(GROUPS, 2 * GROUPS, NEST, 1);
    struct mv_groups *g = &p.sheet[0].groups, *r = &p.sheet[1].groups;
    for (int t = 0; t < 2 * GROUPS; t++) {
      double u = gsl_ran_gaussian(rng, 1), zero = 0;
      r->count[t] = 1;
      r->mean[t] = 1 + u + gsl_ran_gaussian(rng, 0.5);
      for (int k = 0; k < NEST && t < GROUPS; k++) {
        double x = 1 + u + gsl_ran_gaussian(rng, 0.5);
        g->count[t] = mv_merge(1, g->count[t], g->mean + t, g->square + t, 1, &x, &zero);
      }
    }
    unbiased[i] = analyze(&p, 100, 0.95, (uint32_t)i, NEST).stat[MV_STAT_BIAS2_UNBIASED];
    mean += unbiased[i] / TRIALS;
    mv_panel_free(&p);
  }
  assert_true(fabs(mean) < 4 * mv_deviation(unbiased, TRIALS) / sqrt(TRIALS));
  gsl_rng_free(rng);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bias),
      cmocka_unit_test(test_average),
      cmocka_unit_test(test_determinism),
      cmocka_unit_test(test_nested),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
