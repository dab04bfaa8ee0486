/* tree_oracle.h - what enumerated estimators on tree_bandit have to be.
 *
 * The true gradients are complex-step derivatives of the enumerated objective in the shadow build, probabilities of
 * histories included: no tangent code involved. The estimators of T = N are spelled out history by history, from the
 * derivatives that the shadow build gives of every report.
 */
#ifndef METAVAR_TESTS_TREE_ORACLE_H
#define METAVAR_TESTS_TREE_ORACLE_H

#include <complex.h>

#include "tree.h"

enum { MODES = 2 };

/* T = N, gamma = 1, lambda = 1 as in the text books: sum D_n + R_n cum_n; reference with V_n and without. */
enum { PLAIN, REFERENCE, REFERENCE_SAMPLED, SPELLED };

struct oracle {
  double total;                /* probability */
  double gradient[2];          /* of J */
  double weighted[LENGTHS][2]; /* of the window-weighted objectives */
  double objective;
  double direct[MODES][2], correction[MODES][2]; /* means of the T = N estimator's components, gamma = 1 */
  double second[SPELLED][2];                     /* E g^2 of the estimators spelled out */
};

struct shadow_walk {
  double complex objective[TREE_STEPS], surrogate[TREE_STEPS], logp[TREE_STEPS], expected[TREE_STEPS];
};

static inline void watch_shadow(void *self, int64_t n, const struct mv_report *report, struct mv_block *blocks)
{
  (void)blocks;
  struct shadow_walk *s = self;
  const double complex *r = (const void *)report;
  s->objective[n] = r[0], s->logp[n] = r[1], s->surrogate[n] = r[2], s->expected[n] = r[3];
}

#define STEP   1e-30
#define DOT(x) (cimag(x) / STEP)
#define SHARE  (1.0 / TREE_STEPS)

/* One history's value of an estimator that is spelled out. */
static inline double spell(const struct shadow_walk *s, int estimator)
{
  double g = 0, cum = 0, cum_baseline = 0, before = 0;
  for (int n = 0; n < TREE_STEPS; n++) {
    double reward = creal(s->objective[n]), direct = DOT(s->surrogate[n]), baseline = 0;
    if (estimator == REFERENCE) {
      reward = baseline = creal(s->expected[n]);
      direct = DOT(s->expected[n]);
    } else if (estimator == REFERENCE_SAMPLED) {
      baseline = before;
    }
    g += SHARE * (direct + reward * cum - cum_baseline);
    cum += DOT(s->logp[n]);
    cum_baseline += baseline * DOT(s->logp[n]);
    before = creal(s->objective[n]);
  }
  return g;
}

/* A history of complex weight, differentiated along eta_j: the derivative of weight times reward is that of J. */
static inline void oracle_add(struct oracle *oracle, const struct shadow_walk *s, double complex weight, int j,
                              int mode)
{
  double cum = 0, p = creal(weight);
  for (int n = 0; n < TREE_STEPS; n++) {
    oracle->direct[mode][j] += SHARE * p * DOT(s->surrogate[n]);
    oracle->correction[mode][j] += SHARE * p * creal(s->objective[n]) * cum;
    cum += DOT(s->logp[n]);
  }
  if (mode != MV_PATHWISE)
    return;
  for (int n = 0; n < TREE_STEPS; n++) {
    double change = DOT(weight * s->objective[n]);
    oracle->gradient[j] += SHARE * change;
    for (int t = 0; t < LENGTHS; t++) {
      int64_t T = lengths.value[t], starts = TREE_STEPS - T + 1, covering = 0;
      for (int64_t start = 0; start < starts; start++)
        covering += n >= start && n < start + T;
      oracle->weighted[t][j] += (double)covering / (double)(starts * T) * change;
    }
    if (j == 0)
      oracle->objective += SHARE * p * creal(s->objective[n]);
  }
  for (int estimator = 0; estimator < SPELLED; estimator++)
    oracle->second[estimator][j] += p * pow(spell(s, estimator), 2);
  if (j == 0)
    oracle->total += p;
}

static inline struct oracle oracle_make(void)
{
  struct oracle oracle = {0};
  const struct mv_kernel *shadow = mv_kernel_find("shadow");
  void *settings;
  struct mv_problem p = problem_make(shadow, "tree_bandit", TREE_STEPS, &settings);
  struct mv_arena arena;
  mv_arena_create(&arena, shadow->walk_bytes(&p, 0));
  struct tree tree;
  tree_make(&tree);
  struct mv_forced forced = {tree_fill, &tree};
  for (int j = 0; j < 2; j++)
    for (int mode = 0; mode < MODES; mode++) {
      double complex eta[2] = {eta0[0] + (j == 0) * I * STEP, eta0[1] + (j == 1) * I * STEP};
      for (int64_t history = 0; history < TREE_ALL; history++) {
        struct shadow_walk s;
        struct mv_walk walk = {.problem = &p,
                               .forced = &forced,
                               .eta = (const double *)eta,
                               .steps = TREE_STEPS,
                               .arena = &arena,
                               .shadow = mode};
        walk.coords.task[0] = history;
        shadow->walk_run(&walk, watch_shadow, &s);
        double complex ell = 0;
        for (int n = 0; n < TREE_STEPS; n++)
          ell += s.logp[n];
        oracle_add(&oracle, &s, tree_prior(&tree, history) * cexp(ell), j, mode);
      }
    }
  mv_arena_free(&arena);
  free(settings);
  return oracle;
}

#endif
