/* plot.c - `metavar plot RUN`: starts the Python script that draws the tables of `metavar analyze`, or learning curves. The interpreter is
 * Debian's if it is there, since that one has Debian's matplotlib; no shell is involved. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "build_info.h"
#include "metavar/command.h"

#define NO_PROGRAM 127 /* exit code of a child that could not start its program */

static char *join(const char *dir, const char *name)
{
  char *path;
  if (asprintf(&path, "%s/%s", dir, name) < 0)
    abort();
  return path;
}

/* Runs the script and waits. Exit code. */
static int run_script(const char *script, const char *table, const char *dir)
{
  const char *python = access("/usr/bin/python3", X_OK) == 0 ? "/usr/bin/python3" : "python3";
  char *const argv[] = {(char *)python, (char *)script, (char *)table, "-o", (char *)dir, NULL};
  int status;
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    execvp(python, argv);
    _exit(NO_PROGRAM);
  }
  while (child > 0 && waitpid(child, &status, 0) < 0)
    if (errno != EINTR)
      child = -1;
  if (child < 0) {
    fprintf(stderr, "metavar: cannot start %s: %s\n", python, strerror(errno));
    return MV_EXIT_INTERNAL;
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == NO_PROGRAM) {
    fprintf(stderr, "metavar: plot needs python3; install it (Debian: apt install python3-matplotlib)\n");
    return MV_EXIT_FAILED;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : MV_EXIT_INTERNAL; /* the script has said what went wrong */
}

static int plot(const char *table, const char *script, const char *dir)
{
  if (access(table, R_OK)) {
    fprintf(stderr, "metavar: cannot read %s: %s; run `metavar analyze` on the run first, or finish the training\n",
            table, strerror(errno));
    return MV_EXIT_DATA;
  }
  if (access(script, R_OK)) {
    fprintf(stderr, "metavar: cannot read %s: %s; set METAVAR_ANALYSIS_DIR to the folder that holds it\n", script,
            strerror(errno));
    return MV_EXIT_FAILED;
  }
  return run_script(script, table, dir);
}

/* Whether RUN is one of `metavar train`. */
static bool trains(const char *run)
{
  char *resolved = join(run, "resolved.yaml");
  struct mv_job *job = access(resolved, R_OK) == 0 ? mv_store_job(run) : NULL;
  bool yes = job && job->train.updates > 0;
  mv_job_free(job);
  free(resolved);
  return yes;
}

static int run_plot(const struct mv_args *args)
{
  const char *scripts = getenv("METAVAR_ANALYSIS_DIR"), *wanted = mv_args_value(args, "output");
  const char *run = mv_args_at(args, 0);
  const bool curves = trains(run);
  char *dir = wanted ? strdup(wanted) : join(run, "analysis");
  char *table = join(run, curves ? "results.h5" : "analysis/grid.csv");
  char *script =
      join(scripts && *scripts ? scripts : MV_ANALYSIS_DIR, curves ? "plot_training.py" : "plot_frontier.py");
  int code = plot(table, script, dir);
  free(dir);
  free(table);
  free(script);
  return code;
}

static const struct mv_option options[] = {
    {"output", 'o', "DIR", "where the figures go (default RUN/analysis)"},
    {0},
};

const struct mv_command mv_command_plot = {
    .name = "plot",
    .positional = "RUN",
    .least = 1,
    .most = 1,
    .summary = "draw squared bias against variance, from the tables of analyze; or the curves of a training",
    .doc =
        "Draws RUN/analysis/grid.csv as frontier.pdf and frontier.png and prints their paths: squared bias against log "
        "variance "
        "of every setting, averaged over the eta points. Of a run of metavar train it draws the learning curves and "
        "the "
        "paths of eta (plot_training.py). Needs python3 with matplotlib and numpy. METAVAR_ANALYSIS_DIR "
        "in the environment names another folder for the scripts.",
    .options = options,
    .run = run_plot,
};
