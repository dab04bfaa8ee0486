/* bench_store.c - what storing costs. bench_store JOB RUN CSV
 *
 * Once for `store: samples` and once for `store: moments`, 4000 replicates of every cell of JOB:
 *   share     units are computed and stored by turns in one thread, commits as in a run, then results.h5 is made
 *             and its digest told: processor time of computing (storing nothing), of storing, of finalizing, (storing +
 *             finalizing) / all, and the seconds that storing and finalizing took, the disk included
 *   commits   of .1, 1 and 7.5 MB with bytes of no meaning: medians, and the line a + b bytes through the outer two; these
 *             drive the simulation of many ranks
 */
#include <stdbool.h>

#include "bench.h"
#include "metavar/clock.h"
#include "metavar/memory.h"
#include "metavar/sample.h"
#include "metavar/schedule.h"
#include "metavar/store.h"

enum { REPEATS = 9, SIZES = 3 };

static const double sizes[SIZES] = {1e5, 1e6, 7.5e6};

struct bench {
  const char *job_path, *kind;
  char run[4000];
  FILE *csv;
  struct mv_job *job;
  struct mv_plan *plan;
  struct mv_store *store;
  struct mv_schedule *schedule;
};

static void stop(const char *what)
{
  fprintf(stderr, "bench_store: %s\n", what);
  exit(1);
}

static void open_run(struct bench *b, const char *suffix, bool small)
{
  char kind[64], command[8300], run[4096];
  int code;
  snprintf(run, sizeof run, "%s/%s_%s", b->run, b->kind, suffix);
  snprintf(kind, sizeof kind, "estimators.*.store=%s", b->kind);
  snprintf(command, sizeof command, "rm -rf '%s'", run);
  const char *set[] = {kind, "estimators.*.replicates=4000", "block=100",
                       "unit=100"}; /* the latter for small commits */
  b->job = mv_job_read(b->job_path, set, small ? 4 : 2, mv_kernel_best(), stderr);
  if (!b->job || system(command) != 0)
    stop("no job");
  b->plan = mv_plan_make(b->job);
  b->store = mv_store_open(run, b->plan, &code);
  if (!b->store)
    stop("no run directory");
  double *seconds = mv_memory_take((size_t)b->job->entry_count, sizeof *seconds);
  mv_calibrate(b->plan, 0.5, seconds);
  b->schedule = mv_schedule_create(b->plan);
  mv_schedule_cut(b->schedule, seconds, 2);
  free(seconds);
}

static void close_run(struct bench *b)
{
  mv_schedule_free(b->schedule);
  mv_store_close(b->store);
  mv_plan_free(b->plan);
  mv_job_free(b->job);
}

static void must(int exit_code)
{
  if (exit_code != MV_EXIT_OK)
    stop("the store failed");
}

/* Processor time of the program, and time: the disk's share, and that of other programs. */
struct took {
  double cpu, wall;
};

static struct took now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (struct took){(double)t.tv_sec + 1e-9 * (double)t.tv_nsec, mv_clock_monotonic()};
}

/* Adds what has passed since *from, which becomes now. */
static void add_since(struct took *sum, struct took *from)
{
  struct took to = now();
  sum->cpu += to.cpu - from->cpu, sum->wall += to.wall - from->wall;
  *from = to;
}

static void bench_share(struct bench *b)
{
  open_run(b, "share", false);
  struct mv_worker *worker = mv_worker_create(b->plan);
  struct mv_unit unit;
  struct took compute = {0}, store = {0}, finalize = {0}, at;
  double samples = 0, bytes = 0;
  char digest[33];
  void *result = NULL; /* one place for all, as workers have */
  while (mv_schedule_next(b->schedule, &unit)) {
    size_t size = mv_result_bytes(b->plan, &unit);
    result = mv_memory_grow(result, size, 1);
    at = now();
    mv_worker_compute(worker, &unit, result);
    add_since(&compute, &at);
    must(mv_store_add(b->store, result, size));
    must(mv_store_tick(b->store));
    add_since(&store, &at);
    samples += (double)unit.count, bytes += (double)size;
  }
  free(result);
  at = now();
  must(mv_store_commit(b->store));
  add_since(&store, &at);
  must(mv_store_finalize(b->store, digest));
  add_since(&finalize, &at);
  double share = (store.cpu + finalize.cpu) / (compute.cpu + store.cpu + finalize.cpu);
  printf("%s: %.3g samples, %.1f MB, processor time (time): computing %.2f s (%.2f s), storing %.3f s (%.3f s), "
         "%.1f ns a byte, results.h5 %.3f s (%.3f s), %.1f ns a byte: storing costs %.2f %% of the time of one core\n",
         b->kind, samples, bytes / 1e6, compute.cpu, compute.wall, store.cpu, store.wall, 1e9 * store.cpu / bytes,
         finalize.cpu, finalize.wall, 1e9 * finalize.cpu / bytes, 100 * share);
  csv_line(b->csv, origin_load(), "%s,%.0f,%.0f,%.3f,%.4f,%.4f,%.4f,%.4f,%.5f,,", b->kind, samples, bytes, compute.cpu,
           store.cpu, store.wall, finalize.cpu, finalize.wall, share);
  mv_worker_free(worker);
  close_run(b);
}

/* A result with these bytes behind its head. */
static void add_fake(struct bench *b, const struct mv_unit *unit, size_t *size)
{
  *size = mv_result_bytes(b->plan, unit);
  struct mv_result_head *head = mv_memory_take(1, *size);
  *head = (struct mv_result_head){*unit, (int64_t)*size, 0, 0.0};
  double *value = (double *)(head + 1);
  for (size_t k = 0; k < (*size - sizeof *head) / 8; k++)
    value[k] = (double)rand();
  must(mv_store_add(b->store, head, *size));
  free(head);
}

static void bench_commits(struct bench *b)
{
  double took[SIZES][REPEATS], size[SIZES] = {0};
  struct mv_unit unit;
  open_run(b, "commits", true);
  for (int k = 0; k < SIZES * REPEATS; k++) {
    double bytes = 0;
    size_t one;
    while (bytes < sizes[k % SIZES]) {
      if (!mv_schedule_next(b->schedule, &unit))
        stop("the job is too small for the commits");
      add_fake(b, &unit, &one);
      bytes += (double)one;
    }
    double start = mv_clock_monotonic();
    must(mv_store_commit(b->store));
    took[k % SIZES][k / SIZES] = mv_clock_monotonic() - start;
    size[k % SIZES] += bytes / REPEATS;
  }
  for (int k = 0; k < SIZES; k++) {
    qsort(took[k], REPEATS, sizeof **took, ascending);
    printf("%s: a commit of %.2f MB takes %.4f s\n", b->kind, size[k] / 1e6, took[k][REPEATS / 2]);
  }
  double first = took[0][REPEATS / 2], last = took[SIZES - 1][REPEATS / 2];
  double slope = (last - first) / (size[SIZES - 1] - size[0]), fixed = first - slope * size[0];
  printf("%s: commit %.4f s + %.3g s per byte (%.0f MB/s)\n", b->kind, fixed, slope, 1e-6 / slope);
  csv_line(b->csv, origin_load(), "%s,,,,,,,,,%.5f,%.4g", b->kind, fixed, slope);
  close_run(b);
}

int main(int argc, char **argv)
{
  static const char *const kinds[] = {"samples", "moments"};
  if (argc != 4)
    stop("JOB RUN CSV");
  struct bench b = {.job_path = argv[1]};
  snprintf(b.run, sizeof b.run, "%s", argv[2]);
  b.csv = csv_open(
      argv[3], "cores,load,store,samples,bytes,compute_cpu,store_cpu,store_seconds,finalize_cpu,finalize_seconds,share,"
               "commit_seconds,commit_seconds_per_byte");
  if (!b.csv)
    stop("cannot write the CSV file");
  for (int k = 0; k < 2; k++) {
    b.kind = kinds[k];
    unsetenv("METAVAR_COMMIT_SECONDS");
    bench_share(&b);
    setenv("METAVAR_COMMIT_SECONDS", "1e9", 1);
    bench_commits(&b);
  }
  return fclose(b.csv);
}
