/* estimator.h - what an estimator is: settings in, one named bundle of outputs per replicate out.
 *
 * A file in src/estimators/ is an estimator. It exports one symbol through MV_ESTIMATOR(name), asks for walks
 * (unroll.h) and combines what it sees. It never calls a task itself, takes memory only from the arena, and knows
 * nothing of MPI, HDF5 or files. Every gradient is the gradient of J, which is maximised.
 */
#ifndef METAVAR_ESTIMATOR_H
#define METAVAR_ESTIMATOR_H

#include "metavar/arena.h"
#include "metavar/field.h"
#include "metavar/shaping.h"
#include "metavar/unroll.h"

#define MV_AXES_MAX    4
#define MV_OUTPUTS_MAX 12

enum mv_axis_kind { MV_AXIS_INTS, MV_AXIS_REALS, MV_AXIS_NAMES };

struct mv_axis {
  const char *name; /* name of the netCDF dimension, "truncation" */
  enum mv_axis_kind kind;
  int length;
  union {
    const int64_t *ints;
    const double *reals;
    const char *const *names;
  } value; /* [length], owned by the settings; NULL: 0, 1, 2, ... */
  const char *unit, *doc;
};

enum mv_role {
  MV_GRADIENT,  /* an estimate of grad J by itself; last axis: meta_parameter */
  MV_COMPONENT, /* base + coefficient * this is an estimate of grad J; shares the leading axes of its base */
  MV_TARGET,    /* an unbiased estimate of the gradient of another objective (window-weighted) */
  MV_OBJECTIVE, /* mean objective of the replicate; scalar */
  MV_NOTE,      /* whole numbers that describe the sample (window starts); no statistics are made of them */
  MV_RECORD,    /* likewise, but not whole; may be NaN in a sample that is fine */
  MV_FITNESS /* likewise: objectives of the members of a population, which training shapes over an update's replicates */
};

struct mv_output {
  const char *name, *doc, *unit;
  enum mv_role role;
  int base; /* MV_COMPONENT: index of its base output */
  int rank;
  struct mv_axis axis[MV_AXES_MAX];
};

/* The objective that a gradient is about: the mean of R_n over a window, smoothed over eta. */
struct mv_aim {
  bool unbiased;    /* the gradient's mean is that objective's gradient, exactly */
  int64_t length;   /* steps of the window; N: the whole lifetime, J itself */
  int window;       /* how it is placed (enum mv_window); 0 for the whole lifetime */
  double smoothing; /* sigma of the perturbation N(0, sigma^2 I) that it is averaged over; 0: none */
};

enum mv_needs { MV_NEEDS_NOTHING = 0, MV_NEEDS_DERIVATIVE = 1 }; /* step_jvp or step_vjp */

/* What a walk back over the whole lifetime keeps. */
struct mv_reversal {
  int64_t records;    /* steps kept */
  size_t bytes;       /* that they take in one rank */
  double evaluations; /* of each step, on average */
};

/* One call: up to `lanes` replicates at one eta point. */
struct mv_request {
  const struct mv_problem *problem;
  const void *settings; /* the estimator's */
  const double *eta;    /* [meta] nominal values */
  struct mv_key key;
  int count;                      /* live lanes; the others repeat the last one and are thrown away */
  int64_t task[MV_LANES_MAX];     /* coordinates of each lane's replicate */
  int64_t lifetime[MV_LANES_MAX]; /* index of the lifetime draw within the task instance */
  int64_t draw[MV_LANES_MAX];     /* index of the replicate within the task instance: r % (P L) */
  const struct mv_forced *forced; /* NULL: random */
  int64_t update;                 /* of a training, else 0 */
  int64_t first;                  /* the inner step at which the lifetimes begin or, if > 0, go on */
  num *state;                     /* [lifetimes][state] of task: mv_walk.state of each; NULL: nobody goes on */
  const num *fitness;             /* shaped, of every member: follow these and simulate nothing; NULL: simulate */
  struct mv_arena *arena;
  struct mv_trace *trace; /* NULL: nobody looks */
  num *values;            /* out: all outputs one after the other, each row-major: [mv_layout.values] */
};

struct mv_estimator {
  const char *name; /* the file's name */
  const char *doc;
  const struct mv_field *fields;
  size_t settings_size;
  unsigned needs; /* enum mv_needs */
  bool perturbs;  /* has a perturbation level: a nested design may repeat it */
  bool carries;   /* its lifetimes can go on from window to window: mv_request.state */

  /* Settings that contradict each other or the problem; fills in derived defaults (an empty list of truncation lengths
   * becomes {N}). */
  void (*complete)(void *settings, const struct mv_problem *, struct mv_complaints *);
  /* Fills out[MV_OUTPUTS_MAX] and returns their number. Order: gradients, components and targets, then the objective,
   * then notes and records. An estimator of the objective gives nothing else. The last axis of gradients, components and
   * targets has length M and may be left to the framework (rank excludes it). */
  int (*outputs)(const void *settings, const struct mv_problem *, struct mv_output *out);
  /* What a run of each single setting alone would cost, averaged over window starts, per replicate: primal[] and
   * tangent[] in inner steps, over the leading axes (without gamma-like free axes) of output 0; returns the number of
   * those axes. */
  int (*cost)(const void *settings, const struct mv_problem *, double *primal, double *tangent);
  /* What one M-vector of an output is an estimate of; index: along the output's leading axes; lambda: coefficient of a
   * component. NULL: nothing is known. */
  struct mv_aim (*aim)(const void *settings, const struct mv_problem *, int output, const int *index, double lambda);
  /* Lifetimes (indices into mv_coords.lifetime) that one replicate uses. */
  int64_t (*lifetimes)(const void *settings, const struct mv_problem *);
  size_t (*workspace)(const void *settings, const struct mv_problem *); /* arena bytes of one sample() */
  /* Inner-step equivalents that one replicate really takes here, all settings jointly: orders and sizes work units. */
  double (*work)(const void *settings, const struct mv_problem *);
  /* Fills in what its walks back keep; false if it walks forwards alone. NULL: it never walks back. */
  bool (*reversal)(const void *settings, const struct mv_problem *, struct mv_reversal *);
  void (*sample)(const struct mv_request *);
  /* How the members of a population are shaped; NULL: they never are. Else there is an output of role MV_FITNESS. */
  enum mv_shaping (*shaping)(const void *settings);
};

/* Whether the estimator can run on the task. */
static inline bool mv_pair_valid(const struct mv_task *task, const struct mv_estimator *estimator)
{
  return task->step_jvp || task->step_vjp || !(estimator->needs & MV_NEEDS_DERIVATIVE);
}

static inline enum mv_shaping mv_shaping_of(const struct mv_estimator *e, const void *settings)
{
  return e->shaping ? e->shaping(settings) : MV_SHAPING_NONE;
}

#ifdef MV_VARIANT
#define MV_ESTIMATOR(name) const struct mv_estimator MV_JOIN(mv_estimator_, name, MV_VARIANT)
#endif

#endif
