/* grid.c - averages over the eta points, as Vuorio et al. 2022 report them.
 *
 * Two intervals of an average over P points, for two questions:
 *     se, low, high      the same points, other samples: points have independent samples, so standard errors add in
 *                        quadrature, se = sqrt(sum se_p^2) / P, and the errors of draw r of every point are averaged
 *     eta_low, eta_high  other points: percentile bootstrap, 10,000 resamples of the points (theirs)
 * A point whose statistic is undefined makes the average undefined.
 */
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>
#include <math.h>

#include "metavar/analysis.h"
#include "metavar/memory.h"
#include "metavar/stream.h"

#define FOR_POINTS 0x65746170u

const struct mv_averaged mv_averaged[MV_AVERAGED] = {
    {MV_STAT_VARIANCE, MV_FIGURE_VARIANCE, false},  {MV_STAT_VARIANCE_MEAN, MV_FIGURE_VARIANCE, true},
    {MV_STAT_BIAS2_PLUGIN, MV_FIGURE_BIAS2, false}, {MV_STAT_BIAS2_UNBIASED, MV_FIGURE_BIAS2, false},
    {MV_STAT_V22_BIAS, MV_FIGURE_BIAS2, true},      {MV_STAT_V22_BIAS_UNBIASED, MV_FIGURE_BIAS2, true},
    {MV_STAT_COSINE, MV_FIGURE_COSINE, false},      {MV_STAT_COSINE_UNBIASED, MV_FIGURE_COSINE, false},
};

/* `points` indices below it, a function of r alone. */
static void draw_points(uint32_t r, int points, int *out)
{
  static const struct mv_key key = {{0x6d657461u, 0x76617200u}};
  for (int i = 0; i < points; i += 4) {
    uint32_t counter[4] = {(uint32_t)i, r, 0, FOR_POINTS}, word[4];
    mv_philox(counter, key, word);
    for (int k = 0; k < 4 && i + k < points; k++)
      out[i + k] = (int)(((uint64_t)word[k] * (uint64_t)points) >> 32);
  }
}

/* draws[k][r]: average k in resample r of the points. */
static void resample(const struct mv_row *rows, int points, int64_t stride, double *draws)
{
  int index[points];
  for (int r = 0; r < MV_GRID_RESAMPLES; r++) {
    double sum[MV_AVERAGED] = {0};
    draw_points((uint32_t)r, points, index);
    for (int p = 0; p < points; p++)
      for (int k = 0; k < MV_AVERAGED; k++)
        sum[k] += rows[index[p] * stride].stat[mv_averaged[k].stat];
    for (int k = 0; k < MV_AVERAGED; k++)
      draws[k * MV_GRID_RESAMPLES + r] = sum[k] / points;
  }
}

void mv_grid_fill(struct mv_grid_row *out, const struct mv_row *rows, int points, int64_t stride, int meta,
                  struct mv_average *average, double confidence)
{
  double *draws = mv_memory_take((size_t)MV_GRID_RESAMPLES * MV_AVERAGED, sizeof *draws);
  struct mv_estimate figure[MV_FIGURES];
  *out = (struct mv_grid_row){.points = points, .largest_share = NAN, .hill_index = NAN};
  for (int p = 0; p < points; p++) {
    const struct mv_row *row = &rows[p * stride];
    out->count += row->count;
    out->nonfinite += row->nonfinite;
    out->largest_share = fmax(out->largest_share, row->stat[MV_STAT_LARGEST_SHARE]);
    out->hill_index = fmin(out->hill_index, row->stat[MV_STAT_HILL_INDEX]);
    out->tail_warnings += row->stat[MV_STAT_TAIL_WARNING] == 1;
  }
  for (int f = 0; f < MV_FIGURES; f++)
    figure[f] = mv_average_finish(&average[f], confidence, f != MV_FIGURE_COSINE);
  resample(rows, points, stride, draws);
  for (int k = 0; k < MV_AVERAGED; k++) {
    double scale = mv_averaged[k].over_meta ? 1.0 / meta : 1, sum = 0, *draw = draws + (int64_t)k * MV_GRID_RESAMPLES;
    const struct mv_estimate *f = &figure[mv_averaged[k].figure];
    for (int p = 0; p < points; p++)
      sum += rows[p * stride].stat[mv_averaged[k].stat];
    out->average[k] = (struct mv_grid_mean){{sum / points, f->se * scale, f->low * scale, f->high * scale}, NAN, NAN};
    if (mv_averaged[k].figure == MV_FIGURE_COSINE) {
      out->average[k].here.low = f->low < -1 ? -1 : f->low;
      out->average[k].here.high = f->high > 1 ? 1 : f->high;
    }
    if (points < 2 || !isfinite(sum))
      continue;
    gsl_sort(draw, 1, MV_GRID_RESAMPLES);
    out->average[k].eta_low = gsl_stats_quantile_from_sorted_data(draw, 1, MV_GRID_RESAMPLES, (1 - confidence) / 2);
    out->average[k].eta_high = gsl_stats_quantile_from_sorted_data(draw, 1, MV_GRID_RESAMPLES, (1 + confidence) / 2);
  }
  free(draws);
}
