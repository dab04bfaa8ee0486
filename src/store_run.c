/* store_run.c - a run directory: whose it is, who worked on it, what waits to be committed, and its finish.
 *
 *   RUN/job.yaml        the job file, verbatim          RUN/resolved.yaml  the job with every default; its presence
 * makes RUN a run RUN/shards/         immutable HDF5 files            RUN/manifest.jsonl the shards that count
 *   RUN/attempts/       one file for each start         RUN/results.h5     everything, once it is complete
 *
 * resolved.yaml is written last when RUN is created, so a directory is a run or holds nothing of value. Results gather
 * in memory until there are enough bytes or enough time has passed, then become one shard: written, made durable, and
 * only then listed.
 */
#include "metavar/store_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "metavar/memory.h"

#define COMMIT_BYTES   (8 << 20) /* commit when this much has gathered, */
#define COMMIT_SECONDS 10.0      /* or this much time has passed since the last commit */

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
    "\n"
    "A run that was interrupted goes on when the same command is given again.\n";

struct mv_store {
  char path[4000];
  int run, manifest_fd;
  const struct mv_plan *plan;
  struct mv_schema *schema;
  struct mv_manifest manifest;
  int next_shard, attempt;
  struct mv_result *pending; /* views of malloc'ed copies */
  int pending_count;
  size_t pending_bytes;
  double last_commit;
};

static double monotonic_seconds(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* --- identity -------------------------------------------------------------------------------------------- */

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

enum folder { FOLDER_NEW, FOLDER_RUN, FOLDER_FOREIGN };

/* A folder without resolved.yaml is ours to fill if it is empty or an interrupted start: our names only, nothing
 * committed. */
static enum folder folder_kind(int run)
{
  static const char *const ours[] = {
      ".",      "..",       "job.yaml",       "job.yaml.part",     "README.txt", "README.txt.part",
      "shards", "attempts", "manifest.jsonl", "resolved.yaml.part"};
  struct stat info;
  if (fstatat(run, "resolved.yaml", &info, 0) == 0)
    return fstatat(run, "manifest.jsonl", &info, 0) == 0 ? FOLDER_RUN : FOLDER_FOREIGN;
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

static bool fill_folder(struct mv_store *store, const char *canonical)
{
  const char *text = store->plan->job->text;
  int manifest = -1;
  bool fine = make_folder(store->run, "shards") && make_folder(store->run, "attempts") &&
              mv_file_write(store->run, "README.txt", readme, strlen(readme)) &&
              mv_file_write(store->run, "job.yaml", text, strlen(text)) &&
              (manifest = openat(store->run, "manifest.jsonl", O_WRONLY | O_CREAT | O_CLOEXEC, 0666)) >= 0 &&
              mv_file_write(store->run, "resolved.yaml", canonical, strlen(canonical));
  int error = errno;
  if (manifest >= 0)
    close(manifest);
  errno = error;
  return fine;
}

/* Opens RUN, makes it if need be; exit code. */
static int open_folder(struct mv_store *store, const char *canonical)
{
  if (mkdir(store->path, 0777) != 0 && errno != EEXIST) {
    mv_store_say("%s: cannot create the run directory: %s%s", store->path, strerror(errno),
                 errno == ENOENT ? "; create its parent first" : "");
    return MV_EXIT_CREATE;
  }
  store->run = open(store->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (store->run < 0) {
    mv_store_say("%s: cannot use it as run directory: %s", store->path, strerror(errno));
    return MV_EXIT_CREATE;
  }
  switch (folder_kind(store->run)) {
  case FOLDER_FOREIGN:
    mv_store_say("%s: not empty, and not a run of metavar; choose another directory", store->path);
    return MV_EXIT_CREATE;
  case FOLDER_NEW:
    if (fill_folder(store, canonical))
      return MV_EXIT_OK;
    mv_store_say("%s: cannot create the run directory: %s", store->path, strerror(errno));
    return MV_EXIT_CREATE;
  case FOLDER_RUN:
    break;
  }
  char *there = mv_file_read(store->run, "resolved.yaml", NULL);
  if (!there) {
    mv_store_say("%s/resolved.yaml: %s", store->path, strerror(errno));
    return MV_EXIT_IO;
  }
  bool same = same_job(store->path, there, canonical);
  free(there);
  return same ? MV_EXIT_OK : MV_EXIT_JOB;
}

static int open_manifest(struct mv_store *store)
{
  if (!mv_manifest_read(store->run, store->path, store->plan, true, &store->manifest))
    return MV_EXIT_IO;
  store->manifest_fd = openat(store->run, "manifest.jsonl", O_WRONLY | O_APPEND | O_CLOEXEC);
  int shards = mv_file_last_number(store->run, "shards"), attempts = mv_file_last_number(store->run, "attempts");
  if (store->manifest_fd < 0 || shards < 0 || attempts < 0) {
    mv_store_say("%s: cannot write to the run directory: %s", store->path, strerror(errno));
    return MV_EXIT_IO;
  }
  store->next_shard = shards + 1;
  store->attempt = attempts + 1;
  return MV_EXIT_OK;
}

struct mv_store *mv_store_open(const char *run, const struct mv_plan *plan, int *exit_code)
{
  struct mv_store *store = mv_memory_take(1, sizeof *store);
  store->run = store->manifest_fd = -1;
  store->plan = plan;
  store->last_commit = monotonic_seconds();
  size_t length = strlen(run);
  while (length > 1 && run[length - 1] == '/')
    length--;
  const char *taken = mv_schema_refuses(plan->job);
  if (length == 0 || length >= sizeof store->path - 64) {
    mv_store_say("the run directory's name is %s", length ? "too long" : "empty");
    *exit_code = MV_EXIT_CREATE;
  } else if (taken) {
    mv_store_say("an estimator cannot have the label '%s': results.h5 uses that name itself", taken);
    *exit_code = MV_EXIT_JOB;
  } else {
    memcpy(store->path, run, length);
    char *canonical = mv_job_canonical(plan->job, false);
    *exit_code = open_folder(store, canonical);
    free(canonical);
    if (*exit_code == MV_EXIT_OK)
      *exit_code = open_manifest(store);
  }
  if (*exit_code != MV_EXIT_OK) {
    mv_store_close(store);
    return NULL;
  }
  store->schema = mv_schema_make(plan);
  return store;
}

void mv_store_close(struct mv_store *store)
{
  if (!store)
    return;
  for (int k = 0; k < store->pending_count; k++)
    free((void *)store->pending[k].head);
  free(store->pending);
  mv_schema_free(store->schema);
  mv_manifest_free(&store->manifest);
  if (store->manifest_fd >= 0)
    close(store->manifest_fd);
  if (store->run >= 0)
    close(store->run);
  free(store);
}

/* --- attempts -------------------------------------------------------------------------------------------- */

int mv_store_attempt(struct mv_store *store, const struct mv_attempt *attempt)
{
  char name[64];
  char *text = mv_attempt_text(attempt, store->attempt, store->plan->job->kernel->name);
  snprintf(name, sizeof name, "attempts/%03d.json", store->attempt);
  bool fine = text && mv_file_write(store->run, name, text, strlen(text));
  if (!fine)
    mv_store_say("%s/%s: cannot be written: %s", store->path, name, strerror(errno));
  free(text);
  return fine ? MV_EXIT_OK : MV_EXIT_IO;
}

/* --- committing ------------------------------------------------------------------------------------------ */

void mv_store_committed(const struct mv_store *store, void (*visit)(void *self, const struct mv_unit *), void *self)
{
  for (int64_t u = 0; u < store->manifest.units; u++)
    visit(self, &store->manifest.unit[u]);
}

int mv_store_add(struct mv_store *store, const void *result, size_t size)
{
  void *copy = mv_memory_take(size, 1);
  memcpy(copy, result, size);
  store->pending = mv_memory_grow(store->pending, (size_t)store->pending_count + 1, sizeof *store->pending);
  if (!mv_result_view(store->plan, copy, size, &store->pending[store->pending_count])) {
    mv_store_say("a worker sent a result that does not fit the job (%zu bytes); do all ranks run the same program?",
                 size);
    free(copy);
    return MV_EXIT_INTERNAL;
  }
  store->pending_count++;
  store->pending_bytes += size;
  bool due = store->pending_bytes >= COMMIT_BYTES || monotonic_seconds() - store->last_commit >= COMMIT_SECONDS;
  return due ? mv_store_commit(store) : MV_EXIT_OK;
}

/* Writes the pending results as one shard file; describes it. */
static bool write_shard(struct mv_store *store, struct mv_shard *shard)
{
  char name[64];
  size_t size;
  void *image = mv_shard_image(store->plan, store->schema, store->pending, store->pending_count, &size);
  *shard = (struct mv_shard){.units = store->pending_count};
  snprintf(shard->name, sizeof shard->name, "%06d.h5", store->next_shard);
  snprintf(name, sizeof name, "shards/%s", shard->name);
  errno = 0;
  bool fine = image && mv_file_write(store->run, name, image, size);
  if (!fine) {
    mv_store_say("%s/%s: cannot be written: %s; what was committed before is safe", store->path, name,
                 image ? strerror(errno) : "HDF5 failed");
  } else {
    shard->bytes = (int64_t)size;
    mv_bytes_digest(image, size, shard->xxh3);
  }
  free(image);
  return fine;
}

static bool list_shard(struct mv_store *store, const struct mv_shard *shard, const struct mv_unit *units)
{
  char *line = mv_manifest_line(shard, units);
  bool fine = (!store->manifest.torn || mv_file_append(store->manifest_fd, "\n", 1)) &&
              mv_file_append(store->manifest_fd, line, strlen(line));
  if (!fine)
    mv_store_say("%s/manifest.jsonl: cannot be written: %s; what was committed before is safe", store->path,
                 strerror(errno));
  store->manifest.torn = !fine; /* the next line starts on its own */
  free(line);
  return fine;
}

int mv_store_commit(struct mv_store *store)
{
  store->last_commit = monotonic_seconds();
  if (store->pending_count == 0)
    return MV_EXIT_OK;
  struct mv_shard shard;
  if (!write_shard(store, &shard))
    return MV_EXIT_IO;
  store->next_shard++;
  struct mv_unit *units = mv_memory_take((size_t)store->pending_count, sizeof *units);
  for (int k = 0; k < store->pending_count; k++) {
    units[k] = store->pending[k].head->unit;
    shard.nonfinite += store->pending[k].head->nonfinite;
  }
  bool fine = list_shard(store, &shard, units);
  if (fine) {
    mv_manifest_add(&store->manifest, &shard, units);
    for (int k = 0; k < store->pending_count; k++)
      free((void *)store->pending[k].head);
    store->pending_count = 0;
    store->pending_bytes = 0;
  }
  free(units);
  return fine ? MV_EXIT_OK : MV_EXIT_IO;
}

/* --- finishing ------------------------------------------------------------------------------------------- */

/* The texts of attempts/001.json, ...; those that are gone are left out. */
static char **read_attempts(const struct mv_store *store, int *count)
{
  int last = mv_file_last_number(store->run, "attempts");
  char **text = mv_memory_take(last > 0 ? (size_t)last : 1, sizeof *text);
  *count = 0;
  for (int k = 1; k <= last; k++) {
    char name[64];
    snprintf(name, sizeof name, "attempts/%03d.json", k);
    if ((text[*count] = mv_file_read(store->run, name, NULL)))
      ++*count;
  }
  return text;
}

/* A schema that also holds what is known of the run. */
static struct mv_schema *schema_of_run(const struct mv_store *store)
{
  struct mv_schema *schema = mv_schema_make(store->plan);
  int64_t shards = store->manifest.shards;
  int attempts;
  char **attempt = read_attempts(store, &attempts), **line = mv_memory_take((size_t)shards, sizeof *line);
  for (int64_t s = 0; s < shards; s++) {
    line[s] = mv_manifest_line(&store->manifest.shard[s], store->manifest.unit + store->manifest.shard[s].first_unit);
    line[s][strlen(line[s]) - 1] = 0;
  }
  char *resolved = mv_job_canonical(store->plan->job, false);
  mv_schema_provenance(schema, store->plan->job->text, resolved, line, shards, attempt, attempts);
  free(resolved);
  for (int64_t s = 0; s < shards; s++)
    free(line[s]);
  for (int k = 0; k < attempts; k++)
    free(attempt[k]);
  free(line);
  free(attempt);
  return schema;
}

int mv_store_finalize(struct mv_store *store)
{
  int code = mv_store_commit(store);
  if (code != MV_EXIT_OK)
    return code;
  int64_t missing = mv_manifest_missing(&store->manifest, store->plan);
  if (missing != 0) {
    if (missing > 0)
      mv_store_say("%s: %lld samples are missing; run the same command again", store->path, (long long)missing);
    else
      mv_store_say("%s/manifest.jsonl: some samples are listed twice", store->path);
    return missing > 0 ? MV_EXIT_AGAIN : MV_EXIT_DATA;
  }
  char temporary[4096], shards[4096];
  snprintf(temporary, sizeof temporary, "%s/results.h5.part", store->path);
  snprintf(shards, sizeof shards, "%s/shards", store->path);
  unlink(temporary); /* of an attempt that was killed here */
  struct mv_schema *schema = schema_of_run(store);
  code = mv_results_write(temporary, shards, store->plan, schema, &store->manifest);
  mv_schema_free(schema);
  if (code != MV_EXIT_OK) {
    unlink(temporary);
  } else if (!mv_file_publish(store->run, "results.h5.part", "results.h5")) {
    mv_store_say("%s/results.h5: cannot be written: %s", store->path, strerror(errno));
    code = MV_EXIT_IO;
  }
  return code;
}
