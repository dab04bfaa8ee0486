/* farm.c - rank 0 hands out work, everybody computes.
 *
 * A rank holds up to two units: one at work and one waiting, so that it never idles while its result travels. Rank 0's
 * main thread does all messages, next, done and tick, and sleeps in between; its own computing is done by a helper
 * thread with the same two places.
 *
 *   rank 0 -> worker   UNIT    unit_size bytes, and its load
 *                      ALIVE   to one that has nothing to do: rank 0 still works
 *                      STOP    one byte, when every result is in: was it all?
 *   worker -> rank 0   RESULT  the bytes that compute returned
 *
 * No message makes its sender wait: a worker computes the next unit while rank 0 takes its result. There is nothing
 * collective, so a rank that has been stopped, or whose node hangs, holds up nobody: its units go to others.
 * A rank answers in the order in which it got its units, so results need no names.
 */
#include "metavar/farm.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "helper.h"
#include "metavar/clock.h"
#include "metavar/memory.h"

#define TICK_SECONDS  0.1
#define ALIVE_SECONDS 5.0
#define LOOK_SECONDS  1.0  /* rank 0 did not look for so long: it was itself stopped, or held up by a disk */
#define SLACK         8    /* patience over the longest time that a rank has taken */
#define SPINS         20   /* polls before rank 0 starts to sleep */
#define NAP_STEP      1e-4 /* each sleep is this much longer than the last, */
#define NAP_SHARE     0.1  /* but no shorter than this share of a unit, because a rank holds one that waits, */
#define NAP_MOST      2e-2 /* nor longer than this: every waking costs the ranks beside it; */
#define NAP_URGENT    4e-3 /* than this if a rank may have nothing to do, */
#define NAP_ARRIVING  1e-3 /* or while a message comes in parts, for each of which both sides have to look */

enum tag { TAG_UNIT = 1, TAG_ALIVE, TAG_STOP, TAG_RESULT };

/* ---- rank 0 ------------------------------------------------------------------------------------------------ */

/* One that was handed out and is still held by somebody, or waits to be handed out again. */
struct unit {
  struct unit *next; /* in the queue */
  int holders;       /* ranks */
  bool queued, done;
  max_align_t bytes[];
};

struct peer {
  struct unit *held[MV_PLACES]; /* oldest first */
  int count;
  bool silent;
  double since; /* when it began the oldest */
  double told;  /* when it last heard of rank 0 */
};

struct master {
  struct mv_comm *comm;
  const struct mv_farm *farm;
  struct mv_helper helper;
  int size;
  struct peer *peer;  /* [size] */
  struct unit *again; /* queue of units that silent ranks hold */
  int64_t undone;     /* units handed out whose result is not in */
  int awaited;        /* places filled at ranks that answer */
  int answering;      /* ranks, without rank 0 */
  bool dry;           /* next() has no more */
  bool starved;       /* next() had none for somebody, but will have */
  bool stopped;       /* tick() or done() wants no more */
  bool broken;        /* done() failed: results are of no use any more */
  void *buffer;
  size_t capacity;
  double next_tick, looked, patience;
  double pace; /* seconds of the last unit */
};

static void drop_unit(struct unit *u)
{
  if (u->holders == 0 && !u->queued) {
    free(u);
  }
}

static struct unit *dequeue(struct master *m)
{
  struct unit *u = m->again;
  m->again = u->next;
  u->queued = false;
  return u;
}

/* The next unit, if rank 0 still hands out work. */
static struct unit *take_unit(struct master *m)
{
  while (m->again && !m->stopped) {
    struct unit *u = dequeue(m);
    if (!u->done) {
      return u;
    }
    drop_unit(u);
  }
  if (m->dry || m->stopped) {
    return NULL;
  }
  struct unit *u = mv_memory_take(1, sizeof *u + m->farm->unit_size);
  enum mv_next next = m->farm->next(m->farm->self, u->bytes);
  if (next != MV_NEXT_UNIT) {
    m->dry = next == MV_NEXT_NONE;
    m->starved = next == MV_NEXT_LATER;
    free(u);
    return NULL;
  }
  m->undone++;
  return u;
}

static void send_unit(struct master *m, int rank, const struct unit *u)
{
  const size_t fixed = m->farm->unit_size, load = mv_farm_load(m->farm, u->bytes, NULL);
  if (load == 0) {
    mv_comm_send(m->comm, rank, TAG_UNIT, u->bytes, fixed);
    return;
  }
  char *message = mv_comm_buffer(m->comm, fixed + load);
  memcpy(message, u->bytes, fixed);
  mv_farm_load(m->farm, u->bytes, message + fixed);
  mv_comm_post(m->comm, rank, TAG_UNIT, message, fixed + load);
}

/* Gives a rank one more unit if it may have one and there is one. Rank 0 helps out when nobody else answers. */
static bool feed(struct master *m, int rank)
{
  struct peer *p = &m->peer[rank];
  bool may = rank > 0 ? !p->silent : m->farm->master_computes || m->answering == 0;
  struct unit *u = may && p->count < MV_PLACES ? take_unit(m) : NULL;
  if (!u) {
    return false;
  }
  double now = mv_clock_monotonic();
  p->since = p->count ? p->since : now;
  p->held[p->count++] = u;
  u->holders++;
  m->awaited++;
  if (rank == 0) {
    mv_helper_give(&m->helper, u->bytes);
  } else {
    p->told = now;
    send_unit(m, rank, u);
  }
  return true;
}

/* A rank has answered; the unit that it is about, for settle. */
static struct unit *answer(struct master *m, int rank)
{
  struct peer *p = &m->peer[rank];
  assert(p->count > 0);
  double now = mv_clock_monotonic();
  if (p->silent) {
    p->silent = false;
    m->awaited += p->count;
    m->answering++;
    m->farm->heard(m->farm->self, rank);
  } else if (rank > 0 && m->patience < SLACK * (now - p->since)) {
    m->patience = SLACK * (now - p->since);
  }
  m->pace = now - p->since;
  struct unit *u = p->held[0];
  p->count--;
  for (int i = 0; i < p->count; i++) {
    p->held[i] = p->held[i + 1];
  }
  p->since = now;
  u->holders--;
  m->awaited--;
  return u;
}

/* A unit's result counts once. */
static void settle(struct master *m, struct unit *u, const void *result, size_t size)
{
  if (!u->done) {
    u->done = true;
    m->undone--;
    if (!m->broken && !m->farm->done(m->farm->self, result, size)) {
      m->broken = m->stopped = true;
    }
  }
  drop_unit(u);
}

/* One unit to everybody who has none, then a second one: what there is goes to as many as there are. */
static void feed_all(struct master *m)
{
  for (int place = 0; place < MV_PLACES; place++) {
    for (int rank = 0; rank < m->size; rank++) {
      if (m->peer[rank].count <= place) {
        feed(m, rank);
      }
    }
  }
}

/* Results that have arrived, at most one a rank, so that ticks get their turn; false: there was none. */
static bool collect(struct master *m)
{
  bool some = false;
  int source, tag;
  size_t size;
  for (int i = 1; i < m->size && mv_comm_poll(m->comm, &source, &tag, &m->buffer, &m->capacity, &size); i++) {
    assert(tag == TAG_RESULT);
    struct unit *u = answer(m, source);
    feed(m, source); /* before done(), which may write to a disk */
    settle(m, u, m->buffer, size);
    some = true;
  }
  const struct mv_place *p = mv_helper_result(&m->helper);
  if (p) {
    settle(m, answer(m, 0), p->result, p->size);
    mv_helper_release(&m->helper);
    feed(m, 0);
    some = true;
  }
  if (some && m->starved) {
    m->starved = false;
    feed_all(m);
  }
  return some;
}

static void fall_silent(struct master *m, int rank, double seconds)
{
  struct peer *p = &m->peer[rank];
  p->silent = true;
  m->awaited -= p->count;
  m->answering--;
  m->farm->silent(m->farm->self, rank, seconds, p->count);
  for (int i = 0; i < p->count; i++) {
    struct unit *u = p->held[i];
    if (!u->done && !u->queued) {
      u->queued = true;
      u->next = m->again;
      m->again = u;
    }
  }
}

/* Who has been silent for too long; tells those who wait that rank 0 is there. */
static void watch(struct master *m, double now)
{
  int silent = 0;
  for (int rank = 1; rank < m->size; rank++) {
    struct peer *p = &m->peer[rank];
    if (p->count > 0 && !p->silent && now - p->since > m->patience) {
      fall_silent(m, rank, now - p->since);
      silent++;
    } else if (p->count == 0 && now - p->told > ALIVE_SECONDS) {
      p->told = now;
      mv_comm_send(m->comm, rank, TAG_ALIVE, NULL, 0);
    }
    if (p->silent) {
      mv_comm_set_aside(m->comm, rank); /* which may have stopped in the middle of a message */
    }
  }
  if (silent > 0) {
    feed_all(m);
  }
}

/* What happened while rank 0 did not look is no silence. */
static void look(struct master *m, double now)
{
  double gap = now - m->looked;
  for (int rank = 1; rank < m->size && gap > LOOK_SECONDS; rank++) {
    m->peer[rank].since += gap;
  }
  m->looked = now;
}

static void tick(struct master *m)
{
  double now = mv_clock_monotonic();
  look(m, now);
  if (now >= m->next_tick) {
    m->next_tick = now + TICK_SECONDS;
    watch(m, now);
    if (!m->farm->tick(m->farm->self)) {
      m->stopped = true;
    }
  }
}

/* Polls a few times at full speed, then sleeps a little longer each time. Alone, only the helper can have news. */
static void idle(struct master *m, int *polls)
{
  double nap = TICK_SECONDS;
  if (m->size > 1) {
    if (++*polls <= SPINS) {
      return;
    }
    bool urgent = m->starved || m->dry;
    nap = fmax((*polls - SPINS) * NAP_STEP, urgent ? 0 : NAP_SHARE * m->pace);
    nap = fmin(nap, mv_comm_arriving(m->comm) ? NAP_ARRIVING : urgent ? NAP_URGENT : NAP_MOST);
  }
  double rest = m->next_tick - mv_clock_monotonic();
  if (rest > 0) {
    mv_helper_wait(&m->helper, nap < rest ? nap : rest);
  }
}

/* All that there was is done: whether there is more. */
static bool refill(struct master *m)
{
  if (!m->dry || m->undone > 0 || m->stopped || !m->farm->more || !m->farm->more(m->farm->self)) {
    return false;
  }
  m->dry = false;
  m->looked = mv_clock_monotonic(); /* nobody was waited for meanwhile */
  feed_all(m);
  return true;
}

static bool master_run(struct master *m)
{
  int polls = 0;
  tick(m); /* before any work: perhaps there shall be none */
  feed_all(m);
  while (m->awaited > 0 || (m->again && !m->stopped) || refill(m)) {
    bool some = collect(m);
    tick(m);
    if (some) {
      polls = 0;
    } else {
      idle(m, &polls);
    }
  }
  bool complete = m->dry && m->undone == 0 && !m->broken;
  for (int rank = 1; rank < m->size; rank++) {
    if (!m->peer[rank].silent) {
      mv_comm_send(m->comm, rank, TAG_STOP, &complete, sizeof complete);
    }
  }
  if (m->answering < m->size - 1) {
    mv_comm_lose(m->comm);
  }
  return complete;
}

/* What nobody will answer for any more. */
static void master_free(struct master *m)
{
  while (m->again) {
    drop_unit(dequeue(m));
  }
  for (int rank = 1; rank < m->size; rank++) {
    for (int i = 0; i < m->peer[rank].count; i++) {
      m->peer[rank].held[i]->holders--;
      drop_unit(m->peer[rank].held[i]);
    }
  }
  free(m->peer);
  free(m->buffer);
}

/* ---- the other ranks ---------------------------------------------------------------------------------------- */

static bool worker_run(struct mv_comm *comm, const struct mv_farm *farm)
{
  void *message = NULL, *result[MV_PLACES] = {NULL}; /* one is computed while the other travels */
  size_t message_capacity = 0, capacity[MV_PLACES] = {0}, size;
  int tag = TAG_ALIVE, place = 0;
  while (tag != TAG_STOP) {
    if (!mv_comm_receive(comm, 0, farm->master_patience, &tag, &message, &message_capacity, &size)) {
      farm->orphan(farm->self, farm->master_patience);
    }
    if (tag == TAG_UNIT) {
      assert(size >= farm->unit_size);
      size_t bytes = farm->compute(farm->self, message, &result[place], &capacity[place]);
      if (!mv_comm_taken(comm, farm->master_patience)) { /* the one before */
        farm->orphan(farm->self, farm->master_patience);
      }
      mv_comm_lend(comm, 0, TAG_RESULT, result[place], bytes);
      place = (place + 1) % MV_PLACES;
    }
  }
  mv_comm_taken(comm, INFINITY); /* it was: rank 0 has every result */
  assert(size == sizeof(bool));
  bool complete = *(bool *)message;
  free(message);
  for (int i = 0; i < MV_PLACES; i++) {
    free(result[i]);
  }
  return complete;
}

bool mv_farm_run(struct mv_comm *comm, const struct mv_farm *farm)
{
  if (mv_comm_rank(comm) != 0) {
    return worker_run(comm, farm);
  }
  struct master m = {.comm = comm, .farm = farm, .size = mv_comm_size(comm), .patience = farm->patience};
  m.peer = mv_memory_take((size_t)m.size, sizeof *m.peer);
  m.answering = m.size - 1;
  m.next_tick = m.looked = mv_clock_monotonic();
  for (int rank = 1; rank < m.size; rank++) {
    m.peer[rank].told = m.looked;
  }
  mv_helper_start(&m.helper, farm);
  bool complete = master_run(&m);
  mv_helper_stop(&m.helper);
  master_free(&m);
  return complete;
}
