/* test_nn.c - networks: initial weights, matrix products against loops (those of few rows bit by bit), gradient and R-operator
 * against finite differences, symmetry of the Hessian.
 */
#include <gsl/gsl_cdf.h>

#include "metavar/nn.h"
#include "numbers.h"

static void quantiles(void **state)
{
  (void)state;
  const double low = gsl_cdf_ugaussian_P(-2), high = gsl_cdf_ugaussian_P(2);
  for (int i = 0; i <= 1000; i++) {
    double u = i / 1000.0;
    near("quantile", mv_nn_truncated_normal(u), gsl_cdf_ugaussian_Pinv(low + u * (high - low)), 4e-15);
  }
  near("lowest", mv_nn_truncated_normal(0x1p-53), -2, 1e-14);
}

/* OpenBLAS and the order of its arguments, against the definition. */
static void products(void **state)
{
  (void)state;
  static const int size[][3] = {{1, 1, 1}, {3, 5, 7}, {10, 256, 26}, {80, 4, 256}, {33, 257, 129}};
  for (size_t i = 0; i < sizeof size / sizeof *size; i++)
    for (int turn = 0; turn < 4; turn++) {
      const int m = size[i][0], n = size[i][1], k = size[i][2];
      double *a = malloc(sizeof(double) * (size_t)(m * k)), *b = malloc(sizeof(double) * (size_t)(k * n));
      double *c = malloc(sizeof(double) * (size_t)(m * n));
      for (int j = 0; j < m * k; j++)
        a[j] = any(j);
      for (int j = 0; j < k * n; j++)
        b[j] = any(3 * j + 1);
      for (int j = 0; j < m * n; j++)
        c[j] = any(5 * j + 2);
      mv_nn_product(turn & 1, turn & 2, m, n, k, 0.7, a, b, c);
      for (int r = 0; r < m; r++)
        for (int s = 0; s < n; s++) {
          double sum = 0;
          for (int p = 0; p < k; p++)
            sum += (turn & 1 ? a[p * m + r] : a[r * k + p]) * (turn & 2 ? b[s * k + p] : b[p * n + s]);
          near("product", c[r * n + s], any(5 * (r * n + s) + 2) + 0.7 * sum, 1e-13 * sqrt(k));
        }
      free(a), free(b), free(c);
    }
}

/* Our own for few rows, in every kernel: the bits of the definition. */
static void few_rows(void **state)
{
  (void)state;
  static const int size[][3] = {{1, 1, 1}, {1, 32, 10}, {5, 4, 256}, {10, 256, 26}, {9, 23, 33}, {15, 257, 100}};
  static double a[1500], b[25700], start[3855], c[3855], expected[3855];
  const struct mv_kernel *kernel[8];
  const int kernels = mv_kernel_list(kernel);
  for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
    const int m = size[i][0], n = size[i][1], k = size[i][2];
    for (int j = 0; j < m * k; j++)
      a[j] = any(j);
    for (int j = 0; j < k * n; j++)
      b[j] = any(3 * j + 1);
    for (int j = 0; j < m * n; j++)
      start[j] = expected[j] = any(5 * j + 2);
    for (int r = 0; r < m; r++)
      for (int p = 0; p < k; p++)
        for (int s = 0; s < n; s++)
          expected[r * n + s] += a[r * k + p] * b[p * n + s];
    for (int v = 0; v < kernels; v++) {
      memcpy(c, start, sizeof c);
      kernel[v]->few_rows(m, n, k, a, b, c);
      assert_memory_equal(c, expected, sizeof(double) * (size_t)(m * n));
    }
  }
}

enum { ROWS = 9, IN = 5, OUT = 3 };
static struct mv_nn net = {3, {IN, 7, 6, OUT}, MV_RELU};

struct pass {
  double a[ROWS * 21], d[ROWS * 21], gradient[200];
};

/* Loss of softmax regression, summed over rows of class r % OUT; R of it along v, if v: gradient = H v. */
static void run(const double *theta, const double *v, struct pass *p, struct pass *dot)
{
  for (int i = 0; i < ROWS * IN; i++)
    p->a[i] = any(7 * i);
  mv_nn_forward(&net, theta, ROWS, 0, ROWS, p->a);
  if (v)
    mv_nn_forward_dot(&net, theta, v, ROWS, p->a, dot->a);
  const int out = mv_nn_place(&net, ROWS, net.layers);
  for (int r = 0; r < ROWS; r++) {
    double sum = 0, mean = 0, *d = p->d + out + r * OUT;
    for (int k = 0; k < OUT; k++)
      sum += d[k] = exp(p->a[out + r * OUT + k]);
    for (int k = 0; k < OUT; k++) {
      d[k] /= sum;
      mean += v ? d[k] * dot->a[out + r * OUT + k] : 0;
    }
    for (int k = 0; k < OUT; k++) {
      if (v)
        dot->d[out + r * OUT + k] = d[k] * (dot->a[out + r * OUT + k] - mean);
      d[k] -= k == r % OUT;
    }
  }
  mv_nn_backward(&net, theta, ROWS, p->a, p->d, 1.0, NULL, p->gradient);
  if (v) {
    memset(dot->gradient, 0, sizeof dot->gradient);
    mv_nn_backward_dot(&net, theta, v, ROWS, p->a, dot->a, p->d, dot->d, 1.0, dot->gradient);
  }
}

static double loss(const double *theta)
{
  struct pass p;
  run(theta, NULL, &p, NULL);
  double sum = 0;
  for (int r = 0; r < ROWS; r++) /* the class's probability is 1 + its derivative */
    sum -= log(1 + p.d[mv_nn_place(&net, ROWS, net.layers) + r * OUT + r % OUT]);
  return sum;
}

/* Gradient and Hessian against central differences, whose error is about 1e-10 here; the Hessian is symmetric. */
static void check_hessian(enum mv_activation activation)
{
  net.activation = activation;
  const int size = mv_nn_size(&net);
  assert_int_equal(size, 6 * 7 + 8 * 6 + 7 * 3);
  double theta[200], other[200], u[200], v[200], h = 1e-5;
  static struct pass p, q, along_u, along_v, plus, minus;
  for (int i = 0; i < size; i++)
    theta[i] = any(11 * i + 3), u[i] = any(13 * i + 4), v[i] = any(17 * i + 5);
  run(theta, v, &p, &along_v);
  run(theta, u, &q, &along_u);
  double uv = 0, vu = 0, scale = 0;
  for (int i = 0; i < size; i++) {
    memcpy(other, theta, sizeof theta);
    other[i] += h;
    double high = loss(other);
    other[i] -= 2 * h;
    near("gradient", p.gradient[i], (high - loss(other)) / (2 * h), 1e-8);
    uv += u[i] * along_v.gradient[i], vu += v[i] * along_u.gradient[i];
    scale += fabs(u[i] * along_v.gradient[i]);
  }
  assert_true(scale > 1);
  near("symmetry", uv, vu, 1e-14 * scale);
  for (int i = 0; i < size; i++)
    other[i] = theta[i] + h * v[i];
  run(other, NULL, &plus, NULL);
  for (int i = 0; i < size; i++)
    other[i] = theta[i] - h * v[i];
  run(other, NULL, &minus, NULL);
  for (int i = 0; i < size; i++)
    near("Hessian times v", along_v.gradient[i], (plus.gradient[i] - minus.gradient[i]) / (2 * h), 1e-7);
}

static void hessian_relu(void **state) { (void)state, check_hessian(MV_RELU); }
static void hessian_tanh(void **state) { (void)state, check_hessian(MV_TANH); }

/* tanh against libm; far out it is 1, where neither it nor its R-operator is 0 / 0. */
static void saturated(void **state)
{
  (void)state;
  for (int i = -4000; i <= 4000; i++)
    near("tanh", num_tanh(i * 0.01), tanh(i * 0.01), 3e-16);
  double a[] = {1e-3, 20, -800}, dot[] = {1, 1, 1}, d[] = {1, 1, 1}, d_dot[] = {0, 0, 0};
  mv_nn_activate(MV_TANH, 3, a);
  mv_nn_gate(MV_TANH, 3, a, dot), mv_nn_gate(MV_TANH, 3, a, d);
  mv_nn_bend(MV_TANH, 3, a, dot, d, d_dot);
  near("f''", d_dot[0], -2 * tanh(1e-3) / pow(cosh(1e-3), 2), 1e-15);
  assert_true(d_dot[1] == 0 && d_dot[2] == 0);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(quantiles),    cmocka_unit_test(products),
                                     cmocka_unit_test(few_rows),     cmocka_unit_test(hessian_relu),
                                     cmocka_unit_test(hessian_tanh), cmocka_unit_test(saturated)};
  return cmocka_run_group_tests_name("networks", tests, NULL, NULL);
}
