/* store_folder.c - a run directory: whether it is one, whose it is, and how it begins.
 *
 *   RUN/job.yaml        the job file, verbatim
 *   RUN/resolved.yaml   the job with every default; its presence makes RUN a run
 *   RUN/resolved-001.yaml, results-001.h5, ...  those of the jobs that it was extended from
 *   RUN/shards/         immutable HDF5 files
 *   RUN/manifest.jsonl  the shards that count
 *   RUN/carried/        what lifetimes carry, in training (store_carried.c)
 *   RUN/rounds.jsonl    decisions of a stopping rule, if the job has one
 *   RUN/attempts/       one file for each start
 *   RUN/checksums.xxh128  of job.yaml, resolved.yaml, results.h5
 *   RUN/run.lock        held by the process that works on the run
 *   RUN/results.h5      everything, once it is complete
 *
 * resolved.yaml is written last when RUN is created, so a directory is a run or holds nothing of value.
 */
#include "metavar/store_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "metavar/memory.h"

static const char readme[] =
    "A run of metavar.\n"
    "\n"
    "results.h5      all results, once the run is complete: a netCDF-4 file with one group per estimator\n"
    "                python: xarray.open_dataset(\"results.h5\", engine=\"h5netcdf\", group=\"...\")\n"
    "job.yaml        the job file as it was given\n"
    "resolved.yaml   the same with every default filled in\n"
    "resolved-001.yaml, results-001.h5, ...  the job before it was extended, and its results if there were any\n"
    "shards/         finished pieces of the results, never changed\n"
    "manifest.jsonl  the shards that count, with their digests\n"
    "carried/        of a training whose lifetimes go on: their states behind the last updates\n"
    "rounds.jsonl    what the job's stopping rule has decided, if it has one\n"
    "attempts/       who computed, where and when\n"
    "checksums.xxh128  of job.yaml, resolved.yaml and results.h5: xxhsum -c checksums.xxh128\n"
    "run.lock        held by the process that works on the run; says which\n"
    "\n"
    "A run that was interrupted goes on when the same command is given again.\n";

enum folder { FOLDER_NEW, FOLDER_RUN, FOLDER_NO_MANIFEST, FOLDER_NO_JOB, FOLDER_FOREIGN };

/* A folder without resolved.yaml is ours to fill if it is empty or an interrupted start: our names only, nothing
 * committed. */
static enum folder folder_kind(int run)
{
  static const char *const ours[] = {".",
                                     "..",
                                     "job.yaml",
                                     "job.yaml.part",
                                     "README.txt",
                                     "README.txt.part",
                                     "shards",
                                     "attempts",
                                     "manifest.jsonl",
                                     "resolved.yaml.part",
                                     "resolved.yaml",
                                     "run.lock",
                                     "checksums.xxh128",
                                     "checksums.xxh128.part"};
  struct stat info;
  if (fstatat(run, "resolved.yaml", &info, 0) == 0)
    return fstatat(run, "manifest.jsonl", &info, 0) == 0 ? FOLDER_RUN : FOLDER_NO_MANIFEST;
  if (fstatat(run, "manifest.jsonl", &info, 0) == 0 && info.st_size > 0)
    return FOLDER_NO_JOB;
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

static bool make_folder(int run, const char *name)
{
  bool fine = mkdirat(run, name, 0777) == 0 || errno == EEXIST;
  mv_kill_here(name, "made");
  return fine;
}

static bool make_folders(int run) { return make_folder(run, "shards") && make_folder(run, "attempts"); }

static bool make_manifest(int run)
{
  int fd = openat(run, "manifest.jsonl", O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  mv_kill_here("manifest", "made");
  return fd >= 0 && close(fd) == 0;
}

static bool fill_folder(int run, const char *text, const char *canonical)
{
  struct mv_sums sums = {0};
  mv_sums_add_text(&sums, "job.yaml", text);
  mv_sums_add_text(&sums, "resolved.yaml", canonical);
  bool fine = make_folders(run) && mv_file_write(run, "README.txt", readme, strlen(readme)) &&
              mv_sums_write(run, &sums) && mv_file_write(run, "job.yaml", text, strlen(text)) && make_manifest(run) &&
              mv_file_write(run, "resolved.yaml", canonical, strlen(canonical));
  int error = errno;
  mv_sums_free(&sums);
  errno = error;
  return fine;
}

/* Replaces job.yaml and resolved.yaml. */
static bool write_job(int run, struct mv_sums *sums, const char *text, const char *canonical)
{
  mv_sums_add_text(sums, "job.yaml", text);
  mv_sums_add_text(sums, "resolved.yaml", canonical);
  if (!mv_sums_write(run, sums) || !mv_file_write(run, "job.yaml", text, strlen(text)) ||
      !mv_file_write(run, "resolved.yaml", canonical, strlen(canonical)))
    return false;
  mv_sums_drop(sums, "job.yaml");
  mv_sums_drop(sums, "resolved.yaml");
  mv_sums_add_text(sums, "job.yaml", text);
  mv_sums_add_text(sums, "resolved.yaml", canonical);
  return mv_sums_write(run, sums);
}

/* A run of this very job whose folders are gone, or whose job files are or have been damaged in a way that left their
 * meaning: made whole. */
static bool mend_folder(int run, const char *path, const char *text, const char *canonical)
{
  static const char *const names[] = {"job.yaml", "resolved.yaml"};
  struct mv_sums sums = mv_sums_read(run);
  bool fine = true, whole = true;
  for (int k = 0; k < 2; k++) {
    enum mv_sum_state state = mv_sums_state(run, &sums, names[k]);
    bool there = faccessat(run, names[k], F_OK, 0) == 0;
    if (there && (state == MV_SUM_FITS || sums.count == 0)) /* the latter: of an earlier version */
      continue;
    mv_store_say("%s/%s: %s; written again from the job file given now", path, names[k],
                 !there ? "is missing" : "is not what checksums.xxh128 says");
    whole = false;
  }
  if (!whole)
    fine = write_job(run, &sums, text, canonical);
  mv_sums_free(&sums);
  return fine && make_folders(run);
}

/* Whether this job may work in a folder whose resolved.yaml is `there`; *larger: it extends the one there. Exit code. */
static int check_job(const char *path, const char *there, size_t size, const struct mv_job *job, bool *larger)
{
  char name[4200], ours[33], theirs[33];
  snprintf(name, sizeof name, "%s/resolved.yaml", path);
  struct mv_job *earlier = mv_job_parse(name, there, size, NULL, 0, job->kernel, stderr);
  if (!earlier) {
    mv_store_say("%s: damaged, or of another version of metavar; bring it back from a copy", name);
    return MV_EXIT_DATA;
  }
  int *entry = mv_memory_take((size_t)earlier->entry_count, sizeof *entry);
  int *point = mv_memory_take((size_t)earlier->points, sizeof *point);
  mv_job_id(job, ours);
  mv_job_id(earlier, theirs);
  *larger = strcmp(ours, theirs) != 0;
  bool fits = !*larger || mv_job_goes_on(earlier, job, path, entry, point);
  free(entry);
  free(point);
  mv_job_free(earlier);
  return fits ? MV_EXIT_OK : MV_EXIT_JOB;
}

/* Whether resolved.yaml is not what its checksum says. */
static bool resolved_is_damaged(int run)
{
  struct mv_sums sums = mv_sums_read(run);
  bool damaged = mv_sums_state(run, &sums, "resolved.yaml") == MV_SUM_WRONG;
  mv_sums_free(&sums);
  return damaged;
}

/* Whether the run is of this job, for all that is known without resolved.yaml: the last line of the manifest, damaged or
 * not, or the checksum of that file says so. Earlier lines may be of a job that the run has outgrown. */
static bool run_is_of(int run, const struct mv_job *job)
{
  char id[33], key[64], hex[33], *text = mv_file_read(run, "manifest.jsonl", NULL);
  char *canonical = mv_job_canonical(job, false);
  struct mv_sums sums = mv_sums_read(run);
  mv_job_id(job, id);
  snprintf(key, sizeof key, "\"job\":\"%s\"", id);
  mv_bytes_digest(canonical, strlen(canonical), hex);
  char *line = text, *last = NULL;
  while (line && (line = strstr(line, "\"job\":\"")))
    last = line++;
  bool found = last && strncmp(last, key, strlen(key)) == 0;
  for (int k = 0; k < sums.count; k++)
    found = found || (strcmp(sums.at[k].name, "resolved.yaml") == 0 && strcmp(sums.at[k].hex, hex) == 0);
  mv_sums_free(&sums);
  free(canonical);
  free(text);
  return found;
}

/* Exit code; 0 for a folder of this job, for one that it extends, and for one to fill. Touches nothing. */
static int check_folder(int run, const char *path, const struct mv_job *job, bool *larger)
{
  *larger = false;
  switch (folder_kind(run)) {
  case FOLDER_FOREIGN:
    mv_store_say("%s: not empty, and not a run of metavar; choose another directory", path);
    return MV_EXIT_CREATE;
  case FOLDER_NO_MANIFEST:
    mv_store_say(
        "%s/manifest.jsonl is missing: nothing tells which of the shards are whole. Bring it back from a copy; or, "
        "to compute all samples again, put an empty file in its place and run the same command again",
        path);
    return MV_EXIT_DATA;
  case FOLDER_NO_JOB:
    if (run_is_of(run, job))
      return MV_EXIT_OK;
    mv_store_say(
        "%s/resolved.yaml is missing, and manifest.jsonl lists nothing of the job given now. If this is a run "
        "of metavar, bring that file back from a copy, or give the job that made it; else choose another directory",
        path);
    return MV_EXIT_DATA;
  case FOLDER_NEW:
    return MV_EXIT_OK;
  case FOLDER_RUN:
    break;
  }
  if (resolved_is_damaged(run)) {
    if (run_is_of(run, job))
      return MV_EXIT_OK;
    mv_store_say(
        "%s/resolved.yaml: is not what checksums.xxh128 says, so nothing tells whether the job given now fits; "
        "run %s/job.yaml first, which mends it, or bring it back from a copy",
        path, path);
    return MV_EXIT_DATA;
  }
  size_t size;
  char *there = mv_file_read(run, "resolved.yaml", &size);
  if (!there) {
    mv_store_say("%s/resolved.yaml: %s", path, strerror(errno));
    return MV_EXIT_IO;
  }
  int code = check_job(path, there, size, job, larger);
  free(there);
  return code;
}

/* Makes the run one of a larger job. What is there of the earlier one gets other names first, so whenever this is cut
 * short the folder is still a run of one job or the other, and every line of the manifest finds its job. */
static bool extend_folder(int run, const char *path, const char *text, const char *canonical)
{
  char resolved[64], results[64], *there = mv_file_read(run, "resolved.yaml", NULL);
  struct stat info;
  int number = 0;
  do
    snprintf(resolved, sizeof resolved, MV_RESOLVED_OLD, ++number);
  while (fstatat(run, resolved, &info, 0) == 0);
  snprintf(results, sizeof results, MV_RESULTS_OLD, number);
  struct mv_sums sums = mv_sums_read(run);
  if (there)
    mv_sums_add_text(&sums, resolved, there);
  for (int k = 0, count = sums.count; k < count; k++) {
    if (strcmp(sums.at[k].name, "results.h5") == 0)
      mv_sums_add(&sums, results, sums.at[k].hex);
  }
  bool fine = there && make_folders(run) && mv_sums_write(run, &sums) &&
              mv_file_write(run, resolved, there, strlen(there)) &&
              (renameat(run, "results.h5", run, results) == 0 || errno == ENOENT);
  mv_sums_drop(&sums, "results.h5");
  fine = fine && write_job(run, &sums, text, canonical);
  int error = errno;
  mv_sums_free(&sums);
  if (fine)
    mv_store_say("%s: goes on with a larger job; what is done counts, the job before is kept as %s", path, resolved);
  free(there);
  errno = error;
  return fine;
}

/* Checked before the lock, so that a folder that is refused stays untouched, and after it, because another process may
 * have filled the folder meanwhile. */
static int take_folder(int run, const char *path, const struct mv_job *job, int *lock)
{
  char *canonical = mv_job_canonical(job, false);
  bool larger;
  int code = check_folder(run, path, job, &larger);
  if (code == MV_EXIT_OK)
    code = mv_lock_take(run, path, lock);
  if (code == MV_EXIT_OK)
    code = check_folder(run, path, job, &larger);
  enum folder kind = code == MV_EXIT_OK ? folder_kind(run) : FOLDER_FOREIGN;
  if (!larger && (kind == FOLDER_RUN || kind == FOLDER_NO_JOB) && !mend_folder(run, path, job->text, canonical)) {
    mv_store_say_unwritten(path, "job.yaml", strlen(job->text));
    code = MV_EXIT_IO;
  }
  if (code == MV_EXIT_OK && larger && !extend_folder(run, path, job->text, canonical)) {
    mv_store_say("%s: cannot be extended: %s; what was committed before is safe", path, strerror(errno));
    code = MV_EXIT_IO;
  }
  if (kind == FOLDER_NEW && !fill_folder(run, job->text, canonical)) {
    code = mv_error_is_room(errno) ? MV_EXIT_IO : MV_EXIT_CREATE;
    mv_store_say_unwritten(path, "resolved.yaml", sizeof readme + strlen(job->text) + strlen(canonical));
  }
  free(canonical);
  return code;
}

/* The name of a new run directory is durable when its parent is. */
static void sync_parent(const char *path)
{
  char *copy = mv_text_copy(path);
  int parent = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (parent >= 0) {
    (void)fsync(parent); /* some file systems cannot */
    close(parent);
  }
  free(copy);
}

int mv_folder_open(const char *path, const struct mv_job *job, int *run, int *lock)
{
  if (mkdir(path, 0777) == 0) {
    sync_parent(path);
  } else if (errno != EEXIST) {
    mv_store_say("%s: cannot create the run directory: %s%s", path, strerror(errno),
                 errno == ENOENT ? "; create its parent first" : "");
    return MV_EXIT_CREATE;
  }
  mv_kill_here("run", "made");
  *run = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (*run < 0) {
    mv_store_say("%s: cannot use it as run directory: %s", path, strerror(errno));
    return MV_EXIT_CREATE;
  }
  return take_folder(*run, path, job, lock);
}
