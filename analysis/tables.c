/* tables.c - a whole run: every eta point read once into a panel, its rows computed on all cores, and averages.
 *
 * Memory is that of one point's groups and draws, of the rows, and of one number per draw and averaged figure; it does
 * not depend on the number of samples.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "metavar/analysis.h"
#include "metavar/memory.h"

#define FEW_GROUPS 20 /* below this a bootstrap error is a guess */

void mv_warn(struct mv_tables *t, const char *format, ...)
{
  va_list arguments;
  char *text;
  va_start(arguments, format);
  if (vasprintf(&text, format, arguments) < 0)
    abort();
  va_end(arguments);
  fprintf(stderr, "metavar: note: %s\n", text);
  t->warning = mv_memory_grow(t->warning, (size_t)t->warnings + 1, sizeof *t->warning);
  t->warning[t->warnings++] = text;
}

static void make_room(struct mv_tables *t)
{
  for (int e = 0; e < t->members; e++) {
    struct mv_member *m = &t->member[e];
    size_t settings = (size_t)m->settings.count, rows = (size_t)t->job->points * settings;
    m->row = mv_memory_take(rows, sizeof *m->row);
    m->coordinate = mv_memory_take(rows * MV_COORDINATES * (size_t)t->job->meta, sizeof *m->coordinate);
    m->average = mv_memory_take(settings * MV_FIGURES, sizeof *m->average);
    m->grid = mv_memory_take(settings, sizeof *m->grid);
  }
  mv_board_plan(t, &t->table[MV_BOARD]);
  mv_sources_plan(t, &t->table[MV_SOURCES]);
  mv_differences_plan(t, &t->table[MV_DIFFERENCES]);
}

/* --- one point ------------------------------------------------------------------------------------------------ */

struct passing {
  struct mv_tables *tables;
  const struct mv_point *at;
  int point, member, table;
};

static void cell_task(void *self, int setting)
{
  const struct passing *p = self;
  struct mv_tables *t = p->tables;
  struct mv_member *m = &t->member[p->member];
  const int resamples = t->options.resamples;
  const int64_t row = (int64_t)p->point * m->settings.count + setting;
  double *errors = mv_memory_take(MV_FIGURES * (size_t)resamples, sizeof *errors);
  mv_cell_fill(p->at, p->member, setting, mv_member_nest(m), &m->settings.at[setting], &m->row[row],
               m->coordinate + row * MV_COORDINATES * t->job->meta, errors);
  for (int f = 0; f < MV_FIGURES; f++) {
    struct mv_estimate e = mv_row_figure(&m->row[row], (enum mv_figure)f);
    mv_average_add(&m->average[setting * MV_FIGURES + f], &e, resamples, errors + (int64_t)f * resamples);
  }
  mv_average_add_noise(&m->average[setting * MV_FIGURES + MV_FIGURE_VARIANCE], resamples,
                       p->at->panel->sheet[p->member].noise + (int64_t)setting * resamples);
  free(errors);
}

static void table_task(void *self, int piece)
{
  const struct passing *p = self;
  struct mv_table *table = &p->tables->table[p->table];
  table->fill(p->tables, table, piece, p->at, p->point);
}

static void warn_few(struct mv_tables *t, const struct mv_panel *p)
{
  for (int e = 0; e < t->entries; e++)
    if (t->member[e].settings.count && p->sheet[e].filled < FEW_GROUPS)
      mv_warn(
          t,
          "entry '%s' has %d blocks of samples in a cell; errors are rough with less than %d: use a smaller `block` "
          "or more replicates",
          t->job->entries[e].label, p->sheet[e].filled, FEW_GROUPS);
}

/* Variances that a few samples make. */
static void warn_tails(struct mv_tables *t)
{
  for (int e = 0; e < t->entries; e++) {
    const struct mv_member *m = &t->member[e];
    int heavy = 0;
    for (int s = 0; s < m->settings.count; s++)
      heavy += !m->settings.at[s].hidden && m->grid[s].tail_warnings > 0;
    if (heavy)
      mv_warn(t,
              "entry '%s': a few samples dominate the variance of %d setting%s (tail_warning in cells.csv); it and its "
              "error are rough, and more samples may not help",
              t->job->entries[e].label, heavy, heavy > 1 ? "s" : "");
  }
}

static int fill_point(struct mv_tables *t, int point)
{
  struct mv_panel panel;
  struct mv_point at;
  int code = mv_members_read(t, point, &panel);
  if (code == MV_EXIT_OK) {
    const struct mv_term reference = {t->reference.member, t->reference.setting, 1};
    mv_panel_close(&panel, t->options.resamples, (uint32_t)point);
    mv_point_make(&at, &panel, &t->options, t->reference.member >= 0 ? &reference : NULL);
    struct passing pass = {t, &at, point, 0, 0};
    for (pass.member = 0; pass.member < t->members; pass.member++)
      mv_parallel(t->member[pass.member].settings.count, INFINITY, cell_task, &pass);
    for (pass.table = 0; pass.table < MV_TABLES; pass.table++)
      mv_parallel(t->table[pass.table].pieces, INFINITY, table_task, &pass);
    if (point == 0)
      warn_few(t, &panel);
    mv_point_free(&at);
  }
  mv_panel_free(&panel);
  return code;
}

/* --- all points ----------------------------------------------------------------------------------------------- */

static void grid_task(void *self, int setting)
{
  const struct passing *p = self;
  struct mv_tables *t = p->tables;
  struct mv_member *m = &t->member[p->member];
  mv_grid_fill(&m->grid[setting], m->row + setting, t->job->points, m->settings.count, t->job->meta,
               &m->average[setting * MV_FIGURES], t->options.confidence);
}

static void average(struct mv_tables *t)
{
  struct passing pass = {.tables = t};
  for (pass.member = 0; pass.member < t->members; pass.member++)
    mv_parallel(t->member[pass.member].settings.count, INFINITY, grid_task, &pass);
  for (int k = 0; k < MV_TABLES; k++) {
    mv_table_finish(t, &t->table[k]);
    if (t->table[k].finish)
      t->table[k].finish(t, &t->table[k]);
  }
}

int mv_tables_make(struct mv_results *results, const struct mv_analysis *options, const double *lambda, int lambdas,
                   const char *reference, struct mv_tables *t)
{
  *t = (struct mv_tables){.job = mv_results_job(results), .plan = mv_results_plan(results), .options = *options};
  int code = mv_members_make(t, results, lambda, lambdas, reference);
  if (code == MV_EXIT_OK)
    make_room(t);
  for (int p = 0; p < t->job->points && code == MV_EXIT_OK; p++)
    code = fill_point(t, p);
  if (code == MV_EXIT_OK) {
    average(t);
    warn_tails(t);
  }
  return code;
}

void mv_tables_free(struct mv_tables *t)
{
  mv_members_free(t);
  for (int k = 0; k < MV_TABLES; k++)
    mv_table_free(&t->table[k]);
  for (int k = 0; k < t->warnings; k++)
    free(t->warning[k]);
  free(t->warning);
  *t = (struct mv_tables){0};
}
