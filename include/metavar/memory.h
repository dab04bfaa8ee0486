/* memory.h - memory of the process and of a run; that of a sample comes from the arena (arena.h). */
#ifndef METAVAR_MEMORY_H
#define METAVAR_MEMORY_H

#include <stdio.h>
#include <stdlib.h>

/* Zeroed memory for `count` things; ends the program when there is none. */
static inline void *mv_memory_take(size_t count, size_t size)
{
  void *memory = calloc(count ? count : 1, size);
  if (!memory) {
    fprintf(stderr, "metavar: out of memory (%zu x %zu bytes wanted)\n", count, size);
    abort();
  }
  return memory;
}

/* realloc with the same promise. */
static inline void *mv_memory_grow(void *memory, size_t count, size_t size)
{
  void *grown = reallocarray(memory, count ? count : 1, size);
  if (!grown) {
    fprintf(stderr, "metavar: out of memory (%zu x %zu bytes wanted)\n", count, size);
    abort();
  }
  return grown;
}

#endif
