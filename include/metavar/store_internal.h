/* store_internal.h - what the rooms of the store share. Nothing but src/store_*.c and their tests includes it.
 *
 *   store_run.c       the run directory: identity, gathering results, finishing
 *   store_attempt.c   the record of one start
 *   store_progress.c  how far a run is
 *   store_manifest.c  which samples are committed
 *   store_schema.c    what results.h5 holds: names, types, shapes, axes
 *   store_label.c     what the numbers of a flat array are called
 *   store_file.c      files: read whole, replace atomically, digest
 *   store_write.c     HDF5: shards, results.h5
 *   store_read.c      HDF5: results.h5 back into moments; its digest
 */
#ifndef METAVAR_STORE_INTERNAL_H
#define METAVAR_STORE_INTERNAL_H

#include "metavar/store.h"

/* One message, "metavar: ..." on stderr. */
void mv_store_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* --- files ---------------------------------------------------------------------------------------------- */

/* All bytes of a regular file, and a zero behind them; malloc'ed. NULL: errno says why. */
char *mv_file_read(int directory, const char *name, size_t *size);
/* Replaces a file: temporary name, fsync, rename, fsync of the directory. False: errno says why, nothing is left
 * behind. */
bool mv_file_write(int directory, const char *name, const void *bytes, size_t size);
/* The last half of that for a file that is written already. */
bool mv_file_publish(int directory, const char *temporary, const char *name);
/* Appends and fsyncs. */
bool mv_file_append(int fd, const void *bytes, size_t size);
/* Size and XXH3-128 of a regular file. */
bool mv_file_digest(int directory, const char *name, int64_t *bytes, char hex[33]);
void mv_bytes_digest(const void *bytes, size_t size, char hex[33]);
/* XXH3-128 of bytes as they come. */
struct mv_digest;
struct mv_digest *mv_digest_start(void);
void mv_digest_add(struct mv_digest *, const void *bytes, size_t size);
void mv_digest_end(struct mv_digest *, char hex[33]); /* frees it */
/* Largest number n of names "<n>.<anything>" in a directory; 0 if none, -1 if it cannot be read. */
int mv_file_last_number(int directory, const char *name);

/* --- manifest ------------------------------------------------------------------------------------------- */

struct mv_shard {
  char name[32]; /* "000001.h5" in RUN/shards */
  int64_t bytes, nonfinite;
  char xxh3[33];
  int64_t first_unit; /* its units are mv_manifest.unit[first_unit .. first_unit + units) */
  int64_t units;
};

struct mv_manifest {
  int64_t shards, units;
  struct mv_shard *shard;
  struct mv_unit *unit;
  bool torn; /* the file does not end with a newline */
};

/* Reads RUN/manifest.jsonl and checks every shard: there and of the right size, and, if `digest`, of the right
 * contents. Whatever fails is left out after one message. False: the file cannot be read; told. */
bool mv_manifest_read(int run, const char *path, const struct mv_plan *, bool digest, struct mv_manifest *);
void mv_manifest_free(struct mv_manifest *);
/* Adds one shard to the table, and the units that go with it. */
void mv_manifest_add(struct mv_manifest *, const struct mv_shard *, const struct mv_unit *units);
/* Its line, with newline; malloc'ed. */
char *mv_manifest_line(const struct mv_shard *, const struct mv_unit *units);
/* Replicates of all cells that are missing; -1 if some replicate is there twice. */
int64_t mv_manifest_missing(const struct mv_manifest *, const struct mv_plan *);

/* --- what results.h5 holds ------------------------------------------------------------------------------ */

enum mv_type { MV_TYPE_DOUBLE, MV_TYPE_INT64, MV_TYPE_INT8, MV_TYPE_STRING };

enum mv_part {                 /* where the contents come from */
               MV_PART_WHOLE,  /* mv_dataset.data */
               MV_PART_INDEX,  /* mv_dataset_index: int64, one axis */
               MV_PART_OUTPUT, /* the others: units, [point, replicate or block, ...] */
               MV_PART_STATUS,
               MV_PART_COUNT,
               MV_PART_NONFINITE,
               MV_PART_MEAN,
               MV_PART_COMOMENT,
               MV_PART_LARGEST,
               MV_PART_LARGEST_ID
};

#define MV_RANK_MAX (2 + MV_AXES_MAX)

struct mv_dataset {
  const char *group; /* label of an entry, "provenance", or "" for the root */
  const char *name;
  enum mv_type type;
  const char *unit, *doc;
  int rank;
  int64_t dims[MV_RANK_MAX];
  const char *scale[MV_RANK_MAX]; /* one in the same group for each axis; a scale names itself */
  enum mv_part part;
  int entry, output;             /* of streamed parts; entry -1: none */
  void *data;                    /* MV_PART_WHOLE: all elements, owned; strings as char *[] */
  int64_t step, divide, modulus; /* MV_PART_INDEX */
};

struct mv_schema {
  int count;
  struct mv_dataset *dataset; /* scales before their users */
};

struct mv_schema *mv_schema_make(const struct mv_plan *);
void mv_schema_free(struct mv_schema *);
/* Adds /provenance: the texts of the job, the lines of the manifest and the attempts. */
void mv_schema_provenance(struct mv_schema *, const char *job, const char *resolved, char **manifest, int64_t lines,
                          char **attempts, int64_t attempt_count);
/* NULL, or why the labels of the job's entries cannot be names of groups. */
const char *mv_schema_refuses(const struct mv_job *);
int64_t mv_dataset_elements(const struct mv_dataset *);
size_t mv_type_bytes(enum mv_type);
static inline int64_t mv_dataset_index(const struct mv_dataset *d, int64_t k)
{
  return k * d->step / d->divide % d->modulus;
}
/* The part of a result that goes into a streamed dataset, row after row; scratch is malloc'ed space that grows. */
const void *mv_dataset_gather(const struct mv_dataset *, const struct mv_plan *, const struct mv_result *,
                              void **scratch);
/* Rows [first, first + count) of axis 1 that a unit fills. */
void mv_dataset_rows(const struct mv_plan *, const struct mv_unit *, int64_t *first, int64_t *count);

/* Names of layout.moments values and of layout.vectors vectors, malloc'ed. */
void mv_label_values(const struct mv_layout *, char **label);
void mv_label_vectors(const struct mv_layout *, int meta, char **label);
char *mv_text_copy(const char *);

/* --- attempts ------------------------------------------------------------------------------------------- */

char *mv_attempt_text(const struct mv_attempt *, int number, const char *kernel); /* malloc'ed */

/* --- HDF5 ----------------------------------------------------------------------------------------------- */

/* Before the first HDF5 call: no plugins, drivers or connectors from the environment, no printed error stacks. */
void mv_hdf5_start(void);
int64_t mv_hdf5_access(void); /* a file access property list; the caller closes it */

/* A shard of these results as the bytes of an HDF5 file: group per unit, datasets as in results.h5. NULL: HDF5 failed.
 */
void *mv_shard_image(const struct mv_plan *, const struct mv_schema *, const struct mv_result *, int count,
                     size_t *size);

/* Writes a whole results.h5 to `path`, a file that does not exist. `shards` is the folder of the shards. Exit code,
 * errors told. */
int mv_results_write(const char *path, const char *shards, const struct mv_plan *, const struct mv_schema *,
                     const struct mv_manifest *);

#endif
