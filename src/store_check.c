/* store_check.c - is what is stored what it should be? The manifest and the shards against their checksums, results.h5
 * against the job that it holds, and stored numbers against numbers that have just been computed again. */
#include "metavar/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "metavar/memory.h"

#define PIECE_VALUES (1 << 17) /* doubles read at a time */

/* --- the run directory --------------------------------------------------------------------------------------- */

struct mv_job *mv_store_job(const char *path)
{
  char *resolved = mv_memory_take(strlen(path) + sizeof "/resolved.yaml", 1);
  sprintf(resolved, "%s/resolved.yaml", path);
  struct mv_job *job = NULL;
  if (access(resolved, R_OK) != 0)
    mv_store_say("%s: not a run of metavar, or not readable (resolved.yaml: %s)", path, strerror(errno));
  else
    job = mv_job_read(resolved, NULL, 0, mv_kernel_best(), stderr);
  free(resolved);
  return job;
}

int mv_store_audit(const char *path, const struct mv_plan *plan, struct mv_audit *audit)
{
  struct mv_manifest manifest;
  struct stat info;
  int run = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), code = MV_EXIT_DATA;
  *audit = (struct mv_audit){0};
  if (run < 0) {
    mv_store_say("%s: %s", path, strerror(errno));
    return code;
  }
  if (mv_manifest_read(run, path, plan, true, &manifest)) {
    audit->lines = manifest.lines;
    audit->damaged_lines = manifest.damaged_lines;
    audit->torn_lines = manifest.torn_lines;
    audit->damaged_shards = manifest.damaged_shards;
    audit->shards = manifest.shards + manifest.damaged_shards;
    for (int64_t s = 0; s < manifest.shards; s++)
      audit->bytes += manifest.shard[s].bytes;
    audit->carried = manifest.carried_count;
    for (int64_t k = 0; k < manifest.carried_count; k++) {
      void *state = NULL;
      audit->damaged_carried += mv_carried_fault(run, &manifest.carried[k], &state) != NULL;
      free(state);
    }
    struct mv_rounds rounds;
    mv_rounds_read(run, path, plan, &rounds);
    audit->rounds = rounds.decided;
    audit->cells_going_on = rounds.go_on;
    mv_rounds_free(&rounds);
    audit->samples = mv_plan_samples(plan) - mv_plan_missing(plan, &manifest.have);
    audit->finished = fstatat(run, "results.h5", &info, 0) == 0;
    mv_manifest_free(&manifest);
    code = MV_EXIT_OK;
  }
  close(run);
  return code;
}

/* --- checksums.xxh128 ---------------------------------------------------------------------------------------- */

static const char *const sum_faults[] = {
    [MV_SUM_WRONG] = "is not what checksums.xxh128 says: it has changed since it was written",
    [MV_SUM_GONE] = "is listed in checksums.xxh128 but cannot be read",
};

int mv_store_check_sums(const char *path, int *wrong)
{
  int run = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), count = 0;
  *wrong = 0;
  if (run < 0)
    return 0;
  struct mv_sums sums = mv_sums_read(run);
  for (int k = 0; k < sums.count; k++) {
    const char *name = sums.at[k].name;
    bool first = true;
    for (int j = 0; j < k && first; j++)
      first = strcmp(sums.at[j].name, name) != 0;
    if (!first)
      continue;
    enum mv_sum_state state = mv_sums_state(run, &sums, name);
    struct stat info;
    if (state == MV_SUM_GONE && fstatat(run, name, &info, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT &&
        strncmp(name, "results", 7) == 0)
      continue; /* moved away, or its writer was killed before it had its name */
    count++;
    if (state == MV_SUM_FITS)
      continue;
    mv_store_say("%s/%s: %s", path, name, sum_faults[state]);
    ++*wrong;
  }
  mv_sums_free(&sums);
  close(run);
  return count;
}

/* Whether a results file is what the checksums beside it say; a file without any is taken as it is. */
bool mv_results_sum_fits(const char *path)
{
  char *copy = mv_text_copy(path);
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
  int run = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  struct mv_sums sums = mv_sums_read(run);
  enum mv_sum_state state = mv_sums_state(run, &sums, name);
  bool fits = state == MV_SUM_FITS || state == MV_SUM_UNLISTED;
  if (!fits)
    mv_store_say("%s: %s; the command that made the run writes it again", path, sum_faults[state]);
  mv_sums_free(&sums);
  if (run >= 0)
    close(run);
  free(copy);
  return fits;
}

/* --- results.h5 and its job ----------------------------------------------------------------------------------- */

bool mv_results_are_of(const struct mv_results *results, const struct mv_job *job)
{
  char theirs[33], ours[33];
  mv_job_id(mv_results_job(results), theirs);
  mv_job_id(job, ours);
  return strcmp(theirs, ours) == 0;
}

static bool index_is_right(const struct mv_results *results, const struct mv_dataset *row)
{
  int64_t *value = mv_memory_take(PIECE_VALUES, sizeof *value);
  bool right = true;
  for (int64_t first = 0; first < row->dims[0] && right; first += PIECE_VALUES) {
    int64_t left = row->dims[0] - first, count = left < PIECE_VALUES ? left : PIECE_VALUES;
    right = mv_results_rows(results, row, first, count, value);
    for (int64_t k = 0; k < count && right; k++)
      right = value[k] == mv_dataset_index(row, first + k);
  }
  free(value);
  return right;
}

static bool whole_is_right(const struct mv_results *results, const struct mv_dataset *row)
{
  size_t elements = (size_t)mv_dataset_elements(row), bytes = elements * mv_type_bytes(row->type);
  void *value = mv_memory_take(bytes, 1);
  bool right = mv_results_rows(results, row, 0, row->rank ? row->dims[0] : 1, value);
  if (right && row->type != MV_TYPE_STRING)
    right = memcmp(value, row->data, bytes) == 0;
  for (size_t k = 0; k < elements && row->type == MV_TYPE_STRING; k++) {
    char *text = ((char **)value)[k];
    right = right && text && strcmp(text, ((char **)row->data)[k]) == 0;
    mv_results_free_text(text);
  }
  free(value);
  return right;
}

int64_t mv_results_check_axes(const struct mv_results *results, int64_t *wrong)
{
  const struct mv_schema *schema = mv_results_schema(results);
  int64_t count = 0;
  *wrong = 0;
  for (int k = 0; k < schema->count; k++) {
    const struct mv_dataset *row = &schema->dataset[k];
    if (row->part > MV_PART_INDEX)
      continue;
    count++;
    if (row->part == MV_PART_INDEX ? index_is_right(results, row) : whole_is_right(results, row))
      continue;
    mv_store_say("%s%s%s: not what the job asks for", row->group, *row->group ? "/" : "", row->name);
    ++*wrong;
  }
  return count;
}

/* --- every replicate once ------------------------------------------------------------------------------------- */

/* A place that nothing was written to is absent, which no sample is. -1: cannot be read. */
static int64_t count_samples(const struct mv_results *results, int cell, int64_t replicates)
{
  const struct mv_layout *layout = &mv_results_plan(results)->layout[mv_plan_entry(mv_results_plan(results), cell)];
  int64_t piece = PIECE_VALUES / layout->values > 0 ? PIECE_VALUES / layout->values : 1, good = 0;
  double *values = mv_memory_take((size_t)(piece * layout->values), sizeof *values);
  int8_t *status = mv_memory_take((size_t)piece, 1);
  bool *finite = mv_memory_take((size_t)piece, sizeof *finite);
  for (int64_t first = 0; first < replicates && good >= 0; first += piece) {
    int64_t count = replicates - first < piece ? replicates - first : piece;
    bool fine = mv_results_read(results, cell, MV_PART_STATUS, -1, first, count, status);
    memset(finite, true, (size_t)count);
    for (int o = 0; o < layout->output_count && fine; o++) {
      fine = mv_results_read(results, cell, MV_PART_OUTPUT, o, first, count, values);
      for (int64_t k = 0; k < count * layout->size[o] && layout->output[o].role < MV_NOTE; k++)
        finite[k / layout->size[o]] = finite[k / layout->size[o]] && isfinite(values[k]);
    }
    for (int64_t r = 0; r < count && fine; r++)
      good += status[r] == (finite[r] ? MV_OK : MV_NONFINITE);
    good = fine ? good : -1;
  }
  free(values);
  free(status);
  free(finite);
  return good;
}

static int64_t count_blocks(const struct mv_results *results, int cell, int64_t replicates)
{
  int64_t block = mv_results_job(results)->block, good = 0;
  for (int64_t b = 0; b * block < replicates; b++) {
    int64_t left = replicates - b * block, wanted = left < block ? left : block, finite, nonfinite;
    if (!mv_results_read(results, cell, MV_PART_COUNT, -1, b, 1, &finite) ||
        !mv_results_read(results, cell, MV_PART_NONFINITE, -1, b, 1, &nonfinite))
      return -1;
    good += finite >= 0 && nonfinite >= 0 && finite + nonfinite == wanted ? wanted : 0;
  }
  return good;
}

/* Rows behind the cell's last that are not absent. -1: cannot be read. */
static int64_t count_behind(const struct mv_results *results, int cell, bool samples, int64_t replicates)
{
  const struct mv_plan *plan = mv_results_plan(results);
  const struct mv_dataset *row = mv_results_schema(results)->dataset;
  enum mv_part part = samples ? MV_PART_STATUS : MV_PART_COUNT;
  while (row->entry != mv_plan_entry(plan, cell) || row->part != part)
    row++;
  int64_t zero, rows, behind = 0;
  mv_dataset_rows(plan, &(struct mv_unit){cell, 0, replicates}, &zero, &rows);
  void *value = mv_memory_take(PIECE_VALUES, mv_type_bytes(row->type));
  for (int64_t first = rows; first < row->dims[1] && behind >= 0; first += PIECE_VALUES) {
    int64_t left = row->dims[1] - first, count = left < PIECE_VALUES ? left : PIECE_VALUES;
    bool fine = mv_results_read(results, cell, part, -1, first, count, value);
    for (int64_t k = 0; k < count && fine; k++)
      behind += samples ? ((int8_t *)value)[k] != MV_ABSENT : ((int64_t *)value)[k] != 0;
    behind = fine ? behind : -1;
  }
  free(value);
  return behind;
}

int64_t mv_results_count(const struct mv_results *results, int cell)
{
  const struct mv_plan *plan = mv_results_plan(results);
  bool samples = plan->job->entries[mv_plan_entry(plan, cell)].store == MV_STORE_SAMPLES;
  int64_t there = (samples ? count_samples : count_blocks)(results, cell, plan->replicates[cell]);
  int64_t behind = count_behind(results, cell, samples, plan->replicates[cell]);
  if (there < 0 || behind < 0)
    return -1;
  return there < plan->replicates[cell] ? there : there + behind;
}

/* --- computed again -------------------------------------------------------------------------------------------- */

bool mv_results_compare(const struct mv_results *results, const void *bytes, size_t size, const char **differs)
{
  const struct mv_plan *plan = mv_results_plan(results);
  const struct mv_schema *schema = mv_results_schema(results);
  struct mv_result result;
  int64_t first, count;
  bool fine = mv_result_view(plan, bytes, size, &result);
  const struct mv_unit *unit = &result.head->unit;
  mv_dataset_rows(plan, unit, &first, &count);
  *differs = NULL;
  for (int k = 0; k < schema->count && fine && !*differs; k++) {
    const struct mv_dataset *row = &schema->dataset[k];
    if (row->entry != mv_plan_entry(plan, (int)unit->cell))
      continue;
    const size_t row_bytes = mv_dataset_row_bytes(row);
    void *stored = mv_memory_take((size_t)count, row_bytes), *again = mv_memory_take((size_t)count, row_bytes);
    fine = mv_results_read(results, (int)unit->cell, row->part, row->output, first, count, stored);
    mv_dataset_gather(row, plan, &result, again);
    if (fine && memcmp(stored, again, (size_t)count * row_bytes) != 0)
      *differs = row->name;
    free(stored);
    free(again);
  }
  return fine;
}

bool mv_results_output(const struct mv_results *results, int cell, int output, int64_t first, int64_t count,
                       double *out)
{
  return mv_results_read(results, cell, MV_PART_OUTPUT, output, first, count, out);
}

bool mv_results_sample(const struct mv_results *results, int cell, int64_t replicate, double *values, int8_t *status)
{
  const struct mv_layout *layout = &mv_results_plan(results)->layout[mv_plan_entry(mv_results_plan(results), cell)];
  bool fine = mv_results_read(results, cell, MV_PART_STATUS, -1, replicate, 1, status);
  for (int o = 0; o < layout->output_count && fine; o++) {
    double *out = values + layout->offset[o];
    fine = mv_results_read(results, cell, MV_PART_OUTPUT, o, replicate, 1, out);
    for (int64_t k = 0; k < layout->size[o] && layout->output[o].role == MV_NOTE; k++)
      mv_note_real(&out[k]);
  }
  return fine;
}
