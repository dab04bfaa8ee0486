/* draws.c - the bootstrap of a panel: Poisson weights on groups, the same for every setting of every entry.
 *
 * Group g enters a draw c_g times, c_g ~ Poisson(1) (Hanley & MacGibbon 2006): given their sum that is Efron's
 * multinomial (1979), but every group has its own count, whatever the others do. So entries that cover different groups
 * stay paired where they overlap, and no entry's size depends on the others. With n_g samples, mean m_g and sum of
 * squares S_g of a group, and c the mean of all groups, so that nothing cancels:
 *     N* = sum c_g n_g,   mean* = c + (sum c_g n_g (m_g - c)) / N*,
 *     trace* = (sum c_g (S_g + n_g |m_g - c|^2) - |sum c_g n_g (m_g - c)|^2 / N*) / (N* - 1).
 * The random size makes up for what resampling G groups takes from the variance: (1 - 1/G)(1 + 1/G + ...). The
 * generator is Philox with a key of its own, counted by (group, draw, stream, attempt): the same run always gives the
 * same intervals.
 */
#include <math.h>
#include <string.h>

#include "metavar/memory.h"
#include "metavar/panel.h"
#include "metavar/stream.h"

#define FOR_COUNTS 0x706f6973u
#define TILE       16 /* columns that stay in registers */

typedef double pack __attribute__((vector_size(32), aligned(8)));
enum { PACKS = TILE / 4 };

void mv_draw_counts(uint32_t stream, uint32_t r, uint32_t attempt, int groups, uint8_t *out)
{
  static const struct mv_key key = {{0x6d657461u, 0x76617200u}};
  static const double below[] = {/* P(count <= k) */
                                 0.36787944117144233, 0.73575888234288467, 0.91969860292860584, 0.98101184312384626,
                                 0.99634015317265634, 0.99940581518241836, 0.99991675885071198, 0.99998975080332537,
                                 0.99999887479740202, 0.99999988857452164, 0.99999998995223363, 2};
  for (int g = 0; g < groups; g += 4) {
    uint32_t counter[4] = {(uint32_t)g, r, stream, FOR_COUNTS + attempt}, word[4];
    mv_philox(counter, key, word);
    for (int k = 0; k < 4 && g + k < groups; k++) {
      double u = (word[k] + 0.5) * 0x1p-32;
      uint8_t count = 0;
      while (u > below[count])
        count++;
      out[g + k] = count;
    }
  }
}

/* sum[r][TILE] of x[groups][TILE] in every draw. */
static void sum_tile(int groups, const double *x, int resamples, const uint8_t *times, int stride, double *sum)
{
  for (int r = 0; r < resamples; r++) {
    const uint8_t *row = times + (int64_t)r * stride;
    pack total[PACKS] = {0};
    for (int g = 0; g < groups; g++)
      for (int k = 0; k < PACKS; k++)
        total[k] += (double)row[g] * ((const pack *)(x + (int64_t)g * TILE))[k];
    memcpy(sum + (int64_t)r * TILE, total, sizeof total);
  }
}

/* Column of a group: n (m - c) of coordinate k, or S + n |m - c|^2 at k = meta, or n at k = meta + 1. */
static double column(const struct mv_sheet *sheet, int setting, int g, int k)
{
  const struct mv_groups *all = &sheet->groups;
  int64_t record = ((int64_t)setting * all->groups + g) * all->meta;
  const double *mean = sheet->mean + (int64_t)setting * all->meta;
  double n = (double)all->count[g], square = 0;
  if (k == all->meta + 1 || n == 0)
    return n;
  if (k < all->meta)
    return n * (all->mean[record + k] - mean[k]);
  for (int m = 0; m < all->meta; m++) {
    double d = all->mean[record + m] - mean[m];
    square += all->square[record + m] + n * d * d;
  }
  return square;
}

/* From sums over groups to the error of the mean and the trace. */
static void finish(struct mv_sheet *sheet, int64_t resamples, const double *size)
{
  const int meta = sheet->groups.meta;
  for (int64_t s = 0; s < sheet->groups.settings; s++)
    for (int64_t r = 0; r < resamples; r++) {
      double *error = sheet->error + (s * resamples + r) * meta, *trace = sheet->trace + s * resamples + r;
      for (int m = 0; m < meta; m++) {
        *trace -= error[m] * error[m] / size[r];
        error[m] /= size[r];
      }
      *trace = sheet->filled < 2 ? NAN : *trace / (size[r] - 1);
      for (int m = 0; m < meta && sheet->filled < 2; m++)
        error[m] = NAN;
    }
}

void mv_sheet_draw(struct mv_sheet *sheet, int resamples, const uint8_t *times, int stride)
{
  const int meta = sheet->groups.meta, groups = sheet->groups.groups, settings = sheet->groups.settings;
  const int64_t columns = (int64_t)settings * (meta + 1) + 1; /* the last: n */
  double *x = mv_memory_take((size_t)groups * TILE, sizeof *x);
  double *sum = mv_memory_take((size_t)resamples * TILE, sizeof *sum);
  double *size = mv_memory_take((size_t)resamples, sizeof *size);
  sheet->error = mv_memory_take((size_t)settings * (size_t)resamples * (size_t)meta, sizeof *sheet->error);
  sheet->trace = mv_memory_take((size_t)settings * (size_t)resamples, sizeof *sheet->trace);
  for (int64_t first = 0; first < columns; first += TILE) {
    int count = columns - first < TILE ? (int)(columns - first) : TILE;
    for (int g = 0; g < groups; g++)
      for (int k = 0; k < TILE; k++) {
        int64_t at = first + k;
        bool last = at == columns - 1;
        x[g * TILE + k] =
            k < count ? column(sheet, last ? 0 : (int)(at / (meta + 1)), g, last ? meta + 1 : (int)(at % (meta + 1)))
                      : 0;
      }
    sum_tile(groups, x, resamples, times, stride, sum);
    for (int k = 0; k < count; k++) {
      int64_t at = first + k, s = at / (meta + 1), m = at % (meta + 1);
      for (int64_t r = 0; r < resamples; r++) {
        double value = sum[r * TILE + k];
        if (at == columns - 1)
          size[r] = value;
        else if (m < meta)
          sheet->error[(s * resamples + r) * meta + m] = value;
        else
          sheet->trace[s * resamples + r] = value;
      }
    }
  }
  finish(sheet, resamples, size);
  free(x);
  free(sum);
  free(size);
}
