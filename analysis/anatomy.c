/* anatomy.c - where the variance of every nested design of a run comes from: reads samples, writes components.csv.
 *
 * Without repetitions at a level its component lies in another one and the name says so: with one lifetime of each task
 * instance "task+lifetime", with one perturbation of each lifetime "lifetime+perturbation" of an estimator that perturbs.
 */
#include <math.h>
#include <string.h>

#include "metavar/components.h"
#include "metavar/memory.h"

struct gathering {
  const struct mv_member *member;
  struct mv_nested *nested;
  double *g; /* [settings][meta] */
};

static void gather(void *self, const struct mv_samples *samples)
{
  struct gathering *into = self;
  const struct mv_settings *settings = &into->member->settings;
  const int64_t stride = into->member->layout->values;
  for (int64_t r = 0; r < samples->count; r++) {
    if (samples->status[r] != MV_OK)
      continue;
    for (int s = 0; s < settings->count; s++)
      mv_setting_sample(&settings->at[s], settings->meta, samples->values + r * stride, into->g + s * settings->meta);
    mv_nested_add(into->nested, samples->first + r, into->g);
  }
}

static int read_cell(const struct mv_member *m, int point, struct mv_nested *nested)
{
  const struct mv_entry *e = mv_member_entry(m);
  *nested = mv_nested_make(m->settings.meta, m->settings.count, mv_member_replicates(m, point), e->lifetimes_per_task,
                           e->perturbations_per_lifetime);
  struct gathering into = {m, nested,
                           mv_memory_take((size_t)m->settings.count * (size_t)m->settings.meta, sizeof(double))};
  int code = mv_results_samples(m->results, m->number * m->job->points + point, gather, &into);
  mv_nested_end(nested);
  free(into.g);
  return code;
}

struct making {
  const struct mv_tables *tables;
  const struct mv_nested *cells;
  struct mv_redraws redraws;
  struct mv_component *rows;
};

static void make_setting(void *self, int s)
{
  struct making *m = self;
  mv_components_make(m->cells, m->tables->job->points, s, &m->redraws, m->tables->options.confidence,
                     m->rows + (int64_t)s * (m->tables->job->points + 1) * MV_COMPONENTS);
}

static int make_entry(struct mv_anatomy *a, int e)
{
  const struct mv_tables *t = a->tables;
  const struct mv_member *m = &t->member[e];
  struct mv_nested *cells = mv_memory_take((size_t)t->job->points, sizeof *cells);
  int code = MV_EXIT_OK;
  for (int p = 0; p < t->job->points && code == MV_EXIT_OK; p++)
    code = read_cell(m, p, &cells[p]);
  if (code == MV_EXIT_OK) {
    a->rows[e] =
        mv_memory_take((size_t)m->settings.count * (size_t)(t->job->points + 1) * MV_COMPONENTS, sizeof **a->rows);
    struct making make = {t, cells, mv_redraws_make(t->options.resamples, cells, t->job->points), a->rows[e]};
    mv_parallel(m->settings.count, INFINITY, make_setting, &make);
    mv_redraws_free(&make.redraws);
  }
  for (int p = 0; p < t->job->points; p++)
    mv_nested_free(&cells[p]);
  free(cells);
  return code;
}

int mv_anatomy_make(struct mv_anatomy *a, struct mv_tables *t, double task_cost)
{
  int code = MV_EXIT_OK;
  *a = (struct mv_anatomy){.tables = t, .task_cost = task_cost};
  a->rows = mv_memory_take((size_t)t->entries, sizeof(struct mv_component *));
  for (int e = 0; e < t->entries && code == MV_EXIT_OK; e++) {
    const struct mv_entry *entry = mv_member_entry(&t->member[e]);
    if (mv_member_nest(&t->member[e]) == 1 || t->member[e].settings.count == 0)
      continue;
    if (entry->store == MV_STORE_SAMPLES)
      code = make_entry(a, e);
    else
      mv_warn(t,
              "entry '%s' is a nested design, but its moments do not tell task instances, lifetimes and perturbations "
              "apart; components.csv needs `store: samples`",
              entry->label);
  }
  return code;
}

void mv_anatomy_free(struct mv_anatomy *a)
{
  for (int e = 0; a->rows && e < a->tables->entries; e++)
    free(a->rows[e]);
  free(a->rows);
  *a = (struct mv_anatomy){0};
}

/* --- output ------------------------------------------------------------------------------------------------------ */

const char *mv_component_name(const struct mv_entry *e, int level)
{
  bool lifetimes = e->lifetimes_per_task > 1, perturbations = e->perturbations_per_lifetime > 1;
  switch (level) {
  case MV_LEVEL_TASK:
    return lifetimes ? "task" : "task+lifetime";
  case MV_LEVEL_LIFETIME:
    return !lifetimes ? NULL : perturbations || !e->estimator->perturbs ? "lifetime" : "lifetime+perturbation";
  case MV_LEVEL_PERTURBATION:
    return perturbations ? "perturbation" : NULL;
  default:
    return "total";
  }
}

const struct mv_component *mv_anatomy_rows(const struct mv_anatomy *a, int e, int s)
{
  return a->rows[e] + (int64_t)s * (a->tables->job->points + 1) * MV_COMPONENTS;
}

/* Lifetimes of one task instance and perturbations of one lifetime: all repetitions at the level below the task's. */
void mv_anatomy_best(const struct mv_anatomy *a, int e, int s, const struct mv_component *row, double best[2])
{
  const struct mv_member *m = &a->tables->member[e];
  double task = row[MV_LEVEL_TASK].variance.value, all = row[MV_LEVELS].variance.value;
  double repeats =
      mv_best_lifetimes(task, all - task, m->settings.at[s].primal + m->settings.at[s].tangent, a->task_cost);
  bool lifetimes = mv_member_entry(m)->lifetimes_per_task > 1;
  best[0] = lifetimes ? repeats : 1;
  best[1] = lifetimes ? 1 : repeats;
}

struct place {
  int entry, setting, point, level;
};

/* Row number to place, skipping what is not there. */
static bool find_row(const struct mv_anatomy *a, int64_t row, struct place *out)
{
  const int points = a->tables->job->points;
  for (int e = 0; e < a->tables->entries; e++) {
    const struct mv_member *m = &a->tables->member[e];
    for (int s = 0; a->rows[e] && s < m->settings.count; s++)
      for (int level = 0; level < MV_COMPONENTS; level++) {
        if (m->settings.at[s].hidden || !mv_component_name(mv_member_entry(m), level))
          continue;
        if (row <= points) {
          *out = (struct place){e, s, (int)row, level};
          return true;
        }
        row -= points + 1;
      }
  }
  return false;
}

static void columns(const void *self, int64_t row, const struct mv_sink *sink)
{
  const struct mv_anatomy *a = self;
  static const struct mv_component none[MV_COMPONENTS];
  const struct mv_component *own = none;
  const char *name = "";
  struct place at = {.entry = -1};
  double best[2] = {NAN, NAN};
  if (find_row(a, row, &at)) {
    own = mv_anatomy_rows(a, at.entry, at.setting) + (int64_t)at.point * MV_COMPONENTS;
    name = mv_component_name(mv_member_entry(&a->tables->member[at.entry]), at.level);
    mv_anatomy_best(a, at.entry, at.setting, own, best);
  }
  const struct mv_estimate *v = &own[at.level].variance;
  mv_label_columns(a->tables, at.entry, at.setting, "", sink);
  sink->whole(sink->self, "point", at.point < a->tables->job->points ? at.point : -1);
  sink->text(sink->self, "component", name);
  mv_named_real(sink, "variance", "", v->value);
  mv_named_real(sink, "variance", "_se", v->se);
  mv_named_real(sink, "variance", "_low", v->low);
  mv_named_real(sink, "variance", "_high", v->high);
  sink->real(sink->self, "share", own[at.level].share);
  sink->real(sink->self, "best_lifetimes", best[0]);
  sink->real(sink->self, "best_perturbations", best[1]);
}

void mv_components_write(FILE *file, const struct mv_anatomy *a)
{
  struct place at;
  int64_t rows = 0;
  while (find_row(a, rows, &at))
    rows += a->tables->job->points + 1;
  mv_rows_write(file, rows, columns, a);
}
