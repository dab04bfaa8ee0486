/* selfcheck.h - what `metavar check` and the tests both ask of the inner loops on this machine. */
#ifndef METAVAR_SELFCHECK_H
#define METAVAR_SELFCHECK_H

#include "metavar/kernel.h"

/* An eta point at which nothing is degenerate. eta[M] out. */
void mv_selfcheck_eta(const struct mv_shape *, double *eta);

/* Philox4x32-10 against the published vectors. */
bool mv_selfcheck_philox(void);

/* Gives default settings of a task networks and batches small enough for a check, if it has any. */
void mv_selfcheck_small(const struct mv_task *, void *settings);

/* Whether a kernel serves the task (struct mv_shape, lanes). */
bool mv_selfcheck_serves(const struct mv_kernel *, const char *task);

/* step_jvp in `kernel` against the complex step of the shadow build over 40 steps of 25 replicates: largest difference
 * of any reported tangent, relative to the largest tangent of its kind in the lifetime. settings: the task's; NULL:
 * defaults, made small. */
double mv_selfcheck_jvp(const struct mv_kernel *, const char *task, const void *settings, enum mv_hessian,
                        enum mv_sampler);

/* What a pair is run with: default settings; or several windows, discounts, Hessian modes, lifetimes and pairs, shared
 * noise and the Gumbel sampler, as far as the estimator has settings of these names. */
enum mv_recipe { MV_PLAIN, MV_RICH, MV_RECIPES };
extern const char *const mv_recipe_names[]; /* "plain", "rich", NULL */

/* Gives default settings, not yet completed, and the problem their recipe. */
void mv_selfcheck_arrange(enum mv_recipe, const struct mv_estimator *, void *settings, struct mv_problem *);

/* XXH3-128 over the values of replicates 0 .. 63 of a pair, lifetime length 12, as hex[33]. */
void mv_selfcheck_digest(const struct mv_kernel *, const char *task, const char *estimator, enum mv_recipe,
                         char hex[33]);

/* The digest recorded when the pair was last changed on purpose; NULL if there is none. */
const char *mv_selfcheck_golden(const char *task, const char *estimator, enum mv_recipe);

/* Whether the estimator can run on the task. */
bool mv_pair_valid(const struct mv_task *, const struct mv_estimator *);

#endif
