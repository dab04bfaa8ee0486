/* cell.c - all statistics of one eta point and one entry, setting by setting.
 *
 * With gbar, S over n samples of the setting, rbar and V = Var rbar of the reference, d = gbar - rbar, M coordinates:
 *     variance           tr S, S with divisor n - 1
 *     bias2_plugin       |d|^2
 *     bias2_unbiased     |d|^2 - tr Var gbar - tr V + 2 tr Cov(gbar, rbar);  tr Var gbar = tr S / n
 *     v22_bias           |d|^2 / M: the mean over coordinates that Vuorio et al. 2022 draw
 *     cosine             gbar.rbar / (|gbar| |rbar|) = 1 - |gbar / |gbar| - rbar / |rbar||^2 / 2; its error and
 *                        interval are those of a squared distance (bias.c) between unit vectors
 *     largest_share      max |g|^2 / sum |g|^2: near 1, one sample makes the variance
 *
 * Where task instances serve several replicates, these are not independent, and the variance of the mean comes from the
 * scatter of the groups, which hold whole task instances.
 */
#include <math.h>

#include "metavar/analysis.h"
#include "metavar/memory.h"

const char *const mv_stat_names[MV_STATS] = {
    [MV_STAT_VARIANCE] = "variance",
    [MV_STAT_VARIANCE_SE] = "variance_se",
    [MV_STAT_VARIANCE_MEAN] = "variance_mean",
    [MV_STAT_VARIANCE_COST] = "variance_cost",
    [MV_STAT_BIAS2_PLUGIN] = "bias2_plugin",
    [MV_STAT_BIAS2_UNBIASED] = "bias2_unbiased",
    [MV_STAT_BIAS2_SE] = "bias2_se",
    [MV_STAT_BIAS2_LOW] = "bias2_low",
    [MV_STAT_BIAS2_HIGH] = "bias2_high",
    [MV_STAT_V22_BIAS] = "v22_bias",
    [MV_STAT_V22_BIAS_UNBIASED] = "v22_bias_unbiased",
    [MV_STAT_V22_BIAS_SE] = "v22_bias_se",
    [MV_STAT_COSINE] = "cosine",
    [MV_STAT_COSINE_SE] = "cosine_se",
    [MV_STAT_COSINE_LOW] = "cosine_low",
    [MV_STAT_COSINE_HIGH] = "cosine_high",
    [MV_STAT_RELATIVE_ERROR] = "relative_error",
    [MV_STAT_LARGEST_SHARE] = "largest_share",
};

/* What one cell needs while its settings pass by. */
struct bench {
  const struct mv_analysis *options;
  int meta, groups; /* groups: independent pieces behind the smaller of entry and reference */
  int64_t nest, reference_nest;
  bool compared;
  struct mv_track own, other;
  struct mv_total own_total, other_total;
  struct mv_resamples resamples;
  double *own_mean, *other_mean, *difference, *variance; /* [resamples][meta] x 3, [resamples] */
  double *work;                                          /* [3 resamples] */
};

static double *reals(int64_t count) { return mv_memory_take((size_t)count, sizeof(double)); }

static void bench_open(struct bench *b, const struct mv_groups *g, const struct mv_groups *reference, uint32_t stream)
{
  int64_t size = (int64_t)b->options->resamples * g->meta;
  b->meta = g->meta;
  b->compared = reference != NULL;
  b->own = mv_track_make(g->meta, g->groups);
  b->own_total.mean = reals(g->meta);
  b->other_total.mean = reals(g->meta);
  b->own_mean = reals(size);
  b->other_mean = reals(size);
  b->difference = reals(size);
  b->variance = reals(b->options->resamples);
  b->work = reals(3 * (int64_t)b->options->resamples);
  mv_track_fill(&b->own, g, 0);
  b->groups = mv_track_filled(&b->own);
  if (b->compared) {
    b->other = mv_track_align(reference, g->groups, g->width / b->nest * b->reference_nest, b->reference_nest);
    mv_track_total(&b->other, &b->other_total);
    if (mv_track_filled(&b->other) < b->groups)
      b->groups = mv_track_filled(&b->other);
  }
  b->resamples = mv_resamples_make(b->options->resamples, &b->own, b->compared ? &b->other : NULL, stream);
  if (b->compared)
    mv_resamples_apply(&b->resamples, &b->other, &b->other_total, b->other_mean, NULL);
}

static void bench_close(struct bench *b)
{
  mv_track_free(&b->own);
  mv_track_free(&b->other);
  mv_resamples_free(&b->resamples);
  free(b->own_total.mean);
  free(b->other_total.mean);
  free(b->own_mean);
  free(b->other_mean);
  free(b->difference);
  free(b->variance);
  free(b->work);
}

/* tr Var of the mean of a track. */
static double mean_variance(const struct mv_track *t, const struct mv_total *total, int64_t nest)
{
  return nest == 1 ? total->variance / total->count : mv_mean_covariance(t, total, t, total);
}

static double length(const double *x, int meta)
{
  double square = 0;
  for (int m = 0; m < meta; m++)
    square += x[m] * x[m];
  return sqrt(square);
}

static void fill_bias(struct bench *b, double *stat)
{
  double d[b->meta];
  for (int m = 0; m < b->meta; m++)
    d[m] = b->own_total.mean[m] - b->other_total.mean[m];
  for (int64_t k = 0; k < (int64_t)b->resamples.count * b->meta; k++)
    b->difference[k] = b->own_mean[k] - b->other_mean[k];
  struct mv_distance far =
      mv_distance_make(b->meta, d, b->resamples.count, b->difference, b->groups, b->options->confidence, b->work);
  double shared = mv_mean_covariance(&b->own, &b->own_total, &b->other, &b->other_total);
  stat[MV_STAT_BIAS2_PLUGIN] = far.square;
  stat[MV_STAT_BIAS2_UNBIASED] = far.square - mean_variance(&b->own, &b->own_total, b->nest) -
                                 mean_variance(&b->other, &b->other_total, b->reference_nest) + 2 * shared;
  stat[MV_STAT_BIAS2_SE] = far.se;
  stat[MV_STAT_BIAS2_LOW] = far.low;
  stat[MV_STAT_BIAS2_HIGH] = far.high;
  stat[MV_STAT_V22_BIAS] = far.square / b->meta;
  stat[MV_STAT_V22_BIAS_UNBIASED] = stat[MV_STAT_BIAS2_UNBIASED] / b->meta;
  stat[MV_STAT_V22_BIAS_SE] = far.se / b->meta;
  stat[MV_STAT_RELATIVE_ERROR] = sqrt(far.square) / length(b->other_total.mean, b->meta);
}

static void unit_difference(const double *g, const double *r, int meta, double *out)
{
  double g_length = length(g, meta), r_length = length(r, meta);
  for (int m = 0; m < meta; m++)
    out[m] = g[m] / g_length - r[m] / r_length;
}

static void fill_cosine(struct bench *b, double *stat)
{
  double d[b->meta];
  unit_difference(b->own_total.mean, b->other_total.mean, b->meta, d);
  for (int64_t i = 0; i < b->resamples.count; i++)
    unit_difference(b->own_mean + i * b->meta, b->other_mean + i * b->meta, b->meta, b->difference + i * b->meta);
  struct mv_distance far =
      mv_distance_make(b->meta, d, b->resamples.count, b->difference, b->groups, b->options->confidence, b->work);
  stat[MV_STAT_COSINE] = 1 - far.square / 2;
  stat[MV_STAT_COSINE_SE] = far.se / 2;
  stat[MV_STAT_COSINE_LOW] = far.high > 4 ? -1 : 1 - far.high / 2;
  stat[MV_STAT_COSINE_HIGH] = 1 - far.low / 2;
}

static void fill_row(struct bench *b, const struct mv_setting *setting, double largest, struct mv_row *row)
{
  for (int k = 0; k < MV_STATS; k++)
    row->stat[k] = NAN;
  double n = b->own_total.count, variance = b->own_total.variance;
  double norm = length(b->own_total.mean, b->meta), squares = variance * (n - 1) + n * norm * norm;
  row->stat[MV_STAT_VARIANCE] = variance;
  row->stat[MV_STAT_VARIANCE_MEAN] = variance / b->meta;
  row->stat[MV_STAT_VARIANCE_COST] = variance * (setting->primal + setting->tangent);
  if (largest >= 0 && squares > 0)
    row->stat[MV_STAT_LARGEST_SHARE] = largest / squares;
  mv_resamples_apply(&b->resamples, &b->own, &b->own_total, b->own_mean, b->variance);
  int own = mv_track_filled(&b->own);
  row->stat[MV_STAT_VARIANCE_SE] = sqrt(own / (own - 1.0)) * mv_deviation(b->variance, b->resamples.count);
  if (b->compared) {
    fill_bias(b, row->stat);
    fill_cosine(b, row->stat);
  }
}

/* Standard error of a mean over dependent samples: from the scatter of the groups, sum w_b^2 (m_b - m)^2 G / (G - 1).
 */
static double scatter_error(const struct mv_groups *g, int64_t record, int m, double mean, int64_t count)
{
  double sum = 0;
  int filled = 0;
  for (int at = 0; at < g->groups; at++) {
    double weight = (double)g->count[at] / (double)count, far = g->mean[record + (int64_t)at * g->meta + m] - mean;
    if (g->count[at] > 0) {
      sum += weight * weight * far * far;
      filled++;
    }
  }
  return filled > 1 ? sqrt(sum * filled / (filled - 1)) : NAN;
}

/* Mean, its standard error, and variance of each coordinate over all groups of a setting. */
static void fill_coordinates(const struct mv_groups *g, int setting, int64_t nest, double *out)
{
  double *mean = out, *error = out + g->meta, *variance = out + 2 * g->meta;
  int64_t count = 0, record = (int64_t)setting * g->groups * g->meta;
  for (int m = 0; m < g->meta; m++)
    mean[m] = variance[m] = 0;
  for (int at = 0; at < g->groups; at++) {
    int64_t here = record + (int64_t)at * g->meta;
    count = mv_merge(g->meta, count, mean, variance, g->count[at], g->mean + here, g->square + here);
  }
  for (int m = 0; m < g->meta; m++) {
    mean[m] = count > 0 ? mean[m] : NAN;
    variance[m] = count > 1 ? variance[m] / (double)(count - 1) : NAN;
    error[m] = nest == 1 ? sqrt(variance[m] / (double)count) : scatter_error(g, record, m, mean[m], count);
  }
}

void mv_cell_analyze(const struct mv_analysis *options, const struct mv_settings *settings, const struct mv_groups *g,
                     int64_t nest, const struct mv_groups *reference, int64_t reference_nest, uint32_t stream,
                     struct mv_row *rows, double *coordinates)
{
  struct bench b = {.options = options, .nest = nest, .reference_nest = reference_nest};
  bench_open(&b, g, reference, stream);
  for (int s = 0; s < settings->count; s++) {
    struct mv_row *row = &rows[s];
    mv_track_fill(&b.own, g, s);
    mv_track_total(&b.own, &b.own_total);
    fill_row(&b, &settings->at[s], g->largest[s], row);
    fill_coordinates(g, s, nest, coordinates + (int64_t)s * MV_COORDINATES * g->meta);
    row->count = (int64_t)b.own_total.count;
    row->nonfinite = g->nonfinite;
    row->groups = mv_track_filled(&b.own);
    row->largest_id = g->largest_id[s];
  }
  bench_close(&b);
}
