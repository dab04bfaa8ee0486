/* store_ahead.c - shards in turn, each read whole and compared with its digest before it is given out; while one is in
 * use, a thread reads the next. Rows are taken from what was compared; where they lie in it is read from the file.
 */
#include "metavar/store_internal.h"

#include <pthread.h>
#include <stdlib.h>

#include "metavar/memory.h"

#define AHEAD_BYTES (128 << 20) /* of two shards; larger ones are read one at a time */

struct place {
  char *bytes;
  size_t room;
  const char *fault;
  bool full;
};

struct mv_ahead {
  int run;
  const struct mv_shard *const *shard;
  int64_t count, taken;
  struct place place[2]; /* shard k goes to place k % 2 */
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool aside, leave; /* there is a thread; it is to end */
};

static void load(struct mv_ahead *a, int64_t k)
{
  struct place *p = &a->place[k % 2];
  const size_t bytes = (size_t)a->shard[k]->bytes;
  if (bytes > p->room)
    p->bytes = mv_memory_grow(p->bytes, p->room = bytes, 1);
  p->fault = mv_shard_load(a->run, a->shard[k], p->bytes);
}

/* Whether shard k has to wait for one before it. */
static bool must_wait(const struct mv_ahead *a, int64_t k)
{
  return a->place[k % 2].full ||
         (a->place[1 - k % 2].full && a->shard[k]->bytes + a->shard[k - 1]->bytes > AHEAD_BYTES);
}

static void *ahead_main(void *self)
{
  struct mv_ahead *a = self;
  pthread_mutex_lock(&a->lock);
  for (int64_t k = 0; k < a->count && !a->leave; k++) {
    while (must_wait(a, k) && !a->leave)
      pthread_cond_wait(&a->changed, &a->lock);
    if (a->leave)
      break;
    pthread_mutex_unlock(&a->lock);
    load(a, k);
    mv_file_hasten(a->run, "results.h5.part");
    pthread_mutex_lock(&a->lock);
    a->place[k % 2].full = true;
    pthread_cond_signal(&a->changed);
  }
  pthread_mutex_unlock(&a->lock);
  return NULL;
}

struct mv_ahead *mv_ahead_start(int run, const struct mv_shard *const *shard, int64_t count)
{
  struct mv_ahead *a = mv_memory_take(1, sizeof *a);
  a->run = run;
  a->shard = shard;
  a->count = count;
  pthread_mutex_init(&a->lock, NULL);
  pthread_cond_init(&a->changed, NULL);
  a->aside = pthread_create(&a->thread, NULL, ahead_main, a) == 0;
  return a;
}

const char *mv_ahead_next(struct mv_ahead *a, const char **bytes)
{
  struct place *p = &a->place[a->taken % 2];
  if (!a->aside)
    load(a, a->taken);
  pthread_mutex_lock(&a->lock);
  while (a->aside && !p->full)
    pthread_cond_wait(&a->changed, &a->lock);
  pthread_mutex_unlock(&a->lock);
  *bytes = p->bytes;
  return p->fault;
}

void mv_ahead_release(struct mv_ahead *a)
{
  struct place *p = &a->place[a->taken++ % 2];
  if (p->room > AHEAD_BYTES / 2) {
    free(p->bytes);
    p->bytes = NULL;
    p->room = 0;
  }
  pthread_mutex_lock(&a->lock);
  p->full = false;
  pthread_cond_signal(&a->changed);
  pthread_mutex_unlock(&a->lock);
}

void mv_ahead_stop(struct mv_ahead *a)
{
  pthread_mutex_lock(&a->lock);
  a->leave = true;
  pthread_cond_signal(&a->changed);
  pthread_mutex_unlock(&a->lock);
  if (a->aside)
    pthread_join(a->thread, NULL);
  pthread_mutex_destroy(&a->lock);
  pthread_cond_destroy(&a->changed);
  for (int k = 0; k < 2; k++)
    free(a->place[k].bytes);
  free(a);
}
