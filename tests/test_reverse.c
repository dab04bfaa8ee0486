/* test_reverse.c - the walk back gives what the walk forwards gives.
 *
 * backprop and reference in both modes, replicate by replicate: every window, discount and Hessian mode agrees to 1e-10
 * of the sum of absolute terms, which is made here of the tangents of a walk forwards. How many steps are kept changes no
 * bit. A million steps: with 200 kept, three evaluations of each at most, the same bits as with all kept.
 */
#include <stdio.h>

#include "harness.h"

#define TOLERANCE 1e-10

static const struct mv_reals discounts = {4, {0, 0.6, 0.95, 1}};

static void set_mode(struct rig *r, const char *mode, int64_t checkpoints)
{
  *(int *)rig_setting(r, "mode") = rig_word(r, "mode", mode);
  *(int64_t *)rig_setting(r, "checkpoints") = checkpoints;
}

/* Both modes of one estimator; `steps` and three windows. */
static void rigs_make(struct rig r[2], const char *task, const char *estimator, int64_t steps, const char *window)
{
  for (int back = 0; back < 2; back++) {
    rig_make(&r[back], mv_kernel_best(), task, estimator, steps);
    *(struct mv_ints *)rig_setting(&r[back], "truncation") = (struct mv_ints){3, {2, steps / 3, steps}};
    *(int64_t *)rig_setting(&r[back], "lifetimes") = 2;
    *(int *)rig_setting(&r[back], "window") = rig_word(&r[back], "window", window);
    set_mode(&r[back], back ? "reverse" : "forward", 5);
  }
}

/* --- sums of absolute terms -------------------------------------------------------------------------------------- */

/* |R_n|, |D_n| and |dl_n| of one lifetime, along each eta; or |V_n|, |dV_n| in place of the first two. */
struct terms {
  int lanes, expected;
  double objective[100], direct[100][2], logp[100][2];
};

static void watch_terms(void *self, int64_t n, const struct mv_report *report, struct mv_block *blocks)
{
  struct terms *t = self;
  const double *r = (const double *)report, *dot = (const double *)blocks[0].dot;
  t->objective[n] = fabs(r[(t->expected ? 3 : 0) * t->lanes]);
  for (int j = 0; j < 2; j++) {
    t->direct[n][j] = fabs(dot[(4 * j + 2 + t->expected) * t->lanes]);
    t->logp[n][j] = fabs(dot[(4 * j + 1) * t->lanes]);
  }
}

static struct terms terms_make(struct rig *r, struct mv_key key, const double *eta, int64_t first, int64_t life,
                               int64_t start, int64_t length, enum mv_hessian hessian, int lane, bool expected)
{
  struct terms t = {.lanes = r->kernel->lanes, .expected = expected};
  struct mv_block block = {.hessian = hessian, .length = length};
  double *lane_eta = aligned_alloc(MV_ALIGN, sizeof(double) * 2 * MV_LANES_MAX);
  for (int i = 0; i < 2 * t.lanes; i++)
    lane_eta[i] = eta[i / t.lanes];
  struct mv_walk walk = {.problem = &r->problem,
                         .eta = lane_eta,
                         .steps = r->problem.steps,
                         .blocks = &block,
                         .block_count = 1,
                         .arena = &r->arena};
  walk.coords.key = key;
  for (int l = 0; l < MV_LANES_MAX; l++) { /* one replicate in all lanes */
    walk.coords.task[l] = first + lane;
    walk.coords.lifetime[l] = life;
    block.start[l] = start;
  }
  r->arena.used = 0;
  r->kernel->walk_run(&walk, watch_terms, &t);
  free(lane_eta);
  return t;
}

/* Of (1/T) sum (D_n + R_n sum_{m<n} gamma^(n-m) dl_m). */
static double absolute(const struct terms *t, int j, int64_t start, int64_t length, double gamma)
{
  double sum = 0, cum = 0;
  for (int64_t n = start; n < start + length; n++) {
    sum += t->direct[n][j] + t->objective[n] * cum;
    cum = gamma * (cum + t->logp[n][j]);
  }
  return sum / (double)length;
}

static void close_to(const char *what, double got, double expected, double terms)
{
  if (!(fabs(got - expected) <= TOLERANCE * terms))
    fail_msg("%s: reverse %.17g, forward %.17g, absolute terms %g", what, got, expected, terms);
}

/* --- backprop ---------------------------------------------------------------------------------------------------- */

static void check_backprop_lane(struct rig r[2], struct mv_key key, const double *eta, int64_t first, int lane)
{
  const struct mv_ints *lengths = rig_setting(&r[0], "truncation");
  const int64_t direct = rig_offset(&r[0], "direct"), correction = rig_offset(&r[0], "correction"),
                weighted = rig_offset(&r[0], "weighted"), starts = rig_offset(&r[0], "window_start");
  const int discount_count = discounts.count;
  for (int64_t i = rig_offset(&r[0], "objective"); i < rig_total(&r[0]); i++)
    assert_true(rig_value(&r[0], i, lane) == rig_value(&r[1], i, lane));
  struct rig scratch;
  rig_make(&scratch, r[0].kernel, r[0].problem.task->name, "backprop", r[0].problem.steps);
  rig_ready(&scratch);
  scratch.problem.settings = r[0].problem.settings;
  for (int t = 0; t < 3; t++)
    for (int h = 0; h < 2; h++) {
      double scale[2][5] = {{0}}; /* [eta][discount, none] */
      for (int64_t life = 0; life < 2; life++) {
        int64_t start = (int64_t)rig_value(&r[0], starts + life * 3 + t, lane);
        struct terms terms = terms_make(&scratch, key, eta, first, life, start, lengths->value[t], h, lane, false);
        for (int j = 0; j < 2; j++)
          for (int g = 0; g <= discount_count; g++)
            scale[j][g] += absolute(&terms, j, start, lengths->value[t], g < discount_count ? discounts.value[g] : 0);
      }
      for (int j = 0; j < 2; j++) {
        int64_t i = direct + (t * 2 + h) * 2 + j;
        close_to("direct", rig_value(&r[1], i, lane), rig_value(&r[0], i, lane), scale[j][discount_count]);
        for (int g = 0; g < discount_count; g++) {
          i = correction + ((t * 2 + h) * discount_count + g) * 2 + j;
          close_to("correction", rig_value(&r[1], i, lane), rig_value(&r[0], i, lane), scale[j][g]);
        }
        i = weighted + t * 2 + j; /* terms: those of the whole lifetime, which come last */
        if (lengths->value[t] == r[0].problem.steps && h == 0)
          for (int k = 0; k < 3; k++)
            close_to("weighted", rig_value(&r[1], i - (t - k) * 2, lane), rig_value(&r[0], i - (t - k) * 2, lane),
                     (double)r[0].problem.steps / (double)lengths->value[k] * scale[j][discount_count - 1]);
      }
    }
  rig_free(&scratch);
}

static void check_backprop(const char *task, int64_t steps, const char *window, const double *eta)
{
  struct rig r[2];
  rigs_make(r, task, "backprop", steps, window);
  struct mv_key key = mv_key_make(31, eta, 2);
  for (int back = 0; back < 2; back++) {
    *(struct mv_reals *)rig_setting(&r[back], "meta_discount") = discounts;
    rig_choose(&r[back], "hessian", mv_hessian_names);
    rig_ready(&r[back]);
  }
  for (int64_t first = 0; first < 2 * MV_LANES_MAX; first += r[0].kernel->lanes) {
    for (int back = 0; back < 2; back++)
      rig_sample(&r[back], key, eta, first, NULL);
    for (int l = 0; l < r[0].kernel->lanes; l++)
      check_backprop_lane(r, key, eta, first, l);
  }
  rig_free(&r[0]), rig_free(&r[1]);
}

static void backprop_agrees(void **state)
{
  (void)state;
  static const double etas[][2] = {{0.4, -0.3}, {1, 4}, {4, 2.5}};
  for (int e = 0; e < 3; e++)
    for (int first = 0; first < 2; first++) {
      check_backprop("bandit", 30, first ? "first" : "random", etas[e]);
      check_backprop("bandit", 80, first ? "first" : "random", etas[e]);
      check_backprop("tree_bandit", 12, first ? "first" : "random", etas[e]);
    }
}

/* --- reference --------------------------------------------------------------------------------------------------- */

static void check_reference(const char *task, int64_t steps, const char *window, bool expected, double smoothing)
{
  static const double eta[2] = {1.2, 0.7};
  struct rig r[2];
  rigs_make(r, task, "reference", steps, window);
  struct mv_key key = mv_key_make(32, eta, 2);
  for (int back = 0; back < 2; back++) {
    r[back].problem.shape.expected = expected;
    *(double *)rig_setting(&r[back], "smoothing") = smoothing;
    rig_ready(&r[back]);
  }
  const struct mv_ints *lengths = rig_setting(&r[0], "truncation");
  for (int64_t first = 0; first < MV_LANES_MAX; first += r[0].kernel->lanes) {
    for (int back = 0; back < 2; back++)
      rig_sample(&r[back], key, eta, first, NULL);
    double forward[8][MV_LANES_MAX];
    for (int i = 0; i < 8; i++)
      for (int l = 0; l < r[0].kernel->lanes; l++)
        forward[i][l] = rig_value(&r[0], i, l);
    for (int l = 0; l < r[0].kernel->lanes; l++) {
      double scale[2] = {0};
      for (int64_t life = 0; life < 2; life++) {
        struct terms terms = terms_make(&r[0], key, eta, first, life, 0, steps, MV_PATHWISE, l, expected);
        for (int j = 0; j < 2; j++)
          scale[j] += absolute(&terms, j, 0, steps, 1);
      }
      for (int i = 0; i < 8; i++) /* gradient, weighted */
        close_to(i < 2 ? "gradient" : "weighted", rig_value(&r[1], i, l), forward[i][l],
                 scale[i % 2] * (i < 2 ? 1 : (double)steps / (double)lengths->value[i / 2 - 1]));
    }
  }
  rig_free(&r[0]), rig_free(&r[1]);
}

static void reference_agrees(void **state)
{
  (void)state;
  for (int k = 0; k < 8; k++) {
    const char *window = k & 1 ? "first" : "random";
    check_reference("bandit", 40, window, k & 2, k & 4 ? 0.1 : 0);
    check_reference("tree_bandit", 9, window, k & 2, k & 4 ? 0.1 : 0);
  }
}

/* --- few steps kept ---------------------------------------------------------------------------------------------- */

static void checkpoints_change_no_bit(void **state)
{
  (void)state;
  static const double eta[] = {1, 2.5};
  static const int64_t kept[] = {1, 2, 3, 7, 20, 49, 1000};
  struct mv_key key = mv_key_make(33, eta, 2);
  double *expected = NULL;
  for (int k = -1; k < (int)(sizeof kept / sizeof *kept); k++) {
    struct rig r;
    rig_make(&r, mv_kernel_best(), "bandit", "backprop", 50);
    *(struct mv_ints *)rig_setting(&r, "truncation") = (struct mv_ints){2, {7, 20}};
    *(bool *)rig_setting(&r, "weighted") = false; /* windows alone: the walk back ends in mid-lifetime */
    rig_choose(&r, "hessian", mv_hessian_names);
    set_mode(&r, "reverse", k < 0 ? 0 : kept[k]);
    rig_ready(&r);
    const size_t bytes = sizeof(double) * (size_t)(rig_total(&r) * r.kernel->lanes);
    expected = expected ? expected : calloc(5, bytes);
    for (int64_t group = 0; group < 5; group++) {
      rig_sample(&r, key, eta, group * r.kernel->lanes, NULL);
      if (k < 0)
        memcpy((char *)expected + (size_t)group * bytes, r.values, bytes);
      assert_memory_equal((char *)expected + (size_t)group * bytes, r.values, bytes);
    }
    rig_free(&r);
  }
  free(expected);
}

/* In every other lane theta is NaN from step POISONED on: windows that end before stay clean, the others are spoilt, in
 * reverse as forwards, and no neighbour is. */
enum { POISONED = 10 };
static const struct mv_task *healthy;
static int poisoned_lanes;

static void poisoned_step(const struct mv_life *life, int64_t n, const struct mv_noise *noise, enum mv_hessian hessian,
                          const num *theta, num *theta_next, num *tape, struct mv_report *report)
{
  healthy->step(life, n, noise, hessian, theta, theta_next, tape, report);
  for (int l = 0; l < poisoned_lanes && n == POISONED - 1; l += 2)
    ((double *)theta_next)[l] = (double)NAN;
}

static bool finite_vector(const struct rig *r, int64_t i, int lane)
{
  return isfinite(rig_value(r, i, lane)) && isfinite(rig_value(r, i + 1, lane));
}

static void poisoned_neighbours(void **state)
{
  (void)state;
  static const double eta[] = {1, 1};
  enum { STEPS = 20 };
  struct rig r[2];
  struct mv_key key = mv_key_make(34, eta, 2);
  struct mv_task poisoned;
  for (int back = 0; back < 2; back++) {
    rig_make(&r[back], mv_kernel_best(), "bandit", "backprop", STEPS);
    *(struct mv_ints *)rig_setting(&r[back], "truncation") = (struct mv_ints){3, {2, 6, STEPS}};
    *(struct mv_reals *)rig_setting(&r[back], "meta_discount") = discounts;
    set_mode(&r[back], back ? "reverse" : "forward", 4);
    healthy = r[back].problem.task;
    poisoned_lanes = r[back].kernel->lanes;
    poisoned = *healthy;
    poisoned.step = poisoned_step;
    r[back].problem.task = &poisoned;
    rig_ready(&r[back]);
  }
  int spoilt = 0, clean = 0;
  const int64_t starts = rig_offset(&r[0], "window_start"), correction = rig_offset(&r[0], "correction");
  for (int64_t first = 0; first < 160; first += r[0].kernel->lanes) {
    for (int back = 0; back < 2; back++)
      rig_sample(&r[back], key, eta, first, NULL);
    for (int l = 0; l < r[0].kernel->lanes; l++)
      for (int t = 0; t < 3; t++) {
        const struct mv_ints *lengths = rig_setting(&r[0], "truncation");
        bool fine = l % 2 || rig_value(&r[0], starts + t, l) + (double)lengths->value[t] <= POISONED;
        for (int back = 0; back < 2; back++) {
          assert_int_equal(finite_vector(&r[back], 2 * t, l), fine);
          for (int g = 0; fine && g < discounts.count; g++)
            assert_true(finite_vector(&r[back], correction + (t * discounts.count + g) * 2, l));
          assert_int_equal(finite_vector(&r[back], rig_offset(&r[0], "weighted") + 2 * t, l), l % 2);
        }
        clean += fine && l % 2 == 0, spoilt += !fine;
      }
  }
  assert_true(clean > 10 && spoilt > 10);
  rig_free(&r[0]), rig_free(&r[1]);
}

/* --- a million steps --------------------------------------------------------------------------------------------- */

enum { MILLION = 1000000, KEPT = 200 };
static const struct mv_task *counted; /* the task whose steps are counted */
static uint8_t *evaluations;          /* of each step */
static const num *tapes[KEPT + 10];   /* different ones that steps were given */
static int tape_count;

static void counting_step(const struct mv_life *life, int64_t n, const struct mv_noise *noise, enum mv_hessian hessian,
                          const num *theta, num *theta_next, num *tape, struct mv_report *report)
{
  int i = 0;
  while (i < tape_count && tapes[i] != tape)
    i++;
  if (i == tape_count && tape_count < KEPT + 10)
    tapes[tape_count++] = tape;
  evaluations[n]++;
  counted->step(life, n, noise, hessian, theta, theta_next, tape, report);
}

static void million_make(struct rig *r, struct mv_task *task, const char *mode, int64_t checkpoints)
{
  rig_make(r, mv_kernel_find("scalar"), "bandit", "backprop", MILLION);
  *(int64_t *)rig_task_setting(r, "arms") = 2;
  *(int64_t *)rig_task_setting(r, "batch") = 1;
  r->problem.shape = r->problem.task->shape(r->problem.settings);
  *(bool *)rig_setting(r, "weighted") = false;
  *(int64_t *)rig_setting(r, "memory") = INT64_C(4000000000);
  set_mode(r, mode, checkpoints);
  if (checkpoints) {
    counted = r->problem.task;
    *task = *counted;
    task->step = counting_step;
    r->problem.task = task;
  }
  rig_ready(r);
}

static void a_million_steps(void **state)
{
  (void)state;
  static const double eta[] = {-12, -13}; /* rates of 1e-6: the lifetime is all learning */
  struct mv_key key = mv_key_make(35, eta, 2);
  struct rig few, all, forward;
  struct mv_task task;
  evaluations = calloc(MILLION, 1);
  million_make(&few, &task, "reverse", KEPT);
  million_make(&all, NULL, "reverse", 0);
  million_make(&forward, NULL, "forward", 0);
  rig_sample(&few, key, eta, 5, NULL);
  rig_sample(&all, key, eta, 5, NULL);
  rig_sample(&forward, key, eta, 5, NULL);
  int64_t total = 0;
  for (int64_t n = 0; n < MILLION; n++) {
    assert_in_range(evaluations[n], 1, 3);
    total += evaluations[n];
  }
  print_message("%d steps kept: %.4f evaluations of a step, %.1f KiB; all kept: %.1f MiB\n", KEPT,
                (double)total / MILLION, (double)few.arena.size / 1024, (double)all.arena.size / 1048576);
  assert_true(tape_count <= KEPT + 2); /* that of the step at work, and of steps that are not kept */
  assert_true(few.arena.size < 64 * 1024 && all.arena.size > 100 * few.arena.size);
  assert_memory_equal(few.values, all.values, sizeof(double) * (size_t)rig_total(&few));
  for (int64_t i = 0; i < 4; i++) {
    print_message("%s %.17g, forward %.17g\n", i < 2 ? "direct" : "correction", few.values[i], forward.values[i]);
    assert_true(fabs(few.values[i] - forward.values[i]) <= TOLERANCE * fabs(forward.values[i]));
  }
  free(evaluations);
  rig_free(&few), rig_free(&all), rig_free(&forward);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(backprop_agrees), cmocka_unit_test(reference_agrees),
                                     cmocka_unit_test(checkpoints_change_no_bit), cmocka_unit_test(poisoned_neighbours),
                                     cmocka_unit_test(a_million_steps)};
  return cmocka_run_group_tests_name("reverse mode", tests, NULL, NULL);
}
