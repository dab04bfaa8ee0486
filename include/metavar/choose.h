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

/* The first alternative with target < cumulative[k]; the last one if there is none (NaN). Of cumulative[arity], the last
 * is not looked at. */
#if MV_LANES == 8
/* In groups of MV_GROUP: which group, by comparison with the last of each, while its others are picked out; then which
 * of these. A blend is as cheap as a comparison here. cumulative is padded with +inf to whole groups. */
enum { MV_GROUP = 6 };
static inline numi mv_choose_inverse(real target, int arity, const real *cumulative)
{
  const int whole = (arity - 1) / MV_GROUP;
  const real *group = cumulative + whole * MV_GROUP;
  numi index = (numi){0} + (whole * MV_GROUP + MV_GROUP - 1);
  real picked[MV_GROUP - 1];
#pragma GCC unroll 5
  for (int j = 0; j < MV_GROUP - 1; j++)
    picked[j] = group[j];
  for (int g = 0; g < whole; g++) {
    group -= MV_GROUP;
    numb here = real_less(target, group[MV_GROUP - 1]);
    index = numi_subtract(index, here, MV_GROUP);
#pragma GCC unroll 5
    for (int j = 0; j < MV_GROUP - 1; j++)
      picked[j] = real_select(here, group[j], picked[j]);
  }
#pragma GCC unroll 5
  for (int j = 0; j < MV_GROUP - 1; j++)
    index = numi_subtract(index, real_less(target, picked[j]), 1);
  return numi_select(numi_less(index, (numi){0} + arity), index, (numi){0} + (arity - 1));
}
#else
enum { MV_GROUP = 1 };
static inline numi mv_choose_inverse(real target, int arity, const real *cumulative)
{
  numi index = (numi){0} + (arity - 1);
#pragma GCC unroll 4
  for (int k = 0; k < arity - 1; k++)
    index = numi_subtract(index, real_less(target, cumulative[k]), 1);
  return index;
}
#endif

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
    real cumulative[arity + MV_GROUP], sum = real_set(0.0);
    for (int k = 0; k < arity; k++)
      cumulative[k] = sum = sum + MV_REAL_PART(weight[k]);
    for (int k = 0; k <= MV_GROUP; k++)
      cumulative[arity - 1 + k] = real_set(__builtin_inf());
    for (int i = 0; i < count; i++)
      index[i] = mv_choose_inverse(MV_REAL_PART(noise->choice[first + i]) * sum, arity, cumulative);
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
