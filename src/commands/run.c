/* run.c - `metavar run`: every missing replicate of a job, by all ranks, into a run directory.
 *
 * Rank 0 reads the job, opens the store and is the only one that speaks and writes; everything that can be wrong is
 * found before any rank works, and the other ranks need no file system: they get the canonical job as text. A run that
 * was stopped goes on when the same command is given again, with any number of ranks.
 */
#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "metavar/clock.h"
#include "metavar/command.h"
#include "metavar/deadline.h"
#include "metavar/farm.h"
#include "metavar/memory.h"
#include "metavar/progress.h"
#include "metavar/ranges.h"
#include "metavar/schedule.h"
#include "metavar/signals.h"
#include "../run_options.h"

#define CALIBRATION_SECONDS        0.5
#define PATIENCE_SECONDS           60.0 /* a rank is silent after so long, and after so many of its longest units */
#define PATIENCE_UNITS             10
#define MASTER_PATIENCE            30 /* times as long: rank 0 may be waiting for a disk */
#define RANKS_MAX_COMPUTING_MASTER 64 /* beyond, rank 0 had better serve the others without delay */

struct place { /* of a rank */
  char host[64], kernel[16];
};

struct run {
  struct mv_run_options options;
  struct mv_comm *comm;
  struct mv_job *job;
  struct mv_plan *plan;
  struct mv_worker *worker;
  /* rank 0 */
  struct mv_store *store;
  struct mv_schedule *schedule;
  struct mv_meter meter;
  struct mv_deadline deadline;
  double *seconds;     /* [entry_count] per replicate */
  struct place *place; /* [ranks] */
  bool late;           /* another unit would not be back before the deadline */
  bool asked;          /* metavar stop */
  int exit_code;       /* the store's, when it failed under way */
};

/* ---- the farm's view ------------------------------------------------------------------------------------- */

/* As the calibration has it. */
static double predicted_seconds(const struct run *r, const struct mv_unit *unit)
{
  return (double)unit->count * r->seconds[mv_plan_entry(r->plan, (int)unit->cell)];
}

static bool farm_next(void *self, void *unit)
{
  struct run *r = self;
  if (!mv_schedule_next(r->schedule, unit)) {
    return false;
  }
  r->late = !mv_deadline_admit(&r->deadline, predicted_seconds(r, unit));
  return !r->late;
}

static bool farm_done(void *self, const void *bytes, size_t size)
{
  struct run *r = self;
  struct mv_result result;
  bool fits = mv_result_view(r->plan, bytes, size, &result);
  assert(fits && "result of a unit");
  const struct mv_unit *unit = &result.head->unit;
  double predicted = predicted_seconds(r, unit);
  mv_meter_add(&r->meter, unit->count, result.head->nonfinite, predicted);
  mv_deadline_back(&r->deadline, predicted, result.head->seconds);
  if (r->exit_code == MV_EXIT_OK) { /* else the store failed in a tick */
    r->exit_code = mv_store_add(r->store, bytes, size);
  }
  return r->exit_code == MV_EXIT_OK;
}

static bool farm_tick(void *self)
{
  struct run *r = self;
  mv_meter_tick(&r->meter);
  if (r->exit_code == MV_EXIT_OK) {
    r->exit_code = mv_store_tick(r->store);
  }
  r->asked = r->asked || mv_store_stop_asked(r->store);
  return r->exit_code == MV_EXIT_OK && !mv_signals_noted() && !r->asked && !r->late;
}

/* A commit waits for a full disk: whether it has to make an end. */
static bool store_hurry(void *self)
{
  struct run *r = self;
  r->asked = r->asked || mv_store_stop_asked(r->store);
  return mv_signals_noted() || r->asked || mv_clock_monotonic() >= r->deadline.at;
}

/* Why the run stops early, for the user. */
static const char *stop_reason(const struct run *r)
{
  if (mv_signals_noted()) {
    return strsignal(mv_signals_noted());
  }
  if (r->asked) {
    return "metavar stop";
  }
  return r->meter.done > 0 ? "the time is nearly up" : "the time left is too short for a single work unit";
}

static size_t farm_compute(void *self, const void *bytes, void **result, size_t *capacity)
{
  struct run *r = self;
  const struct mv_unit *unit = bytes;
  size_t size = mv_result_bytes(r->plan, unit);
  if (size > *capacity) {
    free(*result);
    *result = mv_memory_take(1, size);
    *capacity = size;
  }
  mv_worker_compute(r->worker, unit, *result);
  return size;
}

static void farm_silent(void *self, int rank, double seconds, int units)
{
  const struct run *r = self;
  mv_meter_break(&r->meter);
  fprintf(
      stderr,
      "metavar: rank %d on host %s has been silent for %.0f s; its %d work unit%s to other ranks. Is it stopped, or "
      "its node overloaded?\n",
      rank, r->place[rank].host, seconds, units, units == 1 ? " goes" : "s go");
}

static void farm_heard(void *self, int rank)
{
  const struct run *r = self;
  mv_meter_break(&r->meter);
  fprintf(stderr, "metavar: rank %d on host %s answers again\n", rank, r->place[rank].host);
}

static void farm_orphan(void *self, double seconds)
{
  const struct run *r = self;
  fprintf(
      stderr,
      "metavar: rank %d on host %s has heard nothing from rank 0 for %.0f s and ends the run; what is stored stays: "
      "run the same command again\n",
      mv_comm_rank(r->comm), mv_comm_host(r->comm), seconds);
  mv_comm_abort(r->comm, MV_EXIT_AGAIN);
}

/* METAVAR_PATIENCE_SECONDS is for tests. */
static double patience_seconds(void)
{
  const char *text = getenv("METAVAR_PATIENCE_SECONDS");
  double seconds = text ? strtod(text, NULL) : 0;
  return seconds > 0 ? seconds : PATIENCE_SECONDS;
}

/* Rank 0: decides what a stopping rule has to decide, if a round is complete; then what is missing. Exit code. */
static int next_round(struct run *r, bool *more)
{
  int exit_code = mv_store_decide(r->store, more);
  mv_schedule_free(r->schedule);
  r->schedule = mv_schedule_create(r->plan);
  mv_store_committed(r->store, mv_schedule_mark, r->schedule);
  return exit_code;
}

static bool farm_more(void *self)
{
  struct run *r = self;
  bool more = false;
  if (r->late || r->exit_code != MV_EXIT_OK) {
    return false;
  }
  r->exit_code = next_round(r, &more);
  if (r->exit_code != MV_EXIT_OK || !more) {
    return false;
  }
  mv_schedule_cut(r->schedule, r->seconds, mv_comm_size(r->comm));
  mv_meter_grow(&r->meter, mv_plan_samples(r->plan), mv_schedule_seconds(r->schedule));
  return true;
}

/* ---- before: one job on all ranks ------------------------------------------------------------------------ */

/* Rank 0: reads, plans, opens. Exit code. */
static int prepare(struct run *r, const struct mv_args *args)
{
  bool more;
  int exit_code = MV_EXIT_OK;
  r->job = mv_job_read(mv_args_at(args, 0), (const char *const *)r->options.set, r->options.set_count, mv_kernel_best(),
                       stderr);
  if (!r->job) {
    return MV_EXIT_JOB;
  }
  r->plan = mv_plan_make(r->job);
  r->store = mv_store_open(r->options.run, r->plan, &exit_code);
  if (!r->store) {
    return exit_code;
  }
  mv_store_on_full(r->store, store_hurry, r);
  return next_round(r, &more);
}

/* Every rank gets rank 0's job, as canonical text. */
static void share_job(struct run *r)
{
  bool first = mv_comm_rank(r->comm) == 0;
  char *text = first ? mv_job_canonical(r->job, false) : NULL;
  size_t length = first ? strlen(text) : 0;
  mv_comm_share(r->comm, &length, sizeof length);
  if (!first) {
    text = mv_memory_take(length + 1, 1);
  }
  mv_comm_share(r->comm, text, length);
  if (!first) {
    r->job = mv_job_parse("the job from rank 0", text, length, NULL, 0, mv_kernel_best(), stderr);
    if (!r->job) {
      mv_comm_abort(r->comm, MV_EXIT_INTERNAL);
    }
    r->plan = mv_plan_make(r->job);
  }
  free(text);
}

/* Comma-separated hosts in rank order, with the kernel where ranks use different ones. NULL on the other ranks. */
static char *gather_hosts(struct run *r)
{
  struct place mine = {{0}, {0}}, *all = NULL;
  int size = mv_comm_size(r->comm);
  bool first = mv_comm_rank(r->comm) == 0, mixed = false;
  snprintf(mine.host, sizeof mine.host, "%s", mv_comm_host(r->comm));
  snprintf(mine.kernel, sizeof mine.kernel, "%s", r->job->kernel->name);
  if (first) {
    r->place = all = mv_memory_take((size_t)size, sizeof *all);
  }
  mv_comm_gather(r->comm, &mine, sizeof mine, all);
  if (!first) {
    return NULL;
  }
  for (int i = 1; i < size; i++) {
    mixed |= strcmp(all[i].kernel, all[0].kernel) != 0;
  }
  char *hosts = mv_memory_take((size_t)size, sizeof mine + 4), *end = hosts;
  for (int i = 0; i < size; i++) {
    end += sprintf(end, mixed ? "%s%s(%s)" : "%s%s", i ? "," : "", all[i].host, all[i].kernel);
  }
  return hosts;
}

/* ---- the work ---------------------------------------------------------------------------------------------- */

/* Rank 0: cuts the missing replicates into units. */
static void make_units(struct run *r)
{
  r->seconds = mv_memory_take((size_t)r->job->entry_count, sizeof *r->seconds);
  mv_calibrate(r->plan, CALIBRATION_SECONDS, r->seconds);
  mv_schedule_cut(r->schedule, r->seconds, mv_comm_size(r->comm));
  mv_meter_start(&r->meter, r->options.period, mv_plan_samples(r->plan), mv_schedule_samples(r->schedule),
                 mv_schedule_seconds(r->schedule));
}

/* Rank 0: commits what the farm has brought, and closes the attempt. Exit code: 0 when everything is there. */
static int end_attempt(struct run *r, struct mv_attempt *attempt, bool complete)
{
  int exit_code = r->exit_code;
  mv_meter_stop(&r->meter);
  if (exit_code == MV_EXIT_OK) {
    exit_code = mv_store_commit(r->store);
  }
  if (exit_code == MV_EXIT_OK && !complete) {
    exit_code = MV_EXIT_AGAIN;
  }
  const char *early = r->asked ? "asked" : "stopped"; /* a batch script queues the latter again */
  attempt->exit_reason = exit_code == MV_EXIT_OK ? "complete" : exit_code == MV_EXIT_AGAIN ? early : "failed";
  attempt->end = mv_clock_wall();
  int written = mv_store_attempt(r->store, attempt);
  return exit_code == MV_EXIT_OK ? written : exit_code;
}

static struct mv_farm make_farm(struct run *r)
{
  int ranks = mv_comm_size(r->comm);
  double patience = patience_seconds();
  struct mv_farm farm = {.self = r,
                         .next = farm_next,
                         .more = farm_more,
                         .done = farm_done,
                         .tick = farm_tick,
                         .unit_size = sizeof(struct mv_unit),
                         .compute = farm_compute,
                         .silent = farm_silent,
                         .heard = farm_heard,
                         .master_patience = MASTER_PATIENCE * patience,
                         .orphan = farm_orphan};
  farm.master_computes = ranks == 1 || r->options.computes == MV_COMPUTES_YES ||
                         (r->options.computes == MV_COMPUTES_AUTO && ranks <= RANKS_MAX_COMPUTING_MASTER);
  farm.patience = patience;
  if (r->schedule) {
    farm.patience = fmax(patience, PATIENCE_UNITS * mv_schedule_longest(r->schedule));
  }
  return farm;
}

/* All ranks: computes what is missing. Exit code on rank 0: 0 when everything is there. */
static int compute(struct run *r)
{
  int ranks = mv_comm_size(r->comm), exit_code = MV_EXIT_OK;
  bool first = mv_comm_rank(r->comm) == 0;
  char *hosts = gather_hosts(r);
  struct mv_attempt attempt = {ranks, hosts, NULL, mv_clock_wall(), 0};
  if (first) {
    exit_code = mv_store_attempt(r->store, &attempt);
  }
  mv_comm_share(r->comm, &exit_code, sizeof exit_code);
  if (exit_code == MV_EXIT_OK) {
    if (first) {
      make_units(r);
    }
    r->worker = mv_worker_create(r->plan);
    struct mv_farm farm = make_farm(r);
    bool complete = mv_farm_run(r->comm, &farm) && !r->late;
    if (first) {
      exit_code = end_attempt(r, &attempt, complete);
    }
  }
  free(hosts);
  return exit_code;
}

/* The digest of results.h5, if that is whole and of this job. Exit code. */
static int read_digest(const struct run *r, const char *path, char digest[33])
{
  int exit_code = mv_results_digest(path, digest);
  struct mv_results *results = exit_code == MV_EXIT_OK ? mv_results_open(path, &exit_code) : NULL;
  if (results && !mv_results_are_of(results, r->job)) {
    fprintf(stderr, "metavar: %s: holds the results of another job\n", path);
    exit_code = MV_EXIT_DATA;
  }
  mv_results_close(results);
  return exit_code;
}

static void tell_rounds(const struct run *r, const struct mv_progress *p)
{
  const struct mv_stopping *stop = &r->job->stop;
  if (p->rounds > 0) {
    fprintf(stderr, "metavar: %lld of %lld cells have reached a relative error of %g (%s), in at most %d rounds\n",
            (long long)(p->cells - p->fall_short), (long long)p->cells, stop->relative_error,
            mv_statistic_names[stop->statistic], p->rounds);
  }
}

/* Rank 0: everything is committed. Writes results.h5 if it is not there, and tells where. Exit code. */
static int finish(struct run *r, bool computed)
{
  struct mv_progress progress;
  int exit_code = mv_store_progress(r->options.run, &progress);
  if (exit_code == MV_EXIT_OK && (computed || !progress.finished)) {
    tell_rounds(r, &progress);
    exit_code = mv_store_finalize(r->store);
  }
  if (exit_code != MV_EXIT_OK) {
    return exit_code;
  }
  char digest[33], *path = mv_memory_take(strlen(r->options.run) + sizeof "/results.h5", 1);
  sprintf(path, "%s/results.h5", r->options.run);
  exit_code = read_digest(r, path, digest);
  if (exit_code == MV_EXIT_DATA) { /* told; the shards are another copy */
    fprintf(stderr, "metavar: writing it again from the shards\n");
    exit_code = mv_store_finalize(r->store);
    if (exit_code == MV_EXIT_OK) {
      exit_code = mv_results_digest(path, digest);
    }
  }
  if (exit_code == MV_EXIT_OK) {
    printf("%s\ndigest %s\n", path, digest);
  }
  free(path);
  return exit_code;
}

/* All ranks, with the store open and the job known everywhere. Exit code on rank 0. */
static int work(struct run *r)
{
  bool first = mv_comm_rank(r->comm) == 0, missing = first && mv_schedule_samples(r->schedule) > 0;
  mv_comm_share(r->comm, &missing, sizeof missing);
  int exit_code = missing ? compute(r) : MV_EXIT_OK;
  if (first) {
    if (exit_code == MV_EXIT_OK) {
      exit_code = finish(r, missing);
    } else if (exit_code == MV_EXIT_AGAIN) {
      fprintf(stderr, "metavar: stopped early (%s); what is done is stored: run the same command again\n",
              stop_reason(r));
    }
  }
  return exit_code;
}

/* ---- the command ------------------------------------------------------------------------------------------- */

static void release(struct run *r)
{
  mv_worker_free(r->worker);
  mv_schedule_free(r->schedule);
  if (r->store) {
    mv_store_close(r->store);
  }
  mv_plan_free(r->plan);
  mv_job_free(r->job);
  mv_deadline_free(&r->deadline);
  free(r->seconds);
  free(r->place);
  mv_run_options_free(&r->options);
}

static int run(const struct mv_args *args)
{
  struct run r = {0};
  double begin = mv_clock_monotonic();
  int exit_code = mv_run_options_read(args, &r.options);
  if (exit_code != MV_EXIT_OK) {
    mv_run_options_free(&r.options);
    return exit_code;
  }
  mv_signals_catch();
  if (mv_comm_speaks()) { /* rank 0 */
    exit_code = prepare(&r, args);
    if (exit_code != MV_EXIT_OK && mv_comm_may_leave()) { /* much faster than starting MPI */
      release(&r);
      return exit_code;
    }
    mv_deadline_start(&r.deadline, begin, r.options.limit);
  }
  r.comm = mv_comm_start(NULL, NULL);
  mv_signals_catch(); /* again */
  mv_comm_share(r.comm, &exit_code, sizeof exit_code);
  if (exit_code == MV_EXIT_OK) {
    share_job(&r);
    exit_code = work(&r);
  }
  release(&r);
  return mv_comm_stop(r.comm, exit_code, patience_seconds());
}

const struct mv_command mv_command_run = {
    .name = "run",
    .positional = "JOB",
    .least = 1,
    .most = 1,
    .summary = "compute a job into a run directory; go on where an earlier run of it stopped",
    .doc =
        "Computes every replicate of the job file JOB that the run directory does not hold yet, and writes "
        "RUN/results.h5 when all "
        "are there. Start it under mpirun or srun to use many cores; results are the same bits for any number of "
        "ranks. On SIGTERM, SIGINT or SIGUSR1, when somebody says metavar stop RUN, and when the time is nearly up "
        "it stores what is done and leaves with exit code 75: run the same command again to go on. SIGTERM or "
        "SIGINT a second time ends it at once; what was stored stays.\n"
        "The time is that of --max-time, or else what SLURM grants this job (SLURM_JOB_END_TIME, or squeue), less a "
        "margin of 60 seconds or a tenth of it, whichever is less. No work is begun that would not be back by then.\n"
        "A job file with more replicates, eta points or estimators than the run was made with extends it: what is "
        "done is kept.\n"
        "With --target-se (or stop: in the job file) replicates go where they are needed: all cells get a first round "
        "of 32 blocks, and those whose relative error is still larger get twice as many, and so on, at most the "
        "entry's replicates. Which samples result does not depend on ranks, units or interruptions. Cells that have "
        "the most "
        "and not reached the target are told.",
    .options =
        (const struct mv_option[]){
            {"output", 'o', "RUN", "the run directory, created if it is not there"},
            {"set", 's', "KEY=VALUE",
             "replace a setting of the job file, as in seed=7 or estimators.0.sigma=0.2; may be repeated"},
            {"progress", 'p', "SECONDS", "time between progress lines where stderr is no terminal (default 60)"},
            {"target-se", 0, "X[:STATISTIC]",
             "stop a cell where the relative standard error of the variance (default) or of the gradient is at most X; "
             "short for --set stop='{relative_error: X, statistic: STATISTIC}'"},
            {"max-replicates", 0, "N", "the most that a cell may get; short for --set 'estimators.*.replicates=N'"},
            {"master-computes", 0, "WORD",
             "whether rank 0 computes too, beside handing out work: yes, no or auto (default)"},
            {"max-time", 't', "TIME",
             "leave in good order before so much time has passed since the start: 90s, 10m, 2h, 1-00:00:00"},
            {"quiet", 'q', NULL, "no progress lines"},
            {0}},
    .run = run,
};
