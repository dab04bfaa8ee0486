/* config_train.c - `train:`, the outer loop, and what it asks of the rows of `estimators:`.
 *
 * In training eta holds the starting points, and a curve follows one gradient: one value of every axis of the
 * estimator's gradient, and of its component the part lambda.
 */
#include "config.h"
#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const char *const optimizer_names[] = {"sgd", "adam", NULL};
static const char *const lifetimes_names[] = {"fresh", "carried", NULL};

#define MEMBER(m) offsetof(struct mv_train, m)
const struct mv_field mv_train_fields[] = {
    {"updates", MV_INT, MEMBER(updates), .min = 1, .max = 1e9, .unit = "1", .doc = "updates of eta in one curve"},
    {"seeds", MV_INT, MEMBER(seeds), .fallback = "1", .min = 1, .max = 1e6, .unit = "1",
     .doc = "curves from each start, which differ by their random numbers alone"},
    {"optimizer", MV_CHOICE, MEMBER(optimizer), .fallback = "sgd", .choices = optimizer_names,
     .doc = "sgd, with momentum if it is not 0, or adam; both go up the gradient of J"},
    {"learning_rate", MV_REAL, MEMBER(learning_rate), .min = 0, .max = 1e6, .unit = "1", .open_min = true,
     .doc = "size of a step"},
    {"momentum", MV_REAL, MEMBER(momentum), .fallback = "0", .min = 0, .max = 1, .unit = "1",
     .doc = "sgd: velocity = momentum velocity + gradient"},
    {"betas", MV_REAL_LIST, MEMBER(betas), .fallback = "[0.9, 0.999]", .min = 0, .max = 1, .unit = "1",
     .doc = "adam: decay of the first and the second moment"},
    {"epsilon", MV_REAL, MEMBER(epsilon), .fallback = "1e-8", .min = 0, .max = 1e6, .unit = "1", .open_min = true,
     .doc = "adam: added to the root of the second moment"},
    {"evaluate_every", MV_INT, MEMBER(evaluate_every), .fallback = "0", .min = 0, .max = 1e9, .unit = "1",
     .doc = "updates between evaluations of the objective at unperturbed eta; 0: none"},
    {"evaluate_replicates", MV_INT, MEMBER(evaluate_replicates), .fallback = "1000", .min = 1, .max = 0x1p36,
     .unit = "1", .doc = "held-out replicates of an evaluation, the same ones each time"},
    {"lifetimes", MV_CHOICE, MEMBER(lifetimes), .fallback = "fresh", .choices = lifetimes_names,
     .doc = "fresh: each update has new lifetimes; carried: those of a curve go on from update to update, "
            "lifetime_length inner steps each, with what they have learned"},
    MV_FIELD_END,
};
#undef MEMBER

#define MEMBER(m) offsetof(struct mv_entry, m)
const struct mv_field mv_followed_fields[] = {
    {"lambda", MV_REAL, MEMBER(lambda), .fallback = "1", .min = -1e6, .max = 1e6, .unit = "1",
     .doc = "training: coefficient of the component, as in direct + lambda correction"},
    {"learning_rate", MV_REAL, MEMBER(learning_rate), .fallback = "0", .min = 0, .max = 1e6, .unit = "1",
     .doc = "training: size of a step of this curve; 0: as train says"},
    MV_FIELD_END,
};

static void check_betas(struct mv_config *c, struct mv_node *map, const struct mv_reals *betas)
{
  struct mv_node *node = mv_node_get(map, "betas");
  bool fine = betas->count == 2;
  for (int i = 0; i < betas->count; i++) {
    fine = fine && betas->value[i] < 1;
  }
  if (node && !fine) {
    mv_error_node(c, node, "betas", "must be two numbers, each at least 0 and less than 1, as in [0.9, 0.999]");
  }
}

/* What evaluates the objective, as if it were one more estimator. */
static void make_held_out(struct mv_config *c, struct mv_job *job)
{
  const struct mv_estimator *objective = mv_estimator_find(c->kernel, "objective");
  if (!objective) {
    return; /* a kernel for tests */
  }
  job->held_out = (struct mv_entry){.label = "evaluation",
                                    .replicates = job->train.evaluate_replicates,
                                    .lifetimes_per_task = 1,
                                    .perturbations_per_lifetime = 1,
                                    .estimator = objective,
                                    .settings = mv_config_alloc(objective->settings_size)};
  mv_field_defaults(objective->fields, job->held_out.settings);
}

#define STEPS_MAX (INT64_C(1) << 32) /* the step is a word of the random numbers' address */

/* What lifetimes that go on rule out. */
static void check_carried(struct mv_config *c, struct mv_node *map, const struct mv_job *job)
{
  if (job->train.evaluate_every > 0) {
    mv_error_node(c, mv_node_get(map, "evaluate_every"), "evaluate_every",
                  "evaluates new lifetimes of lifetime_length steps, which is not what lifetimes: carried learns in; "
                  "remove the key and look at the objective of the gradient's replicates");
  }
  if (job->train.updates >= STEPS_MAX / job->lifetime_length) {
    mv_error_node(c, mv_node_get(map, "updates"), "updates",
                  "%lld windows of %lld inner steps are a lifetime of more than 2^32 steps; take fewer",
                  (long long)job->train.updates, (long long)job->lifetime_length);
  }
}

void mv_train_read(struct mv_config *c, struct mv_node *map, struct mv_job *job)
{
  static const char *const words[] = {NULL};
  if (map->kind != MV_MAP) {
    mv_error_node(c, map, "train", "%s where a mapping belongs; write `updates: ...` below it", mv_node_kind_name(map));
    return;
  }
  mv_keys_check(c, map, "train", mv_train_fields, NULL, words);
  mv_field_defaults(mv_train_fields, &job->train);
  mv_table_read(c, map, "train", mv_train_fields, &job->train, NULL);
  if (job->train.updates == 0) {
    job->train.updates = 1; /* told; the rest is checked as for training */
  }
  check_betas(c, map, &job->train.betas);
  struct mv_node *momentum = mv_node_get(map, "momentum");
  if (job->train.momentum >= 1) {
    mv_error_node(c, momentum, "momentum", "must be less than 1");
  } else if (job->train.momentum > 0 && job->train.optimizer != MV_SGD) {
    mv_error_node(c, momentum, "momentum", "is of sgd; adam has betas");
  }
  const struct mv_reals *betas = &job->train.betas;
  bool usual = betas->count == 2 && betas->value[0] == 0.9 && betas->value[1] == 0.999; /* as in resolved.yaml */
  if (!usual && job->train.optimizer != MV_ADAM) {
    mv_error_node(c, mv_node_get(map, "betas"), "betas", "are of adam; sgd has momentum");
  }
  if (job->train.lifetimes == MV_CARRIED && job->lifetime_length > 0) {
    check_carried(c, map, job);
  }
  make_held_out(c, job);
}

void mv_train_curves(struct mv_config *c, struct mv_node *map, struct mv_job *job)
{
  int64_t seeds = job->train.seeds, starts = job->points, meta = job->meta;
  if (!job->eta || job->train.updates == 0) {
    return; /* told */
  }
  if (seeds > MV_CELLS_MAX / starts) {
    mv_error_at(c, map->place, "seeds", "%lld starts with %lld seeds are more than %d curves; take fewer",
                (long long)starts, (long long)seeds, MV_CELLS_MAX);
    return;
  }
  double *eta = mv_config_alloc((size_t)(starts * seeds * meta) * sizeof *eta);
  for (int64_t p = 0; p < starts * seeds; p++) {
    memcpy(eta + p * meta, job->eta + p / seeds * meta, (size_t)meta * sizeof *eta);
  }
  free(job->eta);
  job->eta = eta;
  job->points = (int)(starts * seeds);
}

/* --- rows of estimators --- */

#define CARRIED_BYTES (INT64_C(1) << 30) /* of one curve, which travel as one message */

/* A row whose lifetimes go on: an update is one window, and follows from all before it. */
static void check_carrier(struct mv_complaints *complaints, const struct mv_job *job, const struct mv_entry *entry,
                          const struct mv_output *gradient)
{
  const struct mv_estimator *estimator = entry->estimator;
  if (!estimator->carries) {
    mv_complain(complaints, "name",
                "estimator %s has no lifetimes that train: {lifetimes: carried} could go on with; use backprop or es",
                estimator->name);
    return;
  }
  for (int a = 0; a < gradient->rank; a++) {
    const struct mv_axis *axis = &gradient->axis[a];
    if (strcmp(axis->name, "truncation") == 0 && axis->value.ints[0] != job->lifetime_length) {
      mv_complain(complaints, "truncation",
                  "with train: {lifetimes: carried} each update is a window of lifetime_length %lld steps; remove the "
                  "key, and let lifetime_length say how long windows are",
                  (long long)job->lifetime_length);
    }
  }
  const int64_t lifetimes = estimator->lifetimes(entry->settings, &job->problem);
  if (estimator->perturbs && lifetimes / 2 > STEPS_MAX / (job->train.updates + 1)) {
    mv_complain(complaints, "population", "%lld updates with %lld new directions each are more than 2^32; take fewer",
                (long long)job->train.updates, (long long)lifetimes / 2);
  }
  double each = (double)lifetimes * job->problem.shape.state * 8;
  if (each * (double)entry->replicates > (double)CARRIED_BYTES) {
    mv_complain(complaints, "replicates",
                "the lifetimes of one curve would carry %.3g bytes, %.3g a replicate; at most %.3g, take fewer",
                each * (double)entry->replicates, each, (double)CARRIED_BYTES);
  }
}

void mv_train_check(struct mv_config *c, struct mv_node *map, const struct mv_job *job, const struct mv_entry *entry)
{
  struct mv_output output[MV_OUTPUTS_MAX];
  struct mv_complaints complaints = {c, map, 0};
  int outputs = entry->estimator->outputs(entry->settings, &job->problem, output);
  bool component = false;
  if (output[0].role != MV_GRADIENT) {
    mv_complain(&complaints, "name", "estimator %s gives no gradient to follow", entry->estimator->name);
  }
  for (int o = 0; o < outputs; o++) {
    component = component || output[o].role == MV_COMPONENT;
    if (output[o].role == MV_TARGET) {
      mv_complain(&complaints, output[o].name,
                  "estimator %s would also estimate \"%s\", which costs time and is not followed; see metavar describe "
                  "%s for how to leave it out (backprop: weighted: false)",
                  entry->estimator->name, output[o].name, entry->estimator->name);
    }
    for (int a = 0; a < output[o].rank && output[o].role <= MV_COMPONENT; a++) {
      if (output[o].axis[a].length > 1) { /* a sweep would have parted them */
        mv_complain(&complaints, output[o].axis[a].name, "a curve follows one gradient; give one value");
      }
    }
  }
  if (job->train.lifetimes == MV_CARRIED) {
    check_carrier(&complaints, job, entry, &output[0]);
  }
  if (entry->lambda != 1 && !component) {
    mv_complain(&complaints, "lambda", "estimator %s has no component that it would weigh; remove the key",
                entry->estimator->name);
  }
  if (entry->store != MV_STORE_SAMPLES) {
    mv_complain(&complaints, "store", "training stores every update; remove the key");
  }
}
