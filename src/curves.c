/* curves.c - which rank works on what during training; rank 0's book of where every curve is.
 *
 * The updates of a curve follow each other; curves do not depend on each other. While at least as many curves are
 * unfinished as there are ranks that compute, ranks get whole updates: a second or so of one curve, with the state that
 * it starts from, and the curve that has most left goes first, so that all end together. When there are fewer curves,
 * each update is cut into as many parts as there are ranks, parts of several curves mixed: a rank gets eta and a range
 * of blocks (population.c) and gives back their sums. Nothing of this shows in the results.
 *
 * A track is a range of updates that is missing in one curve; there may be several if a shard was lost. Where lifetimes are
 * carried (train: {lifetimes: carried}), a track has their states too: they go with every piece and come back with its
 * answer. A track then begins behind the last update whose states are stored, or with the curve, and may pass updates that
 * are there.
 */
#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "metavar/clock.h"
#include "metavar/memory.h"
#include "metavar/ranges.h"
#include "metavar/train.h"

#define CHUNK_SECONDS 0.75 /* long against a message, short against a patient user */
#define CHUNKS_A_RANK 8    /* so that the last ones end at about the same time everywhere */
#define CHUNK_BYTES   (INT64_C(8) << 20)
#define PART_SECONDS  0.5e-3 /* a shorter part is not worth its message */
#define PARTS_A_RANK  4      /* of an update, so that the last ones end at about the same time */
#define HELD_SECONDS  0.5    /* updates made in parts are stored together */

struct track {
  int64_t cell, row, end; /* row: the one that is measured now, or next */
  double *state;          /* [state] of that row, before its measurement */
  double *carried;        /* [carried] states of the lifetimes, likewise; NULL before update 0 */
  double *becoming;       /* [carried] those behind it, of the parts that are back */
  bool out;               /* some rank has whole updates from `row` on */
  /* the parts of `row`; blocks 0: it is not cut */
  int64_t blocks, given, back, parts, parts_given;
  double *sums;
  /* updates [row - held, row), finished and not stored */
  double *values;
  int8_t *status;
  int64_t held, room;
  double since;
};

struct mv_curves {
  const struct mv_plan *plan;
  struct mv_curves_hooks hooks;
  struct mv_population *closing; /* for updates made in parts */
  struct mv_ranges known;        /* committed */
  struct track *tracks;
  int64_t count, unfinished;
  int hands, exit_code;
  double *seconds; /* [entry] of one update */
  double chunk_seconds, total;
};

struct mv_curves *mv_curves_create(const struct mv_plan *plan, const struct mv_curves_hooks *hooks)
{
  struct mv_curves *c = mv_memory_take(1, sizeof *c);
  c->plan = plan;
  c->hooks = *hooks;
  return c;
}

void mv_curves_free(struct mv_curves *c)
{
  if (!c) {
    return;
  }
  for (int64_t t = 0; t < c->count; t++) {
    free(c->tracks[t].state);
    free(c->tracks[t].carried);
    free(c->tracks[t].becoming);
    free(c->tracks[t].sums);
    free(c->tracks[t].values);
    free(c->tracks[t].status);
  }
  mv_population_free(c->closing);
  mv_ranges_free(&c->known);
  free(c->tracks);
  free(c->seconds);
  free(c);
}

void mv_curves_mark(void *curves, const struct mv_unit *unit)
{
  mv_ranges_add(&((struct mv_curves *)curves)->known, unit);
}

int64_t mv_curves_missing(const struct mv_curves *c) { return mv_plan_samples(c->plan) - c->known.samples; }

int64_t mv_curves_left(const struct mv_curves *c)
{
  int64_t updates = 0;
  for (int64_t t = 0; t < c->count; t++) {
    updates += c->tracks[t].end - c->tracks[t].row;
  }
  return updates;
}

/* --- the start -------------------------------------------------------------------------------------------------- */

static double update_seconds(const struct mv_curves *c, int64_t cell)
{
  return c->seconds[mv_plan_entry(c->plan, (int)cell)];
}

static double left(const struct mv_curves *c, const struct track *t)
{
  return (double)(t->end - t->row) * update_seconds(c, t->cell);
}

/* Where lifetimes are carried, goes back to where their states are known. */
static void find_carried(struct mv_curves *c, struct track *t)
{
  int64_t known = c->hooks.carried(c->hooks.self, t->cell, t->row, mv_piece_curve(c->plan, t->cell), &t->carried);
  t->row = known + 1;
}

/* Whether the gap is on the way of the track before, which then goes as far. */
static bool passes(const struct mv_curves *c, const struct track *t)
{
  struct track *before = c->count > 0 ? &c->tracks[c->count - 1] : NULL;
  if (!before || before->cell != t->cell || before->end < t->row) {
    return false;
  }
  before->end = t->end;
  return true;
}

/* A range of missing updates becomes a track, which goes on from the update before. */
static void add_track(void *self, const struct mv_unit *gap)
{
  struct mv_curves *c = self;
  const struct mv_plan *plan = c->plan;
  const int cell = (int)gap->cell;
  struct track t = {.cell = cell, .row = gap->first, .end = gap->first + gap->count};
  if (mv_job_carries(plan->job)) {
    find_carried(c, &t);
    if (passes(c, &t)) {
      free(t.carried);
      return;
    }
  }
  t.state = mv_memory_take((size_t)mv_record_state(plan->job), sizeof *t.state);
  if (t.row == 0) {
    mv_record_start(plan, cell, t.state);
  } else if (c->exit_code == 0) {
    int8_t status;
    double *row = mv_memory_take((size_t)plan->layout[mv_plan_entry(plan, cell)].values, sizeof *row);
    c->exit_code = c->hooks.read(c->hooks.self, cell, t.row - 1, row, &status);
    if (c->exit_code == 0) {
      mv_record_next(plan, cell, row, t.state);
    }
    free(row);
  }
  c->tracks = mv_memory_grow(c->tracks, (size_t)c->count + 1, sizeof t);
  c->tracks[c->count++] = t;
}

int mv_curves_start(struct mv_curves *c, const double *seconds, int hands)
{
  const struct mv_job *job = c->plan->job;
  c->hands = hands;
  c->closing = mv_population_create(c->plan);
  c->seconds = mv_memory_take((size_t)job->entry_count, sizeof *c->seconds);
  for (int e = 0; e < job->entry_count; e++) {
    c->seconds[e] = mv_update_seconds(job, e, seconds);
  }
  for (int cell = 0; cell < c->plan->cells; cell++) {
    int64_t rows = mv_job_rows(job, mv_plan_entry(c->plan, cell));
    mv_ranges_gaps(&c->known, &(struct mv_unit){cell, 0, rows}, add_track, c);
  }
  c->unfinished = c->count;
  for (int64_t t = 0; t < c->count; t++) {
    c->total += left(c, &c->tracks[t]);
  }
  c->chunk_seconds = c->total / (CHUNKS_A_RANK * hands);
  if (!(c->chunk_seconds < CHUNK_SECONDS)) {
    c->chunk_seconds = CHUNK_SECONDS;
  }
  return c->exit_code;
}

double mv_curves_seconds(const struct mv_curves *c) { return c->total; }

double mv_curves_longest(const struct mv_curves *c)
{
  double longest = c->chunk_seconds;
  for (int e = 0; e < c->plan->job->entry_count; e++) {
    longest = c->seconds[e] > longest ? c->seconds[e] : longest;
  }
  return longest;
}

/* --- handing out ------------------------------------------------------------------------------------------------ */

/* Into how many parts an update of this track is cut; 1: not. */
static int64_t parts_of(const struct mv_curves *c, const struct track *t)
{
  if (c->unfinished >= c->hands) {
    return 1;
  }
  double worth = update_seconds(c, t->cell) / PART_SECONDS;
  int64_t blocks = mv_population_blocks(c->plan->job, mv_plan_entry(c->plan, (int)t->cell), t->row);
  int64_t most = PARTS_A_RANK * c->hands, parts = worth < (double)most ? (int64_t)worth : most;
  parts = parts < blocks ? parts : blocks;
  return parts > 1 ? parts : 1;
}

static int64_t chunk_rows(const struct mv_curves *c, const struct track *t)
{
  int64_t unit = c->plan->job->unit, most = t->end - t->row;
  int64_t fit = CHUNK_BYTES / (8 * c->plan->layout[mv_plan_entry(c->plan, (int)t->cell)].values + 1);
  double wanted = unit > 0 ? (double)unit : c->chunk_seconds / update_seconds(c, t->cell);
  int64_t rows = wanted < (double)most ? (int64_t)wanted : most;
  rows = rows < fit ? rows : fit;
  return rows > 1 ? rows : 1;
}

static bool can_give(const struct track *t)
{
  return t->row < t->end && (t->blocks > 0 ? t->given < t->blocks : !t->out);
}

static void store_held(struct mv_curves *c, struct track *t)
{
  if (t->held == 0) {
    return;
  }
  struct mv_unit unit = {t->cell, t->row - t->held, t->held};
  struct mv_result view;
  size_t bytes = mv_result_bytes(c->plan, &unit);
  int64_t values = c->plan->layout[mv_plan_entry(c->plan, (int)t->cell)].values;
  struct mv_result_head *head = mv_memory_take(1, bytes);
  *head = (struct mv_result_head){.unit = unit, .bytes = (int64_t)bytes};
  bool fits = mv_result_view(c->plan, head, bytes, &view);
  assert(fits);
  (void)fits;
  memcpy((double *)view.values, t->values, (size_t)(t->held * values) * sizeof(double));
  for (int64_t r = 0; r < t->held; r++) {
    ((int8_t *)view.status)[r] = t->status[r];
    head->nonfinite += t->status[r] != MV_OK;
  }
  t->held = 0;
  c->hooks.store(c->hooks.self, head, bytes);
  free(head);
}

void mv_curves_flush(struct mv_curves *c)
{
  for (int64_t t = 0; t < c->count; t++) {
    store_held(c, &c->tracks[t]);
  }
}

static void cut_update(const struct mv_curves *c, struct track *t, int64_t parts)
{
  int entry = mv_plan_entry(c->plan, (int)t->cell);
  t->blocks = mv_population_blocks(c->plan->job, entry, t->row);
  t->given = t->back = t->parts_given = 0;
  t->parts = parts;
  if (mv_job_carries(c->plan->job) && !t->becoming) {
    t->becoming = mv_memory_take(1, mv_piece_curve(c->plan, t->cell));
  }
  t->sums = mv_memory_grow(t->sums, (size_t)(t->blocks * mv_population_width(c->plan->job, entry)), sizeof *t->sums);
}

enum mv_next mv_curves_next(struct mv_curves *c, struct mv_piece *piece)
{
  struct track *best = NULL;
  for (int64_t k = 0; k < c->count; k++) {
    struct track *t = &c->tracks[k];
    best = can_give(t) && (!best || left(c, t) > left(c, best)) ? t : best;
  }
  if (!best) {
    return c->unfinished > 0 ? MV_NEXT_LATER : MV_NEXT_NONE;
  }
  int64_t parts = best->blocks > 0 ? best->parts : parts_of(c, best);
  *piece = (struct mv_piece){.track = best - c->tracks, .cell = best->cell, .row = best->row};
  memcpy(piece + 1, best->state, (size_t)mv_record_state(c->plan->job) * sizeof(double));
  if (parts == 1) {
    store_held(c, best);
    piece->rows = chunk_rows(c, best);
    best->out = true;
    return MV_NEXT_UNIT;
  }
  if (best->blocks == 0) {
    cut_update(c, best, parts);
  }
  int64_t parts_left = best->parts - best->parts_given++;
  piece->block = best->given;
  piece->blocks = (best->blocks - best->given + parts_left - 1) / parts_left;
  best->given += piece->blocks;
  return MV_NEXT_UNIT;
}

size_t mv_curves_load(const struct mv_curves *c, const struct mv_piece *piece, void *out)
{
  int64_t at;
  const struct track *t = &c->tracks[piece->track];
  size_t bytes = (size_t)mv_piece_carried(c->plan, piece, &at) * sizeof(double);
  bytes = piece->row > 0 ? bytes : 0;
  if (out && bytes > 0) {
    memcpy(out, t->carried + at, bytes);
  }
  return bytes;
}

const void *mv_curves_carried(const struct mv_curves *c, int64_t cell, int64_t row)
{
  for (int64_t k = 0; k < c->count; k++) {
    if (c->tracks[k].cell == cell && c->tracks[k].row == row + 1) {
      return c->tracks[k].carried;
    }
  }
  return NULL;
}

double mv_curves_predict(const struct mv_curves *c, const struct mv_piece *piece)
{
  double one = update_seconds(c, piece->cell);
  if (piece->rows > 0) {
    return (double)piece->rows * one;
  }
  int entry = mv_plan_entry(c->plan, (int)piece->cell);
  return one * (double)piece->blocks / (double)mv_population_blocks(c->plan->job, entry, piece->row);
}

/* --- taking back -------------------------------------------------------------------------------------------------- */

/* The update is measured: `row` and its status are in place behind those held. */
static void hold_update(struct mv_curves *c, struct track *t)
{
  const struct mv_job *job = c->plan->job;
  int entry = mv_plan_entry(c->plan, (int)t->cell);
  int64_t values = c->plan->layout[entry].values;
  if (t->held == t->room) {
    t->room = 2 * t->room + 16;
    t->values = mv_memory_grow(t->values, (size_t)(t->room * values), sizeof *t->values);
    t->status = mv_memory_grow(t->status, (size_t)t->room, 1);
  }
  double *row = t->values + t->held * values, now = mv_clock_monotonic();
  memcpy(row, t->state, (size_t)mv_record_state(job) * sizeof *row);
  t->status[t->held] = mv_population_close(c->closing, (int)t->cell, t->row, t->sums, row);
  mv_record_next(c->plan, (int)t->cell, row, t->state);
  double *was = t->carried;
  t->carried = t->becoming;
  t->becoming = was;
  t->since = t->held++ ? t->since : now;
  t->row++;
  t->blocks = 0;
  if (t->row == t->end || now - t->since >= HELD_SECONDS || mv_job_carries(job)) {
    store_held(c, t);
  }
}

static void take_rows(struct mv_curves *c, struct track *t, const struct mv_answer *answer)
{
  const struct mv_result_head *head = (const void *)(answer + 1);
  struct mv_result view;
  bool fits = mv_result_view(c->plan, head, (size_t)head->bytes, &view);
  assert(fits && head->unit.first == t->row);
  (void)fits;
  int64_t values = c->plan->layout[mv_plan_entry(c->plan, (int)t->cell)].values;
  mv_record_next(c->plan, (int)t->cell, view.values + (head->unit.count - 1) * values, t->state);
  t->row += head->unit.count;
  t->out = false;
  if (mv_job_carries(c->plan->job)) {
    t->carried = t->carried ? t->carried : mv_memory_take(1, mv_piece_curve(c->plan, t->cell));
    memcpy(t->carried, mv_answer_carried(c->plan, answer), mv_piece_curve(c->plan, t->cell));
  }
  c->hooks.store(c->hooks.self, head, (size_t)head->bytes);
}

void mv_curves_done(struct mv_curves *c, const struct mv_answer *answer)
{
  const struct mv_piece *piece = &answer->piece;
  struct track *t = &c->tracks[piece->track];
  assert(piece->track >= 0 && piece->track < c->count && piece->row == t->row);
  if (piece->rows > 0) {
    take_rows(c, t, answer);
  } else {
    int width = mv_population_width(c->plan->job, mv_plan_entry(c->plan, (int)t->cell));
    memcpy(t->sums + piece->block * width, answer + 1, (size_t)(piece->blocks * width) * sizeof(double));
    t->back += piece->blocks;
    int64_t at, carried = mv_piece_carried(c->plan, piece, &at);
    if (carried > 0) {
      memcpy(t->becoming + at, mv_answer_carried(c->plan, answer), (size_t)carried * sizeof(double));
    }
    if (t->back == t->blocks) {
      hold_update(c, t);
    }
  }
  c->unfinished -= t->row == t->end;
}
