/* schedule.h - which replicates are still missing, and in which pieces they are handed out. */
#ifndef METAVAR_SCHEDULE_H
#define METAVAR_SCHEDULE_H

#include "metavar/plan.h"
#include "metavar/simulate.h"

/* That of run and train, in which the other ranks have nothing to do; units that shrink forgive what is wrong. */
#define MV_CALIBRATION_SECONDS 0.1

/* Seconds per replicate of every entry on this machine, measured in about `budget` seconds (at least one lane group
 * each; entries that the budget does not reach are scaled by plan->work). seconds[entry_count]. Returns the seconds it
 * took. */
double mv_calibrate(const struct mv_plan *, double budget, double *seconds);

struct mv_schedule;
struct mv_schedule *mv_schedule_create(const struct mv_plan *);
void mv_schedule_free(struct mv_schedule *);

/* These replicates are committed already: units that fit the plan, in any order, overlaps allowed. The first argument is
 * a struct mv_schedule, so that this is a visitor for mv_store_committed. Marks end with the cut. */
void mv_schedule_mark(void *schedule, const struct mv_unit *);

/* What is missing, to be handed out to so many ranks. seconds[entry_count] per replicate. */
void mv_schedule_cut(struct mv_schedule *, const double *seconds, int ranks);

/* Replicates that are not marked. */
int64_t mv_schedule_samples(const struct mv_schedule *);

/* After the cut. Units shrink towards the end; ranges of replicates with the longest pieces come first, ties by cell and
 * replicate. Unit boundaries never change a result. */
bool mv_schedule_next(struct mv_schedule *, struct mv_unit *); /* false: none left */
/* All units, in their order; malloc'ed. */
struct mv_load *mv_schedule_loads(const struct mv_schedule *, size_t *count);
double mv_schedule_longest(const struct mv_schedule *); /* predicted seconds of the longest unit */
double mv_schedule_seconds(const struct mv_schedule *); /* predicted, of all units on one core */

#endif
