/* population.c - the gradient of one update, from a population of replicates that may lie on many ranks.
 *
 * Replicates are numbered as in a measurement; what they draw (task instance, noise, windows, perturbations) follows
 * from (seed, number of the curve's seed, update, replicate), so any rank can compute any of them from eta alone and
 * nothing but sums travels back. A block of MV_POPULATION_BLOCK replicates leaves
 *   sum g, sum g^2 [M each], sum F, sum F^2, finite, nonfinite
 * added in the order of replicates; the blocks of an update are added in their order by whoever closes it. So the sums
 * are the same bits for any number of ranks. Curves that share a seed share its random numbers at each update: starts
 * and estimators are compared in pairs.
 *
 * The evaluation of the objective at unperturbed eta goes through the same sums, as further blocks. Its replicates are
 * the same ones at every update, and never those of a gradient.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "metavar/memory.h"
#include "metavar/schedule.h"
#include "metavar/train.h"

struct mv_population {
  const struct mv_plan *plan;
  struct mv_job job;        /* the same as a measurement, with the evaluation as one more entry */
  struct mv_plan *measured; /* its plan: what the estimators give */
  struct mv_worker *worker;
  double *rows, *sums; /* [block][values] of any entry; [blocks][width] of any update */
  int8_t status[MV_POPULATION_BLOCK];
};

static struct mv_job measurement(const struct mv_job *training)
{
  struct mv_job job = *training;
  job.train.updates = 0;
  job.entry_count++;
  job.entries = mv_memory_take((size_t)job.entry_count, sizeof *job.entries);
  memcpy(job.entries, training->entries, (size_t)training->entry_count * sizeof *job.entries);
  job.entries[training->entry_count] = training->held_out;
  return job;
}

struct mv_population *mv_population_create(const struct mv_plan *plan)
{
  struct mv_population *p = mv_memory_take(1, sizeof *p);
  p->plan = plan;
  p->job = measurement(plan->job);
  p->measured = mv_plan_make(&p->job);
  p->worker = mv_worker_create(p->measured);
  int64_t values = 0, blocks = 0;
  for (int e = 0; e < p->job.entry_count; e++) {
    values = p->measured->layout[e].values > values ? p->measured->layout[e].values : values;
  }
  for (int e = 0; e < plan->job->entry_count; e++) {
    int64_t most = mv_population_blocks(plan->job, e, 0);
    blocks = most > blocks ? most : blocks;
  }
  p->rows = mv_memory_take((size_t)values * MV_POPULATION_BLOCK, sizeof *p->rows);
  p->sums = mv_memory_take((size_t)(blocks * mv_population_width(plan->job)), sizeof *p->sums);
  return p;
}

void mv_population_free(struct mv_population *p)
{
  if (!p) {
    return;
  }
  mv_worker_free(p->worker);
  mv_plan_free(p->measured);
  free(p->job.entries);
  free(p->rows);
  free(p->sums);
  free(p);
}

const struct mv_plan *mv_population_plan(const struct mv_population *p) { return p->plan; }

size_t mv_population_memory(const struct mv_plan *plan)
{
  struct mv_job job = measurement(plan->job);
  struct mv_plan *measured = mv_plan_make(&job);
  size_t bytes = sizeof(struct mv_population) + mv_worker_memory(measured), blocks = 0;
  for (int e = 0; e < plan->job->entry_count; e++) {
    size_t most = (size_t)mv_population_blocks(plan->job, e, 0);
    blocks = most > blocks ? most : blocks;
  }
  mv_plan_free(measured);
  free(job.entries);
  return bytes + blocks * (size_t)mv_population_width(plan->job) * sizeof(double);
}

double mv_population_calibrate(const struct mv_plan *plan, double budget, double *seconds)
{
  struct mv_job job = measurement(plan->job);
  struct mv_plan *measured = mv_plan_make(&job);
  double took = mv_calibrate(measured, budget, seconds);
  mv_plan_free(measured);
  free(job.entries);
  return took;
}

double mv_update_seconds(const struct mv_job *job, int entry, const double *seconds)
{
  double own = (double)job->entries[entry].replicates * seconds[entry];
  double evaluation = (double)job->held_out.replicates * seconds[job->entry_count];
  return job->train.evaluate_every > 0 ? own + evaluation / (double)job->train.evaluate_every : own;
}

/* --- sums of blocks ----------------------------------------------------------------------------------------------- */

static int64_t blocks_of(int64_t replicates) { return (replicates + MV_POPULATION_BLOCK - 1) / MV_POPULATION_BLOCK; }

int64_t mv_population_blocks(const struct mv_job *job, int entry, int64_t update)
{
  int64_t evaluation = mv_record_evaluates(&job->train, update) ? blocks_of(job->held_out.replicates) : 0;
  return blocks_of(job->entries[entry].replicates) + evaluation;
}

int mv_population_width(const struct mv_job *job) { return 2 * job->meta + 4; }

/* The gradient that the curve follows, of one replicate: base + lambda component. */
static void follow(const struct mv_layout *layout, double lambda, int meta, const double *x, double *g)
{
  memcpy(g, x, (size_t)meta * sizeof *g);
  for (int o = 1; o < layout->output_count; o++) {
    for (int j = 0; j < meta && layout->output[o].role == MV_COMPONENT; j++) {
      g[j] += lambda * x[layout->offset[o] + j];
    }
  }
}

static int64_t objective_of(const struct mv_layout *layout)
{
  for (int o = 0; o < layout->output_count; o++) {
    if (layout->output[o].role == MV_OBJECTIVE) {
      return layout->offset[o];
    }
  }
  assert(!"every estimator reports the objective");
  return 0;
}

/* Adds `count` replicates of p->rows to the sums of their block. */
static void add_rows(const struct mv_population *p, int entry, int count, double *sums)
{
  const struct mv_layout *layout = &p->measured->layout[entry];
  const int meta = p->job.meta;
  const bool gradient = layout->output[0].role == MV_GRADIENT;
  const int64_t objective = objective_of(layout);
  double g[meta], *square = sums + meta, *value = square + meta;
  for (int r = 0; r < count; r++) {
    const double *x = p->rows + r * layout->values;
    if (p->status[r] != MV_OK) {
      value[3]++;
      continue;
    }
    if (gradient) {
      follow(layout, p->job.entries[entry].lambda, meta, x, g);
      for (int j = 0; j < meta; j++) {
        sums[j] += g[j];
        square[j] += g[j] * g[j];
      }
    }
    value[0] += x[objective];
    value[1] += x[objective] * x[objective];
    value[2]++;
  }
}

void mv_population_compute(struct mv_population *p, int cell, int64_t update, const double *eta, int64_t first,
                           int64_t count, double *sums)
{
  const struct mv_job *job = p->plan->job;
  const int entry = mv_plan_entry(p->plan, cell), width = mv_population_width(job);
  const int64_t own = blocks_of(job->entries[entry].replicates);
  const double seed = (double)(mv_plan_point(p->plan, cell) % job->train.seeds);
  const struct mv_key drawn = mv_key_make(job->seed, (double[]){seed, (double)update}, 2);
  const struct mv_key held = mv_key_make(job->seed, (double[]){seed}, 1);
  memset(sums, 0, (size_t)(count * width) * sizeof *sums);
  for (int64_t b = first; b < first + count; b++, sums += width) {
    const int which = b < own ? entry : job->entry_count;
    const int64_t from = (b < own ? b : b - own) * MV_POPULATION_BLOCK, left = p->job.entries[which].replicates - from;
    const int replicates = left < MV_POPULATION_BLOCK ? (int)left : MV_POPULATION_BLOCK;
    mv_worker_rows(p->worker, which, eta, b < own ? drawn : held, from, replicates, p->rows, p->status);
    add_rows(p, which, replicates, sums);
  }
}

/* --- a row -------------------------------------------------------------------------------------------------------- */

static double mean_of(double sum, double count) { return count > 0 ? sum / count : (double)NAN; }

/* Of the mean of `count` values. */
static double error_of(double sum, double square, double count)
{
  double scatter = square - sum * sum / count;
  return count > 1 ? sqrt((scatter > 0 || isnan(scatter) ? scatter : 0) / (count - 1) / count) : (double)NAN;
}

/* One NaN for all: compilers differ in its sign. */
static double plain(double x) { return isnan(x) ? (double)NAN : x; }

int8_t mv_population_close(const struct mv_job *job, int entry, int64_t update, const double *sums, double *row)
{
  const int meta = job->meta, width = mv_population_width(job);
  const int64_t own = blocks_of(job->entries[entry].replicates), all = mv_population_blocks(job, entry, update);
  double total[2][width], norm = 0;
  memset(total, 0, sizeof total);
  for (int64_t b = 0; b < all; b++) {
    for (int k = 0; k < width; k++) {
      total[b >= own][k] += sums[b * width + k];
    }
  }
  const double *value = total[0] + 2 * meta, *held = total[1] + 2 * meta;
  struct mv_record r = mv_record_view(job, row);
  bool finite = true;
  for (int j = 0; j < meta; j++) {
    r.gradient[j] = plain(mean_of(total[0][j], value[2]));
    r.gradient_se[j] = plain(error_of(total[0][j], total[0][meta + j], value[2]));
    norm += r.gradient[j] * r.gradient[j];
    finite = finite && isfinite(r.gradient[j]);
  }
  *r.objective = plain(mean_of(value[0], value[2]));
  *r.gradient_norm = plain(sqrt(norm));
  *r.evaluated = all > own ? plain(mean_of(held[0], held[2])) : (double)NAN;
  *r.evaluated_se = all > own ? plain(error_of(held[0], held[1], held[2])) : (double)NAN;
  *r.nonfinite = value[3] + held[3];
  return finite && isfinite(*r.objective) ? MV_OK : MV_NONFINITE;
}

int8_t mv_population_row(struct mv_population *p, int cell, int64_t update, double *row)
{
  const struct mv_job *job = p->plan->job;
  const int entry = mv_plan_entry(p->plan, cell);
  mv_population_compute(p, cell, update, mv_record_view(job, row).eta, 0, mv_population_blocks(job, entry, update),
                        p->sums);
  return mv_population_close(job, entry, update, p->sums, row);
}
