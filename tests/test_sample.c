/* test_sample.c - layouts, work units and moments, with an estimator whose samples are known. */
#include "store_fake.h"

struct fixture {
  struct mv_job *job;
  struct mv_plan *plan;
};

static struct fixture make(int block)
{
  struct fixture f = {.job = fake_job(block, 0, 5)};
  f.plan = mv_plan_make(f.job);
  return f;
}

static void drop(struct fixture *f)
{
  mv_plan_free(f->plan);
  mv_job_free(f->job);
}

static void test_layout(void **state)
{
  (void)state;
  struct fixture f = make(16);
  const struct mv_layout *l = &f.plan->layout[0];
  assert_int_equal(f.plan->cells, 18);
  assert_int_equal(l->output_count, 5);
  assert_int_equal(l->size[0], 2 * 2 * 2);
  assert_int_equal(l->size[1], 2 * 2 * 3 * 2);
  assert_int_equal(l->offset[2], 8 + 24);
  assert_int_equal(l->moments, 8 + 24 + 4 + 1);
  assert_int_equal(l->values, l->moments + 2);
  assert_int_equal(l->pairs, 37 * 38 / 2);
  assert_string_equal(l->output[1].axis[3].name, "meta_parameter");
  assert_string_equal(l->output[1].axis[3].value.names[1], "eta_1");
  assert_int_equal(l->output[3].rank, 0);
  assert_int_equal(l->cost_rank, 2);
  assert_int_equal(l->settings, 4);
  assert_true(l->tangent[3] == 9 && l->primal[3] == 30);
  assert_int_equal(l->vectors, 4 + 12 + 2);
  for (int v = 0; v < 4; v++) {
    assert_int_equal(l->vector[v][0], 2 * v);
    assert_int_equal(l->vector[v][1], -1);
  }
  for (int v = 0; v < 12; v++) { /* three discounts share a base */
    assert_int_equal(l->vector[4 + v][0], 2 * (v / 3));
    assert_int_equal(l->vector[4 + v][1], 8 + 2 * v);
  }
  assert_int_equal(l->vector[16][0], 32);
  assert_int_equal(l->vector[16][1], -1);
  assert_int_equal(f.plan->layout[2].settings, 1);
  assert_int_equal(f.plan->layout[2].cost_rank, 0);
  struct mv_key a = mv_key_make(5, f.job->eta + 2, 2);
  assert_memory_equal(&f.plan->key[1], &a, sizeof a);
  drop(&f);
}

/* Rows with gaps, ties and all counts around the width of a pass: bits as by the book. */
static void test_moments(void **state)
{
  (void)state;
  struct fixture f = make(16);
  const struct mv_layout *l = &f.plan->layout[1];
  size_t m = (size_t)l->moments, pairs = (size_t)l->pairs, big = (size_t)l->vectors * MV_LARGEST;
  double *rows = mv_memory_take(40 * (size_t)l->values, 8), *mean = mv_memory_take(m, 8), *want = mv_memory_take(m, 8);
  double *comoment = mv_memory_take(pairs, 8), *want_comoment = mv_memory_take(pairs, 8),
         *largest = mv_memory_take(big, 8);
  int64_t *id = mv_memory_take(big, 8), finite, nonfinite, want_finite, gaps = 0;
  int8_t status[40];
  for (int64_t count = 0; count <= 40; count++) {
    for (int64_t r = 0; r < count; r++) {
      expected_row(f.plan, 7, r, rows + r * l->values);
      status[r] = row_is_finite(l, rows + r * l->values) ? MV_OK : MV_NONFINITE;
    }
    mv_moments_make(l, rows, status, 100, count, &finite, &nonfinite, mean, comoment, largest, id);
    direct_moments(l, rows, count, &want_finite, want, want_comoment);
    assert_int_equal(finite, want_finite);
    assert_int_equal(nonfinite, count - want_finite);
    assert_same_bits(mean, want, m * 8);
    assert_same_bits(comoment, want_comoment, pairs * 8);
    gaps += nonfinite;
  }
  assert_true(gaps > 0);
  free(rows), free(mean), free(want), free(comoment), free(want_comoment), free(largest), free(id);
  drop(&f);
}

static void test_largest(void **state)
{
  (void)state;
  struct fixture f = make(16);
  const struct mv_layout *l = &f.plan->layout[1];
  enum { COUNT = 7 };
  static const double size[COUNT] = {1, 3, 2, 3, 9, 0, 3};
  double *rows = mv_memory_take(COUNT * (size_t)l->values, 8);
  double *mean = mv_memory_take((size_t)l->moments, 8), *comoment = mv_memory_take((size_t)l->pairs, 8);
  double *largest = mv_memory_take((size_t)l->vectors * MV_LARGEST, 8);
  int64_t *id = mv_memory_take((size_t)l->vectors * MV_LARGEST, 8), finite, nonfinite;
  int8_t status[COUNT] = {0};
  status[4] = MV_NONFINITE; /* the largest does not count */
  for (int r = 0; r < COUNT; r++) {
    double *x = rows + r * l->values;
    x[0] = size[r];             /* direct, first vector */
    x[8] = size[r], x[9] = 1.0; /* correction, first vector: base + component = (2 size, 1) */
  }
  mv_moments_make(l, rows, status, 50, COUNT, &finite, &nonfinite, mean, comoment, largest, id);
  static const double norm[] = {9, 9, 9, 4};
  static const int64_t ids[] = {51, 53, 56, 52}; /* earlier first among equals */
  for (int k = 0; k < MV_LARGEST; k++) {
    assert_true(largest[k] == norm[k] && id[k] == ids[k]);
    assert_true(largest[4 * MV_LARGEST + k] == 4 * norm[k] + 1 && id[4 * MV_LARGEST + k] == ids[k]);
  }
  mv_moments_make(l, rows, status, 50, 2, &finite, &nonfinite, mean, comoment, largest, id);
  assert_true(largest[1] == 1 && id[1] == 50 && largest[2] == -1 && id[2] == -1 && id[3] == -1);
  free(rows), free(mean), free(comoment), free(largest), free(id);
  drop(&f);
}

/* Units of any size and any first replicate give the same rows. */
static void test_units_of_samples(void **state)
{
  (void)state;
  struct fixture f = make(16);
  struct mv_worker *worker = mv_worker_create(f.plan);
  const struct mv_layout *l = &f.plan->layout[0];
  double *row = mv_memory_take((size_t)l->values, 8);
  int64_t nonfinite = 0;
  for (int64_t size = 1; size <= 13; size += 3)
    for (int64_t first = 0; first < 101; first += size) {
      struct mv_unit unit = {4, first, size < 101 - first ? size : 101 - first};
      size_t bytes = mv_result_bytes(f.plan, &unit);
      void *out = mv_memory_take(bytes, 1);
      struct mv_result result;
      memset(out, 0xff, bytes);
      mv_worker_compute(worker, &unit, out);
      assert_true(mv_result_view(f.plan, out, bytes, &result));
      int64_t bad = 0;
      for (int64_t r = 0; r < unit.count; r++) {
        expected_row(f.plan, 4, first + r, row);
        assert_same_bits(result.values + r * l->values, row, (size_t)l->values * 8);
        assert_int_equal(result.status[r], row_is_finite(l, row) ? MV_OK : MV_NONFINITE);
        bad += result.status[r] != MV_OK;
      }
      assert_int_equal(result.head->nonfinite, bad);
      nonfinite += bad;
      free(out);
    }
  assert_true(nonfinite > 0);
  mv_worker_free(worker);
  free(row);
  drop(&f);
}

static void test_units_of_moments(void **state)
{
  (void)state;
  struct fixture f = make(16);
  struct mv_worker *worker = mv_worker_create(f.plan);
  const struct mv_layout *l = &f.plan->layout[1];
  size_t m = (size_t)l->moments, pairs = (size_t)l->pairs;
  struct mv_unit unit = {6 + 2, 48, 53}; /* three whole blocks and the rest */
  size_t bytes = mv_result_bytes(f.plan, &unit);
  void *out = mv_memory_take(bytes, 1);
  struct mv_result result;
  mv_worker_compute(worker, &unit, out);
  assert_true(mv_result_view(f.plan, out, bytes, &result));
  assert_int_equal(result.blocks, 4);
  double *rows = mv_memory_take(16 * (size_t)l->values, 8), *mean = mv_memory_take(m, 8),
         *comoment = mv_memory_take(pairs, 8);
  for (int b = 0; b < 4; b++) {
    int64_t count = b < 3 ? 16 : 5, finite;
    for (int64_t r = 0; r < count; r++)
      expected_row(f.plan, 8, 48 + 16 * b + r, rows + r * l->values);
    direct_moments(l, rows, count, &finite, mean, comoment);
    assert_int_equal(result.count[b], finite);
    assert_int_equal(result.nonfinite[b], count - finite);
    assert_same_bits(result.mean + b * l->moments, mean, m * 8);
    assert_same_bits(result.comoment + b * l->pairs, comoment, pairs * 8);
    int64_t id = result.largest_id[b * l->vectors * MV_LARGEST];
    assert_true(id >= 48 + 16 * b && id < 48 + 16 * b + count);
  }
  assert_true(mv_worker_memory(f.plan) >= 16 * (size_t)l->values * 8);
  free(rows), free(mean), free(comoment), free(out);
  mv_worker_free(worker);
  drop(&f);
}

/* Bytes that are not the result of a unit of this job. */
static void test_view_refuses(void **state)
{
  (void)state;
  struct fixture f = make(16);
  struct mv_worker *worker = mv_worker_create(f.plan);
  struct mv_unit unit = {0, 10, 7};
  size_t bytes = mv_result_bytes(f.plan, &unit);
  struct mv_result_head *head = mv_memory_take(bytes, 1);
  struct mv_result view;
  mv_worker_compute(worker, &unit, head);
  assert_true(mv_result_view(f.plan, head, bytes, &view));
  assert_false(mv_result_view(f.plan, head, bytes - 8, &view));
  assert_false(mv_result_view(f.plan, head, 8, &view));
  static const struct mv_unit wrong[] = {{18, 10, 7}, {-1, 10, 7},  {0, -1, 7},  {0, 10, 0},       {0, 10, 8},
                                         {0, 95, 7},  {0, 10, 102}, {12, 31, 7}, {0, INT64_MAX, 7}};
  for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
    head->unit = wrong[k];
    assert_false(mv_result_view(f.plan, head, bytes, &view));
  }
  static const struct mv_unit moments[] = {{6, 16, 16}, {6, 96, 5}, {6, 0, 101}},
                              torn[] = {{6, 8, 16}, {6, 16, 8}, {6, 0, 100}};
  for (int k = 0; k < 3; k++) {
    assert_true(mv_unit_fits(f.plan, &moments[k]));
    assert_false(mv_unit_fits(f.plan, &torn[k]));
  }
  free(head);
  mv_worker_free(worker);
  drop(&f);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_layout),           cmocka_unit_test(test_moments),
                                     cmocka_unit_test(test_largest),          cmocka_unit_test(test_units_of_samples),
                                     cmocka_unit_test(test_units_of_moments), cmocka_unit_test(test_view_refuses)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
