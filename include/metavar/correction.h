/* correction.h - direct term and sampling correction of many windows, summed along one walk, forwards or back. Kernel
 * files only.
 *
 *   direct = sum_n D_n   correction = sum_n (R_n - b_n) cum_n   cum_{n+1} = gamma (cum_n + dl_n)   over the steps n of a window
 *   weighted = sum_n w_T(n) (D_n + R_n sum_{m<n} dl_m)   over the lifetime, w_T(n) the share of step n in windows of T
 * b_n is the baseline that the task reports, 0 in most.
 * Forwards, D_n = d surrogate_n and dl_n come in M tangent columns. Back, there is one adjoint column for direct, one for
 * the correction at each gamma, one for weighted at each T: D_n gives surrogate_n a weight, and all (R_n - b_n) cum_n together
 * give ell_m the weight
 *   sum_{n>m} gamma^(n-m) (R_n - b_n)
 * which has been summed up when the walk back comes to m.
 */
#ifndef METAVAR_CORRECTION_H
#define METAVAR_CORRECTION_H

#include "metavar/window.h"

struct mv_correction {
  const struct mv_problem *problem;
  const struct mv_ints *truncation; /* T */
  const struct mv_choices *hessian; /* block b has truncation b / hessians and Hessian mode b % hessians */
  const struct mv_reals *discount;  /* gamma */
  enum mv_window window;
  bool has_weighted;
  int full; /* forwards: the block of weighted */
  /* Sums over windows and lifetimes: [block][M], [block][discount][M], [T][M], one */
  num *direct, *correction, *weighted, *objective;
  /* Restart with every lifetime. Forwards, sums over earlier steps: [block][discount][M], [M]; back, over later ones:
   * [block][discount], [T] */
  num *cum, *cum_full;
  num *eta_bar; /* back: [block][1 + discounts][M] */
};

static inline int mv_correction_blocks(const struct mv_correction *c)
{
  return c->truncation->count * c->hessian->count;
}

/* The block whose window is the whole lifetime, pathwise; if there is none, the number after the last. */
static inline int mv_correction_full(const struct mv_correction *c)
{
  for (int b = 0; b < mv_correction_blocks(c); b++)
    if (c->truncation->value[b / c->hessian->count] == c->problem->steps &&
        c->hessian->value[b % c->hessian->count] == MV_PATHWISE)
      return b;
  return mv_correction_blocks(c);
}

/* --- forwards ----------------------------------------------------------------------------------------------- */

/* What the correction credits to earlier choices. */
static inline num mv_correction_credit(const struct mv_report *r) { return r->objective - r->baseline; }

/* The pointers are read once: a num may alias anything. */
static inline void mv_correction_observe_block(const struct mv_correction *c, int b, const struct mv_report *r,
                                               const struct mv_block *block)
{
  const int meta = c->problem->shape.meta, discounts = c->discount->count;
  const double *gamma = c->discount->value;
  const struct mv_report *dot = block->dot;
  const numb inside = num_less(num_set(0.5), *block->inside);
  const num credit = mv_correction_credit(r);
  num *direct = c->direct + b * meta, *correction = c->correction + b * discounts * meta;
  num *cum = c->cum + b * discounts * meta;
  for (int j = 0; j < meta; j++) {
    const num logp = dot[j].logp;
    direct[j] += dot[j].surrogate;
    for (int g = 0; g < discounts; g++) {
      const num before = cum[g * meta + j];
      correction[g * meta + j] += mv_keep(inside, credit * before);
      cum[g * meta + j] = gamma[g] * (before + logp);
    }
  }
}

/* The whole lifetime, pathwise, weighted by the windows. */
static inline void mv_correction_observe_full(const struct mv_correction *c, int64_t n, const struct mv_report *r,
                                              const struct mv_report *dot)
{
  const int meta = c->problem->shape.meta;
  num exact[meta];
  for (int j = 0; j < meta; j++) {
    exact[j] = dot[j].surrogate + r->objective * c->cum_full[j];
    c->cum_full[j] += dot[j].logp;
  }
  for (int t = 0; t < c->truncation->count; t++) {
    double weight = mv_window_weight(c->problem, c->window, c->truncation->value[t], n);
    for (int j = 0; j < meta; j++)
      c->weighted[t * meta + j] += mv_window_share(weight, exact[j]);
  }
}

static inline void mv_correction_observe(void *self, int64_t n, const struct mv_report *r, struct mv_block *blocks)
{
  const struct mv_correction *c = self;
  const int count = mv_correction_blocks(c);
  *c->objective += r->objective;
  for (int b = 0; b < count; b++)
    if (blocks[b].active)
      mv_correction_observe_block(c, b, r, &blocks[b]);
  if (c->has_weighted)
    mv_correction_observe_full(c, n, r, blocks[c->full].dot);
}

/* --- back --------------------------------------------------------------------------------------------------- */

static inline void mv_correction_weigh_block(const struct mv_correction *c, int b, const struct mv_report *r,
                                             struct mv_block *block)
{
  const int discounts = c->discount->count;
  const numb inside = num_less(num_set(0.5), *block->inside);
  const num credit = mv_correction_credit(r);
  num *later = c->cum + b * discounts;
  block->weight[0].surrogate = num_set(1.0);
  for (int g = 0; g < discounts; g++) {
    block->weight[1 + g].logp = later[g];
    later[g] = mv_keep(inside, c->discount->value[g] * (later[g] + credit));
  }
}

static inline void mv_correction_weigh(void *self, int64_t n, const struct mv_report *r, const num *before,
                                       struct mv_block *blocks)
{
  (void)before;
  const struct mv_correction *c = self;
  const int count = mv_correction_blocks(c);
  for (int b = 0; b < count; b++)
    if (blocks[b].active)
      mv_correction_weigh_block(c, b, r, &blocks[b]);
  for (int t = 0; c->has_weighted && t < c->truncation->count; t++) {
    const struct mv_block *block = &blocks[count + t];
    const double weight = mv_window_weight(c->problem, c->window, c->truncation->value[t], n);
    if (!block->active)
      continue;
    *block->weight = (struct mv_report){.surrogate = num_set(weight), .logp = c->cum_full[t]};
    c->cum_full[t] += weight * r->objective;
  }
}

static inline void mv_correction_watch(void *self, int64_t n, const struct mv_report *r, struct mv_block *blocks)
{
  (void)n, (void)blocks;
  *((const struct mv_correction *)self)->objective += r->objective;
}

/* The adjoints of placed blocks, and the blocks of weighted behind them. */
static inline void mv_correction_place(const struct mv_correction *c, struct mv_block *blocks)
{
  const int meta = c->problem->shape.meta, count = mv_correction_blocks(c), each = 1 + c->discount->count;
  for (int b = 0; b < count; b++) {
    blocks[b].columns = each;
    blocks[b].eta_bar = c->eta_bar + b * each * meta;
  }
  for (int t = 0; c->has_weighted && t < c->truncation->count; t++)
    blocks[count + t] = (struct mv_block){.hessian = MV_PATHWISE,
                                          .length = mv_window_span(c->problem, c->window, c->truncation->value[t]),
                                          .columns = 1,
                                          .eta_bar = c->weighted + t * meta};
}

/* After the last lifetime: eta_bar to direct and correction. */
static inline void mv_correction_take(const struct mv_correction *c)
{
  const int meta = c->problem->shape.meta, corrections = c->discount->count * meta;
  const num *x = c->eta_bar;
  for (int b = 0; b < mv_correction_blocks(c); b++) {
    for (int j = 0; j < meta; j++)
      c->direct[b * meta + j] = *x++;
    for (int i = 0; i < corrections; i++)
      c->correction[b * corrections + i] = *x++;
  }
}

#endif
