/* revolve.h - how a chain of steps is walked backwards with few of them kept (binomial checkpointing; Griewank &
 * Walther 2000).
 *
 * A record keeps theta_n and, once step n has been evaluated from it, what that step left for its derivative. Left to
 * walk back is a segment of l steps whose first is held in a record; s records are free, that one included. The rule: go on by
 * mv_revolve_split(l, s) steps, keep the state there with what that leaves, walk the right part back with s - 1
 * records, and the left part with s. A part of one step takes no record. With
 *   beta(s, r) = (s + r)! / (s! r!)
 * a chain of l <= beta(s, r) steps is walked back with no step evaluated more than r times.
 */
#ifndef METAVAR_REVOLVE_H
#define METAVAR_REVOLVE_H

#include <stdint.h>

/* The most evaluations of any one step: the smallest r with length <= beta(records, r). 1: all are kept. */
int64_t mv_revolve_repetitions(int64_t length, int64_t records);

/* Steps of the left part, 1 .. length - 1, of a segment of length >= 2 with records >= 1. */
int64_t mv_revolve_split(int64_t length, int64_t records);

/* Evaluations of steps in all, the first sweep included: length if all are kept. */
double mv_revolve_evaluations(int64_t length, int64_t records);

#endif
