/* test_budget.c - mean squared error against budget: fronts, break-even, fits; against closed forms and simulation. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>

#include "metavar/budget.h"
#include "metavar/memory.h"

/* --- closed forms ------------------------------------------------------------------------------------------------- */

static double mse(const struct mv_offer *o, double budget)
{
  return fmax(o->bias2, 0) + o->variance * o->cost / budget;
}

static void budgets(void **state)
{
  (void)state;
  static const double expected[] = {20, 50, 100, 200, 500, 1000};
  double b[20];
  assert_int_equal(mv_budgets(11, 900, 20, b), 6);
  for (int k = 0; k < 6; k++)
    assert_true(fabs(b[k] / expected[k] - 1) < 1e-12);
  assert_int_equal(mv_budgets(10, 10, 20, b), 1);
  assert_int_equal(mv_budgets(1, 1e9, 20, b), 20);
  assert_int_equal(mv_budgets(1, INFINITY, 20, b), 0);
  assert_int_equal(mv_budgets(NAN, 10, 20, b), 0);
}

/* Random offers: the best at any budget is on the front, nothing on the front is beaten, everything else is. */
static void fronts(void **state)
{
  (void)state;
  enum { OFFERS = 40 };
  gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
  struct mv_offer o[OFFERS];
  bool front[OFFERS];
  for (int trial = 0; trial < 200; trial++) {
    for (int k = 0; k < OFFERS; k++)
      o[k] = (struct mv_offer){.cost = ceil(gsl_ran_exponential(rng, 30)),
                               .bias2 = gsl_ran_gaussian(rng, 1) + 1,
                               .variance = gsl_ran_exponential(rng, 5)};
    o[3].bias2 = NAN;
    o[4].cost = NAN;
    for (double budget = 10; budget < 1e4; budget *= 10) {
      mv_offers_front(OFFERS, o, budget, front);
      int best = mv_offers_best(OFFERS, o, budget);
      assert_true(front[best] && !front[3] && !front[4]);
      for (int k = 0; k < OFFERS; k++) {
        bool beaten = !(o[k].cost <= budget) || isnan(o[k].bias2);
        for (int j = 0; j < OFFERS; j++)
          beaten |= j != 3 && o[j].cost <= budget && fmax(o[j].bias2, 0) <= fmax(o[k].bias2, 0) &&
                    o[j].variance * o[j].cost < o[k].variance * o[k].cost;
        assert_true(beaten == !front[k]);
        if (o[k].cost <= budget && k != 3)
          assert_true(mse(&o[k], budget) >= mse(&o[best], budget));
      }
    }
    for (int k = 5; k < OFFERS; k++) { /* at break-even they are equal */
      double at = mv_break_even(&o[0], &o[k], 0, 0.95, NULL).value;
      if (at > 0 && at < INFINITY)
        assert_true(fabs(mse(&o[0], at) / mse(&o[k], at) - 1) < 1e-9);
      for (double budget = 1e-3; budget < 1e13; budget *= 10)
        if (at < INFINITY && fabs(budget - at) > 1e-3 * at)
          assert_true((mse(&o[k], budget) < mse(&o[0], budget)) == (budget > at));
      if (at == INFINITY)
        assert_true(mse(&o[k], 1e12) >= mse(&o[0], 1e12));
    }
  }
  assert_true(isnan(mv_break_even(&o[0], &o[3], 0, 0.95, NULL).value));
  gsl_rng_free(rng);
}

/* Intervals of the break-even budget cover it; "never" is among them when the biases may be equal. */
static void break_even_covers(void **state)
{
  (void)state;
  enum { TRIALS = 1000, DRAWS = 400 };
  gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
  static double e[4][DRAWS], work[DRAWS];
  for (int apart = 0; apart <= 5; apart += 5) { /* standard errors between the biases */
    struct mv_offer a = {.cost = 1, .bias2_errors = e[0], .variance_errors = e[1]}, b = a;
    b.bias2_errors = e[2], b.variance_errors = e[3], b.cost = 10;
    double truth = apart ? (10 * 3.0 - 2.0) / (apart * 0.1 * sqrt(2)) : INFINITY, covered = 0;
    for (int i = 0; i < TRIALS; i++) {
      a.bias2 = 1 + apart * 0.1 * sqrt(2) + gsl_ran_gaussian(rng, 0.1);
      b.bias2 = 1 + gsl_ran_gaussian(rng, 0.1);
      a.variance = 2 + gsl_ran_gaussian(rng, 0.05);
      b.variance = 3 + gsl_ran_gaussian(rng, 0.05);
      for (int r = 0; r < DRAWS; r++)
        for (int k = 0; k < 4; k++)
          e[k][r] = gsl_ran_gaussian(rng, k % 2 ? 0.05 : 0.1);
      struct mv_estimate at = mv_break_even(&a, &b, DRAWS, 0.95, work);
      covered += (at.low <= truth && truth <= at.high) / (double)TRIALS;
    }
    print_message("biases %d standard errors apart: covered %.3f\n", apart, covered);
    assert_true(covered > 0.93 - 3 * sqrt(0.93 * 0.07 / TRIALS));
  }
  gsl_rng_free(rng);
}

/* --- the best coefficient ----------------------------------------------------------------------------------------- */

enum { META = 2, GROUPS = 20, LAMBDAS = 3 };
static const double lambda[LAMBDAS] = {0, 0.5, 1};
static const double base[META] = {1, 0.5}, part[META] = {-0.6, 0.3}, reference[META] = {0.4, 0.7};

/* g = B + lambda C, B = base + 0.8 z, C = part + 1.5 (0.5 z + sqrt(0.75) y), reference + 0.4 z + 0.1 x: per coordinate */
static double true_mse(double l, double samples)
{
  double sum = 0;
  for (int m = 0; m < META; m++) {
    double bias = base[m] + l * part[m] - reference[m];
    sum += bias * bias + (0.64 + 2 * l * 0.8 * 0.75 + l * l * 2.25) / samples;
  }
  return sum;
}

static double true_best(double samples)
{
  double along = 0, square = 0;
  for (int m = 0; m < META; m++) {
    along += (base[m] - reference[m]) * part[m] + 0.8 * 0.75 / samples;
    square += part[m] * part[m] + 2.25 / samples;
  }
  return -along / square;
}

static struct mv_panel simulate(gsl_rng *rng, int each)
{
  struct mv_panel p;
  const struct mv_extent extent[2] = {{LAMBDAS, GROUPS, 1, 0}, {1, GROUPS, 1, 0}};
  mv_panel_make(&p, META, 2, extent);
  for (int g = 0; g < GROUPS; g++)
    for (int i = 0; i < each; i++) {
      double x[LAMBDAS + 1][META], zero[META] = {0};
      for (int m = 0; m < META; m++) {
        double z = gsl_ran_gaussian(rng, 1), y = gsl_ran_gaussian(rng, 1);
        for (int l = 0; l < LAMBDAS; l++)
          x[l][m] = base[m] + 0.8 * z + lambda[l] * (part[m] + 1.5 * (0.5 * z + sqrt(0.75) * y));
        x[LAMBDAS][m] = reference[m] + 0.4 * z + gsl_ran_gaussian(rng, 0.1);
      }
      for (int k = 0; k <= LAMBDAS; k++) {
        struct mv_groups *all = &p.sheet[k == LAMBDAS].groups;
        int64_t at = ((int64_t)(k == LAMBDAS ? 0 : k) * GROUPS + g) * META;
        mv_merge(META, i, all->mean + at, all->square + at, 1, x[k], zero);
      }
      p.sheet[0].groups.count[g] = p.sheet[1].groups.count[g] = i + 1;
    }
  return p;
}

/* Offers, halves and a fit from one study of `each` samples in a group. */
static struct mv_fit study(gsl_rng *rng, int each, double budget, int draws, double *work)
{
  struct mv_panel p = simulate(rng, each);
  struct mv_offer offer[LAMBDAS];
  struct mv_half half[LAMBDAS] = {0}, none = {0}, *halves[2] = {half, &none};
  double *errors = mv_memory_take((size_t)(2 * LAMBDAS * draws), sizeof *errors);
  mv_panel_close(&p, draws, (uint32_t)gsl_rng_get(rng));
  for (int l = 0; l < LAMBDAS; l++) {
    struct mv_term terms[] = {{0, l, 1}, {1, 0, -1}};
    struct mv_vector bias;
    double *own = errors + 2 * l * draws;
    mv_vector_make(&bias, &p, 2, terms);
    offer[l] = (struct mv_offer){.cost = 2, .bias2_errors = own, .variance_errors = own + draws};
    offer[l].bias2 = mv_vector_product(&bias, &bias, 0.95, own).value;
    offer[l].variance = mv_panel_variance(&p, 0, l, 0.95, own + draws).value;
    mv_vector_free(&bias);
  }
  mv_halves_add(&p, &(struct mv_term){1, 0, 1}, halves);
  const struct mv_offer *const offers[1][3] = {{&offer[0], &offer[1], &offer[2]}};
  const struct mv_half *const parts[1][3] = {{&half[0], &half[1], &half[2]}};
  struct mv_family family = {1, {lambda[0], lambda[1], lambda[2]}, 0, 1, offers, parts};
  struct mv_fit fit = mv_fit_make(&family, budget, draws, 0.95, work);
  mv_panel_free(&p);
  free(errors);
  return fit;
}

/* The cross-fitted mse is unbiased for what the fits achieve; the mse of a fit in its own samples is too small. */
static void cross_fit(void **state)
{
  (void)state;
  enum { TRIALS = 6000 };
  static const double budgets[] = {20, 60};
  gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
  for (int k = 0; k < 2; k++) {
    double samples = budgets[k] / 2, crossed[TRIALS], flattered[TRIALS], sum[2] = {0}, x = 0;
    for (int i = 0; i < TRIALS; i++) {
      struct mv_fit f = study(rng, 2, budgets[k], 0, NULL);
      double achieved = (true_mse(f.half_x[0], samples) + true_mse(f.half_x[1], samples)) / 2;
      crossed[i] = f.mse - achieved;
      flattered[i] = f.fitted - true_mse(f.x, samples);
      sum[0] += crossed[i] / TRIALS;
      sum[1] += flattered[i] / TRIALS;
      x += f.x / TRIALS;
    }
    double se[2] = {mv_deviation(crossed, TRIALS) / sqrt(TRIALS), mv_deviation(flattered, TRIALS) / sqrt(TRIALS)};
    print_message("budget %g: lambda %.4f, best %.4f; cross-fitted mse off by %.2g (%.2g), fitted by %.2g (%.2g), "
                  "least possible %.3g\n",
                  budgets[k], x, true_best(samples), sum[0], se[0], sum[1], se[1],
                  true_mse(true_best(samples), samples));
    assert_true(fabs(sum[0]) < 4 * se[0]);
    assert_true(sum[1] < -8 * se[1]);
    assert_true(fabs(x - true_best(samples)) < 0.1);
  }
  gsl_rng_free(rng);
}

/* Intervals of the best coefficient and of its mse. */
static void fit_covers(void **state)
{
  (void)state;
  enum { TRIALS = 500, DRAWS = 400 };
  gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
  for (int each = 8; each <= 80; each *= 10) {
    double covered[2] = {0}, best = true_best(50), work[2 * DRAWS];
    for (int i = 0; i < TRIALS; i++) {
      struct mv_fit f = study(rng, each, 100, DRAWS, work);
      double least = true_mse(best, 50);
      covered[0] += (f.x_low <= best && best <= f.x_high) / (double)TRIALS;
      covered[1] += (f.low <= least && least <= f.high) / (double)TRIALS;
    }
    print_message("covered: lambda %.3f, mse %.3f\n", covered[0], covered[1]);
    for (int k = 0; k < 2; k++)
      assert_true(covered[k] > 0.93 - 3 * sqrt(0.93 * 0.07 / TRIALS));
  }
  gsl_rng_free(rng);
}

/* A weighted mean of the settings lambda = 1 and 0 is the setting lambda = w. */
static void mixing(void **state)
{
  (void)state;
  enum { TRIALS = 1000, DRAWS = 200 };
  gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
  double off[TRIALS], mean = 0, covered = 0, exact = META * (0.64 + 0.8 * 0.75 + 0.25 * 2.25);
  const struct mv_term zero = {0, 0, 1}, half = {0, 1, 1}, one = {0, 2, 1}, target = {1, 0, -1};
  for (int i = 0; i < TRIALS; i++) {
    struct mv_panel p = simulate(rng, 5);
    struct mv_mix mix = mv_mix_make(3, DRAWS);
    struct mv_estimate v = {0};
    struct mv_vector bias;
    double errors[DRAWS];
    mv_mix_add(&mix, &p, &one, &zero, &target, (uint32_t)i, 0.95);
    mv_mix_finish(&mix);
    mv_panel_close(&p, DRAWS, (uint32_t)i);
    mv_vector_make(&bias, &p, 2, (const struct mv_term[]){half, target});
    double direct = mv_vector_product(&bias, &bias, 0.95, errors).value;
    mv_vector_free(&bias);
    assert_true(fabs(mix.offer[1].bias2 - direct) < 1e-12);
    for (int r = 0; r < DRAWS; r++)
      assert_true(fabs(mix.offer[1].bias2_errors[r] - errors[r]) < 1e-9);
    for (int k = 0; k < 3; k += 2)
      assert_true(mix.offer[k].variance == mv_panel_variance(&p, 0, k, 0.95, errors).value);
    off[i] = mix.offer[1].variance - mv_panel_variance(&p, 0, 1, 0.95, errors).value;
    mean += off[i] / TRIALS;
    v.value = mix.offer[1].variance;
    mv_estimate_bound(&v, DRAWS, mix.offer[1].variance_errors, 0.95, true);
    covered += (v.low <= exact && exact <= v.high) / (double)TRIALS;
    mv_mix_free(&mix);
    mv_panel_free(&p);
  }
  print_message("V(1/2) off by %.3g (%.2g), covered %.3f\n", mean, mv_deviation(off, TRIALS) / sqrt(TRIALS), covered);
  assert_true(fabs(mean) < 4 * mv_deviation(off, TRIALS) / sqrt(TRIALS));
  assert_true(covered > 0.9);
  gsl_rng_free(rng);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(budgets),   cmocka_unit_test(fronts),     cmocka_unit_test(break_even_covers),
      cmocka_unit_test(cross_fit), cmocka_unit_test(fit_covers), cmocka_unit_test(mixing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
