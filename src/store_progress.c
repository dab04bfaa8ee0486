/* store_progress.c - how far a run is, from the files of its directory alone; nothing is locked or written, so it may
 * be asked at any time from anywhere. Counts what the manifest lists and what is there; contents are not read. */
#include "metavar/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int progress_read(int run, const char *path, const struct mv_plan *plan, struct mv_progress *progress)
{
  struct mv_manifest manifest;
  struct stat info;
  if (!mv_manifest_read(run, path, plan, false, &manifest))
    return MV_EXIT_DATA;
  progress->trains = plan->job->train.updates > 0;
  struct mv_rounds rounds;
  mv_rounds_read(run, path, plan, &rounds);
  progress->rounds = rounds.decided;
  progress->cells = plan->cells;
  progress->go_on = rounds.go_on;
  progress->fall_short = rounds.fall_short;
  mv_rounds_free(&rounds);
  progress->total = mv_plan_samples(plan);
  progress->done = progress->total - mv_plan_missing(plan, &manifest.have);
  progress->nonfinite = manifest.nonfinite;
  for (int64_t s = 0; s < manifest.shards; s++)
    progress->bytes += manifest.shard[s].bytes;
  progress->shards = manifest.shards;
  int attempts = mv_file_last_number(run, "attempts");
  progress->attempts = attempts > 0 ? attempts : 0;
  progress->finished = fstatat(run, "results.h5", &info, 0) == 0;
  mv_manifest_free(&manifest);
  return MV_EXIT_OK;
}

int mv_store_progress(const char *path, struct mv_progress *progress)
{
  char resolved[4096];
  *progress = (struct mv_progress){0};
  int run = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (run < 0) {
    mv_store_say("%s: %s", path, strerror(errno));
    return MV_EXIT_DATA;
  }
  if (faccessat(run, "resolved.yaml", R_OK, 0) != 0) {
    mv_store_say("%s: not a run of metavar, or not readable (resolved.yaml: %s)", path, strerror(errno));
    close(run);
    return MV_EXIT_DATA;
  }
  snprintf(resolved, sizeof resolved, "%s/resolved.yaml", path);
  struct mv_job *job = mv_job_read(resolved, NULL, 0, mv_kernel_best(), stderr);
  int code = MV_EXIT_DATA;
  if (job) {
    struct mv_plan *plan = mv_plan_make(job);
    code = progress_read(run, path, plan, progress);
    mv_plan_free(plan);
    mv_job_free(job);
  }
  close(run);
  return code;
}
