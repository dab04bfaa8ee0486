/* launch.c - what `run` and `train` have in common.
 *
 * Rank 0 reads the job, opens the store and is the only one that speaks and writes; everything that can be wrong is
 * found before any rank works, and the other ranks need no file system: they get the canonical job as text. A run that
 * was stopped goes on when the same command is given again, with any number of ranks.
 */
#include "metavar/launch.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "metavar/clock.h"
#include "metavar/memory.h"
#include "metavar/signals.h"

#define PATIENCE_SECONDS 60.0 /* a rank is silent after so long, and after so many of its longest units */
#define PATIENCE_UNITS   10
#define MASTER_PATIENCE  30 /* times as long: rank 0 may be waiting for a disk */

struct mv_seat { /* of a rank */
  char host[64], kernel[MV_KERNEL_LABEL];
};

/* ---- for the verbs --------------------------------------------------------------------------------------- */

bool mv_launch_admit(struct mv_launch *l, double predicted)
{
  l->late = !mv_deadline_admit(&l->deadline, predicted);
  return !l->late;
}

void mv_launch_back(struct mv_launch *l, double predicted, double seconds)
{
  mv_deadline_back(&l->deadline, predicted, seconds);
}

bool mv_launch_store(struct mv_launch *l, const void *result, size_t size)
{
  if (l->exit_code == MV_EXIT_OK) { /* else the store failed in a tick */
    l->exit_code = mv_store_add(l->store, result, size);
  }
  return l->exit_code == MV_EXIT_OK;
}

/* ---- the farm's view ------------------------------------------------------------------------------------- */

static bool farm_tick(void *self)
{
  struct mv_launch *l = self;
  mv_meter_tick(&l->meter);
  if (l->exit_code == MV_EXIT_OK) {
    l->exit_code = mv_store_tick(l->store);
  }
  l->asked = l->asked || mv_store_stop_asked(l->store);
  return l->exit_code == MV_EXIT_OK && !mv_signals_noted() && !l->asked && !l->late;
}

/* A commit waits for a full disk: whether it has to make an end. */
static bool store_hurry(void *self)
{
  struct mv_launch *l = self;
  l->asked = l->asked || mv_store_stop_asked(l->store);
  return mv_signals_noted() || l->asked || mv_clock_monotonic() >= l->deadline.at;
}

/* Why the run stops early, for the user. */
static const char *stop_reason(const struct mv_launch *l)
{
  if (mv_signals_noted()) {
    return strsignal(mv_signals_noted());
  }
  if (l->asked) {
    return "metavar stop";
  }
  return l->meter.done > 0 ? "the time is nearly up" : "the time left is too short for a single work unit";
}

static void farm_silent(void *self, int rank, double seconds, int units)
{
  const struct mv_launch *l = self;
  mv_meter_break(&l->meter);
  fprintf(
      stderr,
      "metavar: rank %d on host %s has been silent for %.0f s; its %d work unit%s to other ranks. Is it stopped, or "
      "its node overloaded?\n",
      rank, l->seat[rank].host, seconds, units, units == 1 ? " goes" : "s go");
}

static void farm_heard(void *self, int rank)
{
  const struct mv_launch *l = self;
  mv_meter_break(&l->meter);
  fprintf(stderr, "metavar: rank %d on host %s answers again\n", rank, l->seat[rank].host);
}

static void farm_orphan(void *self, double seconds)
{
  const struct mv_launch *l = self;
  fprintf(
      stderr,
      "metavar: rank %d on host %s has heard nothing from rank 0 for %.0f s and ends the run; what is stored stays: "
      "run the same command again\n",
      mv_comm_rank(l->comm), mv_comm_host(l->comm), seconds);
  mv_comm_abort(l->comm, MV_EXIT_AGAIN);
}

/* METAVAR_PATIENCE_SECONDS is for tests. */
static double patience_seconds(void)
{
  const char *text = getenv("METAVAR_PATIENCE_SECONDS");
  double seconds = text ? strtod(text, NULL) : 0;
  return seconds > 0 ? seconds : PATIENCE_SECONDS;
}

/* ---- before: one job on all ranks ------------------------------------------------------------------------ */

/* Rank 0: reads, plans, opens. Exit code. */
static int prepare(struct mv_launch *l, const struct mv_args *args)
{
  int exit_code = MV_EXIT_OK;
  l->job = mv_job_read(mv_args_at(args, 0), (const char *const *)l->options.set, l->options.set_count, mv_kernel_best(),
                       stderr);
  if (!l->job) {
    return MV_EXIT_JOB;
  }
  if ((l->job->train.updates > 0) != l->what->trains) {
    fprintf(stderr, "metavar %s: %s: a job with%s `train:`; give it to metavar %s\n", l->what->verb,
            mv_args_at(args, 0), l->what->trains ? "out" : "", l->what->other);
    return MV_EXIT_JOB;
  }
  l->plan = mv_plan_make(l->job);
  l->store = mv_store_open(l->options.run, l->plan, &exit_code);
  if (!l->store) {
    return exit_code;
  }
  mv_store_on_full(l->store, store_hurry, l);
  return l->what->begin(l, &l->missing);
}

/* Every rank gets rank 0's job, as canonical text. */
static void share_job(struct mv_launch *l)
{
  bool first = mv_comm_rank(l->comm) == 0;
  char *text = first ? mv_job_canonical(l->job, false) : NULL;
  size_t length = first ? strlen(text) : 0;
  mv_comm_share(l->comm, &length, sizeof length);
  if (!first) {
    text = mv_memory_take(length + 1, 1);
  }
  mv_comm_share(l->comm, text, length);
  if (!first) {
    l->job = mv_job_parse("the job from rank 0", text, length, NULL, 0, mv_kernel_best(), stderr);
    if (!l->job) {
      mv_comm_abort(l->comm, MV_EXIT_INTERNAL);
    }
    l->plan = mv_plan_make(l->job);
  }
  free(text);
}

/* Networks have the same bits only from the same kernels of OpenBLAS. */
static void refuse_mixture(struct mv_launch *l, const struct mv_seat *all, int size)
{
  int other = 1;
  while (other < size - 1 && !strcmp(all[other].kernel, all[0].kernel)) {
    other++;
  }
  fprintf(
      stderr,
      "metavar: %s computes with %s, %s with %s, which give different bits; set OPENBLAS_CORETYPE to one name on all "
      "hosts\n",
      all[0].host, all[0].kernel, all[other].host, all[other].kernel);
  mv_comm_abort(l->comm, MV_EXIT_RUNNING);
}

/* Comma-separated hosts in rank order, with the kernel where ranks use different ones. NULL on the other ranks. */
static char *gather_hosts(struct mv_launch *l)
{
  struct mv_seat mine = {{0}, {0}}, *all = NULL;
  int size = mv_comm_size(l->comm);
  bool first = mv_comm_rank(l->comm) == 0, mixed = false;
  snprintf(mine.host, sizeof mine.host, "%s", mv_comm_host(l->comm));
  mv_kernel_label(l->job->kernel, &l->job->problem.shape, mine.kernel);
  if (first) {
    l->seat = all = mv_memory_take((size_t)size, sizeof *all);
  }
  mv_comm_gather(l->comm, &mine, sizeof mine, all);
  if (!first) {
    return NULL;
  }
  for (int i = 1; i < size; i++) {
    mixed |= strcmp(all[i].kernel, all[0].kernel) != 0;
  }
  if (mixed && l->job->problem.shape.lanes == 1) {
    refuse_mixture(l, all, size);
  }
  char *hosts = mv_memory_take((size_t)size, sizeof mine + 4), *end = hosts;
  for (int i = 0; i < size; i++) {
    end += sprintf(end, mixed ? "%s%s(%s)" : "%s%s", i ? "," : "", all[i].host, all[i].kernel);
  }
  return hosts;
}

/* ---- the work ---------------------------------------------------------------------------------------------- */

/* Rank 0: commits what the farm has brought, and closes the attempt. Exit code: 0 when everything is there. */
static int end_attempt(struct mv_launch *l, struct mv_attempt *attempt, bool complete)
{
  if (l->what->flush) {
    l->what->flush(l);
  }
  int exit_code = l->exit_code;
  mv_meter_stop(&l->meter);
  if (exit_code == MV_EXIT_OK) {
    exit_code = mv_store_commit(l->store);
  }
  if (exit_code == MV_EXIT_OK && !complete) {
    exit_code = MV_EXIT_AGAIN;
  }
  const char *early = l->asked ? "asked" : "stopped"; /* a batch script queues the latter again */
  attempt->exit_reason = exit_code == MV_EXIT_OK ? "complete" : exit_code == MV_EXIT_AGAIN ? early : "failed";
  attempt->end = mv_clock_wall();
  struct mv_traffic traffic = mv_comm_traffic(l->comm);
  attempt->messages = traffic.messages;
  attempt->bytes = traffic.bytes;
  int written = mv_store_attempt(l->store, attempt);
  return exit_code == MV_EXIT_OK ? written : exit_code;
}

static struct mv_farm make_farm(struct mv_launch *l, double longest)
{
  double patience = patience_seconds();
  return (struct mv_farm){.self = l,
                          .next = l->what->next,
                          .more = l->what->more,
                          .done = l->what->done,
                          .tick = farm_tick,
                          .unit_size = l->what->unit_size(l),
                          .load = l->what->load,
                          .compute = l->what->compute,
                          .master_computes = l->hands == mv_comm_size(l->comm),
                          .patience = fmax(patience, PATIENCE_UNITS * longest),
                          .silent = farm_silent,
                          .heard = farm_heard,
                          .master_patience = MASTER_PATIENCE * patience,
                          .orphan = farm_orphan};
}

/* All ranks: computes what is missing. Exit code on rank 0: 0 when everything is there. */
static int compute(struct mv_launch *l)
{
  int ranks = mv_comm_size(l->comm), exit_code = MV_EXIT_OK;
  bool first = mv_comm_rank(l->comm) == 0;
  char *hosts = gather_hosts(l);
  struct mv_attempt attempt = {.ranks = ranks, .hosts = hosts, .start = mv_clock_wall()};
  if (first) {
    exit_code = mv_store_attempt(l->store, &attempt);
  }
  mv_comm_share(l->comm, &exit_code, sizeof exit_code);
  if (exit_code == MV_EXIT_OK) {
    struct mv_farm farm = make_farm(l, l->what->start(l));
    bool complete = mv_farm_run(l->comm, &farm) && !l->late;
    if (first) {
      exit_code = end_attempt(l, &attempt, complete);
    }
  }
  free(hosts);
  return exit_code;
}

/* The digest of results.h5, unless it is known, if that is whole and of this job. Exit code. */
static int read_digest(const struct mv_launch *l, const char *path, char digest[33])
{
  int exit_code = *digest ? MV_EXIT_OK : mv_results_digest(path, digest);
  struct mv_results *results = exit_code == MV_EXIT_OK ? mv_results_open(path, &exit_code) : NULL;
  if (results && !mv_results_are_of(results, l->job)) {
    fprintf(stderr, "metavar: %s: holds the results of another job\n", path);
    exit_code = MV_EXIT_DATA;
  }
  mv_results_close(results);
  return exit_code;
}

static void tell_rounds(const struct mv_launch *l, const struct mv_progress *p)
{
  const struct mv_stopping *stop = &l->job->stop;
  if (p->rounds > 0) {
    fprintf(stderr, "metavar: %lld of %lld cells have reached a relative error of %g (%s), in at most %d rounds\n",
            (long long)(p->cells - p->fall_short), (long long)p->cells, stop->relative_error,
            mv_statistic_names[stop->statistic], p->rounds);
  }
}

/* Rank 0: everything is committed. Writes results.h5 if it is not there, and tells where. Exit code. */
static int finish(struct mv_launch *l, bool computed)
{
  struct mv_progress progress;
  char digest[33] = "";
  int exit_code = mv_store_progress(l->options.run, &progress);
  if (exit_code == MV_EXIT_OK && (computed || !progress.finished)) {
    tell_rounds(l, &progress);
    exit_code = mv_store_finalize(l->store, digest);
  }
  if (exit_code != MV_EXIT_OK) {
    return exit_code;
  }
  char *path = mv_memory_take(strlen(l->options.run) + sizeof "/results.h5", 1);
  sprintf(path, "%s/results.h5", l->options.run);
  exit_code = read_digest(l, path, digest);
  if (exit_code == MV_EXIT_DATA) { /* told; the shards are another copy */
    fprintf(stderr, "metavar: writing it again from the shards\n");
    exit_code = mv_store_finalize(l->store, digest);
  }
  if (exit_code == MV_EXIT_OK) {
    printf("%s\ndigest %s\n", path, digest);
  }
  free(path);
  return exit_code;
}

/* All ranks, with the store open and the job known everywhere. Exit code on rank 0. */
static int work(struct mv_launch *l)
{
  bool first = mv_comm_rank(l->comm) == 0;
  mv_comm_share(l->comm, &l->missing, sizeof l->missing);
  int exit_code = l->missing ? compute(l) : MV_EXIT_OK;
  if (first) {
    if (exit_code == MV_EXIT_OK) {
      exit_code = finish(l, l->missing);
    } else if (exit_code == MV_EXIT_AGAIN) {
      fprintf(stderr, "metavar: stopped early (%s); what is done is stored: run the same command again\n",
              stop_reason(l));
    }
  }
  return exit_code;
}

/* ---- the command ------------------------------------------------------------------------------------------- */

static void release(struct mv_launch *l)
{
  l->what->release(l);
  if (l->store) {
    mv_store_close(l->store);
  }
  mv_plan_free(l->plan);
  mv_job_free(l->job);
  mv_deadline_free(&l->deadline);
  free(l->seat);
  mv_run_options_free(&l->options);
  free(l);
}

/* All ranks that work on the job. */
static void count_hands(struct mv_launch *l)
{
  int ranks = mv_comm_size(l->comm);
  bool computes = ranks == 1 || l->options.computes == MV_COMPUTES_YES ||
                  (l->options.computes == MV_COMPUTES_AUTO && ranks <= MV_RANKS_COMPUTING_MASTER);
  l->hands = computes ? ranks : ranks - 1;
}

int mv_launch(const struct mv_undertaking *what, const struct mv_args *args)
{
  struct mv_launch *l = mv_memory_take(1, what->size);
  double begin = mv_clock_monotonic();
  l->what = what;
  int exit_code = mv_run_options_read(args, what->verb, !what->trains, &l->options);
  if (exit_code != MV_EXIT_OK) {
    release(l);
    return exit_code;
  }
  mv_signals_catch();
  if (mv_comm_speaks()) { /* rank 0 */
    exit_code = prepare(l, args);
    if (exit_code != MV_EXIT_OK && mv_comm_may_leave()) { /* much faster than starting MPI */
      release(l);
      return exit_code;
    }
    mv_deadline_start(&l->deadline, begin, l->options.limit);
  }
  struct mv_comm *comm = l->comm = mv_comm_start(NULL, NULL);
  mv_signals_catch(); /* again */
  count_hands(l);
  mv_comm_share(comm, &exit_code, sizeof exit_code);
  if (exit_code == MV_EXIT_OK) {
    share_job(l);
    exit_code = work(l);
  }
  release(l);
  return mv_comm_stop(comm, exit_code, patience_seconds());
}
