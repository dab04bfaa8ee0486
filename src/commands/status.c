/* status.c - `metavar status`: how far a run is, from its files alone; works while it runs, on any machine that sees
 * them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "metavar/command.h"
#include "metavar/memory.h"
#include "metavar/text.h"

/* Digest of RUN/results.h5 into hex[33]. Exit code. */
static int read_digest(const char *run, const struct mv_progress *progress, char *hex)
{
  if (!progress->finished) {
    fprintf(stderr, "metavar status: %s has no results.h5 yet, so no digest; finish it with metavar run\n", run);
    return MV_EXIT_AGAIN;
  }
  char *path = mv_memory_take(strlen(run) + sizeof "/results.h5", 1);
  sprintf(path, "%s/results.h5", run);
  int exit_code = mv_results_digest(path, hex);
  free(path);
  return exit_code;
}

static void print_json(const struct mv_progress *p, const char *digest)
{
  json_t *o = json_pack("{sI sI sI sI sI si sb si sI sI}", "done", (json_int_t)p->done, "total", (json_int_t)p->total,
                        "nonfinite", (json_int_t)p->nonfinite, "shards", (json_int_t)p->shards, "bytes",
                        (json_int_t)p->bytes, "attempts", p->attempts, "finished", p->finished, "rounds", p->rounds,
                        "cells_going_on", (json_int_t)p->go_on, "cells_short", (json_int_t)p->fall_short);
  if (*digest) {
    json_object_set_new(o, "digest", json_string(digest));
  }
  json_dumpf(o, stdout, JSON_INDENT(2));
  printf("\n");
  json_decref(o);
}

static const char *noun(const struct mv_progress *p) { return p->trains ? "updates" : "samples"; }

static void print_text(const struct mv_progress *p, const char *digest)
{
  char bytes[MV_TEXT_SHORT];
  printf("%s     %lld of %lld (%.1f %%)\n", noun(p), (long long)p->done, (long long)p->total,
         p->total > 0 ? 100 * (double)p->done / (double)p->total : 100.0);
  printf("non-finite  %lld (%.3g %%)\n", (long long)p->nonfinite,
         p->done > 0 ? 100 * (double)p->nonfinite / (double)p->done : 0.0);
  printf("stored      %s in %lld shards\n", mv_text_bytes((double)p->bytes, bytes), (long long)p->shards);
  printf("attempts    %d\n", p->attempts);
  if (p->rounds > 0 || p->go_on > 0) {
    printf("rounds      %d decided; of %lld cells %lld go on, %lld have the most and not reached the target\n",
           p->rounds, (long long)p->cells, (long long)p->go_on, (long long)p->fall_short);
  }
  printf("results.h5  %s\n", p->finished ? "written" : "not yet");
  if (*digest) {
    printf("digest %s\n", digest);
  }
}

/* ---- watching ---------------------------------------------------------------------------------------------- */

static void print_line(const struct mv_progress *p, const struct mv_holder *holder, bool last)
{
  bool terminal = isatty(STDOUT_FILENO);
  char bytes[MV_TEXT_SHORT];
  printf("%s%lld/%lld %s (%.1f %%), non-finite %.3g %%, %s stored, %s%s%s", terminal ? "\r" : "", (long long)p->done,
         (long long)p->total, noun(p), p->total > 0 ? 100 * (double)p->done / (double)p->total : 100.0,
         p->done > 0 ? 100 * (double)p->nonfinite / (double)p->done : 0.0, mv_text_bytes((double)p->bytes, bytes),
         holder->held && *holder->name ? holder->name
         : holder->held                ? "somebody works on it"
         : p->finished                 ? "finished"
                                       : "nobody works on it",
         terminal ? "\033[K" : "", terminal && !last ? "" : "\n");
  fflush(stdout);
}

/* Draws a line now and then until the run is finished or nobody works on it. The lock is asked before the files, so that
 * the last line tells all. Exit code: 75 if there is more to do. */
static int watch(const char *directory, double interval)
{
  struct timespec pause = {(time_t)interval, (long)((interval - floor(interval)) * 1e9)};
  for (;;) {
    struct mv_holder holder;
    struct mv_progress progress;
    int exit_code = mv_store_holder(directory, &holder);
    if (exit_code == MV_EXIT_OK) {
      exit_code = mv_store_progress(directory, &progress);
    }
    if (exit_code != MV_EXIT_OK) {
      return exit_code;
    }
    bool over = !holder.held || progress.finished;
    print_line(&progress, &holder, over);
    if (over) {
      return progress.finished ? MV_EXIT_OK : MV_EXIT_AGAIN;
    }
    nanosleep(&pause, NULL);
  }
}

/* The seconds between lines; false after a message. */
static bool read_interval(const char *text, double *seconds)
{
  char *end;
  *seconds = text ? strtod(text, &end) : 2;
  if (text && (end == text || *end || !(*seconds >= 0.05 && *seconds <= 86400))) {
    fprintf(stderr, "metavar status: --interval %s: must be a number of seconds from 0.05 to 86400\n", text);
    return false;
  }
  return true;
}

static int run(const struct mv_args *args)
{
  const char *directory = mv_args_at(args, 0);
  double interval;
  if (!read_interval(mv_args_value(args, "interval"), &interval)) {
    return MV_EXIT_USAGE;
  }
  if (mv_args_value(args, "watch")) {
    return watch(directory, interval);
  }
  struct mv_progress progress;
  char digest[33] = "";
  int exit_code = mv_store_progress(directory, &progress);
  if (exit_code == MV_EXIT_OK && mv_args_value(args, "digest")) {
    exit_code = read_digest(directory, &progress, digest);
  }
  if (exit_code == MV_EXIT_OK) {
    (mv_args_value(args, "json") ? print_json : print_text)(&progress, digest);
  }
  return exit_code;
}

const struct mv_command mv_command_status = {
    .name = "status",
    .positional = "RUN",
    .least = 1,
    .most = 1,
    .summary = "tell how far a run is",
    .doc = "Reads the run directory RUN and tells how many samples are stored, how many of them are not finite, and "
           "whether results.h5 "
           "is written. Only what is committed counts. With --watch it tells again and again until it is finished or "
           "nobody works on the "
           "run, and leaves with exit code 0 if the run is finished, with 75 if not.",
    .options =
        (const struct mv_option[]){
            {"json", 'j', NULL, "the same as JSON"},
            {"watch", 'w', NULL, "a line every now and then while somebody works on the run"},
            {"interval", 'i', "SECONDS", "between these lines (default 2)"},
            {"digest", 'd', NULL,
             "read results.h5 and print its digest: equal for runs of one job on any number of ranks"},
            {0}},
    .run = run,
    .reads = true,
};
