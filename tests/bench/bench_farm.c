/* bench_farm.c - the farm with real messages against its simulation. mpirun -np P bench_farm CSV COSTS
 *
 * Units that sleep for some milliseconds stand for ranks with cores of their own, so that 64 ranks on two cores behave
 * as 64 ranks. For the same reason rank 0 is given 0.1 ms of work with each result (a store's, exaggerated), so that it,
 * and not the two cores, limits; and real-time priority where that is allowed. Its costs are taken from the trials `idle` and
 * `large` with the fewest ranks (processor time of its thread for a unit, and for a byte) and kept in the file COSTS;
 * everything else is predicted from them.
 *
 *   probe     looking for a message when there is none, which grows with the ranks
 *   farm      units of no time, results of 64 bytes, and nothing to do with them: the farm alone, not predicted
 *   idle      the same with the work on the results: as many as rank 0 can serve
 *   large     results of 100 kB
 *   0.25 - 2  units that sleep, of five lengths as the truncation lengths of the long study have, longest first, and so
 *             long that rank 0 is busy for this share of its time (2: twice as many as it can serve)
 *   commits   as 0.5, and rank 0 writes nothing for 20 ms four times a second
 */
#include <assert.h>
#include <math.h>
#include <sched.h>
#include <sys/prctl.h>

#include "bench.h"
#include "metavar/clock.h"
#include "metavar/farm.h"
#include "metavar/memory.h"
#include "metavar/simulate.h"

enum { SORTS = 5, PROBES = 2000 };
#define TRIAL_SECONDS 2.0
#define LARGE         100000
#define KEEP_SECONDS  1e-4

/* Relative times of one replicate of backprop with one window of T = 80, 61, 41, 21, 2 of 80 steps: 101 ns a step of the
 * primal and 175 ns of the tangents (results/floor.csv). */
static const double sort_seconds[SORTS] = {1.447, 1.229, 1.0, 0.771, 0.553};

struct unit {
  double seconds;
  int64_t bytes;
};

struct trial {
  const char *name;
  struct mv_load load[SORTS];
  int64_t bytes;
  double keep;          /* seconds of work with a result */
  double commit, every; /* seconds */
};

struct world {
  const struct trial *trial;
  int sort;
  int64_t within;
  double committed, late; /* late: by how much sleeps were too long, together */
  int64_t units;
};

static enum mv_next next(void *self, void *bytes)
{
  struct world *w = self;
  while (w->sort < SORTS && w->within == w->trial->load[w->sort].units)
    w->sort++, w->within = 0;
  if (w->sort == SORTS)
    return MV_NEXT_NONE;
  w->within++;
  const struct mv_load *load = &w->trial->load[w->sort];
  memcpy(bytes, &(struct unit){load->seconds, load->bytes}, sizeof(struct unit));
  return MV_NEXT_UNIT;
}

static void nap(double seconds)
{
  struct timespec t = {(time_t)seconds, (long)(fmod(seconds, 1) * 1e9)};
  nanosleep(&t, NULL);
}

static size_t compute(void *self, const void *bytes, void **result, size_t *capacity)
{
  struct unit unit;
  (void)self;
  memcpy(&unit, bytes, sizeof unit);
  double start = mv_clock_monotonic();
  if (unit.seconds > 0)
    nap(unit.seconds);
  if (*capacity < (size_t)unit.bytes) {
    free(*result);
    *result = mv_memory_take(1, *capacity = (size_t)unit.bytes);
  }
  double took = mv_clock_monotonic() - start;
  memcpy(*result, &took, sizeof took);
  return (size_t)unit.bytes;
}

/* As a store does: keeps a copy until the next commit. */
static bool done(void *self, const void *result, size_t size)
{
  struct world *w = self;
  double now = mv_clock_monotonic(), took;
  void *copy = mv_memory_take(1, size);
  memcpy(copy, result, size);
  memcpy(&took, copy, sizeof took);
  free(copy);
  w->late += took;
  w->units++;
  for (double begin = thread_seconds(); w->trial->keep > 0 && thread_seconds() - begin < w->trial->keep;)
    ;
  if (w->trial->commit > 0 && now - w->committed > w->trial->every) {
    nap(w->trial->commit);
    w->committed = mv_clock_monotonic();
  }
  return true;
}

static bool tick(void *self) { return self != NULL; }
static void silent(void *self, int rank, double seconds, int units)
{
  (void)self, (void)rank, (void)seconds, (void)units;
}
static void heard(void *self, int rank) { (void)self, (void)rank; }
static void orphan(void *self, double seconds) { (void)self, (void)seconds, abort(); }

/* Seconds that this thread was ready to run and others had its core. */
static double delayed_seconds(void)
{
  long long ran, waited = 0;
  FILE *f = fopen("/proc/thread-self/schedstat", "r");
  if (f && fscanf(f, "%lld %lld", &ran, &waited) != 2)
    waited = 0;
  if (f)
    fclose(f);
  return 1e-9 * (double)waited;
}

struct measured {
  double seconds, cpu; /* of all; of rank 0's main thread, for one unit */
  double longer;       /* a unit took so many times what it should */
  double delayed;      /* share of the time in which rank 0 had no core */
  int64_t units;
};

static struct measured run_trial(struct mv_comm *comm, const struct trial *trial)
{
  struct world w = {.trial = trial, .committed = mv_clock_monotonic()};
  struct mv_farm farm = {.self = &w,
                         .next = next,
                         .done = done,
                         .tick = tick,
                         .unit_size = sizeof(struct unit),
                         .compute = compute,
                         .patience = 600,
                         .silent = silent,
                         .heard = heard,
                         .master_patience = 600,
                         .orphan = orphan};
  char ready = 1, all[64];
  mv_comm_gather(comm, &ready, 1, all);
  double start = mv_clock_monotonic(), cpu = thread_seconds(), delayed = delayed_seconds(), work = 0;
  bool complete = mv_farm_run(comm, &farm);
  assert(complete);
  for (int k = 0; k < SORTS; k++)
    work += (double)trial->load[k].units * trial->load[k].seconds;
  double seconds = mv_clock_monotonic() - start;
  return (struct measured){.seconds = seconds,
                           .cpu = (thread_seconds() - cpu) / (double)(w.units ? w.units : 1),
                           .longer = work > 0 ? w.late / work : 1,
                           .delayed = (delayed_seconds() - delayed) / seconds,
                           .units = w.units};
}

/* Five sorts of units, `load` times as many a second as rank 0 can serve. */
static struct trial make_trial(const char *name, const struct mv_costs *costs, int ranks, double load, int64_t bytes)
{
  struct trial t = {.name = name, .bytes = bytes, .keep = KEEP_SECONDS};
  double service = costs->service + costs->per_byte * (double)bytes + costs->per_rank * ranks;
  double seconds = load > 0 ? (ranks - 1) * service / load : 0, units = TRIAL_SECONDS / service;
  units = load > 0 && load < 1 ? units * load : units;
  for (int k = 0; k < SORTS; k++)
    t.load[k] = (struct mv_load){(int64_t)(units / SORTS) + 1, seconds * sort_seconds[k], bytes};
  return t;
}

static double probe(struct mv_comm *comm)
{
  int source, tag;
  size_t capacity = 0, size;
  void *buffer = NULL;
  char ready = 1, all[64];
  mv_comm_gather(comm, &ready, 1, all);
  double start = thread_seconds();
  for (int k = 0; k < PROBES && mv_comm_rank(comm) == 0; k++)
    mv_comm_poll(comm, &source, &tag, &buffer, &capacity, &size);
  double took = (thread_seconds() - start) / PROBES;
  if (mv_comm_rank(comm) != 0)
    nap(0.1);
  free(buffer);
  return took;
}

static void report(FILE *csv, const struct mv_costs *costs, int ranks, const struct trial *t, const struct measured *m)
{
  struct mv_load load[SORTS];
  struct mv_costs c = *costs;
  memcpy(load, t->load, sizeof load);
  for (int k = 0; k < SORTS; k++)
    load[k].seconds *= m->longer;
  if (t->commit > 0)
    c.commit = t->commit, c.commit_wait = t->every;
  double measured = (double)m->units / m->seconds, simulated = NAN;
  if (t->keep > 0) {
    struct mv_forecast f = mv_simulate(&c, load, SORTS, ranks, false);
    simulated = (double)f.units / f.seconds;
  }
  printf("%5d %-8s %9.3g %8lld %12.0f %12.0f %7.3f %8.3f\n", ranks, t->name, t->load[SORTS / 2].seconds,
         (long long)t->bytes, measured, simulated, simulated / measured, m->delayed);
  csv_line(csv, origin_load(), "%d,%s,%.4g,%lld,%.1f,%.1f,%.4f,%.4g,%.4f,%.4f", ranks, t->name,
           t->load[SORTS / 2].seconds, (long long)t->bytes, measured, simulated, simulated / measured, 1e6 * m->cpu,
           m->longer, m->delayed);
}

/* Costs of rank 0 from the trials of units that take no time. */
static void learn_costs(struct mv_comm *comm, struct mv_costs *costs)
{
  const struct trial small = {.load = {{10000, 0, 64}}, .bytes = 64, .keep = KEEP_SECONDS},
                     large = {.load = {{5000, 0, LARGE}}, .bytes = LARGE, .keep = KEEP_SECONDS};
  run_trial(comm, &large); /* warms up */
  double first = run_trial(comm, &small).cpu, second = run_trial(comm, &large).cpu;
  costs->service = first;
  costs->per_byte = fmax(0, (second - first) / LARGE);
}

int main(int argc, char **argv)
{
  struct mv_comm *comm = mv_comm_start(&argc, &argv);
  struct mv_costs costs = {.latency = 2e-6, .commit_wait = INFINITY};
  int ranks = mv_comm_size(comm), rank = mv_comm_rank(comm);
  assert(argc == 3 && ranks <= 64);
  prctl(PR_SET_TIMERSLACK, 1000);
  if (rank == 0)
    sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){1}); /* if we may */
  FILE *csv = rank == 0
                  ? csv_open(argv[1], "cores,load,ranks,trial,unit_seconds,bytes,units_per_second,simulated,ratio,"
                                      "service_us,longer,delayed")
                  : NULL;
  FILE *known = fopen(argv[2], "rb");
  bool learn = !known || fread(&costs, sizeof costs, 1, known) != 1;
  if (known)
    fclose(known);
  mv_comm_share(comm, &learn, sizeof learn);
  double probed = probe(comm);
  if (learn) {
    learn_costs(comm, &costs);
    mv_comm_share(comm, &costs, sizeof costs);
    known = rank == 0 ? fopen(argv[2], "wb") : NULL;
    if (known) {
      fwrite(&costs, sizeof costs, 1, known);
      fclose(known);
      printf("rank 0: %.2f us for a unit, %.3g ns for a byte\n%5s %-8s %9s %8s %12s %12s %7s %8s\n",
             1e6 * costs.service, 1e9 * costs.per_byte, "ranks", "trial", "unit s", "bytes", "units/s", "simulated",
             "ratio", "delayed");
    }
  }
  const struct trial trials[] = {{.name = "farm", .load = {{40000, 0, 64}}, .bytes = 64},
                                 make_trial("idle", &costs, ranks, 0, 64),
                                 make_trial("large", &costs, ranks, 0, LARGE),
                                 make_trial("0.25", &costs, ranks, 0.25, 64),
                                 make_trial("0.5", &costs, ranks, 0.5, 64),
                                 make_trial("0.9", &costs, ranks, 0.9, 64),
                                 make_trial("2", &costs, ranks, 2, 64),
                                 make_trial("0.5large", &costs, ranks, 0.5, LARGE),
                                 make_trial("commits", &costs, ranks, 0.5, 64)};
  for (size_t k = 0; k < sizeof trials / sizeof *trials; k++) {
    struct trial t = trials[k];
    if (!strcmp(t.name, "commits"))
      t.commit = 0.02, t.every = 0.25;
    struct measured m = run_trial(comm, &t);
    if (rank == 0)
      report(csv, &costs, ranks, &t, &m);
  }
  if (rank == 0) {
    printf("%5d probe: %.0f ns\n", ranks, 1e9 * probed);
    csv_line(csv, origin_load(), "%d,probe,,,,,,%.4g,,", ranks, 1e6 * probed);
    fclose(csv);
  }
  return mv_comm_stop(comm, 0, 60);
}
