/* sample.h - what a worker sends back for one unit: a byte string that only worker.c and the store understand.
 *
 * struct mv_result_head, then, native byte order, no gaps:
 *   samples: double values[count][layout.values]; int8_t status[count], padded with zeros to 8 bytes
 *   moments: per field, over nb = ceil(count / block) blocks:
 *     int64_t count[nb]                      finite samples in the block
 *     int64_t nonfinite[nb]                  samples left out because some value is not finite
 *     double  mean[nb][moments]              NaN when no sample is finite
 *     double  comoment[nb][pairs]            sum over finite samples of (x_i - mean_i)(x_j - mean_j), i <= j, row-major
 *     double  largest[nb][vectors][MV_LARGEST]     largest squared norms, descending; -1 where fewer
 *     int64_t largest_id[nb][vectors][MV_LARGEST]  their replicate ids; -1 where fewer
 */
#ifndef METAVAR_SAMPLE_H
#define METAVAR_SAMPLE_H

#include "metavar/plan.h"

enum mv_status { MV_OK = 0, MV_NONFINITE = 1, MV_ABSENT = 2 /* results.h5 alone: a cell has fewer replicates */ };

struct mv_result_head {
  struct mv_unit unit;
  int64_t bytes;     /* of the whole result, head included */
  int64_t nonfinite; /* samples in it with status MV_NONFINITE */
  double seconds;    /* wall time: provenance only */
};

/* Pointers into a result. */
struct mv_result {
  const struct mv_result_head *head;
  const double *values;
  const int8_t *status;
  int64_t blocks;
  const int64_t *count, *nonfinite;
  const double *mean, *comoment, *largest;
  const int64_t *largest_id;
};

/* Whether the job has such a unit: replicates that exist, moments in whole blocks. */
bool mv_unit_fits(const struct mv_plan *, const struct mv_unit *);

/* Size of the result of a unit; and the view of one. Returns false when the bytes do not fit the plan. */
size_t mv_result_bytes(const struct mv_plan *, const struct mv_unit *);
bool mv_result_view(const struct mv_plan *, const void *bytes, size_t size, struct mv_result *);

/* Moments of `count` samples values[count][layout.values], status[count], whose first replicate id is `first`. Two
 * passes in replicate order, so the bits depend on nothing else. Outputs as one block of the table above. */
void mv_moments_make(const struct mv_layout *, const double *values, const int8_t *status, int64_t first, int64_t count,
                     int64_t *finite, int64_t *nonfinite, double *mean, double *comoment, double *largest,
                     int64_t *largest_id);

/* A worker: the plan, the kernel and one arena. */
struct mv_worker;
struct mv_worker *mv_worker_create(const struct mv_plan *);
void mv_worker_free(struct mv_worker *);
size_t mv_worker_memory(const struct mv_plan *); /* bytes that a worker allocates */
/* Samples of replicates [first, first + count) of an entry at any eta, with random numbers of this key, into rows[count]
 * [layout.values] and status[count]. Returns how many are not finite. fitness[count][members], shaped: nothing is
 * simulated, and the gradients follow it; NULL: the samples themselves. update: of a training, else 0.
 * state[count][lifetimes][state], where lifetimes are carried: before the update (of update 0: anything), and then behind
 * it; else NULL. */
int64_t mv_worker_rows(struct mv_worker *, int entry, const double *eta, struct mv_key, int64_t first, int64_t count,
                       const double *fitness, int64_t update, double *state, double *rows, int8_t *status);
/* Doubles that a replicate carries: state of all of its lifetimes. */
int64_t mv_replicate_state(const struct mv_job *, int entry);
/* Computes a unit into out[mv_result_bytes]. */
void mv_worker_compute(struct mv_worker *, const struct mv_unit *, void *out);
struct mv_trace;
/* Follows what is computed from now on, for units of one replicate: lane 0. */
void mv_worker_watch(struct mv_worker *, struct mv_trace *);

#endif
