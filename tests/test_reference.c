/* test_reference.c - every sample of the reference by the book, without a tangent: V_n, dV_n and dl_n of each lifetime by
 * the complex step of the shadow build, and the estimate put together from them as its definition reads.
 */
#include <complex.h>

#include "harness.h"

enum { STEPS = 6, LENGTHS = 2, MANY = 4, REPLICATES = 16 };
static const struct mv_ints lengths = {LENGTHS, {2, 4}};
static const double eta0[2] = {0.4, -0.3};

/* One lifetime: what stands for the reward, and derivatives along both directions. */
struct life {
  double value[STEPS], direct[2][STEPS], score[2][STEPS];
};

struct watcher {
  struct life *life;
  int direction;
  bool expected;
};

static void watch(void *self, int64_t n, const struct mv_report *report, struct mv_block *blocks)
{
  (void)blocks;
  struct watcher *w = self;
  const double complex *r = (const void *)report; /* objective, logp, surrogate, expected */
  w->life->value[n] = creal(w->expected ? r[3] : r[0]);
  w->life->direct[w->direction][n] = cimag(w->expected ? r[3] : r[2]) / 1e-30;
  w->life->score[w->direction][n] = cimag(r[1]) / 1e-30;
}

static struct life read_life(struct rig *shadow, struct mv_key key, int64_t task, int64_t lifetime)
{
  struct life life;
  for (int j = 0; j < 2; j++) {
    double complex eta[2] = {eta0[0] + (j == 0) * I * 1e-30, eta0[1] + (j == 1) * I * 1e-30};
    struct watcher w = {&life, j, shadow->problem.shape.expected};
    struct mv_walk walk = {
        .problem = &shadow->problem, .eta = (const double *)eta, .steps = STEPS, .arena = &shadow->arena};
    walk.coords.key = key;
    walk.coords.task[0] = task;
    walk.coords.lifetime[0] = lifetime;
    shadow->arena.used = 0;
    shadow->kernel->walk_run(&walk, watch, &w);
  }
  return life;
}

/* sum_{n>m} w_n V_n */
static double future(const struct life *life, const double *weight, int m)
{
  double sum = 0;
  for (int n = m + 1; n < STEPS; n++)
    sum += weight[n] * life->value[n];
  return sum;
}

/* What is known of a lifetime's reward before step m. */
static double known(const struct life *life, bool expected, int m)
{
  return expected ? life->value[m] : m ? life->value[m - 1] : 0;
}

/* The mean over all lifetimes of the objective with these weights. */
static double by_the_book(const struct life *life, int lifetimes, const double *weight, bool expected, int j)
{
  double sum = 0;
  for (int i = 0; i < lifetimes; i++)
    for (int m = 0; m < STEPS; m++) {
      double rest = 0, others = 0, other_known = 0;
      for (int n = m + 1; n < STEPS; n++)
        rest += weight[n];
      for (int k = 0; k < lifetimes; k++)
        if (k != i) {
          others += future(&life[k], weight, m) / (lifetimes - 1);
          other_known += known(&life[k], expected, m) / (lifetimes - 1);
        }
      double own = known(&life[i], expected, m);
      double baseline = lifetimes == 1 ? rest * own : others + 0.5 * rest * (own - other_known);
      sum += weight[m] * life[i].direct[j][m] + (future(&life[i], weight, m) - baseline) * life[i].score[j][m];
    }
  return sum / lifetimes;
}

static void close_to(const char *what, double got, double expected)
{
  if (!(fabs(got - expected) <= 1e-12)) /* sums of a few dozen terms of size 1 */
    fail_msg("%s: %.17g, by the book %.17g", what, got, expected);
}

static void check_mode(int64_t lifetimes, bool expected, const char *mode)
{
  struct rig r, shadow;
  rig_make(&shadow, mv_kernel_find("shadow"), "tree_bandit", "es", STEPS); /* for its task and arena alone */
  rig_ready(&shadow);
  rig_make(&r, mv_kernel_best(), "tree_bandit", "reference", STEPS);
  r.problem.shape.expected = shadow.problem.shape.expected = expected;
  *(struct mv_ints *)rig_setting(&r, "truncation") = lengths;
  *(int64_t *)rig_setting(&r, "lifetimes") = lifetimes;
  *(int *)rig_setting(&r, "mode") = rig_word(&r, "mode", mode);
  rig_ready(&r);
  struct mv_key key = mv_key_make(8, eta0, 2);
  double weight[1 + LENGTHS][STEPS] = {{0}}; /* of the objective, then of random windows */
  for (int n = 0; n < STEPS; n++)
    weight[0][n] = 1.0 / STEPS;
  for (int t = 0; t < LENGTHS; t++)
    for (int64_t T = lengths.value[t], start = 0; start <= STEPS - T; start++)
      for (int64_t n = start; n < start + T; n++)
        weight[1 + t][n] += 1.0 / (double)(T * (STEPS - T + 1));
  for (int64_t first = 0; first < REPLICATES; first += r.kernel->lanes) {
    rig_sample(&r, key, eta0, first, NULL);
    for (int l = 0; l < r.kernel->lanes; l++) {
      struct life life[MANY];
      for (int64_t i = 0; i < lifetimes; i++)
        life[i] = read_life(&shadow, key, first + l, i);
      for (int t = 0; t <= LENGTHS; t++)
        for (int j = 0; j < 2; j++)
          close_to(t ? "weighted" : "gradient", rig_value(&r, t * 2 + j, l),
                   by_the_book(life, (int)lifetimes, weight[t], expected, j));
    }
  }
  rig_free(&r), rig_free(&shadow);
}

static void check(int64_t lifetimes, bool expected)
{
  check_mode(lifetimes, expected, "forward");
  check_mode(lifetimes, expected, "reverse");
}

static void one_lifetime(void **state)
{
  (void)state;
  check(1, true);
  check(1, false);
}

static void leave_one_out(void **state)
{
  (void)state;
  check(2, true);
  check(MANY, true);
  check(MANY, false);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(one_lifetime), cmocka_unit_test(leave_one_out)};
  return cmocka_run_group_tests_name("reference by the book", tests, NULL, NULL);
}
