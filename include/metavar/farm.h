/* farm.h - rank 0 hands out work, everybody computes. Moves byte strings; does not know what a unit means. */
#ifndef METAVAR_FARM_H
#define METAVAR_FARM_H

#include "metavar/comm.h"

enum mv_next {
  MV_NEXT_NONE,  /* none left */
  MV_NEXT_UNIT,  /* here it is */
  MV_NEXT_LATER, /* the next one depends on some that are under way: ask again when one has come back */
};

struct mv_farm {
  void *self;
  /* Rank 0, main thread. Writes the next unit into unit[unit_size]. */
  enum mv_next (*next)(void *self, void *unit);
  /* Rank 0, main thread, when next() has run dry and every result is in; may take a while. Whether next() has more now.
   * NULL: never. */
  bool (*more)(void *self);
  /* Rank 0, main thread. One finished result; every unit's comes here at most once. False: give up (the caller knows
   * why), stop all ranks in good order. */
  bool (*done)(void *self, const void *result, size_t size);
  /* Rank 0, main thread, about every 100 ms: progress, commits, signals. False: hand out no more units, collect what is
   * under way, return. */
  bool (*tick)(void *self);
  size_t unit_size;
  /* Rank 0, main thread, whenever a unit is given to a rank: what travels with it and is too large to wait in memory.
   * Returns its bytes, and writes them if there is a place for them. NULL: nothing. */
  size_t (*load)(void *self, const void *unit, void *out);
  /* Any rank, in its compute thread. Computes unit, its load behind it, into *result (malloc'ed buffer that grows,
   * *capacity); returns its size. */
  size_t (*compute)(void *self, const void *unit, void **result, size_t *capacity);
  bool master_computes; /* rank 0 computes too, in a thread of its own; always true for one rank */

  /* Watchdog. A rank that brings no result for `patience` seconds, or for 8 times the longest that any has taken, is
   * silent: others get its units. When it answers after all, what is new counts and what is late does not. patience must
   * exceed what a unit can take. */
  double patience;
  void (*silent)(void *self, int rank, double seconds, int units); /* rank 0: it has these units */
  void (*heard)(void *self, int rank);                             /* rank 0: it has answered again */
  /* Other ranks, which hear from rank 0 at least every few seconds: nothing for master_patience seconds. Must not
   * return. */
  double master_patience;
  void (*orphan)(void *self, double seconds);
};

/* The load of a unit; 0: it has none. */
static inline size_t mv_farm_load(const struct mv_farm *farm, const void *unit, void *out)
{
  return farm->load ? farm->load(farm->self, unit, out) : 0;
}

/* Every rank calls this with the same struct (workers use compute, unit_size and orphan only). Each rank holds one unit
 * at work and the next one waiting. Returns when all work is done or given up; true if next() and more() ran dry and all
 * results arrived. With ranks that are silent then, comm goes on as after mv_comm_lose. */
bool mv_farm_run(struct mv_comm *, const struct mv_farm *);

#endif
