/* lifetime.c - the primal of one walk. Compiled once per kernel variant.
 *
 *   draw the task instance; theta_0 = init(eta);  theta_{n+1} = f(theta_n, omega_n, eta) with omega_n drawn for step n.
 *
 * A lifetime that goes on has the same instance, drawn again, and theta_n from the walk before.
 *
 * Noise comes from the random streams, or from a forced history. Either way it is a function of coordinates (stream.h),
 * so a step that is evaluated again is the same step.
 */
#include "metavar/lifetime.h"

#include <assert.h>
#include <string.h>

#include "metavar/arena.h"

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

static void noise_open(struct mv_lifetime *s, const struct mv_walk *w)
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

static void fill_forced(struct mv_lifetime *s, enum mv_purpose purpose, int64_t step, int count, num *out)
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

static struct mv_noise draw(struct mv_lifetime *s, const struct mv_draws *d, struct address uniform,
                            struct address normal, struct address choice)
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
static struct mv_noise draw_start(struct mv_lifetime *s, const struct mv_draws *d, enum mv_purpose purpose)
{
  return draw(s, d, (struct address){purpose, 0}, (struct address){purpose, 1}, (struct address){purpose, 2});
}

static struct mv_noise draw_step(struct mv_lifetime *s, const struct mv_draws *d, int64_t n)
{
  return draw(s, d, (struct address){MV_FOR_REWARD, n}, (struct address){MV_FOR_NORMAL, n},
              (struct address){MV_FOR_ACTION, n});
}

/* --- steps -------------------------------------------------------------------------------------------------- */

size_t mv_lifetime_bytes(const struct mv_problem *p)
{
  const struct mv_shape *s = &p->shape;
  const int counts[] = {
      s->instance, s->prepared, s->scratch, most(p, 0), most(p, 1), most(p, 2), most(p, 0) + most(p, 1) + most(p, 2)};
  size_t bytes = 0;
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
    bytes += mv_arena_cost(sizeof(num) * (size_t)counts[i]);
  return bytes;
}

void mv_lifetime_open(struct mv_lifetime *l, const struct mv_walk *w, num *theta)
{
  const struct mv_problem *p = w->problem;
  noise_open(l, w);
  if (w->trace)
    w->trace->lifetimes++;
  num *instance = mv_arena_take(w->arena, sizeof(num) * (size_t)p->shape.instance);
  num *prepared = mv_arena_take(w->arena, sizeof(num) * (size_t)p->shape.prepared);
  num *scratch = mv_arena_take(w->arena, sizeof(num) * (size_t)p->shape.scratch);
  struct mv_noise noise = draw_start(l, &p->shape.at_instance, MV_FOR_TASK);
  p->task->instance(p->settings, &noise, instance);
  l->life = (struct mv_life){p->settings, p->steps, w->eta, instance, prepared, scratch};
  if (p->task->prepare)
    p->task->prepare(&l->life, prepared);
  if (w->first > 0) {
    memcpy(theta, w->state, sizeof(num) * (size_t)p->shape.state);
    return;
  }
  noise = draw_start(l, &p->shape.at_init, MV_FOR_INIT);
  p->task->init(&l->life, &noise, theta);
}

static bool is_finite(double x) { return x - x == 0; }

static void follow(const struct mv_walk *w, int64_t n, const num *theta_next, const struct mv_report *report)
{
  struct mv_trace *t = w->trace;
  const num told[] = {report->objective, report->logp, report->surrogate, report->expected};
  for (int l = 0; l < MV_LANES; l++) {
    bool finite = true;
    for (int i = 0; i < w->problem->shape.state; i++)
      finite = finite && is_finite(MV_REAL_PART(NUM_LANE(theta_next, i, l)));
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
      finite = finite && is_finite(MV_REAL_PART(NUM_LANE(told, i, l)));
    if (finite || t->found[l])
      continue;
    t->found[l] = true;
    t->lifetime[l] = t->lifetimes - 1;
    t->step[l] = n;
  }
}

void mv_lifetime_step(struct mv_lifetime *l, int64_t n, const num *theta, num *theta_next, num *tape,
                      struct mv_report *report)
{
  const struct mv_problem *p = l->walk->problem;
  const struct mv_noise noise = draw_step(l, &p->shape.at_step, n);
  p->task->step(&l->life, n, &noise, l->walk->shadow, theta, theta_next, tape, report);
  if (l->walk->trace)
    follow(l->walk, n, theta_next, report);
}

/* --- what estimators draw --------------------------------------------------------------------------------------- */

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
