/* store_internal.h - what the rooms of the store share. Nothing but src/store_*.c and their tests includes it.
 *
 *   store_folder.c    the run directory: identity, beginning
 *   store_job.c       which job a run holds, and which may go on with it
 *   store_lock.c      one process at a time
 *   store_stop.c      asking it to leave
 *   store_run.c       an open run: gathering and committing results
 *   store_row.c       one row back from the shards
 *   store_carried.c   what lifetimes carry from update to update
 *   store_finish.c    from shards to results.h5
 *   store_ahead.c     shards read and compared with their digests, one ahead
 *   store_chunk.c     chunks of results.h5: shapes, checksums
 *   store_attempt.c   the record of one start
 *   store_progress.c  how far a run is
 *   store_manifest.c  which samples are committed
 *   store_rounds.c    the stopping rule: which cells go on
 *   store_pieces.c    the rows of one cell, from the shards
 *   store_schema.c    what results.h5 holds: names, types, shapes, axes
 *   store_label.c     what the numbers of a flat array are called
 *   store_file.c      files: read whole, replace atomically, digest
 *   store_sums.c      checksums of files that carry none inside
 *   store_kill.c      named places to die at, for tests
 *   store_write.c     HDF5: shards, results.h5
 *   store_read.c      HDF5: results.h5 and its digest, shards
 *   store_check.c     is what is stored what it should be
 *   store_moments.c   rows of one cell into moments
 */
#ifndef METAVAR_STORE_INTERNAL_H
#define METAVAR_STORE_INTERNAL_H

#include <string.h>

#include "metavar/ranges.h"
#include "metavar/store.h"

/* One message, "metavar: ..." on stderr. */
void mv_store_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same for PATH/NAME that could not be written: errno, how many bytes it needs, how many are free, what to do. */
void mv_store_say_unwritten(const char *path, const char *name, size_t bytes);
bool mv_error_is_room(int error); /* disk full, quota used up */

/* --- files ---------------------------------------------------------------------------------------------- */

/* All bytes of a regular file, and a zero behind them; malloc'ed. NULL: errno says why. */
char *mv_file_read(int directory, const char *name, size_t *size);
/* Replaces a file: temporary name, fsync, rename, fsync of the directory. False: errno says why, nothing is left
 * behind. */
bool mv_file_write(int directory, const char *name, const void *bytes, size_t size);
/* The same for a name that must be new, errno EEXIST if it, or the temporary one, is there; and the XXH3-128. */
bool mv_file_create(int directory, const char *name, const void *bytes, size_t size, char hex[33]);
/* The last half of mv_file_write for a file that is written already. */
bool mv_file_publish(int directory, const char *temporary, const char *name);
bool mv_file_sync(int directory, const char *name); /* its bytes; not its name */
/* Appends and fsyncs; name: for mv_kill_here. */
bool mv_file_append(int fd, const char *name, const void *bytes, size_t size);
/* Asks the system to begin writing its bytes to the disk: for speed, nothing depends on it. */
void mv_file_hasten(int directory, const char *name);
/* Size and XXH3-128 of a regular file. */
bool mv_file_digest(int directory, const char *name, int64_t *bytes, char hex[33]);
/* Its first bytes, and their XXH3-128; false if it does not have so many. */
bool mv_file_load(int directory, const char *name, char *out, int64_t bytes, char hex[33]);
void mv_bytes_digest(const void *bytes, size_t size, char hex[33]);
/* XXH3-128 of bytes as they come. */
struct mv_digest;
struct mv_digest *mv_digest_start(void);
void mv_digest_add(struct mv_digest *, const void *bytes, size_t size);
void mv_digest_end(struct mv_digest *, char hex[33]); /* frees it */
/* Largest number n of names "<n>.<anything>" in a directory; 0 if none, -1 if it cannot be read. */
int mv_file_last_number(int directory, const char *name);

/* --- checksums.xxh128 ------------------------------------------------------------------------------------ */

struct mv_sum {
  char name[64], hex[33];
};
struct mv_sums {
  int count;
  struct mv_sum *at; /* several for one name: any of these contents is right */
};
enum mv_sum_state { MV_SUM_FITS, MV_SUM_WRONG, MV_SUM_GONE, MV_SUM_UNLISTED };

struct mv_sums mv_sums_read(int run); /* none if there is no such file */
bool mv_sums_write(int run, const struct mv_sums *);
void mv_sums_add(struct mv_sums *, const char *name, const char *hex);
void mv_sums_add_text(struct mv_sums *, const char *name, const char *text); /* its contents */
int mv_sums_drop(struct mv_sums *, const char *name);                        /* returns how many */
void mv_sums_free(struct mv_sums *);
/* Reads the file. */
enum mv_sum_state mv_sums_state(int run, const struct mv_sums *, const char *name);

/* --- kill points, for tests ------------------------------------------------------------------------------ */

int mv_kill_start(void); /* reads METAVAR_KILL_AT. Exit code: not 0 if it is wrong or asks for the list, told */
void mv_kill_here(const char *file, const char *step);
/* Before bytes are written: dies after half of them if that is asked for. */
void mv_kill_half(int fd, const void *bytes, size_t size, const char *file);

/* --- run directory --------------------------------------------------------------------------------------- */

/* Opens RUN for this job and takes its lock; makes and fills RUN if need be. Exit code, errors told; whatever is open
 * then is the caller's to close, in any case: *run and *lock, -1 before. */
int mv_folder_open(const char *path, const struct mv_job *, int *run, int *lock);
/* *lock: an open file that holds the lock until it is closed. Exit code: MV_EXIT_RUNNING when another process has it.
 * Where the file system has no locks, a warning. */
int mv_lock_take(int run, const char *path, int *lock);
/* Whether a process holds the lock, or may for all the file system can tell; and what it wrote: "" if nothing. */
bool mv_lock_held(int run, char *holder, size_t size);

/* Whether somebody has asked the process that works on the run to leave; and forgetting it. */
bool mv_stop_requested(int run);
void mv_stop_clear(int run);

/* --- the jobs of a run ------------------------------------------------------------------------------------ */

#define MV_RESOLVED_OLD "resolved-%03d.yaml" /* of jobs that the run was extended from, */
#define MV_RESULTS_OLD  "results-%03d.h5"    /* and their results */

void mv_job_id(const struct mv_job *, char hex[33]); /* the same for jobs that give the same results.h5 */
/* Whether a job has all cells of an earlier one, with no fewer replicates. entry[earlier->entry_count] and
 * point[earlier->points] out: where. If not, says the first difference, unless path is NULL. */
bool mv_job_goes_on(const struct mv_job *earlier, const struct mv_job *later, const char *path, int *entry, int *point);

struct mv_ancestor {
  char id[33];
  struct mv_job *job;
  struct mv_plan *plan;
  int *entry, *point;
  bool fits; /* else the present job does not go on with it */
};
struct mv_ancestry {
  int count;
  struct mv_ancestor *at; /* the first job first */
};
struct mv_ancestry mv_ancestry_read(int run, const char *path, const struct mv_plan *);
void mv_ancestry_free(struct mv_ancestry *);
/* What a unit of an earlier job is in the present one; its count may be 0. */
struct mv_unit mv_ancestor_unit(const struct mv_ancestor *, const struct mv_plan *, const struct mv_unit *);

/* --- manifest ------------------------------------------------------------------------------------------- */

/* A file of what the lifetimes of a cell carry behind update `row` (store_carried.c). */
struct mv_carried {
  int64_t cell, written, row; /* cell of the present job, and as its line has it */
  int shard;                  /* number in the name of its shard */
  int64_t bytes;
  char xxh3[33];
};

struct mv_shard {
  char name[32]; /* "000001.h5" in RUN/shards */
  int64_t bytes, nonfinite;
  char xxh3[33];
  char job[33];       /* mv_job_id of the job whose cells its line means; "" in a line that does not say: the first */
  int64_t first_unit; /* its units are mv_manifest.unit[first_unit .. first_unit + units), and so for written */
  int64_t units;
  struct mv_carried *carried; /* [carried_count] of its line, while that is written or read; else NULL */
  int64_t carried_count;
};

struct mv_manifest {
  int64_t shards, units;
  struct mv_shard *shard;
  struct mv_unit *unit;       /* in cells of the present job; nothing of use: count 0 */
  struct mv_unit *written;    /* as the lines and the shards have them */
  struct mv_ranges have;      /* the union of the units */
  struct mv_carried *carried; /* [carried_count] the last two of each cell */
  int64_t carried_count;
  int64_t nonfinite; /* an upper bound where shards overlap in part */
  int last_number;   /* the largest in the name of any shard, also of those that were left out */
  bool torn;         /* the file does not end with a newline */
  /* all lines, and what was left out: lines that are damaged, or were never finished; shards */
  int64_t lines, damaged_lines, torn_lines, damaged_shards;
};

/* Reads RUN/manifest.jsonl and checks every shard: there and of the right size, and, if `digest`, of the right
 * contents. Whatever fails is left out after one message. False: the file cannot be read; told. */
bool mv_manifest_read(int run, const char *path, const struct mv_plan *, bool digest, struct mv_manifest *);
void mv_manifest_free(struct mv_manifest *);
/* Adds one shard to the table, and the units that go with it; not what is carried. */
void mv_manifest_add(struct mv_manifest *, const struct mv_shard *, const struct mv_unit *units,
                     const struct mv_unit *written);
/* A JSON object made a line with a checksum, malloc'ed; the text is freed. And whether a line is whole. */
char *mv_line_seal(char *text);
bool mv_line_whole(const char *line, size_t length);
/* Its line, with newline; malloc'ed. */
char *mv_manifest_line(const struct mv_shard *, const struct mv_unit *written);
/* NULL, or what is wrong with the file of a shard; the contents are checked if `digest`. */
const char *mv_shard_fault(int run, const struct mv_shard *, bool digest);
/* The same, contents checked, of what it reads: out[shard->bytes]. */
const char *mv_shard_load(int run, const struct mv_shard *, void *out);

/* Shards for results.h5 in turn, each loaded, and what is wrong with it; the array must stay. A thread loads the next one
 * and hastens results.h5.part to the disk. */
struct mv_ahead;
struct mv_ahead *mv_ahead_start(int run, const struct mv_shard *const *, int64_t count);
const char *mv_ahead_next(struct mv_ahead *, const char **bytes); /* good until released */
void mv_ahead_release(struct mv_ahead *);
void mv_ahead_stop(struct mv_ahead *);

/* --- what lifetimes carry --------------------------------------------------------------------------------- */

#define MV_CARRIED_NAME 64
void mv_carried_name(const struct mv_carried *, char out[MV_CARRIED_NAME]); /* in RUN */
bool mv_carried_folder(int run);                                            /* makes it; false: errno */
/* Adds one to the table. True: another one is *dropped for it, whose file is of no more use. */
bool mv_carried_add(struct mv_manifest *, const struct mv_carried *, struct mv_carried *dropped);
int64_t mv_carried_last(const struct mv_manifest *, int64_t cell); /* the last update that has one; -1 */
void mv_carried_sweep(int run, const struct mv_manifest *);        /* removes files that are not in the table */
/* Reads it. NULL, and its bytes, malloc'ed; or what is wrong. */
const char *mv_carried_fault(int run, const struct mv_carried *, void **state);
/* As mv_store_carried. What turns out to be damaged leaves the table. */
int64_t mv_carried_find(int run, const char *path, const struct mv_plan *, struct mv_manifest *, int64_t cell,
                        int64_t limit, size_t bytes, void **state);

/* --- rounds of a stopping rule --------------------------------------------------------------------------- */

enum mv_cell_state { MV_CELL_GOES_ON, MV_CELL_REACHED, MV_CELL_SHORT /* has the most, and the rule is not content */ };

struct mv_rounds {
  int decided; /* rounds; without a rule 0 */
  char *state; /* [cells] enum mv_cell_state after them */
  int64_t go_on, fall_short;
  bool torn; /* the file does not end with a newline */
};

/* What RUN/rounds.jsonl says of this job: plan->replicates becomes what its cells are to have now. */
void mv_rounds_read(int run, const char *path, const struct mv_plan *, struct mv_rounds *);
void mv_rounds_free(struct mv_rounds *);
struct mv_schema;
/* The round that is complete: reads its cells from the shards, decides, records. Exit code, errors told. */
int mv_rounds_decide(int run, const char *path, const struct mv_plan *, const struct mv_schema *,
                     const struct mv_manifest *, struct mv_rounds *);

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
size_t mv_schema_bytes(const struct mv_schema *, const struct mv_plan *); /* of results.h5, about */
int64_t mv_dataset_elements(const struct mv_dataset *);
size_t mv_type_bytes(enum mv_type);
size_t mv_dataset_row_bytes(const struct mv_dataset *); /* of one row of one point of a streamed dataset */
static inline int64_t mv_dataset_index(const struct mv_dataset *d, int64_t k)
{
  return k * d->step / d->divide % d->modulus;
}
/* Copies the part of a result that goes into a streamed dataset, row after row. */
void mv_dataset_gather(const struct mv_dataset *, const struct mv_plan *, const struct mv_result *, void *out);
/* Rows [first, first + count) of axis 1 that a unit fills. */
void mv_dataset_rows(const struct mv_plan *, const struct mv_unit *, int64_t *first, int64_t *count);

/* Chunks of results.h5. How many rows of one point, and nothing else, each has; 0: they are cut otherwise. What HDF5's
 * filter fletcher32 puts behind these bytes. */
#define MV_CHUNK_BYTES (256 << 10) /* at most, or one element */
void mv_chunk_shape(const struct mv_dataset *, int64_t chunk[MV_RANK_MAX]);
int64_t mv_chunk_rows(const struct mv_dataset *);
uint32_t mv_fletcher32(const void *, size_t);

/* Names of layout.moments values and of layout.vectors vectors, malloc'ed. */
void mv_label_values(const struct mv_layout *, char **label);
void mv_label_vectors(const struct mv_layout *, int meta, char **label);
char *mv_text_copy(const char *);

/* --- attempts ------------------------------------------------------------------------------------------- */

char *mv_attempt_text(const struct mv_attempt *, int number, const char *kernel); /* malloc'ed */

#define MV_TIME_TEXT 32
void mv_time_print(double seconds, char out[MV_TIME_TEXT]); /* since the epoch, as 2001-09-09T01:47:40Z */

/* --- HDF5 ----------------------------------------------------------------------------------------------- */

/* Before HDF5 calls. The first time: no plugins, drivers or connectors from the environment, no printed error stacks. */
void mv_hdf5_start(void);
const char *mv_hdf5_reason(void); /* of the first failure since */
int64_t mv_hdf5_access(void);     /* a file access property list; the caller closes it */

/* Sorts results and makes one of those that follow each other (store_join.c); their bytes are malloc'ed and stay the
 * caller's. Returns how many are left. */
int mv_results_join(const struct mv_plan *, struct mv_result *, int count);

/* A shard of these results as the bytes of an HDF5 file: group per unit, datasets as in results.h5. False: HDF5 failed,
 * and there is nothing to free. */
struct mv_image {
  const void *bytes;
  size_t size;
  int64_t file; /* an open file without a name, which owns the bytes */
};
bool mv_image_make(const struct mv_plan *, const struct mv_schema *, const struct mv_result *, int count,
                   struct mv_image *);
void mv_image_free(struct mv_image *);

/* All -1 on failure; closed by mv_hdf5_close. A new results.h5 has all but the rows that come from shards. */
int64_t mv_results_create(const char *path, const struct mv_job *, const struct mv_schema *);
int64_t mv_shard_open(const char *path);
bool mv_hdf5_close(int64_t file); /* false: not all was written */

/* Whether unit number u of a shard says that it is this one. */
bool mv_shard_holds(int64_t shard, int64_t u, const struct mv_unit *);
/* Where in the file the `rows` rows lie that unit number u has of a streamed dataset, one after the other; -1: they do
 * not, or are not there as they should be. */
int64_t mv_shard_place(int64_t shard, int64_t u, const struct mv_dataset *, int64_t rows);
/* Rows [skip, skip + count) of the `rows` rows that unit number u has of a streamed dataset. */
bool mv_shard_read(int64_t shard, int64_t u, const struct mv_dataset *, int64_t rows, int64_t skip, int64_t count,
                   void *out);
/* A streamed dataset, open until it is released, so that chunks get their checksums when they are full; -1 on failure.
 * False on release: not all was written. */
int64_t mv_results_dataset(int64_t results, const struct mv_dataset *);
bool mv_results_release(int64_t dataset);
/* Writes rows [first, first + count) of one point, which nobody has written before. */
bool mv_results_put(int64_t dataset, const struct mv_dataset *, int point, int64_t first, int64_t count,
                    const void *rows);

/* RUN or a file: the path of the results file, which is regular; false: told. */
bool mv_results_find(const char *run_or_file, char path[4096]);
/* Whether a results file is what the checksums beside it say, if they say something; told if not. */
bool mv_results_sum_fits(const char *path);

/* A note as it is stored, an int64, into the double of the same place. */
static inline void mv_note_real(double *place)
{
  int64_t note;
  memcpy(&note, place, sizeof note);
  *place = (double)note;
}

/* A committed row of a cell that stores samples. Exit code; errors told. */
int mv_row_find(int run, const char *path, const struct mv_plan *, const struct mv_schema *, const struct mv_manifest *,
                int cell, int64_t row, double *values, int8_t *status);

/* --- one cell -------------------------------------------------------------------------------------------- */

/* Rows [first, first + count) of a cell's dataset of that part, and output or -1. False: told. */
struct mv_rows {
  bool (*read)(void *self, enum mv_part, int output, int64_t first, int64_t count, void *out);
  void *self;
};
/* As mv_results_blocks. False: a row could not be read. */
bool mv_cell_blocks(const struct mv_plan *, int cell, const struct mv_rows *,
                    void (*visit)(void *self, const struct mv_moments *), void *self);

/* Committed rows, from the shards. */
struct mv_pieces;
struct mv_pieces *mv_pieces_make(int run, const char *path, const struct mv_plan *, const struct mv_schema *,
                                 const struct mv_manifest *);
void mv_pieces_free(struct mv_pieces *);
struct mv_rows mv_pieces_rows(struct mv_pieces *, int cell); /* one cell at a time */

/* --- results --------------------------------------------------------------------------------------------- */

/* Writes RUN/results.h5 from the shards: temporary name, fsync, rename. digest[33], or NULL. Exit code, errors told. */
int mv_results_make(int run, const char *path, const struct mv_plan *, const struct mv_manifest *, char *digest);
/* mv_results_digest without a look at checksums: of a file that this process has just written. */
int mv_results_hash(const char *run_or_file, char hex[33]);

/* Rows [first, first + count) of axis 1, at the cell's point, of the dataset of that part (and output; -1). False: told.
 */
bool mv_results_read(const struct mv_results *, int cell, enum mv_part, int output, int64_t first, int64_t count,
                     void *out);
const struct mv_schema *mv_results_schema(const struct mv_results *);
/* Rows [first, first + count) of axis 0 of a dataset of the schema; texts are freed one by one. False: told. */
bool mv_results_rows(const struct mv_results *, const struct mv_dataset *, int64_t first, int64_t count, void *out);
void mv_results_free_text(char *);

#endif
