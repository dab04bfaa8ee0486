/* store.h - the run directory and results.h5. store_write.c and store_read.c are the only files that see hdf5.h. */
#ifndef METAVAR_STORE_H
#define METAVAR_STORE_H

#include "metavar/sample.h"

/* Exit codes; sysexits(3) where it has one. */
enum mv_exit {
  MV_EXIT_OK = 0,
  MV_EXIT_FAILED = 1,   /* a check failed */
  MV_EXIT_USAGE = 2,    /* command line */
  MV_EXIT_DATA = 65,    /* a data file is damaged or foreign */
  MV_EXIT_RUNNING = 69, /* another process holds the run */
  MV_EXIT_INTERNAL = 70,
  MV_EXIT_CREATE = 73, /* cannot create the run directory */
  MV_EXIT_IO = 74,     /* writing failed */
  MV_EXIT_AGAIN = 75,  /* stopped early: run the same command again */
  MV_EXIT_JOB = 78     /* the job file */
};

/* What is known of an attempt; written to RUN/attempts/NNN.json at start and again at the end. */
struct mv_attempt {
  int ranks;
  const char *hosts;       /* comma-separated, in rank order */
  const char *exit_reason; /* NULL while running; "complete", "stopped", ... */
  double start, end;       /* seconds since the epoch */
  int64_t messages, bytes; /* that rank 0 has sent and received */
};

struct mv_store;

/* Opens or creates RUN for this job, before any rank works. Creates: job.yaml (verbatim), resolved.yaml (canonical),
 * shards/, manifest.jsonl, attempts/, README.txt, run.lock. An existing directory that is not a run, or holds another job
 * (canonical identity text differs), is refused with one message naming the first differing key, nothing touched.
 * Until it is closed, or this process ends in any way, no other can open it (MV_EXIT_RUNNING); reading needs no lock.
 * Errors are printed to stderr once; *exit_code says which. */
struct mv_store *mv_store_open(const char *run, const struct mv_plan *, int *exit_code);
int mv_store_attempt(struct mv_store *, const struct mv_attempt *); /* exit code */

/* What is committed already: calls visit for every committed unit. */
void mv_store_committed(const struct mv_store *, void (*visit)(void *self, const struct mv_unit *), void *self);

/* A row that is committed: row number `row` of a cell that stores samples, into values[layout.values], and its status.
 * Exit code; errors told. */
int mv_store_row(const struct mv_store *, int cell, int64_t row, double *values, int8_t *status);

/* Training whose lifetimes are carried. Who commits updates asks for what the lifetimes of a cell carry behind `row`, the
 * last one; NULL: not known. It is stored beside them, and not copied. */
void mv_store_on_carried(struct mv_store *,
                         const void *(*carried)(void *self, int64_t cell, int64_t row, size_t *bytes), void *self);
/* The last update before `limit` behind which it is stored, and it, malloc'ed; -1: none, if limit is not 0 this is told. */
int64_t mv_store_carried(struct mv_store *, int64_t cell, int64_t limit, size_t bytes, void **state);

/* When results are committed: the oldest has waited for `patience` seconds, or MV_COMMIT_BYTES have gathered and commits
 * take no more than a tenth of the time (the last took `took` seconds and was over `since` seconds ago), or four times as
 * many bytes have. */
#define MV_COMMIT_SECONDS 10.0 /* the usual patience; METAVAR_COMMIT_SECONDS overrides */
#define MV_COMMIT_BYTES   ((double)(8 << 20))
static inline bool mv_commit_due(double bytes, double waited, double patience, double since, double took)
{
  return waited >= patience || bytes >= 4 * MV_COMMIT_BYTES || (bytes >= MV_COMMIT_BYTES && since >= 9 * took);
}

/* Takes a copy of a result; commits when that is due. Exit code, 0 if fine. */
int mv_store_add(struct mv_store *, const void *result, size_t size);
int mv_store_tick(struct mv_store *); /* commits if that is due; call it every now and then. Exit code */
int mv_store_commit(struct mv_store *);
/* When the disk or a quota is full, commits wait for room, at most 5 minutes (METAVAR_ROOM_SECONDS); until then nothing
 * else happens, and `hurry` is asked about once a second whether there is no more time for it. */
void mv_store_on_full(struct mv_store *, bool (*hurry)(void *self), void *self);
void mv_store_close(struct mv_store *); /* commits nothing */

/* Commits. When every replicate that the plan asks for is there and the job has a stopping rule: decides which cells go on
 * to the next round, and plan->replicates grows. *more: whether replicates are missing now. Exit code. */
int mv_store_decide(struct mv_store *, bool *more);

/* Writes RUN/results.h5 from the shards (temporary name, fsync, rename) when every replicate of every cell is there.
 * digest[33], unless NULL: of what can be read of it, as below. Exit code. */
int mv_store_finalize(struct mv_store *, char *digest);

/* Canonical digest of a results.h5, which has to be what the checksums beside it say: all datasets outside /provenance,
 * by path, type, shape and bytes. hex[33]. Exit code. */
int mv_results_digest(const char *path, char hex[33]);

/* Whether somebody wants this run to stop (mv_store_ask_stop). */
bool mv_store_stop_asked(struct mv_store *);

/* Who works on a run. Exit code; errors printed. */
struct mv_holder {
  bool held;
  char name[256]; /* "host node7, pid 4711, since ..."; "" if it has not said */
};
int mv_store_holder(const char *run, struct mv_holder *);
/* Asks the process that works on a run to commit and leave. Exit code; errors printed. */
int mv_store_ask_stop(const char *run);

/* Progress of a run directory, from its files alone. */
struct mv_progress {
  int64_t done, total, nonfinite; /* samples, or updates */
  int64_t shards, bytes;
  int attempts;
  bool finished;                    /* results.h5 is there */
  int rounds;                       /* of a stopping rule, decided */
  int64_t cells, go_on, fall_short; /* that need more; that have the most and not reached the target */
  bool trains;                      /* rows are updates */
};
int mv_store_progress(const char *run, struct mv_progress *); /* exit code; errors printed */

/* Reading results.h5, which holds its own job. */
struct mv_results;
struct mv_results *mv_results_open(const char *run_or_file, int *exit_code); /* errors printed */
void mv_results_close(struct mv_results *);
const struct mv_job *mv_results_job(const struct mv_results *);
bool mv_results_are_of(const struct mv_results *, const struct mv_job *); /* a job that gives these results */
const struct mv_plan *mv_results_plan(const struct mv_results *);

/* Moments of one cell in blocks of job->block replicates, whatever the store kind: samples are reduced on the way
 * (mv_moments_make). Streams: memory is one block's. visit gets block b, its finite and non-finite counts,
 * mean[moments], comoment[pairs], largest[vectors][MV_LARGEST], largest_id. Exit code. */
struct mv_moments {
  int64_t block, count, nonfinite;
  const double *mean, *comoment, *largest;
  const int64_t *largest_id;
};
int mv_results_blocks(struct mv_results *, int cell, void (*visit)(void *self, const struct mv_moments *), void *self);

/* All samples of a cell of an entry that stores them, in order, piece by piece: values[count][layout.values],
 * status[count] of replicates first, first + 1, ... Exit code. */
struct mv_samples {
  int64_t first, count;
  const double *values;
  const int8_t *status;
};
int mv_results_samples(struct mv_results *, int cell, void (*visit)(void *self, const struct mv_samples *), void *self);

/* --- checking: metavar verify and replay --- */

/* The job of a run directory. NULL after a message. */
struct mv_job *mv_store_job(const char *run);

/* The manifest and the shards of a run, everything read and compared with its checksum. Exit code; errors printed. */
struct mv_audit {
  int64_t lines, damaged_lines; /* of the manifest */
  int64_t torn_lines;           /* cut off when a process was killed while it wrote them; they never counted */
  int64_t shards, damaged_shards, bytes;
  int64_t carried, damaged_carried; /* files of what lifetimes carry (mv_store_carried) */
  int64_t samples;                  /* that the whole shards hold */
  bool finished;                    /* results.h5 is there */
  int rounds;                       /* of a stopping rule, decided */
  int64_t cells_going_on;           /* by the last round that is on record */
};
int mv_store_audit(const char *run, const struct mv_plan *, struct mv_audit *); /* plan: told what cells are to have */

/* Files listed in RUN/checksums.xxh128; in *wrong how many are not what it says, each told. */
int mv_store_check_sums(const char *run, int *wrong);

/* Datasets of results.h5 that follow from the job alone (axes, eta, costs, ids); in *wrong how many are not as they
 * should be, each told. */
int64_t mv_results_check_axes(const struct mv_results *, int64_t *wrong);
/* Replicates of a cell that are there and whose status fits their values; when none is missing, also what is there and
 * should not be. -1: cannot be read, told. */
int64_t mv_results_count(const struct mv_results *, int cell);
/* Compares the bits of a result of mv_worker_compute for this job with those that are stored: the name of the first
 * dataset that differs, or NULL. False: cannot be read, told. */
bool mv_results_compare(const struct mv_results *, const void *result, size_t size, const char **differs);
/* Rows [first, first + count) of an output that is stored as doubles, of an entry that stores samples. False: cannot be
 * read, told. */
bool mv_results_output(const struct mv_results *, int cell, int output, int64_t first, int64_t count, double *out);
/* One sample of an entry that stores samples: values[layout.values]. False: cannot be read, told. */
bool mv_results_sample(const struct mv_results *, int cell, int64_t replicate, double *values, int8_t *status);

/* "HDF5 1.10.8", for `metavar --version`. */
const char *mv_store_library(void);

#endif
