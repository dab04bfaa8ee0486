/* unroll.h - the walk over time: the one loop that calls task->step, written once.
 *
 * Estimators ask for a walk, forwards with tangents or back with adjoints, and watch it step by step; the walk knows no
 * estimator. All arrays of num hold one value a lane; lanes are independent replicates.
 */
#ifndef METAVAR_UNROLL_H
#define METAVAR_UNROLL_H

#include "metavar/stream.h"
#include "metavar/task.h"

/* Where the noise of each lane comes from. */
struct mv_coords {
  struct mv_key key;
  int64_t task[MV_LANES_MAX];     /* task instance, 0 <= task < MV_MAX_TASKS */
  int64_t lifetime[MV_LANES_MAX]; /* lifetime of that instance, 0 <= lifetime < MV_MAX_LIFETIMES */
  int64_t offset[MV_PURPOSES];    /* added to lifetime for one purpose: members of a pair that have own noise */
};

/* The lifetime coordinate that a purpose sees: a task instance is the same for all its lifetimes. */
static inline int64_t mv_coords_lifetime(const struct mv_coords *c, enum mv_purpose purpose, int lane)
{
  return (purpose == MV_FOR_TASK ? 0 : c->lifetime[lane]) + c->offset[purpose];
}

/* Forced histories, for enumeration: fills noise instead of the random streams. out[draw * lanes + lane].
 * MV_FOR_ACTION asks for `count` choices, as indices; every other purpose for `count` uniforms or normals. For
 * MV_FOR_WINDOW, `step` is T and the answer is the start itself. `walk` counts nothing: same place, same values. */
struct mv_forced {
  void (*fill)(void *self, enum mv_purpose, const int64_t *task, const int64_t *lifetime, int64_t step, int count,
               int lanes, double *out);
  void *self;
};

struct mv_problem {
  const struct mv_task *task;
  const void *settings; /* the task's */
  struct mv_shape shape;
  int64_t steps; /* N, lifetime length */
  enum mv_sampler sampler;
};

/* Where the lifetimes of a sample stop being finite, for one who looks into it: `replay`. Zero it before the sample. */
struct mv_trace {
  int64_t lifetimes;        /* simulated so far */
  bool found[MV_LANES_MAX]; /* then the first such lifetime of the lane, and its step after which a parameter, or */
  int64_t lifetime[MV_LANES_MAX]; /* the report, is not finite */
  int64_t step[MV_LANES_MAX];
};

struct mv_arena;

/* A block: columns inside a window [start, start + length) of each lane, all with one Hessian mode. Forwards a column is
 * the tangent along one meta-parameter; backwards it is the gradient of one weighted sum of reports. */
struct mv_block {
  enum mv_hessian hessian;
  int64_t length;
  int64_t start[MV_LANES_MAX];
  int columns;  /* backwards: how many; forwards there are M */
  num *eta_bar; /* backwards: [columns][meta], the gradients are added to it */
  /* Set by the walk, valid while the observer runs: */
  num *inside;              /* 1 in lanes inside their window, else 0 */
  bool active;              /* some lane is inside its window; if not, nothing is computed */
  struct mv_report *dot;    /* forwards: [meta] tangents of this step's report; zero in lanes outside their window */
  struct mv_report *weight; /* backwards: [columns] zeros, which the observer fills; lanes outside do not count */
  /* The walk's own: */
  num *theta_dot, *theta_bar; /* [meta][state], [columns][state] */
  num *partial;               /* [columns][meta]: eta_bar of a step at which some lanes are outside */
  bool *zero;                 /* [meta], the task's own: mv_columns.zero */
};

struct mv_walk {
  const struct mv_problem *problem;
  struct mv_coords coords;
  const struct mv_forced *forced; /* NULL: random */
  const num *eta;                 /* [meta], may differ by lane */
  int64_t first;                  /* the step to begin with; > 0: a lifetime that goes on, from `state` */
  int64_t steps;                  /* walk this many steps (<= problem->steps) */
  num *state;                     /* [state] theta at step `first`, no function of eta; becomes theta behind the last
                                     step. NULL: the lifetime begins, and nobody goes on with it */
  enum mv_hessian shadow;         /* the derivative that the shadow build's imaginary parts carry */
  bool no_expected;               /* nobody reads the tangents of report.expected */
  struct mv_block *blocks;        /* [block_count] */
  int block_count;
  struct mv_arena *arena;
  struct mv_trace *trace; /* NULL: nobody looks */
};

#ifdef MV_VARIANT /* each build of the kernel has its own */
#define mv_walk_run        MV_JOIN(mv_walk_run, , MV_VARIANT)
#define mv_walk_bytes      MV_JOIN(mv_walk_bytes, , MV_VARIANT)
#define mv_walk_back       MV_JOIN(mv_walk_back, , MV_VARIANT)
#define mv_walk_back_bytes MV_JOIN(mv_walk_back_bytes, , MV_VARIANT)
#define mv_record_bytes    MV_JOIN(mv_record_bytes, , MV_VARIANT)
#define mv_window_draw     MV_JOIN(mv_window_draw, , MV_VARIANT)
#define mv_direction_draw  MV_JOIN(mv_direction_draw, , MV_VARIANT)
#endif

/* Called after each step with the step's report. */
typedef void mv_observe(void *self, int64_t n, const struct mv_report *, struct mv_block *blocks);

void mv_walk_run(struct mv_walk *, mv_observe *, void *self);
size_t mv_walk_bytes(const struct mv_problem *, int block_count); /* arena bytes that one walk needs */

/* Called for each step that some window holds, last step first: sets block->weight of the active blocks.
 * before: R_{n-1}, 0 at n = 0. */
typedef void mv_weigh(void *self, int64_t n, const struct mv_report *, const num *before, struct mv_block *blocks);

/* Walks forwards, `observe` (with no blocks) told of each step once, and back through all steps from the first to the
 * last that a window holds: adds to eta_bar of every column the derivative of sum_n weight_n . report_n over the window of
 * each lane, with the state before the window held fixed. Keeps at most `records` steps, besides the one that it works
 * on, and evaluates steps again where these do not suffice (revolve.h); their number changes no bit. */
void mv_walk_back(struct mv_walk *, int64_t records, mv_observe *, mv_weigh *, void *self);
/* `columns` of all blocks together */
size_t mv_walk_back_bytes(const struct mv_problem *, int64_t records, int block_count, int columns);
size_t mv_record_bytes(const struct mv_shape *, int lanes); /* of one record, with so many lifetimes side by side */

/* Window start of each lane: uniform on {0 .. N - T}, drawn for this T alone. Of lifetimes that begin. */
void mv_window_draw(const struct mv_walk *, int64_t length, int64_t *start);

/* Standard normal directions z[meta] of each lane, for one antithetic pair; draw[lane] counts the replicates of a task
 * instance. */
void mv_direction_draw(const struct mv_walk *, const int64_t *draw, int64_t pair, num *z);

#endif
