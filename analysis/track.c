/* track.c - one mean over groups, and how the groups of two means pair.
 *
 * Replicates with the same task instance share their random numbers under every estimator. An entry whose task
 * instances serve `nest` replicates each reaches task instance t with replicate t nest. Group g of the entry holds
 * k nest blocks; the same task instances lie in k nest_r blocks of the reference: those are its group g. What the
 * reference has beyond the entry's last group pairs with nothing and follows in further groups.
 */
#include <assert.h>
#include <math.h>

#include "metavar/analysis.h"
#include "metavar/memory.h"

struct mv_track mv_track_make(int meta, int groups)
{
  struct mv_track t = {.meta = meta, .groups = groups};
  t.weight = mv_memory_take((size_t)groups, sizeof *t.weight);
  t.mean = mv_memory_take((size_t)groups * (size_t)meta, sizeof *t.mean);
  t.within = mv_memory_take((size_t)groups, sizeof *t.within);
  return t;
}

void mv_track_free(struct mv_track *t)
{
  free(t->weight);
  free(t->mean);
  free(t->within);
  *t = (struct mv_track){0};
}

int mv_track_filled(const struct mv_track *t)
{
  int groups = 0;
  for (int g = 0; g < t->groups; g++)
    groups += t->weight[g] > 0;
  return groups;
}

void mv_track_fill(struct mv_track *t, const struct mv_groups *g, int setting)
{
  int64_t record = (int64_t)setting * g->groups * g->meta;
  assert(t->groups == g->groups && t->meta == g->meta);
  for (int at = 0; at < g->groups; at++) {
    t->weight[at] = (double)g->count[at];
    t->within[at] = 0;
    for (int m = 0; m < g->meta; m++, record++) {
      t->mean[at * g->meta + m] = g->mean[record];
      t->within[at] += g->square[record];
    }
  }
}

/* Merges groups [from, to) of the only setting of g into group `at` of t. */
static void merge_range(struct mv_track *t, int at, const struct mv_groups *g, int64_t from, int64_t to)
{
  double *mean = t->mean + (int64_t)at * t->meta, square[t->meta];
  int64_t count = 0;
  for (int m = 0; m < t->meta; m++)
    square[m] = 0;
  for (int64_t b = from; b < to && b < g->groups; b++)
    count = mv_merge(t->meta, count, mean, square, g->count[b], g->mean + b * t->meta, g->square + b * t->meta);
  t->weight[at] = (double)count;
  for (int m = 0; m < t->meta; m++)
    t->within[at] += square[m];
}

struct mv_track mv_track_align(const struct mv_groups *reference, int groups, int64_t width, int64_t nest)
{
  assert(reference->settings == 1 && reference->width == 1 && width % nest == 0);
  int64_t paired = groups * width, rest = reference->groups > paired ? reference->groups - paired : 0;
  int64_t wide = nest * ((rest + nest * groups - 1) / (nest * groups));
  int more = rest ? (int)((rest + wide - 1) / wide) : 0;
  struct mv_track t = mv_track_make(reference->meta, groups + more);
  for (int at = 0; at < groups; at++)
    merge_range(&t, at, reference, at * width, (at + 1) * width);
  for (int at = 0; at < more; at++)
    merge_range(&t, groups + at, reference, paired + at * wide, paired + (at + 1) * wide);
  return t;
}

void mv_track_total(const struct mv_track *t, struct mv_total *total)
{
  double square = 0;
  total->count = 0;
  for (int m = 0; m < t->meta; m++)
    total->mean[m] = 0;
  for (int at = 0; at < t->groups; at++) {
    double n = total->count + t->weight[at];
    if (t->weight[at] == 0)
      continue;
    square += t->within[at];
    for (int m = 0; m < t->meta; m++) {
      double d = t->mean[at * t->meta + m] - total->mean[m];
      total->mean[m] += d * (t->weight[at] / n);
      square += d * d * (total->count * t->weight[at] / n);
    }
    total->count = n;
  }
  for (int m = 0; m < t->meta && total->count == 0; m++)
    total->mean[m] = NAN;
  total->variance = total->count > 1 ? square / (total->count - 1) : NAN;
}
