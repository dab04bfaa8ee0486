/* groups.c - the moments of one cell, reduced to one small record per setting and group of neighbouring blocks.
 *
 * Blocks are merged in their order (Chan, Golub & LeVeque 1983, Am. Stat. 37, eq. 2.1):
 *     n = n_a + n_b,  d = mean_b - mean_a
 *     mean = mean_a + d n_b / n
 *     S    = S_a + S_b + d^2 n_a n_b / n.
 * A record holds the mean and the sums of squared deviations per coordinate: all that the statistics and the bootstrap
 * need.
 */
#include <assert.h>
#include <string.h>

#include "metavar/analysis.h"
#include "metavar/memory.h"

int64_t mv_merge(int meta, int64_t a_count, double *a_mean, double *a_square, int64_t b_count, const double *b_mean,
                 const double *b_square)
{
  if (b_count == 0)
    return a_count;
  if (a_count == 0) {
    memcpy(a_mean, b_mean, (size_t)meta * sizeof *a_mean);
    memcpy(a_square, b_square, (size_t)meta * sizeof *a_square);
    return b_count;
  }
  double na = (double)a_count, nb = (double)b_count, n = na + nb;
  for (int m = 0; m < meta; m++) {
    double d = b_mean[m] - a_mean[m];
    a_mean[m] += d * (nb / n);
    a_square[m] += b_square[m] + d * d * (na * nb / n);
  }
  return a_count + b_count;
}

struct mv_groups mv_groups_make(int meta, int settings, int groups, const int64_t *end)
{
  struct mv_groups g = {.meta = meta, .settings = settings, .groups = groups};
  size_t records = (size_t)settings * (size_t)groups * (size_t)meta;
  g.end = mv_memory_take((size_t)groups, sizeof *g.end);
  memcpy(g.end, end, (size_t)groups * sizeof *end);
  g.count = mv_memory_take((size_t)groups, sizeof *g.count);
  g.mean = mv_memory_take(records, sizeof *g.mean);
  g.square = mv_memory_take(records, sizeof *g.square);
  g.largest = mv_memory_take((size_t)settings, sizeof *g.largest);
  g.largest_id = mv_memory_take((size_t)settings, sizeof *g.largest_id);
  g.tail = mv_memory_take((size_t)settings, sizeof *g.tail);
  for (int s = 0; s < settings; s++) {
    g.largest[s] = -1;
    g.largest_id[s] = -1;
    g.tail[s] = mv_tail_make();
  }
  return g;
}

void mv_groups_free(struct mv_groups *g)
{
  free(g->end);
  free(g->count);
  free(g->mean);
  free(g->square);
  free(g->largest);
  free(g->largest_id);
  free(g->tail);
  *g = (struct mv_groups){0};
}

void mv_groups_add(struct mv_groups *g, const struct mv_settings *settings, const struct mv_layout *layout,
                   const struct mv_moments *block)
{
  int64_t at = 0;
  while (block->block >= g->end[at])
    at++;
  int64_t count = g->count[at];
  assert(at < g->groups && settings->count == g->settings);
  double buffer[2 * g->meta], *mean = buffer, *square = buffer + g->meta;
  g->nonfinite += block->nonfinite;
  if (block->count == 0)
    return;
  for (int s = 0; s < settings->count; s++) {
    const struct mv_setting *setting = &settings->at[s];
    int64_t record = ((int64_t)s * g->groups + at) * g->meta;
    mv_setting_combine(setting, g->meta, layout->moments, block->mean, block->comoment, mean, square);
    mv_merge(g->meta, count, g->mean + record, g->square + record, block->count, mean, square);
    if (setting->watched < 0)
      continue;
    const double *largest = block->largest + setting->watched * MV_LARGEST;
    mv_tail_add(&g->tail[s], largest);
    if (*largest > g->largest[s]) {
      g->largest[s] = *largest;
      g->largest_id[s] = block->largest_id[setting->watched * MV_LARGEST];
    }
  }
  g->count[at] = count + block->count;
}
