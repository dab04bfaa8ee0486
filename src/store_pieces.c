/* store_pieces.c - the committed rows of one cell in the order of their replicates, from the shards, while there is no
 * results.h5. Units of a cell follow each other, so one shard at a time is open and is seldom changed. Each is compared
 * with its digest when it is opened for the first time. */
#include "metavar/store_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metavar/memory.h"

/* Rows of a cell that come from one unit of a shard; no two pieces overlap. */
struct piece {
  int64_t cell, first, count;  /* rows */
  int64_t shard, number, rows; /* unit number of this shard, which has so many rows */
  int64_t skip;                /* of them */
};

struct mv_pieces {
  int run;
  const char *path;
  const struct mv_schema *schema;
  const struct mv_plan *plan;
  const struct mv_manifest *manifest;
  struct piece *piece;
  size_t count;
  int cell;
  bool *whole;         /* [shards] known to be */
  int64_t shard, file; /* the open one; -1 */
};

static int compare_pieces(const void *left, const void *right)
{
  const struct piece *a = left, *b = right;
  if (a->cell != b->cell)
    return a->cell < b->cell ? -1 : 1;
  if (a->first != b->first)
    return a->first < b->first ? -1 : 1;
  return (a->shard > b->shard) - (a->shard < b->shard);
}

/* Rows that a piece before has too are the same, and left out. */
static void drop_overlaps(struct mv_pieces *p)
{
  size_t kept = 0;
  int64_t cell = -1, end = 0;
  for (size_t k = 0; k < p->count; k++) {
    struct piece piece = p->piece[k];
    end = piece.cell == cell ? end : 0;
    cell = piece.cell;
    int64_t overlap = end > piece.first ? end - piece.first : 0;
    if (overlap >= piece.count)
      continue;
    piece.first += overlap;
    piece.skip += overlap;
    piece.count -= overlap;
    end = piece.first + piece.count;
    p->piece[kept++] = piece;
  }
  p->count = kept;
}

struct mv_pieces *mv_pieces_make(int run, const char *path, const struct mv_plan *plan, const struct mv_schema *schema,
                                 const struct mv_manifest *manifest)
{
  struct mv_pieces *p = mv_memory_take(1, sizeof *p);
  *p = (struct mv_pieces){run, path, schema, plan, manifest, .shard = -1, .file = -1};
  p->whole = mv_memory_take((size_t)manifest->shards, sizeof *p->whole);
  p->piece = mv_memory_take((size_t)manifest->units, sizeof *p->piece);
  for (int64_t s = 0; s < manifest->shards; s++) {
    const struct mv_shard *shard = &manifest->shard[s];
    for (int64_t u = 0; u < shard->units; u++) {
      const struct mv_unit *unit = &manifest->unit[shard->first_unit + u];
      struct mv_unit all = {unit->cell, unit->first, manifest->written[shard->first_unit + u].count};
      struct piece piece = {.cell = unit->cell, .shard = s, .number = u};
      if (unit->count == 0)
        continue;
      mv_dataset_rows(plan, &all, &piece.first, &piece.rows);
      mv_dataset_rows(plan, unit, &piece.first, &piece.count);
      p->piece[p->count++] = piece;
    }
  }
  if (p->count > 0)
    qsort(p->piece, p->count, sizeof *p->piece, compare_pieces);
  drop_overlaps(p);
  return p;
}

void mv_pieces_free(struct mv_pieces *p)
{
  if (p->file >= 0)
    mv_hdf5_close(p->file);
  free(p->whole);
  free(p->piece);
  free(p);
}

/* The piece that has this row of the cell, or NULL. */
static const struct piece *find_piece(const struct mv_pieces *p, int64_t row)
{
  size_t low = 0, high = p->count;
  while (low < high) { /* the first that ends after the row */
    size_t middle = low + (high - low) / 2;
    const struct piece *piece = &p->piece[middle];
    if (piece->cell < p->cell || (piece->cell == p->cell && piece->first + piece->count <= row))
      low = middle + 1;
    else
      high = middle;
  }
  const struct piece *found = low < p->count ? &p->piece[low] : NULL;
  return found && found->cell == p->cell && found->first <= row ? found : NULL;
}

/* NULL, or why it cannot be used. */
static const char *open_shard(struct mv_pieces *p, int64_t number, char name[4096])
{
  const struct mv_shard *shard = &p->manifest->shard[number];
  snprintf(name, 4096, "%s/shards/%s", p->path, shard->name);
  if (p->shard == number)
    return NULL;
  const char *fault = p->whole[number] ? NULL : mv_shard_fault(p->run, shard, true);
  if (fault)
    return fault;
  p->whole[number] = true;
  if (p->file >= 0)
    mv_hdf5_close(p->file);
  p->file = mv_shard_open(name);
  p->shard = p->file >= 0 ? number : -1;
  return p->file >= 0 ? NULL : mv_hdf5_reason();
}

static const struct mv_dataset *find_dataset(const struct mv_pieces *p, enum mv_part part, int output)
{
  int entry = mv_plan_entry(p->plan, p->cell), k = 0;
  const struct mv_dataset *row = p->schema->dataset;
  while (k < p->schema->count && (row[k].entry != entry || row[k].part != part || row[k].output != output))
    k++;
  return &row[k];
}

static bool read_rows(void *self, enum mv_part part, int output, int64_t first, int64_t count, void *out)
{
  struct mv_pieces *p = self;
  const struct mv_dataset *row = find_dataset(p, part, output);
  const size_t bytes = mv_dataset_row_bytes(row);
  for (int64_t at = first; at < first + count;) {
    char name[4096];
    const struct piece *piece = find_piece(p, at);
    if (!piece) {
      mv_store_say("%s: rows of %s are missing; run the same command again", p->path, row->group);
      return false;
    }
    int64_t into = at - piece->first, left = first + count - at;
    int64_t some = left < piece->count - into ? left : piece->count - into;
    const char *fault = open_shard(p, piece->shard, name);
    if (!fault && !mv_shard_read(p->file, piece->number, row, piece->rows, piece->skip + into, some,
                                 (char *)out + (size_t)(at - first) * bytes))
      fault = mv_hdf5_reason();
    if (fault) {
      mv_store_say("%s: %s; move it away and run the same command again to compute its samples again", name, fault);
      return false;
    }
    at += some;
  }
  return true;
}

struct mv_rows mv_pieces_rows(struct mv_pieces *p, int cell)
{
  p->cell = cell;
  return (struct mv_rows){read_rows, p};
}
