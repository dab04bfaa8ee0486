/* again.h - a unit of a finished run, computed once more: what `verify` and `replay` compare with. */
#ifndef METAVAR_AGAIN_H
#define METAVAR_AGAIN_H

#include "metavar/store.h"

struct mv_again;
struct mv_again *mv_again_create(const struct mv_plan *);
void mv_again_free(struct mv_again *);

/* Follows samples of a measurement (mv_worker_watch). */
void mv_again_watch(struct mv_again *, struct mv_trace *);

/* The result (sample.h) of a unit, malloc'ed. In training the unit is one update, made from the update before as
 * `results` has it, or, with lifetimes that are carried, from the start of its curve; NULL if that cannot be read, told. */
void *mv_again_compute(struct mv_again *, const struct mv_results *, const struct mv_unit *, size_t *size);

#endif
