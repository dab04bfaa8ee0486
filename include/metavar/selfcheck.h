/* selfcheck.h - what `metavar check` and the tests both ask of the inner loops on this machine. */
#ifndef METAVAR_SELFCHECK_H
#define METAVAR_SELFCHECK_H

#include "metavar/kernel.h"

/* An eta point at which nothing is degenerate. eta[M] out. */
void mv_selfcheck_eta(const struct mv_shape *, double *eta);

/* A task with a copy of the given settings, malloc'ed; NULL: with its defaults, made small. */
struct mv_problem mv_selfcheck_problem(const struct mv_kernel *, const char *task, const void *given, int64_t steps,
                                       void **settings);

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

/* The transposes: step_vjp and init_vjp in `kernel`, where the task offers them. */
struct mv_selfcheck_transpose {
  double worst;   /* largest difference, relative to the sum of absolute terms; NaN counts as infinite */
  char where[64]; /* what differs most, as in "ell by theta" */
};
/* <w, J v> against <J' w, v> for random v and w, step by step: what step_jvp says. */
struct mv_selfcheck_transpose mv_selfcheck_dot(const struct mv_kernel *, const char *task, enum mv_hessian,
                                               enum mv_sampler);
/* The walk back over whole lifetimes, three steps kept, against the complex step of the shadow build. */
struct mv_selfcheck_transpose mv_selfcheck_back(const struct mv_kernel *, const char *task, enum mv_hessian,
                                                enum mv_sampler);

/* What a pair is run with: default settings; or several windows, discounts, Hessian modes, lifetimes and pairs, shared
 * noise and the Gumbel sampler, as far as the estimator has settings of these names; or, beside these, the derivative in reverse
 * with few steps kept. */
enum mv_recipe { MV_PLAIN, MV_RICH, MV_REVERSE, MV_RECIPES };
extern const char *const mv_recipe_names[]; /* "plain", "rich", "reverse", NULL */

/* Whether the recipe is for the pair. */
bool mv_recipe_valid(enum mv_recipe, const struct mv_task *, const struct mv_estimator *);

/* Gives default settings, not yet completed, and the problem their recipe. */
void mv_selfcheck_arrange(enum mv_recipe, const struct mv_estimator *, void *settings, struct mv_problem *);

/* XXH3-128 over the values of replicates 0 .. 63 of a pair, lifetime length 12, as hex[33]. */
void mv_selfcheck_digest(const struct mv_kernel *, const char *task, const char *estimator, enum mv_recipe,
                         char hex[33]);

/* The digest recorded when the pair was last changed on purpose; NULL if there is none. For a task of networks it holds
 * with the kernels of OpenBLAS that it was recorded with: MV_GOLDEN_CORE. */
#define MV_GOLDEN_CORE "Haswell"
const char *mv_selfcheck_golden(const char *task, const char *estimator, enum mv_recipe);

/* Whether it holds here; mv_blas_core tells what is in use. */
bool mv_selfcheck_holds(const char *task);

#endif
