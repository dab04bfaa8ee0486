/* rounds.h - the stopping rule of a job: which cells get more replicates, and how many. */
#ifndef METAVAR_ROUNDS_H
#define METAVAR_ROUNDS_H

#include "metavar/plan.h"

/* Replicates of a cell of this entry after round 1, 2, ...: twice as many each time, at most the entry's. Without a rule
 * the first round is all. */
int64_t mv_round_replicates(const struct mv_job *, const struct mv_entry *, int round);

/* Whether a cell can end with so many replicates. */
bool mv_round_is_end(const struct mv_job *, const struct mv_entry *, int64_t replicates);

/* What is known of one cell at the end of a round: groups of neighbouring blocks of moments. */
struct mv_gauge;
struct mv_gauge *mv_gauge_create(const struct mv_plan *, int cell, int64_t replicates);
void mv_gauge_free(struct mv_gauge *);
/* Block number b of the cell, in order. mean[moments], comoment[pairs] as in sample.h. */
void mv_gauge_add(struct mv_gauge *, int64_t b, int64_t count, int64_t nonfinite, const double *mean,
                  const double *comoment);
/* Largest relative standard error of the job's statistic among all gradient estimates of the cell; infinite when one of
 * them cannot be told: too few groups, a sample that is not finite, an error without a size to compare it with; and
 * when there is none. */
double mv_gauge_error(const struct mv_gauge *);
/* Whether the rule is content with it. */
bool mv_gauge_reached(const struct mv_gauge *);

#endif
