/* columns.c - the columns of cells.csv, grid.csv and summary.json, named once. README.md in this folder explains them.
 */
#include <math.h>
#include <stdio.h>

#include "metavar/analysis.h"

static const char *role_name(enum mv_role role) { return role == MV_TARGET ? "target" : "gradient"; }

/* Which setting of which entry; an axis that it does not have is empty. */
static void label_columns(const struct mv_tables *t, int e, int s, const struct mv_sink *sink)
{
  const struct mv_layout *layout = &t->plan->layout[e];
  const struct mv_setting *setting = &t->entry[e].settings.at[s];
  const struct mv_output *output = &layout->output[setting->output];
  sink->text(sink->self, "entry", t->job->entries[e].label);
  sink->text(sink->self, "estimator", t->job->entries[e].estimator->name);
  sink->text(sink->self, "role", role_name(output->role));
  sink->text(sink->self, "output", output->name);
  for (int k = 0; k < t->axis_count; k++) {
    char text[MV_NAME_MAX + 1] = "";
    int axis = mv_setting_axis(layout, setting, t->axis[k]);
    if (axis >= 0)
      mv_axis_text(&output->axis[axis], setting->index[axis], text, sizeof text);
    sink->text(sink->self, t->axis[k], text);
  }
  sink->real(sink->self, "lambda", setting->lambda);
  sink->real(sink->self, "cost_primal", setting->primal);
  sink->real(sink->self, "cost_tangent", setting->tangent);
}

static void indexed(const struct mv_sink *sink, const char *name, const double *x, int count)
{
  for (int k = 0; k < count; k++) {
    char column[MV_NAME_MAX + 1];
    snprintf(column, sizeof column, "%s_%d", name, k);
    sink->real(sink->self, column, x[k]);
  }
}

void mv_cell_columns(const struct mv_tables *t, int e, int s, int point, const struct mv_sink *sink)
{
  int settings = t->entry[e].settings.count, meta = t->job->meta;
  int64_t at = (int64_t)point * settings + s;
  const struct mv_row *row = &t->entry[e].row[at];
  const double *mean = t->entry[e].coordinate + at * MV_COORDINATES * meta;
  label_columns(t, e, s, sink);
  sink->whole(sink->self, "point", point);
  indexed(sink, "eta", t->job->eta + (int64_t)point * meta, meta);
  sink->whole(sink->self, "count", row->count);
  sink->whole(sink->self, "nonfinite", row->nonfinite);
  sink->whole(sink->self, "groups", row->groups);
  for (int k = 0; k < MV_STATS; k++)
    sink->real(sink->self, mv_stat_names[k], row->stat[k]);
  sink->whole(sink->self, "largest_id", row->largest_id);
  indexed(sink, "mean", mean, meta);
  indexed(sink, "mean_se", mean + meta, meta);
  indexed(sink, "variance", mean + 2 * meta, meta);
}

void mv_grid_columns(const struct mv_tables *t, int e, int s, const struct mv_sink *sink)
{
  const struct mv_grid_row *row = &t->entry[e].grid[s];
  label_columns(t, e, s, sink);
  sink->whole(sink->self, "points", row->points);
  sink->whole(sink->self, "count", row->count);
  sink->whole(sink->self, "nonfinite", row->nonfinite);
  for (int k = 0; k < MV_AVERAGED; k++) {
    const char *name = mv_stat_names[mv_averaged[k].stat];
    const struct mv_figure *a = &row->average[k];
    const double value[] = {a->mean, a->se, a->eta_low, a->eta_high};
    static const char *const suffix[] = {"", "_se", "_eta_low", "_eta_high"};
    for (int v = 0; v < 4; v++) {
      char column[MV_NAME_MAX + 1];
      snprintf(column, sizeof column, "%s%s", name, suffix[v]);
      sink->real(sink->self, column, value[v]);
    }
  }
  sink->real(sink->self, "largest_share", row->largest_share);
}
