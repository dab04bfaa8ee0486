/* groups.h - what is compared, and its moments: settings of an entry, and one small record for each setting and group
 * of neighbouring blocks. Plain arrays; knows no files. */
#ifndef METAVAR_GROUPS_H
#define METAVAR_GROUPS_H

#include "metavar/store.h"
#include "metavar/tails.h"

/* --- settings --------------------------------------------------------------------------------------------------------
 */

/* One M-vector g = x[base ..] + lambda x[first ..] of a sample x. */
struct mv_setting {
  int output;             /* index into the layout */
  int index[MV_AXES_MAX]; /* along the leading axes of the output */
  int64_t base, first;    /* positions in a sample; base -1: g = x[first ..] */
  double lambda;          /* NaN if base is -1 */
  int64_t watched;        /* the vector of the layout whose largest norms belong to g; -1 none */
  double primal, tangent; /* cost per replicate; NaN if the layout does not say */
  bool hidden;            /* others are compared with it; it has no rows of its own */
};

struct mv_settings {
  int count, meta;
  struct mv_setting *at;
};

/* Every setting of an entry: targets, gradients, and components with each coefficient (the fastest axis). A
 * gradient that is the base of a component appears as its coefficient 0. */
struct mv_settings mv_settings_make(const struct mv_layout *, const double *lambda, int lambdas);
void mv_settings_free(struct mv_settings *);

/* Position of the axis called name among the leading axes of a setting's output; -1 if it has none. */
int mv_setting_axis(const struct mv_layout *, const struct mv_setting *, const char *name);
/* Value of an axis at an index, as text ("0.95", "pathwise") and as number (NaN for names). */
void mv_axis_text(const struct mv_axis *, int index, char *out, size_t size);
double mv_axis_number(const struct mv_axis *, int index);

/* g[meta] of one sample x. */
static inline void mv_setting_sample(const struct mv_setting *s, int meta, const double *x, double *g)
{
  for (int m = 0; m < meta; m++)
    g[m] = s->base < 0 ? x[s->first + m] : x[s->base + m] + s->lambda * x[s->first + m];
}
/* Mean and diagonal of the co-moment of g, from those of the samples in a block. */
void mv_setting_combine(const struct mv_setting *, int meta, int64_t moments, const double *mean,
                        const double *comoment, double *g_mean, double *g_square);

/* --- groups ----------------------------------------------------------------------------------------------------------
 */

/* Merges b into a: counts, means and sums of squared deviations of `meta` coordinates. Returns the joint count. */
int64_t mv_merge(int meta, int64_t a_count, double *a_mean, double *a_square, int64_t b_count, const double *b_mean,
                 const double *b_square);

/* Moments of one cell. */
struct mv_groups {
  int meta, settings, groups;
  int64_t *end;          /* [groups] first block after each */
  int64_t *count;        /* [groups] finite samples */
  int64_t nonfinite;     /* in all groups */
  double *mean, *square; /* [settings][groups][meta] */
  double *largest;       /* [settings] largest squared norm; -1 if not watched */
  int64_t *largest_id;   /* [settings] its replicate */
  struct mv_tail *tail;  /* [settings] the next largest */
};

/* end: copied. */
struct mv_groups mv_groups_make(int meta, int settings, int groups, const int64_t *end);
void mv_groups_free(struct mv_groups *);
/* Adds a block; blocks come in order. */
void mv_groups_add(struct mv_groups *, const struct mv_settings *, const struct mv_layout *, const struct mv_moments *);

#endif
