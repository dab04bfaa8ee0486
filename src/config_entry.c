/* config_entry.c - the rows of `estimators:`.
 *
 * A row is one entry. A list given to a setting of the estimator that holds one value is a sweep: one entry per
 * value, or per combination of values (first setting of the table slowest), labelled <label>_<setting><value>. What a
 * hook of the estimator complains of is told at the row's key. In training, where a curve follows one gradient, a list
 * for an axis of the gradient (truncation, ...) is a sweep too, and so is one for a key of mv_followed_fields.
 */
#include "config.h"
#include "metavar/stream.h"
#include <assert.h>
#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const store_names[] = {"samples", "moments", NULL};

#define MEMBER(m) offsetof(struct mv_entry, m)
const struct mv_field mv_entry_fields[] = {
    {"label", MV_NAME, MEMBER(label), .fallback = "\"\"",
     .doc = "name of the results, unique, first a letter; empty: the estimator's name"},
    {"replicates", MV_INT, MEMBER(replicates), .min = 1, .max = 0x1p36, .unit = "1", .doc = "replicates per eta point"},
    {"store", MV_CHOICE, MEMBER(store), .fallback = "samples", .choices = store_names,
     .doc = "what is kept: every sample, or the moments of blocks of samples"},
    {"lifetimes_per_task", MV_INT, MEMBER(lifetimes_per_task), .fallback = "1", .min = 1, .max = MV_MAX_LIFETIMES,
     .unit = "1", .doc = "nested design: replicates in a row that share a task instance, with a lifetime draw each"},
    {"perturbations_per_lifetime", MV_INT, MEMBER(perturbations_per_lifetime), .fallback = "1", .min = 1,
     .max = MV_MAX_LIFETIMES, .unit = "1",
     .doc = "nested design: replicates in a row that share a lifetime draw, with a perturbation each"},
    MV_FIELD_END,
};

/* One row on its way to entries. */
struct row {
  struct mv_config *config;
  struct mv_job *job;
  struct mv_node *map;
  const struct mv_estimator *estimator;
  char where[MV_NAME_MAX + 16]; /* "estimator es" */
  bool ready;                   /* the job's problem is filled in */
};

static bool is_list(const struct mv_field *f)
{
  return f->kind == MV_INT_LIST || f->kind == MV_REAL_LIST || f->kind == MV_CHOICE_LIST;
}

static bool is_sweep(const struct mv_field *f, const struct mv_node *node)
{
  bool number = f->kind == MV_INT || f->kind == MV_REAL || f->kind == MV_SEED;
  return !is_list(f) && (node->kind == MV_LIST || (node->kind == MV_MAP && number));
}

/* Whether a list-valued setting is an axis of what the estimator gives; `settings` are its defaults. */
static bool is_axis(const struct row *r, const struct mv_field *f, const void *settings)
{
  struct mv_output output[MV_OUTPUTS_MAX];
  bool known = r->ready && is_list(f) && r->estimator->outputs;
  int outputs = known ? r->estimator->outputs(settings, &r->job->problem, output) : 0;
  for (int o = 0; o < outputs; o++) {
    for (int a = 0; a < output[o].rank && output[o].role <= MV_COMPONENT; a++) {
      if (strcmp(output[o].axis[a].name, f->name) == 0) {
        return true;
      }
    }
  }
  return false;
}

static const struct mv_estimator *read_estimator(struct mv_config *c, struct mv_node *map)
{
  struct mv_node *name = mv_node_get(map, "name");
  const char *words[256];
  char hint[MV_HINT_MAX];
  int count = 0;
  if (!name) {
    mv_error_at(c, map->place, "name", "missing in a row of estimators; add the estimator's name");
    return NULL;
  }
  if (name->kind != MV_SCALAR || name->bad) {
    mv_error_node(c, name, "name", "%s where the name of an estimator belongs", mv_node_kind_name(name));
    return NULL;
  }
  for (const struct mv_estimator *const *e = c->kernel->estimators; *e; e++) {
    if (strcmp((*e)->name, name->text) == 0) {
      return *e;
    }
    assert(count < 256);
    words[count++] = (*e)->name;
  }
  mv_error_node(c, name, "name", "unknown estimator \"%.64s\"%s", name->text,
                mv_hint_make(hint, name->text, words, count, true));
  return NULL;
}

/* --- what an entry as a whole must satisfy --- */

static void check_pair(const struct row *r)
{
  char free_of_needs[256] = "";
  if (!r->job->task || mv_pair_valid(r->job->task, r->estimator)) {
    return;
  }
  for (const struct mv_estimator *const *e = r->config->kernel->estimators; *e; e++) {
    size_t used = strlen(free_of_needs);
    if (!((*e)->needs & MV_NEEDS_DERIVATIVE)) {
      snprintf(free_of_needs + used, sizeof free_of_needs - used, "%s%s", used ? " or " : "", (*e)->name);
    }
  }
  mv_error_node(r->config, mv_node_get(r->map, "name"), "name",
                "estimator %s needs derivatives, which task %s does not offer; use %s", r->estimator->name,
                r->job->task->name, *free_of_needs ? free_of_needs : "another task");
}

static void check_label(const struct row *r, const struct mv_entry *entry)
{
  struct mv_node *at = mv_node_get(r->map, "label");
  at = at ? at : r->map;
  if (at->bad) {
    return;
  }
  if (!isalpha((unsigned char)entry->label[0]) || strcmp(entry->label, "provenance") == 0) {
    mv_error_node(r->config, at, "label", "\"%s\" cannot be a label; start with a letter, and not \"provenance\"",
                  entry->label);
  }
  for (int i = 0; i < r->job->entry_count; i++) {
    if (strcmp(r->job->entries[i].label, entry->label) == 0) {
      mv_error_at(r->config, at->place, "label",
                  "\"%s\" is the label of two entries; give one of them a label of its own", entry->label);
      return;
    }
  }
}

static void check_limits(const struct row *r, const struct mv_entry *entry)
{
  const struct mv_estimator *e = r->estimator;
  struct mv_node *node = mv_node_get(r->map, "perturbations_per_lifetime");
  if (node && entry->perturbations_per_lifetime > 1 && !e->perturbs) {
    mv_error_node(r->config, node, "perturbations_per_lifetime", "estimator %s does not perturb; remove the key",
                  e->name);
  }
  if (entry->perturbations_per_lifetime > MV_MAX_LIFETIMES / entry->lifetimes_per_task) {
    mv_error_at(
        r->config, node ? node->place : r->map->place, "perturbations_per_lifetime",
        "%lld perturbations of %lld lifetime draws; a task instance has at most %lld replicates, lower one of the two",
        (long long)entry->perturbations_per_lifetime, (long long)entry->lifetimes_per_task,
        (long long)MV_MAX_LIFETIMES);
  }
  int64_t each = r->ready && e->lifetimes ? e->lifetimes(entry->settings, &r->job->problem) : 1;
  if (each > MV_MAX_LIFETIMES / entry->lifetimes_per_task) {
    node = mv_node_get(r->map, "lifetimes_per_task");
    mv_error_at(r->config, node ? node->place : r->map->place, "lifetimes_per_task",
                "%lld draws of %lld lifetimes each; a task instance has at most %lld lifetimes, lower one of the two",
                (long long)entry->lifetimes_per_task, (long long)each, (long long)MV_MAX_LIFETIMES);
  }
}

#define VALUES_MAX    (INT64_C(1) << 24) /* doubles in one sample */
#define MOMENTS_BYTES (INT64_C(1) << 28) /* second moments of one block */
#define ROWS_BYTES    (INT64_C(1) << 31) /* samples of one block on their way into moments */

/* What one sample, or one block of moments, would hold. */
static void check_size(const struct row *r, const struct mv_entry *entry)
{
  struct mv_output output[MV_OUTPUTS_MAX];
  int outputs = r->estimator->outputs(entry->settings, &r->job->problem, output);
  int64_t values = 0, moments = 0;
  for (int o = 0; o < outputs; o++) {
    int64_t size = output[o].role <= MV_TARGET ? r->job->problem.shape.meta : 1;
    for (int a = 0; a < output[o].rank && size <= VALUES_MAX; a++) {
      size *= output[o].axis[a].length;
    }
    values += size;
    moments += output[o].role >= MV_NOTE ? 0 : size;
  }
  if (values > VALUES_MAX) {
    mv_error_at(r->config, r->map->place, r->estimator->name,
                "one sample would hold more than %lld numbers; list fewer values, or use fewer lifetimes or members",
                (long long)VALUES_MAX);
  } else if (entry->store == MV_STORE_MOMENTS && moments * (moments + 1) / 2 * 8 > MOMENTS_BYTES) {
    mv_error_at(r->config, r->map->place, "store",
                "second moments of %lld numbers would take %lld MiB a block; list fewer values, or store: samples",
                (long long)moments, (long long)(moments * (moments + 1) / 2 * 8 >> 20));
  } else if (entry->store == MV_STORE_MOMENTS && values * 8 > ROWS_BYTES / r->job->block) {
    mv_error_at(r->config, r->map->place, "store",
                "a block of %lld samples of %lld numbers would take more than %lld MiB; use a smaller block",
                (long long)r->job->block, (long long)values, (long long)(ROWS_BYTES >> 20));
  }
}

/* Takes over entry->settings. */
static void add_entry(const struct row *r, struct mv_entry *entry)
{
  struct mv_job *job = r->job;
  struct mv_complaints complaints = {r->config, r->map, 0};
  if (r->ready && r->estimator->complete) {
    r->estimator->complete(entry->settings, &job->problem, &complaints);
  }
  if (complaints.count == 0) {
    check_limits(r, entry);
    if (r->ready && r->estimator->outputs) {
      check_size(r, entry);
      if (job->train.updates) {
        mv_train_check(r->config, r->map, job, entry);
      }
    }
  }
  check_label(r, entry);
  job->entries = realloc(job->entries, (size_t)(job->entry_count + 1) * sizeof *job->entries);
  if (!job->entries) {
    abort();
  }
  job->entries[job->entry_count++] = *entry;
}

/* --- sweeps --- */

struct sweep {
  const struct mv_field *field;
  struct mv_node *list;
  bool followed; /* a field of the entry, not of its settings */
};

static void *sweep_place(const struct sweep *s, struct mv_entry *entry)
{
  return s->followed ? (void *)entry : entry->settings;
}

/* Those of one table, added to `out`; scratch: an entry to read values into. -1 after a report. */
static int find_sweeps(const struct row *r, const struct mv_field *table, struct mv_entry *scratch, struct sweep *out,
                       int count)
{
  bool good = count >= 0;
  for (const struct mv_field *f = table; f->name && good; f++) {
    struct sweep s = {f, NULL, table == mv_followed_fields};
    struct mv_node *node = mv_node_get(r->map, f->name);
    if (!node || node->bad || !(is_sweep(f, node) || (r->job->train.updates && is_axis(r, f, scratch->settings)))) {
      continue;
    }
    struct mv_node *list = mv_value_list(r->config, f->name, node);
    if (is_list(f) && list && list->count <= 1) {
      continue; /* nothing to sweep over */
    }
    if (list && list->count == 0) {
      mv_error_node(r->config, node, f->name, "an empty list; give one value, or several to sweep over");
    }
    good = good && list && list->count;
    for (struct mv_node *n = list ? list->first : NULL; n; n = n->next) {
      good = mv_value_read(r->config, f, n, sweep_place(&s, scratch)) && good;
    }
    assert(count < MV_LIST_MAX);
    s.list = list;
    out[count++] = s;
  }
  return good ? count : -1;
}

static void label_append(const struct row *r, struct mv_entry *entry, const struct sweep *s)
{
  char value[MV_NAME_MAX + 1], label[3 * MV_NAME_MAX], *text = value;
  mv_field_print(s->field, sweep_place(s, entry), value, sizeof value);
  if (is_list(s->field)) { /* of one value, in brackets */
    text++;
    text[strcspn(text, "]")] = '\0';
  }
  int length = snprintf(label, sizeof label, "%s_%s%s", entry->label, s->field->name, text);
  if (length > MV_NAME_MAX) {
    mv_error_at(r->config, r->map->place, "label",
                "\"%.80s\", made by the sweep, is longer than %d; give a shorter one", label, MV_NAME_MAX);
    return;
  }
  strcpy(entry->label, label);
}

static void expand_sweeps(const struct row *r, const struct mv_entry *base, const struct sweep *sweep, int count)
{
  double product = 1;
  for (int i = 0; i < count; i++) {
    product *= sweep[i].list->count;
  }
  if (product + r->job->entry_count > MV_ENTRIES_MAX) {
    mv_error_at(r->config, r->map->place, NULL, "%s: more than %d entries, with those of sweeps; take fewer values",
                r->where, MV_ENTRIES_MAX);
    return;
  }
  int64_t total = (int64_t)product;
  for (int64_t k = 0; k < total; k++) {
    struct mv_entry entry = *base;
    int64_t stride = total;
    entry.settings = mv_config_alloc(r->estimator->settings_size);
    memcpy(entry.settings, base->settings, r->estimator->settings_size);
    for (int i = 0; i < count; i++) {
      stride /= sweep[i].list->count;
      mv_value_read(r->config, sweep[i].field, mv_node_item(sweep[i].list, k / stride % sweep[i].list->count),
                    sweep_place(&sweep[i], &entry));
      label_append(r, &entry, &sweep[i]);
    }
    add_entry(r, &entry);
  }
}

static void read_row(struct row *r)
{
  static const char *const words[] = {"name", NULL}, *const followed[] = {"name", "lambda", "learning_rate", NULL};
  const bool training = r->job->train.updates > 0;
  struct mv_config *c = r->config;
  struct mv_entry entry = {0};
  struct sweep sweep[MV_LIST_MAX];
  if (r->map->kind != MV_MAP) {
    mv_error_node(c, r->map, "estimators", "%s where a mapping belongs; write `- name: ...`",
                  mv_node_kind_name(r->map));
    return;
  }
  r->estimator = entry.estimator = read_estimator(c, r->map);
  mv_field_defaults(mv_entry_fields, &entry);
  mv_field_defaults(mv_followed_fields, &entry);
  snprintf(r->where, sizeof r->where, "estimator %.64s", r->estimator ? r->estimator->name : "?");
  bool good = mv_table_read(c, r->map, r->where, mv_entry_fields, &entry, NULL);
  if (!r->estimator) {
    return; /* whose keys are right nobody knows */
  }
  const struct mv_field *fields = r->estimator->fields;
  mv_keys_check(c, r->map, r->where, mv_entry_fields, fields, training ? followed : words);
  if (training) {
    good = mv_table_read(c, r->map, r->where, mv_followed_fields, &entry, is_sweep) && good;
  }
  check_pair(r);
  entry.settings = mv_config_alloc(r->estimator->settings_size);
  mv_field_defaults(fields, entry.settings);
  int count = training ? find_sweeps(r, mv_followed_fields, &entry, sweep, 0) : 0;
  count = find_sweeps(r, fields, &entry, sweep, count);
  good = mv_table_read(c, r->map, r->where, fields, entry.settings, is_sweep) && good;
  if (!*entry.label) {
    snprintf(entry.label, sizeof entry.label, "%s", r->estimator->name);
  }
  if (good && count >= 0) {
    expand_sweeps(r, &entry, sweep, count);
  }
  free(entry.settings);
}

void mv_entries_read(struct mv_config *c, struct mv_node *list, bool ready, struct mv_job *job)
{
  if (list->kind != MV_LIST || list->count == 0) {
    mv_error_node(c, list, "estimators", "%s where a list belongs; write one row `- name: ...` per estimator",
                  list->kind == MV_LIST ? "an empty list" : mv_node_kind_name(list));
    return;
  }
  if (list->count > MV_ENTRIES_MAX) {
    mv_error_node(c, list, "estimators", "%d rows; at most %d, split the job", list->count, MV_ENTRIES_MAX);
    return;
  }
  for (struct mv_node *n = list->first; n; n = n->next) {
    struct row r = {.config = c, .job = job, .map = n, .ready = ready};
    if (!n->bad) {
      read_row(&r);
    }
  }
  if ((int64_t)job->points * job->entry_count > MV_CELLS_MAX) {
    mv_error_at(c, list->place, "estimators", "%d eta points x %d entries are more than %d cells; take fewer",
                job->points, job->entry_count, MV_CELLS_MAX);
  }
}
