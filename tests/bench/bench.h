/* bench.h - what the benchmarks share: a line of a CSV file with date, commit and machine in front. */
#ifndef METAVAR_TESTS_BENCH_H
#define METAVAR_TESTS_BENCH_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "build_info.h"

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

/* Opens to append; a new file gets the header. Lines of stdout appear at once from here on. */
static inline FILE *csv_open(const char *path, const char *header)
{
  FILE *csv = fopen(path, "a");
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (csv && fseek(csv, 0, SEEK_END) == 0 && ftell(csv) == 0)
    fprintf(csv, "date,commit,cpu,cores,load,%s\n", header);
  return csv;
}

/* A line: date, commit, machine, its load, and what follows. */
__attribute__((format(printf, 2, 3))) static inline void csv_line(FILE *csv, const char *format, ...)
{
  char date[32];
  double load = 0;
  time_t now = time(NULL);
  va_list arguments;
  strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
  getloadavg(&load, 1);
  fprintf(csv, "%s,%s,\"%s\",%ld,%.1f,", date, MV_GIT, cpu_model(), sysconf(_SC_NPROCESSORS_ONLN), load);
  va_start(arguments, format);
  vfprintf(csv, format, arguments);
  va_end(arguments);
  fputc('\n', csv);
  fflush(csv);
}

static inline double thread_seconds(void)
{
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

#endif
