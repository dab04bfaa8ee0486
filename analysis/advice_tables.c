/* advice_tables.c - the columns of budget.csv, breakeven.csv, best.csv, combined.csv. README.md in this folder explains
 * them. */
#include <math.h>
#include <string.h>

#include "metavar/advice.h"

static void named_estimate(const struct mv_sink *sink, const char *name, const struct mv_estimate *e)
{
  mv_named_real(sink, name, "", e->value);
  mv_named_real(sink, name, "_low", e->low);
  mv_named_real(sink, name, "_high", e->high);
}

static void offer_label(const struct mv_advice *a, int offer, const char *suffix, const struct mv_sink *sink)
{
  mv_label_columns(a->tables, a->offer[offer].entry, a->offer[offer].setting, suffix, sink);
}

int mv_offer_warnings(const struct mv_advice *a, int offer)
{
  if (a->offer[offer].entry < 0)
    return 0;
  const struct mv_member *m = &a->tables->member[a->offer[offer].entry];
  const struct mv_setting *own = &m->settings.at[a->offer[offer].setting];
  int most = m->grid[a->offer[offer].setting].tail_warnings;
  for (int s = 0; s < m->settings.count && own->watched < 0; s++)
    if (m->settings.at[s].first == own->first && m->settings.at[s].base == own->base && m->grid[s].tail_warnings > most)
      most = m->grid[s].tail_warnings;
  return most;
}

static void budget_columns(const void *self, int64_t row, const struct mv_sink *sink)
{
  const struct mv_advice *a = self;
  const int offer = (int)(row / a->budgets), b = (int)(row % a->budgets);
  const struct mv_advised *at = &a->at[row];
  offer_label(a, offer, "", sink);
  sink->real(sink->self, "budget", a->budget[b]);
  sink->real(sink->self, "samples", a->budget[b] / a->offer[offer].cost);
  named_estimate(sink, "mse", &at->mse);
  sink->whole(sink->self, "on_front", at->front);
  sink->whole(sink->self, "best", at->best);
  sink->real(sink->self, "best_share", at->best_share);
  sink->whole(sink->self, "tail_warnings", mv_offer_warnings(a, offer));
}

static void break_even_columns(const void *self, int64_t row, const struct mv_sink *sink)
{
  const struct mv_advice *a = self;
  const struct mv_pair *pair = &a->pair[row];
  offer_label(a, pair->a, "_a", sink);
  offer_label(a, pair->b, "_b", sink);
  named_estimate(sink, "budget", &pair->break_even);
}

/* A fit without the name of x. */
static void fit_columns(const struct mv_fit *fit, const struct mv_sink *sink)
{
  const struct mv_estimate mse = {fit->mse, NAN, fit->low, fit->high};
  named_estimate(sink, "mse", &mse);
  sink->real(sink->self, "mse_fitted", fit->fitted);
}

/* The label of a family: neither coefficient nor meta-discount. */
static void family_text(void *self, const char *name, const char *value)
{
  const struct mv_sink *to = self;
  if (strcmp(name, "meta_discount") != 0)
    to->text(to->self, name, value);
}
static void family_real(void *self, const char *name, double value)
{
  const struct mv_sink *to = self;
  if (strcmp(name, "lambda") != 0)
    to->real(to->self, name, value);
}

static double discount_of(const struct mv_member *m, int setting)
{
  const struct mv_setting *s = &m->settings.at[setting];
  int axis = mv_setting_axis(m->layout, s, "meta_discount");
  return axis < 0 ? (double)NAN : mv_axis_number(&m->layout->output[s->output].axis[axis], s->index[axis]);
}

static void best_columns(const void *self, int64_t row, const struct mv_sink *sink)
{
  const struct mv_advice *a = self;
  const struct mv_fitted *f = &a->family[row / a->budgets];
  const int b = (int)(row % a->budgets);
  const struct mv_fit *fit = &f->fit[b];
  const struct mv_estimate x = {fit->x, NAN, fit->x_low, fit->x_high};
  const struct mv_sink family = {(void *)sink, family_text, NULL, family_real};
  mv_label_columns(a->tables, f->entry, f->setting[0][0], "", &family);
  sink->real(sink->self, "budget", a->budget[b]);
  named_estimate(sink, "best_lambda", &x);
  sink->real(sink->self, "best_meta_discount",
             fit->member < 0 ? (double)NAN : discount_of(&a->tables->member[f->entry], f->setting[fit->member][0]));
  fit_columns(fit, sink);
  sink->real(sink->self, "mse_lambda_0", f->ends[b][0]);
  sink->real(sink->self, "mse_lambda_1", f->ends[b][1]);
}

/* The k-th mixed pair. */
static const struct mv_pair *mixed(const struct mv_advice *a, int64_t k)
{
  const struct mv_pair *pair = a->pair;
  for (; !pair->mixed || k > 0; pair++)
    k -= pair->mixed;
  return pair;
}

static void combined_columns(const void *self, int64_t row, const struct mv_sink *sink)
{
  const struct mv_advice *a = self;
  const struct mv_pair *pair = mixed(a, row / a->budgets);
  const int b = (int)(row % a->budgets);
  const struct mv_estimate x = {pair->fit[b].x, NAN, pair->fit[b].x_low, pair->fit[b].x_high};
  offer_label(a, pair->a, "_a", sink);
  offer_label(a, pair->b, "_b", sink);
  sink->real(sink->self, "cost", pair->cost);
  sink->real(sink->self, "budget", a->budget[b]);
  named_estimate(sink, "weight_a", &x);
  fit_columns(&pair->fit[b], sink);
  sink->real(sink->self, "mse_a", a->at[pair->a * a->budgets + b].mse.value);
  sink->real(sink->self, "mse_b", a->at[pair->b * a->budgets + b].mse.value);
}

/* Where there are no rows, the header comes from an advice with one of everything, about nothing. */
static void write(FILE *file, const struct mv_advice *a, int64_t rows,
                  void (*columns)(const void *self, int64_t row, const struct mv_sink *))
{
  struct mv_offer offer = {.entry = -1};
  struct mv_advised at = {0};
  struct mv_fit fit = {.member = -1};
  struct mv_fitted family = {.entry = -1, .setting = &(int[3]){0}, .fit = &fit, .ends = &(double[2]){0}};
  struct mv_pair pair = {.mixed = true, .fit = &fit};
  const struct mv_advice blank = {
      .tables = a->tables, .budgets = 1, .offer = &offer, .at = &at, .family = &family, .pair = &pair};
  mv_rows_write(file, rows, columns, rows ? a : &blank);
}

void mv_budget_write(FILE *file, const struct mv_advice *a)
{
  write(file, a, (int64_t)a->offers * a->budgets, budget_columns);
}
void mv_break_even_write(FILE *file, const struct mv_advice *a) { write(file, a, a->pairs, break_even_columns); }
void mv_best_write(FILE *file, const struct mv_advice *a)
{
  write(file, a, (int64_t)a->families * a->budgets, best_columns);
}
void mv_combined_write(FILE *file, const struct mv_advice *a)
{
  int64_t pairs = 0;
  for (int k = 0; k < a->pairs; k++)
    pairs += a->pair[k].mixed;
  write(file, a, pairs * a->budgets, combined_columns);
}
