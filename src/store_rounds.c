/* store_rounds.c - the rounds of a stopping rule (rounds.c): RUN/rounds.jsonl, one line for each round that is decided.
 *
 *   {"v": 1, "job": "<mv_job_id>", "round": 1, "go_on": [[cell, count], ...], "short": [[cell, count], ...],
 *    "crc": "<crc32 of the line up to the comma before this key>"}
 *
 * names ranges of cells: those that go on to the next round, and those that have the entry's replicates and still too
 * large an error; every other cell of the round has reached the target. Decisions are recorded, so that whoever reads the
 * directory knows what is to be had without reading a sample, and a run that goes on years later with another version
 * goes on with what was decided. Nothing depends on the record: a line that is torn, damaged or of an earlier job counts
 * as never written, and the round is decided again from the committed samples, to the same cells. A line is read only
 * where it is the next round's, so those behind a damaged one count again once its round is decided again.
 */
#include "metavar/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "metavar/memory.h"
#include "metavar/rounds.h"

#define FILE_NAME "rounds.jsonl"

void mv_rounds_free(struct mv_rounds *rounds)
{
  free(rounds->state);
  *rounds = (struct mv_rounds){0};
}

/* --- what was decided --------------------------------------------------------------------------------------- */

/* After one more round: counts the cells, and tells the plan what they are to have. */
static void count_cells(struct mv_rounds *rounds, const struct mv_plan *plan)
{
  rounds->go_on = rounds->fall_short = 0;
  for (int cell = 0; cell < plan->cells; cell++) {
    const struct mv_entry *entry = &plan->job->entries[mv_plan_entry(plan, cell)];
    rounds->fall_short += rounds->state[cell] == MV_CELL_SHORT;
    if (rounds->state[cell] != MV_CELL_GOES_ON)
      continue;
    rounds->go_on++;
    plan->replicates[cell] = mv_round_replicates(plan->job, entry, rounds->decided + 1);
  }
}

/* Gives the cells of a list of ranges a state; false: the list is not one of cells that were going on. */
static bool mark_cells(json_t *list, const struct mv_plan *plan, const char *before, char *after, char state)
{
  for (size_t k = 0; k < json_array_size(list); k++) {
    json_int_t first, count;
    if (json_unpack(json_array_get(list, k), "[I,I!]", &first, &count) != 0 || first < 0 || count < 0 ||
        count > plan->cells || first > plan->cells - count)
      return false;
    for (json_int_t cell = first; cell < first + count; cell++) {
      if (before[cell] != MV_CELL_GOES_ON)
        return false;
      after[cell] = state;
    }
  }
  return json_is_array(list);
}

/* False: a damaged line. */
static bool line_take(const char *line, size_t length, const char *id, const struct mv_plan *plan,
                      struct mv_rounds *rounds)
{
  json_t *root = mv_line_whole(line, length) ? json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL) : NULL;
  json_t *go_on = NULL, *lacking = NULL;
  const char *job = NULL;
  json_int_t version = 0, round = 0;
  bool fine = json_unpack(root, "{s:I,s:s,s:I,s:o,s:o}", "v", &version, "job", &job, "round", &round, "go_on", &go_on,
                          "short", &lacking) == 0 &&
              version == 1;
  if (fine && strcmp(job, id) == 0 && round == rounds->decided + 1 && (rounds->go_on > 0 || round == 1)) {
    char *after = mv_memory_take((size_t)plan->cells, 1);
    for (int cell = 0; cell < plan->cells; cell++)
      after[cell] = rounds->state[cell] == MV_CELL_GOES_ON ? MV_CELL_REACHED : rounds->state[cell];
    fine = mark_cells(go_on, plan, rounds->state, after, MV_CELL_GOES_ON) &&
           mark_cells(lacking, plan, rounds->state, after, MV_CELL_SHORT);
    if (fine) {
      memcpy(rounds->state, after, (size_t)plan->cells);
      rounds->decided++;
      count_cells(rounds, plan);
    }
    free(after);
  }
  json_decref(root);
  return fine;
}

void mv_rounds_read(int run, const char *path, const struct mv_plan *plan, struct mv_rounds *rounds)
{
  size_t size = 0;
  char id[33];
  *rounds = (struct mv_rounds){.state = mv_memory_take((size_t)plan->cells, 1)};
  if (!(plan->job->stop.relative_error > 0)) {
    memset(rounds->state, MV_CELL_REACHED, (size_t)plan->cells);
    return;
  }
  count_cells(rounds, plan);
  char *text = mv_file_read(run, FILE_NAME, &size);
  mv_job_id(plan->job, id);
  int64_t damaged = 0;
  for (char *line = text, *end; line && line < text + size; line = end + 1) {
    end = memchr(line, '\n', (size_t)(text + size - line));
    rounds->torn = !end;
    end = end ? end : text + size;
    damaged += end > line && !line_take(line, (size_t)(end - line), id, plan, rounds);
  }
  if (damaged > 0 && rounds->go_on > 0 && !rounds->torn) /* torn: somebody may be writing it */
    mv_store_say("%s/" FILE_NAME ": %lld damaged line%s ignored; the round is decided again", path, (long long)damaged,
                 damaged == 1 ? "" : "s");
  free(text);
}

/* --- recording ------------------------------------------------------------------------------------------------ */

static json_t *cells_list(const struct mv_plan *plan, const char *before, const char *after, char state)
{
  json_t *list = json_array();
  for (int cell = 0, first = 0; cell <= plan->cells; cell++) {
    if (cell < plan->cells && before[cell] == MV_CELL_GOES_ON && after[cell] == state)
      continue;
    if (cell > first)
      json_array_append_new(list, json_pack("[i,i]", first, cell - first));
    first = cell + 1;
  }
  return list;
}

static bool record(int run, const char *path, const struct mv_plan *plan, struct mv_rounds *rounds, const char *after)
{
  char id[33];
  mv_job_id(plan->job, id);
  json_t *root = json_pack("{s:i,s:s,s:i,s:o,s:o}", "v", 1, "job", id, "round", rounds->decided + 1, "go_on",
                           cells_list(plan, rounds->state, after, MV_CELL_GOES_ON), "short",
                           cells_list(plan, rounds->state, after, MV_CELL_SHORT));
  char *line = mv_line_seal(json_dumps(root, JSON_COMPACT));
  json_decref(root);
  int fd = openat(run, FILE_NAME, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  mv_kill_here("rounds", "made");
  bool fine = fd >= 0 && (!rounds->torn || mv_file_append(fd, "rounds", "\n", 1)) &&
              mv_file_append(fd, "rounds", line, strlen(line));
  rounds->torn = !fine;
  if (!fine)
    mv_store_say_unwritten(path, FILE_NAME, strlen(line));
  if (fd >= 0)
    close(fd);
  free(line);
  return fine;
}

/* --- deciding ------------------------------------------------------------------------------------------------- */

static void add_block(void *gauge, const struct mv_moments *m)
{
  mv_gauge_add(gauge, m->block, m->count, m->nonfinite, m->mean, m->comoment);
}

/* The cells of one entry that have the most and not reached the target. */
struct lacking {
  int cells, worst; /* the point of the largest error */
  double error;
};

static void tell_lacking(const struct mv_plan *plan, int e, const struct lacking *l)
{
  const struct mv_entry *entry = &plan->job->entries[e];
  const struct mv_stopping *stop = &plan->job->stop;
  char error[96] = "an error that cannot be told: few blocks, samples that are not finite, or no gradient";
  if (l->cells == 0)
    return;
  if (isfinite(l->error))
    snprintf(error, sizeof error, "a relative error of %.3g", l->error);
  mv_store_say("note: %s: %d of %d cells have all %lld replicates and have not reached %g (%s); point %d has %s",
               entry->label, l->cells, plan->job->points, (long long)entry->replicates, stop->relative_error,
               mv_statistic_names[stop->statistic], l->worst, error);
}

/* Fills after[] for one cell that was going on. False: told. */
static bool decide_cell(struct mv_pieces *pieces, const struct mv_plan *plan, int cell, char *after,
                        struct lacking *lacking)
{
  const struct mv_entry *entry = &plan->job->entries[mv_plan_entry(plan, cell)];
  struct mv_rows rows = mv_pieces_rows(pieces, cell);
  struct mv_gauge *gauge = mv_gauge_create(plan, cell, plan->replicates[cell]);
  bool fine = mv_cell_blocks(plan, cell, &rows, add_block, gauge);
  double error = mv_gauge_error(gauge);
  if (mv_gauge_reached(gauge)) {
    after[cell] = MV_CELL_REACHED;
  } else if (plan->replicates[cell] < entry->replicates) {
    after[cell] = MV_CELL_GOES_ON;
  } else {
    after[cell] = MV_CELL_SHORT;
    if (lacking->cells++ == 0 || error > lacking->error) {
      lacking->error = error;
      lacking->worst = mv_plan_point(plan, cell);
    }
  }
  mv_gauge_free(gauge);
  return fine;
}

int mv_rounds_decide(int run, const char *path, const struct mv_plan *plan, const struct mv_schema *schema,
                     const struct mv_manifest *manifest, struct mv_rounds *rounds)
{
  char *after = mv_memory_take((size_t)plan->cells, 1);
  struct lacking *lacking = mv_memory_take((size_t)plan->job->entry_count, sizeof *lacking);
  struct mv_pieces *pieces = mv_pieces_make(run, path, plan, schema, manifest);
  bool fine = true;
  memcpy(after, rounds->state, (size_t)plan->cells);
  for (int cell = 0; cell < plan->cells && fine; cell++)
    if (rounds->state[cell] == MV_CELL_GOES_ON)
      fine = decide_cell(pieces, plan, cell, after, &lacking[mv_plan_entry(plan, cell)]);
  mv_pieces_free(pieces);
  int code = fine ? MV_EXIT_OK : MV_EXIT_DATA;
  if (fine && !record(run, path, plan, rounds, after))
    code = MV_EXIT_IO;
  if (code == MV_EXIT_OK) {
    for (int e = 0; e < plan->job->entry_count; e++)
      tell_lacking(plan, e, &lacking[e]);
    memcpy(rounds->state, after, (size_t)plan->cells);
    rounds->decided++;
    count_cells(rounds, plan);
  }
  free(lacking);
  free(after);
  return code;
}
