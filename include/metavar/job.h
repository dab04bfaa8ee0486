/* job.h - a job file, read, checked and completed. */
#ifndef METAVAR_JOB_H
#define METAVAR_JOB_H

#include "metavar/kernel.h"

enum mv_store_kind { MV_STORE_SAMPLES, MV_STORE_MOMENTS };
enum mv_optimizer { MV_SGD, MV_ADAM };
enum mv_lifetimes { MV_FRESH, MV_CARRIED };

/* `train:`, the outer loop on eta (outer.c); eta then holds the starting points. */
struct mv_train {
  int64_t updates; /* 0: there is no `train:`, the job measures */
  int64_t seeds;   /* curves from one start with one estimator, each with its own random numbers */
  int optimizer;   /* enum mv_optimizer */
  double learning_rate, momentum, epsilon;
  struct mv_reals betas; /* adam: two */
  int64_t evaluate_every, evaluate_replicates;
  int lifetimes; /* enum mv_lifetimes: at each update new ones, or the same go on for another lifetime_length steps */
};

/* One row of `estimators:`. A list given to a scalar setting makes one entry per value. */
struct mv_entry {
  char label[MV_NAME_MAX + 1];        /* unique; group name in results.h5; default: the estimator's name */
  int64_t replicates;                 /* per eta point; with a stopping rule, at most */
  int store;                          /* enum mv_store_kind */
  int64_t lifetimes_per_task;         /* nested design: replicate r has perturbation r % P, */
  int64_t perturbations_per_lifetime; /* lifetime (r / P) % L, task instance r / (P L) */
  const struct mv_estimator *estimator;
  void *settings;
  /* training: which gradient is followed, base + lambda component, and how fast (0: as train.learning_rate says) */
  double lambda, learning_rate;
};

/* Replicates per task instance. */
static inline int64_t mv_entry_nest(const struct mv_entry *e)
{
  return e->lifetimes_per_task * e->perturbations_per_lifetime;
}

/* When a cell has replicates enough (rounds.h): `stop:`. */
enum mv_statistic { MV_STATISTIC_VARIANCE, MV_STATISTIC_GRADIENT };
extern const char *const mv_statistic_names[]; /* "variance", "gradient", NULL */
struct mv_stopping {
  double relative_error; /* of the statistic; 0: no rule, every cell gets its entry's replicates */
  int statistic;         /* enum mv_statistic */
  int64_t first_round;   /* replicates of a cell before the first decision: whole blocks */
};

struct mv_job {
  char name[MV_NAME_MAX + 1];
  uint64_t seed;
  int64_t lifetime_length; /* N */
  int sampler;             /* enum mv_sampler, inverse_cdf or gumbel */
  int64_t block;           /* replicates in one block of moments, aligned on replicate ids */
  int64_t unit;            /* replicates in a work unit; 0: chosen from a calibration. Never changes a result. */

  struct mv_stopping stop;

  const struct mv_kernel *kernel; /* whose tasks and estimators these are: the one given to the reader */
  const struct mv_task *task;
  void *task_settings;
  struct mv_problem problem; /* points into the job */

  int meta;    /* M */
  int points;  /* eta points; training: curves of one entry, curve = start * train.seeds + seed */
  double *eta; /* [points][meta] */
  int *grid;   /* [meta] lengths of the axes if eta is a grid (first axis slowest), else NULL */

  int entry_count;
  struct mv_entry *entries;

  struct mv_train train;
  struct mv_entry held_out; /* training: the objective at unperturbed eta */

  char *text; /* the file, verbatim, then the --set lines as comments */
};

/* Reads a job: the file at path with `overrides` ("estimators.0.sigma=0.2", "seed=7") applied. Tasks and estimators
 * come from the given kernel. On error prints every problem as "path:line:column: message" to `report` (FILE) and
 * returns NULL. */
struct mv_job *mv_job_read(const char *path, const char *const *overrides, int override_count, const struct mv_kernel *,
                           void *report);
/* The same from memory; `name` stands for the path in messages. */
struct mv_job *mv_job_parse(const char *name, const char *text, size_t length, const char *const *overrides,
                            int override_count, const struct mv_kernel *, void *report);
void mv_job_free(struct mv_job *);

/* Number of the entry with this label; -1 none, which a verb tells, with those that there are (NULL: silent). */
int mv_job_find(const struct mv_job *, const char *label, const char *verb);

/* Canonical job file, every default filled in, keys in table order: reading it back gives the same job. With
 * identity_only, keys that change no result (name, unit) or only extend it (replicates, stop) are left out: text to compare,
 * not to read. malloc'ed. */
char *mv_job_canonical(const struct mv_job *, bool identity_only);

/* Rows of a cell in the store: replicates; in training updates 0 .. train.updates, the last of which is not applied. */
static inline int64_t mv_job_rows(const struct mv_job *job, int entry)
{
  return job->train.updates ? job->train.updates + 1 : job->entries[entry].replicates;
}

/* Training: size of a step of an entry's curves. */
static inline double mv_entry_rate(const struct mv_job *job, const struct mv_entry *e)
{
  return e->learning_rate > 0 ? e->learning_rate : job->train.learning_rate;
}

/* Whether the lifetimes of a curve go on from update to update (curves.c). */
static inline bool mv_job_carries(const struct mv_job *job)
{
  return job->train.updates > 0 && job->train.lifetimes == MV_CARRIED;
}

/* The tables behind a job file, for `describe`. */
extern const struct mv_field mv_job_fields[];
extern const struct mv_field mv_stop_fields[];
extern const struct mv_field mv_entry_fields[];
extern const struct mv_field mv_train_fields[];    /* of struct mv_train */
extern const struct mv_field mv_followed_fields[]; /* of entries, beside mv_entry_fields, in training */

#endif
