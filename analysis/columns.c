/* columns.c - the columns of cells.csv, grid.csv and summary.json, named once. README.md in this folder explains them.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "metavar/analysis.h"

static const char *role_name(enum mv_role role) { return role == MV_TARGET ? "target" : "gradient"; }

/* name followed by a suffix. */
struct column {
  char name[MV_NAME_MAX + 1];
};

static struct column join(const char *name, const char *suffix)
{
  struct column c;
  snprintf(c.name, sizeof c.name, "%s%s", name, suffix);
  return c;
}

static void text(const struct mv_sink *sink, const char *name, const char *suffix, const char *value)
{
  sink->text(sink->self, join(name, suffix).name, value);
}

void mv_named_real(const struct mv_sink *sink, const char *name, const char *suffix, double value)
{
  sink->real(sink->self, join(name, suffix).name, value);
}

/* An axis that the setting does not have is empty. */
void mv_label_columns(const struct mv_tables *t, int member, int s, const char *suffix, const struct mv_sink *sink)
{
  static const struct mv_setting none = {.lambda = NAN, .primal = NAN, .tangent = NAN};
  const struct mv_member *m = member < 0 ? NULL : &t->member[member];
  const struct mv_setting *setting = m ? &m->settings.at[s] : &none;
  const struct mv_output *output = m ? &m->layout->output[setting->output] : NULL;
  text(sink, "entry", suffix, m ? mv_member_entry(m)->label : "");
  text(sink, "estimator", suffix, m ? mv_member_entry(m)->estimator->name : "");
  text(sink, "role", suffix, m ? role_name(output->role) : "");
  text(sink, "output", suffix, m ? output->name : "");
  for (int k = 0; k < t->axis_count; k++) {
    char value[MV_NAME_MAX + 1] = "";
    int axis = m ? mv_setting_axis(m->layout, setting, t->axis[k]) : -1;
    if (axis >= 0)
      mv_axis_text(&output->axis[axis], setting->index[axis], value, sizeof value);
    text(sink, t->axis[k], suffix, value);
  }
  mv_named_real(sink, "lambda", suffix, setting->lambda);
  mv_named_real(sink, "cost_primal", suffix, setting->primal);
  mv_named_real(sink, "cost_tangent", suffix, setting->tangent);
}

void mv_setting_name(const struct mv_tables *t, int member, int s, const char *but, char *out, size_t size)
{
  const struct mv_member *m = &t->member[member];
  const struct mv_setting *setting = &m->settings.at[s];
  const struct mv_output *output = &m->layout->output[setting->output];
  size_t used = (size_t)snprintf(out, size, "%s", mv_member_entry(m)->label);
  for (int k = 0; k < output->rank - 1 && used < size; k++) {
    char value[MV_NAME_MAX + 1];
    bool idle = setting->lambda == 0 && strcmp(output->axis[k].name, "meta_discount") == 0;
    if (output->axis[k].length == 1 || idle || strstr(but, output->axis[k].name))
      continue;
    mv_axis_text(&output->axis[k], setting->index[k], value, sizeof value);
    used += (size_t)snprintf(out + used, size - used, " %s=%s", output->axis[k].name, value);
  }
  if (used < size && !isnan(setting->lambda) && !strstr(but, "lambda"))
    snprintf(out + used, size - used, " lambda=%.4g", setting->lambda);
}

void mv_indexed_reals(const struct mv_sink *sink, const char *name, const double *x, int count)
{
  for (int k = 0; k < count; k++) {
    char suffix[16];
    snprintf(suffix, sizeof suffix, "_%d", k);
    mv_named_real(sink, name, suffix, x[k]);
  }
}

void mv_cell_columns(const struct mv_tables *t, int e, int s, int point, const struct mv_sink *sink)
{
  static const struct mv_row none;
  const struct mv_member *m = e < 0 ? NULL : &t->member[e];
  const int meta = t->job->meta;
  const int64_t at = m ? (int64_t)point * m->settings.count + s : 0;
  const struct mv_row *row = m ? &m->row[at] : &none;
  double nothing[meta];
  memset(nothing, 0, sizeof nothing);
  mv_label_columns(t, e, s, "", sink);
  sink->whole(sink->self, "point", point);
  mv_indexed_reals(sink, "eta", t->job->eta + (int64_t)point * meta, meta);
  sink->whole(sink->self, "count", row->count);
  sink->whole(sink->self, "nonfinite", row->nonfinite);
  sink->whole(sink->self, "groups", row->groups);
  for (int k = 0; k < MV_STATS; k++)
    sink->real(sink->self, mv_stat_names[k], row->stat[k]);
  sink->whole(sink->self, "largest_id", row->largest_id);
  for (int k = 0; k < MV_COORDINATES; k++)
    mv_indexed_reals(sink, mv_coordinate_names[k], m ? m->coordinate + (at * MV_COORDINATES + k) * meta : nothing,
                     meta);
}

void mv_grid_columns(const struct mv_tables *t, int e, int s, const struct mv_sink *sink)
{
  static const struct mv_grid_row none;
  const struct mv_grid_row *row = e < 0 ? &none : &t->member[e].grid[s];
  mv_label_columns(t, e, s, "", sink);
  sink->whole(sink->self, "points", row->points);
  sink->whole(sink->self, "count", row->count);
  sink->whole(sink->self, "nonfinite", row->nonfinite);
  for (int k = 0; k < MV_AVERAGED; k++) {
    const struct mv_grid_mean *a = &row->average[k];
    const double value[] = {a->here.value, a->here.se, a->here.low, a->here.high, a->eta_low, a->eta_high};
    static const char *const suffix[] = {"", "_se", "_low", "_high", "_eta_low", "_eta_high"};
    for (int v = 0; v < 6; v++)
      mv_named_real(sink, mv_stat_names[mv_averaged[k].stat], suffix[v], value[v]);
  }
  sink->real(sink->self, "largest_share", row->largest_share);
  sink->real(sink->self, "hill_index", row->hill_index);
  sink->whole(sink->self, "tail_warnings", row->tail_warnings);
}
