/* window.h - truncation windows of lanes. Kernel files only. */
#ifndef METAVAR_WINDOW_H
#define METAVAR_WINDOW_H

#include "metavar/estimator.h"
#include "metavar/math.h"

/* Lanes whose window [start, start + length) holds step n. */
static inline numb mv_window_holds(const int64_t *start, int64_t n, int64_t length)
{
  numi first;
  memcpy(&first, start, sizeof first);
  return numi_less((numi){0} + n, first + length) & ~numi_less((numi){0} + n, first);
}

/* x where inside, else 0 (whatever x is, NaN included). */
static inline num mv_keep(numb inside, num x) { return num_select(inside, x, num_set(0.0)); }

/* How estimators place their windows. */
enum mv_window { MV_WINDOW_RANDOM, MV_WINDOW_FIRST };
static const char *const mv_window_names[] = {"random", "first", NULL};
#define MV_WINDOW_DOC     "random: the window starts uniformly in {0 .. N-T}; first: it starts at step 0"
#define MV_TRUNCATION_DOC "truncation lengths T: steps in a window; [] means the whole lifetime"

static inline void mv_window_place(const struct mv_walk *w, enum mv_window kind, int64_t length, int64_t *start)
{
  for (int l = 0; l < MV_LANES_MAX; l++)
    start[l] = w->first;
  if (kind == MV_WINDOW_RANDOM && length < w->problem->steps)
    mv_window_draw(w, length, start);
}

/* Mean number of steps from the start of the lifetime to the window's end. */
static inline double mv_window_reach(const struct mv_problem *p, enum mv_window kind, int64_t length)
{
  return (double)length + (kind == MV_WINDOW_RANDOM ? 0.5 * (double)(p->steps - length) : 0.0);
}

/* Weight of step n in the window-weighted objective: P(n in window) / T. */
static inline double mv_window_weight(const struct mv_problem *p, enum mv_window kind, int64_t length, int64_t n)
{
  if (kind == MV_WINDOW_FIRST)
    return n < length ? 1.0 / (double)length : 0.0;
  int64_t last = p->steps - length, low = n - length + 1 > 0 ? n - length + 1 : 0, high = n < last ? n : last;
  return (double)(high - low + 1) / ((double)(last + 1) * (double)length);
}

/* Steps from the lifetime's start that the window-weighted objective has weight on. */
static inline int64_t mv_window_span(const struct mv_problem *p, enum mv_window kind, int64_t length)
{
  return kind == MV_WINDOW_FIRST ? length : p->steps;
}

/* The objective of a window of this length; with the whole lifetime it is J. */
static inline struct mv_aim mv_window_aim(const struct mv_problem *p, enum mv_window kind, int64_t length,
                                          double smoothing, bool unbiased)
{
  return (struct mv_aim){unbiased, length, length < p->steps ? (int)kind : 0, smoothing};
}

/* weight times x; steps outside every window, of weight 0, add nothing, whatever x is. */
static inline num mv_window_share(double weight, num x)
{
  if (weight == 0.0)
    return num_set(0.0);
  return weight * x;
}

/* Settings hook: an empty list of truncation lengths becomes {N}; lengths beyond the lifetime and repetitions are
 * refused. */
static inline void mv_truncation_complete(struct mv_ints *truncation, const struct mv_problem *p,
                                          struct mv_complaints *c)
{
  if (truncation->count == 0)
    *truncation = (struct mv_ints){1, {p->steps}};
  for (int i = 0; i < truncation->count; i++) {
    if (truncation->value[i] > p->steps)
      mv_complain(c, "truncation", "truncation length %lld exceeds lifetime_length %lld; use at most %lld",
                  (long long)truncation->value[i], (long long)p->steps, (long long)p->steps);
    for (int j = 0; j < i; j++)
      if (truncation->value[i] == truncation->value[j])
        mv_complain(c, "truncation", "truncation length %lld is listed twice; remove one",
                    (long long)truncation->value[i]);
  }
}

#define MV_AXIS_TRUNCATION(list)                                                                                       \
  {                                                                                                                    \
    .name = "truncation", .kind = MV_AXIS_INTS, .length = (list)->count, .value.ints = (list)->value,                  \
    .unit = "inner steps", .doc = "truncation length T"                                                                \
  }

/* --- window averages of the objective of one lifetime: what perturbation estimators need ------------------------- */

struct mv_window_sums {
  const struct mv_ints *truncation;
  int64_t (*start)[MV_LANES_MAX]; /* [truncation] */
  num *window;                    /* [truncation] sums, then means, of R_n inside each window */
  num all;                        /* sum of R_n over the lifetime */
};

static inline void mv_window_sums_add(void *self, int64_t n, const struct mv_report *r, struct mv_block *blocks)
{
  (void)blocks;
  struct mv_window_sums *sums = self;
  sums->all += r->objective;
  for (int t = 0; t < sums->truncation->count; t++)
    sums->window[t] += mv_keep(mv_window_holds(sums->start[t], n, sums->truncation->value[t]), r->objective);
}

/* Walks one whole lifetime; window[t] = F_t = (1/T) sum of R_n over its window. */
static inline void mv_window_means(struct mv_walk *walk, struct mv_window_sums *sums)
{
  sums->all = num_set(0.0);
  for (int t = 0; t < sums->truncation->count; t++)
    sums->window[t] = num_set(0.0);
  mv_walk_run(walk, mv_window_sums_add, sums);
  for (int t = 0; t < sums->truncation->count; t++)
    sums->window[t] *= 1.0 / (double)sums->truncation->value[t];
}

/* A walk over the whole lifetime, or the next window, of a request's replicates; coordinates and state of the first of
 * `lifetimes` lifetimes. */
static inline struct mv_walk mv_request_walk(const struct mv_request *r, int64_t lifetimes, const num *eta)
{
  struct mv_walk w = {.problem = r->problem,
                      .forced = r->forced,
                      .eta = eta,
                      .first = r->first,
                      .steps = r->problem->steps,
                      .state = r->state,
                      .arena = r->arena,
                      .trace = r->trace};
  w.coords.key = r->key;
  for (int l = 0; l < MV_LANES_MAX; l++) {
    w.coords.task[l] = r->task[l];
    w.coords.lifetime[l] = r->lifetime[l] * lifetimes;
  }
  return w;
}

/* The same of the next lifetime. */
static inline void mv_walk_next(struct mv_walk *w)
{
  for (int l = 0; l < MV_LANES_MAX; l++)
    w->coords.lifetime[l]++;
  if (w->state)
    w->state += w->problem->shape.state;
}

#endif
