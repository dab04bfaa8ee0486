/* store_folder.c - a run directory: whether it is one, whose it is, and how it begins.
 *
 *   RUN/job.yaml        the job file, verbatim
 *   RUN/resolved.yaml   the job with every default; its presence makes RUN a run
 *   RUN/shards/         immutable HDF5 files
 *   RUN/manifest.jsonl  the shards that count
 *   RUN/attempts/       one file for each start
 *   RUN/run.lock        held by the process that works on the run
 *   RUN/results.h5      everything, once it is complete
 *
 * resolved.yaml is written last when RUN is created, so a directory is a run or holds nothing of value.
 */
#include "metavar/store_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char readme[] =
    "A run of metavar.\n"
    "\n"
    "results.h5      all results, once the run is complete: a netCDF-4 file with one group per estimator\n"
    "                python: xarray.open_dataset(\"results.h5\", engine=\"h5netcdf\", group=\"...\")\n"
    "job.yaml        the job file as it was given\n"
    "resolved.yaml   the same with every default filled in\n"
    "shards/         finished pieces of the results, never changed\n"
    "manifest.jsonl  the shards that count, with their digests\n"
    "attempts/       who computed, where and when\n"
    "run.lock        held by the process that works on the run; says which\n"
    "\n"
    "A run that was interrupted goes on when the same command is given again.\n";

/* Next line that matters for identity: not `unit`, which changes no result. Length without newline; -1 at the end. */
static int next_line(const char **text, const char **line)
{
  while (**text) {
    *line = *text;
    size_t length = strcspn(*text, "\n");
    *text += length + ((*text)[length] == '\n');
    if (strncmp(*line, "unit:", 5) != 0)
      return (int)length;
  }
  *line = "(nothing)";
  return -1;
}

/* True if both texts are one job; else says where they part. */
static bool same_job(const char *path, const char *there, const char *here)
{
  for (;;) {
    const char *a, *b;
    int m = next_line(&there, &a), n = next_line(&here, &b);
    if (m < 0 && n < 0)
      return true;
    if (m == n && memcmp(a, b, (size_t)n) == 0)
      continue;
    mv_store_say("%s holds another job; nothing was touched. First difference:\n  there: %.*s\n  here:  %.*s\n"
                 "Choose another directory, or run the job in %s/job.yaml",
                 path, m < 0 ? 9 : m, a, n < 0 ? 9 : n, b, path);
    return false;
  }
}

enum folder { FOLDER_NEW, FOLDER_RUN, FOLDER_LOST, FOLDER_FOREIGN };

/* A folder without resolved.yaml is ours to fill if it is empty or an interrupted start: our names only, nothing
 * committed. */
static enum folder folder_kind(int run)
{
  static const char *const ours[] = {
      ".",      "..",       "job.yaml",       "job.yaml.part",      "README.txt",    "README.txt.part",
      "shards", "attempts", "manifest.jsonl", "resolved.yaml.part", "resolved.yaml", "run.lock"};
  struct stat info;
  if (fstatat(run, "resolved.yaml", &info, 0) == 0)
    return fstatat(run, "manifest.jsonl", &info, 0) == 0 ? FOLDER_RUN : FOLDER_LOST;
  if (fstatat(run, "manifest.jsonl", &info, 0) == 0 && info.st_size > 0)
    return FOLDER_FOREIGN;
  DIR *entries = fdopendir(openat(run, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!entries)
    return FOLDER_FOREIGN;
  enum folder kind = FOLDER_NEW;
  for (struct dirent *entry; (entry = readdir(entries));) {
    bool known = false;
    for (size_t k = 0; k < sizeof ours / sizeof *ours; k++)
      known = known || strcmp(entry->d_name, ours[k]) == 0;
    if (!known)
      kind = FOLDER_FOREIGN;
  }
  closedir(entries);
  return kind;
}

static bool make_folder(int run, const char *name) { return mkdirat(run, name, 0777) == 0 || errno == EEXIST; }

static bool fill_folder(int run, const char *text, const char *canonical)
{
  int manifest = -1;
  bool fine = make_folder(run, "shards") && make_folder(run, "attempts") &&
              mv_file_write(run, "README.txt", readme, strlen(readme)) &&
              mv_file_write(run, "job.yaml", text, strlen(text)) &&
              (manifest = openat(run, "manifest.jsonl", O_WRONLY | O_CREAT | O_CLOEXEC, 0666)) >= 0 &&
              mv_file_write(run, "resolved.yaml", canonical, strlen(canonical));
  int error = errno;
  if (manifest >= 0)
    close(manifest);
  errno = error;
  return fine;
}

/* Exit code; 0 for a folder of this job and for one to fill. Touches nothing. */
static int check_folder(int run, const char *path, const char *canonical)
{
  switch (folder_kind(run)) {
  case FOLDER_FOREIGN:
    mv_store_say("%s: not empty, and not a run of metavar; choose another directory", path);
    return MV_EXIT_CREATE;
  case FOLDER_LOST:
    mv_store_say(
        "%s/manifest.jsonl is missing: nothing tells which of the shards are whole. Bring it back from a copy; or, "
        "to compute all samples again, put an empty file in its place and run the same command again",
        path);
    return MV_EXIT_DATA;
  case FOLDER_NEW:
    return MV_EXIT_OK;
  case FOLDER_RUN:
    break;
  }
  char *there = mv_file_read(run, "resolved.yaml", NULL);
  if (!there) {
    mv_store_say("%s/resolved.yaml: %s", path, strerror(errno));
    return MV_EXIT_IO;
  }
  bool same = same_job(path, there, canonical);
  free(there);
  return same ? MV_EXIT_OK : MV_EXIT_JOB;
}

/* Checked before the lock, so that a folder that is refused stays untouched, and after it, because another process may
 * have filled the folder meanwhile. */
static int take_folder(int run, const char *path, const struct mv_job *job, int *lock)
{
  char *canonical = mv_job_canonical(job, false);
  int code = check_folder(run, path, canonical);
  if (code == MV_EXIT_OK)
    code = mv_lock_take(run, path, lock);
  if (code == MV_EXIT_OK)
    code = check_folder(run, path, canonical);
  if (code == MV_EXIT_OK && folder_kind(run) == FOLDER_NEW && !fill_folder(run, job->text, canonical)) {
    mv_store_say("%s: cannot create the run directory: %s", path, strerror(errno));
    code = MV_EXIT_CREATE;
  }
  free(canonical);
  return code;
}

int mv_folder_open(const char *path, const struct mv_job *job, int *run, int *lock)
{
  if (mkdir(path, 0777) != 0 && errno != EEXIST) {
    mv_store_say("%s: cannot create the run directory: %s%s", path, strerror(errno),
                 errno == ENOENT ? "; create its parent first" : "");
    return MV_EXIT_CREATE;
  }
  *run = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (*run < 0) {
    mv_store_say("%s: cannot use it as run directory: %s", path, strerror(errno));
    return MV_EXIT_CREATE;
  }
  return take_folder(*run, path, job, lock);
}
