/* bench.h - what the benchmarks share: processor time of this thread, quartiles, and lines of a CSV file that say where they
 * come from. */
#ifndef METAVAR_TESTS_BENCH_H
#define METAVAR_TESTS_BENCH_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "build_info.h"

enum { TURNS = 15 };
#define SLICE 0.01 /* seconds of one timing */

static inline double seconds_now(clockid_t clock)
{
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static inline double thread_seconds(void) { return seconds_now(CLOCK_THREAD_CPUTIME_ID); }

/* Seconds of one run by a clock, over at least `goal` seconds. */
static inline double seconds_by(clockid_t clock, double goal, void (*run)(void *self), void *self)
{
  double start = seconds_now(clock), took;
  int64_t runs = 0;
  do {
    run(self);
    runs++;
    took = seconds_now(clock) - start;
  } while (took < goal);
  return took / (double)runs;
}
static inline double seconds_of(void (*run)(void *self), void *self)
{
  return seconds_by(CLOCK_THREAD_CPUTIME_ID, SLICE, run, self);
}

static inline int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* quartile 1, 2 or 3 of x[i] / y[i], i < TURNS; y NULL: of x */
static inline double quartile(const double *x, const double *y, int which)
{
  double sorted[TURNS];
  for (int i = 0; i < TURNS; i++)
    sorted[i] = y ? x[i] / y[i] : x[i];
  qsort(sorted, TURNS, sizeof *sorted, ascending);
  return sorted[which * (TURNS - 1) / 4];
}

/* --- CSV ------------------------------------------------------------------------------------------------------------- */

static inline const char *cpu_model(void)
{
  static char line[256];
  FILE *f = fopen("/proc/cpuinfo", "r");
  char *model = NULL;
  while (f && !model && fgets(line, sizeof line, f))
    if (!strncmp(line, "model name", 10) && (model = strchr(line, ':')))
      model[strcspn(model, "\n")] = 0;
  if (f)
    fclose(f);
  return model ? model + 2 : "unknown";
}

/* Opens to append; a new file gets the header: date, commit, cpu, and what follows. NULL without a path. Lines of stdout
 * appear at once from here on. */
static inline FILE *csv_open(const char *path, const char *header)
{
  FILE *csv = path ? fopen(path, "a") : NULL;
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (csv && fseek(csv, 0, SEEK_END) == 0 && ftell(csv) == 0)
    fprintf(csv, "date,commit,cpu,%s\n", header);
  return csv;
}

/* The columns compiler, where code is timed, or cores and load, where programs are: where a line comes from. */
static inline const char *origin_compiler(void) { return "\"" MV_COMPILER "\""; }
static inline const char *origin_load(void)
{
  static char text[64];
  double load = 0;
  getloadavg(&load, 1);
  snprintf(text, sizeof text, "%ld,%.1f", sysconf(_SC_NPROCESSORS_ONLN), load);
  return text;
}

/* A line: date, commit, cpu, the origin, and what follows. */
__attribute__((format(printf, 3, 4))) static inline void csv_line(FILE *csv, const char *origin, const char *format,
                                                                  ...)
{
  char date[32];
  time_t now = time(NULL);
  va_list arguments;
  strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
  fprintf(csv, "%s,%s,\"%s\",%s,", date, MV_GIT, cpu_model(), origin);
  va_start(arguments, format);
  vfprintf(csv, format, arguments);
  va_end(arguments);
  fputc('\n', csv);
  fflush(csv);
}

#endif
