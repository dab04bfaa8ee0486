/* config_canonical.c - a job as text again: every default filled in, keys in the order of the tables, sweeps and ranges
 * written out, numbers as the shortest decimals that read back to the same bits. Two files that mean the same job give
 * the same text, and reading it back gives the same job.
 */
#include "config.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Keys of job and entries that change no stored number, or only say how many there are. */
static const char *const not_identity[] = {"name", "unit", "replicates", NULL};

static bool is_identity(const char *key)
{
  for (int i = 0; not_identity[i]; i++) {
    if (strcmp(not_identity[i], key) == 0) {
      return false;
    }
  }
  return true;
}

static void print_table(FILE *out, const char *indent, const struct mv_field *table, const void *settings,
                        bool identity_only)
{
  for (const struct mv_field *f = table; f->name; f++) {
    if (identity_only && !is_identity(f->name)) {
      continue;
    }
    size_t size = (size_t)mv_field_print(f, settings, NULL, 0) + 1;
    char *text = mv_config_alloc(size);
    mv_field_print(f, settings, text, size);
    fprintf(out, "%s%s: %s\n", indent, f->name, text);
    free(text);
  }
}

/* count numbers, `stride` apart. */
static void print_row(FILE *out, const double *value, int count, int64_t stride)
{
  fputs("    - [", out);
  for (int i = 0; i < count; i++) {
    char text[MV_REAL_TEXT];
    mv_real_print(value[i * stride], text);
    fprintf(out, "%s%s", i ? ", " : "", text);
  }
  fputs("]\n", out);
}

/* In training, of every start the first curve. */
static void print_eta(FILE *out, const struct mv_job *job)
{
  fprintf(out, "eta:\n  %s:\n", job->grid ? "grid" : "points");
  int64_t points = job->points; /* that lie in one value of the axis before this one */
  int64_t step = job->train.updates ? job->train.seeds : 1;
  for (int m = 0; job->grid && m < job->meta; m++) {
    points /= job->grid[m];
    print_row(out, job->eta + m, job->grid[m], points * job->meta);
  }
  for (int64_t p = 0; !job->grid && p < job->points; p += step) {
    print_row(out, job->eta + p * job->meta, job->meta, 1);
  }
}

char *mv_job_canonical(const struct mv_job *job, bool identity_only)
{
  char *text = NULL;
  size_t size;
  FILE *out = open_memstream(&text, &size);
  if (!out) {
    abort();
  }
  print_table(out, "", mv_job_fields, job, identity_only);
  fprintf(out, "task:\n  name: %s\n", job->task->name);
  print_table(out, "  ", job->task->fields, job->task_settings, false);
  if (job->train.updates) {
    fputs("train:\n", out);
    print_table(out, "  ", mv_train_fields, &job->train, identity_only);
  }
  if (job->stop.relative_error > 0 && !identity_only) {
    fputs("stop:\n", out);
    print_table(out, "  ", mv_stop_fields, &job->stop, false);
  }
  print_eta(out, job);
  fputs("estimators:\n", out);
  for (int i = 0; i < job->entry_count; i++) {
    const struct mv_entry *e = &job->entries[i];
    fprintf(out, "  - name: %s\n", e->estimator->name);
    print_table(out, "    ", mv_entry_fields, e, identity_only);
    if (job->train.updates) {
      print_table(out, "    ", mv_followed_fields, e, identity_only);
    }
    print_table(out, "    ", e->estimator->fields, e->settings, false);
  }
  if (fclose(out) != 0) {
    abort(); /* memory */
  }
  return text;
}
