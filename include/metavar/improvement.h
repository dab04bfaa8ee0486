/* improvement.h - what measured bias and variance predict of learning: a training against a study of its estimators.
 *
 * local.c        local quadratic regression over scattered points of eta
 * study.c        the study: moments of the reference and of the trained estimators at its eta points
 * improvement.c  the prediction along every curve, beside what was realised
 */
#ifndef METAVAR_IMPROVEMENT_H
#define METAVAR_IMPROVEMENT_H

#include "metavar/analysis.h"

/* --- local.c -------------------------------------------------------------------------------------------------------- */

/* Points in meta-parameter space, and where a fit at some eta finds its weights. */
struct mv_local {
  int meta, points;
  const double *eta; /* [points][meta], not owned */
  double *scale;     /* [meta] */
  int near;          /* after mv_local_at: points with a weight, */
  int *point;        /* [near] their numbers, */
  double *weight;    /* [near][1 + meta]: sum weight x y is the value, and the derivatives, of y at eta */
  double *room;
};
int mv_local_least(int meta); /* points without which there is no fit */
void mv_local_make(struct mv_local *, int meta, int points, const double *eta);
void mv_local_free(struct mv_local *);
/* False: eta is not between its nearest points, or they lie badly. */
bool mv_local_at(struct mv_local *, const double *eta);

/* --- study.c -------------------------------------------------------------------------------------------------------- */

#define MV_STUDY_GROUPS 32

/* Of a gradient estimate at every point: mean[meta] and covariance of one sample, the upper triangle, pair (i, j) at
 * mv_pair_at(meta, i, j). Once of all samples, and once for each group without that group: the jackknife. */
struct mv_subject {
  int entry, setting; /* in the study */
  double *mean;       /* [1 + MV_STUDY_GROUPS][points][meta] */
  double *covariance; /* [1 + MV_STUDY_GROUPS][points][meta (meta + 1) / 2] */
};

struct mv_study {
  struct mv_results *results;
  struct mv_tables tables; /* its members alone are used */
  int meta, points;
  struct mv_subject reference;
  int subjects;
  struct mv_subject
      *subject; /* [subjects] of each row of estimators in the training; entry -1: not in the study, told */
};

/* Opens run (RUN2 or RUN2:LABEL) as the study of a training, and reads it. Exit code; errors printed. Close in any case.
 */
int mv_study_open(struct mv_study *, const struct mv_job *training, const char *run);
void mv_study_close(struct mv_study *);

/* --- improvement.c -------------------------------------------------------------------------------------------------- */

/* Of one update at eta: what is expected of J, in parts, and the variance of what happens. */
enum mv_part { MV_DRIFT, MV_BIAS, MV_MOMENTUM, MV_CURVATURE, MV_NOISE, MV_CHANCE, MV_PARTS };

/* The expected step is rate (g + b + v): gradient g[meta], mean estimate q = g + b, hessian[meta][meta] of J, velocity v
 * that momentum keeps (NULL: none), covariance of one sample, and replicates of one update. */
void mv_improvement(int meta, double rate, double replicates, const double *g, const double *q, const double *hessian,
                    const double *velocity, const double *covariance, double out[MV_PARTS]);

/* Writes the table of a training against its study. Exit code. */
int mv_improvement_write(FILE *, struct mv_results *, struct mv_study *);

#endif
