/* test_train.c - the outer loop: optimizers against closed forms, populations against plain sums, and paths of eta that
 * owe nothing to how the work was cut, in which order it came back, or to interruptions. */
#include "harness.h"

#include "metavar/memory.h"
#include "metavar/train.h"

#define TRAIN(updates, more)                                                                                           \
  "name: t\nseed: 3\nlifetime_length: 4\ntask: {name: tree_bandit}\n"                                                  \
  "train: {updates: " updates ", learning_rate: 0.5, evaluate_every: 3, evaluate_replicates: 70, seeds: 2" more "}\n"
#define STARTS "eta: {points: [[0.5, 1], [1, -0.5]]}\n"
#define ROWS                                                                                                           \
  "estimators:\n  - {name: backprop, weighted: false, lambda: [0, 1], replicates: 101}\n"                              \
  "  - {name: es, lifetimes_per_task: 40, replicates: 80}\n"

#define SHAPED                                                                                                         \
  "  - {name: es, population: 4, shaping: [z_score, centered_rank], replicates: 100}\n"                                \
  "  - {name: es, label: whole, shaping: centered_rank, lifetimes_per_task: 99, replicates: 99}\n"

#define assert_near(a, b, tolerance) assert_true(fabs((a) - (b)) <= (tolerance))

static struct mv_job *parse(const char *text)
{
  struct mv_job *job = mv_job_parse("test", text, strlen(text), NULL, 0, mv_kernel_best(), stderr);
  assert_non_null(job);
  return job;
}

/* What training asks of estimators, and sweeps that make curves. */
static void estimators_that_can_be_followed(void **state)
{
  (void)state;
  static const struct {
    const char *rows, *want;
  } bad[] = {
      {"{name: backprop, replicates: 9}", "test:8:5: weighted: estimator backprop would also estimate \"weighted\""},
      {"{name: es, lambda: 0.5, replicates: 9}", "test:8:24: lambda: estimator es has no component"},
      {"{name: objective, replicates: 9}", "test:8:12: name: estimator objective gives no gradient to follow"},
      {"{name: fd, replicates: 9, store: moments}", "test:8:38: store: training stores every update"},
      {"{name: fd, replicates: 9, learning_rte: 1}", "test:8:31: unknown key \"learning_rte\" in estimator fd; did you "
                                                     "mean \"learning_rate\"?"},
      {"{name: fd, replicates: 9, learning_rate: -1}", "test:8:46: learning_rate: -1 is out of range"},
  };
  for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
    char text[1024], *report;
    size_t size;
    FILE *out = open_memstream(&report, &size);
    snprintf(text, sizeof text, TRAIN("5", "") STARTS "estimators:\n  - %s\n", bad[k].rows);
    struct mv_job *job = mv_job_parse("test", text, strlen(text), NULL, 0, mv_kernel_best(), out);
    fclose(out);
    if (job || strncmp(report, bad[k].want, strlen(bad[k].want)) || strchr(report, '\n') != report + size - 1) {
      fail_msg("%s: %s", bad[k].rows, report);
    }
    free(report);
  }
  struct mv_job *job = parse(TRAIN("5", "") STARTS
                             "estimators:\n  - {name: backprop, label: b, weighted: false, truncation: [2, 4], "
                             "hessian: [dice, pathwise], lambda: [0, 1], replicates: 9}\n"
                             "  - {name: es, noise_shared: [task, window], learning_rate: [0.1, 2], replicates: 9}\n");
  static const char *const labels[] = {"b_lambda0_truncation2_hessiandice", "b_lambda0_truncation2_hessianpathwise"};
  assert_int_equal(job->entry_count, 10);
  assert_string_equal(job->entries[0].label, labels[0]);
  assert_string_equal(job->entries[1].label, labels[1]);
  assert_string_equal(job->entries[9].label, "es_learning_rate2");
  assert_true(job->entries[7].lambda == 1 && job->entries[3].lambda == 0 && job->entries[9].learning_rate == 2);
  char *canonical = mv_job_canonical(job, false);
  struct mv_job *same = parse(canonical);
  char *again = mv_job_canonical(same, false);
  assert_string_equal(canonical, again);
  assert_int_equal(same->points, 4);
  free(canonical), free(again);
  mv_job_free(job);
  mv_job_free(same);
}

/* --- optimizers ------------------------------------------------------------------------------------------------- */

/* J = -a x^2 / 2: sgd from x_0 is x_n = x_0 (1 - alpha a)^n. */
static void sgd_on_a_parabola(void **state)
{
  (void)state;
  struct mv_train t = {.optimizer = MV_SGD};
  const double a[2] = {0.3, 2}, rate = 0.1;
  double x[2] = {5, -4};
  assert_int_equal(mv_outer_moments(&t), 0);
  for (int n = 0; n < 50; n++) {
    double g[2] = {-a[0] * x[0], -a[1] * x[1]};
    assert_true(mv_outer_step(&t, rate, 2, g, n, x, NULL));
  }
  assert_near(x[0], 5 * pow(1 - rate * a[0], 50), 1e-14);
  assert_near(x[1], -4 * pow(1 - rate * a[1], 50), 1e-14);
}

/* The second-order recursion x_{n+1} = (1 + mu - alpha a) x_n - mu x_{n-1} by its roots r: x_n = c_1 r_1^n + c_2 r_2^n. */
static void momentum_on_a_parabola(void **state)
{
  (void)state;
  struct mv_train t = {.optimizer = MV_SGD, .momentum = 0.5};
  const double a = 0.2, rate = 0.1;
  double x = 3, v = 0, b = 1 + t.momentum - rate * a, root = sqrt(b * b - 4 * t.momentum);
  double r1 = (b + root) / 2, r2 = (b - root) / 2, first = 3 * (1 - rate * a);
  double c1 = (first - 3 * r2) / (r1 - r2), c2 = 3 - c1;
  assert_int_equal(mv_outer_moments(&t), 1);
  for (int n = 0; n < 40; n++) {
    assert_true(mv_outer_step(&t, rate, 1, (double[]){-a * x}, n, &x, &v));
  }
  assert_near(x, c1 * pow(r1, 40) + c2 * pow(r2, 40), 1e-13);
}

/* Constant gradients: the corrected moments are g and g^2, so every step is alpha g / (|g| + epsilon). Then gradients
 * that change, against the definition with explicit sums. */
static void adam_against_its_definition(void **state)
{
  (void)state;
  struct mv_train t = {.optimizer = MV_ADAM, .epsilon = 1e-3, .betas = {2, {0.8, 0.95}}};
  double x[2] = {1, 2}, moment[4] = {0}, g[2] = {0.25, -4}, y = 0, kept[2] = {0}, history[30];
  assert_int_equal(mv_outer_moments(&t), 2);
  for (int n = 0; n < 25; n++) {
    assert_true(mv_outer_step(&t, 0.1, 2, g, n, x, moment));
  }
  assert_near(x[0], 1 + 25 * 0.1 * 0.25 / (0.25 + 1e-3), 1e-12);
  assert_near(x[1], 2 - 25 * 0.1 * 4 / (4 + 1e-3), 1e-12);
  double expected = 0;
  for (int n = 0; n < 30; n++) {
    double m = 0, v = 0;
    history[n] = sin(n + 1.0);
    for (int k = 0; k <= n; k++) {
      m += 0.2 * pow(0.8, n - k) * history[k] / (1 - pow(0.8, n + 1));
      v += 0.05 * pow(0.95, n - k) * history[k] * history[k] / (1 - pow(0.95, n + 1));
    }
    expected += 0.1 * m / (sqrt(v) + 1e-3);
    assert_true(mv_outer_step(&t, 0.1, 1, &history[n], n, &y, kept));
    assert_near(y, expected, 1e-12);
  }
}

static void a_step_that_is_not_finite_is_not_taken(void **state)
{
  (void)state;
  const struct mv_train sgd = {.optimizer = MV_SGD, .momentum = 0.5};
  const struct mv_train adam = {.optimizer = MV_ADAM, .epsilon = 1e-8, .betas = {2, {0.9, 0.999}}};
  const double bad[][2] = {{NAN, 0}, {0, INFINITY}, {1e308, 1e308}};
  for (int k = 0; k < 3; k++) {
    double x[2] = {1.7e308, 2}, v[2] = {0.25, 0.5}, y[2] = {1, 2}, moment[4] = {1, 2, 3, 4};
    assert_false(mv_outer_step(&sgd, 10, 2, bad[k], 5, x, v));
    assert_false(mv_outer_step(&adam, 10, 2, bad[k], 5, y, moment));
    assert_true(x[0] == 1.7e308 && x[1] == 2 && v[0] == 0.25 && v[1] == 0.5);
    assert_true(y[0] == 1 && y[1] == 2 && moment[0] == 1 && moment[1] == 2 && moment[2] == 3 && moment[3] == 4);
  }
}

/* --- populations ------------------------------------------------------------------------------------------------ */

/* Row 0 by plain sums over the estimator's samples. */
static void a_row_is_the_mean_of_its_replicates(void **state)
{
  (void)state;
  struct mv_job *job = parse(TRAIN("5", "") STARTS ROWS);
  struct mv_plan *plan = mv_plan_make(job);
  struct mv_population *p = mv_population_create(plan);
  struct rig rig;
  rig_make(&rig, mv_kernel_find("scalar"), "tree_bandit", "backprop", 4);
  *(bool *)rig_setting(&rig, "weighted") = false;
  rig_ready(&rig);
  const int cell = 1 * job->points + 3, update = 4; /* lambda 1, second start, second seed */
  const double eta[2] = {0.3, 0.6}, n = 101;
  double row[32], g[2] = {0}, square[2] = {0}, objective = 0;
  struct mv_record r = mv_record_view(job, row);
  memcpy(r.eta, eta, sizeof eta);
  assert_int_equal(mv_population_row(p, cell, update, NULL, row), MV_OK);
  struct mv_key key = mv_key_make(3, (double[]){1, update}, 2);
  for (int k = 0; k < 101; k++) {
    rig_sample(&rig, key, eta, k, NULL);
    for (int j = 0; j < 2; j++) {
      double x =
          rig_value(&rig, rig_offset(&rig, "direct") + j, 0) + rig_value(&rig, rig_offset(&rig, "correction") + j, 0);
      g[j] += x;
      square[j] += x * x;
    }
    objective += rig_value(&rig, rig_offset(&rig, "objective"), 0);
  }
  for (int j = 0; j < 2; j++) {
    assert_near(r.gradient[j], g[j] / n, 1e-14);
    assert_near(r.gradient_se[j], sqrt((square[j] - g[j] * g[j] / n) / (n - 1) / n), 1e-12);
  }
  assert_near(*r.objective, objective / n, 1e-14);
  assert_near(*r.gradient_norm, hypot(g[0], g[1]) / n, 1e-14);
  assert_true(isnan(*r.evaluated) && *r.nonfinite == 0);
  rig_free(&rig);
  mv_population_free(p);
  mv_plan_free(plan);
  mv_job_free(job);
}

/* The evaluation: held-out replicates, the same at every update and for every estimator, others for each seed; none of
 * the gradient's. */
static void evaluations_are_held_out(void **state)
{
  (void)state;
  struct mv_job *job = parse(TRAIN("5", "") STARTS ROWS);
  struct mv_plan *plan = mv_plan_make(job);
  struct mv_population *p = mv_population_create(plan);
  double row[5][32], eta[2] = {0.5, 1};
  const int cells[] = {0, 0, job->points, 1, 0}, updates[] = {0, 3, 3, 3, 4};
  struct mv_record r[5];
  for (int k = 0; k < 5; k++) {
    r[k] = mv_record_view(job, row[k]);
    memcpy(r[k].eta, eta, sizeof eta);
    mv_population_row(p, cells[k], updates[k], NULL, row[k]);
  }
  assert_true(*r[0].evaluated == *r[1].evaluated && *r[1].evaluated == *r[2].evaluated);
  assert_true(*r[1].evaluated != *r[3].evaluated && isnan(*r[4].evaluated) && isnan(*r[4].evaluated_se));
  assert_true(*r[0].objective != *r[1].objective && *r[0].objective != *r[0].evaluated);
  assert_near(*r[0].evaluated, *r[3].evaluated, 5 * hypot(*r[0].evaluated_se, *r[3].evaluated_se));
  assert_true(*r[1].objective == *r[2].objective); /* shared random numbers: backprop with lambda 0 and 1 */
  mv_population_free(p);
  mv_plan_free(plan);
  mv_job_free(job);
}

/* --- shaped fitness ------------------------------------------------------------------------------------------------- */

static double spare(uint32_t *state)
{
  *state = *state * 1664525u + 1013904223u;
  return (*state >> 8) * 0x1p-24;
}

/* Against definitions by counting: ranks with ties, members that are not there, and what leaves ranks as they are. */
static void fitness_is_shaped(void **unused)
{
  (void)unused;
  enum { N = 200 };
  uint32_t state = 9;
  double f[N], rank[N], other[N], score[N], mean = 0, square = 0;
  size_t order[N];
  int members = 0;
  for (int i = 0; i < N; i++) {
    f[i] = i % 17 == 3 ? NAN : floor(30 * spare(&state)) - 12; /* many ties */
    rank[i] = score[i] = f[i];
    other[i] = exp(f[i] / 9) * 1e-3; /* another monotone scale */
    mean += isnan(f[i]) ? 0 : f[i];
    members += !isnan(f[i]);
  }
  mean /= members;
  for (int i = 0; i < N; i++) {
    square += isnan(f[i]) ? 0 : (f[i] - mean) * (f[i] - mean);
  }
  mv_shape(MV_SHAPING_CENTERED_RANK, N, rank, order);
  mv_shape(MV_SHAPING_CENTERED_RANK, N, other, order);
  mv_shape(MV_SHAPING_Z_SCORE, N, score, order);
  for (int i = 0; i < N; i++) {
    double below = 0, equal = 0;
    for (int k = 0; k < N; k++) {
      below += f[k] < f[i];
      equal += f[k] == f[i];
    }
    assert_true(isnan(f[i]) == isnan(rank[i]) && isnan(f[i]) == isnan(score[i]));
    if (!isnan(f[i])) {
      assert_near(rank[i], (below + (equal - 1) / 2) / (members - 1) - 0.5, 1e-15);
      assert_near(score[i], (f[i] - mean) / sqrt(square / members), 1e-13);
      assert_true(other[i] == rank[i]);
    }
  }
  double same[3] = {2, 2, 2}, one[2] = {NAN, 7}, none[1] = {NAN};
  mv_shape(MV_SHAPING_Z_SCORE, 3, same, order);
  assert_true(same[0] == 0 && same[2] == 0);
  mv_shape(MV_SHAPING_CENTERED_RANK, 2, one, order);
  assert_true(isnan(one[0]) && one[1] == 0);
  mv_shape(MV_SHAPING_CENTERED_RANK, 1, none, order);
  assert_true(isnan(none[0]));
}

/* An update with shaped fitness, from plain samples: the direction of a pair is what its unshaped gradient is made of,
 * g = (F+ - F-) z / (2 sigma), so the shaped one is g (u+ - u-) / (F+ - F-), u over all members of all replicates. */
static void shaped_updates_follow_all_members(void **state)
{
  (void)state;
  enum { R = 203 };
  static const char *const names[] = {"z_score", "centered_rank"};
  for (int s = 0; s < 2; s++) {
    char text[1024];
    snprintf(text, sizeof text,
             TRAIN("5", "") STARTS "estimators:\n  - {name: es, sigma: 0.7, shaping: %s, replicates: 203}\n", names[s]);
    struct mv_job *job = parse(text);
    struct mv_plan *plan = mv_plan_make(job);
    struct mv_population *p = mv_population_create(plan);
    struct rig rig;
    rig_make(&rig, mv_kernel_find("scalar"), "tree_bandit", "es", 4);
    *(double *)rig_setting(&rig, "sigma") = 0.7;
    *(int *)rig_setting(&rig, "shaping") = s + 1;
    rig_ready(&rig);
    const double eta[2] = {0.3, 0.6};
    double row[32], f[2 * R], u[2 * R], sum[2] = {0}, square[2] = {0};
    double(*z)[2] = calloc(R, sizeof *z);
    size_t order[2 * R];
    struct mv_record r = mv_record_view(job, row);
    memcpy(r.eta, eta, sizeof eta);
    assert_int_equal(mv_population_row(p, 1, 2, NULL, row), MV_OK);
    for (int shaped = 1; shaped >= 0; shaped--) { /* the members' objectives; then the directions */
      if (!shaped) {
        *(int *)rig_setting(&rig, "shaping") = 0;
        rig.outputs = rig.estimator->outputs(rig.settings, &rig.problem, rig.output);
      }
      for (int k = 0; k < R; k++) {
        rig_sample(&rig, mv_key_make(3, (double[]){1, 2}, 2), eta, k, NULL);
        for (int m = 0; m < 2; m++) {
          if (shaped)
            f[2 * k + m] = u[2 * k + m] = rig_value(&rig, rig_offset(&rig, "fitness") + m, 0);
          else
            z[k][m] = rig_value(&rig, rig_offset(&rig, "gradient") + m, 0);
        }
      }
    }
    mv_shape((enum mv_shaping)(s + 1), 2 * R, u, order);
    for (int k = 0; k < R; k++) {
      for (int j = 0; j < 2; j++) {
        double apart = f[2 * k] - f[2 * k + 1], g = apart != 0 ? z[k][j] * (u[2 * k] - u[2 * k + 1]) / apart : 0;
        sum[j] += g;
        square[j] += g * g;
      }
    }
    for (int j = 0; j < 2; j++) {
      assert_near(r.gradient[j], sum[j] / R, 1e-13);
      assert_near(r.gradient_se[j], sqrt((square[j] - sum[j] * sum[j] / R) / (R - 1) / R), 1e-12);
    }
    free(z);
    rig_free(&rig);
    mv_population_free(p);
    mv_plan_free(plan);
    mv_job_free(job);
  }
}

/* A population inside one replicate is shaped by the estimator itself: an update of one replicate follows the same. */
static void a_sample_shapes_its_own_population(void **state)
{
  (void)state;
  struct mv_job *job =
      parse(TRAIN("5", "") STARTS
            "estimators:\n  - {name: es, population: 50, shaping: [z_score, centered_rank], replicates: 1}\n");
  struct mv_plan *plan = mv_plan_make(job);
  struct mv_population *p = mv_population_create(plan);
  for (int s = 0; s < 2; s++) {
    struct rig rig;
    rig_make(&rig, mv_kernel_best(), "tree_bandit", "es", 4);
    *(int64_t *)rig_setting(&rig, "population") = 50;
    *(int *)rig_setting(&rig, "shaping") = s + 1;
    rig_ready(&rig);
    double row[32];
    const double eta[2] = {0.3, 0.6};
    struct mv_record r = mv_record_view(job, row);
    memcpy(r.eta, eta, sizeof eta);
    assert_int_equal(mv_population_row(p, s * job->points, 2, NULL, row), MV_OK);
    rig_sample(&rig, mv_key_make(3, (double[]){0, 2}, 2), eta, 0, NULL);
    for (int j = 0; j < 2; j++) {
      assert_true(r.gradient[j] != 0 && r.gradient[j] == rig_value(&rig, rig_offset(&rig, "gradient") + j, 0));
    }
    rig_free(&rig);
  }
  mv_population_free(p);
  mv_plan_free(plan);
  mv_job_free(job);
}

/* --- nested designs --------------------------------------------------------------------------------------------------- */

/* Replicates of a task instance depend on each other: the error is that of the mean over instances, whether a block holds
 * several of them or a part of one. */
static void errors_go_by_task_instances(void **state)
{
  (void)state;
  static const int nests[] = {3, 20, 32, 50, 100};
  for (size_t k = 0; k < sizeof nests / sizeof *nests; k++) {
    char text[1024];
    const int nest = nests[k], count = 6 * nest - 1; /* the last one lacks a replicate */
    snprintf(text, sizeof text,
             TRAIN("5", "") STARTS "estimators:\n  - {name: fd, replicates: %d, lifetimes_per_task: %d}\n", count,
             nest);
    struct mv_job *job = parse(text);
    struct mv_plan *plan = mv_plan_make(job);
    struct mv_job measured = *job;
    struct mv_population *p = mv_population_create(plan);
    measured.train.updates = 0;
    struct mv_plan *plain = mv_plan_make(&measured);
    struct mv_worker *worker = mv_worker_create(plain);
    const double eta[2] = {0.3, 0.6};
    double row[32], sum[2] = {0}, square[2] = {0},
                    *rows = calloc((size_t)(count * plain->layout[0].values), sizeof *rows);
    int8_t *status = malloc((size_t)count);
    struct mv_record r = mv_record_view(job, row);
    memcpy(r.eta, eta, sizeof eta);
    assert_int_equal(mv_population_row(p, 0, 2, NULL, row), MV_OK);
    mv_worker_rows(worker, 0, eta, mv_key_make(3, (double[]){0, 2}, 2), 0, count, NULL, 0, NULL, rows, status);
    for (int i = 0; i < 6; i++) {
      int here = i < 5 ? nest : nest - 1;
      for (int j = 0; j < 2; j++) {
        double mean = 0;
        for (int q = 0; q < here; q++)
          mean += rows[(i * nest + q) * plain->layout[0].values + j] / here;
        sum[j] += mean;
        square[j] += mean * mean;
      }
    }
    for (int j = 0; j < 2; j++) {
      assert_near(r.gradient[j], sum[j] / 6, 1e-13);
      assert_near(r.gradient_se[j], sqrt((square[j] - sum[j] * sum[j] / 6) / 5 / 6), 1e-12);
    }
    free(rows), free(status);
    mv_worker_free(worker);
    mv_plan_free(plain);
    mv_population_free(p);
    mv_plan_free(plan);
    mv_job_free(job);
  }
}

/* --- curves ------------------------------------------------------------------------------------------------------- */

/* A store in memory. */
struct shelf {
  const struct mv_plan *plan;
  double *row[64];    /* [cell][rows][values] */
  int8_t *status[64]; /* -1: not there */
};

static struct shelf shelf_make(const struct mv_plan *plan)
{
  struct shelf s = {.plan = plan};
  for (int cell = 0; cell < plan->cells; cell++) {
    int e = mv_plan_entry(plan, cell);
    s.row[cell] = calloc((size_t)(mv_job_rows(plan->job, e) * plan->layout[e].values), sizeof(double));
    s.status[cell] = malloc((size_t)mv_job_rows(plan->job, e));
    memset(s.status[cell], -1, (size_t)mv_job_rows(plan->job, e));
  }
  return s;
}

static void shelf_free(struct shelf *s)
{
  for (int cell = 0; cell < s->plan->cells; cell++) {
    free(s->row[cell]);
    free(s->status[cell]);
  }
}

static int shelf_read(void *self, int cell, int64_t row, double *values, int8_t *status)
{
  struct shelf *s = self;
  size_t width = (size_t)s->plan->layout[mv_plan_entry(s->plan, cell)].values;
  assert_int_not_equal(s->status[cell][row], -1);
  memcpy(values, s->row[cell] + (size_t)row * width, width * sizeof(double));
  *status = s->status[cell][row];
  return 0;
}

static void shelf_store(void *self, const void *bytes, size_t size)
{
  struct shelf *s = self;
  struct mv_result view;
  assert_true(mv_result_view(s->plan, bytes, size, &view));
  const struct mv_unit *unit = &view.head->unit;
  size_t width = (size_t)s->plan->layout[mv_plan_entry(s->plan, (int)unit->cell)].values;
  for (int64_t r = 0; r < unit->count; r++) { /* each once */
    assert_int_equal(s->status[unit->cell][unit->first + r], -1);
    s->status[unit->cell][unit->first + r] = view.status[r];
  }
  memcpy(s->row[unit->cell] + (size_t)unit->first * width, view.values, (size_t)unit->count * width * sizeof(double));
}

static uint32_t pick(uint32_t *state, uint32_t below)
{
  *state = *state * 1664525u + 1013904223u;
  return (*state >> 8) % below;
}

/* Trains what the shelf lacks with so many hands, whose answers come back in random order; ends after `most` pieces, as
 * if killed, unless that is 0. `second`: predicted seconds per replicate, which decides how the work is cut. */
static bool train(struct shelf *s, int hands, double second, uint32_t seed, int most)
{
  const struct mv_plan *plan = s->plan;
  struct mv_population *p = mv_population_create(plan);
  struct mv_curves *c = mv_curves_create(plan, &(struct mv_curves_hooks){s, shelf_read, NULL, shelf_store});
  double seconds[8] = {second, second, second, second, second, second, second, second};
  struct mv_answer *out[16];
  int under_way = 0, done = 0;
  for (int cell = 0; cell < plan->cells; cell++) {
    for (int64_t r = 0; r < mv_job_rows(plan->job, mv_plan_entry(plan, cell)); r++) {
      if (s->status[cell][r] != -1) {
        mv_curves_mark(c, &(struct mv_unit){cell, r, 1});
      }
    }
  }
  assert_int_equal(mv_curves_start(c, seconds, hands), 0);
  struct mv_piece *piece = malloc(mv_piece_bytes(plan));
  for (;;) {
    enum mv_next next = under_way < 2 * hands ? mv_curves_next(c, piece) : MV_NEXT_LATER;
    if (next == MV_NEXT_UNIT) {
      out[under_way] = malloc(mv_answer_bytes(plan, piece));
      mv_answer_compute(p, piece, out[under_way++]);
      continue;
    }
    if (under_way == 0 || (most > 0 && done == most)) {
      assert_true(under_way > 0 || next == MV_NEXT_NONE);
      break;
    }
    int k = (int)pick(&seed, (uint32_t)under_way);
    mv_curves_done(c, out[k]);
    free(out[k]);
    out[k] = out[--under_way];
    done++;
  }
  bool complete = under_way == 0;
  while (under_way > 0) {
    free(out[--under_way]);
  }
  mv_curves_flush(c);
  free(piece);
  mv_curves_free(c);
  mv_population_free(p);
  return complete;
}

static void assert_same_shelf(const struct shelf *a, const struct shelf *b)
{
  for (int cell = 0; cell < a->plan->cells; cell++) {
    int e = mv_plan_entry(a->plan, cell);
    size_t rows = (size_t)mv_job_rows(a->plan->job, e);
    assert_memory_equal(a->status[cell], b->status[cell], rows);
    assert_memory_equal(a->row[cell], b->row[cell], rows * (size_t)a->plan->layout[e].values * sizeof(double));
  }
}

#define WHOLE 1e-9 /* seconds per replicate: curves as a whole; */
#define PARTS 1    /* updates in parts, where there are more hands than curves */

static void paths_do_not_depend_on_the_cut(void **state)
{
  (void)state;
  static const char *const jobs[] = {TRAIN("11", "") STARTS ROWS, TRAIN("11", ", optimizer: adam") STARTS ROWS,
                                     "unit: 3\n" TRAIN("11", ", momentum: 0.9") STARTS
                                     "estimators:\n  - {name: fd, replicates: 100}\n",
                                     TRAIN("11", "") STARTS "estimators:\n" SHAPED};
  static const struct {
    int hands;
    double second;
  } ways[] = {{1, PARTS}, {2, WHOLE}, {3, PARTS}, {5, WHOLE}, {7, PARTS}};
  for (size_t j = 0; j < sizeof jobs / sizeof *jobs; j++) {
    struct mv_job *job = parse(jobs[j]);
    struct mv_plan *plan = mv_plan_make(job);
    struct shelf first = shelf_make(plan);
    assert_true(train(&first, 1, WHOLE, 1, 0));
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
      struct shelf other = shelf_make(plan);
      assert_true(train(&other, ways[w].hands, ways[w].second, 7 + (uint32_t)w, 0));
      assert_same_shelf(&first, &other);
      shelf_free(&other);
    }
    shelf_free(&first);
    mv_plan_free(plan);
    mv_job_free(job);
  }
}

/* Killed after any number of pieces, again and again; with a gap in the middle, as if a shard was lost. */
static void paths_do_not_depend_on_interruptions(void **state)
{
  (void)state;
  struct mv_job *job = parse(TRAIN("11", ", optimizer: adam") STARTS ROWS);
  struct mv_plan *plan = mv_plan_make(job);
  struct shelf whole = shelf_make(plan);
  assert_true(train(&whole, 1, WHOLE, 1, 0));
  for (uint32_t seed = 1; seed <= 6; seed++) {
    struct shelf s = shelf_make(plan);
    uint32_t choice = seed;
    for (int attempt = 0; !train(&s, 1 + (int)pick(&choice, 7), pick(&choice, 2) ? PARTS : WHOLE, choice, 7);) {
      assert_true(++attempt < 200);
      int cell = (int)pick(&choice, (uint32_t)plan->cells);
      for (int64_t r = 3; r < 6; r++) {
        s.status[cell][r] = attempt < 4 ? -1 : s.status[cell][r];
      }
    }
    assert_same_shelf(&whole, &s);
    shelf_free(&s);
  }
  shelf_free(&whole);
  mv_plan_free(plan);
  mv_job_free(job);
}

/* --- the whole ------------------------------------------------------------------------------------------------------ */

/* Unbiased gradients lead uphill, and by how much the optimizer says. The sign is what this test is for. */
static void eta_goes_uphill(void **state)
{
  (void)state;
  struct mv_job *job = parse(
      "name: t\nseed: 3\nlifetime_length: 4\ntask: {name: tree_bandit}\n"
      "train: {updates: 30, learning_rate: 0.5, evaluate_every: 30, evaluate_replicates: 20000, seeds: 2}\n" STARTS
      "estimators:\n  - {name: reference, replicates: 300}\n");
  struct mv_plan *plan = mv_plan_make(job);
  struct shelf s = shelf_make(plan);
  assert_true(train(&s, 2, WHOLE, 1, 0));
  for (int cell = 0; cell < plan->cells; cell++) {
    int64_t values = plan->layout[0].values;
    struct mv_record a = mv_record_view(job, s.row[cell]), b = mv_record_view(job, s.row[cell] + 30 * values);
    assert_true(*b.evaluated - *a.evaluated > 4 * hypot(*a.evaluated_se, *b.evaluated_se));
    assert_true(*b.steps == 30);
    struct mv_record next = mv_record_view(job, s.row[cell] + values);
    for (int j = 0; j < 2; j++) {
      assert_true(next.eta[j] == a.eta[j] + 0.5 * a.gradient[j]);
    }
  }
  shelf_free(&s);
  mv_plan_free(plan);
  mv_job_free(job);
}

/* Learning rates that overflow: nothing is finite, every update is skipped and says so, the neighbour is untouched. */
static void gradients_that_are_not_finite_are_skipped(void **state)
{
  (void)state;
  struct mv_job *job = parse(
      "name: t\nseed: 3\nlifetime_length: 4\ntask: {name: bandit, cutoff: 2, noise_std: 1e6}\n"
      "train: {updates: 6, learning_rate: 0.5, optimizer: adam, evaluate_every: 3, evaluate_replicates: 70, seeds: 2}\n"
      "eta: {points: [[1e308, 1e308], [0.5, 1]]}\n"
      "estimators:\n  - {name: backprop, weighted: false, replicates: 40}\n");
  struct mv_plan *plan = mv_plan_make(job);
  struct shelf s = shelf_make(plan);
  assert_true(train(&s, 3, PARTS, 1, 0));
  for (int cell = 0; cell < plan->cells; cell++) {
    bool bad = cell < 2;
    for (int u = 0; u <= 6; u++) {
      struct mv_record r = mv_record_view(job, s.row[cell] + u * plan->layout[0].values);
      assert_int_equal(s.status[cell][u], bad ? MV_NONFINITE : MV_OK);
      assert_int_equal(*r.nonfinite, bad ? 40 : 0);
      assert_int_equal(*r.steps, bad ? 0 : u);
      assert_true(!bad || (r.eta[0] == 1e308 && isnan(r.gradient[0]) && isnan(*r.objective)));
    }
  }
  shelf_free(&s);
  mv_plan_free(plan);
  mv_job_free(job);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(estimators_that_can_be_followed),
                                     cmocka_unit_test(sgd_on_a_parabola),
                                     cmocka_unit_test(momentum_on_a_parabola),
                                     cmocka_unit_test(adam_against_its_definition),
                                     cmocka_unit_test(a_step_that_is_not_finite_is_not_taken),
                                     cmocka_unit_test(a_row_is_the_mean_of_its_replicates),
                                     cmocka_unit_test(evaluations_are_held_out),
                                     cmocka_unit_test(fitness_is_shaped),
                                     cmocka_unit_test(shaped_updates_follow_all_members),
                                     cmocka_unit_test(a_sample_shapes_its_own_population),
                                     cmocka_unit_test(errors_go_by_task_instances),
                                     cmocka_unit_test(paths_do_not_depend_on_the_cut),
                                     cmocka_unit_test(paths_do_not_depend_on_interruptions),
                                     cmocka_unit_test(eta_goes_uphill),
                                     cmocka_unit_test(gradients_that_are_not_finite_are_skipped)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
