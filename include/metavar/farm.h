/* farm.h - rank 0 hands out work, everybody computes. Moves byte strings; does not know what a unit means. */
#ifndef METAVAR_FARM_H
#define METAVAR_FARM_H

#include "metavar/comm.h"

struct mv_farm {
  void *self;
  /* Rank 0, main thread. Writes the next unit into unit[unit_size]; false: none left. */
  bool (*next)(void *self, void *unit);
  /* Rank 0, main thread. One finished result. False: give up (the caller knows why), stop all ranks in good order. */
  bool (*done)(void *self, const void *result, size_t size);
  /* Rank 0, main thread, about every 100 ms: progress, commits, signals. False: hand out no more units, collect what is
   * under way, return. */
  bool (*tick)(void *self);
  size_t unit_size;
  /* Any rank, in its compute thread. Computes unit into *result (malloc'ed buffer that grows, *capacity); returns its
   * size. */
  size_t (*compute)(void *self, const void *unit, void **result, size_t *capacity);
  bool master_computes; /* rank 0 computes too, in a thread of its own; always true for one rank */
};

/* Every rank calls this with the same struct (workers use compute and unit_size only). Each worker holds one unit at
 * work and the next one waiting. Returns on every rank when all work is done or given up; true if next() ran dry and
 * all results arrived. */
bool mv_farm_run(struct mv_comm *, const struct mv_farm *);

#endif
