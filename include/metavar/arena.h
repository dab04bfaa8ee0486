/* arena.h - the memory of one work unit: sized at plan time, reset between samples, never grown. */
#ifndef METAVAR_ARENA_H
#define METAVAR_ARENA_H

#include <stddef.h>

struct mv_arena {
  char *base;
  size_t size, used;
};

#define MV_ALIGN 64

void mv_arena_create(struct mv_arena *, size_t bytes); /* aborts when memory is exhausted */
void mv_arena_free(struct mv_arena *);

/* 64-byte aligned, zeroed; asserts that the plan reserved enough. */
void *mv_arena_take(struct mv_arena *, size_t bytes);
void *mv_arena_take_unset(struct mv_arena *, size_t bytes); /* the same, not zeroed */

/* Bytes that mv_arena_take uses up for a request. */
static inline size_t mv_arena_cost(size_t bytes) { return (bytes + MV_ALIGN - 1) / MV_ALIGN * MV_ALIGN; }

#endif
