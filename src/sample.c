/* sample.c - the results of work units: their size, a view of their bytes, and moments of a block of samples.
 *
 * Moments are made in two passes, first the mean, then the sums of products of deviations from it (Chan, Golub, LeVeque
 * 1983: the textbook formula loses all digits when the mean is large). Every sum runs in replicate order, so its bits
 * depend on the samples alone. The second pass is hot: with m moments it costs m (m + 1) / 2 products a sample. It
 * walks the triangle once for every four samples; vectors run over elements of the triangle, which are independent
 * sums.
 */
#include "metavar/sample.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "metavar/memory.h"

#define ROWS 4 /* samples in one pass over the triangle */

bool mv_unit_fits(const struct mv_plan *plan, const struct mv_unit *unit)
{
  if (unit->cell < 0 || unit->cell >= plan->cells)
    return false;
  const struct mv_entry *entry = &plan->job->entries[mv_plan_entry(plan, (int)unit->cell)];
  int64_t rows = mv_job_rows(plan->job, mv_plan_entry(plan, (int)unit->cell));
  if (unit->count <= 0 || unit->count > rows || unit->first < 0 || unit->first > rows - unit->count)
    return false;
  int64_t block = plan->job->block;
  return entry->store == MV_STORE_SAMPLES ||
         (unit->first % block == 0 && (unit->count % block == 0 || unit->first + unit->count == entry->replicates));
}

static int64_t unit_blocks(const struct mv_plan *plan, const struct mv_unit *unit)
{
  return (unit->count + plan->job->block - 1) / plan->job->block;
}

size_t mv_result_bytes(const struct mv_plan *plan, const struct mv_unit *unit)
{
  assert(mv_unit_fits(plan, unit));
  int entry = mv_plan_entry(plan, (int)unit->cell);
  const struct mv_layout *layout = &plan->layout[entry];
  size_t head = sizeof(struct mv_result_head), count = (size_t)unit->count;
  if (plan->job->entries[entry].store == MV_STORE_SAMPLES)
    return head + count * (size_t)layout->values * 8 + (count + 7) / 8 * 8;
  size_t words = (size_t)(2 + layout->moments + layout->pairs + 2 * layout->vectors * MV_LARGEST);
  return head + (size_t)unit_blocks(plan, unit) * words * 8;
}

bool mv_result_view(const struct mv_plan *plan, const void *bytes, size_t size, struct mv_result *result)
{
  assert((uintptr_t)bytes % 8 == 0);
  const struct mv_result_head *head = bytes;
  if (size < sizeof *head || head->bytes < 0 || (size_t)head->bytes != size || !mv_unit_fits(plan, &head->unit) ||
      mv_result_bytes(plan, &head->unit) != size)
    return false;
  *result = (struct mv_result){.head = head};
  int entry = mv_plan_entry(plan, (int)head->unit.cell);
  const struct mv_layout *layout = &plan->layout[entry];
  if (plan->job->entries[entry].store == MV_STORE_SAMPLES) {
    result->values = (const double *)(head + 1);
    result->status = (const int8_t *)(result->values + head->unit.count * layout->values);
    return true;
  }
  int64_t blocks = result->blocks = unit_blocks(plan, &head->unit);
  result->count = (const int64_t *)(head + 1);
  result->nonfinite = result->count + blocks;
  result->mean = (const double *)(result->nonfinite + blocks);
  result->comoment = result->mean + blocks * layout->moments;
  result->largest = result->comoment + blocks * layout->pairs;
  result->largest_id = (const int64_t *)(result->largest + blocks * layout->vectors * MV_LARGEST);
  return true;
}

/* --- comoments ----------------------------------------------------------------------------------------- */

typedef double quad __attribute__((vector_size(32), aligned(8), may_alias));

/* comoment[i, j] += d[0][i] d[0][j], then d[1][i] d[1][j], ...: ROWS rows of m deviations, i <= j. */
static inline __attribute__((always_inline)) void rows_add(double *comoment, const double *d, int64_t m)
{
  const double *d0 = d, *d1 = d0 + m, *d2 = d1 + m, *d3 = d2 + m;
  for (int64_t i = 0; i < m; i++) {
    double *row = comoment - i; /* row[j] is element (i, j) */
    double a0 = d0[i], a1 = d1[i], a2 = d2[i], a3 = d3[i];
    quad q0 = {a0, a0, a0, a0}, q1 = {a1, a1, a1, a1}, q2 = {a2, a2, a2, a2}, q3 = {a3, a3, a3, a3};
    int64_t j = i;
    for (; j + 4 <= m; j += 4) {
      quad sum = *(const quad *)(row + j);
      sum += q0 * *(const quad *)(d0 + j);
      sum += q1 * *(const quad *)(d1 + j);
      sum += q2 * *(const quad *)(d2 + j);
      sum += q3 * *(const quad *)(d3 + j);
      *(quad *)(row + j) = sum;
    }
    for (; j < m; j++)
      row[j] = (((row[j] + a0 * d0[j]) + a1 * d1[j]) + a2 * d2[j]) + a3 * d3[j];
    comoment += m - i;
  }
}

static void rows_add_plain(double *comoment, const double *d, int64_t m) { rows_add(comoment, d, m); }

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void rows_add_avx2(double *comoment, const double *d, int64_t m)
{
  rows_add(comoment, d, m);
}
static bool have_avx2(void) { return __builtin_cpu_supports("avx2"); }
#else
#define rows_add_avx2 rows_add_plain
static bool have_avx2(void) { return false; }
#endif

static void row_add(double *comoment, const double *d, int64_t m)
{
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = i; j < m; j++)
      *comoment++ += d[i] * d[j];
}

/* --- largest norms ------------------------------------------------------------------------------------- */

/* Puts a squared norm in its place; the earlier replicate stays in front of its equals. */
static void largest_insert(double *largest, int64_t *id, double norm, int64_t replicate)
{
  int k = MV_LARGEST;
  for (; k > 0 && norm > largest[k - 1]; k--)
    if (k < MV_LARGEST) {
      largest[k] = largest[k - 1];
      id[k] = id[k - 1];
    }
  if (k < MV_LARGEST) {
    largest[k] = norm;
    id[k] = replicate;
  }
}

static void largest_add(const struct mv_layout *layout, const double *x, int64_t replicate, double *largest,
                        int64_t *id)
{
  if (layout->vectors == 0)
    return;
  const struct mv_output *gradient = &layout->output[0];
  int meta = gradient->axis[gradient->rank - 1].length;
  for (int64_t v = 0; v < layout->vectors; v++, largest += MV_LARGEST, id += MV_LARGEST) {
    int64_t base = layout->vector[v][0], part = layout->vector[v][1];
    double norm = 0;
    for (int k = 0; k < meta; k++) {
      double g = part < 0 ? x[base + k] : x[base + k] + x[part + k];
      norm += g * g;
    }
    if (norm > largest[MV_LARGEST - 1])
      largest_insert(largest, id, norm, replicate);
  }
}

/* --- a block ------------------------------------------------------------------------------------------- */

static void comoment_make(int64_t m, int64_t stride, const double *values, const int8_t *status, int64_t count,
                          const double *mean, double *comoment)
{
  double *d = mv_memory_take((size_t)(ROWS * m), sizeof *d);
  void (*add)(double *, const double *, int64_t) = have_avx2() ? rows_add_avx2 : rows_add_plain;
  int rows = 0;
  for (int64_t r = 0; r < count; r++) {
    if (status[r] != MV_OK)
      continue;
    const double *x = values + r * stride;
    for (int64_t i = 0; i < m; i++)
      d[rows * m + i] = x[i] - mean[i];
    if (++rows == ROWS) {
      add(comoment, d, m);
      rows = 0;
    }
  }
  for (int r = 0; r < rows; r++)
    row_add(comoment, d + r * m, m);
  free(d);
}

void mv_moments_make(const struct mv_layout *layout, const double *values, const int8_t *status, int64_t first,
                     int64_t count, int64_t *finite, int64_t *nonfinite, double *mean, double *comoment,
                     double *largest, int64_t *largest_id)
{
  int64_t m = layout->moments, n = 0;
  memset(mean, 0, (size_t)m * sizeof *mean);
  memset(comoment, 0, (size_t)layout->pairs * sizeof *comoment);
  for (int64_t k = 0; k < layout->vectors * MV_LARGEST; k++)
    largest[k] = largest_id[k] = -1;
  for (int64_t r = 0; r < count; r++) {
    if (status[r] != MV_OK)
      continue;
    const double *x = values + r * layout->values;
    for (int64_t i = 0; i < m; i++)
      mean[i] += x[i];
    largest_add(layout, x, first + r, largest, largest_id);
    n++;
  }
  for (int64_t i = 0; i < m; i++)
    mean[i] = n ? mean[i] / (double)n : (double)NAN;
  comoment_make(m, layout->values, values, status, count, mean, comoment);
  *finite = n;
  *nonfinite = count - n;
}
