/* parallel.c - the same work on many pieces, on all cores. Pieces write to memory of their own, so results do not depend
 * on how many cores there are. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "metavar/panel.h"

#define THREADS_MAX 64
#define WORTH_IT    1e6 /* steps that take as long as a thread takes to start, many times over */

struct queue {
  atomic_int next;
  int tasks;
  void (*work)(void *self, int task);
  void *self;
};

static void *serve(void *argument)
{
  struct queue *queue = argument;
  for (int task; (task = atomic_fetch_add(&queue->next, 1)) < queue->tasks;)
    queue->work(queue->self, task);
  return NULL;
}

void mv_parallel(int tasks, double effort, void (*work)(void *self, int task), void *self)
{
  struct queue queue = {.tasks = tasks, .work = work, .self = self};
  pthread_t thread[THREADS_MAX];
  cpu_set_t mine;
  int cores = sched_getaffinity(0, sizeof mine, &mine) == 0 ? CPU_COUNT(&mine) : 1, helpers = 0;
  while (effort > WORTH_IT && helpers < cores - 1 && helpers < tasks - 1 && helpers < THREADS_MAX &&
         pthread_create(&thread[helpers], NULL, serve, &queue) == 0)
    helpers++; /* fewer threads than hoped for do the same work */
  serve(&queue);
  for (int k = 0; k < helpers; k++)
    pthread_join(thread[k], NULL);
}
