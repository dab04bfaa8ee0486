/* lifetime.h - the primal of one walk: its noise, its task instance, its steps. Kernel files only. */
#ifndef METAVAR_LIFETIME_H
#define METAVAR_LIFETIME_H

#include "metavar/noise.h"

struct mv_lifetime {
  const struct mv_walk *walk;
  struct mv_counter counter[MV_PURPOSES];
  num *uniform, *normal, *choice; /* noise is drawn into these */
  real *forced;
  struct mv_life life;
};

#define mv_lifetime_bytes MV_JOIN(mv_lifetime_bytes, , MV_VARIANT)
#define mv_lifetime_open  MV_JOIN(mv_lifetime_open, , MV_VARIANT)
#define mv_lifetime_step  MV_JOIN(mv_lifetime_step, , MV_VARIANT)

size_t mv_lifetime_bytes(const struct mv_problem *); /* arena bytes that mv_lifetime_open takes */

/* Draws the task instance, and theta[state] of the walk's first step unless that is given. */
void mv_lifetime_open(struct mv_lifetime *, const struct mv_walk *, num *theta);

/* Step n, as often as one likes: its noise is addressed by n, so the same theta gives the same bits. */
void mv_lifetime_step(struct mv_lifetime *, int64_t n, const num *theta, num *theta_next, num *tape,
                      struct mv_report *);

#endif
