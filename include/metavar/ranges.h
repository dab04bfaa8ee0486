/* ranges.h - sets of replicates: what is committed and what is missing. */
#ifndef METAVAR_RANGES_H
#define METAVAR_RANGES_H

#include "metavar/plan.h"

struct mv_ranges { /* zeros: the empty set */
  size_t count, capacity;
  struct mv_unit *range; /* by cell and replicate; no two overlap or touch */
  int64_t samples;       /* replicates in all of them */
};

void mv_ranges_free(struct mv_ranges *);

/* Adds replicates, whether some are there already or not. */
void mv_ranges_add(struct mv_ranges *, const struct mv_unit *);

/* Calls visit for every range of the unit's replicates that the set lacks, in order. */
void mv_ranges_gaps(const struct mv_ranges *, const struct mv_unit *,
                    void (*visit)(void *self, const struct mv_unit *gap), void *self);

/* Replicates that all cells of a plan are to have together. */
int64_t mv_plan_samples(const struct mv_plan *);
/* Those of them that the set lacks. */
int64_t mv_plan_missing(const struct mv_plan *, const struct mv_ranges *);

#endif
