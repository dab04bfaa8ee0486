/* csv.c - tables: long format, one row per (cell and) setting, numbers with all their digits, "nan"
 * where undefined. Texts are labels and names of settings, which hold no commas or quotes. */
#include <inttypes.h>
#include <math.h>

#include "metavar/analysis.h"

struct line {
  FILE *file;
  bool begun;
};

static FILE *next(struct line *line)
{
  if (line->begun)
    fputc(',', line->file);
  line->begun = true;
  return line->file;
}

static void name_text(void *self, const char *name, const char *value) { (void)value, fputs(name, next(self)); }
static void name_whole(void *self, const char *name, int64_t value) { (void)value, fputs(name, next(self)); }
static void name_real(void *self, const char *name, double value) { (void)value, fputs(name, next(self)); }

static void put_text(void *self, const char *name, const char *value) { (void)name, fputs(value, next(self)); }
static void put_whole(void *self, const char *name, int64_t value)
{
  (void)name, fprintf(next(self), "%" PRId64, value);
}

static void print_real(FILE *file, double value)
{
  if (isnan(value)) /* printf may write -nan */
    fputs("nan", file);
  else
    fprintf(file, "%.17g", value);
}

static void put_real(void *self, const char *name, double value)
{
  (void)name;
  print_real(next(self), value);
}

void mv_csv_put(FILE *file, double value)
{
  fputc(',', file);
  print_real(file, value);
}

void mv_csv_names(FILE *file, const char *name, int count)
{
  for (int k = 0; k < count; k++)
    fprintf(file, ",%s_%d", name, k);
}

/* Column names and values of rows. */
struct writer {
  struct line line;
  bool header;
};

/* The sink for the next line: names first. Returns whether these were names, so that the row is still to come. */
static bool next_line(struct writer *w, FILE *file, struct mv_sink *sink)
{
  bool names = !w->header;
  if (w->line.begun)
    fputc('\n', file);
  w->line = (struct line){.file = file};
  w->header = true;
  *sink = names ? (struct mv_sink){&w->line, name_text, name_whole, name_real}
                : (struct mv_sink){&w->line, put_text, put_whole, put_real};
  return names;
}

static void end(struct writer *w, FILE *file)
{
  if (w->line.begun)
    fputc('\n', file);
}

void mv_rows_write(FILE *file, int64_t rows, void (*columns)(const void *self, int64_t row, const struct mv_sink *),
                   const void *self)
{
  struct writer w = {0};
  struct mv_sink sink;
  for (int64_t row = 0; row < rows; row++)
    for (bool again = true; again;) {
      again = next_line(&w, file, &sink);
      columns(self, row, &sink);
    }
  if (rows == 0) {
    next_line(&w, file, &sink);
    columns(self, 0, &sink);
  }
  end(&w, file);
}

static void write_settings(FILE *file, const struct mv_tables *t, int points, bool grid)
{
  struct writer w = {0};
  struct mv_sink sink;
  for (int e = 0; e < t->entries; e++)
    for (int s = 0; s < t->member[e].settings.count; s++)
      for (int p = 0; p < points && !t->member[e].settings.at[s].hidden; p++)
        for (bool again = true; again;) {
          again = next_line(&w, file, &sink);
          if (grid)
            mv_grid_columns(t, e, s, &sink);
          else
            mv_cell_columns(t, e, s, p, &sink);
        }
  if (!w.header) {
    next_line(&w, file, &sink);
    if (grid)
      mv_grid_columns(t, -1, 0, &sink);
    else
      mv_cell_columns(t, -1, 0, 0, &sink);
  }
  end(&w, file);
}

void mv_cells_write(FILE *file, const struct mv_tables *t) { write_settings(file, t, t->job->points, false); }
void mv_grid_write(FILE *file, const struct mv_tables *t) { write_settings(file, t, 1, true); }

void mv_table_write(FILE *file, const struct mv_tables *t, enum mv_table_kind kind)
{
  const struct mv_table *table = &t->table[kind];
  struct writer w = {0};
  struct mv_sink sink;
  for (int row = 0; row < table->rows; row++)
    for (int p = table->by_point ? 0 : t->job->points; p <= t->job->points; p++)
      for (bool again = true; again;) {
        again = next_line(&w, file, &sink);
        table->columns(t, table, row, p, &sink);
      }
  if (table->rows == 0) {
    next_line(&w, file, &sink);
    table->columns(t, table, 0, t->job->points, &sink);
  }
  end(&w, file);
}
