/* components.h - sources of variance in a nested design: task instances, lifetimes of one instance, perturbations of one
 * lifetime; and the design that spends a step budget best. */
#ifndef METAVAR_COMPONENTS_H
#define METAVAR_COMPONENTS_H

#include "metavar/analysis.h"

#define MV_NESTED_GROUPS 128 /* ranges of task instances that the bootstrap draws from */

enum mv_level { MV_LEVEL_TASK, MV_LEVEL_LIFETIME, MV_LEVEL_PERTURBATION, MV_LEVELS };

/* --- sums of squares of one cell, streaming --------------------------------------------------------------------------
 */

/* Sums over task instances k and their lifetimes l with n_kl finite samples, n_k in all. */
struct mv_tally {
  double samples, tasks, lifetimes;
  double q, s, p; /* n_kl^2 / n_k, n_k^2, n_kl^2 */
};

struct mv_nested {
  int meta, settings, groups;
  int64_t lifetimes, perturbations; /* of one task instance; of one lifetime */
  int64_t width;                    /* task instances in a group */
  struct mv_tally *tally;           /* [groups] */
  double *mean;                     /* [groups][settings][meta] */
  double *square;                   /* [groups][settings][MV_LEVELS]: S_A within the group, S_B, S_C of nested.c */

  int64_t at; /* the lifetime that is being gathered, counted through all task instances; -1 none */
  struct mv_tally life, task;
  double *life_mean, *task_mean; /* [settings][meta] */
};

/* replicates: of the cell. */
struct mv_nested mv_nested_make(int meta, int settings, int64_t replicates, int64_t lifetimes, int64_t perturbations);
void mv_nested_free(struct mv_nested *);
/* Adds a finite sample g[settings][meta]; replicates come in order. */
void mv_nested_add(struct mv_nested *, int64_t replicate, const double *g);
void mv_nested_end(struct mv_nested *);

/* How often each draw takes each group, the same for every setting and eta point of an entry: times[g][r]. Cells that a
 * stopping rule has given fewer samples may have fewer groups: the first ones. */
struct mv_redraws {
  int count, least; /* groups of the smallest cell */
  double *times;    /* [groups of the largest][count] */
};
struct mv_redraws mv_redraws_make(int count, const struct mv_nested *cells, int points);
void mv_redraws_free(struct mv_redraws *);

/* Components of one setting, NaN where samples do not tell: of all groups, and of every resample (draws[MV_LEVELS][count],
 * NULL: not wanted). A level without repetitions is 0 and lies in the level above (lifetimes) or below (perturbations). */
void mv_nested_components(const struct mv_nested *, int setting, const struct mv_redraws *, double out[MV_LEVELS],
                          double *draws);

/* --- components ------------------------------------------------------------------------------------------------------
 */

struct mv_component {
  struct mv_estimate variance;
  double share; /* of the total */
};
#define MV_COMPONENTS (MV_LEVELS + 1) /* the last: total */

/* One setting at all eta points: rows[points + 1][MV_COMPONENTS], the last point being their average. cells[points]. */
void mv_components_make(const struct mv_nested *cells, int points, int setting, const struct mv_redraws *,
                        double confidence, struct mv_component *rows);

/* Lifetimes of each task instance that give the mean the smallest variance for its cost, when a sample costs `cost` and a
 * task instance task_cost in addition; variances of task instances and of what differs between their samples. Infinite
 * where instances do not differ but cost something; NaN if unknown. */
double mv_best_lifetimes(double task, double sample, double cost, double task_cost);

/* --- a whole run (anatomy.c) -----------------------------------------------------------------------------------------
 */

struct mv_anatomy {
  const struct mv_tables *tables;
  double task_cost;
  struct mv_component **rows; /* [entries]: [settings][points + 1][MV_COMPONENTS]; NULL: not a nested design */
};
/* Reads the samples of all nested designs. Exit code; errors printed. Free it in any case. */
int mv_anatomy_make(struct mv_anatomy *, struct mv_tables *, double task_cost);
void mv_anatomy_free(struct mv_anatomy *);
/* What a component of an entry is called; NULL: its design has no such level. */
const char *mv_component_name(const struct mv_entry *, int level);
/* [points + 1][MV_COMPONENTS] of a setting. */
const struct mv_component *mv_anatomy_rows(const struct mv_anatomy *, int entry, int setting);
/* Lifetimes of one task instance and perturbations of one lifetime that are best by rows[MV_COMPONENTS]. */
void mv_anatomy_best(const struct mv_anatomy *, int entry, int setting, const struct mv_component *, double best[2]);
void mv_components_write(FILE *, const struct mv_anatomy *);
void mv_anatomy_print(FILE *, const struct mv_anatomy *);

#endif
