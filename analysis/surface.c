/* surface.c - the objective over the eta points, of entries that measure nothing else. */
#include <math.h>

#include "metavar/analysis.h"

bool mv_is_surface(const struct mv_plan *plan, int entry)
{
  return !plan->job->train.updates && plan->layout[entry].vectors == 0;
}

struct surface {
  int64_t count, nonfinite;
  double mean, square;
};

/* The objective is the only value. */
static void add_block(void *self, const struct mv_moments *block)
{
  struct surface *s = self;
  s->nonfinite += block->nonfinite;
  if (block->count > 0)
    s->count = mv_merge(1, s->count, &s->mean, &s->square, block->count, block->mean, block->comoment);
}

int mv_objective_write(FILE *file, struct mv_results *results)
{
  const struct mv_plan *plan = mv_results_plan(results);
  const struct mv_job *job = plan->job;
  int code = MV_EXIT_OK;
  fputs("entry,point", file);
  mv_csv_names(file, "eta", job->meta);
  fputs(",count,nonfinite,objective,objective_se\n", file);
  for (int cell = 0; cell < plan->cells && code == MV_EXIT_OK; cell++) {
    const struct mv_entry *e = &job->entries[mv_plan_entry(plan, cell)];
    const int point = mv_plan_point(plan, cell);
    if (!mv_is_surface(plan, mv_plan_entry(plan, cell)))
      continue;
    struct surface s = {0};
    code = mv_results_blocks(results, cell, add_block, &s);
    fprintf(file, "%s,%d", e->label, point);
    for (int j = 0; j < job->meta; j++)
      mv_csv_put(file, job->eta[(int64_t)point * job->meta + j]);
    fprintf(file, ",%lld,%lld", (long long)s.count, (long long)s.nonfinite);
    bool known = s.count > 1 && mv_entry_nest(e) == 1; /* else not independent */
    mv_csv_put(file, s.count > 0 ? s.mean : (double)NAN);
    mv_csv_put(file, known ? sqrt(s.square / (double)(s.count - 1) / (double)s.count) : (double)NAN);
    fputc('\n', file);
  }
  return code;
}
