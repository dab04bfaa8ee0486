/* store_moments.c - one cell, read in order, wherever its rows are: samples piece by piece, or moments in blocks whatever
 * the store kind (moments as they are, samples reduced on the way). Memory is one piece's. */
#include "metavar/store_internal.h"

#include <assert.h>
#include <string.h>

#include "metavar/memory.h"

#define PIECE (1 << 18) /* doubles in a piece of samples, or of moments, about */

/* Space for so many rows of samples and blocks of moments. */
struct block {
  double *values, *mean, *comoment, *largest;
  int64_t *largest_id, *count, *nonfinite;
  int8_t *status;
  void *scratch;
};

static struct block block_take(const struct mv_layout *layout, int64_t rows, int64_t blocks)
{
  size_t vectors = (size_t)(blocks * layout->vectors * MV_LARGEST);
  return (struct block){.values = mv_memory_take((size_t)(rows * layout->values), sizeof(double)),
                        .mean = mv_memory_take((size_t)(blocks * layout->moments), sizeof(double)),
                        .comoment = mv_memory_take((size_t)(blocks * layout->pairs), sizeof(double)),
                        .largest = mv_memory_take(vectors, sizeof(double)),
                        .largest_id = mv_memory_take(vectors, sizeof(int64_t)),
                        .count = mv_memory_take((size_t)blocks, sizeof(int64_t)),
                        .nonfinite = mv_memory_take((size_t)blocks, sizeof(int64_t)),
                        .status = mv_memory_take((size_t)rows, 1),
                        .scratch = mv_memory_take((size_t)(rows * layout->values), sizeof(double))};
}

static void block_free(struct block *block)
{
  free(block->values);
  free(block->mean);
  free(block->comoment);
  free(block->largest);
  free(block->largest_id);
  free(block->count);
  free(block->nonfinite);
  free(block->status);
  free(block->scratch);
}

/* Notes, if wanted, become doubles. */
static bool samples_read(const struct mv_rows *rows, const struct mv_layout *layout, int64_t first, int64_t count,
                         bool notes, struct block *block)
{
  if (!rows->read(rows->self, MV_PART_STATUS, -1, first, count, block->status))
    return false;
  for (int o = 0; o < layout->output_count; o++) {
    bool note = layout->output[o].role == MV_NOTE;
    if (layout->output[o].role >= MV_NOTE && !notes)
      continue;
    if (!rows->read(rows->self, MV_PART_OUTPUT, o, first, count, block->scratch))
      return false;
    for (int64_t k = 0; note && k < count * layout->size[o]; k++)
      ((double *)block->scratch)[k] = (double)((int64_t *)block->scratch)[k];
    for (int64_t r = 0; r < count; r++)
      memcpy(block->values + r * layout->values + layout->offset[o], (double *)block->scratch + r * layout->size[o],
             (size_t)layout->size[o] * sizeof(double));
  }
  return true;
}

static bool samples_reduce(const struct mv_rows *rows, const struct mv_layout *layout, int64_t first, int64_t count,
                           struct block *block)
{
  if (!samples_read(rows, layout, first, count, false, block))
    return false;
  mv_moments_make(layout, block->values, block->status, first, count, block->count, block->nonfinite, block->mean,
                  block->comoment, block->largest, block->largest_id);
  return true;
}

static bool moments_read(const struct mv_rows *rows, int64_t vectors, int64_t b, int64_t count, struct block *block)
{
  return rows->read(rows->self, MV_PART_COUNT, -1, b, count, block->count) &&
         rows->read(rows->self, MV_PART_NONFINITE, -1, b, count, block->nonfinite) &&
         rows->read(rows->self, MV_PART_MEAN, -1, b, count, block->mean) &&
         rows->read(rows->self, MV_PART_COMOMENT, -1, b, count, block->comoment) &&
         (vectors == 0 || (rows->read(rows->self, MV_PART_LARGEST, -1, b, count, block->largest) &&
                           rows->read(rows->self, MV_PART_LARGEST_ID, -1, b, count, block->largest_id)));
}

/* Shows `count` blocks from b on. */
static void show(const struct mv_layout *l, int64_t b, int64_t count, const struct block *block,
                 void (*visit)(void *self, const struct mv_moments *), void *self)
{
  const int64_t largest = l->vectors * MV_LARGEST;
  for (int64_t k = 0; k < count; k++)
    visit(self, &(struct mv_moments){b + k, block->count[k], block->nonfinite[k], block->mean + k * l->moments,
                                     block->comoment + k * l->pairs, block->largest + k * largest,
                                     block->largest_id + k * largest});
}

bool mv_cell_blocks(const struct mv_plan *plan, int cell, const struct mv_rows *rows,
                    void (*visit)(void *self, const struct mv_moments *), void *self)
{
  const int e = mv_plan_entry(plan, cell);
  const struct mv_layout *layout = &plan->layout[e];
  const int64_t replicates = plan->replicates[cell],
                size = replicates < plan->job->block ? replicates : plan->job->block;
  const int64_t blocks = (replicates + size - 1) / size, fit = PIECE / layout->pairs + 1;
  const bool samples = plan->job->entries[e].store == MV_STORE_SAMPLES;
  const int64_t each = samples ? 1 : blocks < fit ? blocks : fit; /* read at a time */
  bool fine = true;
  struct block block = block_take(layout, samples ? size : 1, each);
  for (int64_t b = 0; b < blocks && fine; b += each) {
    int64_t first = b * size, rest = replicates - first, left = blocks - b, count = left < each ? left : each;
    fine = samples ? samples_reduce(rows, layout, first, rest < size ? rest : size, &block)
                   : moments_read(rows, layout->vectors, b, count, &block);
    if (fine)
      show(layout, b, count, &block, visit, self);
  }
  block_free(&block);
  return fine;
}

struct cell {
  const struct mv_results *results;
  int cell;
};

static bool read_results(void *self, enum mv_part part, int output, int64_t first, int64_t count, void *out)
{
  const struct cell *at = self;
  return mv_results_read(at->results, at->cell, part, output, first, count, out);
}

int mv_results_blocks(struct mv_results *results, int cell, void (*visit)(void *self, const struct mv_moments *),
                      void *self)
{
  struct mv_rows rows = {read_results, &(struct cell){results, cell}};
  return mv_cell_blocks(mv_results_plan(results), cell, &rows, visit, self) ? MV_EXIT_OK : MV_EXIT_DATA;
}

int mv_results_samples(struct mv_results *results, int cell, void (*visit)(void *self, const struct mv_samples *),
                       void *self)
{
  int e = mv_plan_entry(mv_results_plan(results), cell);
  const struct mv_layout *layout = &mv_results_plan(results)->layout[e];
  struct mv_rows rows = {read_results, &(struct cell){results, cell}};
  assert(mv_results_job(results)->entries[e].store == MV_STORE_SAMPLES);
  int64_t size = layout->values < PIECE ? PIECE / layout->values : 1,
          replicates = mv_results_plan(results)->replicates[cell];
  if (size > replicates)
    size = replicates;
  struct block block = block_take(layout, size, 1);
  bool fine = true;
  for (int64_t first = 0; first < replicates && fine; first += size) {
    int64_t left = replicates - first, count = left < size ? left : size;
    fine = samples_read(&rows, layout, first, count, true, &block);
    if (fine)
      visit(self, &(struct mv_samples){first, count, block.values, block.status});
  }
  block_free(&block);
  return fine ? MV_EXIT_OK : MV_EXIT_DATA;
}
