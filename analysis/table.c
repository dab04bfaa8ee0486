/* table.c - rows with a few figures each, at every eta point and averaged over the points. */
#include <math.h>

#include "metavar/analysis.h"
#include "metavar/memory.h"

void mv_table_room(const struct mv_tables *t, struct mv_table *table, bool vectors)
{
  const size_t rows = table->rows ? (size_t)table->rows : 1, points = (size_t)t->job->points + 1,
               figures = (size_t)table->figures;
  table->at = mv_memory_take(rows * points * figures, sizeof *table->at);
  table->errors = mv_memory_take(rows * figures * (size_t)t->options.resamples, sizeof *table->errors);
  if (vectors)
    table->vector = mv_memory_take(rows * points * 2 * (size_t)t->job->meta, sizeof *table->vector);
}

void mv_table_free(struct mv_table *table)
{
  free(table->self);
  free(table->first);
  free(table->at);
  free(table->vector);
  free(table->errors);
  *table = (struct mv_table){0};
}

struct mv_estimate *mv_table_at(const struct mv_tables *t, const struct mv_table *table, int row, int point)
{
  return table->at + ((int64_t)row * (t->job->points + 1) + point) * table->figures;
}

double *mv_table_vector(const struct mv_tables *t, const struct mv_table *table, int row, int point)
{
  return table->vector + ((int64_t)row * (t->job->points + 1) + point) * 2 * t->job->meta;
}

void mv_table_set(const struct mv_tables *t, struct mv_table *table, int row, int point, int figure,
                  const struct mv_estimate *e, const double *errors)
{
  float *sum = table->errors + ((int64_t)row * table->figures + figure) * t->options.resamples;
  mv_table_at(t, table, row, point)[figure] = *e;
  for (int r = 0; r < t->options.resamples; r++)
    sum[r] += (float)errors[r];
}

/* Averages of a row: values, standard errors in quadrature, intervals from the sums of errors. */
static void average_row(const struct mv_tables *t, struct mv_table *table, int row)
{
  const int points = t->job->points, meta = t->job->meta, resamples = t->options.resamples;
  double *errors = mv_memory_take((size_t)resamples, sizeof *errors);
  for (int f = 0; f < table->figures; f++) {
    struct mv_estimate *out = mv_table_at(t, table, row, points) + f;
    const float *sum = table->errors + ((int64_t)row * table->figures + f) * resamples;
    double square = 0;
    *out = (struct mv_estimate){0, NAN, NAN, NAN};
    for (int p = 0; p < points; p++) {
      const struct mv_estimate *e = mv_table_at(t, table, row, p) + f;
      out->value += e->value / points;
      square += e->se * e->se;
    }
    out->se = sqrt(square) / points;
    for (int r = 0; r < resamples; r++)
      errors[r] = (double)sum[r] / points;
    mv_estimate_bound(out, resamples, errors, t->options.confidence, table->cut[f]);
  }
  for (int k = 0; table->vector && k < meta; k++) {
    double *out = mv_table_vector(t, table, row, points), square = 0;
    for (int p = 0; p < points; p++) {
      const double *x = mv_table_vector(t, table, row, p);
      out[k] += x[k] / points;
      square += x[meta + k] * x[meta + k];
    }
    out[meta + k] = sqrt(square) / points;
  }
  free(errors);
}

struct averaging {
  const struct mv_tables *tables;
  struct mv_table *table;
};

static void average_task(void *self, int row)
{
  struct averaging *a = self;
  average_row(a->tables, a->table, row);
}

void mv_table_finish(const struct mv_tables *t, struct mv_table *table)
{
  mv_parallel(table->rows, INFINITY, average_task, &(struct averaging){t, table});
  free(table->errors);
  table->errors = NULL;
}
