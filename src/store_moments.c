/* store_moments.c - the results of one cell as moments in blocks, whatever the store kind: moments as they are, samples
 * reduced on the way. Memory is one block's. */
#include "metavar/store_internal.h"

#include <string.h>

#include "metavar/memory.h"

/* Space for one block. */
struct block {
  double *values, *mean, *comoment, *largest;
  int64_t *largest_id, count, nonfinite;
  int8_t *status;
  void *scratch;
};

static struct block block_take(const struct mv_layout *layout, int64_t rows)
{
  size_t vectors = (size_t)(layout->vectors * MV_LARGEST);
  return (struct block){.values = mv_memory_take((size_t)(rows * layout->values), sizeof(double)),
                        .mean = mv_memory_take((size_t)layout->moments, sizeof(double)),
                        .comoment = mv_memory_take((size_t)layout->pairs, sizeof(double)),
                        .largest = mv_memory_take(vectors, sizeof(double)),
                        .largest_id = mv_memory_take(vectors, sizeof(int64_t)),
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
  free(block->status);
  free(block->scratch);
}

static bool samples_reduce(const struct mv_results *results, int cell, int64_t first, int64_t count,
                           struct block *block)
{
  const struct mv_layout *layout = &mv_results_plan(results)->layout[mv_plan_entry(mv_results_plan(results), cell)];
  if (!mv_results_read(results, cell, MV_PART_STATUS, -1, first, count, block->status))
    return false;
  for (int o = 0; o < layout->output_count; o++) {
    if (layout->output[o].role >= MV_NOTE)
      continue;
    if (!mv_results_read(results, cell, MV_PART_OUTPUT, o, first, count, block->scratch))
      return false;
    for (int64_t r = 0; r < count; r++)
      memcpy(block->values + r * layout->values + layout->offset[o], (double *)block->scratch + r * layout->size[o],
             (size_t)layout->size[o] * sizeof(double));
  }
  mv_moments_make(layout, block->values, block->status, first, count, &block->count, &block->nonfinite, block->mean,
                  block->comoment, block->largest, block->largest_id);
  return true;
}

static bool moments_read(const struct mv_results *results, int cell, int64_t b, struct block *block)
{
  int64_t vectors = mv_results_plan(results)->layout[mv_plan_entry(mv_results_plan(results), cell)].vectors;
  return mv_results_read(results, cell, MV_PART_COUNT, -1, b, 1, &block->count) &&
         mv_results_read(results, cell, MV_PART_NONFINITE, -1, b, 1, &block->nonfinite) &&
         mv_results_read(results, cell, MV_PART_MEAN, -1, b, 1, block->mean) &&
         mv_results_read(results, cell, MV_PART_COMOMENT, -1, b, 1, block->comoment) &&
         (vectors == 0 || (mv_results_read(results, cell, MV_PART_LARGEST, -1, b, 1, block->largest) &&
                           mv_results_read(results, cell, MV_PART_LARGEST_ID, -1, b, 1, block->largest_id)));
}

int mv_results_blocks(struct mv_results *results, int cell, void (*visit)(void *self, const struct mv_moments *),
                      void *self)
{
  int e = mv_plan_entry(mv_results_plan(results), cell);
  const struct mv_entry *entry = &mv_results_job(results)->entries[e];
  bool samples = entry->store == MV_STORE_SAMPLES, fine = true;
  int64_t size =
      entry->replicates < mv_results_job(results)->block ? entry->replicates : mv_results_job(results)->block;
  struct block block = block_take(&mv_results_plan(results)->layout[e], samples ? size : 1);
  for (int64_t b = 0, first = 0; first < entry->replicates && fine; b++, first += size) {
    int64_t left = entry->replicates - first, count = left < size ? left : size;
    fine = samples ? samples_reduce(results, cell, first, count, &block) : moments_read(results, cell, b, &block);
    if (fine)
      visit(self, &(struct mv_moments){b, block.count, block.nonfinite, block.mean, block.comoment, block.largest,
                                       block.largest_id});
  }
  block_free(&block);
  return fine ? MV_EXIT_OK : MV_EXIT_DATA;
}
