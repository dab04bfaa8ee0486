/* config_job.c - the job as a whole: keys of the top level, the task, then eta and estimators.
 *
 * Order matters: a task's shape says how many meta-parameters eta has, and estimators are checked against the problem
 * that task, sampler and lifetime length make. What hangs on something wrong is checked as far as it can be, so that
 * one pass finds as much as possible.
 */
#include "config.h"
#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMBER(m) offsetof(struct mv_job, m)
const struct mv_field mv_job_fields[] = {
    {"name", MV_NAME, MEMBER(name), .doc = "name of the job, kept with the results"},
    {"seed", MV_SEED, MEMBER(seed), .min = 0, .max = 0x1p64, .unit = "1", .doc = "seed of every random number"},
    {"lifetime_length", MV_INT, MEMBER(lifetime_length), .min = 1, .max = 1e9, .unit = "1",
     .doc = "N, inner updates in one lifetime"},
    {"sampler", MV_CHOICE, MEMBER(sampler), .fallback = "inverse_cdf", .choices = mv_sampler_names,
     .doc = "how a categorical choice uses its noise"},
    {"block", MV_INT, MEMBER(block), .fallback = "1000", .min = 1, .max = 1e9, .unit = "1",
     .doc = "replicates in one block of moments"},
    {"unit", MV_INT, MEMBER(unit), .fallback = "0", .min = 0, .max = 1e9, .unit = "1",
     .doc = "replicates in one work unit, 0 chooses; changes no result"},
    MV_FIELD_END,
};

const char *const mv_statistic_names[] = {"variance", "gradient", NULL};

#define RULE(m) offsetof(struct mv_stopping, m)
const struct mv_field mv_stop_fields[] = {
    {"relative_error", MV_REAL, RULE(relative_error), .min = 0, .max = 1, .open_min = true, .unit = "1",
     .doc = "a cell with this relative standard error gets no more replicates"},
    {"statistic", MV_CHOICE, RULE(statistic), .fallback = "variance", .choices = mv_statistic_names,
     .doc = "whose error: the variance of every gradient estimate, or their means"},
    {"first_round", MV_INT, RULE(first_round), .fallback = "0", .min = 0, .max = 0x1p40, .unit = "1",
     .doc = "replicates of a cell before the first decision, rounded up to whole blocks; 0: 32 blocks"},
    MV_FIELD_END,
};
#define FIRST_BLOCKS 32 /* of a first round that nobody has chosen */

static const char *const structured[] = {"task", "eta", "estimators", "stop", "train", NULL};
enum { TASK, ETA, ESTIMATORS, NEEDED, STOP = NEEDED, TRAIN, PARTS };

void mv_job_free(struct mv_job *job)
{
  if (!job) {
    return;
  }
  for (int i = 0; i < job->entry_count; i++) {
    free(job->entries[i].settings);
  }
  free(job->entries);
  free(job->held_out.settings);
  free(job->eta);
  free(job->grid);
  free(job->task_settings);
  free(job->text);
  free(job);
}

int mv_job_find(const struct mv_job *job, const char *label, const char *verb)
{
  for (int e = 0; e < job->entry_count; e++) {
    if (strcmp(job->entries[e].label, label) == 0) {
      return e;
    }
  }
  if (!verb) {
    return -1;
  }
  fprintf(stderr, "metavar %s: no estimator of this run has the label %s; there are:", verb, label);
  for (int e = 0; e < job->entry_count; e++) {
    fprintf(stderr, " %s", job->entries[e].label);
  }
  fprintf(stderr, "\n");
  return -1;
}

static const struct mv_task *find_task(struct mv_config *c, struct mv_node *map)
{
  struct mv_node *name = mv_node_get(map, "name");
  const char *words[256];
  char hint[MV_HINT_MAX];
  int count = 0;
  if (!name) {
    mv_error_at(c, map->place, "name", "missing in task; add the task's name");
    return NULL;
  }
  if (name->kind != MV_SCALAR || name->bad) {
    mv_error_node(c, name, "name", "%s where the name of a task belongs", mv_node_kind_name(name));
    return NULL;
  }
  for (const struct mv_task *const *t = c->kernel->tasks; *t; t++) {
    if (strcmp((*t)->name, name->text) == 0) {
      return *t;
    }
    assert(count < 256);
    words[count++] = (*t)->name;
  }
  mv_error_node(c, name, "name", "unknown task \"%.64s\"%s", name->text,
                mv_hint_make(hint, name->text, words, count, true));
  return NULL;
}

/* True if the task's settings are complete, so that its shape is known. */
static bool read_task(struct mv_config *c, struct mv_node *map, bool length_known, struct mv_job *job)
{
  static const char *const words[] = {"name", NULL};
  char where[MV_NAME_MAX + 16];
  if (map->kind != MV_MAP) {
    mv_error_node(c, map, "task", "%s where a mapping belongs; write `name: ...` below it", mv_node_kind_name(map));
    return false;
  }
  job->task = find_task(c, map);
  if (!job->task) {
    return false;
  }
  snprintf(where, sizeof where, "task %.40s", job->task->name);
  job->task_settings = mv_config_alloc(job->task->settings_size);
  mv_keys_check(c, map, where, job->task->fields, NULL, words);
  mv_field_defaults(job->task->fields, job->task_settings);
  bool usable = mv_table_read(c, map, where, job->task->fields, job->task_settings, NULL) && length_known;
  struct mv_complaints complaints = {c, map, 0};
  if (usable && job->task->complete) {
    job->task->complete(job->task_settings, job->lifetime_length, &complaints);
  }
  return usable && complaints.count == 0;
}

/* The stopping rule. */
static void read_stop(struct mv_config *c, struct mv_node *map, struct mv_job *job)
{
  static const char *const words[] = {NULL};
  struct mv_stopping *stop = &job->stop;
  if (map->kind != MV_MAP) {
    mv_error_node(c, map, "stop", "%s where a mapping belongs; write `relative_error: 0.05` below it",
                  mv_node_kind_name(map));
    return;
  }
  mv_keys_check(c, map, "stop", mv_stop_fields, NULL, words);
  mv_field_defaults(mv_stop_fields, stop);
  mv_table_read(c, map, "stop", mv_stop_fields, stop, NULL);
  int64_t blocks = (stop->first_round + job->block - 1) / job->block;
  stop->first_round = (stop->first_round ? blocks : FIRST_BLOCKS) * job->block;
}

static void read_top(struct mv_config *c, struct mv_node *root, struct mv_job *job)
{
  struct mv_node *part[PARTS];
  mv_keys_check(c, root, "the job", mv_job_fields, NULL, structured);
  mv_field_defaults(mv_job_fields, job);
  mv_table_read(c, root, "the job", mv_job_fields, job, NULL);
  struct mv_node *length = mv_node_get(root, "lifetime_length");
  for (int i = 0; structured[i]; i++) {
    part[i] = mv_node_get(root, structured[i]);
    if (!part[i] && i < NEEDED) {
      mv_error_at(c, root->place, structured[i], "missing in the job; add it, see jobs/README.md");
    } else if (part[i] && part[i]->bad) {
      part[i] = NULL;
    }
  }
  bool ready = part[TASK] && read_task(c, part[TASK], length && !length->bad, job);
  if (ready) {
    struct mv_shape shape = job->task->shape(job->task_settings);
    assert(shape.meta > 0);
    job->kernel = c->kernel = mv_kernel_for(c->kernel, &shape);
    job->task = mv_task_find(c->kernel, job->task->name);
    job->problem =
        (struct mv_problem){job->task, job->task_settings, shape, job->lifetime_length, (enum mv_sampler)job->sampler};
  }
  if (part[STOP]) {
    read_stop(c, part[STOP], job);
  }
  if (part[STOP] && part[TRAIN]) {
    mv_error_node(c, part[STOP], "stop", "is for measurements; a training has a fixed number of updates");
  }
  if (part[ETA]) {
    mv_eta_read(c, part[ETA], ready ? job->problem.shape.meta : 0, job);
  }
  if (part[TRAIN]) {
    mv_train_read(c, part[TRAIN], job);
    mv_train_curves(c, part[TRAIN], job);
  }
  if (part[ESTIMATORS]) {
    mv_entries_read(c, part[ESTIMATORS], ready, job);
  }
}

/* The file, then the overrides as comments. */
static char *keep_text(const char *text, size_t length, const char *const *overrides, int count)
{
  char *out = NULL;
  size_t size;
  FILE *f = open_memstream(&out, &size);
  if (!f) {
    abort();
  }
  fwrite(text, 1, length, f);
  if (length && text[length - 1] != '\n') {
    putc('\n', f);
  }
  for (int i = 0; i < count; i++) {
    fputs("# --set ", f);
    for (const char *p = overrides[i]; *p; p++) {
      fputs(*p == '\n' ? "\n#       " : (char[2]){*p, '\0'}, f);
    }
    putc('\n', f);
  }
  fclose(f);
  return out;
}

struct mv_job *mv_job_parse(const char *name, const char *text, size_t length, const char *const *overrides,
                            int override_count, const struct mv_kernel *kernel, void *report)
{
  struct mv_config c = {.name = name, .kernel = kernel};
  struct mv_job *job = mv_config_alloc(sizeof *job);
  struct mv_node *root = mv_yaml_parse(&c, text, length, NULL);
  job->kernel = kernel;
  if (root && root->kind != MV_MAP) {
    mv_error_node(&c, root, NULL, "%s where `key: value` lines belong; see jobs/README.md for what a job holds",
                  mv_node_kind_name(root));
  } else if (root) {
    for (int i = 0; i < override_count; i++) {
      mv_override_apply(&c, root, overrides[i]);
    }
    read_top(&c, root, job);
  }
  if (mv_config_failed(&c)) {
    mv_error_print(&c, report);
    mv_job_free(job);
    job = NULL;
  } else {
    job->text = keep_text(text, length, overrides, override_count);
  }
  mv_config_free(&c);
  return job;
}
