/* export.c - results in long format: one row for each value of each sample, or of each block of moments, with its labels
 * beside it, so that a data frame can group and join by them without knowing results.h5.
 *
 * A row is the cell's fields, the sample's (or block's), the value's labels, and the numbers. Those of the cell and of the
 * value are printed once and then copied. The header comes from the same functions, so names and values cannot part.
 * Doubles have 17 digits and read back to the same bits. Not finite: in CSV nan, inf, -inf; JSON has no such numbers, so
 * there they are null, and the key "nonfinite" says which.
 */
#define _GNU_SOURCE
#include "metavar/export.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "metavar/groups.h"
#include "metavar/memory.h"

/* --- fields -------------------------------------------------------------------------------------------------- */

struct row {
  FILE *to;
  bool json, header; /* header: names in place of values */
  bool begun;
};

/* False when the header is written, and so everything said. */
static bool put_name(struct row *r, const char *name)
{
  if (r->begun)
    fputc(',', r->to);
  r->begun = true;
  if (r->header)
    fputs(name, r->to);
  else if (r->json)
    fprintf(r->to, "\"%s\":", name);
  return !r->header;
}

/* Texts are labels and names: of printing characters, seldom anything to quote. */
static void put_text(struct row *r, const char *name, const char *text)
{
  if (!put_name(r, name))
    return;
  bool quoted = r->json || strpbrk(text, ",\"\n\r");
  if (quoted)
    fputc('"', r->to);
  for (; *text; text++) {
    if (*text == '"' || (r->json && *text == '\\'))
      fputc(r->json ? '\\' : '"', r->to);
    fputc(*text, r->to);
  }
  if (quoted)
    fputc('"', r->to);
}

static void put_whole(struct row *r, const char *name, int64_t value)
{
  if (put_name(r, name))
    fprintf(r->to, "%" PRId64, value);
}

static const char *special(double value) { return isnan(value) ? "nan" : value > 0 ? "inf" : "-inf"; }

static void put_real(struct row *r, const char *name, double value)
{
  if (!put_name(r, name))
    return;
  if (isfinite(value))
    fprintf(r->to, "%.17g", value);
  else
    fputs(r->json ? "null" : special(value), r->to);
}

static void put_nothing(struct row *r, const char *name)
{
  if (put_name(r, name) && r->json)
    fputs("null", r->to);
}

/* --- what a row is about --------------------------------------------------------------------------------------- */

struct table {
  const struct mv_export *options;
  const struct mv_plan *plan;
  int axis_count; /* names of all axes of all outputs, meta_parameter last */
  const char *axis[MV_OUTPUTS_MAX * MV_AXES_MAX];
  /* the present cell */
  int entry;
  char *cell;
  char **value; /* [layout.values] */
};

static void put_cell(struct row *r, const struct mv_plan *plan, int cell)
{
  const struct mv_job *job = plan->job;
  const struct mv_entry *entry = &job->entries[mv_plan_entry(plan, cell)];
  int point = mv_plan_point(plan, cell);
  put_text(r, "entry", entry->label);
  put_text(r, "estimator", entry->estimator->name);
  put_whole(r, "point", point);
  for (int m = 0; m < job->meta; m++) {
    char name[32];
    snprintf(name, sizeof name, "eta_%d", m);
    put_real(r, name, job->eta[(int64_t)point * job->meta + m]);
  }
}

static void put_replicate(struct row *r, const struct mv_entry *entry, int64_t replicate, int8_t status)
{
  int64_t p = entry->perturbations_per_lifetime, l = entry->lifetimes_per_task;
  put_whole(r, "replicate", replicate);
  put_whole(r, "task_instance", replicate / (p * l));
  put_whole(r, "lifetime", replicate / p % l);
  put_whole(r, "perturbation", replicate % p);
  put_text(r, "status", status == MV_OK ? "ok" : "nonfinite");
}

static void put_block(struct row *r, const struct mv_job *job, const struct mv_moments *m)
{
  put_whole(r, "block", m->block);
  put_whole(r, "first_replicate", m->block * job->block);
  put_whole(r, "count", m->count);
  put_whole(r, "nonfinite", m->nonfinite);
}

static void put_axis(struct row *r, const struct mv_axis *axis, int index)
{
  if (axis->kind == MV_AXIS_NAMES && axis->value.names)
    put_text(r, axis->name, axis->value.names[index]);
  else if (axis->kind == MV_AXIS_REALS)
    put_real(r, axis->name, mv_axis_number(axis, index));
  else
    put_whole(r, axis->name, (int64_t)mv_axis_number(axis, index));
}

/* Value k of an output; axes that it lacks stay empty. */
static void put_labels(struct row *r, const struct table *x, const struct mv_output *output, int64_t k)
{
  int index[MV_AXES_MAX];
  for (int a = output->rank - 1; a >= 0; a--) {
    index[a] = (int)(k % output->axis[a].length);
    k /= output->axis[a].length;
  }
  put_text(r, "output", output->name);
  for (int c = 0; c < x->axis_count; c++) {
    int a = 0;
    while (a < output->rank && strcmp(output->axis[a].name, x->axis[c]) != 0)
      a++;
    if (a < output->rank)
      put_axis(r, &output->axis[a], index[a]);
    else
      put_nothing(r, x->axis[c]);
  }
}

static void add_axis(struct table *x, const char *name)
{
  for (int a = 0; a < x->axis_count; a++)
    if (strcmp(x->axis[a], name) == 0)
      return;
  x->axis[x->axis_count++] = name;
}

static void collect_axes(struct table *x)
{
  static const char last[] = "meta_parameter";
  for (int e = 0; e < x->plan->job->entry_count; e++) {
    const struct mv_layout *layout = &x->plan->layout[e];
    for (int o = 0; o < layout->output_count && x->options->entries[e]; o++)
      for (int a = 0; a < layout->output[o].rank && !(x->options->moments && layout->output[o].role == MV_NOTE); a++)
        if (strcmp(layout->output[o].axis[a].name, last) != 0)
          add_axis(x, layout->output[o].axis[a].name);
  }
  add_axis(x, last);
}

/* --- cells ------------------------------------------------------------------------------------------------------ */

/* A row that writes into memory, until it is closed. */
static struct row row_open(const struct table *x, char **text, size_t *size)
{
  FILE *to = open_memstream(text, size);
  if (!to)
    abort();
  return (struct row){.to = to, .json = x->options->json};
}

static void cell_begin(struct table *x, int cell)
{
  size_t size;
  x->entry = mv_plan_entry(x->plan, cell);
  const struct mv_layout *layout = &x->plan->layout[x->entry];
  struct row row = row_open(x, &x->cell, &size);
  put_cell(&row, x->plan, cell);
  fclose(row.to);
  x->value = mv_memory_take((size_t)layout->values, sizeof *x->value);
  for (int o = 0; o < layout->output_count; o++)
    for (int64_t k = 0; k < layout->size[o]; k++) {
      row = row_open(x, &x->value[layout->offset[o] + k], &size);
      put_labels(&row, x, &layout->output[o], k);
      fclose(row.to);
    }
}

static void cell_end(struct table *x)
{
  for (int64_t k = 0; k < x->plan->layout[x->entry].values; k++)
    free(x->value[k]);
  free(x->value);
  free(x->cell);
}

static void row_begin(const struct table *x, const char *middle, int64_t k)
{
  FILE *out = x->options->out;
  if (x->options->json)
    fputc('{', out);
  fputs(x->cell, out);
  fputc(',', out);
  fputs(middle, out);
  fputc(',', out);
  fputs(x->value[k], out);
}

static void row_end(const struct table *x) { fputs(x->options->json ? "}\n" : "\n", x->options->out); }

static void write_samples(void *self, const struct mv_samples *s)
{
  struct table *x = self;
  const struct mv_layout *layout = &x->plan->layout[x->entry];
  char *middle;
  size_t size;
  for (int64_t r = 0; r < s->count && !ferror(x->options->out); r++) {
    struct row row = row_open(x, &middle, &size);
    put_replicate(&row, &x->plan->job->entries[x->entry], s->first + r, s->status[r]);
    fclose(row.to);
    for (int64_t k = 0; k < layout->values; k++) {
      double value = s->values[r * layout->values + k];
      row = (struct row){.to = x->options->out, .json = x->options->json, .begun = true};
      row_begin(x, middle, k);
      put_real(&row, "value", value);
      if (row.json && !isfinite(value))
        put_text(&row, "nonfinite", special(value));
      row_end(x);
    }
    free(middle);
  }
}

static void write_block(void *self, const struct mv_moments *m)
{
  struct table *x = self;
  int64_t moments = x->plan->layout[x->entry].moments, diagonal = 0;
  char *middle;
  size_t size;
  if (ferror(x->options->out))
    return;
  struct row row = row_open(x, &middle, &size);
  put_block(&row, x->plan->job, m);
  fclose(row.to);
  for (int64_t k = 0; k < moments; diagonal += moments - k, k++) {
    row = (struct row){.to = x->options->out, .json = x->options->json, .begun = true};
    row_begin(x, middle, k);
    put_real(&row, "mean", m->mean[k]);
    put_real(&row, "square", m->comoment[diagonal]);
    row_end(x);
  }
  free(middle);
}

static void write_header(const struct table *x)
{
  struct row row = {.to = x->options->out, .header = true};
  const struct mv_job *job = x->plan->job;
  put_cell(&row, x->plan, 0);
  if (x->options->moments)
    put_block(&row, job, &(struct mv_moments){0});
  else
    put_replicate(&row, &job->entries[0], 0, MV_OK);
  put_labels(&row, x, &x->plan->layout[0].output[0], 0);
  put_real(&row, x->options->moments ? "mean" : "value", 0);
  if (x->options->moments)
    put_real(&row, "square", 0);
  fputc('\n', row.to);
}

int mv_export_write(struct mv_results *results, const struct mv_export *options)
{
  struct table x = {.options = options, .plan = mv_results_plan(results)};
  int code = MV_EXIT_OK;
  collect_axes(&x);
  if (!options->json)
    write_header(&x);
  for (int cell = 0; cell < x.plan->cells && code == MV_EXIT_OK && !ferror(options->out); cell++) {
    if (!options->entries[mv_plan_entry(x.plan, cell)])
      continue;
    cell_begin(&x, cell);
    code = options->moments ? mv_results_blocks(results, cell, write_block, &x)
                            : mv_results_samples(results, cell, write_samples, &x);
    cell_end(&x);
  }
  return code;
}
