/* store_finish.c - results.h5 from the shards, when all samples are there.
 *
 * Shards are years old for all we know: each is read whole and compared with its digest (store_ahead.c) before anything
 * is taken from it, and every unit in it says itself which replicates it holds. A replicate that is listed more than
 * once is taken from the first shard that lists it.
 */
#include "metavar/store_internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "metavar/memory.h"

/* The texts of attempts/001.json, ...; those that are gone are left out. */
static char **read_attempts(int run, int *count)
{
  int last = mv_file_last_number(run, "attempts");
  char **text = mv_memory_take(last > 0 ? (size_t)last : 1, sizeof *text);
  *count = 0;
  for (int k = 1; k <= last; k++) {
    char name[64];
    snprintf(name, sizeof name, "attempts/%03d.json", k);
    if ((text[*count] = mv_file_read(run, name, NULL)))
      ++*count;
  }
  return text;
}

/* A schema that also holds what is known of the run. */
static struct mv_schema *schema_of_run(int run, const struct mv_plan *plan, const struct mv_manifest *manifest)
{
  struct mv_schema *schema = mv_schema_make(plan);
  int64_t shards = manifest->shards;
  int attempts;
  char **attempt = read_attempts(run, &attempts), **line = mv_memory_take((size_t)shards, sizeof *line);
  for (int64_t s = 0; s < shards; s++) {
    line[s] = mv_manifest_line(&manifest->shard[s], manifest->written + manifest->shard[s].first_unit);
    line[s][strlen(line[s]) - 1] = 0;
  }
  char *resolved = mv_job_canonical(plan->job, false);
  mv_schema_provenance(schema, plan->job->text, resolved, line, shards, attempt, attempts);
  free(resolved);
  for (int64_t s = 0; s < shards; s++)
    free(line[s]);
  for (int k = 0; k < attempts; k++)
    free(attempt[k]);
  free(line);
  free(attempt);
  return schema;
}

/* --- copying --------------------------------------------------------------------------------------------- */

enum fate { COPIED, SHARD_FOREIGN, SHARD_BAD, RESULTS_BAD };

struct copy {
  const struct mv_plan *plan;
  const struct mv_schema *schema;
  struct mv_ranges done;
  int64_t results, shard; /* open files */
  const char *image;      /* the shard as it was compared */
  int64_t image_bytes;
  void *rows;          /* of a shard in which they do not follow each other */
  int64_t *dataset;    /* [schema->count] of results.h5; -1: not open */
  int64_t number;      /* of the unit in the shard */
  struct mv_unit unit; /* the same, all that the shard has of it */
  enum fate fate;
};

static enum fate copy_rows(struct copy *copy, int k, const struct mv_unit *part)
{
  const struct mv_dataset *row = &copy->schema->dataset[k];
  int64_t unit_first, unit_count, first, count;
  mv_dataset_rows(copy->plan, &copy->unit, &unit_first, &unit_count);
  mv_dataset_rows(copy->plan, part, &first, &count);
  const int64_t each = (int64_t)mv_dataset_row_bytes(row);
  const int64_t place = mv_shard_place(copy->shard, copy->number, row, unit_count);
  const void *rows;
  if (place >= 0 && unit_count * each <= copy->image_bytes - place) {
    rows = copy->image + place + (first - unit_first) * each;
  } else {
    rows = copy->rows = mv_memory_grow(copy->rows, (size_t)count, (size_t)each);
    if (!mv_shard_read(copy->shard, copy->number, row, unit_count, first - unit_first, count, copy->rows))
      return SHARD_BAD;
  }
  int point = mv_plan_point(copy->plan, (int)part->cell);
  if (copy->dataset[k] < 0)
    copy->dataset[k] = mv_results_dataset(copy->results, row);
  return mv_results_put(copy->dataset[k], row, point, first, count, rows) ? COPIED : RESULTS_BAD;
}

/* Replicates of the unit that are not in results.h5 yet. */
static void copy_part(void *self, const struct mv_unit *part)
{
  struct copy *copy = self;
  int entry = mv_plan_entry(copy->plan, (int)part->cell);
  for (int k = 0; k < copy->schema->count && copy->fate == COPIED; k++)
    if (copy->schema->dataset[k].entry == entry)
      copy->fate = copy_rows(copy, k, part);
}

/* What the cell is to have of a unit; its count may be 0. */
static struct mv_unit asked_of(const struct mv_plan *plan, const struct mv_unit *unit)
{
  struct mv_unit asked = *unit;
  int64_t most = unit->count > 0 ? plan->replicates[unit->cell] - unit->first : 0;
  if (asked.count > most)
    asked.count = most > 0 ? most : 0;
  return asked;
}

static void copy_unit(struct copy *copy, int64_t number, const struct mv_unit *unit, const struct mv_unit *written)
{
  const struct mv_unit asked = asked_of(copy->plan, unit);
  if (asked.count == 0)
    return;
  copy->number = number;
  copy->unit = (struct mv_unit){unit->cell, written->first, written->count};
  if (!mv_shard_holds(copy->shard, number, written))
    copy->fate = SHARD_FOREIGN;
  mv_ranges_gaps(&copy->done, &asked, copy_part, copy);
  mv_ranges_add(&copy->done, &asked);
}

static void count_part(void *self, const struct mv_unit *part) { *(int64_t *)self += part->count; }

/* The shards that have something that those before them have not; returns how many. */
static int64_t needed_shards(const struct mv_plan *plan, const struct mv_manifest *manifest,
                             const struct mv_shard **needed)
{
  struct mv_ranges done = {0};
  int64_t count = 0;
  for (int64_t s = 0; s < manifest->shards; s++) {
    const struct mv_shard *shard = &manifest->shard[s];
    int64_t samples = 0;
    for (int64_t u = shard->first_unit; u < shard->first_unit + shard->units; u++) {
      const struct mv_unit asked = asked_of(plan, &manifest->unit[u]);
      if (asked.count == 0)
        continue;
      mv_ranges_gaps(&done, &asked, count_part, &samples);
      mv_ranges_add(&done, &asked);
    }
    if (samples > 0)
      needed[count++] = shard;
  }
  mv_ranges_free(&done);
  return count;
}

/* The next shard. Exit code; a failure of results.h5 is told by the caller. */
static int copy_shard(struct copy *copy, struct mv_ahead *ahead, const char *path, const struct mv_shard *shard,
                      const struct mv_unit *units, const struct mv_unit *written)
{
  char name[4096];
  snprintf(name, sizeof name, "%s/shards/%s", path, shard->name);
  const char *fault = mv_ahead_next(ahead, &copy->image);
  if (fault) {
    mv_store_say("%s: %s; run the same command again to compute its samples again", name, fault);
    return MV_EXIT_AGAIN;
  }
  copy->image_bytes = shard->bytes;
  copy->shard = mv_shard_open(name);
  copy->fate = copy->shard >= 0 ? COPIED : SHARD_BAD;
  for (int64_t u = 0; u < shard->units && copy->fate == COPIED; u++)
    copy_unit(copy, u, &units[u], &written[u]);
  if (copy->shard >= 0)
    mv_hdf5_close(copy->shard);
  mv_ahead_release(ahead);
  if (copy->fate == SHARD_FOREIGN || copy->fate == SHARD_BAD)
    mv_store_say("%s: %s; move it away and run the same command again to compute its samples again", name,
                 copy->fate == SHARD_BAD ? mv_hdf5_reason() : "does not hold what the manifest lists");
  return copy->fate == COPIED ? MV_EXIT_OK : copy->fate == RESULTS_BAD ? MV_EXIT_IO : MV_EXIT_DATA;
}

/* Whether all that was put is written. */
static bool copy_close(struct copy *copy)
{
  bool fine = true;
  for (int k = 0; k < copy->schema->count; k++)
    fine = (copy->dataset[k] < 0 || mv_results_release(copy->dataset[k])) && fine;
  fine = mv_hdf5_close(copy->results) && fine;
  mv_ranges_free(&copy->done);
  free(copy->dataset);
  free(copy->rows);
  return fine;
}

/* Writes `to`, a file that is not there. Exit code, errors told. */
static int write_results(const char *to, int run, const char *path, const struct mv_plan *plan,
                         const struct mv_schema *schema, const struct mv_manifest *manifest)
{
  const struct mv_shard **needed = mv_memory_take((size_t)manifest->shards, sizeof *needed);
  const int64_t count = needed_shards(plan, manifest, needed);
  struct mv_ahead *ahead = mv_ahead_start(run, needed, count);
  struct copy copy = {.plan = plan, .schema = schema, .results = mv_results_create(to, plan->job, schema)};
  copy.dataset = mv_memory_take((size_t)schema->count, sizeof *copy.dataset);
  memset(copy.dataset, -1, (size_t)schema->count * sizeof *copy.dataset);
  mv_kill_here("results.h5", "begun");
  int code = copy.results >= 0 ? MV_EXIT_OK : MV_EXIT_IO;
  for (int64_t s = 0; s < count && code == MV_EXIT_OK; s++) {
    const int64_t first = needed[s]->first_unit;
    code = copy_shard(&copy, ahead, path, needed[s], manifest->unit + first, manifest->written + first);
    mv_kill_here("results.h5", "half");
  }
  mv_ahead_stop(ahead);
  free(needed);
  if (!copy_close(&copy) && code == MV_EXIT_OK)
    code = MV_EXIT_IO;
  if (code == MV_EXIT_IO)
    mv_store_say("%s: cannot be written: %s; it needs %zu bytes. What was committed before is safe: mend that and run "
                 "the same command again",
                 to, mv_hdf5_reason(), mv_schema_bytes(schema, plan));
  return code;
}

/* The checksum of results.h5.part, and its way to the disk: by a thread of its own, while the digest is formed. */
struct seal {
  int run;
  char hex[33];
  bool fine;
  int error;
};

static void *seal(void *self)
{
  struct seal *s = self;
  int64_t bytes;
  mv_file_hasten(s->run, "results.h5.part");
  s->fine = mv_file_digest(s->run, "results.h5.part", &bytes, s->hex) && mv_file_sync(s->run, "results.h5.part");
  s->error = errno;
  return NULL;
}

/* Exit code of the digest; s says how the other half went. */
static int seal_and_hash(struct seal *s, const char *temporary, char *digest)
{
  pthread_t thread;
  bool aside = digest && pthread_create(&thread, NULL, seal, s) == 0;
  int code = digest ? mv_results_hash(temporary, digest) : MV_EXIT_OK;
  if (aside)
    pthread_join(thread, NULL);
  else
    seal(s);
  errno = s->error;
  return code;
}

/* Gives results.h5.part its name and its checksum. */
static bool publish(int run, const char *hex)
{
  struct mv_sums sums = mv_sums_read(run);
  mv_sums_add(&sums, "results.h5", hex);
  bool fine = mv_sums_write(run, &sums) && mv_file_publish(run, "results.h5.part", "results.h5");
  if (fine && mv_sums_drop(&sums, "results.h5") > 1) {
    mv_sums_add(&sums, "results.h5", hex);
    fine = mv_sums_write(run, &sums);
  }
  int error = errno;
  mv_sums_free(&sums);
  errno = error;
  return fine;
}

int mv_results_make(int run, const char *path, const struct mv_plan *plan, const struct mv_manifest *manifest,
                    char *digest)
{
  char temporary[4096];
  struct seal s = {.run = run};
  snprintf(temporary, sizeof temporary, "%s/results.h5.part", path);
  unlink(temporary); /* of an attempt that was killed here */
  struct mv_schema *schema = schema_of_run(run, plan, manifest);
  int code = write_results(temporary, run, path, plan, schema, manifest);
  if (code == MV_EXIT_OK)
    code = seal_and_hash(&s, temporary, digest);
  bool fine = code == MV_EXIT_OK && s.fine && publish(run, s.hex);
  int error = errno;
  if (!fine)
    unlink(temporary);
  errno = error;
  if (!fine && code == MV_EXIT_OK) {
    mv_store_say_unwritten(path, "results.h5", mv_schema_bytes(schema, plan));
    code = MV_EXIT_IO;
  }
  mv_schema_free(schema);
  return code;
}
