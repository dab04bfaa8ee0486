/* status.c - `metavar status`: how far a run is, from its files alone; works while it runs, on any machine that sees
 * them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
  json_t *o = json_pack("{sI sI sI sI sI si sb}", "done", (json_int_t)p->done, "total", (json_int_t)p->total,
                        "nonfinite", (json_int_t)p->nonfinite, "shards", (json_int_t)p->shards, "bytes",
                        (json_int_t)p->bytes, "attempts", p->attempts, "finished", p->finished);
  if (*digest) {
    json_object_set_new(o, "digest", json_string(digest));
  }
  json_dumpf(o, stdout, JSON_INDENT(2));
  printf("\n");
  json_decref(o);
}

static void print_text(const struct mv_progress *p, const char *digest)
{
  char bytes[MV_TEXT_SHORT];
  printf("samples     %lld of %lld (%.1f %%)\n", (long long)p->done, (long long)p->total,
         p->total > 0 ? 100 * (double)p->done / (double)p->total : 100.0);
  printf("non-finite  %lld (%.3g %%)\n", (long long)p->nonfinite,
         p->done > 0 ? 100 * (double)p->nonfinite / (double)p->done : 0.0);
  printf("stored      %s in %lld shards\n", mv_text_bytes((double)p->bytes, bytes), (long long)p->shards);
  printf("attempts    %d\n", p->attempts);
  printf("results.h5  %s\n", p->finished ? "written" : "not yet");
  if (*digest) {
    printf("digest %s\n", digest);
  }
}

static int run(const struct mv_args *args)
{
  const char *directory = mv_args_at(args, 0);
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
           "is written. Only what is committed counts.",
    .options =
        (const struct mv_option[]){
            {"json", 'j', NULL, "the same as JSON"},
            {"digest", 'd', NULL,
             "read results.h5 and print its digest: equal for runs of one job on any number of ranks"},
            {0}},
    .run = run,
};
