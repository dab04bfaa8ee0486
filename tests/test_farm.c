/* test_farm.c - the farm under real messages: a plain MPI program, run by test_farm.sh with 1 to 4 ranks.
 *
 * Units are numbered; a result holds its unit's number and a pattern that only its compute could have made. Rank 0
 * checks that every unit that it handed out comes back exactly once, and gathers what each rank has computed. Prints
 * TAP-like lines.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "metavar/clock.h"
#include "metavar/farm.h"

struct unit {
  int64_t id, microseconds, words, load; /* load: words behind it */
};

struct world {
  struct mv_comm *comm;
  int64_t units, handed, taken; /* to hand out, handed out, done() calls */
  int64_t window;               /* the next unit waits until fewer than so many are under way; 0: it does not */
  int64_t batch, ready;         /* more() makes so many ready; 0: all are */
  int64_t quit_done, quit_tick; /* give up in this done() call or after so many units; -1: never */
  int64_t microseconds, words;  /* of the longest unit; size of the largest result */
  int64_t load;                 /* and of the largest load; every third unit has none */
  int *seen;                    /* [units] done() calls of each */
  bool wrong, over;             /* a bad result; work handed out after giving up */
  int64_t computed;             /* on this rank */
  int silent, heard, later;     /* calls */
  double asleep;                /* this rank stops itself at its third unit, for so long; 0: never; < 0: for ever, */
  int64_t bulk;                 /* with so many words more in its last result, which never arrives */
};

#define PATIENCE 60.0 /* for what answers */
#define SHORT    0.5  /* for what does not */
#define ORPHAN   2.0

/* SIGSTOP for this process, and SIGCONT by a child after some time. */
static void stop_myself(double seconds)
{
  pid_t me = getpid();
  if (seconds > 0 && fork() == 0) {
    struct timespec t = {(time_t)seconds, (long)(fmod(seconds, 1) * 1e9)};
    nanosleep(&t, NULL);
    kill(me, SIGCONT);
    _exit(0);
  }
  raise(SIGSTOP);
}

static void work(int64_t microseconds)
{
  struct timespec t = {0, microseconds * 1000};
  nanosleep(&t, NULL);
}

static uint64_t pattern(int64_t id, int64_t word)
{
  return ((uint64_t)id + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ (uint64_t)word * UINT64_C(0xbf58476d1ce4e5b9);
}

static enum mv_next next(void *self, void *unit)
{
  struct world *w = self;
  if (w->handed == (w->batch ? w->ready : w->units)) {
    return MV_NEXT_NONE;
  }
  if (w->window && w->handed - w->taken >= w->window) {
    w->later++;
    return MV_NEXT_LATER;
  }
  w->over |= (w->quit_done >= 0 && w->taken > w->quit_done) || (w->quit_tick >= 0 && w->handed > w->quit_tick + 1000);
  int64_t id = w->handed++;
  struct unit u = {id, w->microseconds ? (id * 7919) % w->microseconds : 0, w->words ? (id * 104729) % w->words : 0,
                   w->load && id % 3 ? (id * 15485863) % w->load : 0};
  memcpy(unit, &u, sizeof u);
  return MV_NEXT_UNIT;
}

static size_t load(void *self, const void *unit, void *out)
{
  (void)self;
  struct unit u;
  memcpy(&u, unit, sizeof u);
  for (int64_t i = 0; i < u.load && out; i++) {
    ((uint64_t *)out)[i] = ~pattern(u.id, i);
  }
  return (size_t)u.load * 8;
}

/* Comes when everything is in, and only then. */
static bool more(void *self)
{
  struct world *w = self;
  w->wrong |= w->taken != w->handed;
  w->ready = w->batch && w->ready + w->batch < w->units ? w->ready + w->batch : w->units;
  return w->handed < w->ready;
}

static size_t compute(void *self, const void *unit, void **result, size_t *capacity)
{
  struct world *w = self;
  struct unit u;
  memcpy(&u, unit, sizeof u);
  work(u.microseconds);
  if (w->asleep != 0 && w->computed == 2) {
    stop_myself(w->asleep);
  }
  u.words += w->computed == 1 ? w->bulk : 0;
  size_t size = (size_t)(u.words + 1) * 8;
  if (*capacity < size) {
    free(*result);
    *result = malloc(*capacity = size);
    assert(*result);
  }
  uint64_t *out = *result;
  out[0] = (uint64_t)u.id;
  for (int64_t i = 0; i < u.load; i++) { /* a wrong one makes a wrong result */
    out[0] = ((const uint64_t *)((const char *)unit + sizeof u))[i] == ~pattern(u.id, i) ? out[0] : UINT64_MAX;
  }
  for (int64_t i = 1; i <= u.words; i++) {
    out[i] = pattern(u.id, i);
  }
  w->computed++;
  return size;
}

static bool done(void *self, const void *result, size_t size)
{
  struct world *w = self;
  const uint64_t *in = result;
  int64_t id = (int64_t)in[0], words = (int64_t)size / 8 - 1;
  w->wrong |= id < 0 || id >= w->handed || words != (w->words ? (id * 104729) % w->words : 0);
  if (!w->wrong) {
    w->seen[id]++;
    for (int64_t i = 1; i <= words; i++) {
      w->wrong |= in[i] != pattern(id, i);
    }
  }
  return w->taken++ != w->quit_done;
}

static bool tick(void *self)
{
  struct world *w = self;
  return w->quit_tick < 0 || w->handed < w->quit_tick;
}

static void silent(void *self, int rank, double seconds, int units)
{
  struct world *w = self;
  printf("rank %d silent after %.1f s with %d units\n", rank, seconds, units);
  w->silent++;
}

static void heard(void *self, int rank)
{
  struct world *w = self;
  printf("rank %d answers again\n", rank);
  w->heard++;
}

static void orphan(void *self, double seconds)
{
  struct world *w = self;
  printf("ok rank %d has heard nothing for %.1f s\n", mv_comm_rank(w->comm), seconds);
  mv_comm_abort(w->comm, 75);
}

static struct mv_farm farm_of(struct world *w, bool master_computes, double patience)
{
  return (struct mv_farm){.self = w,
                          .next = next,
                          .more = more,
                          .done = done,
                          .tick = tick,
                          .unit_size = sizeof(struct unit),
                          .load = load,
                          .compute = compute,
                          .master_computes = master_computes,
                          .patience = patience,
                          .silent = silent,
                          .heard = heard,
                          .master_patience = patience == PATIENCE ? PATIENCE : ORPHAN,
                          .orphan = orphan};
}

static int failures;

static void report(struct mv_comm *comm, bool ok, const char *name)
{
  if (mv_comm_rank(comm) == 0) {
    printf("%sok %s (%d ranks)\n", ok ? "" : "not ", name, mv_comm_size(comm));
    failures += !ok;
  }
}

/* Runs one farm and checks what must hold in every case. Returns how many units were handed out. */
static void trial(struct mv_comm *comm, const char *name, struct world w, bool master_computes)
{
  w.comm = comm;
  w.seen = calloc((size_t)w.units + 1, sizeof *w.seen);
  assert(w.seen);
  struct mv_farm farm = farm_of(&w, master_computes, PATIENCE);
  bool complete = mv_farm_run(comm, &farm), all = complete;
  int64_t computed[64], sum = 0;
  mv_comm_gather(comm, &w.computed, sizeof w.computed, computed);
  mv_comm_share(comm, &all, sizeof all);
  bool ok = !w.wrong && !w.over;
  if (mv_comm_rank(comm) == 0) {
    int64_t seen = 0;
    for (int64_t i = 0; i < w.units; i++) {
      ok &= w.seen[i] <= 1;
      seen += w.seen[i];
    }
    for (int i = 0; i < mv_comm_size(comm); i++) {
      sum += computed[i];
    }
    bool gave_up = w.quit_done >= 0 || w.quit_tick >= 0;
    ok &= sum == w.handed && seen == w.taken;                         /* nothing lost under way */
    ok &= w.taken == (w.quit_done >= 0 ? w.quit_done + 1 : w.handed); /* and nothing after a failed done() */
    ok &= complete == !gave_up && (complete ? w.handed == w.units : w.units < 1000 || w.handed < w.units);
    ok &= mv_comm_size(comm) == 1 || master_computes || computed[0] == 0;
    ok &= w.window != 1 || w.later > 0;
    for (int i = 1; i < mv_comm_size(comm) && w.units >= 100 && !gave_up && !w.window; i++) {
      ok &= computed[i] > 0; /* everybody works */
    }
  }
  bool everywhere[64] = {false}, mine = all == complete;
  mv_comm_gather(comm, &mine, sizeof mine, everywhere);
  for (int i = 0; i < mv_comm_size(comm) && mv_comm_rank(comm) == 0; i++) {
    ok &= everywhere[i];
  }
  report(comm, ok, name);
  free(w.seen);
}

/* The last rank is stopped in mid-unit, for a while or for ever. Every result must count once. */
static int sleeper(struct mv_comm *comm, double asleep, bool master_computes)
{
  bool last = mv_comm_rank(comm) == mv_comm_size(comm) - 1;
  struct world w = {.comm = comm,
                    .units = 400,
                    .microseconds = 20000,
                    .words = 30000,
                    .load = 30000,
                    .quit_done = -1,
                    .quit_tick = -1,
                    .asleep = last ? asleep : 0};
  w.seen = calloc((size_t)w.units, sizeof *w.seen);
  assert(w.seen);
  struct mv_farm farm = farm_of(&w, master_computes, SHORT);
  bool ok = mv_farm_run(comm, &farm) && !w.wrong && w.taken == w.units;
  for (int64_t i = 0; i < w.units; i++) {
    ok &= w.seen[i] == 1;
  }
  ok &= w.silent == 1 && w.heard == (asleep > 0);
  report(comm, ok, asleep > 0 ? "a rank stopped for a while" : "a rank stopped for ever");
  fflush(stdout);
  free(w.seen);
  return mv_comm_stop(comm, mv_comm_rank(comm) == 0 && !ok ? EXIT_FAILURE : EXIT_SUCCESS, PATIENCE);
}

/* All ranks but 0 and 1 are stopped for ever in the middle of sending 270 MiB to rank 0, more than it lets come at once.
 * What rank 1 brings must still arrive. */
static int crowd(struct mv_comm *comm)
{
  const int stopped = mv_comm_size(comm) - 2;
  const bool stops = mv_comm_rank(comm) > 1;
  struct world w = {.comm = comm,
                    .units = 200,
                    .microseconds = 20000,
                    .quit_done = -1,
                    .quit_tick = -1,
                    .asleep = stops ? -1 : 0,
                    .bulk = stops ? (270 << 17) / stopped : 0};
  w.seen = calloc((size_t)w.units, sizeof *w.seen);
  assert(w.seen);
  struct mv_farm farm = farm_of(&w, false, SHORT);
  farm.master_patience = PATIENCE;
  bool ok = mv_farm_run(comm, &farm) && !w.wrong && w.taken == w.units;
  ok &= w.silent - w.heard == stopped; /* rank 1 waits until the others count as silent */
  report(comm, ok, "ranks stopped in the middle of large results");
  fflush(stdout);
  free(w.seen);
  return mv_comm_stop(comm, mv_comm_rank(comm) == 0 && !ok ? EXIT_FAILURE : EXIT_SUCCESS, PATIENCE);
}

/* Rank 0 is stopped for ever: the others end the run. */
static int orphans(struct mv_comm *comm)
{
  struct world w = {.comm = comm, .units = 200, .microseconds = 20000, .quit_done = -1, .quit_tick = -1};
  w.seen = calloc((size_t)w.units, sizeof *w.seen);
  assert(w.seen);
  w.asleep = mv_comm_rank(comm) == 0 ? -1 : 0;
  struct mv_farm farm = farm_of(&w, true, SHORT);
  mv_farm_run(comm, &farm);
  report(comm, false, "rank 0 stopped");
  return mv_comm_stop(comm, EXIT_FAILURE, SHORT);
}

/* Waits for a message from rank 1 and compares it. */
static bool brings(struct mv_comm *comm, int wanted, const void *bytes, size_t size)
{
  int source, tag;
  void *buffer = NULL;
  size_t capacity = 0, got;
  while (!mv_comm_poll(comm, &source, &tag, &buffer, &capacity, &got)) {
    work(1000);
  }
  bool same = source == 1 && tag == wanted && got == size && memcmp(buffer, bytes, size) == 0;
  free(buffer);
  return same && !mv_comm_arriving(comm);
}

/* Ranks 0 and 1 send, while the other does not look, what shared memory and TCP do not take at once. */
static void nobody_waits(struct mv_comm *comm)
{
  enum { LETTER = 2000, LETTERS = 3, LARGE = 3000000 };
  int rank = mv_comm_rank(comm), tag = 0;
  char *bytes = malloc(LARGE);
  void *buffer = NULL;
  size_t capacity = 0, size;
  bool fine = true;
  assert(bytes);
  for (int i = 0; i < LARGE; i++) {
    bytes[i] = (char)(i % 251);
  }
  mv_comm_share(comm, &tag, sizeof tag);
  double begin = mv_clock_monotonic();
  if (rank == 1) {
    mv_comm_lend(comm, 0, 1, bytes, LARGE);
  }
  for (int i = 0; rank == 0 && i < LETTERS; i++) {
    mv_comm_send(comm, 1, i, bytes + i, LETTER);
  }
  bool soon = mv_clock_monotonic() - begin < 0.3;
  work(600000);
  for (int i = 0; rank == 1 && i < LETTERS; i++) {
    fine = mv_comm_receive(comm, 0, PATIENCE, &tag, &buffer, &capacity, &size) && tag == i && size == LETTER &&
           memcmp(buffer, bytes + i, size) == 0 && fine;
  }
  if (rank == 1) {
    fine = mv_comm_taken(comm, PATIENCE) && fine && soon;
    mv_comm_send(comm, 0, 2, &fine, sizeof fine);
  } else if (rank == 0) {
    fine = brings(comm, 1, bytes, LARGE) && brings(comm, 2, &(bool){true}, sizeof fine);
    report(comm, fine && soon, "no sender waits");
  }
  free(buffer);
  free(bytes);
}

/* Without arguments: farms in which everybody answers. */
int main(int argc, char **argv)
{
  struct mv_comm *comm = mv_comm_start(&argc, &argv);
  assert(mv_comm_size(comm) <= 64);
  if (argc > 1 && strcmp(argv[1], "orphans") == 0) {
    return orphans(comm);
  }
  if (argc > 1) {
    return strcmp(argv[1], "crowd") == 0 ? crowd(comm) : sleeper(comm, atof(argv[1]), argc == 2);
  }
  if (mv_comm_size(comm) > 1) {
    nobody_waits(comm);
  }
  for (int master = 0; master <= 1; master++) {
    trial(comm, "no units", (struct world){.quit_done = -1, .quit_tick = -1}, master);
    trial(comm, "one unit", (struct world){.units = 1, .quit_done = -1, .quit_tick = -1}, master);
    trial(comm, "fewer units than places",
          (struct world){.units = 3, .quit_done = -1, .quit_tick = -1, .microseconds = 5000}, master);
    trial(comm, "many tiny units", (struct world){.units = 6000, .quit_done = -1, .quit_tick = -1}, master);
    trial(comm, "variable work",
          (struct world){.units = 300, .quit_done = -1, .quit_tick = -1, .microseconds = 5000, .words = 300}, master);
    trial(comm, "large results",
          (struct world){.units = 40, .quit_done = -1, .quit_tick = -1, .words = 900000, .microseconds = 1000}, master);
    trial(comm, "large loads and large results",
          (struct world){.units = 30, .quit_done = -1, .quit_tick = -1, .words = 300000, .load = 300000}, master);
    trial(comm, "each unit waits for the one before",
          (struct world){.units = 300, .window = 1, .quit_done = -1, .quit_tick = -1, .microseconds = 200}, master);
    trial(comm, "units wait for others",
          (struct world){.units = 2000, .window = 3, .quit_done = -1, .quit_tick = -1, .microseconds = 200}, master);
    trial(comm, "done gives up while some wait",
          (struct world){.units = 1000, .window = 1, .quit_done = 50, .quit_tick = -1, .microseconds = 200}, master);
    trial(comm, "work in rounds",
          (struct world){.units = 130, .batch = 9, .quit_done = -1, .quit_tick = -1, .microseconds = 2000}, master);
    trial(comm, "done gives up in a later round",
          (struct world){.units = 1000, .batch = 9, .quit_done = 50, .quit_tick = -1, .microseconds = 1000}, master);
    trial(comm, "done gives up at once",
          (struct world){.units = 1000, .quit_done = 0, .quit_tick = -1, .microseconds = 1000}, master);
    trial(comm, "done gives up midway",
          (struct world){.units = 1000, .quit_done = 100, .quit_tick = -1, .microseconds = 1000, .words = 50000},
          master);
    trial(comm, "done gives up at the last result", (struct world){.units = 20, .quit_done = 19, .quit_tick = -1},
          master);
    trial(comm, "tick gives up at once", (struct world){.units = 1000, .quit_done = -1, .quit_tick = 0}, master);
    trial(comm, "tick gives up midway",
          (struct world){.units = 100000, .quit_done = -1, .quit_tick = 50, .microseconds = 3000}, master);
  }
  mv_comm_share(comm, &failures, sizeof failures);
  return mv_comm_stop(comm, failures ? EXIT_FAILURE : EXIT_SUCCESS, PATIENCE);
}
