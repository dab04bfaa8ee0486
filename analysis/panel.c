/* panel.c - one eta point, every setting of every entry, cut into groups that pair.
 *
 * An entry whose task instances serve `nest` replicates each reaches task instance t with replicate t nest, so `width`
 * blocks of every entry of a family hold the same task instances: a chunk. Entries differ in how many chunks they
 * cover. Between one entry's end and the next one's, the chunks are cut into at most MV_GROUPS_MAX ranges of equal
 * length; hence an entry covers the first ranges of its family, and two entries share those of the shorter one. Ranges of
 * different families follow one another and pair with nothing.
 *
 * Covariance of two means gbar, rbar over groups with weights w_g = n_g / n and v_g = n'_g / n':
 *     C = sum_g w_g v_g (m_g - gbar)(q_g - rbar) / F,     F = 1 - sum_g k_g (w_g + v_g) / sum_g k_g + sum_g w_g v_g
 * is unbiased when k_g = min(n_g, n'_g) replicates of each group are paired and all are alike; F is what the means' own
 * errors take away. Of a mean with itself F = 1 - sum w_g^2, and C is its variance, also where task instances serve
 * several replicates, which then depend on each other: groups hold whole instances. F knows the entries alone, so C is
 * bilinear in their settings.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "metavar/memory.h"
#include "metavar/panel.h"

static int64_t chunks(const struct mv_extent *e) { return (e->blocks + e->width - 1) / e->width; }

/* The shortest coverage in the family beyond `from`; 0 if there is none. */
static int64_t next_end(int entries, const struct mv_extent *extent, int family, int64_t from)
{
  int64_t end = 0;
  for (int e = 0; e < entries; e++)
    if (extent[e].family == family && chunks(&extent[e]) > from && (end == 0 || chunks(&extent[e]) < end))
      end = chunks(&extent[e]);
  return end;
}

/* Cuts the chunks of a family; cut[g]: first chunk after range g. Returns the number of ranges. cut NULL: only that. */
static int cut_family(int entries, const struct mv_extent *extent, int family, int64_t *cut)
{
  int ranges = 0;
  for (int64_t from = 0, end; (end = next_end(entries, extent, family, from)) > 0; from = end) {
    int64_t wide = (end - from + MV_GROUPS_MAX - 1) / MV_GROUPS_MAX;
    for (int64_t at = from + wide; at < end + wide; at += wide, ranges++)
      if (cut)
        cut[ranges] = at < end ? at : end;
  }
  return ranges;
}

/* Entry e, whose family's ranges begin with the panel's group `first`. */
static void make_sheet(struct mv_sheet *sheet, int meta, const struct mv_extent *extent, int first, const int64_t *cut)
{
  int groups = 0;
  while (chunks(extent) > (groups ? cut[groups - 1] : 0))
    groups++;
  sheet->first = first;
  int64_t end[groups];
  for (int g = 0; g < groups; g++)
    end[g] = cut[g] * extent->width;
  sheet->groups = mv_groups_make(meta, extent->settings, groups, end);
}

void mv_panel_make(struct mv_panel *p, int meta, int entries, const struct mv_extent *extent)
{
  *p = (struct mv_panel){.meta = meta, .entries = entries};
  p->sheet = mv_memory_take((size_t)entries, sizeof *p->sheet);
  for (int e = 0; e < entries; e++) {
    bool seen = false;
    for (int k = 0; k < e; k++)
      seen = seen || extent[k].family == extent[e].family;
    if (seen)
      continue;
    int ranges = cut_family(entries, extent, extent[e].family, NULL);
    int64_t *cut = mv_memory_take((size_t)ranges, sizeof *cut);
    cut_family(entries, extent, extent[e].family, cut);
    for (int k = e; k < entries; k++)
      if (extent[k].family == extent[e].family)
        make_sheet(&p->sheet[k], meta, &extent[k], p->groups, cut);
    p->groups += ranges;
    free(cut);
  }
}

void mv_panel_free(struct mv_panel *p)
{
  for (int e = 0; p->sheet && e < p->entries; e++) {
    mv_groups_free(&p->sheet[e].groups);
    free(p->sheet[e].mean);
    free(p->sheet[e].variance);
    free(p->sheet[e].error);
    free(p->sheet[e].trace);
    free(p->sheet[e].noise);
  }
  free(p->sheet);
  free(p->times);
  *p = (struct mv_panel){0};
}

void mv_panel_add(struct mv_panel *p, int entry, const struct mv_settings *settings, const struct mv_layout *layout,
                  const struct mv_moments *block)
{
  mv_groups_add(&p->sheet[entry].groups, settings, layout, block);
}

/* Merges all groups of every setting. */
static void estimate(struct mv_sheet *sheet)
{
  const struct mv_groups *g = &sheet->groups;
  size_t size = (size_t)g->settings * (size_t)g->meta;
  sheet->mean = mv_memory_take(size, sizeof *sheet->mean);
  sheet->variance = mv_memory_take(size, sizeof *sheet->variance);
  for (int s = 0; s < g->settings; s++) {
    double *mean = sheet->mean + (int64_t)s * g->meta, *variance = sheet->variance + (int64_t)s * g->meta;
    int64_t count = 0, record = (int64_t)s * g->groups * g->meta;
    for (int at = 0; at < g->groups; at++, record += g->meta)
      count = mv_merge(g->meta, count, mean, variance, g->count[at], g->mean + record, g->square + record);
    for (int m = 0; m < g->meta; m++) {
      mean[m] = count > 0 ? mean[m] : NAN;
      variance[m] = count > 1 ? variance[m] / (double)(count - 1) : NAN;
    }
    sheet->count = (double)count;
  }
  for (int at = 0; at < g->groups; at++)
    sheet->filled += g->count[at] > 0;
}

/* Whether every entry that can be resampled has samples in this draw. */
static bool serves_all(const struct mv_panel *p, const uint8_t *times)
{
  for (int e = 0; e < p->entries; e++) {
    const struct mv_sheet *sheet = &p->sheet[e];
    int64_t drawn = 0;
    for (int g = 0; g < sheet->groups.groups; g++)
      drawn += times[sheet->first + g] * sheet->groups.count[g];
    if (sheet->filled >= 2 && drawn < 2)
      return false;
  }
  return true;
}

struct counting {
  struct mv_panel *panel;
  uint32_t stream;
};

static void count_draw(void *self, int r)
{
  const struct counting *c = self;
  uint8_t *times = c->panel->times + (int64_t)r * c->panel->groups;
  uint32_t attempt = 0;
  do
    mv_draw_counts(c->stream, (uint32_t)r, attempt++, c->panel->groups, times);
  while (!serves_all(c->panel, times));
}

void mv_panel_close(struct mv_panel *p, int resamples, uint32_t stream)
{
  for (int e = 0; e < p->entries; e++)
    estimate(&p->sheet[e]);
  p->resamples = resamples;
  p->times = mv_memory_take((size_t)resamples * (size_t)p->groups, sizeof *p->times);
  mv_parallel(resamples, 10.0 * resamples * p->groups, count_draw, &(struct counting){p, stream});
  for (int e = 0; e < p->entries; e++)
    mv_sheet_draw(&p->sheet[e], resamples, p->times + p->sheet[e].first, p->groups);
}

double mv_panel_covariance(const struct mv_panel *p, const struct mv_term *s, const struct mv_term *t, double *out)
{
  const struct mv_sheet *a = &p->sheet[s->entry], *b = &p->sheet[t->entry];
  const int meta = p->meta, both = a->groups.groups < b->groups.groups ? a->groups.groups : b->groups.groups;
  const double *a_mean = a->mean + (int64_t)s->setting * meta, *b_mean = b->mean + (int64_t)t->setting * meta;
  const double *a_group = a->groups.mean + (int64_t)s->setting * a->groups.groups * meta;
  const double *b_group = b->groups.mean + (int64_t)t->setting * b->groups.groups * meta;
  double sum[meta], paired = 0, lost = 0, product = 0, trace = 0;
  int common = 0;
  memset(sum, 0, sizeof sum);
  for (int g = 0; g < both && a->first == b->first; g++) {
    double n = (double)a->groups.count[g], k = (double)b->groups.count[g];
    if (n == 0 || k == 0)
      continue;
    double w = n / a->count, v = k / b->count, least = n < k ? n : k;
    for (int m = 0; m < meta; m++)
      sum[m] += w * v * ((a_group[g * meta + m] - a_mean[m]) * (b_group[g * meta + m] - b_mean[m]));
    paired += least;
    lost += least * (w + v);
    product += w * v;
    common++;
  }
  for (int m = 0; m < meta; m++) {
    sum[m] = common == 0 ? 0 : common == 1 ? NAN : sum[m] / (1 - lost / paired + product);
    trace += sum[m];
  }
  if (out)
    memcpy(out, sum, sizeof sum);
  return trace;
}
