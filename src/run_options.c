/* run_options.c - the command line of `metavar run` and `metavar train`, read and checked before anything else happens.
 * Options that are short for settings of the job become overrides like --set, so that the run directory holds them as
 * part of its job. */
#define _GNU_SOURCE
#include "metavar/run_options.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metavar/comm.h"
#include "metavar/deadline.h"
#include "metavar/memory.h"

static int bad_value(const struct mv_run_options *o, const char *option, const char *value, const char *wanted)
{
  if (mv_comm_speaks()) {
    fprintf(stderr, "metavar %s: --%s %s: must be %s\n", o->verb, option, value, wanted);
  }
  return MV_EXIT_USAGE;
}

/* A number greater than 0; *end is where it ends. */
static bool read_positive(const char *text, double *value, char **end)
{
  *value = strtod(text, end);
  return *end != text && *value > 0 && isfinite(*value);
}

__attribute__((format(printf, 2, 3))) static void add_override(struct mv_run_options *o, const char *format, ...)
{
  va_list arguments;
  o->set = mv_memory_grow(o->set, (size_t)o->set_count + 1, sizeof *o->set);
  va_start(arguments, format);
  if (vasprintf(&o->set[o->set_count++], format, arguments) < 0) {
    abort();
  }
  va_end(arguments);
}

/* --target-se X[:STATISTIC] */
static int read_target(const char *text, struct mv_run_options *o)
{
  char *end;
  double x;
  bool good = read_positive(text, &x, &end) && x <= 1 && (*end == 0 || *end == ':');
  const char *statistic = good && *end ? end + 1 : mv_statistic_names[0];
  int k = 0;
  while (mv_statistic_names[k] && strcmp(statistic, mv_statistic_names[k])) {
    k++;
  }
  if (!good || !mv_statistic_names[k]) {
    return bad_value(o, "target-se", text, "a relative error up to 1, as in 0.05, 0.05:variance or 0.05:gradient");
  }
  add_override(o, "stop={relative_error: %.*s, statistic: %s}", (int)(end - text), text, statistic);
  return MV_EXIT_OK;
}

/* What changes the job. */
static int read_overrides(const struct mv_args *args, bool measures, struct mv_run_options *o)
{
  const char *target = measures ? mv_args_value(args, "target-se") : NULL;
  const char *most = measures ? mv_args_value(args, "max-replicates") : NULL;
  const char *const *set;
  int exit_code = target ? read_target(target, o) : MV_EXIT_OK, count = mv_args_values(args, "set", &set);
  double number;
  char *end;
  for (int k = 0; k < count; k++) {
    add_override(o, "%s", set[k]);
  }
  if (most && (!read_positive(most, &number, &end) || *end)) {
    exit_code = bad_value(o, "max-replicates", most, "a number of replicates");
  } else if (most) {
    add_override(o, "estimators.*.replicates=%s", most);
  }
  return exit_code;
}

static int read_computes(const char *text, struct mv_run_options *o)
{
  static const char *const words[] = {"auto", "yes", "no", NULL};
  int k = 0;
  while (words[k] && strcmp(text, words[k])) {
    k++;
  }
  o->computes = (enum mv_computes)k;
  return words[k] ? MV_EXIT_OK : bad_value(o, "master-computes", text, "yes, no or auto");
}

int mv_run_options_read(const struct mv_args *args, const char *verb, bool measures, struct mv_run_options *o)
{
  *o = (struct mv_run_options){.verb = verb, .run = mv_args_value(args, "output"), .period = 60, .limit = INFINITY};
  const char *period = mv_args_value(args, "progress"), *computes = mv_args_value(args, "master-computes");
  const char *limit = mv_args_value(args, "max-time");
  char *end;
  if (!o->run || !*o->run) {
    if (mv_comm_speaks()) {
      fprintf(stderr, "metavar %s: where to? say -o RUN, the directory that holds the run\n", verb);
    }
    return MV_EXIT_USAGE;
  }
  if (period && (!read_positive(period, &o->period, &end) || *end)) {
    return bad_value(o, "progress", period, "a positive number of seconds");
  }
  if (mv_args_value(args, "quiet")) {
    o->period = 0;
  }
  if (limit && !mv_duration_read(limit, &o->limit)) {
    return bad_value(o, "max-time", limit, "a time like 90s, 10m, 2h or 1-00:00:00");
  }
  int exit_code = read_overrides(args, measures, o);
  return exit_code == MV_EXIT_OK && computes ? read_computes(computes, o) : exit_code;
}

void mv_run_options_free(struct mv_run_options *o)
{
  for (int k = 0; k < o->set_count; k++) {
    free(o->set[k]);
  }
  free(o->set);
  *o = (struct mv_run_options){0};
}
