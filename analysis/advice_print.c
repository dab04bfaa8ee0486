/* advice_print.c - which estimator at which budget, in ten lines. */
#include <math.h>
#include <string.h>

#include "metavar/advice.h"

#define GAIN 0.95 /* a fit is told when it leaves at most so much of the best mse */

static void print_interval(FILE *out, double value, double low, double high)
{
  fprintf(out, "%8.2g [%.2g, %.2g]", value, low, high);
}

/* The family with the smallest cross-fitted mse at budget b; -1 none. */
static int best_family(const struct mv_advice *a, int b)
{
  int best = -1;
  for (int k = 0; k < a->families; k++)
    if (a->family[k].fit[b].mse > 0 && (best < 0 || a->family[k].fit[b].mse < a->family[best].fit[b].mse))
      best = k;
  return best;
}

static int best_mixture(const struct mv_advice *a, int b)
{
  int best = -1;
  for (int k = 0; k < a->pairs; k++)
    if (a->pair[k].mixed && a->pair[k].fit[b].mse > 0 && (best < 0 || a->pair[k].fit[b].mse < a->pair[best].fit[b].mse))
      best = k;
  return best;
}

static void print_fits(FILE *out, const struct mv_advice *a, int b, double best)
{
  char name[2][160];
  int f = best_family(a, b), p = best_mixture(a, b);
  const struct mv_fit *fit = f < 0 ? NULL : &a->family[f].fit[b], *mix = p < 0 ? NULL : &a->pair[p].fit[b];
  if (fit && fit->mse < GAIN * best) {
    const struct mv_fitted *family = &a->family[f];
    mv_setting_name(a->tables, family->entry, family->setting[fit->member][0], "lambda", name[0], sizeof name[0]);
    fprintf(out, "%8s", "");
    print_interval(out, fit->mse, fit->low, fit->high);
    fprintf(out, "  with %s lambda=%.2g [%.2g, %.2g]\n", name[0], fit->x, fit->x_low, fit->x_high);
  }
  if (mix && mix->mse < GAIN * (fit ? fmin(best, fit->mse) : best)) {
    const struct mv_pair *pair = &a->pair[p];
    for (int k = 0; k < 2; k++) {
      const struct mv_offer *o = &a->offer[k ? pair->b : pair->a];
      mv_setting_name(a->tables, o->entry, o->setting, "", name[k], sizeof name[k]);
    }
    fprintf(out, "%8s", "");
    print_interval(out, mix->mse, mix->low, mix->high);
    fprintf(out, "  with %.2g x (%s) + %.2g x (%s)\n", mix->x, name[0], 1 - mix->x, name[1]);
  }
}

static bool is_decade(double budget) { return fabs(log10(budget) - round(log10(budget))) < 1e-9; }

void mv_advice_print(FILE *out, const struct mv_advice *a)
{
  if (a->offers == 0)
    return;
  fprintf(out,
          "\nwhich estimator at which budget: inner steps, tangent steps included, for one gradient at one eta point\n"
          "mse: bias^2 + variance / samples, mean over %d eta points [%g %% interval]; sure: share of the bootstrap's "
          "draws with the same answer\n%8s  %-26s %5s  %s\n",
          a->tables->job->points, 100 * a->tables->options.confidence, "budget", "mse", "sure", "best setting");
  for (int b = 0; b < a->budgets; b++)
    for (int k = 0; k < a->offers && is_decade(a->budget[b]); k++) {
      const struct mv_advised *at = &a->at[k * a->budgets + b];
      char name[160], text[64];
      if (!at->best)
        continue;
      mv_setting_name(a->tables, a->offer[k].entry, a->offer[k].setting, "", name, sizeof name);
      snprintf(text, sizeof text, "%8.2g [%.2g, %.2g]", at->mse.value, at->mse.low, at->mse.high);
      int heavy = mv_offer_warnings(a, k);
      fprintf(out, "%8.0e  %-26s %4.0f%%  %s", a->budget[b], text, 100 * at->best_share, name);
      fprintf(out, heavy ? "  heavy tail at %d of %d points\n" : "\n", heavy, a->tables->job->points);
      print_fits(out, a, b, at->mse.value);
    }
  fprintf(out, "fitted coefficients and weights are judged on the other half of the samples; all budgets: budget.csv, "
               "breakeven.csv, best.csv, combined.csv\n");
}
