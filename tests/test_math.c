/* test_math.c - elementary functions of lanes: accuracy against long double libm, special values, same bits in every
 * kernel. */
#include "harness.h"

#define POINTS 200000

struct function {
  const char *name;
  double low, high, ulps; /* range, uniform in x (log: in the exponent), and the largest error allowed */
  long double (*exact)(long double);
};

static long double sin_turn(long double x) { return sinl(2 * 3.14159265358979323846264338327950288L * x); }
static long double cos_turn(long double x) { return cosl(2 * 3.14159265358979323846264338327950288L * x); }

static const struct function functions[] = {{"exp", -700, 709, 1.25, expl}, {"exp", -1, 1, 1.25, expl},
                                            {"log", -300, 300, 1.0, logl},  {"log", -1, 1, 1.0, logl},
                                            {"log1p", -30, 2, 1.5, log1pl}, {"sin", 0, 1, 2.0, sin_turn},
                                            {"cos", 0, 1, 2.0, cos_turn}};

static void points(const struct function *f, double *x)
{
  bool exponent = !strncmp(f->name, "log", 3);
  for (int i = 0; i < POINTS; i++) {
    double u = f->low + (f->high - f->low) * ((double)i + 0.37) / POINTS;
    x[i] = exponent ? pow(10, u) : u;
  }
}

/* Near a zero of sin or cos the argument's own rounding decides; measure against ulp(1/16) at least. */
static void accuracy(void **state)
{
  (void)state;
  double *x = malloc(sizeof(double) * POINTS), *y = malloc(sizeof(double) * POINTS);
  for (size_t k = 0; k < sizeof functions / sizeof *functions; k++) {
    const struct function *f = &functions[k];
    bool turn = !strcmp(f->name, "sin") || !strcmp(f->name, "cos");
    points(f, x);
    mv_kernel_best()->math(f->name, x, y, POINTS);
    double worst = 0;
    for (int i = 0; i < POINTS; i++) {
      long double exact = f->exact(x[i]);
      double size = fabs((double)exact);
      if (turn && size < 0.0625)
        size = 0.0625;
      double ulp = nextafter(size, INFINITY) - size, error = (double)fabsl(y[i] - exact) / ulp;
      worst = error > worst ? error : worst;
    }
    if (worst > f->ulps)
      fail_msg("%s on [%g, %g]: %g ulp", f->name, f->low, f->high, worst);
  }
  free(x), free(y);
}

static void same_bits(void **state)
{
  (void)state;
  double *x = malloc(sizeof(double) * POINTS), *y = malloc(sizeof(double) * POINTS),
         *z = malloc(sizeof(double) * POINTS);
  const struct mv_kernel *kernel[8];
  int n = kernels_real(kernel);
  for (size_t k = 0; k < sizeof functions / sizeof *functions; k++) {
    points(&functions[k], x);
    kernel[0]->math(functions[k].name, x, y, POINTS);
    for (int i = 1; i < n; i++) {
      kernel[i]->math(functions[k].name, x, z, POINTS);
      assert_memory_equal(y, z, sizeof(double) * POINTS);
    }
  }
  free(x), free(y), free(z);
}

static void special_values(void **state)
{
  (void)state;
  const struct mv_kernel *kernel[8];
  int n = kernels_real(kernel);
  for (int k = 0; k < n; k++) {
    double x[] = {-INFINITY, -1e9, -745, 0, 709.7, 710, INFINITY, NAN}, y[8];
    kernel[k]->math("exp", x, y, 8);
    assert_true(y[0] == 0 && y[1] == 0 && y[2] == 0 && y[3] == 1 && isfinite(y[4]) && y[5] == INFINITY &&
                y[6] == INFINITY && isnan(y[7]));
    double a[] = {-1, 0, 1, INFINITY, NAN, 0x1p-1022, -INFINITY, 1e308}, b[8];
    kernel[k]->math("log", a, b, 8);
    assert_true(isnan(b[0]) && b[1] == -INFINITY && b[2] == 0 && b[3] == INFINITY && isnan(b[4]) && isfinite(b[5]) &&
                isnan(b[6]) && isfinite(b[7]));
    double t[] = {0, 0.25, 0.5, 0.75, 1, 0.125, 0.375, 0.625}, s[8], c[8];
    kernel[k]->math("sin", t, s, 8);
    kernel[k]->math("cos", t, c, 8);
    static const double quarter_sin[] = {0, 1, 0, -1, 0}, quarter_cos[] = {1, 0, -1, 0, 1};
    for (int i = 0; i < 5; i++)
      assert_true(s[i] == quarter_sin[i] && c[i] == quarter_cos[i]);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(accuracy), cmocka_unit_test(same_bits),
                                     cmocka_unit_test(special_values)};
  return cmocka_run_group_tests_name("math", tests, NULL, NULL);
}
