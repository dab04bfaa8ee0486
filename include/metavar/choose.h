/* choose.h - every categorical choice of every task. Kernel files only.
 *
 * inverse_cdf: the first alternative whose cumulative weight exceeds u times the total; gumbel: argmax of logit -
 * log(-log u) (Gumbel-max; Maddison et al. 2014), which keeps more choices equal under a small change of the logits;
 * forced: as told.
 */
#ifndef METAVAR_CHOOSE_H
#define METAVAR_CHOOSE_H

#include "metavar/math.h"
#include "metavar/task.h"

#if MV_NUM == MV_NUM_COMPLEX
#define MV_REAL_PART(x) creal(x)
#else
#define MV_REAL_PART(x) (x)
#endif

static inline numi mv_choose_inverse(real u, int arity, const real *cumulative)
{
  numi index = (numi){0} + (arity - 1);
  real target = u * cumulative[arity - 1];
  for (int k = 0; k < arity - 1; k++)
    index = numi_subtract(index, real_less(target, cumulative[k]));
  return index;
}

static inline numi mv_choose_gumbel(const num *u, int arity, const num *logit)
{
  numi index = {0};
  real best = real_set(-__builtin_inf());
  for (int k = 0; k < arity; k++) {
    real score = MV_REAL_PART(logit[k]) - real_log(-real_log(MV_REAL_PART(u[k])));
    numb better = real_less(best, score);
    best = real_select(better, score, best);
    index = numi_select(better, (numi){0} + k, index);
  }
  return index;
}

/* Makes choices first .. first + count - 1 of the noise, all from one distribution with weights proportional to
 * weight[arity] and logarithms logit[arity] (up to a constant); index[count] out, each lane in 0 .. arity - 1. */
static inline void mv_choose(const struct mv_noise *noise, int first, int count, int arity, const num *logit,
                             const num *weight, numi *index)
{
  if (noise->sampler == MV_INVERSE_CDF) {
    real cumulative[arity], sum = real_set(0.0);
    for (int k = 0; k < arity; k++)
      cumulative[k] = sum = sum + MV_REAL_PART(weight[k]);
    for (int i = 0; i < count; i++)
      index[i] = mv_choose_inverse(MV_REAL_PART(noise->choice[first + i]), arity, cumulative);
  } else if (noise->sampler == MV_GUMBEL) {
    for (int i = 0; i < count; i++)
      index[i] = mv_choose_gumbel(noise->choice + (first + i) * arity, arity, logit);
  } else {
    for (int i = 0; i < count; i++)
      for (int l = 0; l < MV_LANES; l++)
        NUMI_LANE(index, i, l) = (int64_t)MV_REAL_PART(NUM_LANE(noise->choice, first + i, l));
  }
}

#endif
