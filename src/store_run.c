/* store_run.c - a run that is open: who works on it, what waits to be committed, and what is committed.
 *
 * Results gather in memory until there are enough bytes or enough time has passed, then become one shard: written, made
 * durable, and only then listed.
 */
#include "metavar/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "metavar/clock.h"
#include "metavar/memory.h"

#define LOOK_SECONDS 0.5         /* between looks for a request to stop */
#define ROOM_SECONDS 300.0       /* how long a commit waits for a full disk; METAVAR_ROOM_SECONDS overrides */
#define KEPT_BYTES   (64 << 20)  /* of memory that is free; a block of half as much is returned at once */
#define ROOM_RESERVE (256 << 10) /* bytes that commits leave free, for the manifest and the attempt's record */

struct mv_store {
  char path[4000];
  int run, lock, manifest_fd; /* open files; -1: not */
  const struct mv_plan *plan;
  struct mv_schema *schema;
  struct mv_manifest manifest;
  struct mv_rounds rounds;
  int next_shard, attempt;
  struct mv_result *pending; /* views of malloc'ed copies */
  int pending_count;
  size_t pending_bytes;
  double waiting_since; /* the oldest of them */
  double looked;        /* for a request to stop */
  double patience;      /* seconds that it may wait */
  double committed;     /* when the last commit was over, */
  double commit_took;   /* and its seconds */
  double waited;        /* seconds for room on the disk, so far */
  double room_patience; /* seconds to wait for a full disk */
  double reserve;       /* bytes that commits leave free */
  bool (*hurry)(void *self);
  void *hurry_self;
  const void *(*carried)(void *self, int64_t cell, int64_t row, size_t *bytes); /* NULL: nothing is carried */
  void *carried_self;
  bool failed; /* a commit did, and told why */
};

static int open_manifest(struct mv_store *store)
{
  if (!mv_manifest_read(store->run, store->path, store->plan, true, &store->manifest))
    return MV_EXIT_IO;
  store->manifest_fd = openat(store->run, "manifest.jsonl", O_WRONLY | O_APPEND | O_CLOEXEC);
  const char *wrong = store->manifest_fd < 0 ? "manifest.jsonl" : NULL;
  int shards = wrong ? 0 : mv_file_last_number(store->run, "shards");
  wrong = shards < 0 ? "shards" : wrong;
  int attempts = wrong ? 0 : mv_file_last_number(store->run, "attempts");
  wrong = attempts < 0 ? "attempts" : wrong;
  if (wrong) {
    mv_store_say_unwritten(store->path, wrong, 0);
    return MV_EXIT_IO;
  }
  int listed = store->manifest.last_number; /* a name is never used again, even if its file is gone */
  store->next_shard = (shards > listed ? shards : listed) + 1;
  store->attempt = attempts + 1;
  mv_rounds_read(store->run, store->path, store->plan, &store->rounds);
  mv_carried_sweep(store->run, &store->manifest);
  return MV_EXIT_OK;
}

/* A time from the environment. Exit code, a wrong value told. */
static int read_seconds(const char *name, double usual, double *seconds)
{
  const char *text = getenv(name);
  char *end = "";
  *seconds = text ? strtod(text, &end) : usual;
  if (*end == 0 && *seconds >= 0 && (!text || *text))
    return MV_EXIT_OK;
  mv_store_say("%s=%s: must be a number of seconds, 0 or more", name, text);
  return MV_EXIT_USAGE;
}

/* Results, and the shards made of them, take and return megabytes at every commit. Memory that has been returned to the
 * system costs several times as much as a copy when it is used again, so the process keeps it. */
static void keep_memory(void)
{
#ifdef M_MMAP_THRESHOLD
  mallopt(M_MMAP_THRESHOLD, KEPT_BYTES / 2);
  mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
#endif
}

struct mv_store *mv_store_open(const char *run, const struct mv_plan *plan, int *exit_code)
{
  struct mv_store *store = mv_memory_take(1, sizeof *store);
  store->run = store->lock = store->manifest_fd = -1;
  store->plan = plan;
  keep_memory();
  size_t length = strlen(run);
  *exit_code = mv_kill_start();
  if (*exit_code == MV_EXIT_OK)
    *exit_code = read_seconds("METAVAR_COMMIT_SECONDS", MV_COMMIT_SECONDS, &store->patience);
  if (*exit_code == MV_EXIT_OK)
    *exit_code = read_seconds("METAVAR_ROOM_SECONDS", ROOM_SECONDS, &store->room_patience);
  store->reserve = getenv("METAVAR_NO_GUARD") ? -INFINITY : ROOM_RESERVE; /* for tests: fail when writing fails */
  while (length > 1 && run[length - 1] == '/')
    length--;
  const char *taken = mv_schema_refuses(plan->job);
  if (*exit_code != MV_EXIT_OK) {
    ; /* told */
  } else if (length == 0 || length >= sizeof store->path - 64) {
    mv_store_say("the run directory's name is %s", length ? "too long" : "empty");
    *exit_code = MV_EXIT_CREATE;
  } else if (taken) {
    mv_store_say("an estimator cannot have the label '%s': results.h5 uses that name itself", taken);
    *exit_code = MV_EXIT_JOB;
  } else {
    memcpy(store->path, run, length);
    *exit_code = mv_folder_open(store->path, plan->job, &store->run, &store->lock);
    if (*exit_code == MV_EXIT_OK) {
      mv_stop_clear(store->run); /* meant for an earlier process */
      *exit_code = open_manifest(store);
    }
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
  if (store->schema) /* it was opened */
    mv_stop_clear(store->run);
  mv_schema_free(store->schema);
  mv_manifest_free(&store->manifest);
  mv_rounds_free(&store->rounds);
  if (store->manifest_fd >= 0)
    close(store->manifest_fd);
  if (store->run >= 0)
    close(store->run);
  if (store->lock >= 0)
    close(store->lock); /* last: now another process may begin */
  free(store);
}

bool mv_store_stop_asked(struct mv_store *store)
{
  double now = mv_clock_monotonic();
  if (now - store->looked < LOOK_SECONDS)
    return false;
  store->looked = now;
  return mv_stop_requested(store->run);
}

/* --- attempts -------------------------------------------------------------------------------------------- */

int mv_store_attempt(struct mv_store *store, const struct mv_attempt *attempt)
{
  const struct mv_job *job = store->plan->job;
  char name[64], kernel[MV_KERNEL_LABEL];
  mv_kernel_label(job->kernel, &job->problem.shape, kernel);
  char *text = mv_attempt_text(attempt, store->attempt, kernel);
  snprintf(name, sizeof name, "attempts/%03d.json", store->attempt);
  bool fine = text && mv_file_write(store->run, name, text, strlen(text));
  if (!fine && !store->failed)
    mv_store_say_unwritten(store->path, name, text ? strlen(text) : 0);
  free(text);
  return fine ? MV_EXIT_OK : MV_EXIT_IO;
}

/* --- committing ------------------------------------------------------------------------------------------ */

void mv_store_committed(const struct mv_store *store, void (*visit)(void *self, const struct mv_unit *), void *self)
{
  for (int64_t u = 0; u < store->manifest.units; u++)
    if (store->manifest.unit[u].count > 0)
      visit(self, &store->manifest.unit[u]);
}

int mv_store_row(const struct mv_store *store, int cell, int64_t row, double *values, int8_t *status)
{
  return mv_row_find(store->run, store->path, store->plan, store->schema, &store->manifest, cell, row, values, status);
}

void mv_store_on_carried(struct mv_store *store,
                         const void *(*carried)(void *self, int64_t cell, int64_t row, size_t *bytes), void *self)
{
  store->carried = carried;
  store->carried_self = self;
}

int64_t mv_store_carried(struct mv_store *store, int64_t cell, int64_t limit, size_t bytes, void **state)
{
  return mv_carried_find(store->run, store->path, store->plan, &store->manifest, cell, limit, bytes, state);
}

int mv_store_add(struct mv_store *store, const void *result, size_t size)
{
  void *copy = mv_memory_grow(NULL, size, 1);
  memcpy(copy, result, size);
  store->pending = mv_memory_grow(store->pending, (size_t)store->pending_count + 1, sizeof *store->pending);
  if (!mv_result_view(store->plan, copy, size, &store->pending[store->pending_count])) {
    mv_store_say("a worker sent a result that does not fit the job (%zu bytes); do all ranks run the same program?",
                 size);
    free(copy);
    return MV_EXIT_INTERNAL;
  }
  if (store->pending_count++ == 0)
    store->waiting_since = mv_clock_monotonic();
  store->pending_bytes += size;
  return mv_store_tick(store);
}

int mv_store_tick(struct mv_store *store)
{
  double now = mv_clock_monotonic(), patience = store->patience;
  if (store->carried && patience > 0) /* what is carried is large, whatever the results are */
    patience = fmax(patience, 9 * store->commit_took);
  bool due = store->pending_count > 0 && mv_commit_due((double)store->pending_bytes, now - store->waiting_since,
                                                       patience, now - store->committed, store->commit_took);
  return due ? mv_store_commit(store) : MV_EXIT_OK;
}

/* --- a full disk -- */

void mv_store_on_full(struct mv_store *store, bool (*hurry)(void *self), void *self)
{
  store->hurry = hurry;
  store->hurry_self = self;
}

/* False, and errno, when the disk is nearly full. Quotas show only when something is written. */
static bool has_room(const struct mv_store *store, size_t bytes)
{
  struct statvfs disk;
  if (fstatvfs(store->run, &disk) != 0)
    return true;
  if ((double)disk.f_bavail * (double)disk.f_frsize >= (double)bytes + store->reserve)
    return true;
  errno = ENOSPC;
  return false;
}

/* A file of so many bytes could not be written (errno): waits a little, tells it the first time. False: it is of no use,
 * or has taken too long; errno as before. */
static bool wait_for_room(struct mv_store *store, const char *name, size_t bytes, double *waited)
{
  int error = errno;
  if (!mv_error_is_room(error) || *waited >= store->room_patience || (store->hurry && store->hurry(store->hurry_self)))
    return errno = error, false;
  if (*waited == 0)
    mv_store_say("%s/%s: %s: it needs %zu bytes. Waiting up to %.0f s for room; then the run ends, and what was "
                 "committed before is safe",
                 store->path, name, strerror(error), bytes, store->room_patience);
  double nap = store->room_patience - *waited;
  nap = nap < 1 ? nap : 1;
  nanosleep(&(struct timespec){(time_t)nap, (long)((nap - (double)(time_t)nap) * 1e9)}, NULL);
  *waited += nap > 0 ? nap : 1;
  store->waited += nap > 0 ? nap : 1;
  return true;
}

static void tell_room(const struct mv_store *store, double waited)
{
  if (waited > 0)
    mv_store_say("%s: there is room again; the run goes on", store->path);
}

/* --- what is carried -- */

/* One file. Exit code, errors told. */
static int write_carried(struct mv_store *store, struct mv_carried *c, const void *state)
{
  char name[MV_CARRIED_NAME];
  double waited = 0;
  bool fine;
  mv_carried_name(c, name);
  mv_bytes_digest(state, (size_t)c->bytes, c->xxh3);
  do
    fine = mv_carried_folder(store->run) && has_room(store, (size_t)c->bytes) &&
           mv_file_write(store->run, name, state, (size_t)c->bytes);
  while (!fine && wait_for_room(store, name, (size_t)c->bytes, &waited));
  if (fine)
    tell_room(store, waited);
  else
    mv_store_say_unwritten(store->path, name, (size_t)c->bytes);
  return fine ? MV_EXIT_OK : MV_EXIT_IO;
}

/* What is carried behind the pending results, which are sorted, cell by cell. Exit code. */
static int write_all_carried(struct mv_store *store, struct mv_shard *shard)
{
  int code = MV_EXIT_OK;
  for (int k = 0; store->carried && k < store->pending_count && code == MV_EXIT_OK; k++) {
    const struct mv_unit *u = &store->pending[k].head->unit;
    struct mv_carried c = {u->cell, u->cell, u->first + u->count - 1, store->next_shard, 0, ""};
    size_t bytes;
    const void *state = c.row > mv_carried_last(&store->manifest, c.cell)
                            ? store->carried(store->carried_self, c.cell, c.row, &bytes)
                            : NULL;
    if (!state)
      continue; /* of updates that are computed again, or that others follow here */
    c.bytes = (int64_t)bytes;
    code = write_carried(store, &c, state);
    shard->carried = mv_memory_grow(shard->carried, (size_t)shard->carried_count + 1, sizeof c);
    shard->carried[shard->carried_count++] = c;
  }
  return code;
}

/* They are listed: those before them have served. */
static void replace_carried(struct mv_store *store, const struct mv_shard *shard)
{
  for (int64_t k = 0; k < shard->carried_count; k++) {
    struct mv_carried dropped;
    char name[MV_CARRIED_NAME];
    if (mv_carried_add(&store->manifest, &shard->carried[k], &dropped)) {
      mv_carried_name(&dropped, name);
      unlinkat(store->run, name, 0);
    }
  }
}

/* --- shards -- */

/* Writes the pending results as one shard file; describes it. Exit code, errors told. */
static int write_shard(struct mv_store *store, struct mv_shard *shard)
{
  char name[64];
  struct mv_image image;
  double waited = 0;
  bool fine;
  shard->units = store->pending_count;
  mv_job_id(store->plan->job, shard->job);
  snprintf(shard->name, sizeof shard->name, "%06d.h5", store->next_shard);
  snprintf(name, sizeof name, "shards/%s", shard->name);
  if (!mv_image_make(store->plan, store->schema, store->pending, store->pending_count, &image)) {
    mv_store_say("%s/%s: HDF5 failed: %s; what was committed before is safe", store->path, name, mv_hdf5_reason());
    return MV_EXIT_IO;
  }
  do
    fine = has_room(store, image.size) && mv_file_create(store->run, name, image.bytes, image.size, shard->xxh3);
  while (!fine && wait_for_room(store, name, image.size, &waited));
  int error = errno;
  shard->bytes = (int64_t)image.size;
  mv_image_free(&image);
  errno = error;
  if (fine) {
    tell_room(store, waited);
  } else if (errno == EEXIST) {
    mv_store_say("%s/%s: somebody else has written it; let one process at a time work on a run", store->path, name);
    return MV_EXIT_RUNNING;
  } else {
    mv_store_say_unwritten(store->path, name, (size_t)shard->bytes);
  }
  return fine ? MV_EXIT_OK : MV_EXIT_IO;
}

static bool append_line(struct mv_store *store, const char *line)
{
  bool fine = (!store->manifest.torn || mv_file_append(store->manifest_fd, "manifest", "\n", 1)) &&
              mv_file_append(store->manifest_fd, "manifest", line, strlen(line));
  store->manifest.torn = !fine; /* the next line starts on its own */
  return fine;
}

static bool list_shard(struct mv_store *store, const struct mv_shard *shard, const struct mv_unit *units)
{
  char *line = mv_manifest_line(shard, units);
  double waited = 0;
  bool fine;
  do
    fine = append_line(store, line);
  while (!fine && wait_for_room(store, "manifest.jsonl", strlen(line), &waited));
  if (fine)
    tell_room(store, waited);
  else
    mv_store_say_unwritten(store->path, "manifest.jsonl", strlen(line));
  free(line);
  return fine;
}

int mv_store_commit(struct mv_store *store)
{
  if (store->pending_count == 0)
    return MV_EXIT_OK;
  struct mv_shard shard = {0};
  const double begin = mv_clock_monotonic(), waited = store->waited;
  store->pending_count = mv_results_join(store->plan, store->pending, store->pending_count);
  int code = write_all_carried(store, &shard);
  code = code == MV_EXIT_OK ? write_shard(store, &shard) : code;
  store->failed = code != MV_EXIT_OK;
  if (store->failed) {
    free(shard.carried);
    return code;
  }
  store->next_shard++;
  struct mv_unit *units = mv_memory_take((size_t)store->pending_count, sizeof *units);
  for (int k = 0; k < store->pending_count; k++) {
    units[k] = store->pending[k].head->unit;
    shard.nonfinite += store->pending[k].head->nonfinite;
  }
  bool fine = list_shard(store, &shard, units);
  store->failed = !fine;
  if (fine) {
    mv_manifest_add(&store->manifest, &shard, units, units);
    replace_carried(store, &shard);
    for (int k = 0; k < store->pending_count; k++)
      free((void *)store->pending[k].head);
    store->pending_count = 0;
    store->pending_bytes = 0;
  }
  store->committed = mv_clock_monotonic();
  store->commit_took = store->committed - begin - (store->waited - waited);
  free(shard.carried);
  free(units);
  return fine ? MV_EXIT_OK : MV_EXIT_IO;
}

int mv_store_decide(struct mv_store *store, bool *more)
{
  int code = mv_store_commit(store);
  int64_t missing = mv_plan_missing(store->plan, &store->manifest.have);
  while (code == MV_EXIT_OK && missing == 0 && store->rounds.go_on > 0) {
    code = mv_rounds_decide(store->run, store->path, store->plan, store->schema, &store->manifest, &store->rounds);
    missing = mv_plan_missing(store->plan, &store->manifest.have);
    mv_schema_free(store->schema);
    store->schema = mv_schema_make(store->plan); /* longer axes */
  }
  *more = missing > 0;
  return code;
}

int mv_store_finalize(struct mv_store *store, char *digest)
{
  int code = mv_store_commit(store);
  if (code != MV_EXIT_OK)
    return code;
  int64_t missing = mv_plan_missing(store->plan, &store->manifest.have);
  if (missing > 0) {
    mv_store_say("%s: %lld samples are missing; run the same command again", store->path, (long long)missing);
    return MV_EXIT_AGAIN;
  }
  size_t need = mv_schema_bytes(store->schema, store->plan);
  double waited = 0;
  while (!has_room(store, need)) {
    if (!wait_for_room(store, "results.h5", need, &waited)) {
      mv_store_say_unwritten(store->path, "results.h5", need);
      return MV_EXIT_IO;
    }
  }
  tell_room(store, waited);
  return mv_results_make(store->run, store->path, store->plan, &store->manifest, digest);
}
