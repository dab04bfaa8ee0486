/* terms.h - sums of absolute terms: what rounding in a gradient is relative to. They are made of the tangents of a walk
 * forwards through one lifetime. */
#ifndef METAVAR_TESTS_TERMS_H
#define METAVAR_TESTS_TERMS_H

#include "harness.h"

enum { TERMS_STEPS = 100, TERMS_META = 385 };

/* |R_n| + |b_n| (b_n the baseline), |D_n| and |dl_n| of one lifetime, along each eta; or |V_n|, |dV_n| in place of the first two. */
struct terms {
  int lanes, meta;
  bool expected;
  double credit[TERMS_STEPS], direct[TERMS_STEPS][TERMS_META], logp[TERMS_STEPS][TERMS_META];
};

static inline void watch_terms(void *self, int64_t n, const struct mv_report *report, struct mv_block *blocks)
{
  enum { OBJECTIVE, LOGP, SURROGATE, EXPECTED, BASELINE, FIELDS = sizeof(struct mv_report) / sizeof(num) };
  struct terms *t = self;
  const double *r = (const double *)report, *dot = (const double *)blocks[0].dot; /* of lane 0 */
  t->credit[n] =
      t->expected ? fabs(r[EXPECTED * t->lanes]) : fabs(r[OBJECTIVE * t->lanes]) + fabs(r[BASELINE * t->lanes]);
  for (int j = 0; j < t->meta; j++) {
    t->direct[n][j] = fabs(dot[(FIELDS * j + (t->expected ? EXPECTED : SURROGATE)) * t->lanes]);
    t->logp[n][j] = fabs(dot[(FIELDS * j + LOGP) * t->lanes]);
  }
}

/* Of a lifetime of one replicate, for a window of it; overwritten by the next call. */
static inline const struct terms *terms_of(const struct rig *r, struct mv_key key, const double *eta, int64_t replicate,
                                           int64_t life, int64_t start, int64_t length, enum mv_hessian hessian,
                                           bool expected)
{
  static struct terms t;
  t.lanes = r->kernel->lanes, t.meta = r->problem.shape.meta, t.expected = expected;
  assert_true(r->problem.steps <= TERMS_STEPS && t.meta <= TERMS_META);
  struct mv_arena arena;
  const size_t eta_bytes = mv_arena_cost(sizeof(double) * (size_t)(t.meta * t.lanes));
  mv_arena_create(&arena, r->kernel->walk_bytes(&r->problem, 1) + eta_bytes);
  double *lane_eta = mv_arena_take(&arena, eta_bytes);
  for (int i = 0; i < t.meta * t.lanes; i++)
    lane_eta[i] = eta[i / t.lanes];
  struct mv_block block = {.hessian = hessian, .length = length};
  struct mv_walk walk = {.problem = &r->problem,
                         .eta = (const num *)lane_eta,
                         .steps = r->problem.steps,
                         .blocks = &block,
                         .block_count = 1,
                         .arena = &arena};
  walk.coords.key = key;
  for (int l = 0; l < MV_LANES_MAX; l++) { /* one replicate in all lanes */
    walk.coords.task[l] = replicate;
    walk.coords.lifetime[l] = life;
    block.start[l] = start;
  }
  r->kernel->walk_run(&walk, watch_terms, &t);
  mv_arena_free(&arena);
  return &t;
}

/* Of (1/T) sum (D_n + (R_n - b_n) sum_{m<n} gamma^(n-m) dl_m). */
static inline double terms_sum(const struct terms *t, int j, int64_t start, int64_t length, double gamma)
{
  double sum = 0, cum = 0;
  for (int64_t n = start; n < start + length; n++) {
    sum += t->direct[n][j] + t->credit[n] * cum;
    cum = gamma * (cum + t->logp[n][j]);
  }
  return sum / (double)length;
}

#endif
