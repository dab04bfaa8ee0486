/* store_schema.c - what results.h5 holds, as a table: the writer creates it, the reader checks files against it, and
 * shards use its streamed part for each unit.
 *
 *   /                point, meta_parameter, eta[point, meta_parameter]
 *   /<entry>         the same again, the axes of the entry's outputs, cost, cost_primal, cost_tangent over the leading
 * axes, and samples        replicate; every output as [point, replicate, its axes]; status; task_instance, lifetime,
 * perturbation moments        block, value, pair, pair_row, pair_col, vector, rank; count, nonfinite [point, block],
 * mean[.., value], comoment[.., pair], largest and largest_id[.., vector, rank] /provenance      texts; outside the
 * digest
 *
 * Every axis of every dataset is a one-dimensional dataset of its name in the same group (a dimension scale), so each
 * group opens by itself as a netCDF-4 group with named dimensions and coordinate values.
 */
#include "metavar/store_internal.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "metavar/memory.h"

size_t mv_type_bytes(enum mv_type type)
{
  static const size_t bytes[] = {
      [MV_TYPE_DOUBLE] = 8, [MV_TYPE_INT64] = 8, [MV_TYPE_INT8] = 1, [MV_TYPE_STRING] = sizeof(char *)};
  return bytes[type];
}

int64_t mv_dataset_elements(const struct mv_dataset *dataset)
{
  int64_t elements = 1;
  for (int d = 0; d < dataset->rank; d++)
    elements *= dataset->dims[d];
  return elements;
}

size_t mv_dataset_row_bytes(const struct mv_dataset *dataset)
{
  return (size_t)(mv_dataset_elements(dataset) / (dataset->dims[0] * dataset->dims[1])) * mv_type_bytes(dataset->type);
}

/* --- building the table ---------------------------------------------------------------------------------- */

/* In the group that is being added, the last one of the table. */
static struct mv_dataset *find(const struct mv_schema *schema, const char *group, const char *name)
{
  for (int k = schema->count - 1; k >= 0 && strcmp(schema->dataset[k].group, group) == 0; k--)
    if (strcmp(schema->dataset[k].name, name) == 0)
      return &schema->dataset[k];
  return NULL;
}

/* The new row is good until the next one. */
static struct mv_dataset *add(struct mv_schema *schema, const char *group, const char *name, enum mv_type type,
                              const char *unit, const char *doc)
{
  assert(!find(schema, group, name) && "two things of one name in a group");
  if ((schema->count & (schema->count - 1)) == 0) /* room doubles when full */
    schema->dataset =
        mv_memory_grow(schema->dataset, schema->count ? 2 * (size_t)schema->count : 1, sizeof *schema->dataset);
  struct mv_dataset *dataset = &schema->dataset[schema->count++];
  *dataset = (struct mv_dataset){
      .group = group, .name = name, .type = type, .unit = unit ? unit : "1", .doc = doc, .entry = -1, .output = -1};
  return dataset;
}

static void add_axis(struct mv_dataset *dataset, const char *scale, int64_t length)
{
  assert(dataset->rank < MV_RANK_MAX);
  dataset->scale[dataset->rank] = scale;
  dataset->dims[dataset->rank++] = length;
}

/* Room for the contents, once the axes are known. */
static void *add_data(struct mv_dataset *dataset)
{
  return dataset->data = mv_memory_take((size_t)mv_dataset_elements(dataset), mv_type_bytes(dataset->type));
}

/* A one-dimensional dataset over the scale `axis`; a scale itself when that is its own name. */
static void *add_column(struct mv_schema *schema, const char *group, const char *name, const char *axis, int64_t length,
                        enum mv_type type, const char *unit, const char *doc)
{
  struct mv_dataset *dataset = add(schema, group, name, type, unit, doc);
  add_axis(dataset, axis, length);
  return add_data(dataset);
}

static int64_t *add_numbers(struct mv_schema *schema, const char *group, const char *name, const char *axis,
                            int64_t length, const char *doc)
{
  return add_column(schema, group, name, axis, length, MV_TYPE_INT64, "1", doc);
}

/* Whole numbers that follow a rule, never held in memory: element k is k step / divide % modulus. */
static void add_rule(struct mv_schema *schema, const char *group, const char *name, const char *axis, int64_t length,
                     int64_t step, int64_t divide, int64_t modulus, const char *doc)
{
  struct mv_dataset *dataset = add(schema, group, name, MV_TYPE_INT64, "1", doc);
  add_axis(dataset, axis, length);
  dataset->part = MV_PART_INDEX;
  dataset->step = step;
  dataset->divide = divide;
  dataset->modulus = modulus;
}

/* A scale 0, 1, 2, ... */
static void add_index(struct mv_schema *schema, const char *group, const char *name, int64_t length, const char *doc)
{
  add_rule(schema, group, name, name, length, 1, 1, INT64_MAX, doc);
}

static void add_scale(struct mv_schema *schema, const char *group, const struct mv_axis *axis)
{
  static const enum mv_type types[] = {
      [MV_AXIS_INTS] = MV_TYPE_INT64, [MV_AXIS_REALS] = MV_TYPE_DOUBLE, [MV_AXIS_NAMES] = MV_TYPE_STRING};
  if (find(schema, group, axis->name))
    return;
  if (axis->kind == MV_AXIS_INTS && !axis->value.ints) {
    add_index(schema, group, axis->name, axis->length, axis->doc);
    return;
  }
  void *data =
      add_column(schema, group, axis->name, axis->name, axis->length, types[axis->kind], axis->unit, axis->doc);
  if (axis->kind == MV_AXIS_NAMES)
    for (int k = 0; k < axis->length; k++)
      ((char **)data)[k] = mv_text_copy(axis->value.names[k]);
  else
    memcpy(data, axis->value.ints, (size_t)axis->length * 8);
}

/* --- the groups ------------------------------------------------------------------------------------------ */

static const char *cell_axis(const struct mv_job *job) { return job->train.updates ? "curve" : "point"; }

static void add_points(struct mv_schema *schema, const char *group, const struct mv_plan *plan)
{
  const struct mv_job *job = plan->job;
  const bool trains = job->train.updates > 0;
  add_index(schema, group, cell_axis(job), job->points, trains ? "number of the curve" : "number of the eta point");
  char **name =
      add_column(schema, group, "meta_parameter", "meta_parameter", job->meta, MV_TYPE_STRING, "1", "meta-parameter");
  for (int m = 0; m < job->meta; m++)
    name[m] = mv_text_copy(plan->meta_names[m]);
  if (trains)
    add_rule(schema, group, "seed", "curve", job->points, 1, 1, job->train.seeds, "number of the curve's seed");
  struct mv_dataset *eta =
      add(schema, group, trains ? "start" : "eta", MV_TYPE_DOUBLE, "1",
          trains ? "where the curve starts: meta-parameters" : "nominal value of the meta-parameters");
  add_axis(eta, cell_axis(job), job->points);
  add_axis(eta, "meta_parameter", job->meta);
  memcpy(add_data(eta), job->eta, (size_t)(job->points * job->meta) * sizeof(double));
}

static void add_cost(struct mv_schema *schema, const struct mv_plan *plan, int entry)
{
  static const char *const name[] = {"cost_primal", "cost_tangent", "cost"};
  static const char *const doc[] = {"inner steps that one replicate of this setting alone simulates",
                                    "tangent-step equivalents that one replicate of this setting alone takes",
                                    "inner-step equivalents that one replicate of this setting alone takes"};
  const char *group = plan->job->entries[entry].label;
  const struct mv_layout *layout = &plan->layout[entry];
  for (int k = 0; k < 3; k++) {
    struct mv_dataset *cost = add(schema, group, name[k], MV_TYPE_DOUBLE, "inner steps", doc[k]);
    for (int a = 0; a < layout->cost_rank; a++)
      add_axis(cost, layout->output[0].axis[a].name, layout->output[0].axis[a].length);
    double *value = add_data(cost);
    for (int64_t s = 0; s < layout->settings; s++)
      value[s] = (k != 1 ? layout->primal[s] : 0) + (k != 0 ? layout->tangent[s] : 0);
  }
}

/* Replicates of the entry's longest cell. */
static int64_t longest(const struct mv_plan *plan, int entry)
{
  int64_t most = 0;
  for (int p = 0; p < plan->job->points; p++) {
    int64_t replicates = plan->replicates[(int64_t)entry * plan->job->points + p];
    most = replicates > most ? replicates : most;
  }
  return most;
}

/* With a stopping rule cells differ: how many replicates each has. The rest of its rows is fill. */
static void add_replicates(struct mv_schema *schema, const struct mv_plan *plan, int entry)
{
  int64_t *replicates = add_numbers(schema, plan->job->entries[entry].label, "replicates", "point", plan->job->points,
                                    "replicates of the point; rows beyond are absent");
  memcpy(replicates, plan->replicates + (int64_t)entry * plan->job->points,
         (size_t)plan->job->points * sizeof *replicates);
}

/* A dataset [point, replicate or block, ...] that units fill. */
static struct mv_dataset *add_stream(struct mv_schema *schema, const struct mv_plan *plan, int entry, const char *name,
                                     enum mv_type type, enum mv_part part, const char *unit, const char *doc)
{
  const struct mv_entry *e = &plan->job->entries[entry];
  struct mv_dataset *dataset = add(schema, e->label, name, type, unit, doc);
  dataset->part = part;
  dataset->entry = entry;
  add_axis(dataset, cell_axis(plan->job), plan->job->points);
  if (e->store == MV_STORE_SAMPLES)
    add_axis(dataset, plan->job->train.updates ? "update" : "replicate", longest(plan, entry));
  else
    add_axis(dataset, "block", (longest(plan, entry) + plan->job->block - 1) / plan->job->block);
  return dataset;
}

static void add_coordinates(struct mv_schema *schema, const struct mv_entry *e, int64_t n)
{
  int64_t p = e->perturbations_per_lifetime, l = e->lifetimes_per_task;
  add_index(schema, e->label, "replicate", n, "replicate id");
  add_rule(schema, e->label, "task_instance", "replicate", n, 1, p * l, INT64_MAX, "task instance of the replicate");
  add_rule(schema, e->label, "lifetime", "replicate", n, 1, p, l, "lifetime draw within the task instance");
  add_rule(schema, e->label, "perturbation", "replicate", n, 1, 1, p, "perturbation draw within the lifetime draw");
}

/* In training: what the gradients have cost when a curve gets there; evaluations do not count. */
static void add_updates(struct mv_schema *schema, const struct mv_plan *plan, int entry)
{
  static const char *const name[] = {"spent_primal", "spent_tangent"};
  static const char *const doc[] = {"inner steps that the gradients of all updates before this one have simulated",
                                    "tangent-step equivalents that the gradients before this one have taken"};
  const struct mv_entry *e = &plan->job->entries[entry];
  int64_t rows = mv_job_rows(plan->job, entry);
  add_index(schema, e->label, "update", rows, "number of the update");
  for (int k = 0; k < 2; k++) {
    double each = (double)e->replicates * (k ? plan->layout[entry].tangent[0] : plan->layout[entry].primal[0]);
    double *spent = add_column(schema, e->label, name[k], "update", rows, MV_TYPE_DOUBLE, "inner steps", doc[k]);
    for (int64_t u = 0; u < rows; u++)
      spent[u] = (double)u * each;
  }
}

static void add_samples(struct mv_schema *schema, const struct mv_plan *plan, int entry)
{
  const struct mv_entry *e = &plan->job->entries[entry];
  const struct mv_layout *layout = &plan->layout[entry];
  if (plan->job->train.updates)
    add_updates(schema, plan, entry);
  else
    add_coordinates(schema, e, longest(plan, entry));
  for (int o = 0; o < layout->output_count; o++) {
    const struct mv_output *output = &layout->output[o];
    struct mv_dataset *dataset =
        add_stream(schema, plan, entry, output->name, output->role == MV_NOTE ? MV_TYPE_INT64 : MV_TYPE_DOUBLE,
                   MV_PART_OUTPUT, output->unit, output->doc);
    dataset->output = o;
    for (int a = 0; a < output->rank; a++)
      add_axis(dataset, output->axis[a].name, output->axis[a].length);
  }
  add_stream(schema, plan, entry, "status", MV_TYPE_INT8, MV_PART_STATUS, "1",
             plan->job->train.updates ? "whether the gradient can be followed" : "whether the sample can be used");
}

static void add_moment_scales(struct mv_schema *schema, const struct mv_plan *plan, int entry)
{
  const struct mv_entry *e = &plan->job->entries[entry];
  const struct mv_layout *layout = &plan->layout[entry];
  int64_t m = layout->moments, blocks = (longest(plan, entry) + plan->job->block - 1) / plan->job->block;
  add_rule(schema, e->label, "block", "block", blocks, plan->job->block, 1, INT64_MAX,
           "first replicate id of the block");
  mv_label_values(layout,
                  add_column(schema, e->label, "value", "value", m, MV_TYPE_STRING, "1", "output and its setting"));
  add_index(schema, e->label, "pair", layout->pairs, "number of the pair of values");
  int64_t *row = add_numbers(schema, e->label, "pair_row", "pair", layout->pairs, "first value of the pair");
  int64_t *col = add_numbers(schema, e->label, "pair_col", "pair", layout->pairs,
                             "second value of the pair, not before the first");
  for (int64_t i = 0, k = 0; i < m; i++)
    for (int64_t j = i; j < m; j++, k++) {
      row[k] = i;
      col[k] = j;
    }
  if (layout->vectors == 0) /* no gradient */
    return;
  mv_label_vectors(layout, plan->job->meta,
                   add_column(schema, e->label, "vector", "vector", layout->vectors, MV_TYPE_STRING, "1",
                              "gradient estimate whose norm is watched"));
  add_index(schema, e->label, "rank", MV_LARGEST, "place among the largest norms");
}

static void add_moments(struct mv_schema *schema, const struct mv_plan *plan, int entry)
{
  const struct mv_layout *layout = &plan->layout[entry];
  add_moment_scales(schema, plan, entry);
  add_stream(schema, plan, entry, "count", MV_TYPE_INT64, MV_PART_COUNT, "1", "finite samples in the block");
  add_stream(schema, plan, entry, "nonfinite", MV_TYPE_INT64, MV_PART_NONFINITE, "1",
             "samples of the block left out because a value is not finite");
  add_axis(add_stream(schema, plan, entry, "mean", MV_TYPE_DOUBLE, MV_PART_MEAN, "1", "mean over the finite samples"),
           "value", layout->moments);
  add_axis(add_stream(schema, plan, entry, "comoment", MV_TYPE_DOUBLE, MV_PART_COMOMENT, "1",
                      "sum over the finite samples of the product of two deviations from the mean"),
           "pair", layout->pairs);
  if (layout->vectors == 0)
    return;
  struct mv_dataset *largest = add_stream(schema, plan, entry, "largest", MV_TYPE_DOUBLE, MV_PART_LARGEST, "1",
                                          "largest squared norms, descending; -1 where there are fewer samples");
  add_axis(largest, "vector", layout->vectors);
  add_axis(largest, "rank", MV_LARGEST);
  largest = add_stream(schema, plan, entry, "largest_id", MV_TYPE_INT64, MV_PART_LARGEST_ID, "1",
                       "replicate ids of the largest squared norms; -1 where there are fewer samples");
  add_axis(largest, "vector", layout->vectors);
  add_axis(largest, "rank", MV_LARGEST);
}

struct mv_schema *mv_schema_make(const struct mv_plan *plan)
{
  struct mv_schema *schema = mv_memory_take(1, sizeof *schema);
  add_points(schema, "", plan);
  for (int e = 0; e < plan->job->entry_count; e++) {
    const struct mv_entry *entry = &plan->job->entries[e];
    const struct mv_layout *layout = &plan->layout[e];
    add_points(schema, entry->label, plan);
    for (int o = 0; o < layout->output_count; o++)
      for (int a = 0; a < layout->output[o].rank; a++)
        add_scale(schema, entry->label, &layout->output[o].axis[a]);
    add_cost(schema, plan, e);
    if (plan->job->stop.relative_error > 0)
      add_replicates(schema, plan, e);
    if (entry->store == MV_STORE_SAMPLES)
      add_samples(schema, plan, e);
    else
      add_moments(schema, plan, e);
  }
  return schema;
}

static void add_texts(struct mv_schema *schema, const char *name, const char *axis, char **text, int64_t count,
                      const char *doc)
{
  if (count == 0)
    return;
  add_index(schema, "provenance", axis, count, "number");
  char **copy = add_column(schema, "provenance", name, axis, count, MV_TYPE_STRING, "1", doc);
  for (int64_t k = 0; k < count; k++)
    copy[k] = mv_text_copy(text[k]);
}

void mv_schema_provenance(struct mv_schema *schema, const char *job, const char *resolved, char **manifest,
                          int64_t lines, char **attempts, int64_t attempt_count)
{
  char **text = add_data(add(schema, "provenance", "job", MV_TYPE_STRING, "1", "job file, verbatim"));
  *text = mv_text_copy(job);
  text = add_data(add(schema, "provenance", "resolved", MV_TYPE_STRING, "1", "job with every default filled in"));
  *text = mv_text_copy(resolved);
  add_texts(schema, "manifest", "shard", manifest, lines, "lines of the manifest: shards that this file was made from");
  add_texts(schema, "attempts", "attempt", attempts, attempt_count, "who computed, where and when");
}

void mv_schema_free(struct mv_schema *schema)
{
  if (!schema)
    return;
  for (int k = 0; k < schema->count; k++) {
    struct mv_dataset *dataset = &schema->dataset[k];
    if (dataset->type == MV_TYPE_STRING)
      for (int64_t i = 0; i < mv_dataset_elements(dataset); i++)
        free(((char **)dataset->data)[i]);
    free(dataset->data);
  }
  free(schema->dataset);
  free(schema);
}

const char *mv_schema_refuses(const struct mv_job *job)
{
  static const char *const taken[] = {"point", "curve", "meta_parameter", "eta", "start", "seed", "provenance",
                                      ".",     ".."};
  for (int e = 0; e < job->entry_count; e++)
    for (size_t k = 0; k < sizeof taken / sizeof *taken; k++)
      if (strcmp(job->entries[e].label, taken[k]) == 0)
        return taken[k];
  return NULL;
}

/* --- from results to datasets ---------------------------------------------------------------------------- */

/* A note is a whole number. One that is not has no place in an int64; the least int64 stands for it. */
static int64_t note_value(double x) { return x > -9e15 && x < 9e15 ? (int64_t)x : INT64_MIN; }

static void gather_output(const struct mv_dataset *dataset, const struct mv_layout *layout,
                          const struct mv_result *result, char *out)
{
  const int64_t size = layout->size[dataset->output];
  for (int64_t r = 0; r < result->head->unit.count; r++) {
    const double *x = result->values + r * layout->values + layout->offset[dataset->output];
    if (dataset->type == MV_TYPE_DOUBLE)
      memcpy(out, x, (size_t)size * sizeof *x);
    for (int64_t k = 0; k < size && dataset->type != MV_TYPE_DOUBLE; k++)
      memcpy(out + 8 * k, &(int64_t){note_value(x[k])}, 8);
    out += 8 * size;
  }
}

void mv_dataset_gather(const struct mv_dataset *dataset, const struct mv_plan *plan, const struct mv_result *result,
                       void *out)
{
  const void *const from[] = {[MV_PART_STATUS] = result->status,        [MV_PART_COUNT] = result->count,
                              [MV_PART_NONFINITE] = result->nonfinite,  [MV_PART_MEAN] = result->mean,
                              [MV_PART_COMOMENT] = result->comoment,    [MV_PART_LARGEST] = result->largest,
                              [MV_PART_LARGEST_ID] = result->largest_id};
  int64_t first, rows;
  mv_dataset_rows(plan, &result->head->unit, &first, &rows);
  if (dataset->part == MV_PART_OUTPUT) {
    gather_output(dataset, &plan->layout[dataset->entry], result, out);
    return;
  }
  assert(dataset->part >= MV_PART_STATUS && "a dataset that units fill");
  memcpy(out, from[dataset->part], (size_t)rows * mv_dataset_row_bytes(dataset));
}

void mv_dataset_rows(const struct mv_plan *plan, const struct mv_unit *unit, int64_t *first, int64_t *count)
{
  bool samples = plan->job->entries[mv_plan_entry(plan, (int)unit->cell)].store == MV_STORE_SAMPLES;
  int64_t block = plan->job->block;
  *first = samples ? unit->first : unit->first / block;
  *count = samples ? unit->count : (unit->count + block - 1) / block;
}

/* Of the rows of an entry, the share that its cells have: where they differ, the rest is never written. */
static double filled_share(const struct mv_plan *plan, int entry)
{
  const int64_t *replicates = plan->replicates + (int64_t)entry * plan->job->points;
  double sum = 0, most = 1;
  for (int p = 0; p < plan->job->points; p++) {
    sum += (double)replicates[p];
    most = (double)replicates[p] > most ? (double)replicates[p] : most;
  }
  return sum / (most * plan->job->points);
}

size_t mv_schema_bytes(const struct mv_schema *schema, const struct mv_plan *plan)
{
  double need = 1 << 20;
  for (int k = 0; k < schema->count; k++) {
    const struct mv_dataset *row = &schema->dataset[k];
    double share = row->entry < 0 ? 1 : filled_share(plan, row->entry);
    need += 4096 + 1.02 * share * (double)mv_dataset_elements(row) * (double)mv_type_bytes(row->type);
  }
  return (size_t)need;
}
