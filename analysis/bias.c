/* bias.c - how far two means are apart, when they share random numbers.
 *
 * Let d = gbar - rbar. |d|^2 overestimates the squared bias by E|error of d|^2 = tr Var gbar + tr Var rbar - 2 tr
 * Cov(gbar, rbar). Over groups with weights w_g = n_g / n (entry) and v_g (reference), C = sum_g w_g v_g (m_g - gbar) .
 * (q_g - rbar) / F,     F = 1 - sum_g k_g (w_g + v_g) / sum_g k_g + sum_g w_g v_g estimates the last term without bias
 * when k_g = min(n_g, n'_g) replicates of each group are paired and all are alike; F is what the means' own errors take
 * away. With both tracks the same it is the variance of the mean.
 *
 * Interval: percentiles of |d + e|^2 - c over the bootstrap errors e of d, with c the mean of |e|^2; below zero counts
 * as zero. e is widened by sqrt(G / (G - 1)), and for the interval by Student's t over the normal quantile, since G
 * groups only estimate its size. Percentiles of this unbiased statistic cover about 99 % at bias 0, where basic
 * intervals cover 60 %, and the nominal share from two standard errors on. Inverting a test of |d| along its direction
 * is tighter at 0, but covers only 75 % when the errors of the coordinates differ tenfold.
 *
 * Standard error: Var |d|^2 = 4 d.V.d + 2 tr V^2 at the true d. At the observed d the first term is too large by 4 tr
 * V^2; hence max(A - B, B) with A = Var* 2 d.e = 4 d.V.d and B = Var* |e|^2 = 2 tr V^2.
 */
#include <gsl/gsl_cdf.h>
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>
#include <math.h>

#include "metavar/analysis.h"

double mv_mean_covariance(const struct mv_track *a, const struct mv_total *at, const struct mv_track *b,
                          const struct mv_total *bt)
{
  int groups = a->groups < b->groups ? a->groups : b->groups, common = 0;
  double sum = 0, paired = 0, lost = 0, both = 0;
  for (int g = 0; g < groups; g++) {
    if (a->weight[g] == 0 || b->weight[g] == 0)
      continue;
    double w = a->weight[g] / at->count, v = b->weight[g] / bt->count, dot = 0;
    double k = a->weight[g] < b->weight[g] ? a->weight[g] : b->weight[g];
    for (int m = 0; m < a->meta; m++)
      dot += (a->mean[g * a->meta + m] - at->mean[m]) * (b->mean[g * b->meta + m] - bt->mean[m]);
    sum += w * v * dot;
    paired += k;
    lost += k * (w + v);
    both += w * v;
    common++;
  }
  if (common < 2)
    return common == 0 ? 0 : NAN;
  return sum / (1 - lost / paired + both);
}

struct mv_distance mv_distance_make(int meta, const double *d, int count, const double *draws, int groups,
                                    double confidence, double *work)
{
  double *along = work, *size = work + count, *drawn = work + 2 * count, square = 0, excess = 0;
  for (int m = 0; m < meta; m++)
    square += d[m] * d[m];
  struct mv_distance out = {square, NAN, NAN, NAN};
  if (count < 2 || groups < 2 || !isfinite(square))
    return out;
  double tail = (1 - confidence) / 2, stretch = sqrt(groups / (groups - 1.0));
  double wide = gsl_cdf_tdist_Qinv(tail, groups - 1) / gsl_cdf_ugaussian_Qinv(tail);
  for (int i = 0; i < count; i++) {
    along[i] = size[i] = 0;
    for (int m = 0; m < meta; m++) {
      double e = stretch * (draws[(int64_t)i * meta + m] - d[m]);
      along[i] += 2 * d[m] * e;
      size[i] += e * e;
    }
    drawn[i] = square + wide * along[i] + wide * wide * size[i];
    excess += size[i] / count;
  }
  double a = mv_deviation(along, count), b = mv_deviation(size, count);
  out.se = sqrt(fmax(a * a - b * b, b * b));
  if (!isfinite(excess))
    return out;
  gsl_sort(drawn, 1, (size_t)count);
  out.low = fmax(gsl_stats_quantile_from_sorted_data(drawn, 1, (size_t)count, tail) - excess, 0);
  out.high = fmax(gsl_stats_quantile_from_sorted_data(drawn, 1, (size_t)count, 1 - tail) - excess, 0);
  return out;
}
