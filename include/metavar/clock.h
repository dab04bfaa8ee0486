/* clock.h - time as seconds. */
#ifndef METAVAR_CLOCK_H
#define METAVAR_CLOCK_H

#include <time.h>

/* For durations: never set back. */
static inline double mv_clock_monotonic(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Since the epoch: for labels only. */
static inline double mv_clock_wall(void)
{
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
