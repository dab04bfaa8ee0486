/* train.h - the outer loop: eta goes up an estimated gradient, update by update.
 *
 * A curve is one start, one seed and one row of `estimators:`; it is a cell of the plan, and its updates are the rows of
 * the cell. Row u holds where the curve is (eta_u and the optimizer's state) and what was measured there (gradient,
 * objective); row u + 1 follows from row u alone, so the rows are the checkpoints.
 *
 *   outer.c       the step: sgd, adam
 *   record.c      the row of an update, and the next one from it
 *   population.c  the gradient of one update as sums over blocks of replicates
 *   piece.c       what a rank is given, computes and gives back
 *   curves.c      rank 0: which curve, or which part of an update, is handed out next
 */
#ifndef METAVAR_TRAIN_H
#define METAVAR_TRAIN_H

#include "metavar/farm.h"
#include "metavar/sample.h"

/* --- outer.c ---------------------------------------------------------------------------------------------------- */

/* Vectors of M that the optimizer keeps: none, the velocity, or both moments. */
int mv_outer_moments(const struct mv_train *);

/* One step up the gradient: eta[meta] and moment[mv_outer_moments][meta] become the next ones. `steps` counts those
 * taken before. False: something in the outcome is not finite; then nothing has changed. */
bool mv_outer_step(const struct mv_train *, double learning_rate, int meta, const double *gradient, int64_t steps,
                   double *eta, double *moment);

/* --- record.c --------------------------------------------------------------------------------------------------- */

/* The outputs of a row, for plan.c: the gradient first. */
int mv_record_outputs(const struct mv_job *, const struct mv_axis *meta, struct mv_output *out);

/* Views of a row values[layout.values]. */
struct mv_record {
  double *gradient, *objective; /* [M]; means over the finite replicates, NaN if there is none */
  double *eta, *moment;         /* [M], [mv_outer_moments][M] */
  double *steps;                /* taken up to here: those that were skipped do not count */
  double *gradient_se;          /* [M] standard errors of the means */
  double *gradient_norm;
  double *evaluated, *evaluated_se; /* at unperturbed eta; NaN where not evaluated */
  double *nonfinite;                /* replicates left out */
};
struct mv_record mv_record_view(const struct mv_job *, double *row);
int64_t mv_record_state(const struct mv_job *); /* leading doubles that the next row depends on */

/* Row 0 before its measurement: the start of the curve. */
void mv_record_start(const struct mv_plan *, int cell, double *row);
/* Row u + 1 before its measurement, from (the leading mv_record_state doubles of) row u. An update whose gradient is not
 * finite, or leads to something that is not, is skipped. */
void mv_record_next(const struct mv_plan *, int cell, const double *row, double *next);
/* Whether this update evaluates the objective. */
bool mv_record_evaluates(const struct mv_train *, int64_t update);

/* --- population.c ------------------------------------------------------------------------------------------------- */

#define MV_POPULATION_BLOCK 32 /* replicates, or somewhat more, whose sums are formed in a row; the same everywhere */

/* What one process needs to compute populations. The plan is that of a training job. */
struct mv_population;
struct mv_population *mv_population_create(const struct mv_plan *);
void mv_population_free(struct mv_population *);
const struct mv_plan *mv_population_plan(const struct mv_population *);
size_t mv_population_memory(const struct mv_plan *);
/* Of the estimators, and last of the evaluation: seconds[entry_count + 1] per replicate. */
double mv_population_calibrate(const struct mv_plan *, double budget, double *seconds);

/* Of one update of an entry, with its share of the evaluations; seconds as above. */
double mv_update_seconds(const struct mv_job *, int entry, const double *seconds);

/* Blocks of an update: those of its gradient, then those of its evaluation. */
int64_t mv_population_blocks(const struct mv_job *, int entry, int64_t update);
int mv_population_width(const struct mv_job *, int entry); /* doubles that a block leaves */
/* Sums of blocks [first, first + count) at eta into sums[count][width]. state: of the replicates of these blocks, whose
 * lifetimes are carried, before the update (of update 0: anything) and then behind it; else NULL. */
void mv_population_compute(struct mv_population *, int cell, int64_t update, const double *eta, int64_t first,
                           int64_t count, double *state, double *sums);
/* All sums[blocks][width] of an update, added in order, into its row, of which eta is there: what was measured. Its
 * status. Shaped fitness is shaped here: the sums are completed. */
int8_t mv_population_close(struct mv_population *, int cell, int64_t update, double *sums, double *row);
/* Measures row `update`, of which eta is there, alone; state: of all blocks. Its status. */
int8_t mv_population_row(struct mv_population *, int cell, int64_t update, double *state, double *row);
/* Doubles that the lifetimes of these blocks of an update carry, and where they are among those of the curve; 0: none are
 * carried. */
int64_t mv_population_state(const struct mv_job *, int entry, int64_t first, int64_t count, int64_t *at);

/* --- piece.c ------------------------------------------------------------------------------------------------------- */

/* What a rank is given: updates [row, row + rows) of a curve, one after the other; or, rows = 0, the sums of blocks
 * [block, block + blocks) of update `row`. Behind it: double [mv_record_state], that row before its measurement. */
struct mv_piece {
  int64_t track, cell, row, rows, block, blocks;
};
size_t mv_piece_bytes(const struct mv_plan *);
/* Doubles that the lifetimes of a piece carry, and where they are among those of the curve. Before an update but the first
 * they travel behind the piece, and after it at the end of the answer. */
int64_t mv_piece_carried(const struct mv_plan *, const struct mv_piece *, int64_t *at);
size_t mv_piece_curve(const struct mv_plan *, int64_t cell); /* bytes that all lifetimes of a curve carry */
/* What it gives back: head, then the bytes of a result (sample.h), or sums[blocks][width]; then what is carried. */
struct mv_answer {
  struct mv_piece piece;
  double seconds;
};
size_t mv_answer_bytes(const struct mv_plan *, const struct mv_piece *);
const double *mv_answer_carried(const struct mv_plan *, const struct mv_answer *);
void mv_answer_compute(struct mv_population *, const struct mv_piece *, struct mv_answer *);

/* --- curves.c ------------------------------------------------------------------------------------------------------- */

/* Rank 0: where all curves are. */
struct mv_curves;
struct mv_curves_hooks {
  void *self;
  /* A committed row; exit code. */
  int (*read)(void *self, int cell, int64_t row, double *values, int8_t *status);
  /* The last update before `limit` of which the states that lifetimes carry are there, and these, malloc'ed; -1: none. NULL
   * where none are carried. */
  int64_t (*carried)(void *self, int cell, int64_t limit, size_t bytes, double **state);
  /* Updates that are finished: bytes as of sample.h. */
  void (*store)(void *self, const void *result, size_t size);
};
struct mv_curves *mv_curves_create(const struct mv_plan *, const struct mv_curves_hooks *);
void mv_curves_free(struct mv_curves *);
void mv_curves_mark(void *curves, const struct mv_unit *); /* these updates are committed; before the start */
int64_t mv_curves_missing(const struct mv_curves *);       /* updates that are not committed */
int64_t mv_curves_left(const struct mv_curves *);          /* after the start: updates that will be computed */
/* Finds out where every curve goes on. seconds[entry_count + 1] as of mv_population_calibrate; `hands` ranks compute.
 * Exit code. */
int mv_curves_start(struct mv_curves *, const double *seconds, int hands);
double mv_curves_seconds(const struct mv_curves *); /* predicted, of all that is missing, on one core */
double mv_curves_longest(const struct mv_curves *); /* predicted, of one piece */
enum mv_next mv_curves_next(struct mv_curves *, struct mv_piece *);
/* What lifetimes carry into this piece: its bytes, written if there is a place. */
size_t mv_curves_load(const struct mv_curves *, const struct mv_piece *, void *out);
/* What they carry behind an update that has just been given to `store`; NULL: that is not known. */
const void *mv_curves_carried(const struct mv_curves *, int64_t cell, int64_t row);
double mv_curves_predict(const struct mv_curves *, const struct mv_piece *); /* seconds */
void mv_curves_done(struct mv_curves *, const struct mv_answer *);
void mv_curves_flush(struct mv_curves *); /* stores updates that were held back to be stored together */

#endif
