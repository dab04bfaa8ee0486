/* vector.c - combinations of means: biases, differences, sources; their squared lengths and products.
 *
 * v = sum_k c_k gbar_k has the covariance V = sum_kl c_k c_l Cov(gbar_k, gbar_l), and v.w overestimates the product of the
 * truths by tr Cov(v, w). The unbiased estimate is v.w - tr Cov(v, w).
 *
 * Interval. With errors e of v and f of w, the statistic's error is v.f + w.e + e.f - tr Cov at the true v, w. The
 * bootstrap's e*, f* at the observed v, w give W* = v.f* + w.e* + e*.f* - mean; the interval is the unbiased estimate plus
 * the percentiles of W*, widened by Student's t, since G groups only estimate the size of errors; of |v|^2 it is cut at
 * 0. It stands about the unbiased estimate, not about the plug-in |v|^2, as percentiles of resampled statistics would:
 * so it stays right for averages over many eta points, where the plug-in's excess outgrows the interval's width. At
 * |v| = 0 it covers more than 99 %, since the observed v is longer than the true one; the nominal share is reached at
 * about three standard errors; in between it is at least 93 % (one coordinate, two standard errors: the worst).
 * Intervals from inverted tests are tighter at 0, but cover only 75 % when the errors of the coordinates differ tenfold;
 * basic ones, 60 % at 0.
 *
 * A variance is positive, its errors are skewed, and as large as it is: percentiles cover 91 % where |g|^2 has a skewness
 * of 7 and there are 400 samples. Its interval is bootstrap-t on the logarithm (Efron & Tibshirani 1993, ch. 12):
 * log tr S less percentiles of t* = (log tr S* - log tr S) / se*, times se.
 *
 * Standard error: Var v.w = Var(v.f + w.e) + Var e.f at the true v, w. At the observed ones the first term is too large by
 * 2 Var e.f; hence max(A - B, B) with A = Var*(v.f + w.e), B = Var* e.f.
 */
#include <assert.h>
#include <gsl/gsl_cdf.h>
#include <math.h>
#include <string.h>

#include "metavar/memory.h"
#include "metavar/panel.h"

void mv_vector_blank(struct mv_vector *v, const struct mv_panel *p, int pieces)
{
  *v = (struct mv_vector){.panel = p, .pieces = pieces};
  v->value = mv_memory_take((size_t)p->meta, sizeof *v->value);
  v->error = mv_memory_take((size_t)p->resamples * (size_t)p->meta, sizeof *v->error);
}

/* Settings that are the same number but for rounding (the first step of a window contributes nothing, say): their
 * difference is 0, not 1e-18. */
static void drop_rounding(struct mv_vector *v)
{
  const struct mv_panel *p = v->panel;
  double var[p->meta], each[p->meta], size[p->meta], spread[p->meta];
  mv_vector_covariance(v, v, var);
  memset(size, 0, sizeof size);
  memset(spread, 0, sizeof spread);
  for (int k = 0; k < v->terms; k++) {
    const double c = v->term[k].coefficient, *mean = p->sheet[v->term[k].entry].mean + v->term[k].setting * p->meta;
    mv_panel_covariance(p, &v->term[k], &v->term[k], each);
    for (int m = 0; m < p->meta; m++) {
      size[m] += fabs(c * mean[m]);
      spread[m] += c * c * each[m];
    }
  }
  for (int m = 0; m < p->meta; m++)
    if (fabs(v->value[m]) <= 1e-12 * size[m] && fabs(var[m]) <= 1e-12 * spread[m]) {
      v->value[m] = 0;
      for (int64_t r = 0; r < p->resamples; r++)
        v->error[r * p->meta + m] = 0;
    }
}

void mv_vector_make(struct mv_vector *v, const struct mv_panel *p, int terms, const struct mv_term *term)
{
  const int64_t size = (int64_t)p->resamples * p->meta;
  assert(terms > 0 && terms <= MV_TERMS_MAX);
  mv_vector_blank(v, p, 0);
  v->terms = terms;
  for (int k = 0; k < terms; k++) {
    const struct mv_sheet *sheet = &p->sheet[term[k].entry];
    const double c = term[k].coefficient, *mean = sheet->mean + (int64_t)term[k].setting * p->meta;
    const double *error = sheet->error + term[k].setting * size;
    v->term[k] = term[k];
    v->pieces = k == 0 || sheet->filled < v->pieces ? sheet->filled : v->pieces;
    for (int m = 0; m < p->meta; m++)
      v->value[m] += c * mean[m];
    for (int64_t i = 0; i < size; i++)
      v->error[i] += c * error[i];
  }
  if (terms > 1)
    drop_rounding(v);
}

void mv_vector_free(struct mv_vector *v)
{
  free(v->value);
  free(v->error);
  *v = (struct mv_vector){0};
}

/* Of the draws. */
static void drawn_covariance(const struct mv_vector *v, const struct mv_vector *w, double *sum)
{
  const int meta = v->panel->meta, count = v->panel->resamples;
  for (int r = 0; r < count; r++)
    for (int m = 0; m < meta; m++)
      sum[m] += v->error[(int64_t)r * meta + m] * w->error[(int64_t)r * meta + m] / count;
}

double mv_vector_covariance(const struct mv_vector *v, const struct mv_vector *w, double *out)
{
  const int meta = v->panel->meta;
  double each[meta], sum[meta], trace = 0;
  memset(sum, 0, sizeof sum);
  if (v->terms == 0 || w->terms == 0) {
    drawn_covariance(v, w, sum);
    for (int m = 0; m < meta; m++)
      trace += sum[m];
  }
  for (int k = 0; k < v->terms; k++)
    for (int l = 0; l < w->terms; l++) {
      double c = v->term[k].coefficient * w->term[l].coefficient;
      trace += c * mv_panel_covariance(v->panel, &v->term[k], &w->term[l], each);
      for (int m = 0; m < meta; m++)
        sum[m] += c * each[m];
    }
  if (out)
    memcpy(out, sum, sizeof sum);
  return trace;
}

double mv_deviation(const double *x, int count)
{
  double mean = 0, square = 0;
  for (int i = 0; i < count; i++)
    mean += x[i];
  mean /= count;
  for (int i = 0; i < count; i++)
    square += (x[i] - mean) * (x[i] - mean);
  return count > 1 ? sqrt(square / (count - 1)) : NAN;
}

double mv_widening(int pieces, double confidence)
{
  double tail = (1 - confidence) / 2;
  return pieces > 1 ? gsl_cdf_tdist_Qinv(tail, pieces - 1) / gsl_cdf_ugaussian_Qinv(tail) : NAN;
}

/* Reorders x[low ..] so that the element of rank k (from 0) stands at k, none greater before it. Hoare's selection. */
static void select_rank(double *x, int low, int count, int k)
{
  int high = count - 1;
  while (low < high) {
    double pivot = x[low + (high - low) / 2];
    int i = low, j = high;
    while (i <= j) {
      while (x[i] < pivot)
        i++;
      while (x[j] > pivot)
        j--;
      if (i <= j) {
        double swap = x[i];
        x[i++] = x[j];
        x[j--] = swap;
      }
    }
    if (k <= j)
      high = j;
    else if (k >= i)
      low = i;
    else
      return;
  }
}

/* Quantile between the two nearest ranks, as GSL has it; x[.. low - 1] is in place. Returns the first rank. */
static int quantile(double *x, int low, int count, double share, double *out)
{
  double at = share * (count - 1), next = INFINITY;
  int k = (int)at;
  select_rank(x, low, count, k);
  for (int i = k + 1; i < count; i++)
    next = x[i] < next ? x[i] : next;
  *out = k + 1 < count ? x[k] + (at - k) * (next - x[k]) : x[k];
  return k;
}

void mv_estimate_bound(struct mv_estimate *e, int count, const double *errors, double confidence, bool cut)
{
  e->low = e->high = NAN;
  for (int i = 0; i < count; i++)
    if (!isfinite(errors[i]))
      return;
  if (count < 2 || !isfinite(e->value))
    return;
  double *x = mv_memory_take((size_t)count, sizeof *x);
  memcpy(x, errors, (size_t)count * sizeof *x);
  double end[2];
  int below = quantile(x, 0, count, (1 - confidence) / 2, &end[0]);
  quantile(x, below, count, (1 + confidence) / 2, &end[1]);
  for (int k = 0; k < 2; k++)
    end[k] = cut && e->value + end[k] < 0 ? 0 : e->value + end[k];
  e->low = end[0];
  e->high = end[1];
  free(x);
}

/* A coordinate without value and error: what drop_rounding leaves. */
static bool is_nothing(const struct mv_vector *v, int m)
{
  return v->value[m] == 0 && v->panel->resamples > 0 && v->error[m] == 0;
}

struct mv_estimate mv_vector_product(const struct mv_vector *v, const struct mv_vector *w, double confidence,
                                     double *errors)
{
  const int meta = v->panel->meta, count = v->panel->resamples;
  double *along = mv_memory_take(3 * (size_t)count, sizeof *along), *both = along + count, *drawn = both + count;
  double wide = mv_widening(v->pieces < w->pieces ? v->pieces : w->pieces, confidence), mean = 0;
  double shared[meta];
  struct mv_estimate out = {0, NAN, NAN, NAN};
  mv_vector_covariance(v, w, shared);
  for (int m = 0; m < meta; m++)
    if (!is_nothing(v, m) && !is_nothing(w, m))
      out.value += v->value[m] * w->value[m] - shared[m];
  for (int r = 0; r < count; r++) {
    const double *e = v->error + (int64_t)r * meta, *f = w->error + (int64_t)r * meta;
    for (int m = 0; m < meta; m++) {
      along[r] += v->value[m] * f[m] + w->value[m] * e[m];
      both[r] += e[m] * f[m];
    }
    mean += (wide * along[r] + wide * wide * both[r]) / count;
  }
  for (int r = 0; r < count; r++)
    drawn[r] = wide * along[r] + wide * wide * both[r] - mean;
  if (errors)
    memcpy(errors, drawn, (size_t)count * sizeof *errors);
  double a = mv_deviation(along, count), b = mv_deviation(both, count);
  out.se = sqrt(fmax(a * a - b * b, b * b));
  mv_estimate_bound(&out, count, drawn, confidence, v == w);
  free(along);
  return out;
}

#define FAR 1e300 /* exp(FAR) is infinite, exp(-FAR) is 0 */

void mv_estimate_studentise(struct mv_estimate *e, int count, const double *errors, const double *noise,
                            double confidence)
{
  double *t = mv_memory_take((size_t)count, sizeof *t);
  const double scale = e->se / e->value;
  struct mv_estimate log_value = {0, NAN, NAN, NAN};
  for (int r = 0; r < count; r++) {
    double value = e->value + errors[r], se = sqrt(noise[r]);
    if (se > 0 && value > 0)
      t[r] = -log(value / e->value) / (se / value) * scale;
    else /* one group alone, which does not know its error; or nothing to err about */
      t[r] = errors[r] == 0 || isnan(errors[r]) ? errors[r] : copysign(FAR, -errors[r]);
  }
  mv_estimate_bound(&log_value, count, t, confidence, false);
  e->low = e->value * exp(log_value.low);
  e->high = e->value * exp(log_value.high);
  free(t);
}

/* Squared standard error of tr S, from the scatter of groups about it. */
static double trace_noise(const struct mv_sheet *sheet, int setting, double trace)
{
  const struct mv_groups *g = &sheet->groups;
  double sum = 0;
  for (int at = 0; at < g->groups; at++) {
    const int64_t record = ((int64_t)setting * g->groups + at) * g->meta;
    double n = (double)g->count[at], far = -n * trace;
    for (int m = 0; m < g->meta && n > 0; m++)
      far += g->square[record + m] + n * pow(g->mean[record + m] - sheet->mean[(int64_t)setting * g->meta + m], 2);
    sum += far * far;
  }
  return sheet->filled > 1 ? sum / (sheet->count * sheet->count) * sheet->filled / (sheet->filled - 1) : NAN;
}

struct mv_estimate mv_panel_variance(const struct mv_panel *p, int entry, int setting, double confidence,
                                     double *errors)
{
  const struct mv_sheet *sheet = &p->sheet[entry];
  const double *trace = sheet->trace + (int64_t)setting * p->resamples;
  struct mv_estimate out = {0, NAN, NAN, NAN};
  double *drawn = mv_memory_take((size_t)p->resamples, sizeof *drawn);
  for (int m = 0; m < p->meta; m++)
    out.value += sheet->variance[(int64_t)setting * p->meta + m];
  out.se = sqrt(trace_noise(sheet, setting, out.value));
  for (int r = 0; r < p->resamples; r++)
    drawn[r] = trace[r] - out.value;
  if (errors)
    memcpy(errors, drawn, (size_t)p->resamples * sizeof *errors);
  mv_estimate_studentise(&out, p->resamples, drawn, sheet->noise + (int64_t)setting * p->resamples, confidence);
  free(drawn);
  return out;
}

void mv_average_add(struct mv_average *a, const struct mv_estimate *e, int resamples, const double *errors)
{
  if (!a->errors)
    a->errors = mv_memory_take((size_t)resamples, sizeof *a->errors);
  a->resamples = resamples;
  a->points++;
  a->sum += e->value;
  a->square += e->se * e->se;
  for (int r = 0; r < resamples; r++)
    a->errors[r] += errors[r];
}

void mv_average_add_noise(struct mv_average *a, int resamples, const double *noise)
{
  if (!a->noise)
    a->noise = mv_memory_take((size_t)resamples, sizeof *a->noise);
  for (int r = 0; r < resamples; r++)
    a->noise[r] += noise[r];
}

struct mv_estimate mv_average_finish(struct mv_average *a, double confidence, bool cut)
{
  struct mv_estimate out = {a->sum / a->points, sqrt(a->square) / a->points, NAN, NAN};
  for (int r = 0; r < a->resamples; r++)
    a->errors[r] /= a->points;
  for (int r = 0; a->noise && r < a->resamples; r++)
    a->noise[r] /= (double)a->points * a->points;
  if (a->noise)
    mv_estimate_studentise(&out, a->resamples, a->errors, a->noise, confidence);
  else
    mv_estimate_bound(&out, a->resamples, a->errors, confidence, cut);
  return out;
}

void mv_average_free(struct mv_average *a)
{
  free(a->errors);
  free(a->noise);
  *a = (struct mv_average){0};
}
