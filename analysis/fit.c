/* fit.c - the best coefficient of a component, the best weight of two estimators: fitted on one half of the samples,
 * judged on the other.
 *
 * g(x) = g(0) + x g' is linear in x, so bias^2(x) and V(x) are parabolas, and so is mse(x) = bias^2(x) + c V(x) / B. Three
 * values of x fix it, unbiased where they are; its least is at -q_1 / (2 q_2), or at an end of the range, for beyond what
 * was asked for a parabola of noise leads anywhere. The same samples would flatter their own
 * fit. Hence cross-fitting: the mean of (fit on half 0, mse on half 1) and (fit on half 1, mse on half 0) is unbiased for
 * what such fits achieve, since the halves are independent; a fit on all samples achieves a little more. It is noisier
 * than the mse of a fit in its own samples, and between the two lies what a fit can achieve: the interval is that of the
 * mse at the fitted x, from below the smaller to above the larger of them.
 */
#include <math.h>

#include "metavar/budget.h"

struct parabola {
  double at[3]; /* at[0] + at[1] x + at[2] x^2 */
};

static struct parabola through(const double x[3], const double y[3])
{
  double first = (y[1] - y[0]) / (x[1] - x[0]), second = (y[2] - y[1]) / (x[2] - x[1]); /* divided differences */
  double bend = (second - first) / (x[2] - x[0]);
  return (struct parabola){{y[0] - x[0] * first + x[0] * x[1] * bend, first - (x[0] + x[1]) * bend, bend}};
}

static double value(const struct parabola *q, double x) { return q->at[0] + x * (q->at[1] + x * q->at[2]); }

/* Where it is least between low and high. */
static double least(const struct parabola *q, double low, double high)
{
  double at = -q->at[1] / (2 * q->at[2]);
  if (q->at[2] > 0)
    return fmin(fmax(at, low), high);
  return isnan(q->at[2]) ? (double)NAN : value(q, low) < value(q, high) ? low : high;
}

enum { HALVES = 2, ALL = HALVES }; /* whose samples */

static struct parabola make(const struct mv_family *f, int member, int whose, double budget)
{
  double y[3], samples = budget / f->offer[member][0]->cost;
  for (int k = 0; k < 3; k++) {
    const struct mv_offer *o = f->offer[member][k];
    const struct mv_half *h = f->half[member][k];
    y[k] = whose == ALL ? o->bias2 + o->variance / samples : h->bias2[whose] + h->variance[whose] / samples;
  }
  return through(f->x, y);
}

double mv_family_mse(const struct mv_family *f, int member, double x, double budget)
{
  struct parabola q = make(f, member, ALL, budget);
  return f->offer[member][0]->cost <= budget ? value(&q, x) : (double)NAN;
}

static int fit(const struct mv_family *f, int whose, double budget, double *x)
{
  int best = -1;
  double smallest = INFINITY;
  *x = NAN;
  for (int member = 0; member < f->members; member++) {
    struct parabola q = make(f, member, whose, budget);
    double at = least(&q, f->low, f->high);
    if (value(&q, at) < smallest) {
      smallest = value(&q, at);
      best = member;
      *x = at;
    }
  }
  return best;
}

/* Ends of x and of the mse at the fitted x. */
static void fill_interval(const struct mv_family *f, double budget, int resamples, double confidence, double *work,
                          struct mv_fit *out)
{
  struct parabola whole = make(f, out->member, ALL, budget);
  double samples = budget / f->offer[out->member][0]->cost, *moved = work, *error = work + resamples;
  for (int r = 0; r < resamples; r++) {
    double y[3];
    for (int k = 0; k < 3; k++) {
      const struct mv_offer *o = f->offer[out->member][k];
      y[k] = o->bias2_errors[r] + o->variance_errors[r] / samples;
    }
    struct parabola e = through(f->x, y), drawn;
    for (int k = 0; k < 3; k++)
      drawn.at[k] = whole.at[k] + e.at[k];
    error[r] = value(&e, out->x);
    moved[r] = least(&drawn, f->low, f->high) - out->x;
  }
  struct mv_estimate x = {.value = out->x}, low = {.value = fmin(out->mse, out->fitted)};
  struct mv_estimate high = {.value = fmax(out->mse, out->fitted)};
  mv_estimate_bound(&x, resamples, moved, confidence, false);
  mv_estimate_bound(&low, resamples, error, confidence, true);
  mv_estimate_bound(&high, resamples, error, confidence, true);
  out->x_low = x.low;
  out->x_high = x.high;
  out->low = low.low;
  out->high = high.high;
}

struct mv_fit mv_fit_make(const struct mv_family *f, double budget, int resamples, double confidence, double *work)
{
  struct mv_fit out = {.x_low = NAN, .x_high = NAN, .fitted = NAN, .mse = NAN, .low = NAN, .high = NAN};
  out.member = fit(f, ALL, budget, &out.x);
  for (int half = 0; half < HALVES; half++)
    out.half_member[half] = fit(f, half, budget, &out.half_x[half]);
  if (!(f->offer[0][0]->cost <= budget) || out.member < 0 || out.half_member[0] < 0 || out.half_member[1] < 0) {
    out.member = -1;
    out.x = NAN;
    return out;
  }
  struct parabola own = make(f, out.member, ALL, budget);
  out.fitted = value(&own, out.x);
  out.mse = 0;
  for (int half = 0; half < HALVES; half++) {
    struct parabola other = make(f, out.half_member[half], 1 - half, budget);
    out.mse += value(&other, out.half_x[half]) / HALVES;
  }
  fill_interval(f, budget, resamples, confidence, work, &out);
  return out;
}

void mv_halves_add(const struct mv_panel *whole, const struct mv_term *reference, struct mv_half *const *half)
{
  for (int parity = 0; parity < HALVES; parity++) {
    struct mv_panel p = mv_panel_part(whole, 0, NULL, parity);
    mv_panel_close(&p, 0, 0);
    for (int e = 0; e < p.entries; e++)
      for (int s = 0; s < p.sheet[e].groups.settings; s++) {
        struct mv_term terms[] = {{e, s, 1}, {reference->entry, reference->setting, -1}};
        struct mv_vector bias;
        mv_vector_make(&bias, &p, 2, terms);
        half[e][s].bias2[parity] += mv_vector_product(&bias, &bias, 0.95, NULL).value;
        mv_vector_free(&bias);
        for (int m = 0; m < p.meta; m++)
          half[e][s].variance[parity] += p.sheet[e].variance[(int64_t)s * p.meta + m];
      }
    mv_panel_part_free(&p);
  }
}
