/* launch.h - what `run` and `train` have in common: one job on all ranks, a run directory, the farm, a good end. */
#ifndef METAVAR_LAUNCH_H
#define METAVAR_LAUNCH_H

#include "metavar/command.h"
#include "metavar/deadline.h"
#include "metavar/farm.h"
#include "metavar/progress.h"
#include "metavar/run_options.h"

/* Beyond so many ranks, rank 0 had better serve the others without delay. */
#define MV_RANKS_COMPUTING_MASTER 64

struct mv_launch {
  const struct mv_undertaking *what;
  struct mv_run_options options;
  /* all ranks */
  struct mv_comm *comm;
  struct mv_job *job;
  struct mv_plan *plan;
  int hands; /* ranks that compute */
  /* rank 0 */
  struct mv_store *store;
  struct mv_meter meter;
  struct mv_deadline deadline;
  struct mv_seat *seat; /* [ranks] */
  bool late;            /* another unit would not be back before the deadline */
  bool asked;           /* metavar stop */
  bool missing;         /* something was, at the start */
  int exit_code;        /* the store's, when it failed under way */
};

/* What the ranks do. Every hook gets the struct of the verb, whose first member is its struct mv_launch. */
struct mv_undertaking {
  const char *verb, *other; /* its name, and that of the verb for the other kind of job */
  bool trains;              /* the jobs it takes: with or without `train:` */
  size_t size;              /* of the verb's struct */
  /* Rank 0, the store is open: whether something is missing. Exit code. */
  int (*begin)(void *self, bool *missing);
  /* All ranks, something is missing. On rank 0 starts the meter, and returns the seconds that the longest unit takes. */
  double (*start)(void *self);
  size_t (*unit_size)(const void *self);
  /* The farm's hooks. */
  enum mv_next (*next)(void *self, void *unit);
  bool (*more)(void *self); /* may be NULL */
  bool (*done)(void *self, const void *result, size_t size);
  size_t (*compute)(void *self, const void *unit, void **result, size_t *capacity);
  size_t (*load)(void *self, const void *unit, void *out); /* may be NULL */
  /* Rank 0, before the last commit: gives the store what is still held back. May be NULL. */
  void (*flush)(void *self);
  void (*release)(void *self);
};

/* The verb, from its command line. Exit code. */
int mv_launch(const struct mv_undertaking *, const struct mv_args *);

/* Rank 0, in `next`: whether a unit of so many predicted seconds may still be handed out. */
bool mv_launch_admit(struct mv_launch *, double predicted);
/* Rank 0, in `done`: it is back, after so many seconds of work. */
void mv_launch_back(struct mv_launch *, double predicted, double seconds);
/* Rank 0: a result for the store. False: the store has failed. */
bool mv_launch_store(struct mv_launch *, const void *result, size_t size);

/* Options that both verbs have. */
#define MV_LAUNCH_OPTIONS                                                                                              \
  {"output", 'o', "RUN", "the run directory, created if it is not there"},                                             \
      {"set", 's', "KEY=VALUE",                                                                                        \
       "replace a setting of the job file, as in seed=7 or estimators.0.sigma=0.2; may be repeated"},                  \
      {"progress", 'p', "SECONDS", "time between progress lines where stderr is no terminal (default 60)"},            \
      {"master-computes", 0, "WORD",                                                                                   \
       "whether rank 0 computes too, beside handing out work: yes, no or auto (default)"},                             \
      {"max-time", 't', "TIME",                                                                                        \
       "leave in good order before so much time has passed since the start: 90s, 10m, 2h, 1-00:00:00"},                \
  {                                                                                                                    \
    "quiet", 'q', NULL, "no progress lines"                                                                            \
  }

#endif
