/* unroll.c - the walk over time. Compiled once per kernel variant.
 *
 *   theta_0 = init(eta);  for n = 0 .. steps-1: draw omega_n, theta_{n+1} = f(theta_n, omega_n, eta), then the tangents
 *   theta'_{n+1} = d_theta f theta'_n + d_eta f  of every block whose window covers step n in some lane.
 *
 * Window [s, s + T): theta'_s = d init / d eta if s = 0, and 0 if s > 0 (stop-gradient before the window; Vuorio et al.
 * 2022). Lanes have their own starts: a lane has its tangent set to zero when its window starts, and is masked out of the
 * report outside of it.
 */
#include <assert.h>

#include "metavar/arena.h"
#include "metavar/noise.h"
#include "metavar/window.h"

/* Where the noise of one walk comes from, and the buffers it is drawn into. */
struct source {
  const struct mv_walk *walk;
  struct mv_counter counter[MV_PURPOSES];
  num *uniform, *normal, *choice;
  real *forced;
};

static int choice_numbers(const struct mv_problem *p, const struct mv_draws *d, const struct mv_forced *forced)
{
  return d->choices * (p->sampler == MV_GUMBEL && !forced ? d->arity : 1);
}

static int larger(int a, int b) { return a > b ? a : b; }

/* Largest number of draws of one kind in any call. */
static int most(const struct mv_problem *p, int which)
{
  const struct mv_shape *s = &p->shape;
  const struct mv_draws *d[] = {&s->at_instance, &s->at_init, &s->at_step};
  int n = 1;
  for (int i = 0; i < 3; i++)
    n = larger(n, which == 0 ? d[i]->uniforms : which == 1 ? d[i]->normals : choice_numbers(p, d[i], NULL));
  return n;
}

static void source_open(struct source *s, const struct mv_walk *w)
{
  s->walk = w;
  for (int purpose = 0; purpose < MV_PURPOSES; purpose++)
    s->counter[purpose] = mv_counter_make(&w->coords, purpose);
  s->uniform = mv_arena_take(w->arena, sizeof(num) * (size_t)most(w->problem, 0));
  s->normal = mv_arena_take(w->arena, sizeof(num) * (size_t)most(w->problem, 1));
  s->choice = mv_arena_take(w->arena, sizeof(num) * (size_t)most(w->problem, 2));
  int widest = larger(larger(most(w->problem, 0), most(w->problem, 1)), most(w->problem, 2));
  s->forced = mv_arena_take(w->arena, sizeof(real) * (size_t)widest);
}

static void fill_forced(struct source *s, enum mv_purpose purpose, int64_t step, int count, num *out)
{
  const struct mv_walk *w = s->walk;
  int64_t lifetime[MV_LANES_MAX];
  for (int l = 0; l < MV_LANES; l++)
    lifetime[l] = mv_coords_lifetime(&w->coords, purpose, l);
  w->forced->fill(w->forced->self, purpose, w->coords.task, lifetime, step, count, MV_LANES, (double *)s->forced);
  for (int i = 0; i < count; i++)
    out[i] = s->forced[i];
}

/* The address of one kind of noise. */
struct address {
  enum mv_purpose purpose;
  int64_t step;
};

static struct mv_noise draw(struct source *s, const struct mv_draws *d, struct address uniform, struct address normal,
                            struct address choice)
{
  const struct mv_walk *w = s->walk;
  if (w->forced) {
    fill_forced(s, uniform.purpose, uniform.step, d->uniforms, s->uniform);
    fill_forced(s, normal.purpose, normal.step, d->normals, s->normal);
    fill_forced(s, choice.purpose, choice.step, d->choices, s->choice);
  } else {
    mv_draw_uniforms(&s->counter[uniform.purpose], uniform.step, d->uniforms, s->uniform);
    mv_draw_normals(&s->counter[normal.purpose], normal.step, d->normals, s->normal);
    mv_draw_uniforms(&s->counter[choice.purpose], choice.step, choice_numbers(w->problem, d, NULL), s->choice);
  }
  return (struct mv_noise){s->uniform, s->normal, s->choice, w->forced ? MV_FORCED : w->problem->sampler};
}

/* Before the first step: all three kinds belong to one purpose, at its steps 0, 1 and 2. */
static struct mv_noise draw_start(struct source *s, const struct mv_draws *d, enum mv_purpose purpose)
{
  return draw(s, d, (struct address){purpose, 0}, (struct address){purpose, 1}, (struct address){purpose, 2});
}

static struct mv_noise draw_step(struct source *s, const struct mv_draws *d, int64_t n)
{
  return draw(s, d, (struct address){MV_FOR_REWARD, n}, (struct address){MV_FOR_NORMAL, n},
              (struct address){MV_FOR_ACTION, n});
}

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
  size_t nums[] = {(size_t)s->instance, (size_t)s->prepared,
                   (size_t)s->state,    (size_t)s->state,
                   (size_t)s->tape,     (size_t)s->scratch,
                   (size_t)most(p, 0),  (size_t)most(p, 1),
                   (size_t)most(p, 2),  (size_t)most(p, 0) + (size_t)most(p, 1) + (size_t)most(p, 2)};
  size_t bytes = 0;
  for (size_t i = 0; i < sizeof nums / sizeof *nums; i++)
    bytes += mv_arena_cost(sizeof(num) * nums[i]);
  return bytes + mv_arena_cost(sizeof(struct mv_columns) * (size_t)block_count) +
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
  assert(w->steps <= p->steps && (w->block_count == 0 || p->task->step_jvp));

  num *instance = mv_arena_take(arena, sizeof(num) * (size_t)s->instance);
  num *prepared = mv_arena_take(arena, sizeof(num) * (size_t)s->prepared);
  num *theta = mv_arena_take(arena, sizeof(num) * (size_t)s->state);
  num *next = mv_arena_take(arena, sizeof(num) * (size_t)s->state);
  num *tape = mv_arena_take(arena, sizeof(num) * (size_t)s->tape);
  num *scratch = mv_arena_take(arena, sizeof(num) * (size_t)s->scratch);
  struct mv_columns *active = mv_arena_take(arena, sizeof(struct mv_columns) * (size_t)w->block_count);
  struct source source;
  source_open(&source, w);

  struct mv_noise noise = draw_start(&source, &s->at_instance, MV_FOR_TASK);
  p->task->instance(p->settings, &noise, instance);
  struct mv_life life = {p->settings, p->steps, w->eta, instance, prepared, scratch};
  if (p->task->prepare)
    p->task->prepare(&life, prepared);
  noise = draw_start(&source, &s->at_init, MV_FOR_INIT);
  p->task->init(&life, &noise, theta);
  for (int i = 0; i < w->block_count; i++)
    block_init(w, &life, &w->blocks[i]);

  for (int64_t n = 0; n < w->steps; n++) {
    struct mv_report report;
    noise = draw_step(&source, &s->at_step, n);
    p->task->step(&life, n, &noise, w->shadow, theta, next, tape, &report);
    blocks_step(w, &life, n, theta, tape, active);
    observe(self, n, &report, w->blocks);
    num *swap = theta;
    theta = next;
    next = swap;
  }
  arena->used = mark;
}

void mv_window_draw(const struct mv_walk *w, int64_t length, int64_t *start)
{
  const int64_t choices = w->problem->steps - length + 1;
  if (w->forced) {
    int64_t lifetime[MV_LANES_MAX];
    double forced[MV_LANES_MAX];
    for (int l = 0; l < MV_LANES; l++)
      lifetime[l] = mv_coords_lifetime(&w->coords, MV_FOR_WINDOW, l);
    w->forced->fill(w->forced->self, MV_FOR_WINDOW, w->coords.task, lifetime, length, 1, MV_LANES, forced);
    for (int l = 0; l < MV_LANES; l++)
      start[l] = (int64_t)forced[l];
    return;
  }
  struct mv_counter counter = mv_counter_make(&w->coords, MV_FOR_WINDOW);
  real u[2];
  mv_uniform_pair(&counter, (uint64_t)length, 0, u);
  for (int l = 0; l < MV_LANES; l++) {
    int64_t s = (int64_t)(((const double *)&u[0])[l] * (double)choices);
    start[l] = s < choices ? s : choices - 1;
  }
}

void mv_direction_draw(const struct mv_walk *w, const int64_t *draw, int64_t pair, num *z)
{
  struct mv_coords coords = w->coords;
  const int meta = w->problem->shape.meta;
  for (int l = 0; l < MV_LANES_MAX; l++)
    coords.lifetime[l] = draw[l];
  if (w->forced) {
    double forced[meta * MV_LANES];
    w->forced->fill(w->forced->self, MV_FOR_PERTURB, coords.task, coords.lifetime, pair, meta, MV_LANES, forced);
    for (int j = 0; j < meta; j++)
      for (int l = 0; l < MV_LANES; l++)
        NUM_LANE(z, j, l) = forced[j * MV_LANES + l];
    return;
  }
  struct mv_counter counter = mv_counter_make(&coords, MV_FOR_PERTURB);
  mv_draw_normals(&counter, pair, meta, z);
}
