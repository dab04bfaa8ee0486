/* components.c - components of variance with their errors, averages over eta points, and the best design.
 *
 * Errors: bootstrap over groups of task instances (draws.c). Groups with the same number are drawn together at all eta
 * points: points are independent, so the tuples of groups are too, and averages of points have their draws at no further
 * cost. A draw counts instances that it takes twice as two, which makes its components between instances too small by a
 * share of about 1 / groups: hence draws are centred on the estimate. What is drawn are squares, whose scatter is known
 * as that of fewer pieces: G groups with kurtosis k tell their variance as 2 G / (k - 1) degrees of freedom would
 * (Satterthwaite 1946), a quarter of G for the sum of two squared normal coordinates, k = 9. Intervals are widened by
 * Student's t with so many; without it those of components between 60 instances cover 92.5 to 94.5 %.
 *
 * Allocation: with K task instances of L samples each the mean has variance (A + W / L) / K and cost K (c_task + L c),
 * W what differs between samples of one instance. For a given cost the variance is least at
 *     L* = sqrt(c_task / c  W / A)                 (two-stage sampling: Cochran 1977, Sampling Techniques, ch. 10).
 * All samples of an instance should be of different lifetimes: another perturbation of the same lifetime costs as much
 * and shares more.
 */
#include <math.h>

#include "metavar/components.h"
#include "metavar/memory.h"

static struct mv_estimate estimate(double value, int count, double *draw, int groups, double confidence)
{
  struct mv_estimate out = {value, mv_deviation(draw, count), NAN, NAN};
  double mean = 0, wide = mv_widening(groups / 4 + 2, confidence);
  for (int i = 0; i < count; i++)
    mean += draw[i] / count;
  for (int i = 0; i < count; i++)
    draw[i] = wide * (draw[i] - mean);
  if (groups < 2)
    out.se = NAN;
  else
    mv_estimate_bound(&out, count, draw, confidence, false);
  return out;
}

static void fill_rows(struct mv_component *rows, const double *value, int count, double *draws, int groups,
                      double confidence)
{
  double *total = draws + (int64_t)MV_LEVELS * count, sum = 0;
  for (int i = 0; i < count; i++)
    total[i] = draws[i] + draws[count + i] + draws[2 * count + i];
  for (int level = 0; level < MV_LEVELS; level++)
    sum += value[level];
  for (int level = 0; level < MV_COMPONENTS; level++) {
    double own = level < MV_LEVELS ? value[level] : sum;
    rows[level].variance = estimate(own, count, draws + (int64_t)level * count, groups, confidence);
    rows[level].share = own / sum;
  }
}

void mv_components_make(const struct mv_nested *cells, int points, int setting, const struct mv_redraws *r,
                        double confidence, struct mv_component *rows)
{
  int64_t size = (int64_t)MV_LEVELS * r->count;
  double *draws = mv_memory_take((size_t)(size + r->count), sizeof *draws);
  double *average = mv_memory_take((size_t)(size + r->count), sizeof *average), value[MV_LEVELS], mean[MV_LEVELS] = {0};
  for (int p = 0; p < points; p++) {
    mv_nested_components(&cells[p], setting, r, value, draws);
    for (int level = 0; level < MV_LEVELS; level++)
      mean[level] += value[level] / points;
    for (int64_t i = 0; i < size; i++)
      average[i] += draws[i] / points;
    fill_rows(rows + (int64_t)p * MV_COMPONENTS, value, r->count, draws, cells[p].groups, confidence);
  }
  fill_rows(rows + (int64_t)points * MV_COMPONENTS, mean, r->count, average, r->least, confidence);
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
