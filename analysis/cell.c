/* cell.c - all statistics of one eta point and one setting.
 *
 * With gbar, S over n samples of the setting, rbar the mean of the reference, d = gbar - rbar, M coordinates:
 *     variance           tr S, S with divisor n - 1
 *     bias2_plugin       |d|^2
 *     bias2_unbiased     |d|^2 - tr Var d (vector.c)
 *     v22_bias           |d|^2 / M: the mean over coordinates that Vuorio et al. 2022 draw
 *     cosine             gbar.rbar / (|gbar| |rbar|) = 1 - |u|^2 / 2, u = gbar / |gbar| - rbar / |rbar|; without its
 *                        downward bias, error and interval: those of the squared length of u
 *     relative_error     |d| / |rbar|; interval: percentiles of the ratio of the unbiased squares, resampled together
 *     bias_j             d_j, interval by Student's t
 *     sign_error_j       P(sign of g_j is not that of the gradient) = Phi(-z), z = sign(rbar_j) gbar_j / sqrt(S_jj), for
 *                        normal samples; interval: z +- t se, se from the groups' influences (infinitesimal jackknife,
 *                        Efron 1982). Where the sign of the reference is not certain, the interval holds both answers.
 *     largest_share      max |g|^2 / sum |g|^2: near 1, one sample makes the variance
 */
#include <gsl/gsl_cdf.h>
#include <math.h>
#include <string.h>

#include "metavar/analysis.h"
#include "metavar/memory.h"

const char *const mv_stat_names[MV_STATS] = {
    [MV_STAT_VARIANCE] = "variance",
    [MV_STAT_VARIANCE_SE] = "variance_se",
    [MV_STAT_VARIANCE_LOW] = "variance_low",
    [MV_STAT_VARIANCE_HIGH] = "variance_high",
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
    [MV_STAT_COSINE_UNBIASED] = "cosine_unbiased",
    [MV_STAT_COSINE_SE] = "cosine_se",
    [MV_STAT_COSINE_LOW] = "cosine_low",
    [MV_STAT_COSINE_HIGH] = "cosine_high",
    [MV_STAT_RELATIVE_ERROR] = "relative_error",
    [MV_STAT_RELATIVE_ERROR_LOW] = "relative_error_low",
    [MV_STAT_RELATIVE_ERROR_HIGH] = "relative_error_high",
    [MV_STAT_LARGEST_SHARE] = "largest_share",
    [MV_STAT_HILL_INDEX] = "hill_index",
    [MV_STAT_HILL_COUNT] = "hill_count",
    [MV_STAT_TAIL_WARNING] = "tail_warning",
};

const char *const mv_coordinate_names[MV_COORDINATES] = {
    [MV_AT_MEAN] = "mean",
    [MV_AT_MEAN_SE] = "mean_se",
    [MV_AT_VARIANCE] = "variance",
    [MV_AT_BIAS] = "bias",
    [MV_AT_BIAS_LOW] = "bias_low",
    [MV_AT_BIAS_HIGH] = "bias_high",
    [MV_AT_SIGN_ERROR] = "sign_error",
    [MV_AT_SIGN_ERROR_LOW] = "sign_error_low",
    [MV_AT_SIGN_ERROR_HIGH] = "sign_error_high",
    [MV_AT_MEDIAN_OF_MEANS] = "median_of_means",
};

void mv_point_make(struct mv_point *at, const struct mv_panel *p, const struct mv_analysis *options,
                   const struct mv_term *reference)
{
  *at = (struct mv_point){.panel = p, .options = options, .compared = reference != NULL};
  if (!reference)
    return;
  mv_vector_make(&at->reference, p, 1, reference);
  at->length_errors = mv_memory_take((size_t)p->resamples, sizeof *at->length_errors);
  at->length = mv_vector_product(&at->reference, &at->reference, options->confidence, at->length_errors);
}

void mv_point_free(struct mv_point *at)
{
  mv_vector_free(&at->reference);
  free(at->length_errors);
  *at = (struct mv_point){0};
}

/* t quantile: how many standard errors an interval reaches. */
static double reach(int pieces, double confidence)
{
  return pieces > 1 ? gsl_cdf_tdist_Qinv((1 - confidence) / 2, pieces - 1) : NAN;
}

static double length(const double *x, int meta)
{
  double square = 0;
  for (int m = 0; m < meta; m++)
    square += x[m] * x[m];
  return sqrt(square);
}

static void fill_variance(const struct mv_point *at, int e, int s, const struct mv_setting *setting, double *stat,
                          double *errors)
{
  const struct mv_sheet *sheet = &at->panel->sheet[e];
  const int meta = at->panel->meta;
  struct mv_estimate v = mv_panel_variance(at->panel, e, s, at->options->confidence, errors);
  double n = sheet->count, norm = length(sheet->mean + (int64_t)s * meta, meta), largest = sheet->groups.largest[s];
  double squares = v.value * (n - 1) + n * norm * norm;
  stat[MV_STAT_VARIANCE] = v.value;
  stat[MV_STAT_VARIANCE_SE] = v.se;
  stat[MV_STAT_VARIANCE_LOW] = v.low;
  stat[MV_STAT_VARIANCE_HIGH] = v.high;
  stat[MV_STAT_VARIANCE_MEAN] = v.value / meta;
  stat[MV_STAT_VARIANCE_COST] = v.value * (setting->primal + setting->tangent);
  if (largest >= 0 && squares > 0) {
    struct mv_hill hill = mv_tail_hill(&sheet->groups.tail[s], n);
    stat[MV_STAT_LARGEST_SHARE] = largest / squares;
    stat[MV_STAT_HILL_INDEX] = hill.index;
    stat[MV_STAT_HILL_COUNT] = hill.count;
    stat[MV_STAT_TAIL_WARNING] = mv_tail_warns(&hill, largest / squares);
  }
}

/* The interval of |d|^2 / |r|^2 becomes that of its root; a reference that may be zero leaves it open above. */
static void fill_relative_error(const struct mv_point *at, const struct mv_estimate *bias2, const double *errors,
                                double *stat)
{
  const int count = at->panel->resamples;
  double *ratio = mv_memory_take((size_t)count, sizeof *ratio);
  struct mv_estimate out = {bias2->value / at->length.value, NAN, NAN, NAN};
  bool open = !(at->length.low > 0);
  for (int r = 0; r < count; r++)
    ratio[r] = (bias2->value + errors[r]) / (at->length.value + at->length_errors[r]) - out.value;
  mv_estimate_bound(&out, count, ratio, at->options->confidence, true);
  stat[MV_STAT_RELATIVE_ERROR_LOW] = open ? 0 : sqrt(out.low);
  stat[MV_STAT_RELATIVE_ERROR_HIGH] = open ? INFINITY : sqrt(out.high);
  free(ratio);
}

static void fill_bias(const struct mv_point *at, const struct mv_vector *d, double *stat, double *errors)
{
  const int meta = at->panel->meta;
  double far = length(d->value, meta);
  struct mv_estimate b = mv_vector_product(d, d, at->options->confidence, errors);
  stat[MV_STAT_BIAS2_PLUGIN] = far * far;
  stat[MV_STAT_BIAS2_UNBIASED] = b.value;
  stat[MV_STAT_BIAS2_SE] = b.se;
  stat[MV_STAT_BIAS2_LOW] = b.low;
  stat[MV_STAT_BIAS2_HIGH] = b.high;
  stat[MV_STAT_V22_BIAS] = far * far / meta;
  stat[MV_STAT_V22_BIAS_UNBIASED] = b.value / meta;
  stat[MV_STAT_V22_BIAS_SE] = b.se / meta;
  stat[MV_STAT_RELATIVE_ERROR] = far / length(at->reference.value, meta);
  fill_relative_error(at, &b, errors, stat);
}

static void unit_difference(const double *g, const double *r, int meta, double *out)
{
  double g_length = length(g, meta), r_length = length(r, meta);
  for (int m = 0; m < meta; m++)
    out[m] = g[m] / g_length - r[m] / r_length;
}

static void fill_cosine(const struct mv_point *at, int e, int s, int pieces, double *stat, double *errors)
{
  const struct mv_panel *p = at->panel;
  const struct mv_vector *r = &at->reference;
  const double *mean = p->sheet[e].mean + (int64_t)s * p->meta;
  const double *error = p->sheet[e].error + (int64_t)s * p->resamples * p->meta;
  double own[p->meta], other[p->meta];
  struct mv_vector u;
  mv_vector_blank(&u, p, pieces);
  unit_difference(mean, r->value, p->meta, u.value);
  for (int64_t k = 0; k < p->resamples; k++) {
    double *out = u.error + k * p->meta;
    for (int m = 0; m < p->meta; m++) {
      own[m] = mean[m] + error[k * p->meta + m];
      other[m] = r->value[m] + r->error[k * p->meta + m];
    }
    unit_difference(own, other, p->meta, out);
    for (int m = 0; m < p->meta; m++)
      out[m] -= u.value[m];
  }
  struct mv_estimate square = mv_vector_product(&u, &u, at->options->confidence, errors);
  double far = length(u.value, p->meta);
  for (int k = 0; k < p->resamples; k++)
    errors[k] *= -0.5;
  stat[MV_STAT_COSINE] = 1 - far * far / 2;
  stat[MV_STAT_COSINE_UNBIASED] = 1 - square.value / 2;
  stat[MV_STAT_COSINE_SE] = square.se / 2;
  stat[MV_STAT_COSINE_LOW] = square.high > 4 ? -1 : 1 - square.high / 2;
  stat[MV_STAT_COSINE_HIGH] = 1 - square.low / 2;
  mv_vector_free(&u);
}

/* Standard error of z_j = gbar_j / sqrt(S_jj) from the influence of each group with weight w: w [(m - gbar) - z (q + (m -
 * gbar)^2 - S) / (2 sqrt S)] / sqrt S, q the mean square within it. */
static double z_error(const struct mv_sheet *sheet, int s, int j)
{
  const struct mv_groups *g = &sheet->groups;
  const int64_t at = (int64_t)s * g->meta + j;
  double mean = sheet->mean[at], variance = sheet->variance[at], root = sqrt(variance), sum = 0;
  for (int k = 0; k < g->groups; k++) {
    int64_t record = ((int64_t)s * g->groups + k) * g->meta + j;
    double n = (double)g->count[k], d = g->mean[record] - mean;
    if (n == 0)
      continue;
    double spread = g->square[record] / n + d * d - variance;
    double influence = n / sheet->count * (d - mean / variance * spread / 2) / root;
    sum += influence * influence;
  }
  return sheet->filled > 1 ? sqrt(sum * sheet->filled / (sheet->filled - 1)) : NAN;
}

static void fill_sign_error(const struct mv_point *at, int e, int s, int j, double reference_se, double *out)
{
  const struct mv_sheet *sheet = &at->panel->sheet[e];
  const int meta = at->panel->meta;
  const int64_t here = (int64_t)s * meta + j;
  double r = at->reference.value[j], sign = r < 0 ? -1 : 1;
  double z = sign * sheet->mean[here] / sqrt(sheet->variance[here]);
  double wide = reach(sheet->filled, at->options->confidence) * z_error(sheet, s, j);
  double low = gsl_cdf_ugaussian_P(-z - wide), high = gsl_cdf_ugaussian_P(-z + wide);
  bool uncertain = !(fabs(r) > reach(at->reference.pieces, at->options->confidence) * reference_se);
  out[MV_AT_SIGN_ERROR * meta + j] = gsl_cdf_ugaussian_P(-z);
  out[MV_AT_SIGN_ERROR_LOW * meta + j] = uncertain ? fmin(low, 1 - high) : low;
  out[MV_AT_SIGN_ERROR_HIGH * meta + j] = uncertain ? fmax(high, 1 - low) : high;
}

/* d NULL: no reference. */
static void fill_coordinates(const struct mv_point *at, int e, int s, int64_t nest, const struct mv_vector *d,
                             double *out)
{
  const struct mv_panel *p = at->panel;
  const struct mv_sheet *sheet = &p->sheet[e];
  const int meta = p->meta;
  const struct mv_term self = {e, s, 1};
  double own[meta], error[meta], reference[meta];
  mv_panel_covariance(p, &self, &self, own);
  for (int j = 0; j < meta; j++) {
    double variance = sheet->variance[(int64_t)s * meta + j];
    out[MV_AT_MEAN * meta + j] = sheet->mean[(int64_t)s * meta + j];
    out[MV_AT_MEAN_SE * meta + j] = sqrt(nest == 1 ? variance / sheet->count : own[j]);
    out[MV_AT_VARIANCE * meta + j] = variance;
    out[MV_AT_MEDIAN_OF_MEANS * meta + j] =
        mv_median_of_means(sheet->groups.groups, sheet->groups.count,
                           sheet->groups.mean + (int64_t)s * sheet->groups.groups * meta + j, meta);
  }
  if (!d)
    return;
  mv_vector_covariance(d, d, error);
  mv_vector_covariance(&at->reference, &at->reference, reference);
  for (int j = 0; j < meta; j++) {
    double wide = reach(d->pieces, at->options->confidence) * sqrt(error[j]);
    out[MV_AT_BIAS * meta + j] = d->value[j];
    out[MV_AT_BIAS_LOW * meta + j] = d->value[j] - wide;
    out[MV_AT_BIAS_HIGH * meta + j] = d->value[j] + wide;
    fill_sign_error(at, e, s, j, sqrt(reference[j]), out);
  }
}

void mv_cell_fill(const struct mv_point *at, int e, int s, int64_t nest, const struct mv_setting *setting,
                  struct mv_row *row, double *coordinates, double *errors)
{
  const struct mv_panel *p = at->panel;
  const struct mv_sheet *sheet = &p->sheet[e];
  const struct mv_term *r = at->reference.term;
  double *drawn = mv_memory_take(MV_FIGURES * (size_t)p->resamples, sizeof *drawn);
  *row = (struct mv_row){.count = (int64_t)sheet->count,
                         .nonfinite = sheet->groups.nonfinite,
                         .groups = sheet->filled,
                         .largest_id = sheet->groups.largest_id[s]};
  for (int k = 0; k < MV_STATS; k++)
    row->stat[k] = NAN;
  for (int k = 0; k < MV_COORDINATES * p->meta; k++)
    coordinates[k] = NAN;
  for (int k = 0; k < MV_FIGURES * p->resamples; k++)
    drawn[k] = NAN;
  bool compared = at->compared && !(r->entry == e && r->setting == s);
  struct mv_vector d = {0};
  fill_variance(at, e, s, setting, row->stat, drawn);
  if (compared) {
    mv_vector_make(&d, p, 2, (struct mv_term[]){{e, s, 1}, {r->entry, r->setting, -1}});
    fill_bias(at, &d, row->stat, drawn + MV_FIGURE_BIAS2 * p->resamples);
    fill_cosine(at, e, s, d.pieces, row->stat, drawn + MV_FIGURE_COSINE * p->resamples);
  }
  fill_coordinates(at, e, s, nest, compared ? &d : NULL, coordinates);
  if (errors)
    memcpy(errors, drawn, MV_FIGURES * (size_t)p->resamples * sizeof *errors);
  mv_vector_free(&d);
  free(drawn);
}

struct mv_estimate mv_row_figure(const struct mv_row *row, enum mv_figure figure)
{
  static const enum mv_stat stat[MV_FIGURES][2] = {
      [MV_FIGURE_VARIANCE] = {MV_STAT_VARIANCE, MV_STAT_VARIANCE_SE},
      [MV_FIGURE_BIAS2] = {MV_STAT_BIAS2_UNBIASED, MV_STAT_BIAS2_SE},
      [MV_FIGURE_COSINE] = {MV_STAT_COSINE_UNBIASED, MV_STAT_COSINE_SE},
  };
  return (struct mv_estimate){row->stat[stat[figure][0]], row->stat[stat[figure][1]], NAN, NAN};
}
