/* store_write.c - HDF5, writing: shards, and results.h5 as a netCDF-4 file.
 *
 * A shard is made in memory, so that it reaches the disk by plain writes whose errors cannot be lost (HDF5 1.10 on a
 * full disk can fail once, close without an error, and leave zeros behind). results.h5 is too large for that: it is
 * written under a temporary name, with room for it checked before and every call checked on the way. What makes it
 * netCDF-4: a dimension scale on every axis of every dataset, and objects and attributes tracked in order of creation.
 * Every dataset of numbers that has an axis is chunked and carries fletcher32 (HDF5 has no checksums for scalars and
 * strings); nothing is compressed. A shard has none of that: it is as plain as HDF5 can be, and its digest is in the
 * manifest.
 */
#include "metavar/store_internal.h"

#include <hdf5.h>
#include <hdf5_hl.h>
#include <math.h>
#include <string.h>

#include "metavar/clock.h"
#include "metavar/memory.h"
#include "metavar/version.h"

#define IMAGE_STEP (1 << 20) /* room in a shard for what is not rows */

/* The innermost cause of the first HDF5 error since mv_hdf5_start. */
static char reason[256];

static herr_t reason_take(unsigned depth, const H5E_error2_t *error, void *unused)
{
  (void)unused;
  if (depth > 0)
    return 0;
  const char *system =
      error->desc ? strstr(error->desc, "error message = '") : NULL; /* a failed system call, with details */
  if (system)
    snprintf(reason, sizeof reason, "%.*s", (int)strcspn(system + 17, "'"), system + 17);
  else
    snprintf(reason, sizeof reason, "HDF5: %s", error->desc ? error->desc : error->func_name);
  return 0;
}

static herr_t on_error(hid_t stack, void *unused)
{
  return *reason ? 0 : H5Ewalk2(stack, H5E_WALK_UPWARD, reason_take, unused);
}

const char *mv_hdf5_reason(void) { return *reason ? reason : "damaged"; }

void mv_hdf5_start(void)
{
  static bool started;
  *reason = 0;
  if (started)
    return;
  started = true;
  unsetenv("HDF5_USE_FILE_LOCKING");
  unsetenv("HDF5_VOL_CONNECTOR");
  unsetenv("HDF5_DRIVER");
  unsetenv("HDF5_PLUGIN_PATH");
  H5dont_atexit(); /* we close what we open; after a failed write the library's own clean-up can crash */
  H5open();
  H5PLset_loading_state(0);
  H5Eset_auto2(H5E_DEFAULT, on_error, NULL);
}

const char *mv_store_library(void)
{
  static char text[64];
  unsigned major, minor, release;
  H5get_libversion(&major, &minor, &release);
  snprintf(text, sizeof text, "HDF5 %u.%u.%u", major, minor, release);
  return text;
}

/* Formats of HDF5 1.8 to 1.10, which every reader knows. No file locks: network file systems lack them, shards never
 * change. */
int64_t mv_hdf5_access(void)
{
  hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V110);
  H5Pset_file_locking(access, false, true);
  H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
  return access;
}

static hid_t text_type(size_t size)
{
  hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, size);
  H5Tset_cset(type, H5T_CSET_UTF8);
  H5Tset_strpad(type, size == H5T_VARIABLE ? H5T_STR_NULLTERM : H5T_STR_NULLPAD);
  return type;
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers go to files as they lie in memory");

static hid_t type_open(enum mv_type type)
{
  switch (type) {
  case MV_TYPE_DOUBLE:
    return H5Tcopy(H5T_IEEE_F64LE);
  case MV_TYPE_INT64:
    return H5Tcopy(H5T_STD_I64LE);
  case MV_TYPE_INT8:
    return H5Tcopy(H5T_STD_I8LE);
  case MV_TYPE_STRING:
    break;
  }
  return text_type(H5T_VARIABLE);
}

/* --- attributes ------------------------------------------------------------------------------------------ */

static bool put_attribute(hid_t object, const char *name, hid_t type, hid_t space, const void *value)
{
  hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  bool fine = attribute >= 0 && H5Awrite(attribute, type, value) >= 0;
  H5Aclose(attribute);
  H5Sclose(space);
  return fine;
}

static bool put_text(hid_t object, const char *name, const char *text)
{
  hid_t type = text_type(*text ? strlen(text) : 1);
  bool fine = put_attribute(object, name, type, H5Screate(H5S_SCALAR), text);
  H5Tclose(type);
  return fine;
}

static bool put_fill(hid_t object)
{
  double nan = (double)NAN;
  return put_attribute(object, "_FillValue", H5T_IEEE_F64LE, H5Screate_simple(1, (hsize_t[]){1}, NULL), &nan);
}

/* CF: what the numbers of a status mean. */
static bool put_flags(hid_t object)
{
  const int8_t values[] = {MV_OK, MV_NONFINITE, MV_ABSENT};
  return put_attribute(object, "flag_values", H5T_STD_I8LE, H5Screate_simple(1, (hsize_t[]){3}, NULL), values) &&
         put_text(object, "flag_meanings", "ok nonfinite absent");
}

static bool put_fields(hid_t group, const char *prefix, const struct mv_field *table, const void *settings)
{
  bool fine = true;
  for (const struct mv_field *field = table; field->name && fine; field++) {
    char name[2 * MV_NAME_MAX];
    int length = mv_field_print(field, settings, NULL, 0);
    char *text = mv_memory_take((size_t)length + 1, 1);
    mv_field_print(field, settings, text, (size_t)length + 1);
    snprintf(name, sizeof name, "%s%s", prefix, field->name);
    fine = put_text(group, name, text);
    free(text);
  }
  return fine;
}

/* --- datasets -------------------------------------------------------------------------------------------- */

/* What stands where a cell has no row. */
static void fill_set(hid_t creation, enum mv_type type, enum mv_part part)
{
  if (type == MV_TYPE_DOUBLE)
    H5Pset_fill_value(creation, H5T_NATIVE_DOUBLE, &(double){(double)NAN});
  else if (part == MV_PART_STATUS)
    H5Pset_fill_value(creation, H5T_NATIVE_INT8, &(int8_t){MV_ABSENT});
  else if (part == MV_PART_LARGEST_ID)
    H5Pset_fill_value(creation, H5T_NATIVE_INT64, &(int64_t){-1});
  else if (part == MV_PART_OUTPUT) /* notes */
    H5Pset_fill_value(creation, H5T_NATIVE_INT64, &(int64_t){INT64_MIN});
}

static hid_t dataset_create(hid_t group, const struct mv_dataset *row)
{
  enum mv_type type = row->type;
  int rank = row->rank;
  hsize_t dims[MV_RANK_MAX], chunk[MV_RANK_MAX];
  for (int d = 0; d < rank; d++)
    dims[d] = (hsize_t)row->dims[d];
  hid_t space = rank ? H5Screate_simple(rank, dims, NULL) : H5Screate(H5S_SCALAR);
  hid_t file_type = type_open(type), creation = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_attr_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
  fill_set(creation, type, row->part);
  if (rank > 0 && type != MV_TYPE_STRING) {
    int64_t shape[MV_RANK_MAX];
    mv_chunk_shape(row, shape);
    for (int d = 0; d < rank; d++)
      chunk[d] = (hsize_t)shape[d];
    H5Pset_chunk(creation, rank, chunk);
    H5Pset_fletcher32(creation);
  }
  hid_t dataset = H5Dcreate2(group, row->name, file_type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  H5Pclose(creation);
  H5Tclose(file_type);
  H5Sclose(space);
  return dataset;
}

/* The box [start, start + count) of a dataset. */
static bool box_write(hid_t dataset, enum mv_type type, int rank, const hsize_t *start, const hsize_t *count,
                      const void *data)
{
  hid_t file_space = H5Dget_space(dataset), memory_type = type_open(type);
  hid_t memory_space = rank ? H5Screate_simple(rank, count, NULL) : H5Screate(H5S_SCALAR);
  bool fine = (rank == 0 || H5Sselect_hyperslab(file_space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0) &&
              H5Dwrite(dataset, memory_type, memory_space, file_space, H5P_DEFAULT, data) >= 0;
  H5Sclose(memory_space);
  H5Tclose(memory_type);
  H5Sclose(file_space);
  return fine;
}

static bool rule_write(hid_t dataset, const struct mv_dataset *row)
{
  enum { PIECE = 1 << 14 };
  int64_t value[PIECE];
  bool fine = true;
  for (int64_t first = 0; first < row->dims[0] && fine; first += PIECE) {
    int64_t left = row->dims[0] - first, count = left < PIECE ? left : PIECE;
    for (int64_t k = 0; k < count; k++)
      value[k] = mv_dataset_index(row, first + k);
    fine = box_write(dataset, row->type, 1, (hsize_t[]){(hsize_t)first}, (hsize_t[]){(hsize_t)count}, value);
  }
  return fine;
}

static bool contents_write(hid_t dataset, const struct mv_dataset *row)
{
  hsize_t start[MV_RANK_MAX] = {0}, count[MV_RANK_MAX];
  for (int d = 0; d < row->rank; d++)
    count[d] = (hsize_t)row->dims[d];
  if (row->part == MV_PART_INDEX)
    return rule_write(dataset, row);
  return row->part != MV_PART_WHOLE || box_write(dataset, row->type, row->rank, start, count, row->data);
}

/* Makes the dataset a scale, or attaches the scales of its axes. */
static bool scales_attach(hid_t group, hid_t dataset, const struct mv_dataset *row)
{
  if (row->rank == 1 && strcmp(row->scale[0], row->name) == 0)
    return H5DSset_scale(dataset, row->name) >= 0;
  bool fine = true;
  for (int d = 0; d < row->rank && fine; d++) {
    hid_t scale = H5Dopen2(group, row->scale[d], H5P_DEFAULT);
    fine = scale >= 0 && H5DSattach_scale(dataset, scale, (unsigned)d) >= 0;
    H5Dclose(scale);
  }
  return fine;
}

static bool row_create(hid_t group, const struct mv_dataset *row)
{
  hid_t dataset = dataset_create(group, row);
  bool fine = dataset >= 0 && put_text(dataset, "long_name", row->doc) && put_text(dataset, "units", row->unit) &&
              (row->type != MV_TYPE_DOUBLE || put_fill(dataset)) &&
              (row->part != MV_PART_STATUS || put_flags(dataset)) && contents_write(dataset, row) &&
              scales_attach(group, dataset, row);
  return H5Dclose(dataset) >= 0 && fine;
}

/* --- shards ---------------------------------------------------------------------------------------------- */

/* Rows of a streamed dataset in a shard: its axes without the point. */
static void row_box(const struct mv_dataset *row, int64_t count, hsize_t *dims)
{
  dims[0] = (hsize_t)count;
  for (int d = 2; d < row->rank; d++)
    dims[d - 1] = (hsize_t)row->dims[d];
}

/* Room for the rows of a unit, without contents. Where it is in the file; HADDR_UNDEF: HDF5 failed. */
static haddr_t part_create(hid_t group, const struct mv_dataset *row, int64_t count)
{
  hsize_t dims[MV_RANK_MAX];
  row_box(row, count, dims);
  hid_t space = H5Screate_simple(row->rank - 1, dims, NULL), type = type_open(row->type);
  hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER);
  hid_t dataset = H5Dcreate2(group, row->name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  haddr_t place = H5Dget_offset(dataset);
  H5Pclose(creation);
  H5Tclose(type);
  H5Sclose(space);
  return H5Dclose(dataset) >= 0 ? place : HADDR_UNDEF;
}

/* Appends the places of its datasets. */
static bool unit_create(hid_t file, int number, const struct mv_plan *plan, const struct mv_schema *schema,
                        const struct mv_unit *unit, haddr_t **place, size_t *places)
{
  char name[32];
  int64_t first, count;
  snprintf(name, sizeof name, "%d", number);
  hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  bool fine =
      group >= 0 && put_attribute(group, "cell_first_count", H5T_STD_I64LE, H5Screate_simple(1, (hsize_t[]){3}, NULL),
                                  (int64_t[]){unit->cell, unit->first, unit->count});
  mv_dataset_rows(plan, unit, &first, &count);
  for (int k = 0; k < schema->count && fine; k++) {
    const struct mv_dataset *row = &schema->dataset[k];
    if (row->entry != mv_plan_entry(plan, (int)unit->cell))
      continue;
    *place = mv_memory_grow(*place, *places + 1, sizeof **place);
    (*place)[*places] = part_create(group, row, count);
    fine = (*place)[(*places)++] != HADDR_UNDEF;
  }
  return H5Gclose(group) >= 0 && fine;
}

/* Rows go to their places in the image, past HDF5: one copy instead of two. */
static void image_fill(char *bytes, const struct mv_plan *plan, const struct mv_schema *schema,
                       const struct mv_result *results, int count, const haddr_t *place)
{
  for (int k = 0; k < count; k++)
    for (int d = 0; d < schema->count; d++)
      if (schema->dataset[d].entry == mv_plan_entry(plan, (int)results[k].head->unit.cell))
        mv_dataset_gather(&schema->dataset[d], plan, &results[k], bytes + *place++);
}

bool mv_image_make(const struct mv_plan *plan, const struct mv_schema *schema, const struct mv_result *results,
                   int count, struct mv_image *image)
{
  mv_hdf5_start();
  void **bytes = NULL;
  haddr_t *place = NULL;
  size_t about = IMAGE_STEP, places = 0;
  for (int k = 0; k < count; k++)
    about += (size_t)results[k].head->bytes;
  hid_t access = mv_hdf5_access();
  H5Pset_fapl_core(access, about, false);
  /* The first format has no checksum in its superblock; that of later ones is wrong in an image made by HDF5 1.10. */
  H5Pset_libver_bounds(access, H5F_LIBVER_EARLIEST, H5F_LIBVER_V110);
  hid_t file = H5Fcreate("/dev/null/shard", H5F_ACC_TRUNC, H5P_DEFAULT,
                         access); /* no file can have this name: HDF5 reads one that is there */
  bool fine = file >= 0;
  for (int k = 0; k < count && fine; k++)
    fine = unit_create(file, k, plan, schema, &results[k].head->unit, &place, &places);
  ssize_t size = fine && H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0 ? H5Fget_file_image(file, NULL, 0) : -1;
  fine = size > 0 && H5Fget_vfd_handle(file, access, (void **)&bytes) >= 0; /* of this driver: its memory */
  H5Pclose(access);
  if (fine)
    image_fill(*bytes, plan, schema, results, count, place);
  free(place);
  *image = (struct mv_image){.bytes = fine ? *bytes : NULL, .size = fine ? (size_t)size : 0, .file = file};
  if (!fine)
    mv_image_free(image);
  return fine;
}

void mv_image_free(struct mv_image *image)
{
  H5Fclose(image->file);
  *image = (struct mv_image){.file = -1};
}

/* --- results.h5 ------------------------------------------------------------------------------------------ */

static hid_t group_create(hid_t file, const char *name)
{
  hid_t creation = H5Pcreate(H5P_GROUP_CREATE);
  H5Pset_link_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
  H5Pset_attr_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
  hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, creation, H5P_DEFAULT);
  H5Pclose(creation);
  return group;
}

static bool describe_root(hid_t root, const struct mv_job *job)
{
  char date[MV_TIME_TEXT], history[64 + sizeof date];
  mv_time_print(mv_clock_wall(), date);
  snprintf(history, sizeof history, "%s metavar run", date);
  return put_text(root, "Conventions", "CF-1.10") && put_text(root, "title", job->name) &&
         put_text(root, "history", history) && put_text(root, "source", mv_version_line()) &&
         put_text(root, "references", "Vuorio et al. 2022, arXiv 2209.11303") && put_text(root, "date_created", date);
}

static bool describe_entry(hid_t group, const struct mv_job *job, const struct mv_entry *entry)
{
  const struct mv_estimator *estimator = entry->estimator;
  return put_text(group, "estimator", estimator->name) &&
         put_text(group, "needs", estimator->needs & MV_NEEDS_DERIVATIVE ? "derivatives" : "nothing") &&
         put_fields(group, "", mv_entry_fields, entry) &&
         (!job->train.updates || (put_fields(group, "", mv_followed_fields, entry) &&
                                  put_fields(group, "train_", mv_train_fields, &job->train))) &&
         put_fields(group, "", estimator->fields, entry->settings) && put_text(group, "task", job->task->name) &&
         put_fields(group, "task_", job->task->fields, job->task_settings);
}

static bool group_describe(hid_t group, const struct mv_job *job, const char *name)
{
  if (*name == 0)
    return describe_root(group, job);
  for (int e = 0; e < job->entry_count; e++)
    if (strcmp(job->entries[e].label, name) == 0)
      return describe_entry(group, job, &job->entries[e]);
  return true;
}

/* All groups and datasets, and the contents that do not come from shards. Rows of one group follow each other. */
static bool tables_create(hid_t file, const struct mv_job *job, const struct mv_schema *schema)
{
  bool fine = true;
  for (int k = 0; k < schema->count && fine;) {
    const char *name = schema->dataset[k].group;
    hid_t group = *name ? group_create(file, name) : H5Gopen2(file, "/", H5P_DEFAULT);
    fine = group >= 0 && group_describe(group, job, name);
    for (; k < schema->count && fine && strcmp(schema->dataset[k].group, name) == 0; k++)
      fine = row_create(group, &schema->dataset[k]);
    fine = H5Gclose(group) >= 0 && fine;
  }
  return fine;
}

int64_t mv_results_create(const char *path, const struct mv_job *job, const struct mv_schema *schema)
{
  mv_hdf5_start();
  hid_t access = mv_hdf5_access(), creation = H5Pcreate(H5P_FILE_CREATE);
  H5Pset_link_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
  H5Pset_attr_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
  hid_t file = H5Fcreate(path, H5F_ACC_EXCL, creation, access);
  H5Pclose(creation);
  H5Pclose(access);
  if (file >= 0 && !tables_create(file, job, schema)) {
    H5Fclose(file);
    return -1;
  }
  return file;
}

bool mv_hdf5_close(int64_t file)
{
  bool fine = H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0;
  return H5Fclose(file) >= 0 && fine;
}

int64_t mv_results_dataset(int64_t results, const struct mv_dataset *row)
{
  char path[2 * MV_NAME_MAX + 4];
  snprintf(path, sizeof path, "%s/%s", row->group, row->name);
  return H5Dopen2(results, path, H5P_DEFAULT);
}

static bool rows_write(int64_t dataset, const struct mv_dataset *row, int point, int64_t first, int64_t count,
                       const void *rows)
{
  hsize_t start[MV_RANK_MAX] = {(hsize_t)point, (hsize_t)first}, box[MV_RANK_MAX] = {1};
  row_box(row, count, box + 1);
  return box_write(dataset, row->type, row->rank, start, box, rows);
}

/* A chunk as it lies in the file: the rows, zeros where the last one is longer than the axis, the checksum. */
static bool chunk_write(int64_t dataset, int point, int64_t first, const void *rows, size_t bytes, size_t whole)
{
  unsigned char chunk[MV_CHUNK_BYTES + 4];
  memcpy(chunk, rows, bytes);
  memset(chunk + bytes, 0, whole - bytes);
  uint32_t sum = mv_fletcher32(chunk, whole);
  for (int k = 0; k < 4; k++)
    chunk[whole + (size_t)k] = (unsigned char)(sum >> 8 * k);
  hsize_t start[MV_RANK_MAX] = {(hsize_t)point, (hsize_t)first};
  return H5Dwrite_chunk(dataset, H5P_DEFAULT, 0, start, whole + 4, chunk) >= 0;
}

/* Chunks that the rows fill are written as they are, past HDF5's cache and filters, which take twice the time. */
bool mv_results_put(int64_t dataset, const struct mv_dataset *row, int point, int64_t first, int64_t count,
                    const void *rows)
{
  const int64_t each = mv_chunk_rows(row), length = row->dims[1];
  const size_t bytes = mv_dataset_row_bytes(row);
  bool fine = each > 0 || rows_write(dataset, row, point, first, count, rows);
  for (int64_t at = first, end; each > 0 && at < first + count && fine; at = end) {
    const int64_t next = (at / each + 1) * each, last = next < length ? next : length;
    const char *from = (const char *)rows + (size_t)(at - first) * bytes;
    end = last < first + count ? last : first + count;
    fine = at % each == 0 && end == last
               ? chunk_write(dataset, point, at, from, (size_t)(end - at) * bytes, (size_t)each * bytes)
               : rows_write(dataset, row, point, at, end - at, from);
  }
  return fine;
}

bool mv_results_release(int64_t dataset) { return H5Dclose(dataset) >= 0; }
