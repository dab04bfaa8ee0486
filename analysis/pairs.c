/* pairs.c - which two settings are compared: those that are best at some budget or in their entry, neighbours on the
 * front, and those that are asked for. */
#define _GNU_SOURCE
#include <math.h>
#include <string.h>

#include "metavar/advice.h"
#include "metavar/memory.h"

#define CANDIDATES 10 /* offers that are compared with each other */
#define MIXED      5  /* the first of them are mixed, too */

static double price(const struct mv_offer *o) { return o->variance * o->cost; }

/* Mixing needs samples that are independent of each other: no nested design. */
static bool can_mix(const struct mv_advice *a, int offer)
{
  return mv_member_nest(&a->tables->member[a->offer[offer].entry]) == 1;
}

/* A setting of one entry comes with the lifetimes of the other, another entry has its own. */
static double joint_cost(const struct mv_advice *a, const struct mv_offer *x, const struct mv_offer *y)
{
  const struct mv_setting *s = &a->tables->member[x->entry].settings.at[x->setting];
  const struct mv_setting *u = &a->tables->member[y->entry].settings.at[y->setting];
  return x->entry == y->entry ? fmax(s->primal, u->primal) + s->tangent + u->tangent : x->cost + y->cost;
}

static void add_pair(struct mv_advice *a, int i, int j, bool mixed)
{
  if (i == j)
    return;
  bool turn = price(&a->offer[j]) < price(&a->offer[i]);
  struct mv_pair made = {.a = turn ? j : i, .b = turn ? i : j, .mixed = mixed && can_mix(a, i) && can_mix(a, j)};
  struct mv_pair *pair = NULL;
  for (int k = 0; k < a->pairs && !pair; k++)
    if (a->pair[k].a == made.a && a->pair[k].b == made.b)
      pair = &a->pair[k];
  if (!pair) {
    a->pair = mv_memory_grow(a->pair, (size_t)a->pairs + 1, sizeof *a->pair);
    pair = &a->pair[a->pairs++];
    *pair = made;
    pair->cost = joint_cost(a, &a->offer[i], &a->offer[j]);
  }
  pair->mixed = pair->mixed || made.mixed;
}

static int add_candidate(int *list, int count, int offer)
{
  for (int k = 0; k < count; k++)
    if (list[k] == offer)
      return count;
  if (offer >= 0 && count < CANDIDATES)
    list[count++] = offer;
  return count;
}

/* The best of one entry. */
static int best_of(const struct mv_advice *a, int entry, int b)
{
  int best = -1;
  for (int k = 0; k < a->offers; k++)
    if (a->offer[k].entry == entry && isfinite(a->at[k * a->budgets + b].mse.value) &&
        (best < 0 || a->at[k * a->budgets + b].mse.value < a->at[best * a->budgets + b].mse.value))
      best = k;
  return best;
}

static void pair_candidates(struct mv_advice *a)
{
  int list[CANDIDATES], count = 0;
  for (int e = 0; e < a->tables->entries; e++)
    count = add_candidate(list, count, best_of(a, e, a->budgets - 1));
  for (int b = a->budgets - 1; b >= 0; b--)
    for (int k = 0; k < a->offers; k++)
      if (a->at[k * a->budgets + b].best)
        count = add_candidate(list, count, k);
  for (int i = 0; i < count; i++)
    for (int j = 0; j < i; j++)
      add_pair(a, list[i], list[j], i < MIXED);
}

static void pair_front(struct mv_advice *a)
{
  int last = -1, next;
  do { /* in the order of price */
    next = -1;
    for (int k = 0; k < a->offers; k++)
      if (a->at[k * a->budgets + a->budgets - 1].front && (last < 0 || price(&a->offer[k]) > price(&a->offer[last])) &&
          (next < 0 || price(&a->offer[k]) < price(&a->offer[next])))
        next = k;
    if (last >= 0 && next >= 0)
      add_pair(a, last, next, false);
    last = next;
  } while (next >= 0);
}

/* --- asked for --------------------------------------------------------------------------------------------------- */

/* Whether a setting has axis `name` (or lambda) at a value. */
static bool has_value(const struct mv_member *m, const struct mv_setting *s, const char *name, const char *value)
{
  char text[MV_NAME_MAX + 1];
  int axis = mv_setting_axis(m->layout, s, name);
  if (strcmp(name, "lambda") == 0)
    return s->lambda == strtod(value, NULL);
  if (axis < 0)
    return false;
  mv_axis_text(&m->layout->output[s->output].axis[axis], s->index[axis], text, sizeof text);
  return strcmp(text, value) == 0;
}

/* LABEL or LABEL:axis=value,axis=value. */
static bool is_selected(const struct mv_advice *a, int offer, const char *selector)
{
  const struct mv_member *m = &a->tables->member[a->offer[offer].entry];
  const struct mv_setting *s = &m->settings.at[a->offer[offer].setting];
  char *copy = strdup(selector), *rest = copy, *label = strsep(&rest, ":");
  bool fits = strcmp(label, mv_member_entry(m)->label) == 0;
  for (char *name; fits && rest && (name = strsep(&rest, ","));) {
    char *value = strchr(name, '=');
    if (value)
      *value++ = 0;
    fits = value && has_value(m, s, name, value);
  }
  free(copy);
  return fits;
}

static int pair_wanted(struct mv_advice *a, const char *wanted)
{
  const char *between = strstr(wanted, " vs ");
  char *first = between ? strndup(wanted, (size_t)(between - wanted)) : strdup(wanted);
  const char *second = between ? between + 4 : "";
  int before = a->pairs, found = 0;
  for (int i = 0; i < a->offers; i++)
    for (int j = 0; j < a->offers; j++)
      if (i != j && is_selected(a, i, first) && is_selected(a, j, second)) {
        add_pair(a, i, j, a->pairs - before < CANDIDATES);
        found++;
      }
  free(first);
  if (found)
    return MV_EXIT_OK;
  if (a->offers == 0) {
    fprintf(stderr, "metavar: --pair '%s': nothing to compare, since no setting has a bias; give a --reference\n",
            wanted);
    return MV_EXIT_USAGE;
  }
  fprintf(
      stderr,
      "metavar: --pair '%s': no two settings fit; write 'LABEL:axis=value,lambda=value vs LABEL', with the names of "
      "grid.csv\n",
      wanted);
  return MV_EXIT_USAGE;
}

static void break_even(void *self, int k)
{
  struct mv_advice *a = self;
  const struct mv_analysis *options = &a->tables->options;
  double *work = mv_memory_take((size_t)options->resamples, sizeof *work);
  a->pair[k].break_even =
      mv_break_even(&a->offer[a->pair[k].a], &a->offer[a->pair[k].b], options->resamples, options->confidence, work);
  free(work);
}

int mv_pairs_find(struct mv_advice *a, const char *const *wanted, int count)
{
  int code = MV_EXIT_OK;
  for (int k = 0; k < count && code == MV_EXIT_OK; k++)
    code = pair_wanted(a, wanted[k]);
  if (a->budgets) {
    pair_candidates(a);
    pair_front(a);
  }
  for (int k = 0; k < a->pairs; k++)
    if (a->pair[k].mixed)
      a->pair[k].fit = mv_memory_take((size_t)a->budgets, sizeof *a->pair[k].fit);
  mv_parallel(a->pairs, INFINITY, break_even, a);
  return code;
}
