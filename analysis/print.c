/* print.c - the table of grid averages for people: the rows of Vuorio et al. 2022, which vary the sampling correction's
 * coefficient at full meta-discount and the meta-discount at coefficient 1. grid.csv has all rows. */
#include <math.h>

#include "metavar/analysis.h"

/* Index of meta-discount 1, or of the largest. */
static int full_discount(const struct mv_axis *axis)
{
  int best = 0;
  for (int i = 1; i < axis->length; i++)
    if (mv_axis_number(axis, i) > mv_axis_number(axis, best))
      best = i;
  return best;
}

static bool is_shown(const struct mv_layout *layout, const struct mv_setting *s)
{
  int axis = mv_setting_axis(layout, s, "meta_discount");
  if (isnan(s->lambda) || s->lambda == 1 || axis < 0)
    return true;
  return s->index[axis] == full_discount(&layout->output[s->output].axis[axis]);
}

static void print_average(FILE *out, const struct mv_estimate *a, double unit, const char *format)
{
  char text[64] = "-";
  if (!isnan(a->value)) {
    int n = snprintf(text, sizeof text, format, a->value * unit);
    if (!isnan(a->se))
      snprintf(text + n, sizeof text - (size_t)n, " (%.1g)", a->se * unit);
  }
  fprintf(out, "  %18s", text);
}

static const struct mv_estimate *find(const struct mv_grid_row *row, enum mv_stat stat)
{
  int k = 0;
  while (mv_averaged[k].stat != stat)
    k++;
  return &row->average[k].here;
}

static void print_header(FILE *out, const struct mv_tables *t, int e, int o)
{
  const struct mv_output *output = &t->member[e].layout->output[o];
  fprintf(out, "\n%s: %s%s\n", t->job->entries[e].label, output->name,
          output->role == MV_TARGET ? " (estimates another objective's gradient)" : "");
  for (int a = 0; a < output->rank - 1; a++)
    fprintf(out, "%14s", output->axis[a].name);
  if (output->role == MV_COMPONENT)
    fprintf(out, "%8s", "lambda");
  fprintf(out, "  %18s  %18s  %18s  %18s  %8s\n", "variance", "v22_bias e-4", "unbiased e-4", "cosine", "largest");
}

static void print_row(FILE *out, const struct mv_tables *t, int e, int s)
{
  const struct mv_setting *setting = &t->member[e].settings.at[s];
  const struct mv_output *output = &t->member[e].layout->output[setting->output];
  const struct mv_grid_row *row = &t->member[e].grid[s];
  for (int a = 0; a < output->rank - 1; a++) {
    char text[MV_NAME_MAX + 1];
    mv_axis_text(&output->axis[a], setting->index[a], text, sizeof text);
    fprintf(out, "%14s", text);
  }
  if (output->role == MV_COMPONENT)
    fprintf(out, "%8.4g", setting->lambda);
  print_average(out, find(row, MV_STAT_VARIANCE), 1, "%.4g");
  print_average(out, find(row, MV_STAT_V22_BIAS), 1e4, "%.4g");
  print_average(out, find(row, MV_STAT_V22_BIAS_UNBIASED), 1e4, "%.4g");
  print_average(out, find(row, MV_STAT_COSINE), 1, "%.4f");
  if (isnan(row->largest_share))
    fprintf(out, "  %8s", "-");
  else
    fprintf(out, "  %7.2g%%", 100 * row->largest_share);
  if (row->tail_warnings)
    fprintf(out, "  heavy tail at %d of %d points", row->tail_warnings, row->points);
  if (row->nonfinite)
    fprintf(out, "  %lld of %lld samples not finite", (long long)row->nonfinite,
            (long long)(row->nonfinite + row->count));
  fprintf(out, "\n");
}

void mv_table_print(FILE *out, const struct mv_tables *t)
{
  fprintf(out, "%s: averages over %d eta points; (standard error); ", t->job->name, t->job->points);
  if (t->reference.member >= 0)
    fprintf(out, "bias against entry '%s'%s\n", mv_member_entry(&t->member[t->reference.member])->label,
            t->member[t->reference.member].guest ? " of the reference run" : "");
  else
    fprintf(out, "no reference\n");
  fprintf(out, "variance: sum over coordinates. v22_bias: mean over coordinates of squared bias. largest: largest "
               "sample's share of "
               "sum |g|^2 at the worst point\n"
               "shown: all lambda at meta_discount 1, all meta_discount at lambda 1; everything is in grid.csv\n");
  for (int e = 0; e < t->job->entry_count; e++) {
    const struct mv_settings *settings = &t->member[e].settings;
    for (int s = 0; s < settings->count; s++) {
      if (s == 0 || settings->at[s].output != settings->at[s - 1].output)
        print_header(out, t, e, settings->at[s].output);
      if (!settings->at[s].hidden && is_shown(t->member[e].layout, &settings->at[s]))
        print_row(out, t, e, s);
    }
  }
}
