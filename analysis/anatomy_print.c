/* anatomy_print.c - where variance comes from, and the design that spends the run's steps best; averages over the points.
 */
#include <math.h>

#include "metavar/components.h"

#define SHOWN 12 /* settings of one entry */

/* Variance of the mean of K task instances, L lifetimes of each, P perturbations of each of these. */
static double mean_variance(const struct mv_component *row, double tasks, double lifetimes, double perturbations)
{
  return (row[MV_LEVEL_TASK].variance.value +
          (row[MV_LEVEL_LIFETIME].variance.value + row[MV_LEVEL_PERTURBATION].variance.value / perturbations) /
              lifetimes) /
         tasks;
}

/* A whole number, and never -0. */
static double percent(double share) { return round(100 * share) + 0.0; }

static void print_shares(FILE *out, const struct mv_entry *e, const struct mv_component *row)
{
  const double total = row[MV_LEVELS].variance.value;
  fprintf(out, "  variance %.3g (%.1g)", total, row[MV_LEVELS].variance.se);
  for (int level = 0; level < MV_LEVELS; level++)
    if (mv_component_name(e, level))
      fprintf(out, "  %s %.0f%% [%.0f, %.0f]", mv_component_name(e, level), percent(row[level].share),
              percent(row[level].variance.low / total), percent(row[level].variance.high / total));
}

/* What the steps of the run buy at a point; nothing of a target, which has no cost of its own. */
static void print_design(FILE *out, const struct mv_anatomy *a, const struct mv_member *m, int s,
                         const struct mv_component *row, const double best[2])
{
  const struct mv_entry *e = mv_member_entry(m);
  const double cost = m->settings.at[s].primal + m->settings.at[s].tangent, each = (double)mv_member_nest(m);
  const int points = a->tables->job->points;
  double tasks = 0;
  for (int p = 0; p < points; p++)
    tasks += (double)mv_member_replicates(m, p) / each / points;
  const double steps = tasks * (a->task_cost + each * cost);
  if (!isfinite(steps))
    return;
  const double better = floor(steps / (a->task_cost + best[0] * best[1] * cost));
  fprintf(out, "\n    %.2g steps: standard error %.2g as run", steps,
          sqrt(mean_variance(row, tasks, (double)e->lifetimes_per_task, (double)e->perturbations_per_lifetime)));
  if (isfinite(better) && better >= 1)
    fprintf(out, ", %.2g with %.0f task instances x %.0f %s", sqrt(mean_variance(row, better, best[0], best[1])),
            better, best[0] * best[1], e->lifetimes_per_task > 1 ? "lifetimes" : "perturbations");
  else if (isinf(best[0] * best[1]))
    fprintf(out, "; task instances do not differ measurably: few of them will do");
}

void mv_anatomy_print(FILE *out, const struct mv_anatomy *a)
{
  bool begun = false;
  for (int e = 0; e < a->tables->entries; e++) {
    const struct mv_member *m = &a->tables->member[e];
    for (int s = 0, shown = 0; a->rows[e] && s < m->settings.count; s++) {
      const struct mv_component *row = mv_anatomy_rows(a, e, s) + (int64_t)a->tables->job->points * MV_COMPONENTS;
      char name[160];
      double best[2];
      if (m->settings.at[s].hidden || (m->settings.at[s].base >= 0 && m->settings.at[s].lambda != 1))
        continue;
      if (!begun)
        fprintf(out,
                "\nwhere variance comes from: shares [%g %% interval]; designs at a cost of %g steps for a new task "
                "instance (--task-cost)\n",
                100 * a->tables->options.confidence, a->task_cost);
      begun = true;
      if (shown++ == SHOWN) {
        fprintf(out, "%s: more settings in components.csv\n", mv_member_entry(m)->label);
        break;
      }
      mv_setting_name(a->tables, e, s, "", name, sizeof name);
      mv_anatomy_best(a, e, s, row, best);
      const struct mv_output *output = &m->layout->output[m->settings.at[s].output];
      fprintf(out, output->role == MV_TARGET ? "%s (%s):" : "%s:", name, output->name);
      print_shares(out, mv_member_entry(m), row);
      print_design(out, a, m, s, row, best);
      fprintf(out, "\n");
    }
  }
}
