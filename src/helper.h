/* helper.h - a thread that computes units while the main thread does messages. Never touches MPI. */
#ifndef METAVAR_HELPER_H
#define METAVAR_HELPER_H

#include <pthread.h>

#include "metavar/farm.h"

#define MV_PLACES 2 /* units that one rank holds: one at work, one waiting */

enum mv_place_state { MV_PLACE_FREE, MV_PLACE_WAITING, MV_PLACE_FINISHED };

struct mv_place {
  enum mv_place_state state;
  void *unit;
  size_t room; /* for the unit and its load */
  void *result;
  size_t size, capacity;
};

/* Places are filled, computed and emptied in turn. */
struct mv_helper {
  const struct mv_farm *farm;
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t work, finished; /* to the thread, to the main thread */
  struct mv_place place[MV_PLACES];
  int fill, empty; /* the main thread's next places */
  bool leave;
};

void mv_helper_start(struct mv_helper *, const struct mv_farm *);
void mv_helper_stop(struct mv_helper *); /* computes what it holds to the end */

/* Hands over a copy of a unit, and its load. The caller sees to it that at most MV_PLACES are under way. */
void mv_helper_give(struct mv_helper *, const void *unit);
/* The oldest unit's result if it is finished, else NULL; then mv_helper_release. */
const struct mv_place *mv_helper_result(struct mv_helper *);
void mv_helper_release(struct mv_helper *);
/* Sleeps so long, or until a unit is finished. */
void mv_helper_wait(struct mv_helper *, double seconds);

#endif
