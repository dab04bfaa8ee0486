/* helper.c - rank 0's compute thread: a long unit delays no message, commit or signal. */
#include "helper.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "metavar/memory.h"

static void *helper_main(void *argument)
{
  struct mv_helper *h = argument;
  pthread_mutex_lock(&h->lock);
  for (int at = 0;; at = (at + 1) % MV_PLACES) {
    struct mv_place *p = &h->place[at];
    while (p->state != MV_PLACE_WAITING && !h->leave) {
      pthread_cond_wait(&h->work, &h->lock);
    }
    if (p->state != MV_PLACE_WAITING) {
      break;
    }
    pthread_mutex_unlock(&h->lock);
    p->size = h->farm->compute(h->farm->self, p->unit, &p->result, &p->capacity);
    pthread_mutex_lock(&h->lock);
    p->state = MV_PLACE_FINISHED;
    pthread_cond_signal(&h->finished);
  }
  pthread_mutex_unlock(&h->lock);
  return NULL;
}

void mv_helper_start(struct mv_helper *h, const struct mv_farm *farm)
{
  *h = (struct mv_helper){.farm = farm};
  for (int i = 0; i < MV_PLACES; i++) {
    h->place[i].unit = mv_memory_take(1, farm->unit_size);
    h->place[i].room = farm->unit_size;
  }
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_mutex_init(&h->lock, NULL);
  pthread_cond_init(&h->work, NULL);
  pthread_cond_init(&h->finished, &monotonic);
  pthread_condattr_destroy(&monotonic);
  int failed = pthread_create(&h->thread, NULL, helper_main, h);
  assert(!failed && "compute thread");
}

void mv_helper_stop(struct mv_helper *h)
{
  pthread_mutex_lock(&h->lock);
  h->leave = true;
  pthread_cond_signal(&h->work);
  pthread_mutex_unlock(&h->lock);
  pthread_join(h->thread, NULL);
  for (int i = 0; i < MV_PLACES; i++) {
    free(h->place[i].unit);
    free(h->place[i].result);
  }
  pthread_cond_destroy(&h->work);
  pthread_cond_destroy(&h->finished);
  pthread_mutex_destroy(&h->lock);
}

void mv_helper_give(struct mv_helper *h, const void *unit)
{
  struct mv_place *p = &h->place[h->fill];
  const size_t fixed = h->farm->unit_size, load = mv_farm_load(h->farm, unit, NULL);
  assert(p->state == MV_PLACE_FREE); /* so the thread does not look at it */
  if (fixed + load > p->room) {
    p->room = fixed + load;
    p->unit = mv_memory_grow(p->unit, p->room, 1);
  }
  memcpy(p->unit, unit, fixed);
  mv_farm_load(h->farm, unit, (char *)p->unit + fixed);
  pthread_mutex_lock(&h->lock);
  p->state = MV_PLACE_WAITING;
  pthread_cond_signal(&h->work);
  pthread_mutex_unlock(&h->lock);
  h->fill = (h->fill + 1) % MV_PLACES;
}

const struct mv_place *mv_helper_result(struct mv_helper *h)
{
  const struct mv_place *p = &h->place[h->empty];
  pthread_mutex_lock(&h->lock);
  bool finished = p->state == MV_PLACE_FINISHED;
  pthread_mutex_unlock(&h->lock);
  return finished ? p : NULL;
}

void mv_helper_release(struct mv_helper *h)
{
  pthread_mutex_lock(&h->lock);
  h->place[h->empty].state = MV_PLACE_FREE;
  pthread_mutex_unlock(&h->lock);
  h->empty = (h->empty + 1) % MV_PLACES;
}

void mv_helper_wait(struct mv_helper *h, double seconds)
{
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  int64_t nanoseconds = until.tv_nsec + (int64_t)(seconds * 1e9);
  until.tv_sec += nanoseconds / 1000000000;
  until.tv_nsec = nanoseconds % 1000000000;
  pthread_mutex_lock(&h->lock);
  if (h->place[h->empty].state != MV_PLACE_FINISHED) {
    pthread_cond_timedwait(&h->finished, &h->lock, &until);
  }
  pthread_mutex_unlock(&h->lock);
}
