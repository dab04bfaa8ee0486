/* advice.c - offers of all settings, what is best at each budget, fits, pairs.
 *
 * Everything but the halves and the mixtures comes from the averages and draws that the tables hold; for those the eta
 * points are read once more. The best offer among many is chosen by its estimate and so looks a little better than it
 * is; best_share tells in how many draws it would have been chosen.
 */
#include <math.h>
#include <string.h>

#include "metavar/advice.h"
#include "metavar/memory.h"

/* --- offers ------------------------------------------------------------------------------------------------------ */

static bool estimates_gradient(const struct mv_member *m, int s)
{
  return !m->settings.at[s].hidden && m->layout->output[m->settings.at[s].output].role != MV_TARGET;
}

/* With coefficient 0 all meta-discounts are the same. */
static bool is_repeated(const struct mv_member *m, int s)
{
  const struct mv_setting *at = m->settings.at;
  for (int u = 0; u < s; u++)
    if (at[s].base >= 0 && at[s].lambda == 0 && at[u].base == at[s].base && at[u].lambda == 0)
      return true;
  return false;
}

static struct mv_offer make_offer(const struct mv_tables *t, int member, int s)
{
  const struct mv_member *m = &t->member[member];
  const struct mv_average *average = m->average + (int64_t)s * MV_FIGURES;
  const struct mv_average *bias2 = average + MV_FIGURE_BIAS2, *variance = average + MV_FIGURE_VARIANCE;
  return (struct mv_offer){.entry = member,
                           .setting = s,
                           .cost = m->settings.at[s].primal + m->settings.at[s].tangent,
                           .bias2 = bias2->points ? bias2->sum / bias2->points : (double)NAN,
                           .variance = variance->sum / variance->points,
                           .bias2_errors = bias2->errors,
                           .variance_errors = variance->errors};
}

static void make_offers(struct mv_advice *a)
{
  const struct mv_tables *t = a->tables;
  for (int e = 0; e < t->entries; e++)
    for (int s = 0; s < t->member[e].settings.count; s++) {
      struct mv_offer o = make_offer(t, e, s);
      bool own = e == t->reference.member && s == t->reference.setting;
      if (!estimates_gradient(&t->member[e], s) || is_repeated(&t->member[e], s) || own || !isfinite(o.bias2) ||
          !isfinite(o.cost) || !o.bias2_errors)
        continue;
      a->offer = mv_memory_grow(a->offer, (size_t)a->offers + 1, sizeof *a->offer);
      a->offer[a->offers++] = o;
    }
}

static void make_budgets(struct mv_advice *a)
{
  double least = INFINITY, most = 0;
  for (int k = 0; k < a->offers; k++) {
    const struct mv_member *m = &a->tables->member[a->offer[k].entry];
    least = fmin(least, a->offer[k].cost);
    for (int p = 0; p < a->tables->job->points; p++)
      most = fmax(most, a->offer[k].cost * (double)mv_member_replicates(m, p));
  }
  a->budgets = a->offers ? mv_budgets(least, most, MV_BUDGETS_MAX, a->budget) : 0;
}

/* One budget: errors, front, best. */
static void advise(void *self, int b)
{
  struct mv_advice *a = self;
  const int resamples = a->tables->options.resamples;
  double *work = mv_memory_take((size_t)resamples, sizeof *work);
  bool *front = mv_memory_take((size_t)a->offers, sizeof *front);
  double *least = mv_memory_take((size_t)resamples, sizeof *least);
  int *chosen = mv_memory_take((size_t)resamples, sizeof *chosen);
  int best = mv_offers_best(a->offers, a->offer, a->budget[b]);
  mv_offers_front(a->offers, a->offer, a->budget[b], front);
  for (int r = 0; r < resamples; r++)
    chosen[r] = -1;
  for (int k = 0; k < a->offers; k++) {
    struct mv_advised *at = &a->at[k * a->budgets + b];
    at->mse = mv_offer_mse(&a->offer[k], a->budget[b], resamples, a->tables->options.confidence, work);
    at->front = front[k];
    at->best = k == best;
    for (int r = 0; r < resamples && isfinite(at->mse.value); r++) /* work: errors of the mse */
      if (chosen[r] < 0 || at->mse.value + work[r] < least[r]) {
        least[r] = at->mse.value + work[r];
        chosen[r] = k;
      }
  }
  for (int r = 0; r < resamples; r++)
    if (chosen[r] >= 0)
      a->at[chosen[r] * a->budgets + b].best_share += 1.0 / resamples;
  free(work);
  free(front);
  free(least);
  free(chosen);
}

/* --- families ---------------------------------------------------------------------------------------------------- */

static bool is_discount(const struct mv_axis *axis) { return strcmp(axis->name, "meta_discount") == 0; }

/* Same output and axes, but for the meta-discount. */
static bool same_family(const struct mv_member *m, int s, int u)
{
  const struct mv_setting *a = &m->settings.at[s], *b = &m->settings.at[u];
  const struct mv_output *output = &m->layout->output[a->output];
  if (a->output != b->output)
    return false;
  for (int k = 0; k < output->rank - 1; k++)
    if (a->index[k] != b->index[k] && !is_discount(&output->axis[k]))
      return false;
  return true;
}

/* Three of the coefficients [s, end): the smallest, the largest, the one closest to their middle. False: there are no
 * three. */
static bool three_of(const struct mv_settings *all, int s, int end, int at[3])
{
  at[0] = at[2] = s;
  for (int k = s; k < end; k++) {
    at[0] = all->at[k].lambda < all->at[at[0]].lambda ? k : at[0];
    at[2] = all->at[k].lambda > all->at[at[2]].lambda ? k : at[2];
  }
  double low = all->at[at[0]].lambda, high = all->at[at[2]].lambda, nearest = INFINITY;
  at[1] = -1;
  for (int k = s; k < end; k++) {
    double off = fabs(all->at[k].lambda - (low + high) / 2);
    if (all->at[k].lambda > low && all->at[k].lambda < high && off < nearest) {
      nearest = off;
      at[1] = k;
    }
  }
  return at[1] >= 0;
}

static void add_member(struct mv_advice *a, int entry, const int at[3])
{
  const struct mv_member *m = &a->tables->member[entry];
  struct mv_fitted *f = NULL;
  for (int k = 0; k < a->families; k++)
    if (a->family[k].entry == entry && same_family(m, a->family[k].setting[0][0], at[0]))
      f = &a->family[k];
  if (!f) {
    a->family = mv_memory_grow(a->family, (size_t)a->families + 1, sizeof *a->family);
    f = &a->family[a->families++];
    *f = (struct mv_fitted){.entry = entry};
    for (int k = 0; k < 3; k++)
      f->x[k] = m->settings.at[at[k]].lambda;
  }
  f->setting = mv_memory_grow(f->setting, (size_t)f->members + 1, sizeof *f->setting);
  memcpy(f->setting[f->members++], at, sizeof(int[3]));
}

static void find_families(struct mv_advice *a)
{
  for (int e = 0; e < a->tables->entries; e++) {
    const struct mv_settings *all = &a->tables->member[e].settings;
    for (int s = 0, end, at[3]; s < all->count; s = end) {
      for (end = s + 1; all->at[s].base >= 0 && end < all->count && all->at[end].first == all->at[s].first;)
        end++;
      if (all->at[s].base >= 0 && three_of(all, s, end, at) && isfinite(make_offer(a->tables, e, s).bias2))
        add_member(a, e, at);
    }
  }
}

/* Number of the largest meta-discount. */
static int full_member(const struct mv_member *m, const struct mv_fitted *f)
{
  int best = 0;
  double most = -INFINITY;
  for (int k = 0; k < f->members; k++) {
    const struct mv_setting *s = &m->settings.at[f->setting[k][0]];
    int axis = mv_setting_axis(m->layout, s, "meta_discount");
    double discount = axis < 0 ? 1 : mv_axis_number(&m->layout->output[s->output].axis[axis], s->index[axis]);
    if (discount > most) {
      most = discount;
      best = k;
    }
  }
  return best;
}

static void fit_family(void *self, int number)
{
  struct mv_advice *a = self;
  struct mv_fitted *f = &a->family[number];
  const struct mv_analysis *options = &a->tables->options;
  struct mv_offer offer[f->members][3];
  const struct mv_offer *offers[f->members][3];
  const struct mv_half *halves[f->members][3];
  double *work = mv_memory_take(2 * (size_t)options->resamples, sizeof *work);
  for (int k = 0; k < f->members; k++)
    for (int i = 0; i < 3; i++) {
      offer[k][i] = make_offer(a->tables, f->entry, f->setting[k][i]);
      offers[k][i] = &offer[k][i];
      halves[k][i] = &a->half[f->entry][f->setting[k][i]];
    }
  struct mv_family family = {f->members, {f->x[0], f->x[1], f->x[2]}, f->x[0], f->x[2], offers, halves};
  int full = full_member(&a->tables->member[f->entry], f);
  for (int b = 0; b < a->budgets; b++) {
    f->fit[b] = mv_fit_make(&family, a->budget[b], options->resamples, options->confidence, work);
    for (int end = 0; end < 2; end++)
      f->ends[b][end] = mv_family_mse(&family, full, end, a->budget[b]);
  }
  free(work);
}

/* --- a whole run ------------------------------------------------------------------------------------------------- */

struct mixing {
  struct mv_advice *advice;
  const struct mv_panel *panel;
  struct mv_mix *mix; /* [pairs] */
  int point;
};

static void mix_pair(void *self, int k)
{
  struct mixing *m = self;
  const struct mv_pair *pair = &m->advice->pair[k];
  const struct mv_tables *t = m->advice->tables;
  const struct mv_offer *a = &m->advice->offer[pair->a], *b = &m->advice->offer[pair->b];
  if (pair->mixed)
    mv_mix_add(
        &m->mix[k], m->panel, &(struct mv_term){a->entry, a->setting, 1}, &(struct mv_term){b->entry, b->setting, 1},
        &(struct mv_term){t->reference.member, t->reference.setting, -1}, (uint32_t)m->point, t->options.confidence);
}

/* Every eta point once more: halves and mixtures. */
static int read_points(struct mv_advice *a, struct mv_tables *t, struct mv_mix *mix)
{
  int code = MV_EXIT_OK;
  for (int p = 0; p < t->job->points && code == MV_EXIT_OK; p++) {
    struct mv_panel panel;
    code = mv_members_read(t, p, &panel);
    if (code == MV_EXIT_OK) {
      mv_halves_add(&panel, &(struct mv_term){t->reference.member, t->reference.setting, 1}, a->half);
      mv_parallel(a->pairs, INFINITY, mix_pair, &(struct mixing){a, &panel, mix, p});
    }
    mv_panel_free(&panel);
  }
  for (int e = 0; e < t->members; e++)
    for (int s = 0; s < t->member[e].settings.count; s++)
      for (int h = 0; h < 2; h++) {
        a->half[e][s].bias2[h] /= t->job->points;
        a->half[e][s].variance[h] /= t->job->points;
      }
  return code;
}

static void fit_pair(const struct mv_advice *a, struct mv_pair *pair, struct mv_mix *mix)
{
  const struct mv_analysis *options = &a->tables->options;
  const struct mv_offer *const offers[1][3] = {{&mix->offer[0], &mix->offer[1], &mix->offer[2]}};
  const struct mv_half *const halves[1][3] = {{&mix->half[0], &mix->half[1], &mix->half[2]}};
  const double *x = mv_mix_weights;
  struct mv_family family = {1, {x[0], x[1], x[2]}, -1, 2, offers, halves};
  double *work = mv_memory_take(2 * (size_t)options->resamples, sizeof *work);
  mv_mix_finish(mix);
  for (int b = 0; b < a->budgets; b++)
    pair->fit[b] = mv_fit_make(&family, a->budget[b], options->resamples, options->confidence, work);
  free(work);
}

static void make_room(struct mv_advice *a)
{
  const struct mv_tables *t = a->tables;
  a->at = mv_memory_take((size_t)a->offers * (size_t)a->budgets, sizeof *a->at);
  a->half = mv_memory_take((size_t)t->members, sizeof *a->half);
  for (int e = 0; e < t->members; e++)
    a->half[e] = mv_memory_take((size_t)t->member[e].settings.count, sizeof **a->half);
  for (int k = 0; k < a->families; k++) {
    a->family[k].fit = mv_memory_take((size_t)a->budgets, sizeof *a->family[k].fit);
    a->family[k].ends = mv_memory_take((size_t)a->budgets, sizeof *a->family[k].ends);
  }
}

int mv_advice_make(struct mv_advice *a, struct mv_tables *t, const char *const *wanted, int count)
{
  *a = (struct mv_advice){.tables = t};
  make_offers(a);
  make_budgets(a);
  find_families(a);
  make_room(a);
  mv_parallel(a->budgets, INFINITY, advise, a);
  int code = mv_pairs_find(a, wanted, count);
  struct mv_mix *mix = mv_memory_take((size_t)a->pairs, sizeof *mix);
  for (int k = 0; k < a->pairs; k++)
    if (a->pair[k].mixed)
      mix[k] = mv_mix_make(a->pair[k].cost, t->options.resamples);
  if (code == MV_EXIT_OK && a->offers)
    code = read_points(a, t, mix);
  if (code == MV_EXIT_OK)
    mv_parallel(a->families, INFINITY, fit_family, a);
  for (int k = 0; k < a->pairs; k++)
    if (a->pair[k].mixed) {
      if (code == MV_EXIT_OK)
        fit_pair(a, &a->pair[k], &mix[k]);
      mv_mix_free(&mix[k]);
    }
  free(mix);
  return code;
}

void mv_advice_free(struct mv_advice *a)
{
  for (int k = 0; k < a->families; k++) {
    free(a->family[k].setting);
    free(a->family[k].fit);
    free(a->family[k].ends);
  }
  for (int k = 0; k < a->pairs; k++)
    free(a->pair[k].fit);
  for (int e = 0; a->half && e < a->tables->members; e++)
    free(a->half[e]);
  free(a->half);
  free(a->family);
  free(a->pair);
  free(a->at);
  free(a->offer);
  *a = (struct mv_advice){0};
}
