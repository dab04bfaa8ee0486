/* farm.c - rank 0 hands out work, everybody computes.
 *
 * A worker holds up to two units: one at work and one waiting, so that it never idles while its result travels. Rank
 * 0's main thread does all messages, next, done and tick, and sleeps in between; its own computing is done by a helper
 * (one thread with the same two places), so that a long unit delays no message, commit or signal. The helper never
 * touches MPI.
 *
 *   rank 0 -> worker   UNIT    unit_size bytes
 *                      STOP    one byte, when every result is in: was it all?
 *   worker -> rank 0   RESULT  the bytes that compute returned
 *
 * Units and STOP are small and never make rank 0 wait; a worker may wait until rank 0 takes a large result.
 */
#include "metavar/farm.h"

#include <assert.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "metavar/clock.h"
#include "metavar/memory.h"

#define PLACES       2 /* units that one worker holds */
#define TICK_SECONDS 0.1
#define SPINS        20   /* polls before rank 0 starts to sleep */
#define NAP_STEP     5e-6 /* each sleep is this much longer than the last, */
#define NAP_MOST     1e-3 /* up to this: reached only while all units are long */

enum tag { TAG_UNIT = 1, TAG_STOP, TAG_RESULT };

/* ---- the helper: rank 0's compute thread ------------------------------------------------------------------- */

enum place_state { FREE, WAITING, FINISHED };

struct place {
  enum place_state state;
  void *unit;
  void *result;
  size_t size, capacity;
};

/* Places are filled, computed and emptied in turn. */
struct helper {
  const struct mv_farm *farm;
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t work, finished; /* to the thread, to the main thread */
  struct place place[PLACES];
  int fill, empty; /* the main thread's next places */
  int held;        /* places not FREE; main thread only */
  bool leave;
};

static void *helper_main(void *argument)
{
  struct helper *h = argument;
  pthread_mutex_lock(&h->lock);
  for (int at = 0;; at = (at + 1) % PLACES) {
    struct place *p = &h->place[at];
    while (p->state != WAITING && !h->leave) {
      pthread_cond_wait(&h->work, &h->lock);
    }
    if (p->state != WAITING) {
      break;
    }
    pthread_mutex_unlock(&h->lock);
    p->size = h->farm->compute(h->farm->self, p->unit, &p->result, &p->capacity);
    pthread_mutex_lock(&h->lock);
    p->state = FINISHED;
    pthread_cond_signal(&h->finished);
  }
  pthread_mutex_unlock(&h->lock);
  return NULL;
}

static void helper_start(struct helper *h, const struct mv_farm *farm)
{
  *h = (struct helper){.farm = farm};
  for (int i = 0; i < PLACES; i++) {
    h->place[i].unit = mv_memory_take(1, farm->unit_size);
  }
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_mutex_init(&h->lock, NULL);
  pthread_cond_init(&h->work, NULL);
  pthread_cond_init(&h->finished, &monotonic);
  pthread_condattr_destroy(&monotonic);
  if (farm->master_computes) {
    int failed = pthread_create(&h->thread, NULL, helper_main, h);
    assert(!failed && "compute thread");
  }
}

static void helper_stop(struct helper *h)
{
  if (h->farm->master_computes) {
    pthread_mutex_lock(&h->lock);
    h->leave = true;
    pthread_cond_signal(&h->work);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->thread, NULL);
  }
  for (int i = 0; i < PLACES; i++) {
    free(h->place[i].unit);
    free(h->place[i].result);
  }
  pthread_cond_destroy(&h->work);
  pthread_cond_destroy(&h->finished);
  pthread_mutex_destroy(&h->lock);
}

/* Where the main thread writes the next unit; then helper_go. */
static void *helper_unit(struct helper *h)
{
  assert(h->held < PLACES);
  return h->place[h->fill].unit;
}

static void helper_go(struct helper *h)
{
  pthread_mutex_lock(&h->lock);
  h->place[h->fill].state = WAITING;
  pthread_cond_signal(&h->work);
  pthread_mutex_unlock(&h->lock);
  h->fill = (h->fill + 1) % PLACES;
  h->held++;
}

/* The oldest unit's result if it is finished, else NULL; then helper_release. */
static struct place *helper_result(struct helper *h)
{
  struct place *p = &h->place[h->empty];
  pthread_mutex_lock(&h->lock);
  bool finished = p->state == FINISHED;
  pthread_mutex_unlock(&h->lock);
  return finished ? p : NULL;
}

static void helper_release(struct helper *h)
{
  pthread_mutex_lock(&h->lock);
  h->place[h->empty].state = FREE;
  pthread_mutex_unlock(&h->lock);
  h->empty = (h->empty + 1) % PLACES;
  h->held--;
}

/* Sleeps, or until the helper has finished a unit. */
static void helper_wait(struct helper *h, double seconds)
{
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  int64_t nanoseconds = until.tv_nsec + (int64_t)(seconds * 1e9);
  until.tv_sec += nanoseconds / 1000000000;
  until.tv_nsec = nanoseconds % 1000000000;
  pthread_mutex_lock(&h->lock);
  if (h->place[h->empty].state != FINISHED) {
    pthread_cond_timedwait(&h->finished, &h->lock, &until);
  }
  pthread_mutex_unlock(&h->lock);
}

/* ---- rank 0 ------------------------------------------------------------------------------------------------ */

struct master {
  struct mv_comm *comm;
  const struct mv_farm *farm;
  struct helper helper;
  int size;
  int *held; /* [size] units at each rank; [0] unused */
  int under_way;
  bool dry;     /* next() has no more */
  bool stopped; /* tick() or done() wants no more */
  bool broken;  /* done() failed: results are of no use any more */
  void *unit, *buffer;
  size_t capacity;
  double next_tick;
};

/* The next unit, if rank 0 still hands out work. */
static bool take_unit(struct master *m, void *unit)
{
  if (m->dry || m->stopped) {
    return false;
  }
  if (!m->farm->next(m->farm->self, unit)) {
    m->dry = true;
    return false;
  }
  m->under_way++;
  return true;
}

/* Gives a rank one more unit if there is one. */
static void feed(struct master *m, int rank)
{
  if (rank == 0) {
    if (take_unit(m, helper_unit(&m->helper))) {
      helper_go(&m->helper);
    }
  } else if (take_unit(m, m->unit)) {
    m->held[rank]++;
    mv_comm_send(m->comm, rank, TAG_UNIT, m->unit, m->farm->unit_size);
  }
}

static void take_result(struct master *m, const void *result, size_t size)
{
  m->under_way--;
  if (!m->broken && !m->farm->done(m->farm->self, result, size)) {
    m->broken = m->stopped = true;
  }
}

/* Results that have arrived, at most one a rank, so that ticks get their turn; false: there was none. */
static bool collect(struct master *m)
{
  bool some = false;
  int source, tag;
  size_t size;
  for (int i = 1; i < m->size && mv_comm_poll(m->comm, &source, &tag, &m->buffer, &m->capacity, &size); i++) {
    assert(tag == TAG_RESULT && m->held[source] > 0);
    m->held[source]--;
    feed(m, source); /* before done(), which may write to a disk */
    take_result(m, m->buffer, size);
    some = true;
  }
  struct place *p = helper_result(&m->helper);
  if (p) {
    take_result(m, p->result, p->size);
    helper_release(&m->helper);
    feed(m, 0);
    some = true;
  }
  return some;
}

static void tick(struct master *m)
{
  double time = mv_clock_monotonic();
  if (time >= m->next_tick) {
    m->next_tick = time + TICK_SECONDS;
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
    nap = (*polls - SPINS) * NAP_STEP;
    nap = nap < NAP_MOST ? nap : NAP_MOST;
  }
  double rest = m->next_tick - mv_clock_monotonic();
  if (rest > 0) {
    helper_wait(&m->helper, nap < rest ? nap : rest);
  }
}

static bool master_run(struct master *m)
{
  for (int place = 0; place < PLACES; place++) {
    for (int rank = m->farm->master_computes ? 0 : 1; rank < m->size; rank++) {
      tick(m);
      feed(m, rank);
    }
  }
  int polls = 0;
  while (m->under_way > 0) {
    bool some = collect(m);
    tick(m);
    if (some) {
      polls = 0;
    } else {
      idle(m, &polls);
    }
  }
  bool complete = m->dry && !m->broken;
  for (int rank = 1; rank < m->size; rank++) {
    mv_comm_send(m->comm, rank, TAG_STOP, &complete, sizeof complete);
  }
  return complete;
}

/* ---- the other ranks ---------------------------------------------------------------------------------------- */

static bool worker_run(struct mv_comm *comm, const struct mv_farm *farm)
{
  void *message = NULL, *result = NULL;
  size_t message_capacity = 0, result_capacity = 0;
  int source, tag;
  size_t size;
  while (size = mv_comm_receive(comm, 0, &source, &tag, &message, &message_capacity), tag == TAG_UNIT) {
    assert(size == farm->unit_size);
    size_t bytes = farm->compute(farm->self, message, &result, &result_capacity);
    mv_comm_send(comm, 0, TAG_RESULT, result, bytes);
  }
  assert(tag == TAG_STOP && size == sizeof(bool));
  bool complete = *(bool *)message;
  free(message);
  free(result);
  return complete;
}

bool mv_farm_run(struct mv_comm *comm, const struct mv_farm *farm)
{
  if (mv_comm_rank(comm) != 0) {
    return worker_run(comm, farm);
  }
  struct mv_farm alone = *farm;
  alone.master_computes |= mv_comm_size(comm) == 1;
  struct master m = {.comm = comm, .farm = &alone, .size = mv_comm_size(comm)};
  m.held = mv_memory_take((size_t)m.size, sizeof *m.held);
  m.unit = mv_memory_take(1, farm->unit_size);
  m.next_tick = mv_clock_monotonic();
  helper_start(&m.helper, &alone);
  bool complete = master_run(&m);
  helper_stop(&m.helper);
  free(m.held);
  free(m.unit);
  free(m.buffer);
  return complete;
}
