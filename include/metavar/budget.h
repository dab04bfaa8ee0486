/* budget.h - which estimator at which budget: mean squared error, fronts, break-even, the best coefficient, the best pair.
 *
 * A budget is inner steps (primal and tangent) spent at one eta point on one estimate; a setting whose sample costs c
 * gives m = budget / c samples and the error mse = bias^2 + variance / m. All are averages over eta points.
 */
#ifndef METAVAR_BUDGET_H
#define METAVAR_BUDGET_H

#include "metavar/panel.h"

/* What one setting has to offer. Errors in the bootstrap draws are the same draws for all. */
struct mv_offer {
  int entry, setting;
  double cost;                                  /* inner steps of one sample; NaN unknown */
  double bias2, variance;                       /* unbiased */
  const double *bias2_errors, *variance_errors; /* [resamples] */
};

/* mse at a budget, a bias that is estimated below 0 counted as 0; NaN where the budget does not buy one sample. work:
 * [resamples]. */
struct mv_estimate mv_offer_mse(const struct mv_offer *, double budget, int resamples, double confidence, double *work);

/* What is not beaten in both bias^2 and variance x cost by another offer that the budget buys. */
void mv_offers_front(int count, const struct mv_offer *, double budget, bool *front);
/* The smallest mse; -1 none. */
int mv_offers_best(int count, const struct mv_offer *, double budget);

/* The budget above which b has the smaller mse: 0 always, INFINITY never. Also for its ends. se is NaN. work:
 * [resamples]. */
struct mv_estimate mv_break_even(const struct mv_offer *a, const struct mv_offer *b, int resamples, double confidence,
                                 double *work);

/* Budgets 1, 2, 5, 10, ... that cover [least, most]; returns their number, at most `room`. */
int mv_budgets(double least, double most, int room, double *out);

/* --- parts of a panel: to fit on one half of the groups and judge on the other (part.c) --- */

/* A view of the panel's groups of one parity (0, 1) or of all (-1), and of the settings picked, each in an entry of its
 * own (pick NULL: everything as it is). Close it before use; the panel has to outlive it. */
struct mv_panel mv_panel_part(const struct mv_panel *, int count, const struct mv_term *pick, int parity);
void mv_panel_part_free(struct mv_panel *);

/* --- what is fitted (fit.c) --- */

/* An offer on each half of the samples. mv_halves_add sums over eta points: divide by their number. */
struct mv_half {
  double bias2[2], variance[2];
};
/* Adds the settings of one panel, half[entry][setting], with bias against `reference`. */
void mv_halves_add(const struct mv_panel *, const struct mv_term *reference, struct mv_half *const *half);

/* One-parameter families g(x) = g(0) + x g', x a coefficient or a weight, known at three values of x. Their mse is a
 * parabola in x. */
struct mv_family {
  int members;                              /* to choose between: meta-discounts */
  double x[3], low, high;                   /* where it is known; the range to choose from */
  const struct mv_offer *const (*offer)[3]; /* [members]; one cost */
  const struct mv_half *const (*half)[3];   /* [members] */
};

struct mv_fit {
  int member; /* fitted to all samples */
  double x, x_low, x_high;
  double fitted;         /* its mse in these samples: too small */
  double mse, low, high; /* cross-fitted: unbiased for what a fit achieves; may be below 0 where that is small */
  int half_member[2];    /* fitted to the halves */
  double half_x[2];
};
/* In all samples; NaN where the budget does not buy one. */
double mv_family_mse(const struct mv_family *, int member, double x, double budget);
/* work: [2 resamples]. */
struct mv_fit mv_fit_make(const struct mv_family *, double budget, int resamples, double confidence, double *work);

/* --- two estimators (mix.c) --- */

/* w a + (1 - w) b of two estimators whose samples share their random numbers, at w = 0, 1/2, 1. mv_mix_add sums over eta
 * points, mv_mix_finish makes averages of it. The halves and offers are a family's. */
struct mv_mix {
  int resamples, points;
  struct mv_offer offer[3];
  struct mv_half half[3];
  double *errors; /* [3][2][resamples], the offers' */
};
struct mv_mix mv_mix_make(double cost, int resamples);
void mv_mix_add(struct mv_mix *, const struct mv_panel *, const struct mv_term *a, const struct mv_term *b,
                const struct mv_term *reference, uint32_t stream, double confidence);
void mv_mix_finish(struct mv_mix *);
void mv_mix_free(struct mv_mix *);
extern const double mv_mix_weights[3];

#endif
