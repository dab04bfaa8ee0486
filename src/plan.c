/* plan.c - from a job to cells, layouts and keys.
 *
 * A cell is one eta point of one entry of the job; its samples are numbered by replicate. This room asks every
 * estimator what it gives (outputs), what that would cost one setting at a time (cost) and what it takes here (work),
 * and lays the outputs out in a flat array of doubles: gradients, components and targets first, each with the axis
 * meta_parameter added as its last, then the objective, then notes. Everything before the notes enters the moments.
 *
 * The M-vectors whose norms are watched for heavy tails are every estimate of a gradient that the outputs offer
 * directly: a gradient, a target, and base + component, where the base's index is the component's without the axes that
 * the base lacks: direct[truncation, hessian, M] + correction[truncation, hessian, meta_discount, M].
 */
#include "metavar/plan.h"

#include <assert.h>
#include <string.h>

#include "metavar/memory.h"
#include "metavar/rounds.h"
#include "metavar/train.h"

static int64_t axes_product(const struct mv_axis *axis, int count)
{
  int64_t product = 1;
  for (int a = 0; a < count; a++) {
    assert(axis[a].length > 0);
    product *= axis[a].length;
  }
  return product;
}

static bool is_vector(const struct mv_output *output)
{
  return output->role == MV_GRADIENT || output->role == MV_COMPONENT || output->role == MV_TARGET;
}

/* Within one entry an axis name means one axis. */
static void check_axes(const struct mv_layout *layout)
{
  for (int o = 0; o < layout->output_count; o++)
    for (int p = 0; p < o; p++)
      for (int a = 0; a < layout->output[o].rank; a++)
        for (int b = 0; b < layout->output[p].rank; b++) {
          const struct mv_axis *x = &layout->output[o].axis[a], *y = &layout->output[p].axis[b];
          assert(strcmp(x->name, y->name) != 0 || (x->length == y->length && x->kind == y->kind));
          (void)x, (void)y;
        }
}

/* In training a row is that of an update (record.c). */
static void layout_outputs(struct mv_layout *layout, const struct mv_plan *plan, const struct mv_entry *entry)
{
  const struct mv_axis meta = {.name = "meta_parameter",
                               .kind = MV_AXIS_NAMES,
                               .length = plan->job->meta,
                               .value.names = (const char *const *)plan->meta_names,
                               .unit = "1",
                               .doc = "meta-parameter"};
  layout->output_count = plan->job->train.updates
                             ? mv_record_outputs(plan->job, &meta, layout->output)
                             : entry->estimator->outputs(entry->settings, &plan->job->problem, layout->output);
  assert(layout->output_count > 0 && layout->output_count <= MV_OUTPUTS_MAX);
  assert(layout->output[0].role == MV_GRADIENT || layout->output_count == 1);
  int stage = 0;
  for (int o = 0; o < layout->output_count; o++) {
    struct mv_output *output = &layout->output[o];
    int now = is_vector(output) ? 0 : output->role == MV_OBJECTIVE ? 1 : 2;
    assert(now >= stage && "gradients, components and targets, then the objective, then notes");
    stage = now;
    if (is_vector(output)) {
      assert(output->rank < MV_AXES_MAX);
      output->axis[output->rank++] = meta;
    }
    assert(output->role != MV_OBJECTIVE || output->rank == 0);
    layout->offset[o] = layout->values;
    layout->size[o] = axes_product(output->axis, output->rank);
    layout->values += layout->size[o];
    if (output->role < MV_NOTE)
      layout->moments = layout->values;
  }
  layout->pairs = layout->moments * (layout->moments + 1) / 2;
  check_axes(layout);
}

/* Components of one setting of the base follow each other: how many there are. */
static int64_t component_repeats(const struct mv_layout *layout, const struct mv_output *component)
{
  assert(component->base >= 0 && component->base < layout->output_count);
  const struct mv_output *base = &layout->output[component->base];
  assert(base->role == MV_GRADIENT && base->rank <= component->rank);
  for (int a = 0; a < base->rank - 1; a++)
    assert(strcmp(base->axis[a].name, component->axis[a].name) == 0);
  int extra = component->rank - base->rank;
  return axes_product(component->axis + base->rank - 1, extra);
}

static void layout_vectors(struct mv_layout *layout, int meta)
{
  for (int o = 0; o < layout->output_count; o++)
    if (is_vector(&layout->output[o]))
      layout->vectors += layout->size[o] / meta;
  layout->vector = mv_memory_take((size_t)layout->vectors, sizeof *layout->vector);
  int64_t v = 0;
  for (int o = 0; o < layout->output_count; o++) {
    const struct mv_output *output = &layout->output[o];
    if (!is_vector(output))
      continue;
    for (int64_t i = 0; i < layout->size[o] / meta; i++, v++) {
      layout->vector[v][0] = layout->offset[o] + i * meta;
      layout->vector[v][1] = -1;
      if (output->role == MV_COMPONENT) {
        layout->vector[v][1] = layout->vector[v][0];
        layout->vector[v][0] = layout->offset[output->base] + i / component_repeats(layout, output) * meta;
      }
    }
  }
}

static void layout_cost(struct mv_layout *layout, const struct mv_plan *plan, const struct mv_entry *entry)
{
  size_t most = (size_t)(layout->size[0] / plan->job->meta); /* one cost for each vector of output 0 */
  layout->primal = mv_memory_take(most, sizeof *layout->primal);
  layout->tangent = mv_memory_take(most, sizeof *layout->tangent);
  layout->cost_rank = entry->estimator->cost(entry->settings, &plan->job->problem, layout->primal, layout->tangent);
  if (plan->job->train.updates)
    layout->cost_rank = 0; /* one value of each axis */
  assert(layout->cost_rank == 0 || layout->cost_rank < layout->output[0].rank);
  layout->settings = axes_product(layout->output[0].axis, layout->cost_rank);
}

static char **make_meta_names(const struct mv_job *job)
{
  char **names = mv_memory_take((size_t)job->meta, sizeof *names);
  for (int m = 0; m < job->meta; m++) {
    char numbered[32];
    snprintf(numbered, sizeof numbered, "eta_%d", m);
    const char *name = job->task->meta_names ? job->task->meta_names[m] : numbered;
    names[m] = mv_memory_take(strlen(name) + 1, 1);
    strcpy(names[m], name);
  }
  return names;
}

struct mv_plan *mv_plan_make(const struct mv_job *job)
{
  assert(job->meta > 0 && job->points > 0 && job->entry_count > 0 && job->block > 0);
  struct mv_plan *plan = mv_memory_take(1, sizeof *plan);
  plan->job = job;
  plan->cells = job->points * job->entry_count;
  plan->meta_names = make_meta_names(job);
  plan->layout = mv_memory_take((size_t)job->entry_count, sizeof *plan->layout);
  plan->work = mv_memory_take((size_t)job->entry_count, sizeof *plan->work);
  for (int e = 0; e < job->entry_count; e++) {
    layout_outputs(&plan->layout[e], plan, &job->entries[e]);
    layout_vectors(&plan->layout[e], job->meta);
    layout_cost(&plan->layout[e], plan, &job->entries[e]);
    plan->work[e] = job->entries[e].estimator->work(job->entries[e].settings, &job->problem);
  }
  plan->key = mv_memory_take((size_t)job->points, sizeof *plan->key);
  for (int p = 0; p < job->points; p++)
    plan->key[p] = mv_key_make(job->seed, job->eta + (size_t)p * job->meta, job->meta);
  plan->replicates = mv_memory_take((size_t)plan->cells, sizeof *plan->replicates);
  for (int cell = 0; cell < plan->cells; cell++)
    plan->replicates[cell] = job->train.updates ? job->train.updates + 1
                                                : mv_round_replicates(job, &job->entries[mv_plan_entry(plan, cell)], 1);
  return plan;
}

void mv_plan_free(struct mv_plan *plan)
{
  if (!plan)
    return;
  for (int e = 0; e < plan->job->entry_count; e++) {
    free(plan->layout[e].vector);
    free(plan->layout[e].primal);
    free(plan->layout[e].tangent);
  }
  for (int m = 0; m < plan->job->meta; m++)
    free(plan->meta_names[m]);
  free(plan->meta_names);
  free(plan->replicates);
  free(plan->layout);
  free(plan->work);
  free(plan->key);
  free(plan);
}
