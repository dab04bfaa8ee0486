/* simulate.c - the farm as a simulation of discrete events: how many ranks will pay, before there are so many.
 *
 * Rank 0 is a server with one queue, the others are its customers. A rank computes one unit and holds the next; its
 * result travels, waits until rank 0 is free, is taken, is answered by another unit, and is handed on. When enough has
 * gathered rank 0 writes it, and serves nobody meanwhile. There is one event for each unit, the arrival of its result at
 * rank 0, and each rank has at most one under way, so the events are a heap with a place for every rank.
 *
 * Two limits are known in closed form, and tested. With plenty of equal units of s seconds, P workers, and a service of
 * c seconds rank 0 is a closed machine-repairman system: P / s units a second while P c < s, and 1 / c beyond. And what
 * is lost at the end is at most one unit on each rank.
 *
 * Left out: naps of idle ranks (a few milliseconds at most), bandwidth of the network, and the memory of rank 0.
 */
#include "metavar/simulate.h"

#include <math.h>
#include <stdlib.h>

#include "metavar/memory.h"
#include "metavar/store.h"
#include "metavar/stream.h"

#define MASTER_SHARE 0.25 /* of rank 0's time for messages, in planning */

const struct mv_costs mv_costs_usual = {.service = 40e-6,
                                        .per_rank = 1e-9,
                                        .per_byte = 1e-9,
                                        .worker = 20e-6,
                                        .latency = 5e-6,
                                        .commit = 0.01,
                                        .commit_byte = 1e-8,
                                        .commit_group = 3e-4,
                                        .finish_byte = 1e-8,
                                        .finish_group = 1e-3,
                                        .commit_wait = MV_COMMIT_SECONDS,
                                        .spread = 0.1};

struct parcel {          /* a unit */
  double seconds, there; /* to compute; when the rank has it */
  int64_t bytes, number;
};

struct rank {
  struct parcel waiting; /* the next unit, if `holds` */
  bool holds;
  int64_t bytes, number; /* of the result under way */
  double finish;         /* of the unit that it is about */
};

struct event {
  double time; /* the result of this rank is at rank 0 */
  int rank;
};

struct farm {
  const struct mv_costs *costs;
  const struct mv_load *load;
  size_t loads, at;
  int64_t within;
  int first, ranks; /* those that compute: first .. ranks - 1 */
  struct rank *rank;
  struct event *heap; /* the earliest first */
  int events;
  double now;                    /* rank 0 is free */
  int64_t pending;               /* bytes to commit */
  double since;                  /* the oldest of them */
  double committed, took;        /* the last commit was over, and its seconds */
  bool *held;                    /* [all units] waits to be committed; */
  int64_t *number, kept;         /* [kept] those */
  double busy, committing, idle; /* idle: after the last units */
  double charged;                /* of busy, to rank 0's compute thread */
  struct mv_forecast f;
};

/* ---- events ------------------------------------------------------------------------------------------------- */

static bool earlier(struct event a, struct event b) { return a.time < b.time || (a.time == b.time && a.rank < b.rank); }

static void sink(struct farm *f, int at, struct event e)
{
  for (int child; (child = 2 * at + 1) < f->events; at = child) {
    child += child + 1 < f->events && earlier(f->heap[child + 1], f->heap[child]);
    if (!earlier(f->heap[child], e)) {
      break;
    }
    f->heap[at] = f->heap[child];
  }
  f->heap[at] = e;
}

static void add_event(struct farm *f, struct event e)
{
  int at = f->events++;
  for (; at > 0 && earlier(e, f->heap[(at - 1) / 2]); at = (at - 1) / 2) {
    f->heap[at] = f->heap[(at - 1) / 2];
  }
  f->heap[at] = e;
}

/* ---- units -------------------------------------------------------------------------------------------------- */

/* Log-normal with mean 1, a function of the unit's number. */
static double scatter(const struct farm *f)
{
  uint32_t counter[4] = {(uint32_t)f->f.units, (uint32_t)(f->f.units >> 32)}, u[4];
  if (f->costs->spread == 0) {
    return 1;
  }
  mv_philox(counter, (struct mv_key){{1, 0}}, u);
  double normal = sqrt(-2 * log((u[0] + 0.5) / 4294967296.0)) * cos(2 * M_PI * (u[1] / 4294967296.0));
  return exp(f->costs->spread * (normal - 0.5 * f->costs->spread));
}

static bool take_unit(struct farm *f, struct parcel *unit)
{
  while (f->at < f->loads && f->within == f->load[f->at].units) {
    f->at++;
    f->within = 0;
  }
  if (f->at == f->loads) {
    return false;
  }
  f->within++;
  *unit = (struct parcel){
      .seconds = f->load[f->at].seconds * scatter(f), .bytes = f->load[f->at].bytes, .number = f->f.units};
  f->f.work += unit->seconds;
  f->f.bytes += (double)unit->bytes;
  f->f.units++;
  return true;
}

/* A rank begins a unit: when its result will be at rank 0. The compute thread of rank 0 shares a core with its main
 * thread: it is charged with what that has worked since it last began, but gets half of the core. */
static struct event begin(struct farm *f, int rank, const struct parcel *unit, double free)
{
  struct rank *r = &f->rank[rank];
  double start = fmax(free, unit->there), seconds = unit->seconds + f->costs->worker;
  if (rank == 0) {
    seconds += fmin(f->busy - f->charged, seconds);
    f->charged = f->busy;
  }
  r->bytes = unit->bytes;
  r->number = unit->number;
  r->finish = start + seconds;
  return (struct event){r->finish + (rank > 0 ? f->costs->latency : 0), rank};
}

/* ---- rank 0 ------------------------------------------------------------------------------------------------- */

static void work(struct farm *f, double seconds)
{
  f->now += seconds;
  f->busy += seconds;
}

/* Half of the service is before the next unit is on its way. */
static double service(const struct farm *f) { return f->costs->service + f->costs->per_rank * f->ranks; }

static bool give(struct farm *f, int rank, struct parcel *unit)
{
  if (!take_unit(f, unit)) {
    return false;
  }
  work(f, service(f) / 2);
  unit->there = f->now + (rank > 0 ? f->costs->latency : 0);
  return true;
}

/* Units that follow each other are written as one group. */
static int64_t count_groups(const struct farm *f)
{
  int64_t groups = 0;
  for (int64_t k = 0; k < f->kept; k++) {
    groups += f->number[k] == 0 || !f->held[f->number[k] - 1];
  }
  return groups;
}

static void commit(struct farm *f)
{
  int64_t groups = count_groups(f);
  double seconds =
      f->costs->commit + f->costs->commit_byte * (double)f->pending + f->costs->commit_group * (double)groups;
  work(f, seconds);
  f->committing += seconds;
  f->committed = f->now;
  f->took = seconds;
  while (f->kept > 0) {
    f->held[f->number[--f->kept]] = false;
  }
  f->pending = 0;
  f->f.groups += groups;
  f->f.commits++;
}

static void keep(struct farm *f, int64_t bytes, int64_t number)
{
  f->held[number] = true;
  f->number[f->kept++] = number;
  f->since = f->pending == 0 ? f->now : f->since;
  f->pending += bytes;
  if (mv_commit_due((double)f->pending, f->now - f->since, f->costs->commit_wait, f->now - f->committed, f->took)) {
    commit(f);
  }
}

/* One unit to everybody, then a second one, as far as they go. */
static void start(struct farm *f)
{
  struct parcel unit;
  for (int rank = f->first; rank < f->ranks && give(f, rank, &unit); rank++) {
    add_event(f, begin(f, rank, &unit, 0));
  }
  for (int rank = f->first; rank < f->ranks && give(f, rank, &f->rank[rank].waiting); rank++) {
    f->rank[rank].holds = true;
  }
}

/* The earliest result: taken, answered, handed on. */
static void serve(struct farm *f)
{
  const struct mv_costs *c = f->costs;
  struct event e = f->heap[0];
  struct rank *r = &f->rank[e.rank];
  int64_t bytes = r->bytes, number = r->number;
  bool begins = r->holds; /* if not, there are no more */
  f->now = fmax(f->now, e.time);
  work(f, service(f) / 2 + c->per_byte * (double)bytes);
  struct parcel unit = r->waiting;
  r->holds = give(f, e.rank, &r->waiting);
  if (begins) {
    sink(f, 0, begin(f, e.rank, &unit, r->finish));
  } else {
    f->idle -= r->finish; /* its last */
    struct event last = f->heap[--f->events];
    if (f->events > 0) {
      sink(f, 0, last);
    }
  }
  keep(f, bytes, number);
}

struct mv_forecast mv_simulate(const struct mv_costs *costs, const struct mv_load *load, size_t loads, int ranks,
                               bool master_computes)
{
  struct farm f = {.costs = costs, .load = load, .loads = loads, .ranks = ranks};
  int64_t units = 0;
  f.first = master_computes || ranks == 1 ? 0 : 1;
  f.rank = mv_memory_take((size_t)ranks, sizeof *f.rank);
  f.heap = mv_memory_take((size_t)ranks, sizeof *f.heap);
  for (size_t k = 0; k < loads; k++) {
    units += load[k].units;
  }
  f.held = mv_memory_take((size_t)units, sizeof *f.held);
  f.number = mv_memory_take((size_t)units, sizeof *f.number);
  start(&f);
  while (f.events > 0) {
    serve(&f);
  }
  if (f.pending > 0) {
    commit(&f);
  }
  double all = ranks * f.now;
  f.f.seconds = f.now;
  if (f.now > 0) {
    f.f.efficiency = f.f.work / all;
    f.f.master = (double)f.first / ranks;
    f.f.tail = (f.idle + (ranks - f.first) * f.now) / all;
    f.f.waiting = 1 - f.f.efficiency - f.f.master - f.f.tail;
    f.f.busy = f.busy / f.now;
    f.f.committing = f.committing / f.now;
  }
  f.f.finish = costs->finish_byte * f.f.bytes + costs->finish_group * (double)f.f.groups;
  free(f.held);
  free(f.number);
  free(f.rank);
  free(f.heap);
  return f.f;
}

double mv_unit_seconds(const struct mv_costs *costs, int ranks)
{
  return ranks * (costs->service + costs->per_rank * ranks) / MASTER_SHARE;
}
