/* test_improvement.c - what a step adds to J against parabolas, where it is known exactly; the local fit against functions
 * that it has to reproduce, and where it has to refuse. The whole, on tree_bandit, is in test_train.sh. */
#include "harness.h"

#include <gsl/gsl_errno.h>

#include "metavar/improvement.h"

#define assert_near(a, b, tolerance) assert_true(fabs((a) - (b)) <= (tolerance))

enum { META = 2, SIDE = 6 };

static uint32_t state = 5;
static double uniform(void)
{
  state = state * 1664525u + 1013904223u;
  return (state >> 8) * 0x1p-24;
}

/* J = c.x + x.A x / 2: the expectation over two values of r that have mean q and covariance S / m = e e', term by term. */
static void steps_on_a_parabola(void **unused)
{
  (void)unused;
  const double a[4] = {-2, 0.7, 0.7, -0.5}, c[2] = {1.5, -0.3}, x[2] = {0.4, 1.1}, q[2] = {0.9, 0.2},
               v[2] = {-0.6, 0.5};
  const double e[2] = {0.8, -1.3}, rate = 0.3, replicates = 7;
  const double covariance[3] = {replicates * e[0] * e[0], replicates * e[0] * e[1], replicates * e[1] * e[1]};
  double g[2], out[MV_PARTS], still[MV_PARTS], expected = 0, square = 0, slope = 0, sum = 0;
  for (int i = 0; i < META; i++) {
    g[i] = c[i] + a[2 * i] * x[0] + a[2 * i + 1] * x[1];
    slope += rate * g[i] * e[i];
  }
  for (int sign = -1; sign <= 1; sign += 2) {
    double change = 0;
    for (int i = 0; i < META; i++) {
      double di = rate * (q[i] + v[i] + sign * e[i]);
      change += g[i] * di;
      for (int j = 0; j < META; j++)
        change += di * a[2 * i + j] * rate * (q[j] + v[j] + sign * e[j]) / 2;
    }
    expected += change / 2;
    square += change * change / 2;
  }
  mv_improvement(META, rate, replicates, g, q, a, v, covariance, out);
  for (int part = 0; part < MV_CHANCE; part++)
    sum += out[part];
  assert_near(sum, expected, 1e-14);
  assert_near(out[MV_CHANCE], slope * slope, 1e-14);
  assert_near(out[MV_DRIFT], rate * (g[0] * g[0] + g[1] * g[1]), 1e-15);
  assert_near(out[MV_DRIFT] + out[MV_BIAS], rate * (g[0] * q[0] + g[1] * q[1]), 1e-15);
  assert_true(square - expected * expected > 0);
  mv_improvement(META, rate, replicates, g, q, a, NULL, covariance, still);
  assert_true(still[MV_MOMENTUM] == 0 && still[MV_DRIFT] == out[MV_DRIFT] && still[MV_NOISE] == out[MV_NOISE]);
  assert_true(still[MV_CURVATURE] != out[MV_CURVATURE]);
}

static double parabola(const double *x)
{
  return 3 - x[0] + 40 * x[1] + 2 * x[0] * x[0] - 30 * x[0] * x[1] - 500 * x[1] * x[1];
}

/* Scattered points, axes of very different scale: a parabola and its derivatives come out exactly, anywhere inside. */
static void parabolas_are_reproduced(void **unused)
{
  (void)unused;
  double eta[SIDE * SIDE * META], y[SIDE * SIDE];
  for (int p = 0; p < SIDE * SIDE; p++) {
    eta[p * META] = p / SIDE + 0.4 * uniform();
    eta[p * META + 1] = 0.01 * (p % SIDE + 0.4 * uniform());
    y[p] = parabola(eta + p * META);
  }
  struct mv_local l;
  mv_local_make(&l, META, SIDE * SIDE, eta);
  for (int k = 0; k < 100; k++) {
    double x[2] = {0.5 + 4.4 * uniform(), 0.01 * (0.5 + 4.4 * uniform())}, fit[3] = {0};
    assert_true(mv_local_at(&l, x));
    assert_true(l.near >= mv_local_least(META) && l.near < SIDE * SIDE);
    for (int p = 0; p < l.near; p++)
      for (int c = 0; c < 3; c++)
        fit[c] += l.weight[p * 3 + c] * y[l.point[p]];
    assert_near(fit[0], parabola(x), 1e-10);
    assert_near(fit[1], -1 + 4 * x[0] - 30 * x[1], 1e-9);
    assert_near(fit[2], 40 - 30 * x[0] - 1000 * x[1], 1e-7);
  }
  mv_local_free(&l);
}

/* A grid with a corner cut off: its edge is inside, what is beyond, or in the corner, is not. Points on a line are no
 * plane. */
static void nothing_is_extrapolated(void **unused)
{
  (void)unused;
  double eta[SIDE * SIDE * META];
  int points = 0;
  for (int i = 0; i < SIDE; i++)
    for (int j = 0; j < SIDE; j++)
      if (i + j <= 7) {
        eta[points * META] = i;
        eta[points++ * META + 1] = j;
      }
  struct mv_local l;
  mv_local_make(&l, META, points, eta);
  const double inside[][2] = {{0, 0}, {0, 5}, {5, 0}, {0, 2.5}, {0.01, 2.2}, {3.4, 3.4}, {3.5, 3.5}, {2, 5}, {5, 2}};
  const double outside[][2] = {{-0.05, 2}, {5.05, 1}, {1, 5.05}, {3.6, 3.6}, {5, 5}, {4.5, 3}, {-3, -3}, {NAN, 1}};
  for (size_t k = 0; k < sizeof inside / sizeof *inside; k++)
    assert_true(mv_local_at(&l, inside[k]));
  for (size_t k = 0; k < sizeof outside / sizeof *outside; k++)
    assert_false(mv_local_at(&l, outside[k]));
  mv_local_free(&l);
  for (int p = 0; p < SIDE * SIDE; p++)
    eta[p * META] = eta[p * META + 1] = p;
  mv_local_make(&l, META, SIDE * SIDE, eta);
  assert_false(mv_local_at(&l, (double[]){3, 3}));
  mv_local_free(&l);
}

int main(void)
{
  gsl_set_error_handler_off();
  const struct CMUnitTest tests[] = {cmocka_unit_test(steps_on_a_parabola), cmocka_unit_test(parabolas_are_reproduced),
                                     cmocka_unit_test(nothing_is_extrapolated)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
