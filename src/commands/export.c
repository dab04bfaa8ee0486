/* export.c - `metavar export`: results as CSV or JSON lines, for pandas, polars, R and whatever reads tables. */
#define _GNU_SOURCE
#include "metavar/export.h"

#include <errno.h>
#include <libgen.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "metavar/analysis.h"
#include "metavar/command.h"
#include "metavar/memory.h"

/* ---- which entries -------------------------------------------------------------------------------------------- */

/* Fills entries[entry_count]; what is left out is told. Exit code. */
static int choose_entries(const struct mv_args *args, const struct mv_job *job, bool moments, bool *entries)
{
  const char *const *labels;
  int count = mv_args_values(args, "entry", &labels), chosen = 0;
  for (int e = 0; e < job->entry_count; e++) {
    entries[e] = count == 0;
  }
  for (int k = 0; k < count; k++) {
    int e = mv_job_find(job, labels[k], "export");
    if (e < 0) {
      return MV_EXIT_USAGE;
    }
    entries[e] = true;
  }
  for (int e = 0; e < job->entry_count; e++) {
    if (entries[e] && !moments && job->entries[e].store == MV_STORE_MOMENTS) {
      fprintf(stderr, "metavar export: %s is left out: it stores moments, not samples; --moments exports those\n",
              job->entries[e].label);
      entries[e] = false;
    }
    chosen += entries[e];
  }
  if (chosen == 0) {
    fprintf(stderr, "metavar export: nothing to export\n");
  }
  return chosen > 0 ? MV_EXIT_OK : MV_EXIT_USAGE;
}

/* ---- where to ---------------------------------------------------------------------------------------------------- */

/* A file appears whole or not at all; a pipe or a device is written to as it is. */
static int write_file(struct mv_results *results, struct mv_export *options, const char *path)
{
  struct stat info;
  if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) {
    options->out = fopen(path, "we");
    int code = options->out ? mv_export_write(results, options) : MV_EXIT_IO;
    bool failed = !options->out || ferror(options->out);
    if ((options->out && fclose(options->out)) || failed) {
      fprintf(stderr, "metavar export: cannot write %s: %s\n", path, strerror(errno));
      code = MV_EXIT_IO;
    }
    return code;
  }
  struct mv_draft draft;
  char *dir = strdup(path), *name = strdup(path);
  int code = mv_draft_open(&draft, dirname(dir), basename(name));
  if (code == MV_EXIT_OK) {
    options->out = draft.file;
    code = mv_export_write(results, options);
    if (code == MV_EXIT_OK) {
      code = mv_draft_commit(&draft);
    } else {
      mv_draft_drop(&draft);
    }
  }
  free(dir);
  free(name);
  return code;
}

static int write_stdout(struct mv_results *results, struct mv_export *options)
{
  signal(SIGPIPE, SIG_DFL); /* `| head` ends us, as it ends others */
  options->out = stdout;
  int code = mv_export_write(results, options);
  if (fflush(stdout) != 0 || ferror(stdout)) {
    fprintf(stderr, "metavar export: cannot write to standard output: %s\n", strerror(errno));
    clearerr(stdout);
    code = MV_EXIT_IO;
  }
  return code;
}

static int run(const struct mv_args *args)
{
  const char *path = mv_args_value(args, "output");
  struct mv_export options = {.json = mv_args_value(args, "jsonl"), .moments = mv_args_value(args, "moments")};
  int exit_code;
  if (options.json && mv_args_value(args, "csv")) {
    fprintf(stderr, "metavar export: --csv or --jsonl, not both\n");
    return MV_EXIT_USAGE;
  }
  struct mv_results *results = mv_results_open(mv_args_at(args, 0), &exit_code);
  if (!results) {
    return exit_code;
  }
  const struct mv_job *job = mv_results_job(results);
  bool *entries = mv_memory_take((size_t)job->entry_count, sizeof *entries);
  options.entries = entries;
  exit_code = choose_entries(args, job, options.moments, entries);
  if (exit_code == MV_EXIT_OK) {
    exit_code = path && strcmp(path, "-") != 0 ? write_file(results, &options, path) : write_stdout(results, &options);
  }
  free(entries);
  mv_results_close(results);
  return exit_code;
}

const struct mv_command mv_command_export = {
    .name = "export",
    .positional = "RUN",
    .least = 1,
    .most = 1,
    .summary = "results as a long table: CSV or JSON lines",
    .doc =
        "Reads the results of RUN and writes one row for every value of every sample: the entry, the eta point, the "
        "replicate, the output, its setting along every axis, the meta-parameter, the value; with --moments one row "
        "for every value of every block of samples: count, mean, sum of squared deviations. It streams: memory does "
        "not grow with the results. Values have 17 digits; those that are not finite are nan, inf, -inf in CSV, and in "
        "JSON null with the key \"nonfinite\" beside it. analysis/README.md lists the columns.",
    .options = (const struct mv_option[]){{"csv", 0, NULL, "comma-separated values with a header (default)"},
                                          {"jsonl", 0, NULL, "one JSON object a line"},
                                          {"moments", 'm', NULL, "blocks instead of samples, of every entry"},
                                          {"entry", 'e', "LABEL", "this entry only; may be repeated"},
                                          {"output", 'o', "FILE", "where to (default: standard output)"},
                                          {0}},
    .run = run,
    .reads = true,
};
