/* worker.c - computes work units: the only place that calls an estimator.
 *
 * Replicates go through estimator->sample in groups as wide as the kernel. In a nested design with P perturbations of
 * each lifetime draw and L lifetime draws of each task instance, replicate r has perturbation r % P, lifetime draw
 * (r / P) % L and task instance r / (P L); without one, P = L = 1 and every replicate has its own task instance.
 * A sample is a function of these coordinates alone, so groups, units and ranks leave no trace in it.
 */
#include "metavar/sample.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "metavar/clock.h"
#include "metavar/memory.h"

struct mv_worker {
  const struct mv_plan *plan;
  int lanes;
  struct mv_arena arena;   /* of the estimator */
  struct mv_arena outputs; /* num values[layout.values] of one group, as the estimator leaves them, fitness and state */
  struct mv_trace *trace;  /* NULL: nobody looks */
  double *rows;            /* [block][layout.values] samples on their way into moments, and their status */
  int8_t *status;
};

int64_t mv_replicate_state(const struct mv_job *job, int e)
{
  const struct mv_entry *entry = &job->entries[e];
  return entry->estimator->lifetimes(entry->settings, &job->problem) * job->problem.shape.state;
}

/* What the largest entry needs. */
struct sizes {
  size_t arena, outputs, rows, status;
};

static struct sizes worker_sizes(const struct mv_plan *plan)
{
  const struct mv_job *job = plan->job;
  struct sizes most = {0};
  for (int e = 0; e < job->entry_count; e++) {
    const struct mv_entry *entry = &job->entries[e];
    size_t values = (size_t)plan->layout[e].values;
    size_t arena = entry->estimator->workspace(entry->settings, &job->problem);
    size_t outputs = 2 * mv_arena_cost(values * (size_t)job->kernel->lanes * sizeof(double)); /* and fitness given */
    if (job->train.lifetimes == MV_CARRIED && entry->estimator->carries && job->kernel->lanes > 1)
      outputs += mv_arena_cost((size_t)(mv_replicate_state(job, e) * job->kernel->lanes) * sizeof(double));
    most.arena = arena > most.arena ? arena : most.arena;
    most.outputs = outputs > most.outputs ? outputs : most.outputs;
    if (entry->store == MV_STORE_MOMENTS) {
      size_t block = (size_t)(entry->replicates < job->block ? entry->replicates : job->block);
      size_t rows = block * values * sizeof(double);
      most.rows = rows > most.rows ? rows : most.rows;
      most.status = block > most.status ? block : most.status;
    }
  }
  return most;
}

size_t mv_worker_memory(const struct mv_plan *plan)
{
  struct sizes need = worker_sizes(plan);
  return sizeof(struct mv_worker) + need.arena + need.outputs + need.rows + need.status;
}

struct mv_worker *mv_worker_create(const struct mv_plan *plan)
{
  struct sizes need = worker_sizes(plan);
  struct mv_worker *worker = mv_memory_take(1, sizeof *worker);
  worker->plan = plan;
  worker->lanes = plan->job->kernel->lanes;
  assert(worker->lanes >= 1 && worker->lanes <= MV_LANES_MAX);
  mv_arena_create(&worker->arena, need.arena);
  mv_arena_create(&worker->outputs, need.outputs);
  worker->rows = mv_memory_take(need.rows, 1);
  worker->status = mv_memory_take(need.status, 1);
  return worker;
}

void mv_worker_watch(struct mv_worker *worker, struct mv_trace *trace) { worker->trace = trace; }

void mv_worker_free(struct mv_worker *worker)
{
  if (!worker)
    return;
  mv_arena_free(&worker->arena);
  mv_arena_free(&worker->outputs);
  free(worker->rows);
  free(worker->status);
  free(worker);
}

/* Replicate ids of one group: trailing lanes repeat the last. */
static void set_coordinates(struct mv_request *request, const struct mv_entry *entry, int lanes, int64_t first)
{
  int64_t p = entry->perturbations_per_lifetime, l = entry->lifetimes_per_task;
  for (int lane = 0; lane < lanes; lane++) {
    int64_t r = first + (lane < request->count ? lane : request->count - 1);
    request->draw[lane] = r % (p * l);
    request->lifetime[lane] = r / p % l;
    request->task[lane] = r / (p * l);
  }
}

/* One lane of the outputs into a row; every NaN becomes the same NaN, because compilers differ in its sign. */
static int8_t take_row(const struct mv_layout *layout, const double *outputs, int lanes, int lane, double *row)
{
  bool finite = true;
  for (int64_t k = 0; k < layout->values; k++) {
    double x = outputs[k * lanes + lane];
    row[k] = isnan(x) ? (double)NAN : x;
    if (k < layout->moments && !isfinite(x))
      finite = false;
  }
  return finite ? MV_OK : MV_NONFINITE;
}

/* fitness[members] of the replicates of a group, lane by lane; trailing lanes repeat the last. */
static const num *give_fitness(struct mv_worker *worker, int count, int64_t members, const double *fitness)
{
  const int lanes = worker->lanes;
  double *out = mv_arena_take(&worker->outputs, (size_t)(members * lanes) * sizeof(double));
  for (int64_t k = 0; k < members; k++)
    for (int lane = 0; lane < lanes; lane++)
      out[k * lanes + lane] = fitness[(lane < count ? lane : count - 1) * members + k];
  return (const num *)out;
}

/* state[size] of the replicates of a group, side by side; lanes beyond the last repeat it. And back. */
static void give_state(int64_t size, int lanes, int count, const double *state, double *out)
{
  for (int64_t k = 0; k < size; k++)
    for (int lane = 0; lane < lanes; lane++)
      out[k * lanes + lane] = state[(lane < count ? lane : count - 1) * size + k];
}

static void take_state(int64_t size, int lanes, int count, const double *in, double *state)
{
  for (int lane = 0; lane < count; lane++)
    for (int64_t k = 0; k < size; k++)
      state[lane * size + k] = in[k * lanes + lane];
}

int64_t mv_worker_rows(struct mv_worker *worker, int e, const double *eta, struct mv_key key, int64_t first,
                       int64_t count, const double *fitness, int64_t update, double *state, double *rows,
                       int8_t *status)
{
  const int lanes = worker->lanes;
  const struct mv_job *job = worker->plan->job;
  const struct mv_entry *entry = &job->entries[e];
  const struct mv_layout *layout = &worker->plan->layout[e];
  struct mv_request request = {
      .problem = &job->problem, .settings = entry->settings, .eta = eta, .key = key, .trace = worker->trace};
  const int64_t carried = state ? mv_replicate_state(job, e) : 0;
  request.update = update;
  request.first = job->train.lifetimes == MV_CARRIED ? update * job->lifetime_length : 0;
  int64_t offset, members = mv_layout_fitness(layout, &offset);
  int64_t nonfinite = 0;
  for (int64_t r = 0; r < count; r += lanes) {
    request.count = count - r < lanes ? (int)(count - r) : lanes;
    set_coordinates(&request, entry, lanes, first + r);
    worker->arena.used = worker->outputs.used = 0;
    request.arena = &worker->arena;
    double *outputs = mv_arena_take(&worker->outputs, (size_t)(layout->values * lanes) * sizeof(double));
    request.values = (num *)outputs;
    request.fitness = fitness ? give_fitness(worker, request.count, members, fitness + r * members) : NULL;
    double *own = state ? state + r * carried : NULL, *theta = own;
    if (own && lanes > 1) {
      theta = mv_arena_take(&worker->outputs, (size_t)(carried * lanes) * sizeof(double));
      give_state(carried, lanes, request.count, own, theta);
    }
    request.state = (num *)theta;
    entry->estimator->sample(&request);
    if (own && lanes > 1)
      take_state(carried, lanes, request.count, theta, own);
    for (int lane = 0; lane < request.count; lane++) {
      status[r + lane] = take_row(layout, outputs, lanes, lane, rows + (r + lane) * layout->values);
      nonfinite += status[r + lane] != MV_OK;
    }
  }
  return nonfinite;
}

static int64_t compute_rows(struct mv_worker *worker, int64_t cell, int64_t first, int64_t count, double *rows,
                            int8_t *status)
{
  const struct mv_plan *plan = worker->plan;
  const int point = mv_plan_point(plan, (int)cell);
  return mv_worker_rows(worker, mv_plan_entry(plan, (int)cell), plan->job->eta + (size_t)point * plan->job->meta,
                        plan->key[point], first, count, NULL, 0, NULL, rows, status);
}

/* The view's pointers are const for the store's sake; here the bytes are our own. */
static int64_t compute_moments(struct mv_worker *worker, const struct mv_unit *unit, const struct mv_result *out)
{
  const struct mv_layout *layout = &worker->plan->layout[mv_plan_entry(worker->plan, (int)unit->cell)];
  int64_t block = worker->plan->job->block, nonfinite = 0;
  for (int64_t b = 0; b < out->blocks; b++) {
    int64_t first = unit->first + b * block;
    int64_t left = unit->count - b * block, count = left < block ? left : block;
    nonfinite += compute_rows(worker, unit->cell, first, count, worker->rows, worker->status);
    mv_moments_make(layout, worker->rows, worker->status, first, count, (int64_t *)out->count + b,
                    (int64_t *)out->nonfinite + b, (double *)out->mean + b * layout->moments,
                    (double *)out->comoment + b * layout->pairs,
                    (double *)out->largest + b * layout->vectors * MV_LARGEST,
                    (int64_t *)out->largest_id + b * layout->vectors * MV_LARGEST);
  }
  return nonfinite;
}

void mv_worker_compute(struct mv_worker *worker, const struct mv_unit *unit, void *out)
{
  double start = mv_clock_monotonic();
  struct mv_result_head *head = out;
  *head = (struct mv_result_head){.unit = *unit, .bytes = (int64_t)mv_result_bytes(worker->plan, unit)};
  struct mv_result view;
  bool fits = mv_result_view(worker->plan, out, (size_t)head->bytes, &view);
  assert(fits);
  (void)fits;
  if (view.values) {
    size_t count = (size_t)unit->count;
    int8_t *status = (int8_t *)view.status;
    memset(status, 0, (count + 7) / 8 * 8);
    head->nonfinite = compute_rows(worker, unit->cell, unit->first, unit->count, (double *)view.values, status);
  } else {
    head->nonfinite = compute_moments(worker, unit, &view);
  }
  head->seconds = mv_clock_monotonic() - start;
}
