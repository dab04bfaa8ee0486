/* config_eta.c - the eta points of a job: where in meta-parameter space gradients are measured.
 *
 *   grid:   [list, list, ...]   Cartesian product, one list per meta-parameter, first axis slowest
 *   zip:    [list, list, ...]   lists of equal length, walked together
 *   points: [[x, y, ...], ...]  the points themselves
 * A list is a number, a list of numbers or a range (config_value.c). Two equal points would be the same random
 * numbers twice (streams are keyed by the value of eta), so they are an error.
 */
#define _GNU_SOURCE
#include "config.h"
#include <stdlib.h>
#include <string.h>

/* One list of numbers. */
struct axis {
  int count;
  double *value;
  struct mv_node *node; /* the list; items in order */
};

static bool read_number(struct mv_config *c, const char *key, struct mv_node *n, double *out)
{
  if (n->bad) {
    return false;
  }
  if (n->kind != MV_SCALAR) {
    mv_error_node(c, n, key, "%s where a number belongs", mv_node_kind_name(n));
    return false;
  }
  const char *fault = n->quoted ? "is quoted, so a text; remove the quotes" : mv_number_read(n->text, out);
  if (fault) {
    mv_error_node(c, n, key, "\"%.40s\" %s", n->text, fault);
  }
  return !fault;
}

static bool read_axis(struct mv_config *c, const char *key, struct mv_node *node, struct axis *axis)
{
  axis->node = mv_value_list(c, key, node);
  if (!axis->node) {
    return false;
  }
  if (axis->node->count == 0) {
    mv_error_node(c, node, key, "an empty list; give at least one number");
    return false;
  }
  axis->value = mv_config_alloc((size_t)axis->node->count * sizeof *axis->value);
  bool good = true;
  for (struct mv_node *n = axis->node->first; n; n = n->next) {
    good = read_number(c, key, n, &axis->value[axis->count++]) && good;
  }
  return good;
}

/* The lists of a grid, a zip or of points. */
struct lists {
  const char *key;
  struct mv_node *node;
  int count;
  struct axis *axis; /* [count] */
};

static bool read_lists(struct mv_config *c, struct lists *l)
{
  if (l->node->bad) {
    return false;
  }
  if (l->node->kind != MV_LIST || l->node->count == 0) {
    mv_error_node(c, l->node, l->key, "%s where a list of lists belongs; write it like [[1, 2], [1, 2]]",
                  l->node->kind == MV_LIST ? "an empty list" : mv_node_kind_name(l->node));
    return false;
  }
  l->axis = mv_config_alloc((size_t)l->node->count * sizeof *l->axis);
  bool good = true;
  for (struct mv_node *n = l->node->first; n; n = n->next) {
    good = read_axis(c, l->key, n, &l->axis[l->count++]) && good;
  }
  return good;
}

/* A grid and a zip need M lists, a zip equal ones; points need lists of M. */
static bool check_lengths(struct mv_config *c, const struct lists *l, int meta)
{
  bool points = strcmp(l->key, "points") == 0, zip = strcmp(l->key, "zip") == 0, good = true;
  if (!points && meta && l->count != meta) {
    mv_error_node(c, l->node, l->key, "%d lists for %d meta-parameters; give one list for each", l->count, meta);
    return false;
  }
  int i = 0, want = points ? meta : zip ? l->axis[0].count : 0;
  for (struct mv_node *n = l->node->first; n && want; n = n->next, i++) {
    if (l->axis[i].count != want) {
      mv_error_node(c, n, l->key, "%d numbers where %d belong; %s", l->axis[i].count, want,
                    points ? "give one for each meta-parameter" : "the lists of a zip are equally long");
      good = false;
    }
  }
  return good;
}

/* --- equal points --- */

struct rows {
  const double *value;
  int width;
};

static int compare_rows(const void *a, const void *b, void *self)
{
  const struct rows *r = self;
  int i = *(const int *)a, j = *(const int *)b;
  for (int m = 0; m < r->width; m++) {
    double x = r->value[(size_t)i * (size_t)r->width + (size_t)m],
           y = r->value[(size_t)j * (size_t)r->width + (size_t)m];
    if (x != y) {
      return x < y ? -1 : 1;
    }
  }
  return 0;
}

static int compare_rows_then_order(const void *a, const void *b, void *self)
{
  int order = compare_rows(a, b, self);
  return order ? order : *(const int *)a - *(const int *)b;
}

/* Reports rows that stand twice, at the items of `list`. */
static void check_distinct(struct mv_config *c, const char *key, struct mv_node *list, const double *value, int count,
                           int width)
{
  struct rows rows = {value, width};
  int *order = mv_config_alloc((size_t)count * sizeof *order), told = 0;
  for (int i = 0; i < count; i++) {
    order[i] = i;
  }
  qsort_r(order, (size_t)count, sizeof *order, compare_rows_then_order, &rows);
  for (int i = 1; i < count && told < 10; i++) {
    if (compare_rows(&order[i - 1], &order[i], &rows) == 0) {
      mv_error_node(c, mv_node_item(list, order[i]), key, "equal to item %d of the list; remove one of them",
                    order[i - 1] + 1);
      told++;
    }
  }
  free(order);
}

/* --- filling --- */

static bool fits(struct mv_config *c, const struct lists *l, double points, int meta)
{
  if (points * meta > MV_NUMBERS_MAX) {
    mv_error_node(c, l->node, l->key, "%.0f points of %d meta-parameters; at most %d numbers in all", points, meta,
                  MV_NUMBERS_MAX);
    return false;
  }
  return true;
}

static void fill_grid(struct mv_config *c, const struct lists *l, int meta, struct mv_job *job)
{
  double points = 1;
  for (int m = 0; m < meta; m++) {
    points *= l->axis[m].count;
    check_distinct(c, l->key, l->axis[m].node, l->axis[m].value, l->axis[m].count, 1);
  }
  if (!fits(c, l, points, meta)) {
    return;
  }
  job->points = (int)points;
  job->grid = mv_config_alloc((size_t)meta * sizeof *job->grid);
  job->eta = mv_config_alloc((size_t)job->points * (size_t)meta * sizeof *job->eta);
  int stride = job->points;
  for (int m = 0; m < meta; m++) {
    job->grid[m] = l->axis[m].count;
    stride /= job->grid[m];
    for (int p = 0; p < job->points; p++) {
      job->eta[(size_t)p * (size_t)meta + (size_t)m] = l->axis[m].value[p / stride % job->grid[m]];
    }
  }
}

static void fill_points(struct mv_config *c, const struct lists *l, int meta, struct mv_job *job)
{
  bool zip = strcmp(l->key, "zip") == 0;
  int points = zip ? l->axis[0].count : l->count;
  if (!fits(c, l, points, meta)) {
    return;
  }
  job->points = points;
  job->eta = mv_config_alloc((size_t)points * (size_t)meta * sizeof *job->eta);
  for (int p = 0; p < points; p++) {
    for (int m = 0; m < meta; m++) {
      job->eta[(size_t)p * (size_t)meta + (size_t)m] = zip ? l->axis[m].value[p] : l->axis[p].value[m];
    }
  }
  check_distinct(c, l->key, zip ? l->axis[0].node : l->node, job->eta, points, meta);
}

static void read_form(struct mv_config *c, const char *key, struct mv_node *node, int meta, struct mv_job *job)
{
  struct lists l = {.key = key, .node = node};
  if (read_lists(c, &l) && check_lengths(c, &l, meta) && meta) {
    if (strcmp(key, "grid") == 0) {
      fill_grid(c, &l, meta, job);
    } else {
      fill_points(c, &l, meta, job);
    }
  }
  for (int i = 0; i < l.count; i++) {
    free(l.axis[i].value);
  }
  free(l.axis);
}

void mv_eta_read(struct mv_config *c, struct mv_node *eta, int meta, struct mv_job *job)
{
  static const char *const forms[] = {"grid", "zip", "points", NULL};
  if (eta->kind != MV_MAP) {
    mv_error_node(c, eta, "eta", "%s where a mapping belongs; write grid:, zip: or points: below it",
                  mv_node_kind_name(eta));
    return;
  }
  mv_keys_check(c, eta, "eta", NULL, NULL, forms);
  int given = 0;
  for (int i = 0; forms[i]; i++) {
    given += mv_node_get(eta, forms[i]) != NULL;
  }
  if (given != 1) {
    mv_error_node(c, eta, "eta", "%s of grid, zip and points; give one", given ? "more than one" : "none");
    return;
  }
  job->meta = meta;
  for (int i = 0; forms[i]; i++) {
    struct mv_node *node = mv_node_get(eta, forms[i]);
    if (node) {
      read_form(c, forms[i], node, meta, job);
    }
  }
}
