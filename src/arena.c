/* arena.c - see arena.h. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metavar/arena.h"

void mv_arena_create(struct mv_arena *arena, size_t bytes)
{
  arena->size = mv_arena_cost(bytes ? bytes : 1);
  arena->used = 0;
  arena->base = aligned_alloc(MV_ALIGN, arena->size);
  if (!arena->base) {
    fprintf(stderr, "metavar: out of memory: %zu bytes for one worker\n", arena->size);
    abort();
  }
}

void mv_arena_free(struct mv_arena *arena)
{
  free(arena->base);
  *arena = (struct mv_arena){0};
}

void *mv_arena_take_unset(struct mv_arena *arena, size_t bytes)
{
  size_t cost = mv_arena_cost(bytes);
  assert(arena->used + cost <= arena->size);
  void *p = arena->base + arena->used;
  arena->used += cost;
  return p;
}

void *mv_arena_take(struct mv_arena *arena, size_t bytes)
{
  return memset(mv_arena_take_unset(arena, bytes), 0, mv_arena_cost(bytes));
}
