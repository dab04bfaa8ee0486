/* test_reverse.c - the walk back gives what the walk forwards gives.
 *
 * backprop and reference in both modes, replicate by replicate: every window, discount and Hessian mode agrees to 1e-10
 * of the sum of absolute terms (terms.h). Each lane has its own windows.
 */
#include "terms.h"

#define TOLERANCE 1e-10

static const struct mv_reals discounts = {4, {0, 0.6, 0.95, 1}};

static void set_mode(struct rig *r, const char *mode, int64_t checkpoints)
{
  *(int *)rig_setting(r, "mode") = rig_word(r, "mode", mode);
  *(int64_t *)rig_setting(r, "checkpoints") = checkpoints;
}

/* The task with theta_0 a function of eta: theta_0[k] = (k + 1) (eta_0 - eta_1 / 2) / 10. */
static int steep_lanes, steep_state;
static const double steep[2] = {0.1, -0.05};

static void steep_init(const struct mv_life *life, const struct mv_noise *noise, num *theta)
{
  (void)noise;
  const double *eta = (const double *)life->eta;
  for (int i = 0; i < steep_state * steep_lanes; i++) {
    const int lane = i % steep_lanes;
    ((double *)theta)[i] = (i / steep_lanes + 1) * (steep[0] * eta[lane] + steep[1] * eta[steep_lanes + lane]);
  }
}

static void steep_init_jvp(const struct mv_life *life, struct mv_columns *columns)
{
  (void)life;
  for (int c = 0; c < 2; c++) {
    columns->zero[c] = false;
    for (int i = 0; i < steep_state * steep_lanes; i++)
      ((double *)columns->theta_dot)[c * steep_state * steep_lanes + i] = (i / steep_lanes + 1) * steep[c];
  }
}

static void steep_init_vjp(const struct mv_life *life, struct mv_adjoints *adjoints)
{
  (void)life;
  const double *theta_bar = (const double *)adjoints->theta_bar;
  for (int c = 0; c < adjoints->count; c++)
    for (int j = 0; j < 2; j++)
      for (int i = 0; i < steep_state * steep_lanes; i++)
        ((double *)adjoints->eta_bar)[(c * 2 + j) * steep_lanes + i % steep_lanes] +=
            (i / steep_lanes + 1) * steep[j] * theta_bar[c * steep_state * steep_lanes + i];
}

static void steepen(struct rig *r, struct mv_task *task)
{
  *task = *r->problem.task;
  task->init = steep_init, task->init_jvp = steep_init_jvp, task->init_vjp = steep_init_vjp;
  steep_lanes = r->kernel->lanes, steep_state = r->problem.shape.state;
  r->problem.task = task;
}

/* Both modes of one estimator; `steps` and three windows. */
static void rigs_make(struct rig r[2], const char *task, const char *estimator, int64_t steps, const char *window)
{
  for (int back = 0; back < 2; back++) {
    rig_make(&r[back], kernel_of(task), task, estimator, steps);
    *(struct mv_ints *)rig_setting(&r[back], "truncation") = (struct mv_ints){3, {2, steps / 3, steps}};
    *(int64_t *)rig_setting(&r[back], "lifetimes") = 2;
    *(int *)rig_setting(&r[back], "window") = rig_word(&r[back], "window", window);
    set_mode(&r[back], back ? "reverse" : "forward", 5);
  }
}

/* --- comparison ---------------------------------------------------------------------------------------------------- */

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
  const int discount_count = discounts.count, meta = r[0].problem.shape.meta;
  const int modes = ((struct mv_choices *)rig_setting(&r[0], "hessian"))->count;
  for (int64_t i = rig_offset(&r[0], "objective"); i < rig_total(&r[0]); i++)
    assert_true(rig_value(&r[0], i, lane) == rig_value(&r[1], i, lane));
  for (int t = 0; t < 3; t++)
    for (int h = 0; h < modes; h++) {
      double scale[TERMS_META][5] = {{0}}; /* [eta][discount, none] */
      for (int64_t life = 0; life < 2; life++) {
        int64_t start = (int64_t)rig_value(&r[0], starts + life * 3 + t, lane);
        const struct terms *terms = terms_of(&r[0], key, eta, first + lane, life, start, lengths->value[t], h, false);
        for (int j = 0; j < meta; j++)
          for (int g = 0; g <= discount_count; g++)
            scale[j][g] += terms_sum(terms, j, start, lengths->value[t], g < discount_count ? discounts.value[g] : 0);
      }
      for (int j = 0; j < meta; j++) {
        int64_t i = direct + (t * modes + h) * meta + j;
        close_to("direct", rig_value(&r[1], i, lane), rig_value(&r[0], i, lane), scale[j][discount_count]);
        for (int g = 0; g < discount_count; g++) {
          i = correction + ((t * modes + h) * discount_count + g) * meta + j;
          close_to("correction", rig_value(&r[1], i, lane), rig_value(&r[0], i, lane), scale[j][g]);
        }
        i = weighted + t * meta + j; /* terms: those of the whole lifetime, which come last */
        if (lengths->value[t] == r[0].problem.steps && h == 0)
          for (int k = 0; k < 3; k++)
            close_to("weighted", rig_value(&r[1], i - (t - k) * meta, lane), rig_value(&r[0], i - (t - k) * meta, lane),
                     (double)r[0].problem.steps / (double)lengths->value[k] * scale[j][discount_count - 1]);
      }
    }
}

/* Rigs that want only the discounts; replicates 0, 1, .. */
static void check_backprop_rigs(struct rig r[2], const double *eta, int64_t replicates)
{
  struct mv_key key = mv_key_make(31, eta, r[0].problem.shape.meta);
  for (int back = 0; back < 2; back++) {
    *(struct mv_reals *)rig_setting(&r[back], "meta_discount") = discounts;
    rig_ready(&r[back]);
  }
  for (int64_t first = 0; first < replicates; first += r[0].kernel->lanes) {
    for (int back = 0; back < 2; back++)
      rig_sample(&r[back], key, eta, first, NULL);
    for (int l = 0; l < r[0].kernel->lanes; l++)
      check_backprop_lane(r, key, eta, first, l);
  }
  rig_free(&r[0]), rig_free(&r[1]);
}

static void check_backprop(const char *task, int64_t steps, const char *window, const double *eta, bool steepened)
{
  struct rig r[2];
  struct mv_task wrapped;
  rigs_make(r, task, "backprop", steps, window);
  for (int back = 0; back < 2; back++) {
    if (r[back].problem.shape.hessians & 1u << MV_DICE)
      rig_choose(&r[back], "hessian", mv_hessian_names);
    if (steepened)
      steepen(&r[back], &wrapped);
  }
  check_backprop_rigs(r, eta, 2 * MV_LANES_MAX);
}

static void backprop_agrees(void **state)
{
  (void)state;
  static const double etas[][2] = {{0.4, -0.3}, {1, 4}, {4, 2.5}};
  for (int e = 0; e < 3; e++)
    for (int first = 0; first < 2; first++) {
      check_backprop("bandit", 30, first ? "first" : "random", etas[e], false);
      check_backprop("bandit", 80, first ? "first" : "random", etas[e], false);
      check_backprop("tree_bandit", 12, first ? "first" : "random", etas[e], false);
    }
}

/* Where no window reaches the end of the lifetime, the objective is still the whole lifetime's. */
static void windows_alone(void **state)
{
  (void)state;
  static const double eta[2] = {1, 2};
  struct rig r[2];
  struct mv_key key = mv_key_make(36, eta, 2);
  rigs_make(r, "bandit", "backprop", 30, "first");
  for (int back = 0; back < 2; back++) {
    *(struct mv_ints *)rig_setting(&r[back], "truncation") = (struct mv_ints){2, {3, 8}};
    *(bool *)rig_setting(&r[back], "weighted") = false;
    rig_ready(&r[back]);
    rig_sample(&r[back], key, eta, 0, NULL);
  }
  for (int64_t i = 0; i < rig_total(&r[0]); i++)
    for (int l = 0; l < r[0].kernel->lanes; l++) {
      double forward = rig_value(&r[0], i, l), got = rig_value(&r[1], i, l);
      assert_true(i < rig_offset(&r[0], "objective") ? fabs(got - forward) <= 1e-12 * (1 + fabs(forward))
                                                     : got == forward);
    }
  rig_free(&r[0]), rig_free(&r[1]);
}

/* Windows that start with the lifetime reach theta_0, in their lanes and no other. */
static void theta_0_counts(void **state)
{
  (void)state;
  static const double eta[2] = {1, 0.5};
  check_backprop("bandit", 30, "first", eta, true);
  check_backprop("bandit", 4, "random", eta, true);
  check_backprop("tree_bandit", 9, "random", eta, true);
}

/* --- reference --------------------------------------------------------------------------------------------------- */

static void check_reference_rigs(struct rig r[2], const double *eta, int64_t replicates, bool expected,
                                 double smoothing)
{
  const int meta = r[0].problem.shape.meta;
  const int64_t steps = r[0].problem.steps;
  struct mv_key key = mv_key_make(32, eta, meta);
  for (int back = 0; back < 2; back++) {
    r[back].problem.shape.expected = expected;
    *(double *)rig_setting(&r[back], "smoothing") = smoothing;
    rig_ready(&r[back]);
  }
  const struct mv_ints *lengths = rig_setting(&r[0], "truncation");
  for (int64_t first = 0; first < replicates; first += r[0].kernel->lanes) {
    for (int back = 0; back < 2; back++)
      rig_sample(&r[back], key, eta, first, NULL);
    for (int l = 0; l < r[0].kernel->lanes; l++) {
      double scale[TERMS_META] = {0};
      for (int64_t life = 0; life < 2; life++) {
        const struct terms *terms = terms_of(&r[0], key, eta, first + l, life, 0, steps, MV_PATHWISE, expected);
        for (int j = 0; j < meta; j++)
          scale[j] += terms_sum(terms, j, 0, steps, 1);
      }
      for (int i = 0; i < 4 * meta; i++) /* gradient, weighted */
        close_to(i < meta ? "gradient" : "weighted", rig_value(&r[1], i, l), rig_value(&r[0], i, l),
                 scale[i % meta] * (i < meta ? 1 : (double)steps / (double)lengths->value[i / meta - 1]));
    }
  }
  rig_free(&r[0]), rig_free(&r[1]);
}

static void check_reference(const char *task, int64_t steps, const char *window, bool expected, double smoothing)
{
  static const double eta[2] = {1.2, 0.7};
  struct rig r[2];
  rigs_make(r, task, "reference", steps, window);
  check_reference_rigs(r, eta, MV_LANES_MAX, expected, smoothing);
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

/* --- networks ---------------------------------------------------------------------------------------------------- */

/* The maze with one hidden layer of 8 units, by its names of settings. eta[M] out. */
static void maze_make(struct rig r[2], const char *estimator, const char *window, int outer_loss, bool context,
                      double *eta)
{
  rigs_make(r, "maze", estimator, 9, window);
  for (int back = 0; back < 2; back++) {
    *(struct mv_ints *)rig_task_setting(&r[back], "hidden") = (struct mv_ints){1, {8}};
    *(int64_t *)rig_task_setting(&r[back], "horizon") = 4;
    *(int *)rig_task_setting(&r[back], "outer_loss") = outer_loss;
    *(int *)rig_task_setting(&r[back], "entropy") = context;
    r[back].problem.shape = r[back].problem.task->shape(r[back].task_settings);
  }
  assert_int_equal(r[0].problem.shape.meta, context ? TERMS_META : 1);
  for (int j = 0; j < r[0].problem.shape.meta; j++)
    eta[j] = 0.3 * sin(5 * j + 1);
}

static void networks_agree(void **state)
{
  (void)state;
  double eta[TERMS_META];
  struct rig r[2];
  for (int outer_loss = 0; outer_loss < 3; outer_loss++)
    for (int context = 0; context < 2; context++) {
      const char *window = outer_loss == 1 ? "first" : "random";
      maze_make(r, "backprop", window, outer_loss, context, eta);
      check_backprop_rigs(r, eta, context ? 2 : 20);
      maze_make(r, "reference", window, outer_loss, context, eta);
      check_reference_rigs(r, eta, context ? 2 : 10, false, context ? 0 : 0.1); /* a unit at 0 near eta has no terms */
    }
}

/* Hundreds of meta-parameters: auto is reverse. */
static void networks_choose(void **state)
{
  (void)state;
  double eta[TERMS_META];
  static const char *const estimators[] = {"backprop", "reference"};
  for (int k = 0; k < 4; k++) {
    struct rig r[2];
    const bool context = k % 2;
    maze_make(r, estimators[k / 2], "random", 0, context, eta);
    for (int i = 0; i < 2; i++) {
      set_mode(&r[i], "auto", 0);
      rig_ready(&r[i]);
      assert_int_equal(*(int *)rig_setting(&r[i], "mode"), rig_word(&r[i], "mode", context ? "reverse" : "forward"));
      rig_free(&r[i]);
    }
  }
}

/* Whichever way the derivative goes: unbiased is what has the exact surrogate, no baseline (outer_loss 0) and no jumps. */
static void networks_aim(void **state)
{
  (void)state;
  double eta[TERMS_META];
  for (int outer_loss = 0; outer_loss < 3; outer_loss++)
    for (int k = 0; k < 4; k++) {
      struct rig r[2];
      const bool reference = k % 2, smooth = k / 2;
      maze_make(r, reference ? "reference" : "backprop", "random", outer_loss, false, eta);
      for (int back = 0; back < 2; back++) {
        const int whole[] = {2, 0, 0}; /* the last truncation length, its first mode, discount 1 */
        *(int *)rig_task_setting(&r[back], "activation") = smooth; /* tanh */
        r[back].problem.shape = r[back].problem.task->shape(r[back].task_settings);
        rig_ready(&r[back]);
        for (int output = !reference; output <= 2 - reference; output++) /* gradient, weighted; correction, weighted */
          assert_int_equal(r[back].estimator->aim(r[back].settings, &r[back].problem, output, whole, 1.0).unbiased,
                           outer_loss == 0 && smooth);
        rig_free(&r[back]);
      }
    }
}

/* --- lanes ------------------------------------------------------------------------------------------------------- */

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

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(backprop_agrees), cmocka_unit_test(windows_alone),
                                     cmocka_unit_test(theta_0_counts),  cmocka_unit_test(reference_agrees),
                                     cmocka_unit_test(networks_agree),  cmocka_unit_test(networks_choose),
                                     cmocka_unit_test(networks_aim),    cmocka_unit_test(poisoned_neighbours)};
  return cmocka_run_group_tests_name("reverse mode", tests, NULL, NULL);
}
