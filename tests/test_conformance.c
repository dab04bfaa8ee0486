/* test_conformance.c - what every task and every estimator has to keep, looped over the registry:
 * purity, lanes independent, scalar == lanes bit for bit, derivatives against the complex shadow, no correlation between lanes. */
#include <complex.h>
#include <stdio.h>

#include "harness.h"

#define STEPS 12

/* An eta point at which nothing is degenerate, the same in every test. */
static void eta_make(const struct mv_problem *p, double *eta)
{
  for (int j = 0; j < p->shape.meta; j++)
    eta[j] = 0.4 + 0.7 * ((j * 5) % 7) / 7.0;
}

static bool pair_valid(const struct mv_task *task, const struct mv_estimator *estimator)
{
  return task->step_jvp || !(estimator->needs & MV_NEEDS_JVP);
}

typedef void pair_check(const char *task, const char *estimator);

static void for_all_pairs(pair_check *check)
{
  const struct mv_kernel *scalar = mv_kernel_find("scalar");
  for (int t = 0; scalar->tasks[t]; t++)
    for (int e = 0; scalar->estimators[e]; e++)
      if (pair_valid(scalar->tasks[t], scalar->estimators[e]))
        check(scalar->tasks[t]->name, scalar->estimators[e]->name);
}

/* Replicates 0 .. 23 in every kernel, in lane groups that start at 0, and at an odd place: the same bits. */
static void check_same_bits(const char *task, const char *estimator)
{
  const struct mv_kernel *kernel[8];
  int n = kernels_real(kernel);
  double *expected = NULL;
  for (int k = 0; k < n; k++) {
    struct rig r;
    rig_make(&r, kernel[k], task, estimator, STEPS);
    rig_ready(&r);
    double eta[r.problem.shape.meta];
    eta_make(&r.problem, eta);
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
              fail_msg("%s/%s: kernel %s, replicate %d, value %d: %a, scalar has %a", task, estimator, kernel[k]->name, (int)first + l, (int)i, got, *slot);
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
static void check_purity(const char *task, const char *estimator)
{
  struct rig r;
  rig_make(&r, mv_kernel_best(), task, estimator, STEPS);
  rig_ready(&r);
  double eta[r.problem.shape.meta];
  eta_make(&r.problem, eta);
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

/* --- derivatives against the complex shadow ------------------------------------------------------------------ */

struct series { /* per step: the report's tangents by column */
  int meta;
  double *dot; /* [step][column][4] */
};

static void record_dot(void *self, int64_t n, const struct mv_report *r, struct mv_block *blocks)
{
  (void)r;
  struct series *s = self;
  for (int j = 0; j < s->meta; j++)
    memcpy(s->dot + (n * s->meta + j) * 4, &blocks[0].dot[j], 4 * sizeof(double));
}

static void record_shadow(void *self, int64_t n, const struct mv_report *r, struct mv_block *blocks)
{
  (void)blocks;
  memcpy((double complex *)self + n * 4, r, 4 * sizeof(double complex));
}

static void check_jvp(const char *task, enum mv_hessian hessian, enum mv_sampler sampler)
{
  const struct mv_kernel *scalar = mv_kernel_find("scalar"), *shadow = mv_kernel_find("shadow");
  const int64_t steps = 40;
  const double h = 1e-30;
  void *settings[2];
  struct mv_problem real = problem_make(scalar, task, steps, &settings[0]), complex_ = problem_make(shadow, task, steps, &settings[1]);
  real.sampler = complex_.sampler = sampler;
  const int meta = real.shape.meta;
  double eta[meta];
  eta_make(&real, eta);
  struct mv_arena arena;
  mv_arena_create(&arena, shadow->walk_bytes(&complex_, 1) + scalar->walk_bytes(&real, 1));
  struct mv_block block = {.hessian = hessian, .length = steps};
  struct series series = {meta, calloc((size_t)(steps * meta * 4), sizeof(double))};
  double complex *imaginary = calloc((size_t)steps * 4, sizeof *imaginary), *point = calloc((size_t)meta, sizeof *point);
  for (int64_t replicate = 0; replicate < 25; replicate++) {
    struct mv_walk walk = {.problem = &real, .eta = eta, .steps = steps, .blocks = &block, .block_count = 1, .arena = &arena};
    walk.coords.key = mv_key_make(3, eta, meta);
    walk.coords.task[0] = replicate;
    scalar->walk_run(&walk, record_dot, &series);
    for (int j = 0; j < meta; j++) {
      for (int i = 0; i < meta; i++)
        point[i] = eta[i] + (i == j ? I * h : 0);
      struct mv_walk other = walk;
      other.problem = &complex_;
      other.eta = (const double *)point;
      other.blocks = NULL;
      other.block_count = 0;
      other.shadow = hessian;
      shadow->walk_run(&other, record_shadow, imaginary);
      for (int part = 0; part < 4; part++) {
        double scale = 1e-3;
        for (int64_t n = 0; n < steps; n++)
          scale = fmax(scale, fabs(cimag(imaginary[n * 4 + part]) / h));
        for (int64_t n = 0; n < steps; n++) {
          double got = series.dot[(n * meta + j) * 4 + part], exact = cimag(imaginary[n * 4 + part]) / h;
          if (!(fabs(got - exact) <= 1e-12 * scale))
            fail_msg("%s %s: replicate %d, step %d, column %d, report %d: jvp %.17g, shadow %.17g", task, mv_hessian_names[hessian],
                     (int)replicate, (int)n, j, part, got, exact);
        }
      }
    }
  }
  mv_arena_free(&arena);
  free(series.dot), free(imaginary), free(point), free(settings[0]), free(settings[1]);
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

/* Lanes are replicates: their objectives must be uncorrelated. With n groups a sample correlation of independent lanes has standard error 1/sqrt(n). */
static void check_correlation(const char *task, const char *estimator)
{
  struct rig r;
  rig_make(&r, mv_kernel_best(), task, estimator, 4);
  rig_ready(&r);
  const int lanes = r.kernel->lanes, groups = 3000;
  double eta[r.problem.shape.meta], sum[MV_LANES_MAX] = {0}, product[MV_LANES_MAX][MV_LANES_MAX] = {{0}};
  eta_make(&r.problem, eta);
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
      double cov = product[a][b] - sum[a] * sum[b] / groups, va = product[a][a] - sum[a] * sum[a] / groups, vb = product[b][b] - sum[b] * sum[b] / groups;
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
  rig_free(&r);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(scalar_is_lanes),    cmocka_unit_test(purity), cmocka_unit_test(jvp_is_shadow),
                                     cmocka_unit_test(lanes_uncorrelated), cmocka_unit_test(paired), cmocka_unit_test(windows_uniform)};
  return cmocka_run_group_tests_name("conformance", tests, NULL, NULL);
}
