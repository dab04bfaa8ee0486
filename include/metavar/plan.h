/* plan.h - from a job to cells, layouts and work units. */
#ifndef METAVAR_PLAN_H
#define METAVAR_PLAN_H

#include "metavar/job.h"

#define MV_LARGEST 4 /* largest squared norms kept per vector and block */

/* How the outputs of one entry lie in a flat array of doubles. */
struct mv_layout {
  int output_count;
  struct mv_output output[MV_OUTPUTS_MAX]; /* meta_parameter axis added */
  int64_t offset[MV_OUTPUTS_MAX], size[MV_OUTPUTS_MAX];
  int64_t values;  /* doubles in one sample */
  int64_t moments; /* the leading ones that statistics are made of: all but notes */
  int64_t pairs;   /* moments (moments + 1) / 2 */
  /* M-vectors whose norms are watched: every gradient and target, and base + component. Parts: first double of each; -1
   * none. */
  int64_t vectors;
  int64_t (*vector)[2];
  /* cost of each setting alone */
  int cost_rank;    /* leading axes of output 0 */
  int64_t settings; /* their product */
  double *primal, *tangent;
};

/* Members of a replicate's population that report their fitness, and where; 0: none do. */
static inline int64_t mv_layout_fitness(const struct mv_layout *l, int64_t *offset)
{
  for (int o = 0; o < l->output_count; o++)
    if (l->output[o].role == MV_FITNESS) {
      *offset = l->offset[o];
      return l->size[o];
    }
  return 0;
}

/* Where the co-moment of values i, j lies among the pairs of n values: the upper triangle, row-major. */
static inline int64_t mv_pair_at(int64_t n, int64_t i, int64_t j)
{
  return i <= j ? i * n - i * (i - 1) / 2 + (j - i) : mv_pair_at(n, j, i);
}
/* For blocks that begin where a task instance, or another block, does. */
static inline int64_t mv_common_divisor(int64_t a, int64_t b) { return b ? mv_common_divisor(b, a % b) : a; }

struct mv_plan {
  const struct mv_job *job;
  struct mv_layout *layout; /* [entry_count] */
  double *work;             /* [entry_count] inner-step equivalents of a replicate */
  int cells;                /* points * entry_count; cell = entry * points + point */
  struct mv_key *key;       /* [points] */
  char **meta_names;        /* [meta], values of the axis meta_parameter */
  int64_t *replicates;      /* [cells] that each cell is to have: its entry's; with a stopping rule those of its last
                               round so far, at first the first (rounds.h) */
};

struct mv_plan *mv_plan_make(const struct mv_job *);
void mv_plan_free(struct mv_plan *);
static inline int mv_plan_entry(const struct mv_plan *p, int cell) { return cell / p->job->points; }
static inline int mv_plan_point(const struct mv_plan *p, int cell) { return cell % p->job->points; }

/* Work unit: replicates [first, first + count) of a cell. Moments: first is a multiple of job->block, and
 * count too or up to the last replicate. */
struct mv_unit {
  int64_t cell, first, count;
};

#endif
