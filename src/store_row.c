/* store_row.c - one row back from the shards: where a curve goes on that was interrupted. */
#include "metavar/store_internal.h"

#include <stdio.h>
#include <string.h>

#include "metavar/memory.h"

/* Row `skip` of unit number u of an open shard, `rows` rows. */
static bool read_row(int64_t shard, int64_t u, const struct mv_plan *plan, const struct mv_schema *schema, int entry,
                     int64_t rows, int64_t skip, double *values, int8_t *status)
{
  const struct mv_layout *layout = &plan->layout[entry];
  bool fine = true;
  for (int k = 0; k < schema->count && fine; k++) {
    const struct mv_dataset *d = &schema->dataset[k];
    if (d->entry != entry)
      continue;
    if (d->part == MV_PART_STATUS) {
      fine = mv_shard_read(shard, u, d, rows, skip, 1, status);
      continue;
    }
    double *out = values + layout->offset[d->output];
    fine = mv_shard_read(shard, u, d, rows, skip, 1, out);
    for (int64_t i = 0; i < layout->size[d->output] && d->type == MV_TYPE_INT64; i++)
      mv_note_real(&out[i]);
  }
  return fine;
}

int mv_row_find(int run, const char *path, const struct mv_plan *plan, const struct mv_schema *schema,
                const struct mv_manifest *manifest, int cell, int64_t row, double *values, int8_t *status)
{
  for (int64_t s = 0; s < manifest->shards; s++) {
    const struct mv_shard *shard = &manifest->shard[s];
    for (int64_t u = shard->first_unit; u < shard->first_unit + shard->units; u++) {
      const struct mv_unit *unit = &manifest->unit[u];
      if (unit->cell != cell || row < unit->first || row >= unit->first + unit->count)
        continue;
      char name[4200];
      snprintf(name, sizeof name, "%s/shards/%s", path, shard->name);
      const char *fault = mv_shard_fault(run, shard, true);
      int64_t file = fault ? -1 : mv_shard_open(name);
      bool fine = file >= 0 && mv_shard_holds(file, u - shard->first_unit, &manifest->written[u]) &&
                  read_row(file, u - shard->first_unit, plan, schema, mv_plan_entry(plan, cell),
                           manifest->written[u].count, row - unit->first, values, status);
      if (file >= 0)
        mv_hdf5_close(file);
      if (!fine)
        mv_store_say("%s: %s; move it away and run the same command again to compute its updates again", name,
                     fault ? fault : mv_hdf5_reason());
      return fine ? MV_EXIT_OK : MV_EXIT_DATA;
    }
  }
  mv_store_say("%s: update %lld of cell %d is nowhere", path, (long long)row, cell);
  return MV_EXIT_INTERNAL;
}
