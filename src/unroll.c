/* unroll.c - the walk forwards over time. Compiled once per kernel variant.
 *
 *   for n = 0 .. steps-1: theta_{n+1} = f(theta_n, omega_n, eta), then the tangents
 *   theta'_{n+1} = d_theta f theta'_n + d_eta f  of every block whose window covers step n in some lane.
 *
 * Window [s, s + T): theta'_s = d init / d eta if s = 0, and 0 if s > 0 (stop-gradient before the window; Vuorio et al.
 * 2022). Lanes have their own starts: a lane has its tangent set to zero when its window starts, and is masked out of the
 * report outside of it.
 */
#include <assert.h>
#include <string.h>

#include "metavar/arena.h"
#include "metavar/lifetime.h"
#include "metavar/window.h"

/* --- tangent blocks ---------------------------------------------------------------------------------------- */

/* Lanes whose window starts at step n > 0 have no tangent yet; what they held before is rubbish. */
static void begin_lanes(const struct mv_problem *p, struct mv_block *b, int64_t n)
{
  numb begins = mv_window_holds(b->start, n, 1);
  if (n == 0 || !numb_any(begins))
    return;
  for (int i = 0; i < p->shape.meta * p->shape.state; i++)
    b->theta_dot[i] = num_select(begins, num_set(0.0), b->theta_dot[i]);
}

static struct mv_columns columns_of(const struct mv_walk *w, struct mv_block *b)
{
  return (struct mv_columns){w->problem->shape.meta, b->hessian, !w->no_expected, b->zero, b->theta_dot, b->dot};
}

static void block_init(const struct mv_walk *w, const struct mv_life *life, struct mv_block *b)
{
  const struct mv_shape *s = &w->problem->shape;
  b->theta_dot = mv_arena_take(w->arena, sizeof(num) * (size_t)(s->meta * s->state));
  b->dot = mv_arena_take(w->arena, sizeof(struct mv_report) * (size_t)s->meta);
  b->inside = mv_arena_take(w->arena, sizeof(num));
  b->zero = mv_arena_take(w->arena, sizeof(bool) * (size_t)s->meta);
  struct mv_columns columns = columns_of(w, b);
  w->problem->task->init_jvp(life, &columns);
}

/* Tangents of all blocks whose window covers step n in some lane, in one call. active[block_count]: scratch. */
static void blocks_step(const struct mv_walk *w, const struct mv_life *life, int64_t n, const num *theta,
                        const num *tape, struct mv_columns *active)
{
  int count = 0;
  for (int i = 0; i < w->block_count; i++) {
    struct mv_block *b = &w->blocks[i];
    b->active = numb_any(mv_window_holds(b->start, n, b->length));
    if (b->active) {
      begin_lanes(w->problem, b, n);
      active[count++] = columns_of(w, b);
    }
  }
  if (count)
    w->problem->task->step_jvp(life, n, theta, tape, active, count);
  for (int i = 0; i < w->block_count; i++) {
    struct mv_block *b = &w->blocks[i];
    if (!b->active)
      continue;
    numb inside = mv_window_holds(b->start, n, b->length);
    *b->inside = num_select(inside, num_set(1.0), num_set(0.0));
    for (int c = 0; c < w->problem->shape.meta; c++) {
      struct mv_report *r = &b->dot[c];
      *r = (struct mv_report){mv_keep(inside, r->objective), mv_keep(inside, r->logp), mv_keep(inside, r->surrogate),
                              mv_keep(inside, r->expected)};
    }
  }
}

/* --- the walk ---------------------------------------------------------------------------------------------- */

size_t mv_walk_bytes(const struct mv_problem *p, int block_count)
{
  const struct mv_shape *s = &p->shape;
  size_t state = mv_arena_cost(sizeof(num) * (size_t)s->state);
  return mv_lifetime_bytes(p) + 2 * state + mv_arena_cost(sizeof(num) * (size_t)s->tape) +
         mv_arena_cost(sizeof(struct mv_columns) * (size_t)block_count) +
         (size_t)block_count * (mv_arena_cost(sizeof(num) * (size_t)(s->meta * s->state)) +
                                mv_arena_cost(sizeof(struct mv_report) * (size_t)s->meta) + mv_arena_cost(sizeof(num)) +
                                mv_arena_cost(sizeof(bool) * (size_t)s->meta));
}

void mv_walk_run(struct mv_walk *w, mv_observe *observe, void *self)
{
  const struct mv_problem *p = w->problem;
  const struct mv_shape *s = &p->shape;
  struct mv_arena *arena = w->arena;
  const size_t mark = arena->used;
  assert(w->steps <= p->steps && (w->block_count == 0 || p->task->step_jvp) && (w->first == 0 || w->state));

  num *theta = mv_arena_take(arena, sizeof(num) * (size_t)s->state);
  num *next = mv_arena_take(arena, sizeof(num) * (size_t)s->state);
  num *tape = mv_arena_take(arena, sizeof(num) * (size_t)s->tape);
  struct mv_columns *active = mv_arena_take(arena, sizeof(struct mv_columns) * (size_t)w->block_count);
  struct mv_lifetime lifetime;
  mv_lifetime_open(&lifetime, w, theta);
  for (int i = 0; i < w->block_count; i++)
    block_init(w, &lifetime.life, &w->blocks[i]);

  for (int64_t n = w->first; n < w->first + w->steps; n++) {
    struct mv_report report;
    mv_lifetime_step(&lifetime, n, theta, next, tape, &report);
    blocks_step(w, &lifetime.life, n, theta, tape, active);
    observe(self, n, &report, w->blocks);
    num *swap = theta;
    theta = next;
    next = swap;
  }
  if (w->state)
    memcpy(w->state, theta, sizeof(num) * (size_t)s->state);
  arena->used = mark;
}
