/* tree.h - enumeration of tree_bandit through production code.
 *
 * Per step a batch of 2 draws from 6 outcomes (3 arms x 2 reward signs) makes 21 multisets, hence 21^4 histories of N =
 * 4 steps and each of the 2 task instances. History h is forced upon the walk through mv_forced; its probability is 1/2
 * (instance) x prod_n (orderings of the multiset) x (1/2)^8 (reward signs) x exp(sum_n ell_n).
 */
#ifndef METAVAR_TESTS_TREE_H
#define METAVAR_TESTS_TREE_H

#include "harness.h"

#define TREE_STEPS     4
#define TREE_PAIRS     21
#define TREE_HISTORIES (TREE_PAIRS * TREE_PAIRS * TREE_PAIRS * TREE_PAIRS) /* of one instance */
#define TREE_ALL       (2 * TREE_HISTORIES)
#define TREE_PASSES                                                                                                    \
  6 /* T of 2, 3, 4 have 3, 2, 1 window starts: 6 passes give each T each of its starts equally often */

/* Where the tests stand, and the truncation lengths they ask for. */
static const double eta0[2] = {0.4, -0.3};
enum { LENGTHS = 3 };
static const struct mv_ints lengths = {LENGTHS, {2, 3, TREE_STEPS}};

struct tree {
  int pass;                /* which window start; see TREE_PASSES */
  int pair[TREE_PAIRS][2]; /* outcomes of a multiset: arm = outcome / 2, sign = outcome % 2 */
};

static inline void tree_make(struct tree *t)
{
  int n = 0;
  for (int a = 0; a < 6; a++)
    for (int b = a; b < 6; b++, n++)
      t->pair[n][0] = a, t->pair[n][1] = b;
  t->pass = 0;
}

static inline int tree_multiset(int64_t history, int64_t step)
{
  for (history %= TREE_HISTORIES; step > 0; step--)
    history /= TREE_PAIRS;
  return (int)(history % TREE_PAIRS);
}

static inline void tree_fill(void *self, enum mv_purpose purpose, const int64_t *task, const int64_t *lifetime,
                             int64_t step, int count, int lanes, double *out)
{
  const struct tree *t = self;
  (void)lifetime;
  for (int i = 0; i < count; i++)
    for (int l = 0; l < lanes; l++) {
      double *x = &out[i * lanes + l];
      if (purpose == MV_FOR_TASK)
        *x = task[l] < TREE_HISTORIES ? 0.25 : 0.75;
      else if (purpose == MV_FOR_WINDOW)
        *x = t->pass % (TREE_STEPS - step + 1);
      else {
        int outcome = t->pair[tree_multiset(task[l], step)][i];
        *x = purpose == MV_FOR_ACTION ? outcome / 2 : (outcome % 2 ? 0.75 : 0.25);
      }
    }
}

/* Probability of a history apart from exp(sum ell). */
static inline double tree_prior(const struct tree *t, int64_t history)
{
  double p = 0.5 / 256;
  for (int n = 0; n < TREE_STEPS; n++) {
    const int *pair = t->pair[tree_multiset(history, n)];
    p *= pair[0] == pair[1] ? 1 : 2;
  }
  return p;
}

static inline int tree_instance(int64_t history) { return history >= TREE_HISTORIES; }

/* What one walk over the forced histories first, first + 1, ... reports, lane by lane. */
struct tree_walk {
  double reward[TREE_STEPS][MV_LANES_MAX], ell[MV_LANES_MAX]; /* R_n; sum of ell_n */
  int lanes;
};

static inline void tree_watch(void *self, int64_t n, const struct mv_report *report, struct mv_block *blocks)
{
  (void)blocks;
  struct tree_walk *w = self;
  const double *r = (const double *)report;
  for (int l = 0; l < w->lanes; l++) {
    w->reward[n][l] = r[l];
    w->ell[l] += r[w->lanes + l];
  }
}

/* eta: [2][lanes], aligned */
static inline struct tree_walk tree_run(struct rig *r, struct tree *t, const double *eta, int64_t first)
{
  struct tree_walk w = {.lanes = r->kernel->lanes};
  struct mv_forced forced = {tree_fill, t};
  struct mv_walk walk = {
      .problem = &r->problem, .forced = &forced, .eta = eta, .steps = TREE_STEPS, .arena = &r->arena};
  for (int l = 0; l < w.lanes; l++)
    walk.coords.task[l] = first + l < TREE_ALL ? first + l : 0;
  r->arena.used = 0;
  r->kernel->walk_run(&walk, tree_watch, &w);
  return w;
}

/* Two numbers in every lane. */
static inline double *tree_eta(const struct mv_kernel *kernel, const double *point)
{
  double *eta = aligned_alloc(MV_ALIGN, sizeof(double) * 2 * MV_LANES_MAX);
  for (int i = 0; i < 2 * kernel->lanes; i++)
    eta[i] = point[i / kernel->lanes];
  return eta;
}

/* Probability of a history given its instance. */
static inline double tree_weight(const struct tree *t, const struct tree_walk *w, int64_t history, int lane)
{
  return 2 * tree_prior(t, history) * exp(w->ell[lane]);
}

#endif
