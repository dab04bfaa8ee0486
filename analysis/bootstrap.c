/* bootstrap.c - resampling of groups (Efron 1979), the same for every setting of a cell.
 *
 * A resample draws as many groups as there are, with replacement. Groups that two means have in common are drawn for
 * both at once, so that what they share stays shared. Group g enters with its sample count n_g, its mean m_g and its
 * sum of squares S_g: N* = sum n_g,  mean* = c + (sum n_g (m_g - c)) / N*, variance* = (sum (S_g + n_g |m_g - c|^2) -
 * |sum n_g (m_g - c)|^2 / N*) / (N* - 1), with c the mean of all groups, so that nothing cancels. The generator is
 * Philox with a key of its own, counted by (draw, resample, stream, purpose): the same run always gives the same
 * intervals.
 */
#include <math.h>

#include "metavar/analysis.h"
#include "metavar/memory.h"
#include "metavar/stream.h"

#define FOR_GROUPS 0x67727073u

void mv_draw_indices(uint32_t purpose, uint32_t stream, uint32_t r, uint32_t attempt, int n, int count, int *out)
{
  static const struct mv_key key = {{0x6d657461u, 0x76617200u}};
  for (int i = 0; i < count; i += 4) {
    uint32_t counter[4] = {(uint32_t)i, r, stream, purpose + attempt}, word[4];
    mv_philox(counter, key, word);
    for (int k = 0; k < 4 && i + k < count; k++)
      out[i + k] = (int)(((uint64_t)word[k] * (uint64_t)n) >> 32);
  }
}

static bool empty(const struct mv_track *t, const double *times)
{
  for (int g = 0; g < t->groups; g++)
    if (times[g] * t->weight[g] > 0)
      return false;
  return true;
}

struct mv_resamples mv_resamples_make(int count, const struct mv_track *a, const struct mv_track *b, uint32_t stream)
{
  int groups = b && b->groups > a->groups ? b->groups : a->groups, drawn[groups];
  struct mv_resamples r = {.count = count, .groups = groups};
  if (mv_track_filled(a) < 2 || (b && mv_track_filled(b) < 2))
    return (struct mv_resamples){.groups = groups};
  r.times = mv_memory_take((size_t)count * (size_t)groups, sizeof *r.times);
  for (int i = 0; i < count; i++) {
    double *times = r.times + (int64_t)i * groups;
    uint32_t attempt = 0;
    do {
      mv_draw_indices(FOR_GROUPS, stream, (uint32_t)i, attempt++, groups, groups, drawn);
      for (int g = 0; g < groups; g++)
        times[g] = 0;
      for (int g = 0; g < groups; g++)
        times[drawn[g]]++;
    } while (empty(a, times) || (b && empty(b, times)));
  }
  return r;
}

void mv_resamples_free(struct mv_resamples *r)
{
  free(r->times);
  *r = (struct mv_resamples){0};
}

void mv_resamples_apply(const struct mv_resamples *r, const struct mv_track *t, const struct mv_total *total,
                        double *mean, double *variance)
{
  int meta = t->meta, columns = meta + 2;
  double *panel = mv_memory_take((size_t)t->groups * (size_t)columns, sizeof *panel), sum[columns];
  for (int g = 0; g < t->groups; g++) { /* n (m - c) | S + n |m - c|^2 | n */
    double *row = panel + (int64_t)g * columns, n = t->weight[g], square = 0;
    for (int m = 0; m < meta; m++) {
      double d = n > 0 ? t->mean[g * meta + m] - total->mean[m] : 0;
      row[m] = n * d;
      square += d * d;
    }
    row[meta] = t->within[g] + n * square;
    row[meta + 1] = n;
  }
  for (int i = 0; i < r->count; i++) {
    const double *times = r->times + (int64_t)i * r->groups;
    for (int k = 0; k < columns; k++)
      sum[k] = 0;
    for (int g = 0; g < t->groups; g++)
      for (int k = 0; k < columns; k++)
        sum[k] += times[g] * panel[(int64_t)g * columns + k];
    double n = sum[meta + 1], square = sum[meta];
    for (int m = 0; m < meta; m++) {
      mean[(int64_t)i * meta + m] = total->mean[m] + sum[m] / n;
      square -= sum[m] * sum[m] / n;
    }
    if (variance)
      variance[i] = square / (n - 1);
  }
  free(panel);
}
