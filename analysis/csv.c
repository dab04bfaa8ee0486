/* csv.c - cells.csv and grid.csv: long format, one row per (cell and) setting, numbers with all their digits, "nan"
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

static void put_real(void *self, const char *name, double value)
{
  (void)name;
  if (isnan(value)) /* printf may write -nan */
    fputs("nan", next(self));
  else
    fprintf(next(self), "%.17g", value);
}

typedef void write_row(const struct mv_tables *, int entry, int setting, int point, const struct mv_sink *);

static void grid_row(const struct mv_tables *t, int entry, int setting, int point, const struct mv_sink *sink)
{
  (void)point;
  mv_grid_columns(t, entry, setting, sink);
}

static void write_all(FILE *file, const struct mv_tables *t, int points, write_row *write)
{
  struct line line = {.file = file};
  const struct mv_sink names = {&line, name_text, name_whole, name_real};
  const struct mv_sink values = {&line, put_text, put_whole, put_real};
  bool header = false;
  for (int e = 0; e < t->job->entry_count; e++)
    for (int s = 0; s < t->entry[e].settings.count; s++)
      for (int p = 0; p < points; p++) {
        if (!header) {
          write(t, e, s, p, &names);
          fputc('\n', file);
          header = true;
        }
        line.begun = false;
        write(t, e, s, p, &values);
        fputc('\n', file);
      }
}

void mv_cells_write(FILE *file, const struct mv_tables *t) { write_all(file, t, t->job->points, mv_cell_columns); }
void mv_grid_write(FILE *file, const struct mv_tables *t) { write_all(file, t, 1, grid_row); }
