/* test_tree.c - the differentiating estimators against the exact answer.
 *
 * tree_bandit is enumerated through production code (tree.h): exact mean and covariance of every estimator, given each
 * task instance; tree_oracle.h says what they have to be at T = N. Then the same estimators with random streams: means,
 * variances and covariances within 4 standard errors.
 */
#include <stdio.h>

#include "sampled.h"
#include "tree_moments.h"
#include "tree_oracle.h"

static struct oracle oracle;
enum { DISCOUNTS = 3 };
static const struct mv_reals discounts = {DISCOUNTS, {0, 0.5, 1}};
#define FULL 2 /* index of T = N */
#define ONE  2 /* index of gamma = 1 */

static struct rig backprop, reference;
static struct moments exact_backprop, exact_reference;

static int64_t direct_at(int t, int h, int j) { return rig_offset(&backprop, "direct") + (t * MODES + h) * 2 + j; }
static int64_t correction_at(int t, int h, int g, int j)
{
  return rig_offset(&backprop, "correction") + ((t * MODES + h) * DISCOUNTS + g) * 2 + j;
}

static void backprop_make(struct rig *r, int64_t lifetimes)
{
  rig_make(r, mv_kernel_best(), "tree_bandit", "backprop", TREE_STEPS);
  *(struct mv_ints *)rig_setting(r, "truncation") = lengths;
  *(struct mv_reals *)rig_setting(r, "meta_discount") = discounts;
  *(struct mv_choices *)rig_setting(r, "hessian") = (struct mv_choices){2, {MV_PATHWISE, MV_DICE}};
  *(int64_t *)rig_setting(r, "lifetimes") = lifetimes;
  rig_ready(r);
}

static void reference_make(struct rig *r, int64_t lifetimes, bool expected)
{
  rig_make(r, mv_kernel_best(), "tree_bandit", "reference", TREE_STEPS);
  r->problem.shape.expected = expected;
  *(struct mv_ints *)rig_setting(r, "truncation") = lengths;
  *(int64_t *)rig_setting(r, "lifetimes") = lifetimes;
  rig_ready(r);
}

static int set_up(void **state)
{
  (void)state;
  oracle = oracle_make();
  backprop_make(&backprop, 1);
  enumerate(&backprop, TREE_PASSES, &exact_backprop);
  reference_make(&reference, 1, true);
  enumerate(&reference, 1, &exact_reference);
  return 0;
}

static int tear_down(void **state)
{
  (void)state;
  moments_free(&exact_backprop), moments_free(&exact_reference);
  rig_free(&backprop), rig_free(&reference);
  return 0;
}

/* --- exact statements -------------------------------------------------------------------------------------------- */

static void probabilities(void **state)
{
  (void)state;
  near("total probability", oracle.total, 1, ROUNDING);
  int64_t objective = rig_offset(&backprop, "objective");
  near("E objective", mean_of(&exact_backprop, objective), oracle.objective, ROUNDING);
}

/* T = N, lambda = 1, gamma = 1 is unbiased to rounding; the naive bias is (1 - lambda) times that at lambda 0. There is
 * one to lose, but not for eta_1: it acts once, without a later score. */
static void unbiased_and_linear(void **state)
{
  (void)state;
  static const double naive[2] = {-2.053e-3, 0}; /* by the oracle */
  for (int j = 0; j < 2; j++) {
    double direct = mean_of(&exact_backprop, direct_at(FULL, MV_PATHWISE, j)),
           correction = mean_of(&exact_backprop, correction_at(FULL, MV_PATHWISE, ONE, j));
    print_message("gradient[%d] = %.12f; bias: naive %.6e, lambda = 1 %.1e\n", j, oracle.gradient[j],
                  direct - oracle.gradient[j], direct + correction - oracle.gradient[j]);
    near("lambda = 1", direct + correction, oracle.gradient[j], ROUNDING);
    near("naive bias", oracle.direct[MV_PATHWISE][j] - oracle.gradient[j], naive[j], 5e-7);
    for (double lambda = 0; lambda < 1.01; lambda += 0.2)
      near("bias is linear in lambda", direct + lambda * correction - oracle.gradient[j],
           (1 - lambda) * (direct - oracle.gradient[j]), ROUNDING);
  }
}

/* Means and variances of an enumerated reference, as spelled out by the oracle. Returns the total variance. */
static double check_reference(const struct rig *r, const struct moments *exact, int spelled)
{
  double total = 0;
  for (int j = 0; j < 2; j++) {
    near("reference", mean_of(exact, j), oracle.gradient[j], ROUNDING);
    near("its variance", variance(exact, j, 1), oracle.second[spelled][j] - pow(oracle.gradient[j], 2), ROUNDING);
    total += variance(exact, j, 1);
    for (int t = 0; t < LENGTHS; t++)
      near("reference, weighted", mean_of(exact, rig_offset(r, "weighted") + t * 2 + j), oracle.weighted[t][j],
           ROUNDING);
  }
  return total;
}

static void reference_unbiased(void **state)
{
  (void)state;
  double plain = 0;
  for (int j = 0; j < 2; j++) {
    int64_t direct = direct_at(FULL, MV_PATHWISE, j), correction = correction_at(FULL, MV_PATHWISE, ONE, j);
    double exact = variance(&exact_backprop, direct, 1) + 2 * covariance(&exact_backprop, correction, 1) +
                   variance(&exact_backprop, correction, 1);
    near("variance of lambda = 1", exact, oracle.second[PLAIN][j] - pow(oracle.gradient[j], 2), ROUNDING);
    plain += exact;
    for (int t = 0; t < LENGTHS; t++)
      near("backprop, weighted", mean_of(&exact_backprop, rig_offset(&backprop, "weighted") + t * 2 + j),
           oracle.weighted[t][j], ROUNDING);
  }
  double quiet = check_reference(&reference, &exact_reference, REFERENCE);
  print_message("variance: plain lambda = 1 %.6f, reference %.6f\n", plain, quiet);
  assert_true(quiet < plain); /* exact numbers */
}

/* A task that does not know the expected reward. */
static void reference_without_expected(void **state)
{
  (void)state;
  struct rig r;
  struct moments exact;
  reference_make(&r, 1, false);
  enumerate(&r, 1, &exact);
  print_message("variance without expected reward: %.6f\n", check_reference(&r, &exact, REFERENCE_SAMPLED));
  moments_free(&exact);
  rig_free(&r);
}

/* DiCE's means against the shadow's own magic box; biased at lambda = 0, double-counting at lambda = 1. */
static void dice_bias(void **state)
{
  (void)state;
  static const double known_alone[2] = {1.61e-4, 0}, known_both[2] = {2.282e-3, 0}; /* by the oracle */
  for (int mode = 0; mode < MODES; mode++)
    for (int j = 0; j < 2; j++) {
      near("direct", mean_of(&exact_backprop, direct_at(FULL, mode, j)), oracle.direct[mode][j], ROUNDING);
      near("correction", mean_of(&exact_backprop, correction_at(FULL, mode, ONE, j)), oracle.correction[mode][j],
           ROUNDING);
    }
  for (int j = 0; j < 2; j++) {
    double alone = oracle.direct[MV_DICE][j] - oracle.gradient[j], both = alone + oracle.correction[MV_DICE][j];
    print_message("dice bias[%d]: alone %.6f, with correction %.6f\n", j, alone, both);
    near("dice bias alone", alone, known_alone[j], 5e-7);
    near("dice bias with correction", both, known_both[j], 5e-7);
  }
}

/* The credit that truncation loses: T < N is biased even against its own window-weighted objective. Known values;
 * test_backprop.c derives each sample. */
static void truncation_bias(void **state)
{
  (void)state;
  static const double known_credit[2] = {-0.041322, 0}, known_coverage[2] = {0.005070, -0.002315};
  for (int j = 0; j < 2; j++) {
    double g = mean_of(&exact_backprop, direct_at(0, MV_PATHWISE, j)) +
               mean_of(&exact_backprop, correction_at(0, MV_PATHWISE, ONE, j));
    double credit = g - oracle.weighted[0][j], coverage = oracle.weighted[0][j] - oracle.gradient[j];
    print_message("T = 2, lambda = 1: credit bias[%d] %.6f, coverage bias %.6f\n", j, credit, coverage);
    near("credit bias", credit, known_credit[j], 5e-7);
    near("coverage bias", coverage, known_coverage[j], 5e-7);
  }
}

/* --- sampled against enumerated ---------------------------------------------------------------------------------- */

/* Means, variances and, of components with their bases, covariances; averages of so many lifetimes. Notes differ. */
static void sampled_is_exact(struct rig *r, const struct moments *exact, int lifetimes)
{
  struct sampled s = sampled_make(r, eta0);
  int64_t size = lifetimes == 1 ? exact->size : rig_offset(r, "objective") + 1;
  for (int64_t i = 0; i < size; i++) {
    compare("mean", i, sampled_mean(&s, i), mean_of(exact, i));
    compare("variance", i, sampled_variance(&s, i), variance(exact, i, lifetimes));
    if (exact->base[i] >= 0)
      compare("covariance with base", i, sampled_covariance(&s, i, exact->base[i]), covariance(exact, i, lifetimes));
  }
  sampled_free(&s);
}

static void sampled_backprop(void **state)
{
  (void)state;
  sampled_is_exact(&backprop, &exact_backprop, 1);
}

static void sampled_reference(void **state)
{
  (void)state;
  sampled_is_exact(&reference, &exact_reference, 1);
}

/* Lifetimes of the reference are baselines of each other: the mean stays; test_reference.c derives each sample. */
static void lean_on_others(struct rig *r)
{
  struct sampled s = sampled_make(r, eta0);
  for (int64_t i = 0; i < rig_offset(r, "objective"); i++)
    compare("mean", i, sampled_mean(&s, i), mean_of(&exact_reference, i));
  sampled_free(&s);
}

/* Several lifetimes of one instance: the mean stays; the variance is that between instances plus that within them over
 * their number. */
static void lifetimes_average(void **state)
{
  (void)state;
  struct rig r;
  backprop_make(&r, 3);
  sampled_is_exact(&r, &exact_backprop, 3);
  rig_free(&r);
  reference_make(&r, 3, true);
  lean_on_others(&r);
  rig_free(&r);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(probabilities),      cmocka_unit_test(unbiased_and_linear),
                                     cmocka_unit_test(reference_unbiased), cmocka_unit_test(reference_without_expected),
                                     cmocka_unit_test(dice_bias),          cmocka_unit_test(truncation_bias),
                                     cmocka_unit_test(sampled_backprop),   cmocka_unit_test(sampled_reference),
                                     cmocka_unit_test(lifetimes_average)};
  return cmocka_run_group_tests_name("tree_bandit against enumeration", tests, set_up, tear_down);
}
