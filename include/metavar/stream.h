/* stream.h - random numbers as a pure function of coordinates.
 *
 * Philox4x32-10 (Salmon et al. 2011), keyed by (seed, nominal eta), counted by (purpose, task instance, lifetime,
 * step, draw). Nothing else enters: not the rank, the order of execution, the grid index or the estimator. Hence
 * grids can be extended, any sample can be computed again alone, and all estimators that simulate at
 * unperturbed eta see the same task instance and the same noise for the same replicate.
 */
#ifndef METAVAR_STREAM_H
#define METAVAR_STREAM_H

#include "metavar/num.h"

struct mv_key {
  uint32_t word[2];
};

enum mv_purpose {
  MV_FOR_TASK,    /* task instance */
  MV_FOR_INIT,    /* theta_0 */
  MV_FOR_ACTION,  /* categorical choices of the learner */
  MV_FOR_REWARD,  /* environment noise: uniforms */
  MV_FOR_NORMAL,  /* environment noise: normals */
  MV_FOR_WINDOW,  /* window starts; the step coordinate holds the truncation length */
  MV_FOR_PERTURB, /* directions of evolution strategies; the step coordinate holds the perturbation */
  MV_PURPOSES
};

#define MV_TASK_BITS     40
#define MV_LIFETIME_BITS 20
#define MV_MAX_TASKS     (INT64_C(1) << MV_TASK_BITS)     /* task instances of one eta point */
#define MV_MAX_LIFETIMES (INT64_C(1) << MV_LIFETIME_BITS) /* lifetimes of one task instance */

/* Key of one eta point. eta[meta] are the nominal values (in training: the update index); -0 counts as 0. */
struct mv_key mv_key_make(uint64_t seed, const double *eta, int meta);

/* One Philox4x32-10 block, as in Random123. */
void mv_philox(const uint32_t counter[4], struct mv_key key, uint32_t out[4]);

#endif
