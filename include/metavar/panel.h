/* panel.h - one eta point, every setting of every entry, jointly: estimates, their covariances, and bootstrap draws.
 *
 * Replicates with the same task instance share their random numbers under every estimator. A panel cuts the task
 * instances into groups, the same ranges for all entries, so whatever is computed from paired groups, and every
 * bootstrap draw, keeps what the means share.
 *
 *     struct mv_panel p;
 *     mv_panel_make(&p, meta, entries, extent);            extent[e]: settings, blocks, ...
 *     mv_panel_add(&p, e, &settings, layout, block);       every block of every entry, in order (or fill sheet[e].groups)
 *     mv_panel_close(&p, resamples, point);                estimates and draws; from here on it is only read
 *     ... p.sheet[e].mean[s * meta + m], .variance[..], .count ...
 *     struct mv_term terms[] = {{e, s, 1}, {reference, 0, -1}};
 *     struct mv_vector bias;
 *     mv_vector_make(&bias, &p, 2, terms);                 sum of coefficient x mean, with its draws
 *     struct mv_estimate b2 = mv_vector_product(&bias, &bias, confidence, errors);   |bias|^2 without its upward bias
 *     mv_vector_free(&bias);
 *     mv_panel_free(&p);
 *
 * Averages over eta points, whose samples are independent: hand the errors of each point to mv_average_add(), in the
 * order of the points, then mv_average_finish().
 * NaN marks what is undefined. Every result is a function of the input and of `stream` alone.
 */
#ifndef METAVAR_PANEL_H
#define METAVAR_PANEL_H

#include <stdbool.h>
#include <stdint.h>

#include "metavar/groups.h"

#define MV_GROUPS_MAX 128 /* groups of task instances that the same entries cover; more entries' lengths, more groups */
#define MV_TERMS_MAX  8   /* means in one combination */

/* What a panel has to know of an entry. */
struct mv_extent {
  int settings;
  int64_t blocks; /* of replicates */
  int64_t width;  /* blocks that hold a whole number of task instances, as many instances for every entry of a family:
                     replicates per task instance, where all entries have the same block */
  int family;     /* entries of different families share no random numbers */
};

/* One entry. */
struct mv_sheet {
  struct mv_groups groups; /* as added; the panel's groups first, first + 1, ... */
  int first;
  int filled;       /* groups with samples: independent pieces */
  double count;     /* finite samples */
  double *mean;     /* [settings][meta] */
  double *variance; /* [settings][meta] of one sample, divisor count - 1 */
  double *error;    /* [settings][resamples][meta] mean in a draw less mean; NaN with less than two filled groups */
  double *trace;    /* [settings][resamples] sum of variances in a draw */
  double *noise;    /* [settings][resamples] squared standard error of the trace in a draw */
};

struct mv_panel {
  int meta, entries, groups, resamples;
  uint8_t *times; /* [resamples][groups] how often a draw takes a group */
  struct mv_sheet *sheet;
};

void mv_panel_make(struct mv_panel *, int meta, int entries, const struct mv_extent *);
void mv_panel_free(struct mv_panel *);
/* Adds a block; those of an entry come in order. */
void mv_panel_add(struct mv_panel *, int entry, const struct mv_settings *, const struct mv_layout *,
                  const struct mv_moments *);
/* Estimates and draws. resamples 0: estimates alone. */
void mv_panel_close(struct mv_panel *, int resamples, uint32_t stream);

/* One mean, and how much of it. */
struct mv_term {
  int entry, setting;
  double coefficient;
};

/* Covariance of the means of two settings, from the scatter of their common groups: of each coordinate to out[meta]
 * (may be NULL), and the sum. Bilinear in the settings of any two entries, so that parts add up. 0 without common
 * groups, NaN with one. */
double mv_panel_covariance(const struct mv_panel *, const struct mv_term *, const struct mv_term *, double *out);

/* --- bootstrap: draws.c, parallel.c --- */

/* Poisson(1) counts of groups, a function of (stream, r, attempt) alone. */
void mv_draw_counts(uint32_t stream, uint32_t r, uint32_t attempt, int groups, uint8_t *out);
/* Fills error and trace of a sheet. times: row r begins at r * stride. */
void mv_sheet_draw(struct mv_sheet *, int resamples, const uint8_t *times, int stride);

/* Calls work(self, 0 .. tasks - 1), each once, on all cores. Tasks touch different memory. effort: elementary steps of
 * all tasks together, roughly; where they are few, no thread is started. */
void mv_parallel(int tasks, double effort, void (*work)(void *self, int task), void *self);

/* --- combinations: vector.c --- */

/* v = sum_k coefficient_k mean_k. A vector without terms is some function of the means, filled in by the caller; its
 * covariances are those of its draws. */
struct mv_vector {
  const struct mv_panel *panel;
  int terms, pieces; /* pieces: the least filled groups of any of its entries */
  struct mv_term term[MV_TERMS_MAX];
  double *value; /* [meta] */
  double *error; /* [resamples][meta] */
};

void mv_vector_make(struct mv_vector *, const struct mv_panel *, int terms, const struct mv_term *);
/* Zeros: to be filled. */
void mv_vector_blank(struct mv_vector *, const struct mv_panel *, int pieces);
void mv_vector_free(struct mv_vector *);
/* tr Cov of two vectors, and of each coordinate to out[meta] (may be NULL). */
double mv_vector_covariance(const struct mv_vector *, const struct mv_vector *, double *out);

struct mv_estimate {
  double value, se, low, high;
};

/* Unbiased estimate of v.w (v.v: may be negative). Its errors in the draws, about 0 and as wide as the interval wants
 * them, to errors[resamples] (may be NULL). Of v.v the interval is cut at 0. */
struct mv_estimate mv_vector_product(const struct mv_vector *v, const struct mv_vector *w, double confidence,
                                     double *errors);

/* Ends of an interval: value plus percentiles of errors[count]; NaN where an error is not finite. cut: below 0 counts as
 * 0. */
void mv_estimate_bound(struct mv_estimate *, int count, const double *errors, double confidence, bool cut);

/* tr S of one sample of a setting; the errors are those of the draws as they are. */
struct mv_estimate mv_panel_variance(const struct mv_panel *, int entry, int setting, double confidence,
                                     double *errors);
/* Ends of the interval of a positive number: bootstrap-t on its logarithm. errors[count] in the draws, noise[count] their
 * squared standard errors. */
void mv_estimate_studentise(struct mv_estimate *, int count, const double *errors, const double *noise,
                            double confidence);

/* Mean of independent estimates, one of each eta point: zeros, then add, then finish. */
struct mv_average {
  int points, resamples;
  double sum, square; /* of values; of standard errors */
  double *errors;     /* [resamples] sums; after finish: of the mean */
  double *noise;      /* [resamples] sums of squared standard errors; NULL where none were added */
};
void mv_average_add(struct mv_average *, const struct mv_estimate *, int resamples, const double *errors);
void mv_average_add_noise(struct mv_average *, int resamples, const double *noise); /* of positive numbers */
struct mv_estimate mv_average_finish(struct mv_average *, double confidence, bool cut);
void mv_average_free(struct mv_average *);

double mv_deviation(const double *x, int count); /* standard deviation, n - 1; NaN for less than two */
/* Student's t over the normal quantile: what an interval from so many pieces is to be widened by. */
double mv_widening(int pieces, double confidence);

#endif
