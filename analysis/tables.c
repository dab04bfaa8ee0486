/* tables.c - a whole run: every cell read once, point by point, and the grid averages.
 *
 * At each eta point the reference is read first and kept block by block (one vector and its sums of squares each); then
 * every entry is reduced to its groups, compared and forgotten. Memory is that of one point's groups and of the rows.
 */
#include <math.h>
#include <string.h>

#include "metavar/analysis.h"
#include "metavar/memory.h"

#define FEW_GROUPS 20 /* below this a bootstrap error is a guess */

struct adding {
  struct mv_groups *groups;
  const struct mv_settings *settings;
  const struct mv_layout *layout;
};

static void add_block(void *self, const struct mv_moments *block)
{
  struct adding *a = self;
  mv_groups_add(a->groups, a->settings, a->layout, block);
}

static int64_t nest_of(const struct mv_entry *e) { return e->lifetimes_per_task * e->perturbations_per_lifetime; }

static int64_t blocks_of(const struct mv_job *job, const struct mv_entry *e)
{
  return (e->replicates + job->block - 1) / job->block;
}

/* Moments of one cell in groups of `width` blocks. */
static int read_cell(struct mv_results *results, const struct mv_tables *t, int e, int point,
                     const struct mv_settings *settings, int64_t width, struct mv_groups *out)
{
  *out = mv_groups_make(t->job->meta, settings->count, blocks_of(t->job, &t->job->entries[e]), width);
  struct adding a = {out, settings, &t->plan->layout[e]};
  return mv_results_blocks(results, e * t->job->points + point, add_block, &a);
}

static int find_reference(struct mv_tables *t, const char *label)
{
  t->reference = -1;
  for (int e = 0; e < t->job->entry_count && t->reference < 0; e++) {
    const struct mv_entry *entry = &t->job->entries[e];
    if (strcmp(label ? entry->label : entry->estimator->name, label ? label : "reference") == 0)
      t->reference = e;
  }
  if (t->reference >= 0)
    return MV_EXIT_OK;
  if (label) {
    fprintf(stderr, "metavar: --reference: no entry is labelled '%s'; there are:", label);
    for (int e = 0; e < t->job->entry_count; e++)
      fprintf(stderr, " %s", t->job->entries[e].label);
    fprintf(stderr, "\n");
    return MV_EXIT_USAGE;
  }
  fprintf(stderr, "metavar: note: the run has no entry of the estimator 'reference', so biases stay undefined; "
                  "--reference LABEL names another entry\n");
  return MV_EXIT_OK;
}

/* The one vector of the reference entry that others are compared with. */
static int make_reference(const struct mv_tables *t, struct mv_settings *out)
{
  *out = (struct mv_settings){0};
  if (t->reference < 0)
    return MV_EXIT_OK;
  *out = mv_settings_reference(&t->plan->layout[t->reference]);
  if (out->count == 1)
    return MV_EXIT_OK;
  fprintf(stderr,
          "metavar: entry '%s' cannot be the reference: it has %d gradients, not one; take an entry with one value "
          "along each axis\n",
          t->job->entries[t->reference].label, out->count);
  return MV_EXIT_USAGE;
}

static bool is_same(const struct mv_setting *a, const struct mv_setting *b)
{
  return a->first == b->first && a->base == b->base && (a->base < 0 || a->lambda == b->lambda);
}

static void blank_bias(struct mv_row *row)
{
  for (int k = MV_STAT_BIAS2_PLUGIN; k <= MV_STAT_RELATIVE_ERROR; k++)
    row->stat[k] = NAN;
}

static int fill_cell(struct mv_results *results, struct mv_tables *t, int e, int point, const struct mv_settings *one,
                     const struct mv_groups *reference)
{
  const struct mv_entry *entry = &t->job->entries[e];
  struct mv_entry_tables *into = &t->entry[e];
  struct mv_row *rows = into->row + (int64_t)point * into->settings.count;
  double *coordinates = into->coordinate + (int64_t)point * into->settings.count * MV_COORDINATES * t->job->meta;
  struct mv_groups groups;
  int64_t nest = nest_of(entry), width = mv_groups_width(blocks_of(t->job, entry), nest);
  int code = read_cell(results, t, e, point, &into->settings, width, &groups);
  if (code == MV_EXIT_OK)
    mv_cell_analyze(&t->options, &into->settings, &groups, nest, reference,
                    reference ? nest_of(&t->job->entries[t->reference]) : 1, (uint32_t)point, rows, coordinates);
  for (int s = 0; code == MV_EXIT_OK && e == t->reference && s < into->settings.count; s++)
    if (is_same(&into->settings.at[s], &one->at[0]))
      blank_bias(&rows[s]);
  if (point == 0 && groups.groups < FEW_GROUPS)
    fprintf(stderr,
            "metavar: note: entry '%s' has %d blocks of samples in a cell; errors are rough with less than %d: use a "
            "smaller `block` or more replicates\n",
            entry->label, groups.groups, FEW_GROUPS);
  mv_groups_free(&groups);
  return code;
}

static int fill_point(struct mv_results *results, struct mv_tables *t, int point, const struct mv_settings *one)
{
  struct mv_groups reference = {0};
  int code = MV_EXIT_OK;
  if (t->reference >= 0)
    code = read_cell(results, t, t->reference, point, one, 1, &reference);
  for (int e = 0; e < t->job->entry_count && code == MV_EXIT_OK; e++)
    if (t->entry[e].settings.count)
      code = fill_cell(results, t, e, point, one, t->reference >= 0 ? &reference : NULL);
  mv_groups_free(&reference);
  return code;
}

static void collect_axes(struct mv_tables *t, const struct mv_layout *layout)
{
  for (int o = 0; o < layout->output_count; o++) {
    const struct mv_output *output = &layout->output[o];
    if (output->role != MV_GRADIENT && output->role != MV_COMPONENT && output->role != MV_TARGET)
      continue;
    for (int a = 0; a < output->rank - 1; a++) {
      int known = 0;
      while (known < t->axis_count && strcmp(t->axis[known], output->axis[a].name) != 0)
        known++;
      if (known == t->axis_count && known < MV_OUTPUTS_MAX * MV_AXES_MAX)
        t->axis[t->axis_count++] = output->axis[a].name;
    }
  }
}

static void average(struct mv_tables *t)
{
  double *work = mv_memory_take((size_t)MV_GRID_RESAMPLES * MV_AVERAGED, sizeof *work);
  for (int e = 0; e < t->job->entry_count; e++) {
    struct mv_entry_tables *into = &t->entry[e];
    for (int s = 0; s < into->settings.count; s++)
      into->grid[s] = mv_grid_average(into->row + s, t->job->points, into->settings.count, t->job->meta,
                                      t->options.confidence, work);
  }
  free(work);
}

int mv_tables_make(struct mv_results *results, const struct mv_analysis *options, const double *lambda, int lambdas,
                   const char *label, struct mv_tables *t)
{
  *t = (struct mv_tables){.job = mv_results_job(results), .plan = mv_results_plan(results), .options = *options};
  struct mv_settings one = {0};
  t->entry = mv_memory_take((size_t)t->job->entry_count, sizeof *t->entry);
  int code = find_reference(t, label);
  if (code == MV_EXIT_OK)
    code = make_reference(t, &one);
  for (int e = 0; e < t->job->entry_count; e++) {
    struct mv_entry_tables *into = &t->entry[e];
    into->settings = mv_settings_make(&t->plan->layout[e], lambda, lambdas);
    size_t rows = (size_t)t->job->points * (size_t)into->settings.count;
    into->row = mv_memory_take(rows, sizeof *into->row);
    into->coordinate = mv_memory_take(rows * MV_COORDINATES * (size_t)t->job->meta, sizeof *into->coordinate);
    into->grid = mv_memory_take((size_t)into->settings.count, sizeof *into->grid);
    collect_axes(t, &t->plan->layout[e]);
  }
  for (int p = 0; p < t->job->points && code == MV_EXIT_OK; p++)
    code = fill_point(results, t, p, &one);
  if (code == MV_EXIT_OK)
    average(t);
  mv_settings_free(&one);
  return code;
}

void mv_tables_free(struct mv_tables *t)
{
  for (int e = 0; t->entry && e < t->job->entry_count; e++) {
    mv_settings_free(&t->entry[e].settings);
    free(t->entry[e].row);
    free(t->entry[e].coordinate);
    free(t->entry[e].grid);
  }
  free(t->entry);
  *t = (struct mv_tables){0};
}
