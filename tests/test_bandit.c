/* test_bandit.c - on the bandit, three roads to the same gradient: reference, plain T = N with lambda = 1, and finite
 * differences; and what the members of a pair share, in closed form.
 *
 * The three roads must agree within combined standard errors; the same test, with the same samples, must reject the naive
 * estimate (lambda = 0) at 10 sigma, or it would have no power. N = 30 and cutoff 4 of the short study of Vuorio et al. 2022 at
 * eta = (0, 0), where the naive bias is large. fd runs with Gumbel coupling and eps 0.2, whose O(eps^2) bias is far
 * below its standard error.
 */
#include <stdio.h>

#include "sampled.h"

struct estimate {
  double mean[2], se[2];
};

/* Mean and standard error of value(s) a + scale * b over n replicates; b < 0: a alone. */
static struct estimate estimate(struct rig *r, const double *eta, int64_t n, int64_t a, int64_t b, double scale)
{
  struct mv_key key = mv_key_make(99, eta, 2);
  double sum[2] = {0}, square[2] = {0};
  n = n / r->kernel->lanes * r->kernel->lanes;
  for (int64_t first = 0; first < n; first += r->kernel->lanes) {
    rig_sample(r, key, eta, first, NULL);
    for (int l = 0; l < r->kernel->lanes; l++)
      for (int j = 0; j < 2; j++) {
        double x = rig_value(r, a + j, l) + (b < 0 ? 0 : scale * rig_value(r, b + j, l));
        sum[j] += x, square[j] += x * x;
      }
  }
  struct estimate e;
  for (int j = 0; j < 2; j++) {
    e.mean[j] = sum[j] / (double)n;
    e.se[j] = sqrt((square[j] / (double)n - e.mean[j] * e.mean[j]) / (double)n);
  }
  return e;
}

/* Largest distance over coordinates, in combined standard errors. */
static double apart(struct estimate a, struct estimate b)
{
  double z = 0;
  for (int j = 0; j < 2; j++)
    z = fmax(z, fabs(a.mean[j] - b.mean[j]) / hypot(a.se[j], b.se[j]));
  return z;
}

static void three_roads(void **state)
{
  (void)state;
  const double eta[] = {0, 0};
  struct rig reference, backprop, fd;
  rig_make(&reference, mv_kernel_best(), "bandit", "reference", 30);
  rig_ready(&reference);
  rig_make(&backprop, mv_kernel_best(), "bandit", "backprop", 30);
  *(bool *)rig_setting(&backprop, "weighted") = false;
  rig_ready(&backprop);
  rig_make(&fd, mv_kernel_best(), "bandit", "fd", 30);
  fd.problem.sampler = MV_GUMBEL;
  *(double *)rig_setting(&fd, "eps") = 0.2;
  rig_ready(&fd);
  int64_t direct = rig_offset(&backprop, "direct"), correction = rig_offset(&backprop, "correction");

  struct estimate truth = estimate(&reference, eta, 80000, 0, -1, 0);
  struct estimate plain = estimate(&backprop, eta, 80000, direct, correction, 1);
  struct estimate naive = estimate(&backprop, eta, 80000, direct, -1, 0);
  struct estimate difference = estimate(&fd, eta, 4000, 0, -1, 0);
  print_message("reference %.5f(%.5f) %.5f(%.5f)\nplain     %.5f(%.5f) %.5f(%.5f)\nfd        %.5f(%.5f) "
                "%.5f(%.5f)\nnaive     %.5f(%.5f) %.5f(%.5f)\n",
                truth.mean[0], truth.se[0], truth.mean[1], truth.se[1], plain.mean[0], plain.se[0], plain.mean[1],
                plain.se[1], difference.mean[0], difference.se[0], difference.mean[1], difference.se[1], naive.mean[0],
                naive.se[0], naive.mean[1], naive.se[1]);
  assert_true(apart(truth, plain) < 4);
  assert_true(apart(truth, difference) < 4);
  assert_true(apart(plain, difference) < 4);
  assert_true(apart(truth, naive) > 10); /* the power of the test */
  rig_free(&reference), rig_free(&backprop), rig_free(&fd);
}

/* One inner step from the uniform policy over two arms: eta has no say, so F+ and F- have one law, and E (F+ - F-)^2
 * follows from what they share. B choices, arm means mu_k iid with variance v, rewards with noise of variance s^2:
 *   F = sum_k (n_k / B) mu_k + noise:   E Var(F | mu) = v / (2 B) + s^2 / B,   Var E(F | mu) = v / 2.
 * Same choices of other instances: sum_k (n_k / B)(mu_k - mu'_k), E sum_k (n_k / B)^2 = (1 + 1 / B) / 2.
 * es: g_j = (F+ - F-) z_j / (2 sigma) has mean 0 and variance E (F+ - F-)^2 / (4 sigma^2). */
static void members_share(void **state)
{
  (void)state;
  const double low = -1, high = 1, noise = 0.5, B = 4, sigma = 0.1, eta[] = {0, 0};
  const double mean = (exp(high) - exp(low)) / (high - low);
  const double v = (exp(2 * high) - exp(2 * low)) / (2 * (high - low)) - mean * mean, s2 = noise * noise;
  const struct {
    const char *shared[6];
    double square;
  } row[] = {{{NULL}, v + v / B + 2 * s2 / B},           {{"task", NULL}, v / B + 2 * s2 / B},
             {{"task", "action", NULL}, 2 * s2 / B},     {{"task", "reward", NULL}, v / B},
             {{"action", NULL}, v + v / B + 2 * s2 / B}, {{"action", "reward", NULL}, v + v / B},
             {{"task", "action", "reward", NULL}, 0}};
  for (size_t k = 0; k < sizeof row / sizeof *row; k++) {
    struct rig r;
    rig_make(&r, mv_kernel_best(), "bandit", "es", 1);
    *(int64_t *)rig_task_setting(&r, "arms") = 2;
    *(int64_t *)rig_task_setting(&r, "batch") = (int64_t)B;
    *(int64_t *)rig_task_setting(&r, "cutoff") = 1;
    *(double *)rig_task_setting(&r, "noise_std") = noise;
    *(double *)rig_task_setting(&r, "log_mean_min") = low;
    *(double *)rig_task_setting(&r, "log_mean_max") = high;
    r.problem.shape = r.problem.task->shape(r.task_settings);
    *(double *)rig_setting(&r, "sigma") = sigma;
    rig_choose(&r, "noise_shared", row[k].shared);
    rig_ready(&r);
    struct sampled s = sampled_make(&r, eta);
    for (int64_t j = 0; j < 2; j++) {
      compare("mean", j, sampled_mean(&s, j), 0);
      compare("variance", j, sampled_variance(&s, j), row[k].square / (4 * sigma * sigma));
    }
    sampled_free(&s);
    rig_free(&r);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(three_roads), cmocka_unit_test(members_share)};
  return cmocka_run_group_tests_name("bandit", tests, NULL, NULL);
}
