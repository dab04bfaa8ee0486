/* grid.c - averages over the eta points, as Vuorio et al. 2022 report them.
 *
 * Two errors of an average over P points, for two questions:
 *     se                 the same points, other samples: sqrt(sum se_p^2) / P, as points have independent samples
 *     eta_low, eta_high  other points: percentile bootstrap, 10,000 resamples of the points (theirs)
 * A point whose statistic is undefined makes the average undefined.
 */
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>
#include <math.h>

#include "metavar/analysis.h"

#define FOR_POINTS 0x65746170u

const struct mv_averaged mv_averaged[MV_AVERAGED] = {
    {MV_STAT_VARIANCE, MV_STAT_VARIANCE_SE, false},  {MV_STAT_VARIANCE_MEAN, MV_STAT_VARIANCE_SE, true},
    {MV_STAT_BIAS2_PLUGIN, MV_STAT_BIAS2_SE, false}, {MV_STAT_BIAS2_UNBIASED, MV_STAT_BIAS2_SE, false},
    {MV_STAT_V22_BIAS, MV_STAT_V22_BIAS_SE, false},  {MV_STAT_V22_BIAS_UNBIASED, MV_STAT_V22_BIAS_SE, false},
    {MV_STAT_COSINE, MV_STAT_COSINE_SE, false},
};

/* draws[k][r]: average k in resample r of the points. */
static void resample(const struct mv_row *rows, int points, int64_t stride, double *draws)
{
  int index[points];
  for (int r = 0; r < MV_GRID_RESAMPLES; r++) {
    double sum[MV_AVERAGED] = {0};
    mv_draw_indices(FOR_POINTS, 0, (uint32_t)r, 0, points, points, index);
    for (int p = 0; p < points; p++)
      for (int k = 0; k < MV_AVERAGED; k++)
        sum[k] += rows[index[p] * stride].stat[mv_averaged[k].stat];
    for (int k = 0; k < MV_AVERAGED; k++)
      draws[k * MV_GRID_RESAMPLES + r] = sum[k] / points;
  }
}

struct mv_grid_row mv_grid_average(const struct mv_row *rows, int points, int64_t stride, int meta, double confidence,
                                   double *work)
{
  struct mv_grid_row out = {.points = points, .largest_share = NAN};
  for (int p = 0; p < points; p++) {
    const struct mv_row *row = &rows[p * stride];
    out.count += row->count;
    out.nonfinite += row->nonfinite;
    out.largest_share = fmax(out.largest_share, row->stat[MV_STAT_LARGEST_SHARE]);
  }
  resample(rows, points, stride, work);
  for (int k = 0; k < MV_AVERAGED; k++) {
    struct mv_figure *a = &out.average[k];
    double sum = 0, square = 0, *draw = work + (int64_t)k * MV_GRID_RESAMPLES;
    for (int p = 0; p < points; p++) {
      double se = rows[p * stride].stat[mv_averaged[k].se] / (mv_averaged[k].se_over_meta ? meta : 1);
      sum += rows[p * stride].stat[mv_averaged[k].stat];
      square += se * se;
    }
    *a = (struct mv_figure){sum / points, sqrt(square) / points, NAN, NAN};
    if (points < 2 || !isfinite(a->mean))
      continue;
    gsl_sort(draw, 1, MV_GRID_RESAMPLES);
    a->eta_low = gsl_stats_quantile_from_sorted_data(draw, 1, MV_GRID_RESAMPLES, (1 - confidence) / 2);
    a->eta_high = gsl_stats_quantile_from_sorted_data(draw, 1, MV_GRID_RESAMPLES, (1 + confidence) / 2);
  }
  return out;
}
