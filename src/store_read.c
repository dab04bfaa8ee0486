/* store_read.c - HDF5, reading: results.h5 and its digest, and the units of a shard.
 *
 * A results file stands alone: the job it holds says what every dataset must look like, and the file is checked against
 * that before anything is read. Nothing outside the file is followed (external or soft links, external storage, virtual
 * datasets), and no size is taken from it.
 *
 * The digest is XXH3-128 over all datasets outside /provenance in order of their paths: path, class and size of the
 * type, rank and shape, elements in row-major order as little-endian bytes, strings as text. Attributes, chunks and the
 * order of writing do not enter.
 */
#include "metavar/store_internal.h"

#include <hdf5.h>
#include <stdio.h>
#include <string.h>

#include "metavar/memory.h"
#include "metavar/rounds.h"
#include "metavar/sandbox.h"

#define READ_SECONDS  30 /* of processor time, for opening a file or reading one piece of it, in a sandbox */
#define SLAB_ELEMENTS (1 << 17)

struct mv_results {
  hid_t file;
  char path[4096];
  struct mv_job *job;
  struct mv_plan *plan;
  struct mv_schema *schema;
};

/* RUN or a file, as mv_results_find. An open HDF5 file, or -1 after a message. */
static hid_t file_open(const char *run_or_file, char path[4096])
{
  if (!mv_results_find(run_or_file, path))
    return -1;
  mv_sandbox_budget(READ_SECONDS);
  hid_t file = mv_shard_open(path);
  if (file < 0)
    mv_store_say("%s: not an HDF5 file, or damaged", path);
  return file;
}

static bool link_is_hard(hid_t file, const char *path)
{
  H5L_info_t info;
  return H5Lget_info(file, path, &info, H5P_DEFAULT) >= 0 && info.type == H5L_TYPE_HARD;
}

/* Whether the file is large enough to hold what the dataset says it has; deflate, which we never use, shrinks by 1032 at
 * most. Of an array by points, the longest cell is there in full; the others may have fewer rows than the axis. */
static bool size_is_possible(hid_t file, hid_t dataset, hid_t creation)
{
  hsize_t bytes = 0;
  hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset);
  hssize_t elements = H5Sget_simple_extent_npoints(space);
  size_t element = H5Tget_size(type);
  bool fine = H5Fget_filesize(file, &bytes) >= 0 && elements >= 0 && element > 0;
  if (H5Pget_nfilters(creation) > 1)
    bytes *= 1032;
  hsize_t dims[H5S_MAX_RANK] = {1};
  int rank = H5Sget_simple_extent_dims(space, dims, NULL);
  hsize_t cells = rank > 1 && dims[0] > 0 ? dims[0] : 1;
  fine = fine && (hsize_t)elements / cells <= bytes / element;
  H5Sclose(space);
  H5Tclose(type);
  return fine;
}

/* A dataset whose data lie in this file. */
static hid_t dataset_open(hid_t file, const char *group, const char *name)
{
  char path[512];
  snprintf(path, sizeof path, "%s%s%s", group, *group ? "/" : "", name);
  if ((*group && !link_is_hard(file, group)) || !link_is_hard(file, path))
    return -1;
  hid_t dataset = H5Dopen2(file, path, H5P_DEFAULT);
  hid_t creation = H5Dget_create_plist(dataset);
  bool own = dataset >= 0 && creation >= 0 && H5Pget_external_count(creation) == 0 &&
             H5Pget_layout(creation) != H5D_VIRTUAL && size_is_possible(file, dataset, creation);
  H5Pclose(creation);
  if (own)
    return dataset;
  H5Dclose(dataset);
  return -1;
}

/* The type that elements are read as; -1 for one that we never write. */
static hid_t memory_type(hid_t dataset)
{
  hid_t type = H5Dget_type(dataset), memory = -1;
  H5T_class_t class = H5Tget_class(type);
  size_t size = H5Tget_size(type);
  if (class == H5T_FLOAT && size == 8)
    memory = H5Tcopy(H5T_IEEE_F64LE);
  else if (class == H5T_INTEGER && (size == 8 || size == 1))
    memory = H5Tcopy(size == 8 ? H5T_STD_I64LE : H5T_STD_I8LE);
  else if (class == H5T_STRING && H5Tis_variable_str(type) > 0)
    memory = H5Tcopy(type);
  H5Tclose(type);
  return memory;
}

static bool has_type(hid_t dataset, enum mv_type want)
{
  static const H5T_class_t class[] = {[MV_TYPE_DOUBLE] = H5T_FLOAT,
                                      [MV_TYPE_INT64] = H5T_INTEGER,
                                      [MV_TYPE_INT8] = H5T_INTEGER,
                                      [MV_TYPE_STRING] = H5T_STRING};
  hid_t type = memory_type(dataset);
  bool fits = type >= 0 && H5Tget_class(type) == class[want] &&
              (want == MV_TYPE_STRING || H5Tget_size(type) == mv_type_bytes(want));
  H5Tclose(type);
  return fits;
}

static bool has_shape(hid_t dataset, const struct mv_dataset *row)
{
  hsize_t dims[H5S_MAX_RANK] = {0};
  hid_t space = H5Dget_space(dataset);
  bool fits = H5Sget_simple_extent_ndims(space) == row->rank && H5Sget_simple_extent_dims(space, dims, NULL) >= 0;
  for (int d = 0; d < row->rank && fits; d++)
    fits = dims[d] == (hsize_t)row->dims[d];
  H5Sclose(space);
  return fits;
}

/* The box [start, start + count); strings stay HDF5's. */
static bool box_read(hid_t dataset, hid_t type, hid_t transfer, int rank, const hsize_t *start, const hsize_t *count,
                     void *out)
{
  hid_t file_space = H5Dget_space(dataset);
  hid_t memory_space = rank ? H5Screate_simple(rank, count, NULL) : H5Screate(H5S_SCALAR);
  mv_sandbox_budget(READ_SECONDS);
  bool fine = (rank == 0 || H5Sselect_hyperslab(file_space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0) &&
              H5Dread(dataset, type, memory_space, file_space, transfer, out) >= 0;
  mv_sandbox_budget(0);
  H5Sclose(memory_space);
  H5Sclose(file_space);
  return fine;
}

/* --- opening --------------------------------------------------------------------------------------------- */

static struct mv_job *job_read(hid_t file, const char *path)
{
  struct mv_job *job = NULL;
  char *text = NULL;
  hid_t dataset = dataset_open(file, "provenance", "resolved");
  hid_t type = dataset >= 0 && has_type(dataset, MV_TYPE_STRING) ? memory_type(dataset) : -1;
  hid_t space = H5Dget_space(dataset);
  if (type >= 0 && H5Sget_simple_extent_npoints(space) == 1 &&
      H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, &text) >= 0 && text)
    job = mv_job_parse(path, text, strlen(text), NULL, 0, mv_kernel_best(), stderr);
  H5free_memory(text);
  H5Sclose(space);
  H5Tclose(type);
  H5Dclose(dataset);
  return job;
}

static bool schema_fits(const struct mv_results *results)
{
  for (int k = 0; k < results->schema->count; k++) {
    const struct mv_dataset *row = &results->schema->dataset[k];
    hid_t dataset = dataset_open(results->file, row->group, row->name);
    bool fits = dataset >= 0 && has_type(dataset, row->type) && has_shape(dataset, row);
    H5Dclose(dataset);
    if (!fits) {
      mv_store_say("%s: damaged: dataset %s/%s is missing or not what the job in the file asks for", results->path,
                   row->group, row->name);
      return false;
    }
  }
  return true;
}

/* How many replicates each cell has, where a stopping rule has decided it; as many as the file can hold. False: told. */
static bool replicates_read(struct mv_results *results)
{
  const struct mv_job *job = results->job;
  hsize_t bytes = 0;
  bool fits = H5Fget_filesize(results->file, &bytes) >= 0;
  double need = 0;
  for (int e = 0; e < job->entry_count && job->stop.relative_error > 0 && fits; e++) {
    struct mv_dataset row = {.rank = 1, .dims = {job->points}};
    int64_t *replicates = results->plan->replicates + (int64_t)e * job->points;
    hid_t dataset = dataset_open(results->file, job->entries[e].label, "replicates"), type = memory_type(dataset);
    fits = dataset >= 0 && has_type(dataset, MV_TYPE_INT64) && has_shape(dataset, &row) &&
           box_read(dataset, type, H5P_DEFAULT, 1, (hsize_t[]){0}, (hsize_t[]){(hsize_t)job->points}, replicates);
    H5Tclose(type);
    H5Dclose(dataset);
    for (int p = 0; p < job->points && fits; p++) {
      fits = mv_round_is_end(job, &job->entries[e], replicates[p]);
      if (fits)
        need += (double)mv_result_bytes(results->plan, &(struct mv_unit){e * job->points + p, 0, replicates[p]});
      fits = fits && need / 1032 <= (double)bytes;
    }
    if (!fits)
      mv_store_say("%s: damaged: %s/replicates is missing or not what the job's rounds can give", results->path,
                   job->entries[e].label);
  }
  return fits;
}

struct mv_results *mv_results_open(const char *run_or_file, int *exit_code)
{
  struct mv_results *results = mv_memory_take(1, sizeof *results);
  *exit_code = MV_EXIT_DATA;
  results->file = file_open(run_or_file, results->path);
  if (results->file >= 0) {
    results->job = job_read(results->file, results->path);
    if (!results->job)
      mv_store_say("%s: damaged, or not a results file of metavar: no job in /provenance", results->path);
  }
  if (results->job) {
    results->plan = mv_plan_make(results->job);
    bool fits = replicates_read(results);
    results->schema = fits ? mv_schema_make(results->plan) : NULL;
    if (fits && schema_fits(results)) {
      mv_sandbox_budget(0);
      *exit_code = MV_EXIT_OK;
      return results;
    }
  }
  mv_results_close(results);
  return NULL;
}

void mv_results_close(struct mv_results *results)
{
  if (!results)
    return;
  mv_schema_free(results->schema);
  mv_plan_free(results->plan);
  mv_job_free(results->job);
  if (results->file >= 0)
    H5Fclose(results->file);
  free(results);
}

const struct mv_job *mv_results_job(const struct mv_results *results) { return results->job; }
const struct mv_plan *mv_results_plan(const struct mv_results *results) { return results->plan; }
const struct mv_schema *mv_results_schema(const struct mv_results *results) { return results->schema; }

/* --- contents -------------------------------------------------------------------------------------------- */

static bool rows_read(const struct mv_results *results, const struct mv_dataset *row, const hsize_t *start,
                      const hsize_t *box, void *out)
{
  hid_t dataset = dataset_open(results->file, row->group, row->name), type = memory_type(dataset);
  bool fine = box_read(dataset, type, H5P_DEFAULT, row->rank, start, box, out);
  H5Tclose(type);
  H5Dclose(dataset);
  if (!fine)
    mv_store_say("%s: damaged: %s/%s cannot be read", results->path, row->group, row->name);
  return fine;
}

bool mv_results_read(const struct mv_results *results, int cell, enum mv_part part, int output, int64_t first,
                     int64_t count, void *out)
{
  int entry = mv_plan_entry(results->plan, cell);
  for (int k = 0; k < results->schema->count; k++) {
    const struct mv_dataset *row = &results->schema->dataset[k];
    if (row->entry != entry || row->part != part || row->output != output)
      continue;
    hsize_t start[MV_RANK_MAX] = {(hsize_t)mv_plan_point(results->plan, cell), (hsize_t)first};
    hsize_t box[MV_RANK_MAX] = {1, (hsize_t)count};
    for (int d = 2; d < row->rank; d++)
      box[d] = (hsize_t)row->dims[d];
    return rows_read(results, row, start, box, out);
  }
  return false;
}

bool mv_results_rows(const struct mv_results *results, const struct mv_dataset *row, int64_t first, int64_t count,
                     void *out)
{
  hsize_t start[MV_RANK_MAX] = {(hsize_t)first}, box[MV_RANK_MAX] = {(hsize_t)count};
  for (int d = 1; d < row->rank; d++)
    box[d] = (hsize_t)row->dims[d];
  return rows_read(results, row, start, box, out);
}

void mv_results_free_text(char *text) { H5free_memory(text); }

/* --- shards ---------------------------------------------------------------------------------------------- */

int64_t mv_shard_open(const char *path)
{
  mv_hdf5_start();
  hid_t access = mv_hdf5_access(), file = H5Fopen(path, H5F_ACC_RDONLY, access);
  H5Pclose(access);
  return file;
}

bool mv_shard_holds(int64_t shard, int64_t u, const struct mv_unit *unit)
{
  char name[32];
  int64_t says[3] = {-1, -1, -1};
  snprintf(name, sizeof name, "%lld", (long long)u);
  hid_t attribute = H5Aopen_by_name(shard, name, "cell_first_count", H5P_DEFAULT, H5P_DEFAULT);
  hid_t space = H5Aget_space(attribute);
  bool fine = attribute >= 0 && H5Sget_simple_extent_npoints(space) == 3 &&
              H5Aread(attribute, H5T_NATIVE_INT64, says) >= 0 && says[0] == unit->cell && says[1] == unit->first &&
              says[2] == unit->count;
  H5Sclose(space);
  H5Aclose(attribute);
  return fine;
}

/* A streamed dataset of a unit that has so many rows; -1: not there as it should be. */
static hid_t shard_dataset(int64_t shard, int64_t u, const struct mv_dataset *row, int64_t rows)
{
  char group[32];
  struct mv_dataset inside = {.rank = row->rank - 1, .dims = {rows}}; /* the point is left out */
  for (int d = 1; d < inside.rank; d++)
    inside.dims[d] = row->dims[d + 1];
  snprintf(group, sizeof group, "%lld", (long long)u);
  hid_t dataset = dataset_open(shard, group, row->name);
  if (dataset < 0 || (has_type(dataset, row->type) && has_shape(dataset, &inside)))
    return dataset;
  H5Dclose(dataset);
  return -1;
}

int64_t mv_shard_place(int64_t shard, int64_t u, const struct mv_dataset *row, int64_t rows)
{
  hid_t dataset = shard_dataset(shard, u, row, rows);
  haddr_t place = H5Dget_offset(dataset); /* of contiguous ones */
  H5Dclose(dataset);
  return place == HADDR_UNDEF ? -1 : (int64_t)place;
}

bool mv_shard_read(int64_t shard, int64_t u, const struct mv_dataset *row, int64_t rows, int64_t skip, int64_t count,
                   void *out)
{
  hsize_t start[MV_RANK_MAX] = {(hsize_t)skip}, box[MV_RANK_MAX] = {(hsize_t)count};
  for (int d = 2; d < row->rank; d++)
    box[d - 1] = (hsize_t)row->dims[d];
  hid_t dataset = shard_dataset(shard, u, row, rows), type = memory_type(dataset);
  bool fine = dataset >= 0 && box_read(dataset, type, H5P_DEFAULT, row->rank - 1, start, box, out);
  H5Tclose(type);
  H5Dclose(dataset);
  return fine;
}

/* --- digest ---------------------------------------------------------------------------------------------- */

struct paths {
  char **path;
  size_t count;
};

/* Datasets below a group, outside /provenance. False: something that is not ours. */
static bool paths_collect(hid_t file, const char *group, int depth, struct paths *paths)
{
  H5G_info_t info;
  hid_t at = H5Gopen2(file, *group ? group : "/", H5P_DEFAULT);
  bool fine = depth < 8 && at >= 0 && H5Gget_info(at, &info) >= 0;
  for (hsize_t k = 0; fine && k < info.nlinks; k++) {
    char name[256], path[512];
    ssize_t length = H5Lget_name_by_idx(at, ".", H5_INDEX_NAME, H5_ITER_INC, k, name, sizeof name, H5P_DEFAULT);
    int needed = snprintf(path, sizeof path, "%s%s%s", group, *group ? "/" : "", name);
    fine = length > 0 && length < (ssize_t)sizeof name && needed < (int)sizeof path && link_is_hard(at, name);
    hid_t object = fine && strcmp(path, "provenance") != 0 ? H5Oopen(at, name, H5P_DEFAULT) : -1;
    H5I_type_t kind = object >= 0 ? H5Iget_type(object) : H5I_BADID;
    H5Oclose(object);
    if (kind == H5I_GROUP)
      fine = paths_collect(file, path, depth + 1, paths);
    if (kind == H5I_DATASET) {
      paths->path = mv_memory_grow(paths->path, paths->count + 1, sizeof *paths->path);
      paths->path[paths->count] = mv_memory_take(strlen(path) + 1, 1);
      strcpy(paths->path[paths->count++], path);
    }
  }
  H5Gclose(at);
  return fine;
}

static int compare_paths(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

struct hash {
  struct mv_digest *digest;
  hid_t transfer; /* how to read */
  void *buffer;   /* SLAB_ELEMENTS */
};

static void hash_number(struct hash *hash, int64_t number) { mv_digest_add(hash->digest, &number, sizeof number); }

static bool hash_box(struct hash *hash, hid_t dataset, hid_t type, int rank, const hsize_t *start, const hsize_t *count)
{
  size_t elements = 1;
  for (int d = 0; d < rank; d++)
    elements *= count[d];
  if (!box_read(dataset, type, hash->transfer, rank, start, count, hash->buffer))
    return false;
  bool strings = H5Tget_class(type) == H5T_STRING;
  if (!strings)
    mv_digest_add(hash->digest, hash->buffer, elements * H5Tget_size(type));
  char **text = hash->buffer;
  for (size_t k = 0; strings && k < elements; k++) {
    mv_digest_add(hash->digest, text[k] ? text[k] : "", text[k] ? strlen(text[k]) + 1 : 1);
    H5free_memory(text[k]);
  }
  return true;
}

/* All elements in row-major order: whole trailing axes, pieces of axis `split`, one index at a time before it. */
static bool hash_elements(struct hash *hash, hid_t dataset, hid_t type, int rank, const hsize_t *dims)
{
  hsize_t start[H5S_MAX_RANK] = {0}, count[H5S_MAX_RANK], row = 1, before = 1;
  int split = rank - 1;
  for (; split > 0 && row * dims[split] <= SLAB_ELEMENTS; split--)
    row *= dims[split];
  if (rank == 0)
    return hash_box(hash, dataset, type, 0, start, count);
  for (int d = 0; d < rank; d++) {
    count[d] = d < split ? 1 : dims[d];
    before *= d < split ? dims[d] : 1;
  }
  for (hsize_t k = 0; k < before; k++) {
    hsize_t rest = k;
    for (int d = split - 1; d >= 0; rest /= dims[d--])
      start[d] = rest % dims[d];
    for (start[split] = 0; start[split] < dims[split]; start[split] += count[split]) {
      hsize_t left = dims[split] - start[split];
      count[split] = left < SLAB_ELEMENTS / row ? left : SLAB_ELEMENTS / row;
      if (!hash_box(hash, dataset, type, rank, start, count))
        return false;
    }
  }
  return true;
}

static bool hash_dataset(struct hash *hash, hid_t file, const char *path)
{
  hsize_t dims[H5S_MAX_RANK] = {0};
  hid_t dataset = dataset_open(file, "", path), type = memory_type(dataset), space = H5Dget_space(dataset);
  int rank = dataset >= 0 && type >= 0 ? H5Sget_simple_extent_dims(space, dims, NULL) : -1;
  bool fine = rank >= 0 && H5Sget_simple_extent_npoints(space) > 0;
  if (fine) {
    bool text = H5Tget_class(type) == H5T_STRING;
    mv_digest_add(hash->digest, path, strlen(path) + 1);
    hash_number(hash, H5Tget_class(type));
    hash_number(hash, text ? 0 : (int64_t)H5Tget_size(type));
    hash_number(hash, rank);
    for (int d = 0; d < rank; d++)
      hash_number(hash, (int64_t)dims[d]);
    fine = hash_elements(hash, dataset, type, rank, dims);
  }
  H5Sclose(space);
  H5Tclose(type);
  H5Dclose(dataset);
  return fine;
}

/* `compare`: the file with checksums.xxh128, chunks with their checksums. */
static int file_hash(const char *run_or_file, bool compare, char hex[33])
{
  char path[4096];
  hid_t file = file_open(run_or_file, path);
  if (file < 0)
    return MV_EXIT_DATA;
  if (compare && !mv_results_sum_fits(path)) {
    H5Fclose(file);
    return MV_EXIT_DATA;
  }
  struct paths paths = {0};
  struct hash hash = {mv_digest_start(), H5Pcreate(H5P_DATASET_XFER), mv_memory_take(SLAB_ELEMENTS, 8)};
  H5Pset_edc_check(hash.transfer, compare ? H5Z_ENABLE_EDC : H5Z_DISABLE_EDC);
  bool fine = paths_collect(file, "", 0, &paths);
  if (!fine)
    mv_store_say("%s: damaged: its groups cannot be read", path);
  qsort(paths.path, paths.count, sizeof *paths.path, compare_paths);
  for (size_t k = 0; k < paths.count; k++) {
    if (fine && !hash_dataset(&hash, file, paths.path[k])) {
      mv_store_say("%s: damaged: %s cannot be read", path, paths.path[k]);
      fine = false;
    }
    free(paths.path[k]);
  }
  mv_digest_end(hash.digest, hex);
  free(hash.buffer);
  H5Pclose(hash.transfer);
  free(paths.path);
  H5Fclose(file);
  return fine ? MV_EXIT_OK : MV_EXIT_DATA;
}

int mv_results_hash(const char *run_or_file, char hex[33]) { return file_hash(run_or_file, false, hex); }
int mv_results_digest(const char *run_or_file, char hex[33]) { return file_hash(run_or_file, true, hex); }
