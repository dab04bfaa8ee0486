/* test_tree_perturb.c - perturbation estimators against the exact answer.
 *
 * At a fixed eta the enumeration of tree_bandit (tree.h) gives E F and E F^2 of each task instance, F the mean of R_n
 * over a random window. Gauss-Hermite quadrature over the directions makes of these the exact mean and variance of es
 * with independent members; fd and es with common random numbers keep the mean, whatever the coupling, and so does the
 * reference with smoothing sigma, which knows nothing of differences.
 */
#include <stdio.h>

#include "sampled.h"
#include "tree_smooth.h"

static const double sigma = 0.3;

static void es_make(struct rig *r, int64_t population)
{
  rig_make(r, mv_kernel_best(), "tree_bandit", "es", TREE_STEPS);
  *(struct mv_ints *)rig_setting(r, "truncation") = lengths;
  *(double *)rig_setting(r, "sigma") = sigma;
  *(int64_t *)rig_setting(r, "population") = population;
}

static int set_up(void **state)
{
  (void)state;
  exact_es_make(sigma);
  return 0;
}

/* --- tests ------------------------------------------------------------------------------------------------------- */

static void es_exact(void **state)
{
  (void)state;
  for (int pairs = 1; pairs <= 2; pairs++) {
    struct rig r;
    es_make(&r, 2 * pairs);
    rig_ready(&r);
    struct sampled s = sampled_make(&r, eta0);
    for (int i = 0; i < VALUES; i++) {
      compare("es mean", i, sampled_mean(&s, i), exact_mean(i));
      compare("es variance", i, sampled_variance(&s, i), exact_variance(i, pairs));
    }
    sampled_free(&s);
    rig_free(&r);
  }
}

/* Common random numbers: coupling changes no mean, and takes more than nine tenths of the variance. */
static void es_common_random_numbers(void **state)
{
  (void)state;
  for (int sampler = MV_INVERSE_CDF; sampler <= MV_GUMBEL; sampler++) {
    struct rig r;
    es_make(&r, 2);
    r.problem.sampler = sampler;
    rig_choose(&r, "noise_shared", (const char *const[]){"task", "action", "reward", "window", NULL});
    rig_ready(&r);
    struct sampled s = sampled_make(&r, eta0);
    for (int i = 0; i < VALUES; i++) {
      compare("es mean, common noise", i, sampled_mean(&s, i), exact_mean(i));
      struct figure v = sampled_variance(&s, i);
      print_message("%s, T = %d, eta_%d: variance %.4f (%.4f), independent %.4f\n", mv_sampler_names[sampler],
                    (int)lengths.value[i / 2], i % 2, v.value, v.se, exact_variance(i, 1));
      assert_true(v.value + 10 * v.se < exact_variance(i, 1) / 10);
    }
    sampled_free(&s);
    rig_free(&r);
  }
}

/* The reference's smoothed gradient is what es estimates: the whole lifetime, and each window-weighted objective. */
static void reference_smoothed(void **state)
{
  (void)state;
  for (int64_t lifetimes = 1; lifetimes <= 2; lifetimes++) {
    struct rig r;
    rig_make(&r, mv_kernel_best(), "tree_bandit", "reference", TREE_STEPS);
    *(struct mv_ints *)rig_setting(&r, "truncation") = lengths;
    *(double *)rig_setting(&r, "smoothing") = sigma;
    *(int64_t *)rig_setting(&r, "lifetimes") = lifetimes;
    rig_ready(&r);
    struct sampled s = sampled_make(&r, eta0);
    for (int j = 0; j < 2; j++) {
      compare("smoothed gradient", j, sampled_mean(&s, rig_offset(&r, "gradient") + j),
              exact_mean(2 * (LENGTHS - 1) + j));
      for (int t = 0; t < LENGTHS; t++)
        compare("smoothed weighted gradient", 2 * t + j, sampled_mean(&s, rig_offset(&r, "weighted") + 2 * t + j),
                exact_mean(2 * t + j));
    }
    sampled_free(&s);
    rig_free(&r);
  }
}

/* fd with coupled noise: the exact mean is the difference quotient of the enumerated objectives. */
static void fd_exact(void **state)
{
  (void)state;
  const double eps = 0.5;
  struct rig r[2];
  for (int sampler = MV_INVERSE_CDF; sampler <= MV_GUMBEL; sampler++) {
    rig_make(&r[sampler], mv_kernel_best(), "tree_bandit", "fd", TREE_STEPS);
    r[sampler].problem.sampler = sampler;
    *(struct mv_ints *)rig_setting(&r[sampler], "truncation") = lengths;
    *(double *)rig_setting(&r[sampler], "eps") = eps;
    rig_ready(&r[sampler]);
  }
  double quotient[VALUES];
  for (int j = 0; j < 2; j++) {
    double d[2] = {j == 0 ? eps / 2 : 0, j == 1 ? eps / 2 : 0};
    struct level plus = level_at(r, (double[]){eta0[0] + d[0], eta0[1] + d[1]});
    struct level minus = level_at(r, (double[]){eta0[0] - d[0], eta0[1] - d[1]});
    for (int t = 0; t < LENGTHS; t++)
      quotient[2 * t + j] = 0.5 * (plus.first[0][t] - minus.first[0][t] + plus.first[1][t] - minus.first[1][t]) / eps;
  }
  for (int sampler = MV_INVERSE_CDF; sampler <= MV_GUMBEL; sampler++) {
    struct sampled s = sampled_make(&r[sampler], eta0);
    for (int i = 0; i < VALUES; i++)
      compare("fd mean", i, sampled_mean(&s, i), quotient[i]);
    sampled_free(&s);
    rig_free(&r[sampler]);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(es_exact), cmocka_unit_test(es_common_random_numbers),
                                     cmocka_unit_test(reference_smoothed), cmocka_unit_test(fd_exact)};
  return cmocka_run_group_tests_name("perturbations of tree_bandit against enumeration", tests, set_up, NULL);
}
