/* test_backprop.c - every sample of backprop by the book, without a tangent.
 *
 * On tree_bandit eta_0 serves before the step `change` and eta_1 after it. Where both are equal, moving `change` changes
 * no number but says which steps a perturbation reaches: with the complex step on eta_1 and change = s the shadow build
 * yields the derivatives of a window that starts at s, stop-gradient included. From them follow D_n, dl_n and cum_n, so
 * direct, correction and weighted for every T, Hessian mode and discount, lifetime by lifetime; forwards and in reverse.
 */
#include <complex.h>

#include "harness.h"

enum { STEPS = 7, LENGTHS = 3, DISCOUNTS = 3, MODES = 2, LIFETIMES = 3, REPLICATES = 24, CHANGE = 3 };
static const struct mv_ints lengths = {LENGTHS, {2, 5, STEPS}};
static const struct mv_reals discounts = {DISCOUNTS, {0, 0.6, 1}};
static const double eta0[2] = {0.4, 0.4};

struct shadow_walk {
  double complex objective[STEPS], surrogate[STEPS], logp[STEPS];
};

static void watch(void *self, int64_t n, const struct mv_report *report, struct mv_block *blocks)
{
  (void)blocks;
  struct shadow_walk *s = self;
  const double complex *r = (const void *)report;
  s->objective[n] = r[0], s->logp[n] = r[1], s->surrogate[n] = r[2];
}

/* What backprop makes of one lifetime, along one direction. */
struct book {
  double direct, correction[DISCOUNTS], weighted[LENGTHS], objective;
};

#define DOT(x) (cimag(x) / 1e-30)

/* The walk in which steps >= from feel the perturbation. */
static struct shadow_walk perturbed(struct rig *shadow, struct mv_key key, int64_t task, int64_t lifetime, int64_t from,
                                    enum mv_hessian mode)
{
  *(int64_t *)rig_task_setting(shadow, "change") = from;
  double complex eta[2] = {eta0[0], eta0[1] + I * 1e-30};
  struct shadow_walk s;
  struct mv_walk walk = {
      .problem = &shadow->problem, .eta = (const double *)eta, .steps = STEPS, .shadow = mode, .arena = &shadow->arena};
  walk.coords.key = key;
  walk.coords.task[0] = task;
  walk.coords.lifetime[0] = lifetime;
  shadow->arena.used = 0;
  shadow->kernel->walk_run(&walk, watch, &s);
  return s;
}

/* Of the window [start, start + length). */
static struct book read_book(const struct shadow_walk *s, int64_t start, int64_t length, bool random)
{
  struct book b = {0};
  for (int g = 0; g < DISCOUNTS; g++)
    for (int64_t n = start; n < start + length; n++) /* C_n = R_n sum_{m<n} gamma^(n-m) dl_m */
      for (int64_t m = start; m < n; m++)
        b.correction[g] +=
            creal(s->objective[n]) * pow(discounts.value[g], (double)(n - m)) * DOT(s->logp[m]) / (double)length;
  for (int64_t n = start; n < start + length; n++)
    b.direct += DOT(s->surrogate[n]) / (double)length;
  for (int64_t n = 0; n < STEPS; n++)
    b.objective += creal(s->objective[n]) / STEPS;
  for (int t = 0; t < LENGTHS; t++) { /* mean over all windows of T; the whole lifetime's derivatives */
    int64_t T = lengths.value[t], starts = random ? STEPS - T + 1 : 1;
    for (int64_t at = 0; at < starts; at++)
      for (int64_t n = at; n < at + T; n++) {
        double exact = DOT(s->surrogate[n]);
        for (int64_t m = 0; m < n; m++)
          exact += creal(s->objective[n]) * DOT(s->logp[m]);
        b.weighted[t] += exact / (double)(T * starts);
      }
  }
  return b;
}

/* Along eta_0 and eta_1: eta_1 reaches steps >= CHANGE, eta_0 those before it: the difference of two walks. */
static void book_of_window(struct rig *shadow, struct mv_key key, int64_t task, int64_t lifetime, int64_t start,
                           int64_t length, bool random, enum mv_hessian mode, struct book out[2])
{
  struct shadow_walk both = perturbed(shadow, key, task, lifetime, start, mode);
  struct shadow_walk late = perturbed(shadow, key, task, lifetime, start > CHANGE ? start : CHANGE, mode);
  out[0] = read_book(&both, start, length, random);
  out[1] = read_book(&late, start, length, random);
  out[0].direct -= out[1].direct;
  for (int g = 0; g < DISCOUNTS; g++)
    out[0].correction[g] -= out[1].correction[g];
  for (int t = 0; t < LENGTHS; t++)
    out[0].weighted[t] -= out[1].weighted[t];
}

static void close_to(const char *what, double got, double expected)
{
  if (!(fabs(got - expected) <= 1e-12)) /* sums of a few dozen terms of size 1 */
    fail_msg("%s: %.17g, by the book %.17g", what, got, expected);
}

static void check_replicate(struct rig *r, struct rig *shadow, struct mv_key key, int64_t task, bool random, int lane)
{
  int64_t direct = rig_offset(r, "direct"), correction = rig_offset(r, "correction"),
          weighted = rig_offset(r, "weighted"), starts = rig_offset(r, "window_start");
  for (int t = 0; t < LENGTHS; t++)
    for (int mode = 0; mode < MODES; mode++) {
      struct book mean[2] = {0}, whole[2];
      for (int64_t life = 0; life < LIFETIMES; life++) {
        struct book b[2];
        int64_t start = (int64_t)rig_value(r, starts + life * LENGTHS + t, lane);
        assert_true(random || start == 0);
        book_of_window(shadow, key, task, life, start, lengths.value[t], random, mode, b);
        book_of_window(shadow, key, task, life, 0, STEPS, random, MV_PATHWISE, whole);
        for (int j = 0; j < 2; j++) {
          mean[j].direct += b[j].direct / LIFETIMES;
          mean[j].objective += b[j].objective / LIFETIMES;
          mean[j].weighted[t] += whole[j].weighted[t] / LIFETIMES;
          for (int g = 0; g < DISCOUNTS; g++)
            mean[j].correction[g] += b[j].correction[g] / LIFETIMES;
        }
      }
      for (int j = 0; j < 2; j++) {
        close_to("direct", rig_value(r, direct + (t * MODES + mode) * 2 + j, lane), mean[j].direct);
        for (int g = 0; g < DISCOUNTS; g++)
          close_to("correction", rig_value(r, correction + ((t * MODES + mode) * DISCOUNTS + g) * 2 + j, lane),
                   mean[j].correction[g]);
        close_to("weighted", rig_value(r, weighted + t * 2 + j, lane), mean[j].weighted[t]);
      }
      close_to("objective", rig_value(r, rig_offset(r, "objective"), lane), mean[0].objective);
    }
}

static void check_windows(const char *window, const char *mode)
{
  struct rig r, shadow;
  rig_make(&shadow, mv_kernel_find("shadow"), "tree_bandit", "es", STEPS); /* for its task and arena alone */
  rig_ready(&shadow);
  rig_make(&r, mv_kernel_best(), "tree_bandit", "backprop", STEPS);
  *(int64_t *)rig_task_setting(&r, "change") = CHANGE;
  *(struct mv_ints *)rig_setting(&r, "truncation") = lengths;
  *(struct mv_reals *)rig_setting(&r, "meta_discount") = discounts;
  rig_choose(&r, "hessian", mv_hessian_names);
  *(int64_t *)rig_setting(&r, "lifetimes") = LIFETIMES;
  *(int *)rig_setting(&r, "window") = rig_word(&r, "window", window);
  *(int *)rig_setting(&r, "mode") = rig_word(&r, "mode", mode);
  *(int64_t *)rig_setting(&r, "checkpoints") = 2;
  rig_ready(&r);
  struct mv_key key = mv_key_make(8, eta0, 2);
  for (int64_t first = 0; first < REPLICATES; first += r.kernel->lanes) {
    rig_sample(&r, key, eta0, first, NULL);
    for (int l = 0; l < r.kernel->lanes; l++)
      check_replicate(&r, &shadow, key, first + l, !strcmp(window, "random"), l);
  }
  rig_free(&r), rig_free(&shadow);
}

static void random_windows(void **state)
{
  (void)state;
  check_windows("random", "forward");
  check_windows("random", "reverse");
}

static void first_windows(void **state)
{
  (void)state;
  check_windows("first", "forward");
  check_windows("first", "reverse");
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(random_windows), cmocka_unit_test(first_windows)};
  return cmocka_run_group_tests_name("backprop by the book", tests, NULL, NULL);
}
