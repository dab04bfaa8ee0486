/* population.c - the gradient of one update, from a population of replicates that may lie on many ranks.
 *
 * Replicates are numbered as in a measurement; what they draw (task instance, noise, windows, perturbations) follows
 * from (seed, number of the curve's seed, update, replicate), so any rank can compute any of them from eta alone and
 * nothing but sums travels back. A block of about MV_POPULATION_BLOCK replicates leaves
 *   sum G, sum G^2 [M each], number of G, sum F, sum F^2, finite, nonfinite
 * added in the order of replicates; G is the mean of g over the finite replicates of one task instance, which depend on
 * each other in a nested design, so that the scatter of G is the error. A block holds whole instances, or, where they are
 * large, a part of one: then it leaves sums of g. The blocks of an update are added in their order by whoever closes it.
 * So the sums are the same bits for any number of ranks. Curves that share a seed share its random numbers at each update:
 * starts and estimators are compared in pairs.
 *
 * Where fitness is shaped (shaping.c), the population is that of the update, all members of all replicates, and g is not
 * known before all of them have reported. Then a block leaves sum F, ... and its members' objectives, 8 bytes each; who
 * closes the update shapes them, and asks the estimator for the g that follow, which draws the same directions again and
 * simulates nothing.
 *
 * Lifetimes that are carried (train: {lifetimes: carried}) go on with each update, window after window: whoever computes a
 * block is given the states of its replicates' lifetimes and gives back what they have become. Their random numbers have one
 * address for the whole lifetime, (seed, number of the curve's seed), and the steps are counted from its start, so a lifetime
 * in windows is the lifetime in one piece; es draws new directions in each window.
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
  int8_t *status;      /* [block] */
  double *fitness;     /* [members] of any update */
  size_t *order;       /* [members] */
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

/* Replicates, or somewhat more. Of networks that go on one: a block is worth a message, and needs no neighbours. */
static int64_t block_size(const struct mv_job *job)
{
  return job->train.lifetimes == MV_CARRIED && job->problem.shape.lanes == 1 ? 1 : MV_POPULATION_BLOCK;
}

/* Blocks that a large task instance is cut into; 1: a block holds whole ones. */
static int64_t blocks_of_instance(const struct mv_job *job, const struct mv_entry *e)
{
  return (mv_entry_nest(e) + block_size(job) - 1) / block_size(job);
}

static int64_t replicates_of_block(const struct mv_job *job, const struct mv_entry *e)
{
  int64_t nest = mv_entry_nest(e), cut = blocks_of_instance(job, e);
  return cut > 1 ? (nest + cut - 1) / cut : (block_size(job) + nest - 1) / nest * nest;
}

/* Replicates from which on blocks begin anew. */
static int64_t replicates_of_turn(const struct mv_job *job, const struct mv_entry *e)
{
  return blocks_of_instance(job, e) > 1 ? mv_entry_nest(e) : replicates_of_block(job, e);
}

static int64_t blocks_of(const struct mv_job *job, const struct mv_entry *e)
{
  int64_t turn = replicates_of_turn(job, e);
  return (e->replicates + turn - 1) / turn * blocks_of_instance(job, e);
}

/* The first replicate of a block, and how many it has. */
static int replicates_at(const struct mv_job *job, const struct mv_entry *e, int64_t block, int64_t *first)
{
  int64_t cut = blocks_of_instance(job, e), each = replicates_of_block(job, e),
          turn = block / cut * replicates_of_turn(job, e);
  int64_t end = turn + replicates_of_turn(job, e), left;
  *first = turn + block % cut * each;
  left = (end < e->replicates ? end : e->replicates) - *first;
  return left < 0 ? 0 : (int)(left < each ? left : each);
}

/* Members of a block, whose objectives travel; 0: fitness is not shaped. */
static int64_t members_of_block(const struct mv_job *job, const struct mv_entry *e)
{
  struct mv_output output[MV_OUTPUTS_MAX];
  int64_t members = 0;
  if (mv_shaping_of(e->estimator, e->settings) == MV_SHAPING_NONE)
    return 0;
  for (int o = e->estimator->outputs(e->settings, &job->problem, output) - 1; o >= 0; o--)
    members = output[o].role == MV_FITNESS ? output[o].axis[0].length : members; /* of one truncation */
  return members * replicates_of_block(job, e);
}

/* Doubles that the largest entry needs. */
struct sizes {
  size_t rows, status, sums, members;
};

static size_t larger(size_t a, int64_t b) { return (int64_t)a > b ? a : (size_t)b; }

static struct sizes sizes_of(const struct mv_job *job, const struct mv_plan *measured)
{
  struct sizes most = {0};
  for (int e = 0; e < measured->job->entry_count; e++) {
    int64_t replicates = replicates_of_block(job, &measured->job->entries[e]);
    most.rows = larger(most.rows, replicates * measured->layout[e].values);
    most.status = larger(most.status, replicates);
  }
  for (int e = 0; e < job->entry_count; e++) {
    most.sums = larger(most.sums, mv_population_blocks(job, e, 0) * mv_population_width(job, e));
    most.members = larger(most.members, blocks_of(job, &job->entries[e]) * members_of_block(job, &job->entries[e]));
  }
  return most;
}

struct mv_population *mv_population_create(const struct mv_plan *plan)
{
  struct mv_population *p = mv_memory_take(1, sizeof *p);
  p->plan = plan;
  p->job = measurement(plan->job);
  p->measured = mv_plan_make(&p->job);
  p->worker = mv_worker_create(p->measured);
  struct sizes most = sizes_of(plan->job, p->measured);
  p->rows = mv_memory_take(most.rows, sizeof *p->rows);
  p->status = mv_memory_take(most.status, 1);
  p->sums = mv_memory_take(most.sums, sizeof *p->sums);
  p->fitness = mv_memory_take(most.members, sizeof *p->fitness);
  p->order = mv_memory_take(most.members, sizeof *p->order);
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
  free(p->status);
  free(p->sums);
  free(p->fitness);
  free(p->order);
  free(p);
}

const struct mv_plan *mv_population_plan(const struct mv_population *p) { return p->plan; }

size_t mv_population_memory(const struct mv_plan *plan)
{
  struct mv_job job = measurement(plan->job);
  struct mv_plan *measured = mv_plan_make(&job);
  struct sizes most = sizes_of(plan->job, measured);
  size_t bytes = sizeof(struct mv_population) + mv_worker_memory(measured) + most.status;
  mv_plan_free(measured);
  free(job.entries);
  return bytes + (most.rows + most.sums + 2 * most.members) * sizeof(double);
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

int64_t mv_population_blocks(const struct mv_job *job, int entry, int64_t update)
{
  int64_t evaluation = mv_record_evaluates(&job->train, update) ? blocks_of(job, &job->held_out) : 0;
  return blocks_of(job, &job->entries[entry]) + evaluation;
}

/* Where a block keeps what. */
struct block {
  double *gradient, *square, *number, *value, *fitness; /* value: sum F, sum F^2, finite, nonfinite */
};

static struct block block_view(int meta, double *sums)
{
  return (struct block){sums, sums + meta, sums + 2 * meta, sums + 2 * meta + 1, sums + 2 * meta + 5};
}

static int width_of_sums(int meta) { return 2 * meta + 5; }

int mv_population_width(const struct mv_job *job, int entry)
{
  return width_of_sums(job->meta) + (int)members_of_block(job, &job->entries[entry]);
}

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

/* Adds the gradients of `count` replicates of p->rows to the sums of their block. */
static void add_gradients(const struct mv_population *p, int entry, int count, const struct block *sums)
{
  const struct mv_layout *layout = &p->measured->layout[entry];
  const struct mv_entry *e = &p->job.entries[entry];
  const int meta = p->job.meta, nest = blocks_of_instance(&p->job, e) > 1 ? 1 : (int)mv_entry_nest(e);
  double g[meta], mean[meta];
  for (int first = 0; first < count; first += nest) {
    int finite = 0;
    memset(mean, 0, sizeof mean);
    for (int r = first; r < first + nest && r < count; r++) {
      if (p->status[r] == MV_OK) {
        follow(layout, e->lambda, meta, p->rows + r * layout->values, g);
        for (int j = 0; j < meta; j++) {
          mean[j] += g[j];
        }
        finite++;
      }
    }
    for (int j = 0; j < meta && finite > 0; j++) {
      mean[j] /= finite;
      sums->gradient[j] += mean[j];
      sums->square[j] += mean[j] * mean[j];
    }
    *sums->number += finite > 0;
  }
}

static void add_values(const struct mv_population *p, int entry, int count, const struct block *sums)
{
  const struct mv_layout *layout = &p->measured->layout[entry];
  const int64_t objective = objective_of(layout);
  for (int r = 0; r < count; r++) {
    double x = p->rows[r * layout->values + objective];
    bool fine = p->status[r] == MV_OK;
    sums->value[0] += fine ? x : 0;
    sums->value[1] += fine ? x * x : 0;
    sums->value[fine ? 2 : 3]++;
  }
}

/* Members' objectives; NaN where a replicate is not finite, or not there. */
static void take_fitness(const struct mv_population *p, int entry, int count, double *fitness)
{
  const struct mv_layout *layout = &p->measured->layout[entry];
  const int most = (int)replicates_of_block(&p->job, &p->job.entries[entry]);
  int64_t offset, members = mv_layout_fitness(layout, &offset);
  for (int r = 0; r < most; r++) {
    for (int64_t k = 0; k < members; k++) {
      bool fine = r < count && p->status[r] == MV_OK;
      *fitness++ = fine ? p->rows[r * layout->values + offset + k] : (double)NAN;
    }
  }
}

/* The random numbers of a gradient, or of an evaluation. */
static struct mv_key key_of(const struct mv_population *p, int cell, int64_t update, bool held_out)
{
  const struct mv_job *job = p->plan->job;
  const double seed = (double)(mv_plan_point(p->plan, cell) % job->train.seeds);
  const double address[] = {seed, mv_job_carries(job) ? -1 : (double)update};
  return mv_key_make(job->seed, address, held_out ? 1 : 2);
}

int64_t mv_population_state(const struct mv_job *job, int entry, int64_t first, int64_t count, int64_t *at)
{
  const struct mv_entry *e = &job->entries[entry];
  const int64_t each = mv_job_carries(job) ? mv_replicate_state(job, entry) : 0, end = first + count;
  int64_t from, to = e->replicates;
  replicates_at(job, e, first, &from);
  if (end < blocks_of(job, e)) {
    replicates_at(job, e, end, &to);
  }
  from = from < e->replicates ? from : e->replicates;
  to = to < e->replicates ? to : e->replicates;
  *at = from * each;
  return first < blocks_of(job, e) ? (to - from) * each : 0;
}

void mv_population_compute(struct mv_population *p, int cell, int64_t update, const double *eta, int64_t first,
                           int64_t count, double *state, double *sums)
{
  const struct mv_job *job = p->plan->job;
  const int entry = mv_plan_entry(p->plan, cell), width = mv_population_width(job, entry);
  const int64_t own = blocks_of(job, &job->entries[entry]);
  const bool shapes = width > width_of_sums(job->meta);
  memset(sums, 0, (size_t)(count * width) * sizeof *sums);
  for (int64_t b = first; b < first + count; b++, sums += width) {
    const int which = b < own ? entry : job->entry_count;
    const struct block block = block_view(job->meta, sums);
    int64_t from;
    const int replicates = replicates_at(&p->job, &p->job.entries[which], b < own ? b : b - own, &from);
    mv_worker_rows(p->worker, which, eta, key_of(p, cell, update, b >= own), from, replicates, NULL, update, state,
                   p->rows, p->status);
    state = state ? state + replicates * mv_replicate_state(job, entry) : NULL;
    add_values(p, which, replicates, &block);
    if (b < own && shapes) {
      take_fitness(p, which, replicates, block.fitness);
    } else if (b < own) {
      add_gradients(p, which, replicates, &block);
    }
  }
}

/* Fills in the gradients of blocks that have left their members' objectives. */
static void shape(struct mv_population *p, int cell, int64_t update, const double *eta, double *sums)
{
  const struct mv_job *job = p->plan->job;
  const int entry = mv_plan_entry(p->plan, cell), width = mv_population_width(job, entry);
  const struct mv_entry *e = &job->entries[entry];
  const int64_t own = blocks_of(job, e), members = members_of_block(job, e);
  for (int64_t b = 0; b < own; b++) {
    memcpy(p->fitness + b * members, block_view(job->meta, sums + b * width).fitness, (size_t)members * sizeof *sums);
  }
  mv_shape(mv_shaping_of(e->estimator, e->settings), own * members, p->fitness, p->order);
  for (int64_t b = 0; b < own; b++) {
    const struct block block = block_view(job->meta, sums + b * width);
    int64_t from;
    const int replicates = replicates_at(job, e, b, &from);
    mv_worker_rows(p->worker, entry, eta, key_of(p, cell, update, false), from, replicates, p->fitness + b * members,
                   update, NULL, p->rows, p->status);
    add_gradients(p, entry, replicates, &block);
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

/* Adds blocks in their order; parts of an instance become its mean first. */
static void add_blocks(const double *sums, int64_t blocks, int width, int64_t cut, int meta, double *total)
{
  for (int64_t b = 0; b < blocks; b += cut) {
    double part[width_of_sums(meta)];
    const struct block instance = block_view(meta, part);
    memcpy(part, sums + b * width, sizeof part);
    for (int64_t k = b + 1; k < b + cut; k++) {
      for (int i = 0; i < width_of_sums(meta); i++) {
        part[i] += sums[k * width + i];
      }
    }
    for (int j = 0; j < meta && cut > 1 && *instance.number > 0; j++) {
      instance.gradient[j] /= *instance.number;
      instance.square[j] = instance.gradient[j] * instance.gradient[j];
    }
    *instance.number = cut > 1 ? *instance.number > 0 : *instance.number;
    for (int i = 0; i < width_of_sums(meta); i++) {
      total[i] += part[i];
    }
  }
}

int8_t mv_population_close(struct mv_population *p, int cell, int64_t update, double *sums, double *row)
{
  const struct mv_job *job = p->plan->job;
  const int entry = mv_plan_entry(p->plan, cell), meta = job->meta, kept = width_of_sums(meta);
  const int64_t own = blocks_of(job, &job->entries[entry]), all = mv_population_blocks(job, entry, update);
  const int width = mv_population_width(job, entry);
  double total[2][kept], norm = 0;
  struct mv_record r = mv_record_view(job, row);
  bool finite = true;
  if (width > kept) {
    shape(p, cell, update, r.eta, sums);
  }
  memset(total, 0, sizeof total);
  add_blocks(sums, own, width, blocks_of_instance(job, &job->entries[entry]), meta, total[0]);
  add_blocks(sums + own * width, all - own, width, 1, meta, total[1]);
  const struct block drawn = block_view(meta, total[0]), held = block_view(meta, total[1]);
  for (int j = 0; j < meta; j++) {
    r.gradient[j] = plain(mean_of(drawn.gradient[j], *drawn.number));
    r.gradient_se[j] = plain(error_of(drawn.gradient[j], drawn.square[j], *drawn.number));
    norm += r.gradient[j] * r.gradient[j];
    finite = finite && isfinite(r.gradient[j]);
  }
  *r.objective = plain(mean_of(drawn.value[0], drawn.value[2]));
  *r.gradient_norm = plain(sqrt(norm));
  *r.evaluated = all > own ? plain(mean_of(held.value[0], held.value[2])) : (double)NAN;
  *r.evaluated_se = all > own ? plain(error_of(held.value[0], held.value[1], held.value[2])) : (double)NAN;
  *r.nonfinite = drawn.value[3] + held.value[3];
  return finite && isfinite(*r.objective) ? MV_OK : MV_NONFINITE;
}

int8_t mv_population_row(struct mv_population *p, int cell, int64_t update, double *state, double *row)
{
  const struct mv_job *job = p->plan->job;
  const int64_t blocks = mv_population_blocks(job, mv_plan_entry(p->plan, cell), update);
  mv_population_compute(p, cell, update, mv_record_view(job, row).eta, 0, blocks, state, p->sums);
  return mv_population_close(p, cell, update, p->sums, row);
}
