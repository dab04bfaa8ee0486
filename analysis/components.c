/* components.c - components of variance with their errors, averages over eta points, and the best design.
 *
 * Errors: bootstrap over groups of task instances. Groups with the same number are drawn together at all eta points:
 * points are independent, so the tuples of groups are too, and so averages of points have their draws at no further
 * cost. A resample counts instances that it drew twice as two, which makes its components between instances too small
 * by a share of about 1 / groups: hence draws are centred on the estimate, and stretched by sqrt(G / (G - 1)) and, for
 * intervals, by Student's t over the normal quantile.
 *
 * Allocation: with K task instances of L samples each the mean has variance (A + W / L) / K and cost K (c_task + L c),
 * W what differs between samples of one instance. For a given cost the variance is least at
 *     L* = sqrt(c_task / c  W / A)                 (two-stage sampling: Cochran 1977, Sampling Techniques, ch. 10).
 * All samples of an instance should be of different lifetimes: another perturbation of the same lifetime costs as much
 * and shares more.
 */
#include <gsl/gsl_cdf.h>
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>
#include <math.h>

#include "metavar/components.h"
#include "metavar/memory.h"

static void fill_errors(struct mv_component *row, int count, double *draw, int groups, double confidence)
{
  double tail = (1 - confidence) / 2, stretch = sqrt(groups / (groups - 1.0)), mean = 0;
  row->se = row->low = row->high = NAN;
  for (int i = 0; i < count; i++)
    mean += draw[i] / count;
  if (groups < 2 || !isfinite(mean))
    return;
  double wide = stretch * gsl_cdf_tdist_Qinv(tail, groups - 1) / gsl_cdf_ugaussian_Qinv(tail);
  row->se = stretch * mv_deviation(draw, count);
  gsl_sort(draw, 1, (size_t)count);
  row->low = row->variance + wide * (gsl_stats_quantile_from_sorted_data(draw, 1, (size_t)count, tail) - mean);
  row->high = row->variance + wide * (gsl_stats_quantile_from_sorted_data(draw, 1, (size_t)count, 1 - tail) - mean);
}

static void fill_rows(struct mv_component *rows, const double *estimate, int count, double *draws, int groups,
                      double confidence)
{
  double *total = draws + (int64_t)MV_LEVELS * count;
  for (int i = 0; i < count; i++)
    total[i] = draws[i] + draws[count + i] + draws[2 * count + i];
  rows[MV_LEVELS].variance = 0;
  for (int level = 0; level < MV_LEVELS; level++)
    rows[MV_LEVELS].variance += rows[level].variance = estimate[level];
  for (int level = 0; level <= MV_LEVELS; level++) {
    fill_errors(&rows[level], count, draws + (int64_t)level * count, groups, confidence);
    rows[level].share = rows[level].variance / rows[MV_LEVELS].variance;
  }
}

void mv_components_make(const struct mv_nested *cells, int points, int setting, const struct mv_redraws *r,
                        double confidence, struct mv_component *rows)
{
  int64_t size = (int64_t)MV_LEVELS * r->count;
  double *draws = mv_memory_take((size_t)(size + r->count), sizeof *draws);
  double *average = mv_memory_take((size_t)(size + r->count), sizeof *average), estimate[MV_LEVELS],
         mean[MV_LEVELS] = {0};
  for (int p = 0; p < points; p++) {
    mv_nested_components(&cells[p], setting, r, estimate, draws);
    for (int level = 0; level < MV_LEVELS; level++)
      mean[level] += estimate[level] / points;
    for (int64_t i = 0; i < size; i++)
      average[i] += draws[i] / points;
    fill_rows(rows + (int64_t)p * (MV_LEVELS + 1), estimate, r->count, draws, r->groups, confidence);
  }
  fill_rows(rows + (int64_t)points * (MV_LEVELS + 1), mean, r->count, average, r->groups, confidence);
  free(draws);
  free(average);
}

double mv_best_lifetimes(double task, double sample, double cost, double task_cost)
{
  if (!isfinite(task) || !isfinite(sample) || !(cost > 0))
    return NAN;
  if (task_cost == 0 || sample <= 0)
    return 1;
  if (task <= 0)
    return INFINITY;
  double best = fmax(floor(sqrt(task_cost / cost * sample / task)), 1), more = best + 1;
  bool up = (task + sample / more) * (task_cost + more * cost) < (task + sample / best) * (task_cost + best * cost);
  return up ? more : best;
}
