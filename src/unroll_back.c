/* unroll_back.c - the walk back over time: adjoints, with few steps kept. Compiled once per kernel variant.
 *
 *   for n = end-1 .. first:  theta_bar = (d_theta f)^T theta_bar + d_theta (w_n . report_n)
 *                            eta_bar  += (d_eta f)^T theta_bar + d_eta (w_n . report_n)
 * for every column of every block, then eta_bar += (d init / d eta)^T theta_bar. The same numbers as the walk forwards
 * by transposition: a column here is one weighted sum of reports and all of its derivatives.
 *
 * Window [s, s + T) of a lane: theta_bar = 0 after its last step; what has arrived before its first step is dropped if s > 0
 * (stop-gradient before the window). Lanes have their own starts, and what lanes outside of their windows hold may be
 * NaN, so it is masked, not multiplied by zero.
 *
 * Steps are kept, and evaluated again, by binomial checkpointing (revolve.h). Records are a stack: the last one is the
 * nearest before the steps already walked back. A record holds theta_n, R_{n-1}, and the report and tape of step n, once it
 * has been evaluated.
 */
#include <assert.h>

#include "metavar/arena.h"
#include "metavar/lifetime.h"
#include "metavar/revolve.h"
#include "metavar/window.h"

struct record {
  int64_t n;
  bool evaluated; /* tape and report are there */
  num *theta, *tape, *before;
  struct mv_report *report;
};

struct back {
  struct mv_walk *walk;
  struct mv_lifetime lifetime;
  struct record *record; /* [records + 1]: one for the step that is worked on */
  num *between[2];       /* states of steps that are not kept */
  num *tape;             /* of such steps */
  int64_t first, end;    /* steps to walk back */
  int64_t seen;          /* the observer has been told of all steps before */
  struct mv_adjoints *adjoints;
  mv_observe *observe;
  mv_weigh *weigh;
  void *self;
};

/* --- forwards ----------------------------------------------------------------------------------------------- */

static int64_t walk_end(const struct mv_walk *w) { return w->first + w->steps; }

static void evaluate(struct back *b, int64_t n, const num *theta, num *next, num *tape, struct mv_report *report)
{
  mv_lifetime_step(&b->lifetime, n, theta, next, tape, report);
  if (n == b->seen) {
    b->observe(b->self, n, report, NULL);
    b->seen++;
    if (b->seen == walk_end(b->walk) && b->walk->state)
      memcpy(b->walk->state, next, sizeof(num) * (size_t)b->walk->problem->shape.state);
  }
}

/* From a record to step n > from->n, whose state goes to another record. */
static void advance(struct back *b, struct record *from, int64_t n, struct record *to)
{
  const num *theta = from->theta;
  struct mv_report report;
  for (int64_t m = from->n; m < n; m++) {
    num *next = m == n - 1 ? to->theta : b->between[m & 1];
    evaluate(b, m, theta, next, m == from->n ? from->tape : b->tape, &report);
    if (m == from->n)
      *from->report = report;
    theta = next;
  }
  from->evaluated = true;
  to->n = n;
  to->evaluated = false;
  *to->before = report.objective;
}

/* The step of a record; where it is the last to be walked back and new, the rest of the lifetime. */
static void evaluate_record(struct back *b, struct record *r)
{
  evaluate(b, r->n, r->theta, b->between[0], r->tape, r->report);
  for (int64_t n = b->end, at = 0; b->seen >= b->end && b->seen < walk_end(b->walk); n++, at = !at) {
    struct mv_report report;
    evaluate(b, n, b->between[at], b->between[!at], b->tape, &report);
  }
}

/* --- back --------------------------------------------------------------------------------------------------- */

static bool all(numb t) { return !numb_any((numb)~t); }

static void select_into(num *x, int64_t count, numb where, const num *y)
{
  for (int64_t i = 0; i < count; i++)
    x[i] = num_select(where, y[i], x[i]);
}

/* Adds to a copy where lanes outside of their windows must not be touched. */
static struct mv_adjoints adjoints_of(const struct back *b, struct mv_block *block, numb inside)
{
  const int count = block->columns * b->walk->problem->shape.meta;
  num *eta_bar = all(inside) ? block->eta_bar : block->partial;
  if (eta_bar == block->partial)
    memcpy(eta_bar, block->eta_bar, sizeof(num) * (size_t)count);
  return (struct mv_adjoints){block->columns, block->hessian, block->theta_bar, eta_bar, block->weight};
}

static void adjoints_close(const struct back *b, struct mv_block *block, numb inside)
{
  if (!all(inside))
    select_into(block->eta_bar, block->columns * b->walk->problem->shape.meta, inside, block->partial);
}

/* Before step n: nothing has come back to lanes in which it is the window's last. */
static void block_open(const struct back *b, struct mv_block *block, int64_t n, numb inside)
{
  const numb later = inside & mv_window_holds(block->start, n + 1, block->length);
  *block->inside = mv_keep(inside, num_set(1.0));
  if (!all(later))
    for (int64_t i = 0; i < (int64_t)block->columns * b->walk->problem->shape.state; i++)
      block->theta_bar[i] = mv_keep(later, block->theta_bar[i]);
  memset(block->weight, 0, sizeof *block->weight * (size_t)block->columns);
}

static void step_back(struct back *b, const struct record *r)
{
  const struct mv_walk *w = b->walk;
  int count = 0;
  for (int i = 0; i < w->block_count; i++) {
    struct mv_block *block = &w->blocks[i];
    const numb inside = mv_window_holds(block->start, r->n, block->length);
    block->active = numb_any(inside);
    if (!block->active)
      continue;
    block_open(b, block, r->n, inside);
    b->adjoints[count++] = adjoints_of(b, block, inside);
  }
  if (count == 0)
    return;
  b->weigh(b->self, r->n, r->report, r->before, w->blocks);
  w->problem->task->step_vjp(&b->lifetime.life, r->n, r->theta, r->tape, b->adjoints, count);
  for (int i = 0; i < w->block_count; i++)
    if (w->blocks[i].active)
      adjoints_close(b, &w->blocks[i], mv_window_holds(w->blocks[i].start, r->n, w->blocks[i].length));
}

/* Lanes whose window starts with the lifetime. */
static void init_back(const struct back *b)
{
  for (int i = 0; i < b->walk->block_count; i++) {
    struct mv_block *block = &b->walk->blocks[i];
    const numb inside = mv_window_holds(block->start, 0, block->length);
    if (!numb_any(inside))
      continue;
    struct mv_adjoints adjoints = adjoints_of(b, block, inside);
    b->walk->problem->task->init_vjp(&b->lifetime.life, &adjoints);
    adjoints_close(b, block, inside);
  }
}

/* --- the walk ------------------------------------------------------------------------------------------------ */

/* record[0] holds the first step. */
static void walk_back(struct back *b, int64_t records)
{
  int64_t top = 0;
  for (int64_t to = b->end; to > b->first;) {
    struct record *last = &b->record[top];
    if (to - last->n > 1) {
      advance(b, last, last->n + mv_revolve_split(to - last->n, records - top), last + 1);
      top++;
    } else {
      if (!last->evaluated)
        evaluate_record(b, last);
      step_back(b, last);
      top--;
      to--;
    }
  }
}

static int64_t record_nums(const struct mv_shape *s)
{
  return s->state + s->tape + 1 + (int64_t)(sizeof(struct mv_report) / sizeof(num));
}

size_t mv_record_bytes(const struct mv_shape *s, int lanes)
{
  return sizeof(struct record) + sizeof(double) * (size_t)(record_nums(s) * lanes);
}

size_t mv_walk_back_bytes(const struct mv_problem *p, int64_t records, int block_count, int columns)
{
  const struct mv_shape *s = &p->shape;
  const size_t each = (size_t)columns, kept = (size_t)records + 1;
  return mv_lifetime_bytes(p) + mv_arena_cost(sizeof(struct record) * kept) +
         mv_arena_cost(sizeof(num) * (size_t)record_nums(s) * kept) +
         2 * mv_arena_cost(sizeof(num) * (size_t)s->state) + mv_arena_cost(sizeof(num) * (size_t)s->tape) +
         mv_arena_cost(sizeof(struct mv_adjoints) * (size_t)block_count) +
         mv_arena_cost(sizeof(num) * (size_t)block_count) + mv_arena_cost(sizeof(num) * each * (size_t)s->state) +
         mv_arena_cost(sizeof(struct mv_report) * each) + mv_arena_cost(sizeof(num) * each * (size_t)s->meta);
}

static void records_take(struct back *b, int64_t records)
{
  const struct mv_shape *s = &b->walk->problem->shape;
  struct mv_arena *arena = b->walk->arena;
  const size_t kept = (size_t)records + 1;
  b->record = mv_arena_take_unset(arena, sizeof(struct record) * kept);
  num *x = mv_arena_take_unset(arena, sizeof(num) * (size_t)record_nums(s) * kept);
  for (int64_t i = 0; i <= records; i++, x += record_nums(s))
    b->record[i] = (struct record){.theta = x,
                                   .tape = x + s->state,
                                   .before = x + s->state + s->tape,
                                   .report = (struct mv_report *)(x + s->state + s->tape + 1)};
  for (int i = 0; i < 2; i++)
    b->between[i] = mv_arena_take(arena, sizeof(num) * (size_t)s->state);
  b->tape = mv_arena_take(arena, sizeof(num) * (size_t)s->tape);
}

static void blocks_take(struct back *b)
{
  struct mv_walk *w = b->walk;
  const struct mv_shape *s = &w->problem->shape;
  size_t columns = 0;
  for (int i = 0; i < w->block_count; i++)
    columns += (size_t)w->blocks[i].columns;
  b->adjoints = mv_arena_take(w->arena, sizeof(struct mv_adjoints) * (size_t)w->block_count);
  num *inside = mv_arena_take(w->arena, sizeof(num) * (size_t)w->block_count);
  num *theta_bar = mv_arena_take(w->arena, sizeof(num) * columns * (size_t)s->state);
  num *partial = mv_arena_take(w->arena, sizeof(num) * columns * (size_t)s->meta);
  struct mv_report *weight = mv_arena_take(w->arena, sizeof *weight * columns);
  for (int i = 0; i < w->block_count; i++) {
    struct mv_block *block = &w->blocks[i];
    block->inside = inside + i;
    block->theta_bar = theta_bar;
    block->partial = partial;
    block->weight = weight;
    theta_bar += block->columns * s->state;
    partial += block->columns * s->meta;
    weight += block->columns;
  }
}

/* From the first to the last step that a window holds, in any lane. */
static void find_span(struct back *b)
{
  const struct mv_walk *w = b->walk;
  b->first = walk_end(w);
  for (int i = 0; i < w->block_count; i++)
    for (int l = 0; l < MV_LANES; l++) {
      int64_t start = w->blocks[i].start[l], end = start + w->blocks[i].length;
      b->first = start < b->first ? start : b->first;
      b->end = end > b->end ? end : b->end;
    }
  assert(w->first <= b->first && b->first < b->end && b->end <= walk_end(w));
}

void mv_walk_back(struct mv_walk *w, int64_t records, mv_observe *observe, mv_weigh *weigh, void *self)
{
  const size_t mark = w->arena->used;
  assert(w->steps <= w->problem->steps && records >= 1 && w->problem->task->step_vjp && (w->first == 0 || w->state));
  struct back b = {.walk = w, .observe = observe, .weigh = weigh, .self = self, .seen = w->first};
  find_span(&b);
  records_take(&b, records);
  blocks_take(&b);
  mv_lifetime_open(&b.lifetime, w, b.first == w->first ? b.record[0].theta : b.record[1].theta);
  *b.record[0].before = num_set(0.0);
  b.record[1].n = w->first;
  b.record[0].n = b.first;
  if (b.first > w->first)
    advance(&b, &b.record[1], b.first, &b.record[0]);
  walk_back(&b, records);
  if (b.first == 0)
    init_back(&b);
  w->arena->used = mark;
}
