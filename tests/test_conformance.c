/* test_conformance.c - what every task and every estimator has to keep, looped over the registry:
 * purity, lanes independent, scalar == lanes bit for bit, derivatives against the complex shadow, no correlation
 * between lanes. */
#include <stdio.h>

#include "harness.h"
#include "metavar/selfcheck.h"

#define STEPS 12

typedef void pair_check(const char *task, const char *estimator, enum mv_recipe);

static void for_all_pairs(pair_check *check)
{
  const struct mv_kernel *scalar = mv_kernel_find("scalar");
  for (int t = 0; scalar->tasks[t]; t++)
    for (int e = 0; scalar->estimators[e]; e++)
      for (int recipe = 0; recipe < MV_RECIPES; recipe++)
        if (mv_recipe_valid(recipe, scalar->tasks[t], scalar->estimators[e]))
          check(scalar->tasks[t]->name, scalar->estimators[e]->name, recipe);
}

/* Replicates 0 .. 23 in every kernel, in lane groups that start at 0, and at an odd place: the same bits. */
static void check_same_bits(const char *task, const char *estimator, enum mv_recipe recipe)
{
  const struct mv_kernel *kernel[8];
  int n = kernels_real(kernel);
  double *expected = NULL;
  for (int k = 0; k < n; k++) {
    struct rig r;
    if (!mv_selfcheck_serves(kernel[k], task))
      continue;
    rig_make(&r, kernel[k], task, estimator, STEPS);
    mv_selfcheck_arrange(recipe, r.estimator, r.settings, &r.problem);
    rig_ready(&r);
    double eta[r.problem.shape.meta];
    mv_selfcheck_eta(&r.problem.shape, eta);
    struct mv_key key = mv_key_make(11, eta, r.problem.shape.meta);
    int64_t total = rig_total(&r);
    if (!expected)
      expected = calloc((size_t)total * 24, sizeof(double));
    for (int shift = 0; shift < 2 * (k > 0) + 1; shift++)
      for (int64_t first = shift; first + r.kernel->lanes <= 24; first += r.kernel->lanes) {
        rig_sample(&r, key, eta, first, NULL);
        for (int64_t i = 0; i < total; i++)
          for (int l = 0; l < r.kernel->lanes; l++) {
            double *slot = &expected[(first + l) * total + i], got = rig_value(&r, i, l);
            if (k == 0)
              *slot = got;
            else if (memcmp(slot, &got, sizeof got))
              fail_msg("%s/%s, %s: kernel %s, replicate %d, value %d: %a, scalar has %a", task, estimator,
                       mv_recipe_names[recipe], kernel[k]->name, (int)first + l, (int)i, got, *slot);
          }
      }
    rig_free(&r);
  }
  free(expected);
}

static void scalar_is_lanes(void **state)
{
  (void)state;
  for_all_pairs(check_same_bits);
}

/* A lane's values do not change with what its neighbours do; and a call repeated gives the same bits. */
static void check_purity(const char *task, const char *estimator, enum mv_recipe recipe)
{
  struct rig r;
  rig_make(&r, kernel_of(task), task, estimator, STEPS);
  mv_selfcheck_arrange(recipe, r.estimator, r.settings, &r.problem);
  rig_ready(&r);
  double eta[r.problem.shape.meta];
  mv_selfcheck_eta(&r.problem.shape, eta);
  struct mv_key key = mv_key_make(11, eta, r.problem.shape.meta);
  int64_t total = rig_total(&r);
  double *first = calloc((size_t)total, sizeof(double));
  rig_sample(&r, key, eta, 1000, NULL);
  for (int64_t i = 0; i < total; i++)
    first[i] = rig_value(&r, i, 0);
  rig_sample(&r, key, eta, 5, NULL); /* something else in between */
  for (int lane = 0; lane < r.kernel->lanes; lane++) {
    rig_sample(&r, key, eta, 1000 - lane, NULL);
    for (int64_t i = 0; i < total; i++) {
      double got = rig_value(&r, i, lane);
      assert_memory_equal(&got, &first[i], sizeof got);
    }
  }
  free(first);
  rig_free(&r);
}

static void purity(void **state)
{
  (void)state;
  for_all_pairs(check_purity);
}

/* Derivatives against the complex step (src/selfcheck.c), in the scalar kernel and the widest. */
static void check_jvp(const char *task, enum mv_hessian hessian, enum mv_sampler sampler)
{
  const struct mv_kernel *kernel[] = {mv_kernel_find("scalar"), kernel_of(task)};
  for (int k = 0; k < 1 + (kernel[1] != kernel[0]); k++) {
    double worst = mv_selfcheck_jvp(kernel[k], task, NULL, hessian, sampler);
    if (!(worst <= 1e-12))
      fail_msg("%s %s, kernel %s: relative difference %g", task, mv_hessian_names[hessian], kernel[k]->name, worst);
  }
}

static void jvp_is_shadow(void **state)
{
  (void)state;
  const struct mv_kernel *scalar = mv_kernel_find("scalar");
  for (int t = 0; scalar->tasks[t]; t++) {
    if (!scalar->tasks[t]->step_jvp)
      continue;
    void *settings;
    struct mv_problem p = problem_make(scalar, scalar->tasks[t]->name, STEPS, &settings);
    for (int hessian = 0; hessian < MV_HESSIANS; hessian++)
      for (int sampler = MV_INVERSE_CDF; sampler <= MV_GUMBEL; sampler++)
        if (p.shape.hessians & 1u << hessian)
          check_jvp(scalar->tasks[t]->name, hessian, sampler);
    free(settings);
  }
}

/* The transposes, part by part, against step_jvp and against the complex step (src/selfcheck_vjp.c). */
static void check_vjp(const struct mv_kernel *kernel, const char *task, enum mv_hessian hessian,
                      enum mv_sampler sampler)
{
  struct mv_selfcheck_transpose found[] = {mv_selfcheck_dot(kernel, task, hessian, sampler),
                                           mv_selfcheck_back(kernel, task, hessian, sampler)};
  for (int k = 0; k < 2; k++)
    if (!(found[k].worst <= 1e-12))
      fail_msg("%s %s, kernel %s, %s: relative difference %g in %s", task, mv_hessian_names[hessian], kernel->name,
               k ? "complex step" : "dot products", found[k].worst, found[k].where);
}

static void vjp_is_transpose(void **state)
{
  (void)state;
  const struct mv_kernel *scalar = mv_kernel_find("scalar");
  int checked = 0;
  for (int t = 0; scalar->tasks[t]; t++) {
    if (!scalar->tasks[t]->step_vjp || !scalar->tasks[t]->step_jvp)
      continue;
    void *settings;
    struct mv_problem p = problem_make(scalar, scalar->tasks[t]->name, STEPS, &settings);
    for (int hessian = 0; hessian < MV_HESSIANS; hessian++)
      for (int sampler = MV_INVERSE_CDF; sampler <= MV_GUMBEL; sampler++)
        if (p.shape.hessians & 1u << hessian) {
          check_vjp(scalar, p.task->name, hessian, sampler);
          if (kernel_of(p.task->name) != scalar)
            check_vjp(kernel_of(p.task->name), p.task->name, hessian, sampler);
          checked++;
        }
    free(settings);
  }
  assert_true(checked > 0);
}

/* Tasks whose step_vjp is wrong in one place: found, and the place is named. */
static const struct mv_task *sound;
static double wrong_theta, wrong_eta, wrong_logp, wrong_value;

static void wrong_vjp(const struct mv_life *life, int64_t n, const num *theta, const num *tape,
                      struct mv_adjoints *blocks, int block_count)
{
  struct mv_report weight[16];
  assert_true(block_count == 1 && blocks->count <= 16);
  for (int c = 0; c < blocks->count; c++) {
    weight[c] = blocks->weight[c];
    weight[c].logp *= wrong_logp;
    weight[c].expected *= wrong_value;
  }
  struct mv_adjoints damaged = *blocks;
  damaged.weight = weight;
  double before[16 * 2]; /* theta_bar of logit 0, eta_bar of the second rate */
  for (int c = 0; c < blocks->count; c++) {
    before[2 * c] = blocks->theta_bar[c * 3];
    before[2 * c + 1] = blocks->eta_bar[c * 2 + 1];
  }
  sound->step_vjp(life, n, theta, tape, &damaged, block_count);
  for (int c = 0; c < blocks->count; c++) {
    blocks->theta_bar[c * 3] = before[2 * c] + wrong_theta * (blocks->theta_bar[c * 3] - before[2 * c]);
    blocks->eta_bar[c * 2 + 1] = before[2 * c + 1] + wrong_eta * (blocks->eta_bar[c * 2 + 1] - before[2 * c + 1]);
  }
}

static void vjp_faults_are_named(void **state)
{
  (void)state;
  static const struct {
    double theta, eta, logp, value;
    const char *dot, *back;
  } fault[] = {{1, 1, 1, 1, NULL, NULL},
               {1, 1, 1.001, 1, "ell by theta", "sum of ell"},
               {1, 1, 1, 0.999, "V by theta", "sum of V"},
               {1, 1.001, 1, 1, "theta by eta", "sum of"},
               {0.999, 1, 1, 1, " by theta", "sum of"}};
  struct mv_kernel kernel = *mv_kernel_find("scalar");
  sound = mv_task_find(&kernel, "tree_bandit");
  struct mv_task wrong = *sound;
  wrong.step_vjp = wrong_vjp;
  const struct mv_task *tasks[] = {&wrong, NULL};
  kernel.tasks = tasks;
  for (size_t k = 0; k < sizeof fault / sizeof *fault; k++) {
    wrong_theta = fault[k].theta, wrong_eta = fault[k].eta, wrong_logp = fault[k].logp, wrong_value = fault[k].value;
    struct mv_selfcheck_transpose dot = mv_selfcheck_dot(&kernel, "tree_bandit", MV_PATHWISE, MV_INVERSE_CDF);
    struct mv_selfcheck_transpose back = mv_selfcheck_back(&kernel, "tree_bandit", MV_PATHWISE, MV_INVERSE_CDF);
    assert_int_equal(dot.worst > 1e-7, fault[k].dot != NULL);
    assert_int_equal(back.worst > 1e-7, fault[k].dot != NULL);
    if (fault[k].dot) {
      assert_non_null(strstr(dot.where, fault[k].dot));
      assert_non_null(strstr(back.where, fault[k].back));
    }
  }
}

/* Lanes are replicates: their objectives must be uncorrelated. With n groups a sample correlation of independent lanes
 * has standard error 1/sqrt(n). */
static void check_correlation(const char *task, const char *estimator, enum mv_recipe recipe)
{
  struct rig r;
  rig_make(&r, kernel_of(task), task, estimator, 6);
  mv_selfcheck_arrange(recipe, r.estimator, r.settings, &r.problem);
  rig_ready(&r);
  const int lanes = r.kernel->lanes, groups = lanes == 1 ? 0 : recipe == MV_PLAIN ? 3000 : 500;
  double eta[r.problem.shape.meta], sum[MV_LANES_MAX] = {0}, product[MV_LANES_MAX][MV_LANES_MAX] = {{0}};
  mv_selfcheck_eta(&r.problem.shape, eta);
  struct mv_key key = mv_key_make(12, eta, r.problem.shape.meta);
  int64_t objective = rig_offset(&r, "objective");
  for (int g = 0; g < groups; g++) {
    rig_sample(&r, key, eta, (int64_t)g * lanes, NULL);
    for (int a = 0; a < lanes; a++) {
      sum[a] += rig_value(&r, objective, a);
      for (int b = 0; b <= a; b++)
        product[a][b] += rig_value(&r, objective, a) * rig_value(&r, objective, b);
    }
  }
  for (int a = 0; a < lanes; a++)
    for (int b = 0; b < a; b++) {
      double cov = product[a][b] - sum[a] * sum[b] / groups, va = product[a][a] - sum[a] * sum[a] / groups,
             vb = product[b][b] - sum[b] * sum[b] / groups;
      assert_true(va > 0 && vb > 0);
      if (!(fabs(cov / sqrt(va * vb)) < 4.5 / sqrt(groups)))
        fail_msg("%s/%s: lanes %d and %d correlate: %g", task, estimator, a, b, cov / sqrt(va * vb));
    }
  rig_free(&r);
}

static void lanes_uncorrelated(void **state)
{
  (void)state;
  for_all_pairs(check_correlation);
}

/* Same replicate, same task and noise, under every estimator that simulates at unperturbed eta. */
static void paired(void **state)
{
  (void)state;
  struct rig a, b;
  rig_make(&a, mv_kernel_best(), "bandit", "backprop", 30);
  rig_make(&b, mv_kernel_best(), "bandit", "reference", 30);
  rig_ready(&a), rig_ready(&b);
  double eta[] = {1, 2.5};
  struct mv_key key = mv_key_make(5, eta, 2);
  rig_sample(&a, key, eta, 77, NULL);
  rig_sample(&b, key, eta, 77, NULL);
  for (int l = 0; l < a.kernel->lanes; l++)
    assert_true(rig_value(&a, rig_offset(&a, "objective"), l) == rig_value(&b, rig_offset(&b, "objective"), l));
  rig_free(&a), rig_free(&b);
}

/* Windows: uniform on {0 .. N - T}: chi-square with N - T degrees of freedom; mean d, variance 2 d. */
static void windows_uniform(void **state)
{
  (void)state;
  struct rig r;
  rig_make(&r, mv_kernel_best(), "tree_bandit", "es", 10);
  *(struct mv_ints *)rig_setting(&r, "truncation") = (struct mv_ints){2, {3, 10}};
  rig_ready(&r);
  double eta[] = {0.4, -0.3};
  struct mv_key key = mv_key_make(6, eta, 2);
  int64_t start = rig_offset(&r, "window_start");
  double count[8] = {0}, equal = 0;
  const int groups = 4000, n = groups * r.kernel->lanes;
  for (int g = 0; g < groups; g++) {
    rig_sample(&r, key, eta, (int64_t)g * r.kernel->lanes, NULL);
    for (int l = 0; l < r.kernel->lanes; l++) {
      count[(int)rig_value(&r, start, l)]++;
      assert_true(rig_value(&r, start + 1, l) == 0); /* T = N */
      equal += rig_value(&r, start, l) == rig_value(&r, start + 2, l);
    }
  }
  double chi = 0;
  for (int s = 0; s < 8; s++)
    chi += pow(count[s] - n / 8.0, 2) / (n / 8.0);
  assert_true(chi < 7 + 4.5 * sqrt(14));
  assert_true(fabs(equal / n - 1 / 8.0) < 4.5 * sqrt(1 / 8.0 * 7 / 8.0 / n)); /* members have their own starts */
  rig_choose(&r, "noise_shared", (const char *const[]){"window", NULL});
  for (int g = 0; g < 20; g++) { /* unless they share them */
    rig_sample(&r, key, eta, (int64_t)g * r.kernel->lanes, NULL);
    for (int l = 0; l < r.kernel->lanes; l++)
      assert_true(rig_value(&r, start, l) == rig_value(&r, start + 2, l));
  }
  *(int *)rig_setting(&r, "window") = rig_word(&r, "window", "first");
  rig_sample(&r, key, eta, 0, NULL);
  for (int l = 0; l < r.kernel->lanes; l++)
    assert_true(rig_value(&r, start, l) == 0);
  rig_free(&r);
}

static void check_golden(const char *task, const char *estimator, enum mv_recipe recipe)
{
  const char *expected = mv_selfcheck_golden(task, estimator, recipe);
  if (!expected || !mv_selfcheck_holds(task))
    return; /* a new pair: scalar_is_lanes still holds it to one set of bits */
  char got[33];
  mv_selfcheck_digest(kernel_of(task), task, estimator, recipe, got);
  if (strcmp(got, expected))
    fail_msg("%s/%s, %s: digest %s, recorded %s", task, estimator, mv_recipe_names[recipe], got, expected);
}

static void golden_digests(void **state)
{
  (void)state;
  for (int recipe = 0; recipe < MV_RECIPES; recipe++)
    assert_non_null(mv_selfcheck_golden("bandit", "backprop", recipe));
  for_all_pairs(check_golden);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(scalar_is_lanes),
                                     cmocka_unit_test(purity),
                                     cmocka_unit_test(jvp_is_shadow),
                                     cmocka_unit_test(vjp_is_transpose),
                                     cmocka_unit_test(vjp_faults_are_named),
                                     cmocka_unit_test(lanes_uncorrelated),
                                     cmocka_unit_test(paired),
                                     cmocka_unit_test(windows_uniform),
                                     cmocka_unit_test(golden_digests)};
  return cmocka_run_group_tests_name("conformance", tests, NULL, NULL);
}
