/* bench.h - what the benchmarks share: processor time of this thread, quartiles, and where a line of a table comes from. */
#ifndef METAVAR_TESTS_BENCH_H
#define METAVAR_TESTS_BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "build_info.h"

enum { REPEATS = 15 };
#define SLICE 0.01 /* seconds of one timing */

static inline double cpu_seconds(void)
{
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of one run, over at least SLICE seconds. */
static inline double cpu_seconds_of(void (*run)(void *self), void *self)
{
  double start = cpu_seconds(), took;
  int64_t runs = 0;
  do {
    run(self);
    runs++;
    took = cpu_seconds() - start;
  } while (took < SLICE);
  return took / (double)runs;
}

static inline int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* quartile 1, 2 or 3 of x[i] / y[i]; y NULL: of x */
static inline double quartile(const double *x, const double *y, int which)
{
  double sorted[REPEATS];
  for (int i = 0; i < REPEATS; i++)
    sorted[i] = y ? x[i] / y[i] : x[i];
  qsort(sorted, REPEATS, sizeof *sorted, ascending);
  return sorted[which * (REPEATS - 1) / 4];
}

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

/* date, commit, cpu, compiler: the first columns of every table */
static inline void print_origin(FILE *csv)
{
  char date[32];
  time_t now = time(NULL);
  strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
  fprintf(csv, "%s,%s,\"%s\",\"%s\"", date, MV_GIT, cpu_model(), MV_COMPILER);
}

/* A table to be added to; NULL if there is no name. *fresh: it has no lines yet. */
static inline FILE *open_table(const char *name, int *fresh)
{
  FILE *csv = name ? fopen(name, "a") : NULL;
  if (csv)
    fseek(csv, 0, SEEK_END);
  *fresh = csv && ftell(csv) == 0;
  return csv;
}

#endif
