/* draws.c - the bootstrap of a panel: Poisson weights on groups, the same for every setting of every entry.
 *
 * Group g enters a draw c_g times, c_g ~ Poisson(1) (Hanley & MacGibbon 2006): given their sum that is Efron's
 * multinomial (1979), but every group has its own count, whatever the others do. So entries that cover different groups
 * stay paired where they overlap, and no entry's size depends on the others. With n_g samples, mean m_g and sum of
 * squares S_g of a group, and c the mean of all groups, so that nothing cancels:
 *     N* = sum c_g n_g,   mean* = c + (sum c_g n_g (m_g - c)) / N*,
 *     trace* = (sum c_g A_g - |sum c_g n_g (m_g - c)|^2 / N*) / (N* - 1),   A_g = S_g + n_g |m_g - c|^2,
 * and the squared error of the trace is G* / (G* - 1) sum c_g (A_g - n_g trace*)^2 / N*^2, G* = sum c_g.
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

/* Columns of a setting: meta + EXTRA. */
enum { A, B_SQUARED, B_TIMES_N, EXTRA };

/* Of a group: n (m - c) of coordinate k; from k = meta on A = S + n |m - c|^2, B^2 and B n, B = A - n trace. */
static double column(const struct mv_sheet *sheet, int setting, int g, int k)
{
  const struct mv_groups *all = &sheet->groups;
  int64_t record = ((int64_t)setting * all->groups + g) * all->meta;
  const double *mean = sheet->mean + (int64_t)setting * all->meta;
  const double *variance = sheet->variance + (int64_t)setting * all->meta;
  double n = (double)all->count[g], square = 0, trace = 0;
  if (n == 0)
    return 0;
  if (k < all->meta)
    return n * (all->mean[record + k] - mean[k]);
  for (int m = 0; m < all->meta; m++) {
    double d = all->mean[record + m] - mean[m];
    square += all->square[record + m] + n * d * d;
    trace += variance[m];
  }
  double far = square - n * trace;
  return k - all->meta == A ? square : k - all->meta == B_SQUARED ? far * far : far * n;
}

/* Of every draw: samples, sum of squared group sizes, groups. */
struct size {
  double count, squares, groups;
};

static void draw_sizes(const struct mv_sheet *sheet, int resamples, const uint8_t *times, int stride, struct size *size)
{
  for (int r = 0; r < resamples; r++)
    for (int g = 0; g < sheet->groups.groups; g++) {
      double c = times[(int64_t)r * stride + g], n = (double)sheet->groups.count[g];
      size[r].count += c * n;
      size[r].squares += c * n * n;
      size[r].groups += n > 0 ? c : 0;
    }
}

/* A sheet with its columns. Tasks are tiles of columns. */
struct drawing {
  struct mv_sheet *sheet;
  int resamples, stride;
  const uint8_t *times;
  struct size *size;
  double *shared; /* [settings][resamples] sums of B n */
  int64_t columns;
};

static void draw_tile(void *self, int task)
{
  const struct drawing *d = self;
  struct mv_sheet *sheet = d->sheet;
  const int meta = sheet->groups.meta, groups = sheet->groups.groups;
  const int64_t first = (int64_t)task * TILE;
  double *x = mv_memory_take((size_t)groups * TILE, sizeof *x);
  double *sum = mv_memory_take((size_t)d->resamples * TILE, sizeof *sum);
  int count = d->columns - first < TILE ? (int)(d->columns - first) : TILE;
  for (int g = 0; g < groups; g++)
    for (int k = 0; k < count; k++)
      x[g * TILE + k] = column(sheet, (int)((first + k) / (meta + EXTRA)), g, (int)((first + k) % (meta + EXTRA)));
  sum_tile(groups, x, d->resamples, d->times, d->stride, sum);
  for (int k = 0; k < count; k++) {
    int64_t s = (first + k) / (meta + EXTRA), m = (first + k) % (meta + EXTRA);
    double *const extra[EXTRA] = {sheet->trace, sheet->noise, d->shared};
    double *out = m < meta ? sheet->error + s * d->resamples * meta + m : extra[m - meta] + s * d->resamples;
    for (int64_t r = 0; r < d->resamples; r++)
      out[m < meta ? r * meta : r] = sum[r * TILE + k];
  }
  free(x);
  free(sum);
}

/* From sums over groups to the error of the mean, the trace, and the squared error of the trace. */
static void finish_setting(void *self, int setting)
{
  const struct drawing *d = self;
  struct mv_sheet *sheet = d->sheet;
  const int meta = sheet->groups.meta;
  const int64_t first = (int64_t)setting * d->resamples;
  const bool known = sheet->filled >= 2;
  double whole = 0;
  for (int m = 0; m < meta; m++)
    whole += sheet->variance[(int64_t)setting * meta + m];
  for (int64_t r = 0; r < d->resamples; r++) {
    double *error = sheet->error + (first + r) * meta, *trace = &sheet->trace[first + r], n = d->size[r].count;
    for (int m = 0; m < meta; m++) {
      *trace -= error[m] * error[m] / n;
      error[m] = known ? error[m] / n : NAN;
    }
    *trace = known ? *trace / (n - 1) : NAN;
    double off = *trace - whole, pieces = d->size[r].groups;
    double far = sheet->noise[first + r] - 2 * off * d->shared[first + r] + off * off * d->size[r].squares;
    sheet->noise[first + r] = pieces > 1 ? fmax(far, 0) / (n * n) * pieces / (pieces - 1) : NAN;
  }
}

void mv_sheet_draw(struct mv_sheet *sheet, int resamples, const uint8_t *times, int stride)
{
  const size_t settings = (size_t)sheet->groups.settings, meta = (size_t)sheet->groups.meta;
  struct drawing d = {sheet, resamples, stride, times, NULL, NULL, (int64_t)(settings * (meta + EXTRA))};
  d.size = mv_memory_take((size_t)resamples, sizeof *d.size);
  d.shared = mv_memory_take(settings * (size_t)resamples, sizeof *d.shared);
  sheet->error = mv_memory_take(settings * (size_t)resamples * meta, sizeof *sheet->error);
  sheet->trace = mv_memory_take(settings * (size_t)resamples, sizeof *sheet->trace);
  sheet->noise = mv_memory_take(settings * (size_t)resamples, sizeof *sheet->noise);
  draw_sizes(sheet, resamples, times, stride, d.size);
  mv_parallel((int)((d.columns + TILE - 1) / TILE), (double)d.columns * resamples * sheet->groups.groups, draw_tile,
              &d);
  mv_parallel((int)settings, (double)d.columns * resamples, finish_setting, &d);
  free(d.size);
  free(d.shared);
}
