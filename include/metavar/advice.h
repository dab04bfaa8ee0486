/* advice.h - what a finished analysis recommends: which estimator at which budget, with which coefficient, mixed with
 * which other; from the averages over eta points. */
#ifndef METAVAR_ADVICE_H
#define METAVAR_ADVICE_H

#include "metavar/analysis.h"
#include "metavar/budget.h"

#define MV_BUDGETS_MAX 64

/* An offer at a budget. */
struct mv_advised {
  struct mv_estimate mse;
  bool front, best;
  double best_share; /* of the draws in which it is the best */
};

/* The settings of a component that differ in coefficient and meta-discount alone. */
struct mv_fitted {
  int entry, members;
  int (*setting)[3]; /* [members] of the entry, at the three coefficients */
  double x[3];
  struct mv_fit *fit; /* [budgets] */
  double (*ends)[2];  /* [budgets] mse at coefficient 0 and 1, meta-discount 1 (or the largest) */
};

/* Two offers. */
struct mv_pair {
  int a, b;                      /* a has the smaller variance x cost */
  struct mv_estimate break_even; /* budget above which b wins */
  bool mixed;
  double cost;        /* of one sample of both */
  struct mv_fit *fit; /* [budgets] weight of a; NULL if not mixed */
};

struct mv_advice {
  const struct mv_tables *tables;
  int offers, budgets, families, pairs;
  struct mv_offer *offer; /* settings that estimate grad J; entry is the member's number */
  struct mv_half **half;  /* [members][settings] */
  double budget[MV_BUDGETS_MAX];
  struct mv_advised *at; /* [offers][budgets] */
  struct mv_fitted *family;
  struct mv_pair *pair;
};

/* wanted: "A vs B", or NULL: pairs to compare beside those that matter; A and B are LABEL or LABEL:axis=value,... The
 * run is read once more. Exit code; errors printed. Free it in any case. */
int mv_advice_make(struct mv_advice *, struct mv_tables *, const char *const *wanted, int count);
void mv_advice_free(struct mv_advice *);
/* The pairs (pairs.c), with their break-even budgets and room for fits. */
int mv_pairs_find(struct mv_advice *, const char *const *wanted, int count);

void mv_budget_write(FILE *, const struct mv_advice *);
void mv_break_even_write(FILE *, const struct mv_advice *);
void mv_best_write(FILE *, const struct mv_advice *);
void mv_combined_write(FILE *, const struct mv_advice *);
void mv_advice_print(FILE *, const struct mv_advice *);
/* Eta points at which a few samples dominate the variance of an offer; where its own norms are not watched, those of the
 * same component with the coefficient 0 or 1, whichever are more. */
int mv_offer_warnings(const struct mv_advice *, int offer);

#endif
