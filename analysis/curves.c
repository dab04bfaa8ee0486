/* curves.c - learning curves: means over seeds, every path of eta, and where curves end.
 *
 * Seeds are independent, so the standard error of a mean over S seeds is their standard deviation / sqrt(S). A seed whose
 * value is not finite is left out of a mean, and the mean says over how many it is. Where a curve ends is its mean over
 * the last tenth of its updates: sgd with a constant step goes on to wander around a point.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "metavar/analysis.h"
#include "metavar/memory.h"
#include "metavar/train.h"

#define ROWS_MOST  2000 /* of one curve in curves.csv; */
#define GOING_MOST 60   /* likewise where lifetimes go on: means that follow each other, no evaluations */
#define PATH_MOST  500  /* in paths.csv */
#define LAST_SHARE 10   /* the end: one part in so many */

/* The columns of one curve, all updates. */
struct curve {
  double *eta, *objective, *evaluated, *evaluated_se, *norm, *steps, *nonfinite;
};

/* The curves of one entry from one start. */
struct bundle {
  const struct mv_plan *plan;
  int entry, start, seeds;
  int64_t rows;
  struct curve *curve; /* [seeds] */
};

double *mv_curve_column(struct mv_results *results, int cell, const char *name, bool *fine)
{
  const struct mv_plan *plan = mv_results_plan(results);
  const int e = mv_plan_entry(plan, cell);
  const struct mv_layout *layout = &plan->layout[e];
  int o = 0;
  while (strcmp(layout->output[o].name, name) != 0)
    o++;
  assert(o < layout->output_count);
  int64_t rows = mv_job_rows(plan->job, e);
  double *out = mv_memory_take((size_t)(rows * layout->size[o]), sizeof *out);
  *fine = *fine && mv_results_output(results, cell, o, 0, rows, out);
  for (int64_t k = 0; layout->output[o].role == MV_NOTE && k < rows * layout->size[o]; k++)
    out[k] = (double)((int64_t *)out)[k];
  return out;
}

static void bundle_free(struct bundle *b)
{
  for (int s = 0; s < b->seeds; s++) {
    free(b->curve[s].eta);
    free(b->curve[s].objective);
    free(b->curve[s].evaluated);
    free(b->curve[s].evaluated_se);
    free(b->curve[s].norm);
    free(b->curve[s].steps);
    free(b->curve[s].nonfinite);
  }
  free(b->curve);
}

/* False: cannot be read, told. */
static bool bundle_read(struct mv_results *results, int entry, int start, struct bundle *b)
{
  const struct mv_plan *plan = mv_results_plan(results);
  bool fine = true;
  *b = (struct bundle){plan, entry, start, (int)plan->job->train.seeds, mv_job_rows(plan->job, entry), NULL};
  b->curve = mv_memory_take((size_t)b->seeds, sizeof *b->curve);
  for (int s = 0; s < b->seeds; s++) {
    int cell = entry * plan->job->points + start * b->seeds + s;
    b->curve[s] = (struct curve){.eta = mv_curve_column(results, cell, "eta", &fine),
                                 .objective = mv_curve_column(results, cell, "objective", &fine),
                                 .evaluated = mv_curve_column(results, cell, "evaluated", &fine),
                                 .evaluated_se = mv_curve_column(results, cell, "evaluated_se", &fine),
                                 .norm = mv_curve_column(results, cell, "gradient_norm", &fine),
                                 .steps = mv_curve_column(results, cell, "steps", &fine),
                                 .nonfinite = mv_curve_column(results, cell, "nonfinite", &fine)};
  }
  return fine;
}

/* Mean over seeds, its standard error, and over how many. */
struct mean {
  double mean, error;
  int count;
};

static struct mean mean_of(const double *x, int seeds)
{
  struct mean m = {0, 0, 0};
  for (int s = 0; s < seeds; s++)
    if (isfinite(x[s])) {
      m.mean += x[s];
      m.count++;
    }
  m.mean = m.count ? m.mean / m.count : (double)NAN;
  for (int s = 0; s < seeds; s++)
    m.error += isfinite(x[s]) ? (x[s] - m.mean) * (x[s] - m.mean) : 0;
  m.error = m.count > 1 ? sqrt(m.error / (m.count - 1) / m.count) : (double)NAN;
  return m;
}

void mv_start_put(FILE *file, const struct mv_plan *plan, int entry, int start)
{
  const struct mv_job *job = plan->job;
  const struct mv_entry *e = &job->entries[entry];
  const char *shaping = mv_shaping_names[mv_shaping_of(e->estimator, e->settings)];
  fprintf(file, "%s,%s,%s,%d", e->label, e->estimator->name, shaping, start);
  for (int j = 0; j < job->meta; j++)
    mv_csv_put(file, job->eta[start * job->train.seeds * job->meta + j]);
}

/* Calls write for every entry and start. Exit code. */
static int each_bundle(struct mv_results *results, FILE *file, void (*write)(FILE *, const struct bundle *))
{
  const struct mv_job *job = mv_results_job(results);
  bool fine = true;
  for (int e = 0; e < job->entry_count; e++)
    for (int start = 0; start < job->points / (int)job->train.seeds && fine; start++) {
      struct bundle b;
      fine = bundle_read(results, e, start, &b);
      if (fine)
        write(file, &b);
      bundle_free(&b);
    }
  return fine ? MV_EXIT_OK : MV_EXIT_DATA;
}

/* --- curves.csv --------------------------------------------------------------------------------------------------- */

int64_t mv_curve_stride(const struct mv_job *job, int entry, int64_t most)
{
  int64_t every = job->train.evaluate_every > 0 ? job->train.evaluate_every : 1;
  int64_t rows = (mv_job_rows(job, entry) + every - 1) / every;
  return every * ((rows + most - 1) / most);
}

/* Mean of a column over updates (u - stride, u]. */
static double running(const double *x, int64_t u, int64_t stride)
{
  int64_t first = u - stride + 1 > 0 ? u - stride + 1 : 0;
  double sum = 0;
  for (int64_t k = first; k <= u; k++)
    sum += x[k];
  return sum / (double)(u - first + 1);
}

static void write_row(FILE *file, const struct bundle *b, int64_t u, int64_t stride)
{
  const int meta = b->plan->job->meta;
  const struct mv_layout *layout = &b->plan->layout[b->entry];
  double each = (double)b->plan->job->entries[b->entry].replicates, x[3][b->seeds], eta[b->seeds];
  for (int s = 0; s < b->seeds; s++) {
    x[0][s] = b->curve[s].evaluated[u];
    x[1][s] = running(b->curve[s].objective, u, stride);
    x[2][s] = b->curve[s].norm[u];
  }
  struct mean m[3] = {mean_of(x[0], b->seeds), mean_of(x[1], b->seeds), mean_of(x[2], b->seeds)};
  if (b->seeds == 1)
    m[0].error = b->curve[0].evaluated_se[u];
  mv_start_put(file, b->plan, b->entry, b->start);
  fprintf(file, ",%lld", (long long)u);
  mv_csv_put(file, (double)u * each * layout->primal[0]);
  mv_csv_put(file, (double)u * each * layout->tangent[0]);
  mv_csv_put(file, mv_job_carries(b->plan->job) ? (double)((u + 1) * b->plan->job->lifetime_length) : (double)NAN);
  for (int k = 0; k < 3; k++) {
    fprintf(file, ",%d", m[k].count);
    mv_csv_put(file, m[k].mean);
    mv_csv_put(file, m[k].error);
  }
  struct mean at[meta];
  for (int j = 0; j < meta; j++) {
    for (int s = 0; s < b->seeds; s++)
      eta[s] = b->curve[s].eta[u * meta + j];
    at[j] = mean_of(eta, b->seeds);
    mv_csv_put(file, at[j].mean);
  }
  for (int j = 0; j < meta; j++)
    mv_csv_put(file, at[j].error);
  fputc('\n', file);
}

static void write_curve(FILE *file, const struct bundle *b)
{
  int64_t stride = mv_curve_stride(b->plan->job, b->entry, mv_job_carries(b->plan->job) ? GOING_MOST : ROWS_MOST);
  for (int64_t u = 0; u < b->rows; u += stride)
    write_row(file, b, u, stride);
}

int mv_curves_write(FILE *file, struct mv_results *results)
{
  const int meta = mv_results_job(results)->meta;
  fputs("entry,estimator,shaping,start", file);
  mv_csv_names(file, "start", meta);
  fputs(",update,spent_primal,spent_tangent,lifetime_steps,evaluated_seeds,evaluated,evaluated_se,objective_seeds,"
        "objective,objective_"
        "se,gradient_norm_seeds,gradient_norm,gradient_norm_se",
        file);
  mv_csv_names(file, "eta", meta);
  mv_csv_names(file, "eta_se", meta);
  fputc('\n', file);
  return each_bundle(results, file, write_curve);
}

/* --- paths.csv ---------------------------------------------------------------------------------------------------- */

static void write_path(FILE *file, const struct bundle *b)
{
  const int meta = b->plan->job->meta;
  int64_t stride = (b->rows + PATH_MOST - 1) / PATH_MOST;
  for (int s = 0; s < b->seeds; s++)
    for (int64_t u = 0; u < b->rows; u = u + 1 < b->rows && u + stride >= b->rows ? b->rows - 1 : u + stride) {
      mv_start_put(file, b->plan, b->entry, b->start);
      fprintf(file, ",%d,%lld", s, (long long)u);
      for (int j = 0; j < meta; j++)
        mv_csv_put(file, b->curve[s].eta[u * meta + j]);
      fputc('\n', file);
    }
}

int mv_paths_write(FILE *file, struct mv_results *results)
{
  const int meta = mv_results_job(results)->meta;
  fputs("entry,estimator,shaping,start", file);
  mv_csv_names(file, "start", meta);
  fputs(",seed,update", file);
  mv_csv_names(file, "eta", meta);
  fputc('\n', file);
  return each_bundle(results, file, write_path);
}

/* --- ends.csv ----------------------------------------------------------------------------------------------------- */

/* Of one coordinate over the last updates of one curve: mean and standard deviation. */
static struct mean end_of(const double *eta, int meta, int j, int64_t first, int64_t rows)
{
  struct mean m = {0, 0, 0};
  for (int64_t u = first; u < rows; u++)
    m.mean += eta[u * meta + j] / (double)(rows - first);
  for (int64_t u = first; u < rows; u++)
    m.error += (eta[u * meta + j] - m.mean) * (eta[u * meta + j] - m.mean);
  m.error = rows - first > 1 ? sqrt(m.error / (double)(rows - first - 1)) : (double)NAN;
  return m;
}

/* The last update that was evaluated. */
static int64_t last_evaluated(const struct bundle *b)
{
  int64_t every = b->plan->job->train.evaluate_every;
  return every > 0 ? (b->rows - 1) / every * every : b->rows - 1;
}

/* Updates that were not taken, and replicates left out, of all seeds. */
static void put_lost(FILE *file, const struct bundle *b)
{
  double skipped = 0, nonfinite = 0;
  for (int s = 0; s < b->seeds; s++) {
    skipped += (double)(b->rows - 1) - b->curve[s].steps[b->rows - 1];
    for (int64_t u = 0; u < b->rows; u++)
      nonfinite += b->curve[s].nonfinite[u];
  }
  fprintf(file, ",%.0f,%.0f", skipped, nonfinite);
}

static void write_end(FILE *file, const struct bundle *b)
{
  const int meta = b->plan->job->meta;
  int64_t first = b->rows - 1 - (b->rows - 1) / LAST_SHARE, last = last_evaluated(b);
  double *eta = mv_memory_take((size_t)b->seeds, sizeof *eta), wander[meta];
  struct mean at[meta];
  for (int j = 0; j < meta; j++) {
    wander[j] = 0;
    for (int s = 0; s < b->seeds; s++) {
      struct mean end = end_of(b->curve[s].eta, meta, j, first, b->rows);
      eta[s] = end.mean;
      wander[j] += end.error * end.error / b->seeds;
    }
    at[j] = mean_of(eta, b->seeds);
  }
  for (int s = 0; s < b->seeds; s++)
    eta[s] = b->curve[s].evaluated[last];
  struct mean value = mean_of(eta, b->seeds);
  mv_start_put(file, b->plan, b->entry, b->start);
  fprintf(file, ",%d", b->seeds);
  for (int j = 0; j < meta; j++)
    mv_csv_put(file, at[j].mean);
  for (int j = 0; j < meta; j++)
    mv_csv_put(file, at[j].error);
  for (int j = 0; j < meta; j++)
    mv_csv_put(file, sqrt(wander[j]));
  mv_csv_put(file, value.mean);
  mv_csv_put(file, b->seeds == 1 ? b->curve[0].evaluated_se[last] : value.error);
  put_lost(file, b);
  fputc('\n', file);
  free(eta);
}

int mv_ends_write(FILE *file, struct mv_results *results)
{
  const int meta = mv_results_job(results)->meta;
  fputs("entry,estimator,shaping,start", file);
  mv_csv_names(file, "start", meta);
  fputs(",seeds", file);
  mv_csv_names(file, "eta", meta);
  mv_csv_names(file, "eta_se", meta);
  mv_csv_names(file, "wander", meta);
  fputs(",evaluated,evaluated_se,skipped,nonfinite\n", file);
  return each_bundle(results, file, write_end);
}
