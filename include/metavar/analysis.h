/* analysis.h - offline statistics: from moments in blocks to bias and variance of every setting.
 *
 * settings   what is compared: every gradient vector of an entry, components combined with coefficients
 * groups     the moments of one cell, per setting, in at most MV_GROUPS_MAX groups of neighbouring blocks
 * bootstrap  resampled groups, from a generator of its own with a fixed seed
 * bias       distance of two means with shared random numbers, its error and its interval
 * cell       all statistics of one eta point and one entry
 * grid       averages over the eta points
 * write      cells.csv, grid.csv, summary.json, table on stdout
 *
 * Everything up to `grid` works on plain arrays and knows no files. NaN marks what is undefined; nothing is left out.
 */
#ifndef METAVAR_ANALYSIS_H
#define METAVAR_ANALYSIS_H

#include <stdio.h>

#include "metavar/panel.h"

#define MV_GRID_RESAMPLES 10000 /* of eta points, as Vuorio et al. 2022 */

/* One mean over groups. Two tracks are paired: what has the same group index shares its random numbers. */
struct mv_track {
  int meta, groups;
  double *weight; /* [groups] finite samples; 0 where this track has none */
  double *mean;   /* [groups][meta] */
  double *within; /* [groups] sum of squared deviations from the group's mean, all coordinates */
};

struct mv_track mv_track_make(int meta, int groups);
void mv_track_free(struct mv_track *);
int mv_track_filled(const struct mv_track *); /* groups with samples */
/* Setting s of a cell. */
void mv_track_fill(struct mv_track *, const struct mv_groups *, int setting);
/* The reference, kept block by block, in groups that pair with `groups` groups of `width` blocks each; what it has
 * beyond those in at most as many groups more, after them. `width` and `nest` are the reference's. */
struct mv_track mv_track_align(const struct mv_groups *reference, int groups, int64_t width, int64_t nest);

/* Merged over groups. */
struct mv_total {
  double count;
  double variance; /* trace of the covariance, unbiased */
  double *mean;    /* [meta], the caller's */
};
void mv_track_total(const struct mv_track *, struct mv_total *);

/* --- bootstrap -------------------------------------------------------------------------------------------------------
 */

/* Resampled groups: times[r][g] is how often resample r drew group g. */
struct mv_resamples {
  int count, groups;
  double *times;
};

/* Draws from Philox, a function of `stream` alone. Resamples in which a or b (may be NULL) would be empty are drawn
 * again. An empty set (count 0) if a or b has fewer than two groups with samples: then errors are undefined. */
struct mv_resamples mv_resamples_make(int count, const struct mv_track *a, const struct mv_track *b, uint32_t stream);
void mv_resamples_free(struct mv_resamples *);

/* Mean [count][meta] and variance [count] (may be NULL) of a track in every resample. */
void mv_resamples_apply(const struct mv_resamples *, const struct mv_track *, const struct mv_total *, double *mean,
                        double *variance);

/* Draws `count` indices below n, a function of (purpose, stream, r) alone. */
void mv_draw_indices(uint32_t purpose, uint32_t stream, uint32_t r, uint32_t attempt, int n, int count, int *out);

/* --- bias ------------------------------------------------------------------------------------------------------------
 */

/* tr Cov of the means of two paired tracks, from the scatter of their groups; 0 without common groups, NaN with one. */
double mv_mean_covariance(const struct mv_track *a, const struct mv_total *at, const struct mv_track *b,
                          const struct mv_total *bt);

struct mv_distance {
  double square;    /* |d|^2 */
  double se;        /* of it, and of it minus its upward bias */
  double low, high; /* interval of the true squared length */
};

/* Of d[meta] whose errors are those of draws[count][meta], resampled values of d. `groups`: independent pieces behind
 * them. work: [3 count]. */
struct mv_distance mv_distance_make(int meta, const double *d, int count, const double *draws, int groups,
                                    double confidence, double *work);

/* --- cell ------------------------------------------------------------------------------------------------------------
 */

enum mv_stat {
  MV_STAT_VARIANCE,
  MV_STAT_VARIANCE_SE,
  MV_STAT_VARIANCE_MEAN,
  MV_STAT_VARIANCE_COST,
  MV_STAT_BIAS2_PLUGIN,
  MV_STAT_BIAS2_UNBIASED,
  MV_STAT_BIAS2_SE,
  MV_STAT_BIAS2_LOW,
  MV_STAT_BIAS2_HIGH,
  MV_STAT_V22_BIAS,
  MV_STAT_V22_BIAS_UNBIASED,
  MV_STAT_V22_BIAS_SE,
  MV_STAT_COSINE,
  MV_STAT_COSINE_SE,
  MV_STAT_COSINE_LOW,
  MV_STAT_COSINE_HIGH,
  MV_STAT_RELATIVE_ERROR,
  MV_STAT_LARGEST_SHARE,
  MV_STATS
};
extern const char *const mv_stat_names[MV_STATS];

/* One cell and setting. */
struct mv_row {
  int64_t count, nonfinite, largest_id;
  int groups;
  double stat[MV_STATS];
};

struct mv_analysis {
  int resamples;
  double confidence;
};

#define MV_COORDINATES 3 /* mean, its standard error, variance: of each coordinate */

/* Fills rows[settings] and coordinates[settings][MV_COORDINATES][meta]. reference NULL: no bias. `nest`: replicates
 * per task instance, of the entry and of the reference. */
void mv_cell_analyze(const struct mv_analysis *, const struct mv_settings *, const struct mv_groups *, int64_t nest,
                     const struct mv_groups *reference, int64_t reference_nest, uint32_t stream, struct mv_row *rows,
                     double *coordinates);

/* --- grid ------------------------------------------------------------------------------------------------------------
 */

/* The statistics that are averaged over eta points, each with the cell's standard error (MV_STATS: none). */
struct mv_averaged {
  enum mv_stat stat, se;
  bool se_over_meta; /* divide the error by M */
};
#define MV_AVERAGED 7
extern const struct mv_averaged mv_averaged[MV_AVERAGED];

struct mv_figure {
  double mean, se, eta_low, eta_high;
};
struct mv_grid_row {
  int points;
  int64_t count, nonfinite; /* all points together */
  struct mv_figure average[MV_AVERAGED];
  double largest_share; /* the largest of all points; NaN if not watched */
};

/* rows[p * stride] are the points of one setting. work: [MV_GRID_RESAMPLES * MV_AVERAGED]. */
struct mv_grid_row mv_grid_average(const struct mv_row *rows, int points, int64_t stride, int meta, double confidence,
                                   double *work);

/* --- a whole run, and its files --------------------------------------------------------------------------------------
 */

struct mv_entry_tables {
  struct mv_settings settings;
  struct mv_row *row;       /* [points][settings] */
  double *coordinate;       /* [points][settings][MV_COORDINATES][meta] */
  struct mv_grid_row *grid; /* [settings] */
};

struct mv_tables {
  const struct mv_job *job;
  const struct mv_plan *plan;
  struct mv_analysis options;
  int reference; /* entry; -1 none */
  struct mv_entry_tables *entry;
  int axis_count; /* names of all leading axes, in order of appearance */
  const char *axis[MV_OUTPUTS_MAX * MV_AXES_MAX];
};

/* Reads and computes everything. reference: label, or NULL for the first entry of the estimator called reference, if
 * there is one. Exit code; errors printed. Free the tables in any case. */
int mv_tables_make(struct mv_results *, const struct mv_analysis *, const double *lambda, int lambdas,
                   const char *reference, struct mv_tables *);
void mv_tables_free(struct mv_tables *);

/* Takes the named columns of one row, in order. */
struct mv_sink {
  void *self;
  void (*text)(void *self, const char *name, const char *value);
  void (*whole)(void *self, const char *name, int64_t value);
  void (*real)(void *self, const char *name, double value);
};
void mv_cell_columns(const struct mv_tables *, int entry, int setting, int point, const struct mv_sink *);
void mv_grid_columns(const struct mv_tables *, int entry, int setting, const struct mv_sink *);

/* Failures stay in the file's error flag. */
void mv_cells_write(FILE *, const struct mv_tables *);
void mv_grid_write(FILE *, const struct mv_tables *);
void mv_summary_write(FILE *, const struct mv_tables *, const char *digest, const double *lambda, int lambdas);
void mv_table_print(FILE *, const struct mv_tables *);

/* A file under a temporary name in the directory dir; commit checks that all was written and renames it. Exit codes;
 * errors printed. */
struct mv_draft {
  FILE *file;
  char *temporary, *final;
};
int mv_draft_open(struct mv_draft *, const char *dir, const char *name);
int mv_draft_commit(struct mv_draft *);

#endif
