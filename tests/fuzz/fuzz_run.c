/* fuzz_run.c - libFuzzer on a run directory in which one file holds any bytes. The first byte of the input chooses the file, the others
 * are its contents.
 *
 * Whoever goes on with such a run gets the results of an undisturbed one, or a refusal. Reading commands work in their sandbox,
 * as in production: what libhdf5 makes of a damaged file may end that child, and is told; a fault of metavar's own there, as
 * the sanitizers see it, is a finding. `make fuzz` runs it; FUZZ_SEEDS names a folder for the first corpus, one input per file.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sanitizer/asan_interface.h>

#include "metavar/memory.h"
#include "metavar/sandbox.h"
#include "metavar/schedule.h"
#include "metavar/store.h"

static const char job_text[] = "name: fuzz\nseed: 3\nlifetime_length: 4\ntask: {name: tree_bandit}\nblock: 1\n"
                               "stop: {relative_error: 0.5, first_round: 24}\n"
                               "eta: {points: [[0.4, -0.3], [1, 0]]}\nestimators:\n"
                               "  - {name: backprop, truncation: [4], replicates: 48, store: moments}\n"
                               "  - {name: reference, replicates: 40}\n";

enum { FILES = 8, RESULTS = 7, OWN_FAULT = 99 };
static const char *const names[FILES] = {"job.yaml",          "resolved.yaml",    "manifest.jsonl", "checksums.xxh128",
                                         "attempts/001.json", "shards/000001.h5", "rounds.jsonl",   "results.h5"};

static char run[] = "/dev/shm/metavar-fuzz-XXXXXX"; /* memory: thousands of fsyncs */
static struct {
  char *bytes;
  size_t size;
} whole[FILES];
static char digest[33];
static struct mv_job *job;
static struct mv_plan *plan;

static void in_run(const char *name, char path[4096]) { snprintf(path, 4096, "%s/%s", run, name); }

static void put(int k, const void *bytes, size_t size)
{
  char path[4096];
  in_run(names[k], path);
  FILE *file = fopen(path, "w");
  assert(file && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

static void get(int k)
{
  char path[4096];
  struct stat info;
  in_run(names[k], path);
  FILE *file = fopen(path, "r");
  assert(file && fstat(fileno(file), &info) == 0);
  whole[k].size = (size_t)info.st_size;
  whole[k].bytes = mv_memory_take(whole[k].size, 1);
  assert(fread(whole[k].bytes, 1, whole[k].size, file) == whole[k].size);
  fclose(file);
}

/* Computes what is missing of this round. Exit code. */
static int compute(struct mv_store *store)
{
  struct mv_schedule *schedule = mv_schedule_create(plan);
  struct mv_worker *worker = mv_worker_create(plan);
  struct mv_unit unit;
  double *seconds = mv_memory_take((size_t)job->entry_count, sizeof *seconds);
  int code = MV_EXIT_OK;
  for (int e = 0; e < job->entry_count; e++)
    seconds[e] = 1;
  mv_store_committed(store, mv_schedule_mark, schedule);
  mv_schedule_cut(schedule, seconds, 1);
  while (code == MV_EXIT_OK && mv_schedule_next(schedule, &unit)) {
    size_t size = mv_result_bytes(plan, &unit);
    void *result = mv_memory_take(1, size);
    mv_worker_compute(worker, &unit, result);
    code = mv_store_add(store, result, size);
    free(result);
  }
  free(seconds);
  mv_worker_free(worker);
  mv_schedule_free(schedule);
  return code;
}

/* What the run does: the missing rounds, and the results if they are not there or not right. Exit code. */
static int go_on(void)
{
  int code, done = 0;
  bool more = true;
  char hex[33], results[4096];
  mv_plan_free(plan);
  plan = mv_plan_make(job); /* which a stopping rule changes */
  struct mv_store *store = mv_store_open(run, plan, &code);
  if (!store)
    return code;
  code = mv_store_attempt(store, &(struct mv_attempt){1, "here", NULL, 1, 0});
  while (code == MV_EXIT_OK && (code = mv_store_decide(store, &more)) == MV_EXIT_OK && more) {
    code = compute(store);
    done++;
  }
  in_run("results.h5", results);
  if (code == MV_EXIT_OK && (done || access(results, F_OK) != 0 || mv_results_digest(run, hex) != MV_EXIT_OK))
    code = mv_store_finalize(store, NULL);
  mv_store_close(store);
  return code;
}

static void clean(void)
{
  char command[128];
  snprintf(command, sizeof command, "rm -rf -- %s", run);
  assert(system(command) == 0);
}

/* The run as it was: what going on has added is gone. */
static void restore(void)
{
  static const char *const added[] = {"shards/000002.h5",  "shards/000003.h5",  "shards/000004.h5",
                                      "attempts/002.json", "resolved-001.yaml", "results.h5.part",
                                      "results-001.h5",    "job.yaml.part",     "resolved.yaml.part"};
  char path[4096];
  for (size_t k = 0; k < sizeof added / sizeof *added; k++) {
    in_run(added[k], path);
    unlink(path);
  }
  for (int k = 0; k < FILES; k++)
    put(k, whole[k].bytes, whole[k].size);
}

/* --- reading, as the commands do --------------------------------------------------------------------------------- */

static void ignore_block(void *self, const struct mv_moments *moments) { (void)self, (void)moments; }

/* An error report of the sanitizer: is its first frame that belongs to somebody ours, or libhdf5's? The latter is what the
 * sandbox is for. */
static void on_report(const char *report)
{
  for (const char *frame = strstr(report, "    #"); frame; frame = strstr(frame + 1, "    #")) {
    size_t length = strcspn(frame, "\n");
    if (memmem(frame, length, "libhdf5", 7))
      raise(SIGSEGV);
    if (memmem(frame, length, "/src/store_", 11))
      break;
  }
  _exit(OWN_FAULT);
}

static int read_results(const void *unused)
{
  (void)unused;
  static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGILL};
  for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
    signal(numbers[k], SIG_DFL); /* not the fuzzer's */
  __asan_set_error_report_callback(on_report);
  int code;
  char hex[33];
  struct mv_results *results = mv_results_open(run, &code);
  for (int cell = 0; code == MV_EXIT_OK && cell < plan->cells; cell++) {
    code = mv_results_blocks(results, cell, ignore_block, NULL);
    if (code == MV_EXIT_OK)
      (void)mv_results_count(results, cell);
  }
  mv_results_close(results);
  if (mv_results_digest(run, hex) == MV_EXIT_OK && strcmp(hex, digest) != 0)
    _exit(OWN_FAULT); /* the checksum would have told */
  return code;
}

static void read_texts(void)
{
  struct mv_progress progress;
  struct mv_audit audit;
  struct mv_holder holder;
  int wrong;
  (void)mv_store_progress(run, &progress);
  (void)mv_store_audit(run, plan, &audit);
  (void)mv_store_check_sums(run, &wrong);
  (void)mv_store_holder(run, &holder);
  struct mv_job *read = mv_store_job(run);
  mv_job_free(read);
}

/* --- libFuzzer ------------------------------------------------------------------------------------------------------ */

static void write_seeds(const char *folder)
{
  for (int k = 0; k < FILES; k++) {
    char path[4096];
    snprintf(path, sizeof path, "%s/run-file-%d", folder, k);
    FILE *file = fopen(path, "w");
    assert(file && fputc(k, file) == k && fwrite(whole[k].bytes, 1, whole[k].size, file) == whole[k].size);
    assert(fclose(file) == 0);
  }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
  (void)argc, (void)argv;
  assert(mkdtemp(run) && rmdir(run) == 0);
  setenv("METAVAR_ROOM_SECONDS", "0", 1);
  job = mv_job_parse("fuzz", job_text, sizeof job_text - 1, NULL, 0, mv_kernel_find("scalar"), stderr);
  assert(go_on() == MV_EXIT_OK && mv_results_digest(run, digest) == MV_EXIT_OK);
  atexit(clean);
  for (int k = 0; k < FILES; k++)
    get(k);
  if (getenv("FUZZ_SEEDS"))
    write_seeds(getenv("FUZZ_SEEDS"));
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  char hex[33];
  if (size == 0)
    return 0;
  int which = data[0] % FILES;
  put(which, data + 1, size - 1);
  if (which == RESULTS) {
    int code = mv_sandbox_run("fuzz", read_results, NULL);
    assert(code == MV_EXIT_OK || code == MV_EXIT_DATA);
  } else {
    read_texts();
  }
  int code = go_on();
  assert(code != MV_EXIT_OK || (mv_results_digest(run, hex) == MV_EXIT_OK && strcmp(hex, digest) == 0));
  assert(code == MV_EXIT_OK || code == MV_EXIT_DATA || code == MV_EXIT_JOB || code == MV_EXIT_CREATE);
  restore();
  return 0;
}
