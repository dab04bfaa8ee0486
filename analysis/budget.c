/* budget.c - mean squared error against budget.
 *
 * m samples of cost c leave  mse(B) = beta + c V / B,  B = m c, beta = max(bias^2, 0), V = tr S: on logarithmic scales a
 * slope of -1 that ends on a floor. Two settings a, b cross where beta_a + c_a V_a / B = beta_b + c_b V_b / B:
 *     B* = (c_b V_b - c_a V_a) / (beta_a - beta_b).
 * The front is what no other setting beats in both beta and c V. It does not depend on the budget, as long as the budget
 * buys one sample. Intervals: percentiles of the same formulas in the draws of (bias^2, V), which are joint for all
 * settings, so what two settings share cancels from their crossing.
 */
#include <gsl/gsl_sort.h>
#include <math.h>

#include "metavar/budget.h"

static double floored(double bias2) { return bias2 > 0 ? bias2 : 0; }

static bool buys(const struct mv_offer *o, double budget)
{
  return o->cost <= budget && isfinite(o->bias2) && isfinite(o->variance);
}

static double mse(const struct mv_offer *o, double bias2, double variance, double budget)
{
  return floored(bias2) + variance * o->cost / budget;
}

struct mv_estimate mv_offer_mse(const struct mv_offer *o, double budget, int resamples, double confidence, double *work)
{
  struct mv_estimate out = {NAN, NAN, NAN, NAN};
  if (!buys(o, budget))
    return out;
  out.value = mse(o, o->bias2, o->variance, budget);
  for (int r = 0; r < resamples; r++)
    work[r] = mse(o, o->bias2 + o->bias2_errors[r], o->variance + o->variance_errors[r], budget) - out.value;
  mv_estimate_bound(&out, resamples, work, confidence, true);
  return out;
}

void mv_offers_front(int count, const struct mv_offer *offer, double budget, bool *front)
{
  for (int k = 0; k < count; k++) {
    double bias2 = floored(offer[k].bias2), price = offer[k].variance * offer[k].cost;
    front[k] = buys(&offer[k], budget);
    for (int j = 0; j < count && front[k]; j++) {
      double other2 = floored(offer[j].bias2), other = offer[j].variance * offer[j].cost;
      if (buys(&offer[j], budget) && other2 <= bias2 && other <= price && (other2 < bias2 || other < price))
        front[k] = false;
    }
  }
}

int mv_offers_best(int count, const struct mv_offer *offer, double budget)
{
  int best = -1;
  double least = INFINITY;
  for (int k = 0; k < count; k++)
    if (buys(&offer[k], budget) && mse(&offer[k], offer[k].bias2, offer[k].variance, budget) < least) {
      least = mse(&offer[k], offer[k].bias2, offer[k].variance, budget);
      best = k;
    }
  return best;
}

/* Of bias^2 and variance x cost. */
static double crossing(double a2, double a_price, double b2, double b_price)
{
  double gain = floored(a2) - floored(b2), price = b_price - a_price;
  if (gain < 0 || (gain == 0 && price >= 0))
    return INFINITY;
  return price <= 0 ? 0 : price / gain;
}

struct mv_estimate mv_break_even(const struct mv_offer *a, const struct mv_offer *b, int resamples, double confidence,
                                 double *work)
{
  struct mv_estimate out = {NAN, NAN, NAN, NAN};
  if (!buys(a, INFINITY) || !buys(b, INFINITY))
    return out;
  out.value = crossing(a->bias2, a->variance * a->cost, b->bias2, b->variance * b->cost);
  for (int r = 0; r < resamples; r++) {
    work[r] = crossing(a->bias2 + a->bias2_errors[r], (a->variance + a->variance_errors[r]) * a->cost,
                       b->bias2 + b->bias2_errors[r], (b->variance + b->variance_errors[r]) * b->cost);
    if (isnan(a->bias2_errors[r] + b->bias2_errors[r] + a->variance_errors[r] + b->variance_errors[r]))
      return out;
  }
  if (resamples < 2)
    return out;
  gsl_sort(work, 1, (size_t)resamples); /* ranks, not quantiles between them: some may be infinite */
  int tail = (int)floor((1 - confidence) / 2 * resamples);
  out.low = work[tail];
  out.high = work[resamples - 1 - tail];
  return out;
}

int mv_budgets(double least, double most, int room, double *out)
{
  static const double step[] = {1, 2, 5};
  int count = 0, k = 0;
  if (!(least > 0) || !(most < INFINITY))
    return 0;
  double decade = pow(10, floor(log10(least)));
  for (; count < room; k = (k + 1) % 3, decade *= k == 0 ? 10 : 1)
    if (step[k] * decade * (1 + 1e-12) >= least) {
      out[count++] = step[k] * decade;
      if (step[k] * decade >= most)
        break;
    }
  return count;
}
