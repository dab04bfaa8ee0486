/* test_tree.c - every estimator against the exact answer.
 *
 * tree_bandit is enumerated through production code (tree.h): exact mean and covariance of every estimator. The oracle
 * of the true gradients is the complex-step derivative of the enumerated objective in the shadow build, no tangent code
 * involved. Then the same estimators with random streams: means and variances within 4 standard errors.
 */
#include <complex.h>
#include <stdio.h>

#include "tree.h"

static const double eta0[2] = {0.4, -0.3};
enum { LENGTHS = 3, DISCOUNTS = 3, MODES = 2 };
static const struct mv_ints lengths = {LENGTHS, {2, 3, 4}};
static const struct mv_reals discounts = {DISCOUNTS, {0, 0.5, 1}};
#define FULL 2 /* index of T = N */
#define ONE  2 /* index of gamma = 1 */

/* --- the oracle: complex step through the shadow build --------------------------------------------------------- */

struct shadow_sums {
  double complex objective[TREE_STEPS], surrogate[TREE_STEPS], logp[TREE_STEPS];
};

static void watch_shadow(void *self, int64_t n, const struct mv_report *report, struct mv_block *blocks)
{
  (void)blocks;
  struct shadow_sums *s = self;
  const double complex *r = (const void *)report;
  s->objective[n] = r[0], s->logp[n] = r[1], s->surrogate[n] = r[2];
}

struct oracle {
  double total;                /* probability */
  double gradient[2];          /* of J */
  double weighted[LENGTHS][2]; /* of the window-weighted objectives */
  double objective;
  double direct[MODES][2], correction[MODES][2]; /* means of the T = N estimator's components, gamma = 1 */
};

static struct oracle oracle;

static void oracle_make(void)
{
  const struct mv_kernel *shadow = mv_kernel_find("shadow");
  void *settings;
  struct mv_problem p = problem_make(shadow, "tree_bandit", TREE_STEPS, &settings);
  struct mv_arena arena;
  mv_arena_create(&arena, shadow->walk_bytes(&p, 0));
  struct tree tree;
  tree_make(&tree);
  struct mv_forced forced = {tree_fill, &tree};
  const double h = 1e-30;
  for (int j = 0; j < 2; j++)
    for (int mode = 0; mode < MODES; mode++) {
      double complex eta[2] = {eta0[0] + (j == 0) * I * h, eta0[1] + (j == 1) * I * h};
      for (int64_t history = 0; history < TREE_ALL; history++) {
        struct shadow_sums s;
        struct mv_walk walk = {.problem = &p,
                               .forced = &forced,
                               .eta = (const double *)eta,
                               .steps = TREE_STEPS,
                               .arena = &arena,
                               .shadow = mode};
        walk.coords.task[0] = history;
        shadow->walk_run(&walk, watch_shadow, &s);
        double prior = tree_prior(&tree, history);
        double complex ell = 0;
        for (int n = 0; n < TREE_STEPS; n++)
          ell += s.logp[n];
        double complex weight = prior * cexp(ell);
        double cum = 0;
        for (int n = 0; n < TREE_STEPS; n++) {
          oracle.direct[mode][j] += creal(weight) * cimag(s.surrogate[n]) / h / TREE_STEPS;
          oracle.correction[mode][j] += creal(weight) * creal(s.objective[n]) * cum / TREE_STEPS;
          cum += cimag(s.logp[n]) / h;
          if (mode == MV_DICE)
            continue;
          oracle.gradient[j] += cimag(weight * s.objective[n]) / h / TREE_STEPS;
          for (int t = 0; t < LENGTHS; t++) {
            int64_t T = lengths.value[t], starts = TREE_STEPS - T + 1, covering = 0;
            for (int64_t start = 0; start < starts; start++)
              covering += n >= start && n < start + T;
            oracle.weighted[t][j] += (double)covering / (double)(starts * T) * cimag(weight * s.objective[n]) / h;
          }
          if (j == 0)
            oracle.objective += creal(weight) * creal(s.objective[n]) / TREE_STEPS;
        }
        if (j == 0 && mode == 0)
          oracle.total += creal(weight);
      }
    }
  mv_arena_free(&arena);
  free(settings);
}

/* --- enumeration of an estimator -------------------------------------------------------------------------------- */

struct moments {
  int64_t size;
  double *mean, *second; /* E x, E x^2 */
  double plain[2];       /* E g^2 of T = N, lambda = 1, if the estimator is backprop */
};

static double variance(const struct moments *m, int64_t i) { return m->second[i] - m->mean[i] * m->mean[i]; }

struct weigh {
  double ell[MV_LANES_MAX];
  int lanes;
};

static void watch_logp(void *self, int64_t n, const struct mv_report *r, struct mv_block *blocks)
{
  (void)n, (void)blocks;
  struct weigh *w = self;
  for (int l = 0; l < w->lanes; l++)
    w->ell[l] += ((const double *)r)[w->lanes + l];
}

/* plain: places of direct and correction of T = N, coordinate 0; or NULL */
static void enumerate(struct rig *r, int passes, const int64_t *plain, struct moments *m)
{
  struct tree tree;
  tree_make(&tree);
  struct mv_forced forced = {tree_fill, &tree};
  const int lanes = r->kernel->lanes;
  m->size = rig_total(r);
  m->mean = calloc((size_t)m->size, sizeof(double));
  m->second = calloc((size_t)m->size, sizeof(double));
  double *eta = aligned_alloc(MV_ALIGN, sizeof(double) * 2 * MV_LANES_MAX);
  for (int i = 0; i < 2 * lanes; i++)
    eta[i] = eta0[i / lanes];
  struct mv_arena arena;
  mv_arena_create(&arena, r->kernel->walk_bytes(&r->problem, 0));
  for (int64_t first = 0; first < TREE_ALL; first += lanes) {
    struct weigh w = {.lanes = lanes};
    struct mv_walk walk = {.problem = &r->problem, .forced = &forced, .eta = eta, .steps = TREE_STEPS, .arena = &arena};
    for (int l = 0; l < lanes; l++)
      walk.coords.task[l] = first + l < TREE_ALL ? first + l : 0;
    r->kernel->walk_run(&walk, watch_logp, &w);
    for (tree.pass = 0; tree.pass < passes; tree.pass++) {
      rig_sample(r, (struct mv_key){{0, 0}}, eta0, first, &forced);
      for (int l = 0; l < lanes && first + l < TREE_ALL; l++) {
        double weight = tree_prior(&tree, first + l) * exp(w.ell[l]) / passes;
        for (int64_t i = 0; i < m->size; i++) {
          double x = rig_value(r, i, l);
          m->mean[i] += weight * x;
          m->second[i] += weight * x * x;
        }
        for (int j = 0; plain && j < 2; j++)
          m->plain[j] += weight * pow(rig_value(r, plain[0] + j, l) + rig_value(r, plain[1] + j, l), 2);
      }
    }
  }
  mv_arena_free(&arena);
  free(eta);
}

static struct rig backprop, reference;
static struct moments exact_backprop, exact_reference;

static int64_t direct_at(int t, int h, int j) { return rig_offset(&backprop, "direct") + (t * MODES + h) * 2 + j; }
static int64_t correction_at(int t, int h, int g, int j)
{
  return rig_offset(&backprop, "correction") + ((t * MODES + h) * DISCOUNTS + g) * 2 + j;
}
static int64_t weighted_at(int t, int j) { return rig_offset(&backprop, "weighted") + t * 2 + j; }

static int set_up(void **state)
{
  (void)state;
  oracle_make();
  rig_make(&backprop, mv_kernel_best(), "tree_bandit", "backprop", TREE_STEPS);
  *(struct mv_ints *)rig_setting(&backprop, "truncation") = lengths;
  *(struct mv_reals *)rig_setting(&backprop, "meta_discount") = discounts;
  *(struct mv_choices *)rig_setting(&backprop, "hessian") = (struct mv_choices){2, {MV_PATHWISE, MV_DICE}};
  rig_ready(&backprop);
  int64_t plain[] = {direct_at(FULL, MV_PATHWISE, 0), correction_at(FULL, MV_PATHWISE, ONE, 0)};
  enumerate(&backprop, TREE_PASSES, plain, &exact_backprop);
  rig_make(&reference, mv_kernel_best(), "tree_bandit", "reference", TREE_STEPS);
  *(struct mv_ints *)rig_setting(&reference, "truncation") = lengths;
  rig_ready(&reference);
  enumerate(&reference, 1, NULL, &exact_reference);
  return 0;
}

/* Sums of 4.7 million terms of size 1: rounding of about 1e-13. */
#define ROUNDING 1e-12

static void near(const char *what, double got, double expected, double tolerance)
{
  if (!(fabs(got - expected) <= tolerance))
    fail_msg("%s: %.17g, expected %.17g within %g", what, got, expected, tolerance);
}

static void probabilities(void **state)
{
  (void)state;
  near("total probability", oracle.total, 1, ROUNDING);
  int64_t objective = rig_offset(&backprop, "objective");
  near("E objective", exact_backprop.mean[objective], oracle.objective, ROUNDING);
}

/* T = N, lambda = 1, gamma = 1 is unbiased to rounding; the naive bias is (1 - lambda) times that at lambda 0. */
static void unbiased_and_linear(void **state)
{
  (void)state;
  for (int j = 0; j < 2; j++) {
    double direct = exact_backprop.mean[direct_at(FULL, MV_PATHWISE, j)],
           correction = exact_backprop.mean[correction_at(FULL, MV_PATHWISE, ONE, j)];
    print_message("gradient[%d] = %.12f; bias: naive %.3e, lambda = 1 %.1e\n", j, oracle.gradient[j],
                  direct - oracle.gradient[j], direct + correction - oracle.gradient[j]);
    near("lambda = 1", direct + correction, oracle.gradient[j], ROUNDING);
    assert_true(j == 1 || fabs(direct - oracle.gradient[j]) >
                              1e-3); /* there is a bias to lose; eta_1 acts once, without a later score */
    for (double lambda = 0; lambda < 1.01; lambda += 0.2)
      near("bias is linear in lambda", direct + lambda * correction - oracle.gradient[j],
           (1 - lambda) * (direct - oracle.gradient[j]), ROUNDING);
  }
}

static void reference_unbiased(void **state)
{
  (void)state;
  double exact = 0, plain = 0;
  for (int j = 0; j < 2; j++) {
    near("reference", exact_reference.mean[j], oracle.gradient[j], ROUNDING);
    exact += variance(&exact_reference, j);
    plain += exact_backprop.plain[j] - oracle.gradient[j] * oracle.gradient[j];
    for (int t = 0; t < LENGTHS; t++) {
      near("reference, weighted", exact_reference.mean[rig_offset(&reference, "weighted") + t * 2 + j],
           oracle.weighted[t][j], ROUNDING);
      near("backprop, weighted", exact_backprop.mean[weighted_at(t, j)], oracle.weighted[t][j], ROUNDING);
    }
  }
  print_message("variance: plain lambda = 1 %.4f, reference %.4f\n", plain, exact);
  assert_true(exact < 0.7 * plain);
}

/* DiCE's means against the shadow's own magic box; biased at lambda = 0, double-counting at lambda = 1. */
static void dice_bias(void **state)
{
  (void)state;
  for (int mode = 0; mode < MODES; mode++)
    for (int j = 0; j < 2; j++) {
      near("direct", exact_backprop.mean[direct_at(FULL, mode, j)], oracle.direct[mode][j], ROUNDING);
      near("correction", exact_backprop.mean[correction_at(FULL, mode, ONE, j)], oracle.correction[mode][j], ROUNDING);
    }
  for (int j = 0; j < 2; j++) {
    double alone = oracle.direct[MV_DICE][j] - oracle.gradient[j], both = alone + oracle.correction[MV_DICE][j];
    print_message("dice bias[%d]: alone %.6f, with correction %.6f\n", j, alone, both);
    assert_true(j == 1 || (fabs(alone) > 1e-4 && fabs(both) > 10 * fabs(alone)));
  }
}

/* The credit that truncation loses: T < N is biased even against its own window-weighted objective. */
static void truncation_bias(void **state)
{
  (void)state;
  for (int j = 0; j < 2; j++) {
    double g =
        exact_backprop.mean[direct_at(0, MV_PATHWISE, j)] + exact_backprop.mean[correction_at(0, MV_PATHWISE, ONE, j)];
    print_message("T = 2, lambda = 1: credit bias[%d] %.6f, coverage bias %.6f\n", j, g - oracle.weighted[0][j],
                  oracle.weighted[0][j] - oracle.gradient[j]);
    assert_true(j == 1 || fabs(g - oracle.weighted[0][j]) > 1e-2);
  }
}

/* --- sampled against enumerated ---------------------------------------------------------------------------------- */

#define SAMPLES 60000

/* Mean and variance of each value over SAMPLES replicates, with their standard errors. */
struct sampled {
  double *mean, *mean_se, *variance, *variance_se;
};

static struct sampled sample_all(struct rig *r)
{
  int64_t size = rig_total(r), n = SAMPLES / r->kernel->lanes * r->kernel->lanes;
  double *x = malloc(sizeof(double) * (size_t)(n * size));
  struct mv_key key = mv_key_make(2024, eta0, 2);
  for (int64_t first = 0; first < n; first += r->kernel->lanes) {
    rig_sample(r, key, eta0, first, NULL);
    for (int64_t i = 0; i < size; i++)
      for (int l = 0; l < r->kernel->lanes; l++)
        x[i * n + first + l] = rig_value(r, i, l);
  }
  struct sampled s = {calloc((size_t)size, 8), calloc((size_t)size, 8), calloc((size_t)size, 8),
                      calloc((size_t)size, 8)};
  for (int64_t i = 0; i < size; i++) {
    double sum = 0, m2 = 0, m4 = 0;
    for (int64_t k = 0; k < n; k++)
      sum += x[i * n + k];
    s.mean[i] = sum / (double)n;
    for (int64_t k = 0; k < n; k++) {
      double d = x[i * n + k] - s.mean[i];
      m2 += d * d, m4 += d * d * d * d;
    }
    s.variance[i] = m2 / (double)(n - 1);
    s.mean_se[i] = sqrt(s.variance[i] / (double)n);
    s.variance_se[i] = sqrt((m4 / (double)n - s.variance[i] * s.variance[i]) / (double)n);
  }
  free(x);
  return s;
}

static void sampled_free(struct sampled *s)
{
  free(s->mean), free(s->mean_se), free(s->variance), free(s->variance_se);
}

static void compare(const char *what, int64_t i, double got, double expected, double se)
{
  if (!(fabs(got - expected) <= 4 * se + ROUNDING))
    fail_msg("%s of value %d: sampled %.6g, exact %.6g, %.2f standard errors apart", what, (int)i, got, expected,
             (got - expected) / se);
}

static void sampled_is_exact(struct rig *r, const struct moments *exact)
{
  struct sampled s = sample_all(r);
  for (int64_t i = 0; i < exact->size; i++) {
    compare("mean", i, s.mean[i], exact->mean[i], s.mean_se[i]);
    compare("variance", i, s.variance[i], variance(exact, i), s.variance_se[i]);
  }
  sampled_free(&s);
}

static void sampled_backprop(void **state)
{
  (void)state;
  sampled_is_exact(&backprop, &exact_backprop);
}

static void sampled_reference(void **state)
{
  (void)state;
  sampled_is_exact(&reference, &exact_reference);
}

/* --- perturbation estimators -------------------------------------------------------------------------------------- */

/* E F_T and E F_T^2 of each instance at eta, F_T the mean of R_n over a random window. */
struct level {
  double first[2][LENGTHS], second[2][LENGTHS];
};

struct rewards {
  double reward[TREE_STEPS][MV_LANES_MAX], ell[MV_LANES_MAX];
  int lanes;
};

static void watch_rewards(void *self, int64_t n, const struct mv_report *r, struct mv_block *blocks)
{
  (void)blocks;
  struct rewards *w = self;
  for (int l = 0; l < w->lanes; l++) {
    w->reward[n][l] = ((const double *)r)[l];
    w->ell[l] += ((const double *)r)[w->lanes + l];
  }
}

static struct level level_at(struct rig *r, const double *point)
{
  struct level level = {0};
  struct tree tree;
  tree_make(&tree);
  struct mv_forced forced = {tree_fill, &tree};
  const int lanes = r->kernel->lanes;
  double *eta = aligned_alloc(MV_ALIGN, sizeof(double) * 2 * MV_LANES_MAX);
  for (int i = 0; i < 2 * lanes; i++)
    eta[i] = point[i / lanes];
  for (int64_t first = 0; first < TREE_ALL; first += lanes) {
    struct rewards w = {.lanes = lanes};
    struct mv_walk walk = {
        .problem = &r->problem, .forced = &forced, .eta = eta, .steps = TREE_STEPS, .arena = &r->arena};
    for (int l = 0; l < lanes; l++)
      walk.coords.task[l] = first + l < TREE_ALL ? first + l : 0;
    r->arena.used = 0;
    r->kernel->walk_run(&walk, watch_rewards, &w);
    for (int l = 0; l < lanes && first + l < TREE_ALL; l++) {
      double weight = 2 * tree_prior(&tree, first + l) * exp(w.ell[l]); /* given the instance */
      int instance = first + l >= TREE_HISTORIES;
      for (int t = 0; t < LENGTHS; t++) {
        int64_t T = lengths.value[t], starts = TREE_STEPS - T + 1;
        for (int64_t s = 0; s < starts; s++) {
          double f = 0;
          for (int64_t n = s; n < s + T; n++)
            f += w.reward[n][l] / (double)T;
          level.first[instance][t] += weight * f / (double)starts;
          level.second[instance][t] += weight * f * f / (double)starts;
        }
      }
    }
  }
  free(eta);
  return level;
}

/* Nodes and weights of the 5-point rule for E g(z), z ~ N(0,1): exact for polynomials up to degree 9. */
static const double node[5] = {-2.8569700138728056, -1.3556261799742659, 0, 1.3556261799742659, 2.8569700138728056};
static const double node_weight[5] = {0.011257411327720689, 0.22207592200561266, 0.53333333333333333,
                                      0.22207592200561266, 0.011257411327720689};

static void es_exact(void **state)
{
  (void)state;
  struct rig r;
  rig_make(&r, mv_kernel_best(), "tree_bandit", "es", TREE_STEPS);
  *(struct mv_ints *)rig_setting(&r, "truncation") = lengths;
  const double sigma = 0.3;
  *(double *)rig_setting(&r, "sigma") = sigma;
  rig_ready(&r);
  struct level level[5][5];
  for (int a = 0; a < 5; a++)
    for (int b = 0; b < 5; b++)
      level[a][b] = level_at(&r, (double[]){eta0[0] + sigma * node[a], eta0[1] + sigma * node[b]});
  double mean[LENGTHS][2] = {{0}}, second[LENGTHS][2] = {{0}};
  for (int a = 0; a < 5; a++)
    for (int b = 0; b < 5; b++)
      for (int instance = 0; instance < 2; instance++)
        for (int t = 0; t < LENGTHS; t++)
          for (int j = 0; j < 2; j++) {
            const struct level *plus = &level[a][b], *minus = &level[4 - a][4 - b];
            double z = (j ? node[b] : node[a]) / (2 * sigma), weight = 0.5 * node_weight[a] * node_weight[b];
            double fp = plus->first[instance][t], fm = minus->first[instance][t];
            mean[t][j] += weight * (fp - fm) * z;
            second[t][j] += weight * (plus->second[instance][t] - 2 * fp * fm + minus->second[instance][t]) * z * z;
          }
  struct sampled s = sample_all(&r);
  for (int t = 0; t < LENGTHS; t++)
    for (int j = 0; j < 2; j++) {
      int64_t i = t * 2 + j;
      compare("es mean", i, s.mean[i], mean[t][j], s.mean_se[i]);
      compare("es variance", i, s.variance[i], second[t][j] - mean[t][j] * mean[t][j], s.variance_se[i]);
    }
  sampled_free(&s);
  rig_free(&r);
}

/* fd with coupled noise: the exact mean is the difference quotient of the enumerated objectives. */
static void fd_exact(void **state)
{
  (void)state;
  for (int sampler = MV_INVERSE_CDF; sampler <= MV_GUMBEL; sampler++) {
    struct rig r;
    rig_make(&r, mv_kernel_best(), "tree_bandit", "fd", TREE_STEPS);
    r.problem.sampler = sampler;
    *(struct mv_ints *)rig_setting(&r, "truncation") = lengths;
    const double eps = 0.5;
    *(double *)rig_setting(&r, "eps") = eps;
    rig_ready(&r);
    struct sampled s = sample_all(&r);
    for (int j = 0; j < 2; j++) {
      struct level plus = level_at(&r, (double[]){eta0[0] + (j == 0) * eps / 2, eta0[1] + (j == 1) * eps / 2});
      struct level minus = level_at(&r, (double[]){eta0[0] - (j == 0) * eps / 2, eta0[1] - (j == 1) * eps / 2});
      for (int t = 0; t < LENGTHS; t++) {
        double exact = 0;
        for (int instance = 0; instance < 2; instance++)
          exact += 0.5 * (plus.first[instance][t] - minus.first[instance][t]) / eps;
        compare("fd mean", t * 2 + j, s.mean[t * 2 + j], exact, s.mean_se[t * 2 + j]);
      }
    }
    sampled_free(&s);
    rig_free(&r);
  }
}

/* Several lifetimes of one instance: the mean stays; the variance is that between instances plus that within them over
 * their number. */
static void lifetimes_average(void **state)
{
  (void)state;
  struct rig r;
  rig_make(&r, mv_kernel_best(), "tree_bandit", "backprop", TREE_STEPS);
  *(struct mv_ints *)rig_setting(&r, "truncation") = lengths;
  *(struct mv_reals *)rig_setting(&r, "meta_discount") = discounts;
  *(struct mv_choices *)rig_setting(&r, "hessian") = (struct mv_choices){2, {MV_PATHWISE, MV_DICE}};
  *(int64_t *)rig_setting(&r, "lifetimes") = 3;
  rig_ready(&r);
  struct sampled s = sample_all(&r);
  for (int64_t i = 0; i < rig_offset(&r, "objective"); i++) {
    compare("mean over 3 lifetimes", i, s.mean[i], exact_backprop.mean[i], s.mean_se[i]);
    double single = variance(&exact_backprop, i);
    if (single > 0) /* more than a third: instances differ; less than all */
      assert_true(s.variance[i] > single / 3 - 4 * s.variance_se[i] && s.variance[i] < single + 4 * s.variance_se[i]);
  }
  sampled_free(&s);
  rig_free(&r);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(probabilities),      cmocka_unit_test(unbiased_and_linear),
                                     cmocka_unit_test(reference_unbiased), cmocka_unit_test(dice_bias),
                                     cmocka_unit_test(truncation_bias),    cmocka_unit_test(sampled_backprop),
                                     cmocka_unit_test(sampled_reference),  cmocka_unit_test(es_exact),
                                     cmocka_unit_test(fd_exact),           cmocka_unit_test(lifetimes_average)};
  return cmocka_run_group_tests_name("tree_bandit against enumeration", tests, set_up, NULL);
}
