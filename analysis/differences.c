/* differences.c - paired differences: neighbours along one axis of an entry, and equal settings of two entries, the second
 * maybe of the reference run.
 *
 *     difference2     |E g_a - E g_b|^2, unbiased (vector.c)
 *     bias2_change    |bias of a|^2 - |bias of b|^2 = (g_a - g_b).(g_a + g_b - 2 r), unbiased
 *     variance_ratio  mean over the eta points of a's variance, over that of b's; interval on the logarithm
 * What the two share, they share in every draw, so their intervals are those of differences, much narrower than two
 * intervals side by side where a and b come from the same samples. Averages over the eta points only.
 */
#include <math.h>
#include <string.h>

#include "metavar/analysis.h"
#include "metavar/memory.h"

struct pair {
  struct mv_place a, b;
  struct mv_estimate ratio; /* of variances */
};

struct list {
  struct pair *at;
  int count;
};

static void add(struct list *list, int e, int s, int f, int u)
{
  list->at = mv_memory_grow(list->at, (size_t)list->count + 1, sizeof *list->at);
  list->at[list->count++] = (struct pair){.a = {e, s}, .b = {f, u}};
}

static const struct mv_output *output_of(const struct mv_member *m, int s)
{
  return &m->layout->output[m->settings.at[s].output];
}

/* Whether b comes one step after a along one axis, or along lambda, and all else is equal. */
static bool is_neighbour(const struct mv_member *m, int s, int u)
{
  const struct mv_setting *a = &m->settings.at[s], *b = &m->settings.at[u];
  const int axes = output_of(m, s)->rank - 1;
  bool same_lambda = a->lambda == b->lambda || (isnan(a->lambda) && isnan(b->lambda));
  int steps = same_lambda ? 0 : 1;
  if (a->output != b->output || (!same_lambda && u != s + 1)) /* lambda is the fastest axis */
    return false;
  for (int k = 0; k < axes; k++) {
    if (b->index[k] != a->index[k] && b->index[k] != a->index[k] + 1)
      return false;
    steps += b->index[k] != a->index[k];
  }
  return steps == 1;
}

/* Whether two settings of two entries have the same role, axes and values along them. */
static bool is_alike(const struct mv_tables *t, int e, int s, int f, int u)
{
  const struct mv_member *m = &t->member[e], *n = &t->member[f];
  const struct mv_setting *a = &m->settings.at[s], *b = &n->settings.at[u];
  if ((output_of(m, s)->role == MV_TARGET) != (output_of(n, u)->role == MV_TARGET) ||
      !(a->lambda == b->lambda || (isnan(a->lambda) && isnan(b->lambda))))
    return false;
  for (int k = 0; k < t->axis_count; k++) {
    int i = mv_setting_axis(m->layout, a, t->axis[k]), j = mv_setting_axis(n->layout, b, t->axis[k]);
    char one[MV_NAME_MAX + 1] = "", other[MV_NAME_MAX + 1] = "";
    if (i >= 0)
      mv_axis_text(&output_of(m, s)->axis[i], a->index[i], one, sizeof one);
    if (j >= 0)
      mv_axis_text(&output_of(n, u)->axis[j], b->index[j], other, sizeof other);
    if (strcmp(one, other) != 0)
      return false;
  }
  return true;
}

static void fill(const struct mv_tables *t, struct mv_table *table, int row, const struct mv_point *at, int point)
{
  const struct pair *p = (const struct pair *)table->self + row;
  const struct mv_term a = {p->a.member, p->a.setting, 1}, b = {p->b.member, p->b.setting, 1};
  const struct mv_term minus_b = {p->b.member, p->b.setting, -1},
                       both = {t->reference.member, t->reference.setting, -2};
  double *errors = mv_memory_take((size_t)t->options.resamples, sizeof *errors);
  struct mv_estimate change = {NAN, NAN, NAN, NAN};
  struct mv_vector d, sum;
  mv_vector_make(&d, at->panel, 2, (struct mv_term[]){a, minus_b});
  struct mv_estimate square = mv_vector_product(&d, &d, t->options.confidence, errors);
  mv_table_set(t, table, row, point, 0, &square, errors);
  if (at->compared) {
    mv_vector_make(&sum, at->panel, 3, (struct mv_term[]){a, b, both});
    change = mv_vector_product(&d, &sum, t->options.confidence, errors);
    mv_vector_free(&sum);
  }
  mv_table_set(t, table, row, point, 1, &change, errors);
  mv_vector_free(&d);
  free(errors);
}

static void finish_row(const struct mv_tables *t, struct pair *p)
{
  const struct mv_average *a = &t->member[p->a.member].average[p->a.setting * MV_FIGURES + MV_FIGURE_VARIANCE];
  const struct mv_average *b = &t->member[p->b.member].average[p->b.setting * MV_FIGURES + MV_FIGURE_VARIANCE];
  const double va = a->sum / a->points, vb = b->sum / b->points;
  double *errors = mv_memory_take((size_t)t->options.resamples, sizeof *errors);
  struct mv_estimate log_ratio = {log(va / vb), NAN, NAN, NAN};
  for (int r = 0; r < t->options.resamples; r++)
    errors[r] = log(va + a->errors[r]) - log(vb + b->errors[r]) - log_ratio.value;
  mv_estimate_bound(&log_ratio, t->options.resamples, errors, t->options.confidence, false);
  p->ratio = (struct mv_estimate){va / vb, va / vb * mv_deviation(errors, t->options.resamples), exp(log_ratio.low),
                                  exp(log_ratio.high)};
  free(errors);
}

static void finish(const struct mv_tables *t, struct mv_table *table)
{
  struct pair *pair = table->self;
  for (int row = 0; row < table->rows; row++)
    finish_row(t, &pair[row]);
}

static void estimate_columns(const struct mv_sink *sink, const char *name, const char *value,
                             const struct mv_estimate *e)
{
  mv_named_real(sink, name, value, e->value);
  mv_named_real(sink, name, "_se", e->se);
  mv_named_real(sink, name, "_low", e->low);
  mv_named_real(sink, name, "_high", e->high);
}

static void columns(const struct mv_tables *t, const struct mv_table *table, int row, int point,
                    const struct mv_sink *sink)
{
  const struct pair *p = (const struct pair *)table->self + row;
  const struct mv_estimate *e = mv_table_at(t, table, row, point);
  mv_label_columns(t, p->a.member, p->a.setting, "_a", sink);
  mv_label_columns(t, p->b.member, p->b.setting, "_b", sink);
  estimate_columns(sink, "difference2", "_unbiased", &e[0]);
  estimate_columns(sink, "bias2_change", "", &e[1]);
  estimate_columns(sink, "variance_ratio", "", &p->ratio);
}

void mv_differences_plan(const struct mv_tables *t, struct mv_table *table)
{
  struct list list = {.at = mv_memory_take(1, sizeof *list.at)};
  *list.at = (struct pair){.a = {-1, -1}, .b = {-1, -1}};
  for (int e = 0; e < t->entries; e++) {
    const struct mv_settings *own = &t->member[e].settings;
    for (int s = 0; s < own->count; s++)
      for (int u = s + 1; u < own->count; u++)
        if (!own->at[s].hidden && !own->at[u].hidden && is_neighbour(&t->member[e], s, u))
          add(&list, e, s, e, u);
    for (int f = e + 1; f < t->members; f++)
      for (int s = 0; s < own->count; s++)
        for (int u = 0; u < t->member[f].settings.count; u++)
          if (!own->at[s].hidden && (t->member[f].guest || !t->member[f].settings.at[u].hidden) &&
              is_alike(t, e, s, f, u))
            add(&list, e, s, f, u);
  }
  *table = (struct mv_table){.file = "differences.csv",
                             .rows = list.count,
                             .pieces = list.count,
                             .figures = 2,
                             .cut = {true, false},
                             .self = list.at,
                             .fill = fill,
                             .finish = finish,
                             .columns = columns};
  mv_table_room(t, table, false);
}
