/* test_carried.c - lifetimes that go on from update to update: windows that make one lifetime, gradients with the state before
 * the window held fixed, members that keep their own state, and what a job cannot ask for. */
#include <complex.h>

#include "harness.h"

#include "metavar/memory.h"
#include "metavar/train.h"

#define T       4
#define WINDOWS 3
#define MEMBERS 4

static const char *const tasks[] = {"bandit", "tree_bandit", "maze"};

/* A rig whose task has its phases and flips at the same steps, whatever the length of a window. */
static void make(struct rig *r, const struct mv_kernel *kernel, const char *task, const char *estimator, int64_t steps)
{
  rig_make(r, kernel, task, estimator, steps);
  if (!strcmp(task, "bandit"))
    *(int64_t *)rig_task_setting(r, "cutoff") = steps / 2; /* the first two steps */
  if (!strcmp(task, "tree_bandit"))
    *(int64_t *)rig_task_setting(r, "change") = 6;
  if (!strcmp(task, "maze"))
    *(int64_t *)rig_task_setting(r, "flip_every") = 3 * *(int64_t *)rig_task_setting(r, "horizon");
}

static double *state_make(const struct rig *r, int64_t lifetimes)
{
  size_t bytes = sizeof(double) * (size_t)(lifetimes * r->problem.shape.state * r->kernel->lanes);
  return memset(aligned_alloc(MV_ALIGN, mv_arena_cost(bytes)), 0, bytes);
}

static const struct mv_key key = {{11, 12}};

/* A window of the lane group that starts with replicate 5. */
static void sample_window(struct rig *r, const double *eta, int64_t first, double *state)
{
  struct mv_request q = {.problem = &r->problem,
                         .settings = r->settings,
                         .eta = eta,
                         .key = key,
                         .count = r->kernel->lanes,
                         .update = first / r->problem.steps,
                         .first = first,
                         .state = (void *)state,
                         .arena = &r->arena,
                         .values = (void *)r->values};
  for (int l = 0; l < MV_LANES_MAX; l++)
    q.task[l] = 5 + l;
  r->arena.used = 0;
  r->estimator->sample(&q);
}

static void set_backprop(struct rig *r, const char *mode, int64_t lifetimes)
{
  *(int64_t *)rig_setting(r, "lifetimes") = lifetimes;
  *(bool *)rig_setting(r, "weighted") = false;
  *(int *)rig_setting(r, "mode") = rig_word(r, "mode", mode);
  *(int64_t *)rig_setting(r, "checkpoints") = 2;
  rig_ready(r);
}

static void windows_make_one_lifetime(void **state)
{
  (void)state;
  const struct mv_kernel *kernels[8];
  const int count = kernels_real(kernels);
  for (int k = 0; k < 2 * 3 * count; k++) {
    const struct mv_kernel *kernel = kernels[k / 6];
    const char *task = tasks[k % 3], *mode = k / 3 % 2 ? "reverse" : "forward";
    if (!mv_selfcheck_serves(kernel, task))
      continue;
    struct rig part, whole;
    make(&part, kernel, task, "backprop", T);
    make(&whole, kernel, task, "backprop", T * WINDOWS);
    set_backprop(&part, mode, 2);
    set_backprop(&whole, mode, 2);
    double *a = state_make(&part, 2), *b = state_make(&whole, 2), eta[part.problem.shape.meta], sum[MV_LANES_MAX] = {0};
    mv_selfcheck_eta(&part.problem.shape, eta);
    for (int u = 0; u < WINDOWS; u++) {
      sample_window(&part, eta, u * T, a);
      for (int l = 0; l < kernel->lanes; l++)
        sum[l] += rig_value(&part, rig_offset(&part, "objective"), l) / WINDOWS;
      assert_true(rig_value(&part, rig_offset(&part, "window_start"), 0) == u * T);
    }
    sample_window(&whole, eta, 0, b);
    assert_memory_equal(a, b, sizeof(double) * (size_t)(2 * part.problem.shape.state * kernel->lanes));
    for (int l = 0; l < kernel->lanes; l++)
      assert_true(fabs(sum[l] - rig_value(&whole, rig_offset(&whole, "objective"), l)) < 1e-13 * (1 + fabs(sum[l])));
    free(a), free(b);
    rig_free(&part);
    rig_free(&whole);
  }
}

/* The goal, the last number of a lifetime's state, is drawn anew behind steps 3, 6, 9 of the lifetime and never else. */
static void goals_flip_at_steps_of_the_lifetime(void **state)
{
  (void)state;
  struct rig r;
  make(&r, kernel_of("maze"), "maze", "objective", 1);
  rig_ready(&r);
  double eta[1] = {0.5}, *theta = state_make(&r, 1);
  int flips[3] = {0};
  for (int s = 0; s < 40; s++) {
    double before = 0;
    for (int64_t n = 0; n < 12; n++) {
      struct mv_request q = {.problem = &r.problem,
                             .settings = r.settings,
                             .eta = eta,
                             .key = {{(uint32_t)s, 1}},
                             .count = 1,
                             .first = n,
                             .state = (void *)theta,
                             .arena = &r.arena,
                             .values = (void *)r.values};
      r.arena.used = 0;
      r.estimator->sample(&q);
      double goal = theta[r.problem.shape.state - 1];
      flips[n % 3] += n > 0 && goal != before;
      before = goal;
    }
  }
  assert_in_range(flips[0], 35, 85); /* half of 120 */
  assert_true(flips[1] == 0 && flips[2] == 0);
  free(theta);
  rig_free(&r);
}

/* --- gradients ---------------------------------------------------------------------------------------------------- */

struct seen {
  int64_t first;
  double complex report[T][5]; /* as struct mv_report */
};

static void watch(void *self, int64_t n, const struct mv_report *r, struct mv_block *blocks)
{
  (void)blocks;
  struct seen *seen = self;
  memcpy(seen->report[n - seen->first], r, sizeof seen->report[0]);
}

/* direct and correction of one window by one meta-parameter, from the complex step with theta at its start held fixed. */
static void book(struct rig *shadow, const double *eta, int j, int64_t first, const double *theta, double out[2])
{
  const double h = 1e-100;
  const struct mv_shape *s = &shadow->problem.shape;
  double complex *state = mv_memory_take((size_t)s->state, sizeof *state), at[s->meta];
  for (int i = 0; i < s->state; i++)
    state[i] = theta[i];
  for (int i = 0; i < s->meta; i++)
    at[i] = eta[i] + (i == j ? h * I : 0);
  struct seen seen = {.first = first};
  struct mv_walk walk = {.problem = &shadow->problem,
                         .coords = {.key = key, .task = {5}, .lifetime = {0}},
                         .eta = (void *)at,
                         .first = first,
                         .steps = T,
                         .state = (void *)state,
                         .arena = &shadow->arena};
  shadow->arena.used = 0;
  shadow->kernel->walk_run(&walk, watch, &seen);
  double cum = out[0] = out[1] = 0;
  for (int n = 0; n < T; n++) {
    out[0] += cimag(seen.report[n][2]) / h / T;
    out[1] += creal(seen.report[n][0] - seen.report[n][4]) * cum / T;
    cum += cimag(seen.report[n][1]) / h;
  }
  free(state);
}

static void near(const char *what, double got, double exact)
{
  if (!(fabs(got - exact) <= 1e-11 * (1 + fabs(exact))))
    fail_msg("%s is %.17g, by the complex step %.17g", what, got, exact);
}

static void the_state_before_a_window_is_a_constant(void **state)
{
  (void)state;
  for (int k = 0; k < 6; k++) {
    const char *task = tasks[k % 3];
    struct rig r, shadow;
    make(&r, mv_kernel_find("scalar"), task, "backprop", T);
    set_backprop(&r, k / 3 ? "reverse" : "forward", 1);
    make(&shadow, mv_kernel_find("shadow"), task, "objective", T);
    rig_ready(&shadow);
    const int meta = r.problem.shape.meta;
    double eta[meta], exact[2], *theta = state_make(&r, 1), *start = state_make(&r, 1);
    mv_selfcheck_eta(&r.problem.shape, eta);
    for (int64_t u = 0; u < WINDOWS; u++) {
      memcpy(start, theta, sizeof(double) * (size_t)r.problem.shape.state);
      sample_window(&r, eta, u * T, theta);
      for (int j = 0; j < meta; j++) {
        book(&shadow, eta, j, u * T, start, exact);
        near("direct", rig_value(&r, rig_offset(&r, "direct") + j, 0), exact[0]);
        near("correction", rig_value(&r, rig_offset(&r, "correction") + j, 0), exact[1]);
      }
    }
    free(theta), free(start);
    rig_free(&r), rig_free(&shadow);
  }
}

/* --- es ------------------------------------------------------------------------------------------------------------- */

static void add_up(void *self, int64_t n, const struct mv_report *r, struct mv_block *blocks)
{
  (void)n, (void)blocks;
  *(double *)self += *(const double *)r;
}

/* Every member from its own state, each window with a new direction; by single walks. */
static void members_keep_their_own_state(void **state)
{
  (void)state;
  static const char *const shares[][6] = {
      {NULL}, {"task"}, {"task", "init"}, {"task", "init", "action", "reward", "window"}};
  static const enum mv_purpose purposes[] = {MV_FOR_TASK, MV_FOR_INIT, MV_FOR_ACTION, MV_FOR_REWARD, MV_FOR_WINDOW};
  for (int k = 0; k < 12; k++) {
    struct rig r;
    const char *task = tasks[k % 3];
    make(&r, mv_kernel_find("scalar"), task, "es", T);
    rig_choose(&r, "noise_shared", shares[k / 3]);
    *(int64_t *)rig_setting(&r, "population") = MEMBERS;
    *(double *)rig_setting(&r, "sigma_decay") = 0.5;
    *(double *)rig_setting(&r, "sigma_min") = 0.03;
    rig_ready(&r);
    const int meta = r.problem.shape.meta, size = r.problem.shape.state;
    double eta[meta], at[meta], z[meta], gradient[meta], *a = state_make(&r, MEMBERS), *b = state_make(&r, MEMBERS);
    mv_selfcheck_eta(&r.problem.shape, eta);
    for (int64_t u = 0; u < WINDOWS; u++) {
      const double sigma = (const double[]){0.1, 0.05, 0.03}[u];
      sample_window(&r, eta, u * T, a);
      memset(gradient, 0, sizeof gradient);
      for (int m = 0; m < MEMBERS; m++) {
        struct mv_coords coords = {.key = key, .task = {5}};
        double sum = 0, sign = m % 2 ? -1 : 1;
        r.kernel->draw(&coords, MV_FOR_PERTURB, u * (MEMBERS / 2) + m / 2, meta, z);
        coords.lifetime[0] = m - m % 2;
        for (int p = 0; p < 5 && m % 2; p++) {
          bool shared = false;
          for (int i = 0; shares[k / 3][i]; i++)
            shared = shared || shares[k / 3][i] == shares[3][p] || !strcmp(shares[k / 3][i], shares[3][p]);
          coords.offset[purposes[p]] = !shared;
          if (purposes[p] == MV_FOR_REWARD)
            coords.offset[MV_FOR_NORMAL] = !shared;
        }
        for (int j = 0; j < meta; j++)
          at[j] = eta[j] + sign * sigma * z[j];
        struct mv_walk walk = {.problem = &r.problem,
                               .coords = coords,
                               .eta = (void *)at,
                               .first = u * T,
                               .steps = T,
                               .state = (void *)(b + m * size),
                               .arena = &r.arena};
        r.arena.used = 0;
        r.kernel->walk_run(&walk, add_up, &sum);
        for (int j = 0; j < meta; j++)
          gradient[j] += sign * sum / T * z[j] / (sigma * MEMBERS);
      }
      assert_memory_equal(a, b, sizeof(double) * MEMBERS * (size_t)size);
      for (int j = 0; j < meta; j++)
        assert_true(fabs(rig_value(&r, j, 0) - gradient[j]) <= 1e-12 * (1 + fabs(gradient[j])));
    }
    assert_true(memcmp(a, a + size, sizeof(double) * (size_t)size) != 0);
    free(a), free(b);
    rig_free(&r);
  }
}

/* --- training --------------------------------------------------------------------------------------------------------- */

#define JOB(length, cutoff, train, rows)                                                                               \
  "name: t\nseed: 3\nlifetime_length: " length "\ntask: {name: bandit, arms: 5, batch: 3, cutoff: " cutoff "}\n"       \
  "train: {learning_rate: 1e-300, lifetimes: carried, " train "}\neta: {points: [[0.5, 1]]}\n"                         \
  "estimators:\n  - " rows "\n"

static struct mv_job *parse(const char *text, FILE *report)
{
  return mv_job_parse("test", text, strlen(text), NULL, 0, mv_kernel_best(), report);
}

/* Updates 0 .. count - 1, at an eta that hardly moves: the mean of their objectives. */
static double train(const char *text, int count, double *carried)
{
  struct mv_job *job = parse(text, stderr);
  assert_non_null(job);
  struct mv_plan *plan = mv_plan_make(job);
  struct mv_population *p = mv_population_create(plan);
  double mean = 0, row[plan->layout[0].values], next[plan->layout[0].values];
  int64_t at;
  assert_int_equal(mv_population_state(job, 0, 0, mv_population_blocks(job, 0, 0), &at), 70 * 5);
  mv_record_start(plan, 0, row);
  for (int u = 0; u < count; u++) {
    assert_int_equal(mv_population_row(p, 0, u, carried, row), MV_OK);
    mean += *mv_record_view(job, row).objective / count;
    mv_record_next(plan, 0, row, next);
    memcpy(row, next, sizeof row);
  }
  mv_population_free(p);
  mv_plan_free(plan);
  mv_job_free(job);
  return mean;
}

static void updates_go_on_with_the_same_lifetimes(void **state)
{
  (void)state;
#define ROW "{name: backprop, weighted: false, replicates: 70}"
  double a[70 * 5], b[70 * 5];
  double mean = train(JOB("6", "6", "updates: 9", ROW), 4, a);
  assert_true(fabs(mean - train(JOB("24", "24", "updates: 1", ROW), 1, b)) < 1e-13);
  assert_memory_equal(a, b, sizeof a);
}

/* Parts of an update have the states of a curve, each once, also where blocks cut task instances and the last one is not
 * whole. */
static void parts_share_the_states(void **state)
{
  (void)state;
#define NESTED "{name: backprop, weighted: false, replicates: 50, lifetimes_per_task: 40}"
  struct mv_job *job = parse(JOB("6", "6", "updates: 9", NESTED), stderr);
  assert_non_null(job);
  const int64_t blocks = mv_population_blocks(job, 0, 0);
  int64_t at, sum = 0, whole = mv_population_state(job, 0, 0, blocks, &at);
  assert_int_equal(whole, 50 * 5);
  for (int64_t b = 0; b < blocks; b++) {
    int64_t count = mv_population_state(job, 0, b, 1, &at);
    assert_true(count >= 0 && (count == 0 || at == sum));
    sum += count;
  }
  assert_int_equal(sum, whole);
  mv_job_free(job);
}

static void what_cannot_be_carried(void **state)
{
  (void)state;
  static const char *const bad[][2] = {
      {JOB("6", "2", "updates: 3, evaluate_every: 2", ROW), "test:5:80: evaluate_every: evaluates new lifetimes"},
      {JOB("6", "2", "updates: 1e9", ROW),
       "test:5:61: updates: 1000000000 windows of 6 inner steps are a lifetime of more"},
      {JOB("6", "2", "updates: 3", "{name: fd, replicates: 9}"), "test:8:12: name: estimator fd has no lifetimes that"},
      {JOB("6", "2", "updates: 3", "{name: es, truncation: 4, replicates: 9}"),
       "test:8:28: truncation: with train: {lifetimes: "},
      {JOB("6", "2", "updates: 3", "{name: es, population: 2e5, replicates: 1000}"),
       "test:8:45: replicates: the lifetimes of one curve would carry 8e+09 bytes"},
      {JOB("6", "2", "updates: 1e8", "{name: es, population: 100, replicates: 9}"),
       "test:8:28: population: 100000000 updates with 50 new directions each"},
  };
  for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
    char *report;
    size_t size;
    FILE *out = open_memstream(&report, &size);
    struct mv_job *job = parse(bad[k][0], out);
    fclose(out);
    if (job || strncmp(report, bad[k][1], strlen(bad[k][1])) || strchr(report, '\n') != report + size - 1)
      fail_msg("%s: %s", bad[k][1], report);
    free(report);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(windows_make_one_lifetime),
      cmocka_unit_test(goals_flip_at_steps_of_the_lifetime),
      cmocka_unit_test(the_state_before_a_window_is_a_constant),
      cmocka_unit_test(members_keep_their_own_state),
      cmocka_unit_test(updates_go_on_with_the_same_lifetimes),
      cmocka_unit_test(parts_share_the_states),
      cmocka_unit_test(what_cannot_be_carried),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
