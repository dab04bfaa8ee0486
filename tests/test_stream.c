/* test_stream.c - random streams: published vectors, lanes against Random123, and moments with derived tolerances. */
#include "harness.h"
#include "metavar/selfcheck.h"

static void known_answers(void **state)
{
  (void)state;
  assert_true(mv_selfcheck_philox());
}

/* The documented address of every uniform, spelled out with scalar Random123. */
static double uniform_at(struct mv_key key, enum mv_purpose purpose, int64_t task, int64_t lifetime, int64_t step,
                         int draw)
{
  uint32_t out[4], counter[4] = {(uint32_t)draw / 2, (uint32_t)step, (uint32_t)task,
                                 (uint32_t)((uint64_t)task >> 32 | (uint64_t)lifetime << 8 | (uint64_t)purpose << 28)};
  mv_philox(counter, key, out);
  uint64_t bits = (uint64_t)out[draw % 2 * 2 + 1] << 32 | out[draw % 2 * 2];
  return ((double)(bits >> 12) + 0.5) * 0x1p-52;
}

static struct mv_coords coords_make(void)
{
  double eta[] = {1.5, -0.25};
  struct mv_coords c = {.key = mv_key_make(UINT64_C(0xfedcba9876543210), eta, 2)};
  for (int l = 0; l < MV_LANES_MAX; l++) {
    c.task[l] = (INT64_C(1) << 39) + 12345 * l;
    c.lifetime[l] = (1 << 19) + 7 * l;
  }
  c.offset[MV_FOR_ACTION] = 3;
  return c;
}

static void lanes_are_random123(void **state)
{
  (void)state;
  const struct mv_kernel *kernel[8];
  int n = kernels_real(kernel);
  struct mv_coords c = coords_make();
  for (int k = 0; k < n; k++)
    for (int64_t step = 0; step < 1000; step += 333) {
      double out[7 * MV_LANES_MAX];
      kernel[k]->draw(&c, MV_FOR_ACTION, step, 7, out);
      for (int i = 0; i < 7; i++)
        for (int l = 0; l < kernel[k]->lanes; l++)
          assert_true(out[i * kernel[k]->lanes + l] ==
                      uniform_at(c.key, MV_FOR_ACTION, c.task[l], c.lifetime[l] + 3, step, i));
    }
}

static void keys_differ(void **state)
{
  (void)state;
  double a[] = {1, 2}, b[] = {2, 1}, zero[] = {0.0, 1}, minus[] = {-0.0, 1};
  struct mv_key ka = mv_key_make(1, a, 2), kb = mv_key_make(1, b, 2), kc = mv_key_make(2, a, 2),
                kd = mv_key_make(1, a, 1);
  assert_memory_not_equal(&ka, &kb, sizeof ka);
  assert_memory_not_equal(&ka, &kc, sizeof ka);
  assert_memory_not_equal(&ka, &kd, sizeof ka);
  struct mv_key kz = mv_key_make(1, zero, 2), km = mv_key_make(1, minus, 2);
  assert_memory_equal(&kz, &km, sizeof kz);
}

/* Normals: first four moments over n draws; standard errors sqrt(1, 2, 15, 96) / sqrt(n) for z, z^2, z^3, z^4. */
static void normal_moments(void **state)
{
  (void)state;
  const struct mv_kernel *kernel = mv_kernel_best();
  struct mv_coords c = coords_make();
  double sum[5] = {0}, product[MV_LANES_MAX] = {0}, out[100 * MV_LANES_MAX];
  const int steps = 2000, n = steps * 100 * kernel->lanes;
  for (int step = 0; step < steps; step++) {
    kernel->draw(&c, MV_FOR_NORMAL, step, 100, out);
    for (int i = 0; i < 100 * kernel->lanes; i++)
      for (int power = 1; power <= 4; power++)
        sum[power] += pow(out[i], power);
    for (int i = 0; i < 100; i++)
      for (int l = 1; l < kernel->lanes; l++)
        product[l] += out[i * kernel->lanes] * out[i * kernel->lanes + l];
  }
  const double expected[] = {0, 0, 1, 0, 3}, variance[] = {0, 1, 2, 15, 96};
  for (int power = 1; power <= 4; power++)
    assert_true(fabs(sum[power] / n - expected[power]) < 4.5 * sqrt(variance[power] / n));
  for (int l = 1; l < kernel->lanes; l++) /* lanes are independent */
    assert_true(fabs(product[l]) < 4.5 * sqrt(steps * 100.0));
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(known_answers), cmocka_unit_test(lanes_are_random123),
                                     cmocka_unit_test(keys_differ), cmocka_unit_test(normal_moments)};
  return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
