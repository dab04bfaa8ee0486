/* simulate.h - what a farm of any number of ranks takes, by simulating its messages. */
#ifndef METAVAR_SIMULATE_H
#define METAVAR_SIMULATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Seconds of rank 0's main thread, unless said otherwise. */
struct mv_costs {
  double service;                   /* a result taken, the next unit given, the result handed on */
  double per_rank;                  /* more of it for every rank: MPI looks for a message from each */
  double per_byte;                  /* more of it for every byte of the result */
  double worker;                    /* of a worker: for each unit, besides computing it */
  double latency;                   /* of a message, one way */
  double commit;                    /* writing what has gathered, */
  double commit_byte;               /* more for every byte */
  double commit_group;              /* and for every group of units that follow each other, */
  double commit_wait;               /* when the oldest has waited so long, or as mv_commit_due (store.h) says */
  double finish_byte, finish_group; /* the same for making results.h5, when all is over */
  double spread;                    /* standard deviation of the logarithm of a unit's time around what was predicted */
};

/* As measured on two cores that had other work too, rounded up (src/README.md, Scale). */
extern const struct mv_costs mv_costs_usual;

/* Equal units that follow each other. */
struct mv_load {
  int64_t units;
  double seconds; /* of one */
  int64_t bytes;  /* of its result */
};

struct mv_forecast {
  double seconds;    /* from the first unit given to the last result handed on */
  double work;       /* seconds of computing, all ranks */
  double efficiency; /* work / (ranks seconds) */
  double tail;       /* share of all ranks' time after their last unit, */
  double master;     /* of rank 0 that does not compute, */
  double waiting;    /* and waiting for rank 0 or for messages; with efficiency they add up to 1 */
  double busy;       /* share of its time in which rank 0's main thread works, */
  double committing; /* and of that for commits */
  double finish;     /* more seconds in which results.h5 is made */
  double bytes;      /* of results */
  int64_t units, commits, groups;
};

/* The loads are handed out in this order. master_computes: as in farm.h. The same arguments give the same forecast. */
struct mv_forecast mv_simulate(const struct mv_costs *, const struct mv_load *, size_t loads, int ranks,
                               bool master_computes);

/* The shortest units, in seconds, with which so many ranks leave rank 0 most of its time. */
double mv_unit_seconds(const struct mv_costs *, int ranks);

#endif
