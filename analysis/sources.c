/* sources.c - where bias comes from, by switching one ingredient at a time.
 *
 * From a setting g with window T to the exact gradient, through settings and objectives between them:
 *     hessian      g - the same with the pathwise Hessian
 *     correction   that - the same with the full sampling correction (lambda = 1, meta-discount 1)
 *     credit       that - gradient of the window-weighted objective g_w(T): what cutting the tangent loses
 *     coverage     g_w(T) - gradient over the whole lifetime: what weighing steps by windows changes
 *     smoothing    gradient of the smoothed objective - exact gradient
 *     rest         what the run cannot tell apart; for es, its distance from its own target
 * A chain of differences d_k, so the vectors add up to total = g - reference exactly; and so do the projections d_k.total,
 * estimated without bias (vector.c), to the squared bias. The first steps compare settings of one entry, hence the same
 * samples; g_w(T), smoothed and exact gradients come from entries of the estimator `reference` where there are such.
 */
#include <math.h>
#include <string.h>

#include "metavar/analysis.h"
#include "metavar/memory.h"

#define LINKS_MAX 6

struct source {
  int member, setting;
  const char *name; /* in a piece's last row: total */
  struct mv_place from, to;
};

/* Position along an axis of the value called so, or -1. */
static int find_name(const struct mv_axis *axis, const char *name)
{
  for (int i = 0; i < axis->length; i++)
    if (strcmp(axis->value.names[i], name) == 0)
      return i;
  return -1;
}

static int find_one(const struct mv_axis *axis)
{
  for (int i = 0; i < axis->length; i++)
    if (mv_axis_number(axis, i) == 1)
      return i;
  return -1;
}

/* The setting of the same output with these indices and lambda; -1 none. */
static int find_setting(const struct mv_settings *all, const struct mv_setting *like, const int *index, double lambda)
{
  for (int s = 0; s < all->count; s++)
    if (all->at[s].output == like->output && memcmp(all->at[s].index, index, sizeof like->index) == 0 &&
        (all->at[s].lambda == lambda || like->base < 0))
      return s;
  return -1;
}

/* The same setting with the pathwise Hessian (full false), or moreover with the full correction. */
static int sibling(const struct mv_member *m, int setting, bool full)
{
  const struct mv_setting *s = &m->settings.at[setting];
  const struct mv_output *output = &m->layout->output[s->output];
  int index[MV_AXES_MAX], hessian = mv_setting_axis(m->layout, s, "hessian"),
                          discount = mv_setting_axis(m->layout, s, "meta_discount");
  memcpy(index, s->index, sizeof index);
  if (hessian >= 0)
    index[hessian] = find_name(&output->axis[hessian], "pathwise");
  if (full && discount >= 0)
    index[discount] = find_one(&output->axis[discount]);
  return find_setting(&m->settings, s, index, full && s->base >= 0 ? 1 : s->lambda);
}

struct chain {
  int count;
  struct mv_place at[LINKS_MAX + 1];
  const char *name[LINKS_MAX + 1]; /* of the step to the next place */
  bool gap;                        /* a place is missing: the next step is the rest */
};

/* Goes on to a place by a step of that name. The same place again is no step. */
static void go(struct chain *c, const char *name, struct mv_place to)
{
  struct mv_place here = c->at[c->count];
  if (to.member < 0) {
    c->gap = true;
    return;
  }
  if (to.member == here.member && to.setting == here.setting)
    return;
  c->name[c->count++] = c->gap ? "rest" : name;
  c->at[c->count] = to;
  c->gap = false;
}

static struct chain make_chain(const struct mv_tables *t, int e, int s)
{
  const struct mv_member *m = &t->member[e];
  const struct mv_aim aim = mv_member_aim(m, s);
  const bool component = m->settings.at[s].base >= 0;
  struct chain c = {.at = {{e, s}}};
  struct mv_aim window = aim, whole = {.length = t->job->lifetime_length, .smoothing = aim.smoothing};
  int pathwise = sibling(m, s, false), full = sibling(m, s, true);
  go(&c, "hessian", (struct mv_place){pathwise >= 0 ? e : -1, pathwise});
  go(&c, "correction", (struct mv_place){full >= 0 ? e : -1, full});
  bool cut = component && aim.length < whole.length;
  if (aim.length < whole.length)
    go(&c, cut ? "credit" : "rest", mv_find_aim(t, &window, e));
  if (aim.smoothing > 0)
    go(&c, aim.length < whole.length ? "coverage" : "rest", mv_find_aim(t, &whole, -1));
  go(&c, aim.smoothing > 0 ? "smoothing" : aim.length < whole.length ? "coverage" : "rest", t->reference);
  return c;
}

struct list {
  struct source *at;
  int count, pieces;
  int *first;
};

static void add_setting(const struct mv_tables *t, struct list *list, int e, int s)
{
  struct chain c = make_chain(t, e, s);
  list->at = mv_memory_grow(list->at, (size_t)(list->count + c.count + 1), sizeof *list->at);
  list->first = mv_memory_grow(list->first, (size_t)list->pieces + 2, sizeof *list->first);
  for (int k = 0; k < c.count; k++)
    list->at[list->count++] = (struct source){e, s, c.name[k], c.at[k], c.at[k + 1]};
  list->at[list->count++] = (struct source){e, s, "total", {e, s}, t->reference};
  list->first[++list->pieces] = list->count;
}

static void make_difference(struct mv_vector *v, const struct mv_panel *p, const struct source *s)
{
  mv_vector_make(v, p, 2, (struct mv_term[]){{s->from.member, s->from.setting, 1}, {s->to.member, s->to.setting, -1}});
}

static void fill(const struct mv_tables *t, struct mv_table *table, int piece, const struct mv_point *at, int point)
{
  const struct source *source = table->self;
  const int meta = t->job->meta, last = table->first[piece + 1] - 1;
  double *errors = mv_memory_take((size_t)t->options.resamples, sizeof *errors), se[meta];
  struct mv_vector total, d;
  make_difference(&total, at->panel, &source[last]);
  for (int row = table->first[piece]; row <= last; row++) {
    make_difference(&d, at->panel, &source[row]);
    struct mv_estimate size = mv_vector_product(&d, &d, t->options.confidence, errors);
    mv_table_set(t, table, row, point, 0, &size, errors);
    struct mv_estimate projection = mv_vector_product(&d, &total, t->options.confidence, errors);
    mv_table_set(t, table, row, point, 1, &projection, errors);
    double *vector = mv_table_vector(t, table, row, point);
    mv_vector_covariance(&d, &d, se);
    for (int m = 0; m < meta; m++) {
      vector[m] = d.value[m];
      vector[meta + m] = sqrt(se[m]);
    }
    mv_vector_free(&d);
  }
  mv_vector_free(&total);
  free(errors);
}

static void columns(const struct mv_tables *t, const struct mv_table *table, int row, int point,
                    const struct mv_sink *sink)
{
  const struct source *s = (const struct source *)table->self + row;
  const struct mv_estimate *size = mv_table_at(t, table, row, point), *projection = size + 1;
  const double *vector = mv_table_vector(t, table, row, point);
  mv_label_columns(t, s->member, s->setting, "", sink);
  sink->whole(sink->self, "point", point < t->job->points ? point : -1);
  sink->text(sink->self, "source", s->name);
  sink->real(sink->self, "size2_unbiased", size->value);
  sink->real(sink->self, "size2_se", size->se);
  sink->real(sink->self, "size2_low", size->low);
  sink->real(sink->self, "size2_high", size->high);
  sink->real(sink->self, "projection", projection->value);
  sink->real(sink->self, "projection_se", projection->se);
  sink->real(sink->self, "projection_low", projection->low);
  sink->real(sink->self, "projection_high", projection->high);
  mv_indexed_reals(sink, "term", vector, t->job->meta);
  mv_indexed_reals(sink, "term_se", vector + t->job->meta, t->job->meta);
}

void mv_sources_plan(const struct mv_tables *t, struct mv_table *table)
{
  struct list list = {mv_memory_take(1, sizeof *list.at), 0, 0, mv_memory_take(1, sizeof *list.first)};
  *list.at = (struct source){.member = -1, .name = ""};
  for (int e = 0; e < t->entries && t->reference.member >= 0; e++) {
    const struct mv_member *m = &t->member[e];
    for (int s = 0; s < m->settings.count; s++)
      if (!m->settings.at[s].hidden && m->layout->output[m->settings.at[s].output].role != MV_TARGET &&
          strcmp(mv_member_entry(m)->estimator->name, "reference") != 0)
        add_setting(t, &list, e, s);
  }
  *table = (struct mv_table){.file = "sources.csv",
                             .rows = list.count,
                             .pieces = list.pieces,
                             .figures = 2,
                             .cut = {true, false},
                             .by_point = true,
                             .self = list.at,
                             .first = list.first,
                             .fill = fill,
                             .columns = columns};
  mv_table_room(t, table, true);
}
