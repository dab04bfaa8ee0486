/* test_maze.c - the maze and its networks: dynamics by cases, matrix products against loops, R-operator against finite
 * differences and for symmetry, whole lifetimes and their tangents against automatic differentiation of an independent
 * program (tests/data/maze_autodiff.py), adjoints against tangents.
 */
#include <stdio.h>

#include <gsl/gsl_cdf.h>

#include "harness.h"
#include "metavar/job.h"
#include "metavar/maze.h"
#include "metavar/nn.h"

#include "data/maze_autodiff.h"

/* Fixed numbers in (-1, 1). */
static double any(int i)
{
  double x = 0.7548776662466927 * (i + 1);
  return 2 * (x - floor(x)) - 1;
}

static void near(const char *what, double got, double expected, double tolerance)
{
  if (!(fabs(got - expected) <= tolerance))
    fail_msg("%s: %.17g, expected %.17g within %g", what, got, expected, tolerance);
}

/* --- the grid world -------------------------------------------------------------------------------------------------- */

/* Every move from every cell; walls. */
static void moves(void **state)
{
  (void)state;
  for (int side = 2; side <= 5; side++)
    for (int row = 0; row < side; row++)
      for (int column = 0; column < side; column++) {
        const int at = row * side + column;
        assert_int_equal(mv_maze_move(side, at, MV_MAZE_LEFT), column == 0 ? at : at - 1);
        assert_int_equal(mv_maze_move(side, at, MV_MAZE_RIGHT), column == side - 1 ? at : at + 1);
        assert_int_equal(mv_maze_move(side, at, MV_MAZE_UP), row == 0 ? at : at - side);
        assert_int_equal(mv_maze_move(side, at, MV_MAZE_DOWN), row == side - 1 ? at : at + side);
      }
}

/* All equally likely starts, each once. */
static void starts(void **state)
{
  (void)state;
  int seen[9][9][9] = {0};
  for (int i = 0; i < 9; i++)
    for (int j = 0; j < 8; j++)
      for (int k = 0; k < 7; k++) {
        int cell[MV_MAZE_THINGS];
        mv_maze_start(3, (const double[]){(i + 0.5) / 9, (j + 0.5) / 8, (k + 0.5) / 7}, cell);
        assert_true(cell[0] != cell[1] && cell[0] != cell[2] && cell[1] != cell[2]);
        assert_int_equal(seen[cell[0]][cell[1]][cell[2]]++, 0);
      }
}

/* From every state by every action: the reward, and where the object goes as its uniform runs over (0, 1). */
static void respawns(void **state)
{
  (void)state;
  enum { SIDE = 3, CELLS = 9, FREE = 7 };
  for (int code = 0; code < CELLS * CELLS * CELLS * MV_MAZE_ACTIONS; code++) {
    const int p = code % CELLS, g = code / CELLS % CELLS, b = code / CELLS / CELLS % CELLS;
    const int action = code / CELLS / CELLS / CELLS, to = mv_maze_move(SIDE, p, action);
    if (p == g || p == b || g == b)
      continue;
    const double reward = to == g ? 1 : to == b ? -1 : -0.04;
    for (int published = 0; published <= 1; published++) {
      const int places = FREE - published, other = to == g ? b : g;
      int count[CELLS] = {0}, last = CELLS - 1;
      while (last == to || last == other)
        last--;
      for (int i = 0; i < places; i++) {
        int cell[] = {p, g, b};
        const double u[] = {(i + 0.5) / places, (i + 0.5) / places};
        assert_true(mv_maze_step(SIDE, action, MV_MAZE_GREEN, published, u, cell) == reward);
        int mirrored[] = {p, b, g}; /* the other goal */
        assert_true(mv_maze_step(SIDE, action, MV_MAZE_BLUE, published, u, mirrored) == reward);
        assert_int_equal(cell[0], to);
        assert_true(to == g || cell[1] == g);
        assert_true(to == b || cell[2] == b);
        if (to == g || to == b)
          count[to == g ? cell[1] : cell[2]]++;
      }
      for (int c = 0; c < CELLS && (to == g || to == b); c++)
        assert_int_equal(count[c], c != to && c != other && !(published && c == last));
    }
  }
  assert_int_equal(mv_maze_place(1 - 0x1p-53, 7), 6);
}

/* --- networks -------------------------------------------------------------------------------------------------------- */

static void quantiles(void **state)
{
  (void)state;
  const double low = gsl_cdf_ugaussian_P(-2), high = gsl_cdf_ugaussian_P(2);
  for (int i = 0; i <= 1000; i++) {
    double u = i / 1000.0;
    near("quantile", mv_nn_truncated_normal(u), gsl_cdf_ugaussian_Pinv(low + u * (high - low)), 4e-15);
  }
  near("lowest", mv_nn_truncated_normal(0x1p-53), -2, 1e-14);
}

/* OpenBLAS and the order of its arguments, against the definition. */
static void products(void **state)
{
  (void)state;
  static const int size[][3] = {{1, 1, 1}, {3, 5, 7}, {10, 256, 26}, {80, 4, 256}, {33, 257, 129}};
  for (size_t i = 0; i < sizeof size / sizeof *size; i++)
    for (int turn = 0; turn < 4; turn++) {
      const int m = size[i][0], n = size[i][1], k = size[i][2];
      double *a = malloc(sizeof(double) * (size_t)(m * k)), *b = malloc(sizeof(double) * (size_t)(k * n));
      double *c = malloc(sizeof(double) * (size_t)(m * n));
      for (int j = 0; j < m * k; j++)
        a[j] = any(j);
      for (int j = 0; j < k * n; j++)
        b[j] = any(3 * j + 1);
      for (int j = 0; j < m * n; j++)
        c[j] = any(5 * j + 2);
      mv_nn_product(turn & 1, turn & 2, m, n, k, 0.7, a, b, c);
      for (int r = 0; r < m; r++)
        for (int s = 0; s < n; s++) {
          double sum = 0;
          for (int p = 0; p < k; p++)
            sum += (turn & 1 ? a[p * m + r] : a[r * k + p]) * (turn & 2 ? b[s * k + p] : b[p * n + s]);
          near("product", c[r * n + s], any(5 * (r * n + s) + 2) + 0.7 * sum, 1e-13 * sqrt(k));
        }
      free(a), free(b), free(c);
    }
}

enum { ROWS = 9, IN = 5, OUT = 3 };
static const struct mv_nn net = {3, {IN, 7, 6, OUT}};

struct pass {
  double a[ROWS * 21], d[ROWS * 21], gradient[200];
};

/* Loss of softmax regression, summed over rows of class r % OUT; R of it along v, if v: gradient = H v. */
static void run(const double *theta, const double *v, struct pass *p, struct pass *dot)
{
  for (int i = 0; i < ROWS * IN; i++)
    p->a[i] = any(7 * i);
  mv_nn_forward(&net, theta, ROWS, 0, ROWS, p->a);
  if (v)
    mv_nn_forward_dot(&net, theta, v, ROWS, p->a, dot->a);
  const int out = mv_nn_place(&net, ROWS, net.layers);
  for (int r = 0; r < ROWS; r++) {
    double sum = 0, mean = 0, *d = p->d + out + r * OUT;
    for (int k = 0; k < OUT; k++)
      sum += d[k] = exp(p->a[out + r * OUT + k]);
    for (int k = 0; k < OUT; k++) {
      d[k] /= sum;
      mean += v ? d[k] * dot->a[out + r * OUT + k] : 0;
    }
    for (int k = 0; k < OUT; k++) {
      if (v)
        dot->d[out + r * OUT + k] = d[k] * (dot->a[out + r * OUT + k] - mean);
      d[k] -= k == r % OUT;
    }
  }
  memset(p->gradient, 0, sizeof p->gradient);
  mv_nn_backward(&net, theta, ROWS, p->a, p->d, 1.0, p->gradient);
  if (v) {
    memset(dot->gradient, 0, sizeof dot->gradient);
    mv_nn_backward_dot(&net, theta, v, ROWS, p->a, dot->a, p->d, dot->d, 1.0, dot->gradient);
  }
}

static double loss(const double *theta)
{
  struct pass p;
  run(theta, NULL, &p, NULL);
  double sum = 0;
  for (int r = 0; r < ROWS; r++) /* the class's probability is 1 + its derivative */
    sum -= log(1 + p.d[mv_nn_place(&net, ROWS, net.layers) + r * OUT + r % OUT]);
  return sum;
}

/* Gradient and Hessian against central differences, whose error is about 1e-10 here; the Hessian is symmetric. */
static void hessian(void **state)
{
  (void)state;
  const int size = mv_nn_size(&net);
  assert_int_equal(size, 6 * 7 + 8 * 6 + 7 * 3);
  double theta[200], other[200], u[200], v[200], h = 1e-5;
  static struct pass p, q, along_u, along_v, plus, minus;
  for (int i = 0; i < size; i++)
    theta[i] = any(11 * i + 3), u[i] = any(13 * i + 4), v[i] = any(17 * i + 5);
  run(theta, v, &p, &along_v);
  run(theta, u, &q, &along_u);
  double uv = 0, vu = 0, scale = 0;
  for (int i = 0; i < size; i++) {
    memcpy(other, theta, sizeof theta);
    other[i] += h;
    double high = loss(other);
    other[i] -= 2 * h;
    near("gradient", p.gradient[i], (high - loss(other)) / (2 * h), 1e-8);
    uv += u[i] * along_v.gradient[i], vu += v[i] * along_u.gradient[i];
    scale += fabs(u[i] * along_v.gradient[i]);
  }
  assert_true(scale > 1);
  near("symmetry", uv, vu, 1e-14 * scale);
  for (int i = 0; i < size; i++)
    other[i] = theta[i] + h * v[i];
  run(other, NULL, &plus, NULL);
  for (int i = 0; i < size; i++)
    other[i] = theta[i] - h * v[i];
  run(other, NULL, &minus, NULL);
  for (int i = 0; i < size; i++)
    near("Hessian times v", along_v.gradient[i], (plus.gradient[i] - minus.gradient[i]) / (2 * h), 1e-7);
}

/* --- the task -------------------------------------------------------------------------------------------------------- */

static void *member(const struct mv_task *task, void *settings, const char *name)
{
  const struct mv_field *f = mv_field_find(task->fields, name);
  assert_non_null(f);
  return (char *)settings + f->offset;
}

static int word(const struct mv_task *task, const char *name, const char *wanted)
{
  const char *const *known = mv_field_find(task->fields, name)->choices;
  int i = 0;
  while (strcmp(known[i], wanted))
    i++;
  return i;
}

/* The lifetimes of maze_autodiff.py. */
static void autodiff_settings(const struct mv_task *task, const char *outer_loss, bool context, void *s)
{
  mv_field_defaults(task->fields, s);
  *(int64_t *)member(task, s, "horizon") = 5;
  *(int64_t *)member(task, s, "environments") = 3;
  *(int64_t *)member(task, s, "flip_every") = 10;
  *(int64_t *)member(task, s, "context_hidden") = 3;
  *(struct mv_ints *)member(task, s, "hidden") = (struct mv_ints){2, {7, 5}};
  *(double *)member(task, s, "discount") = 0.9;
  *(double *)member(task, s, "vf_coef") = 0.3;
  *(double *)member(task, s, "learning_rate") = 0.7;
  *(int *)member(task, s, "outer_loss") = word(task, "outer_loss", outer_loss);
  *(int *)member(task, s, "entropy") = word(task, "entropy", context ? "context" : "scalar");
}

static double formula(int purpose, int64_t step, int index)
{
  double x = 0.6180339887498949 * (index + 1) + 0.4142135623730951 * (double)(step + 1) + 0.7320508075688772 * purpose;
  return 0.001 + 0.998 * (x - floor(x));
}

static void fill(void *self, enum mv_purpose purpose, const int64_t *task, const int64_t *lifetime, int64_t step,
                 int count, int lanes, double *out)
{
  (void)self, (void)task, (void)lifetime;
  assert_int_equal(lanes, 1);
  for (int i = 0; i < count; i++)
    out[i] = purpose == MV_FOR_TASK     ? formula(1, step, i)
             : purpose == MV_FOR_INIT   ? formula(2, step, i)
             : purpose == MV_FOR_REWARD ? formula(3, step, i)
                                        : floor(4 * formula(4, step, i));
}

static const struct mv_forced formulas = {fill, NULL};

static void against_autodiff(void *self, int64_t n, const struct mv_report *r, struct mv_block *blocks)
{
  const int k = *(int *)self;
  near("R_n", r->objective, autodiff[k].report[n][0], 1e-14);
  near("ell_n", r->logp, autodiff[k].report[n][1], 1e-12);
  near("surrogate", r->surrogate, autodiff[k].report[n][2], 1e-13);
  near("baseline", r->baseline, autodiff[k].report[n][3], 1e-13);
  for (int j = 0; j < autodiff[k].meta; j++) {
    near("tangent of ell_n", blocks[0].dot[j].logp, autodiff[k].logp_dot[n][j], 1e-14);
    near("tangent of the surrogate", blocks[0].dot[j].surrogate, autodiff[k].surrogate_dot[n][j], 1e-14);
    assert_true(blocks[0].dot[j].objective == 0 && blocks[0].dot[j].baseline == 0);
  }
}

static void independent_program(void **state)
{
  (void)state;
  const struct mv_kernel *kernel = mv_kernel_find("scalar");
  const struct mv_task *task = mv_task_find(kernel, "maze");
  void *settings = calloc(1, task->settings_size);
  for (int k = 0; k < (int)(sizeof autodiff / sizeof *autodiff); k++) {
    autodiff_settings(task, autodiff[k].outer_loss, autodiff[k].context, settings);
    const int steps = sizeof autodiff[k].report / sizeof *autodiff[k].report;
    struct mv_problem p = {task, settings, task->shape(settings), steps, MV_INVERSE_CDF};
    assert_int_equal(p.shape.meta, autodiff[k].meta);
    struct mv_arena arena;
    mv_arena_create(&arena, kernel->walk_bytes(&p, 1));
    struct mv_block block = {.length = steps};
    struct mv_walk walk = {.problem = &p,
                           .forced = &formulas,
                           .eta = autodiff[k].eta,
                           .steps = steps,
                           .blocks = &block,
                           .block_count = 1,
                           .arena = &arena};
    kernel->walk_run(&walk, against_autodiff, &k);
    mv_arena_free(&arena);
  }
  free(settings);
}

/* Other settings against the complex step: no hidden layer, one, wide ones; the context network; advantages; flips. */
static void variants(void **state)
{
  (void)state;
  static const struct {
    struct mv_ints hidden;
    const char *outer_loss;
    bool context;
    int64_t side, flip_every;
  } row[] = {{{0, {0}}, "first_state", false, 2, 16},
             {{1, {9}}, "first_state_adv", false, 5, 0},
             {{3, {4, 6, 5}}, "first_state_discounted", true, 3, 24},
             {{2, {70, 65}}, "first_state_discounted", false, 3, 0}};
  const struct mv_task *task = mv_task_find(mv_kernel_find("scalar"), "maze");
  void *settings = calloc(1, task->settings_size);
  for (size_t k = 0; k < sizeof row / sizeof *row; k++) {
    autodiff_settings(task, row[k].outer_loss, row[k].context, settings);
    *(struct mv_ints *)member(task, settings, "hidden") = row[k].hidden;
    *(int64_t *)member(task, settings, "side") = row[k].side;
    *(int64_t *)member(task, settings, "flip_every") = row[k].flip_every;
    *(int64_t *)member(task, settings, "context_hidden") = 2;
    *(bool *)member(task, settings, "v22_respawn") = k == 0;
    double worst = mv_selfcheck_jvp(mv_kernel_find("scalar"), "maze", settings, MV_PATHWISE, MV_GUMBEL);
    near("derivative against the complex step", worst, 0, 1e-12);
  }
  free(settings);
}

/* One step of one lifetime, called by hand. */
struct bench {
  const struct mv_task *task;
  void *settings;
  struct mv_shape shape;
  struct mv_life life;
  double *theta, *next, *tape;
};

static struct bench bench_make(const char *outer_loss, bool context)
{
  struct bench b = {.task = mv_task_find(mv_kernel_find("scalar"), "maze")};
  b.settings = calloc(1, b.task->settings_size);
  autodiff_settings(b.task, outer_loss, context, b.settings);
  b.shape = b.task->shape(b.settings);
  double *room = calloc((size_t)(b.shape.meta + 2 * b.shape.state + b.shape.tape + b.shape.scratch + 1), sizeof *room);
  b.theta = room, b.next = b.theta + b.shape.state, b.tape = b.next + b.shape.state;
  double *eta = b.tape + b.shape.tape, *scratch = eta + b.shape.meta, *goal = scratch + b.shape.scratch;
  for (int j = 0; j < b.shape.meta; j++)
    eta[j] = any(j);
  b.life = (struct mv_life){.settings = b.settings, .steps = 4, .eta = eta, .instance = goal, .scratch = scratch};
  double noise[2000];
  for (int i = 0; i < 2000; i++)
    noise[i] = 0.5 + 0.499 * any(19 * i);
  const struct mv_noise all = {noise, noise, noise, MV_INVERSE_CDF};
  b.task->init(&b.life, &all, b.theta);
  struct mv_report report;
  b.task->step(&b.life, 1, &all, MV_PATHWISE, b.theta, b.next, b.tape, &report);
  return b;
}

static void bench_free(struct bench *b) { free(b->theta), free(b->settings); }

/* <bar, theta_dot'> + <weight, report_dot> = <bar_before, theta_dot> + eta_bar_c for any bar, weight and theta_dot. */
static void check_transpose(const char *outer_loss, bool context)
{
  struct bench b = bench_make(outer_loss, context);
  const int meta = b.shape.meta, state = b.shape.state, learned = state - 11;
  double *dot = calloc((size_t)(2 * meta * state), sizeof *dot), *before = dot + meta * state;
  double *bar = calloc((size_t)(4 * state), sizeof *bar), *after = bar + 2 * state, eta_bar[2 * 40];
  struct mv_report report[40] = {{0}}, weight[2] = {{0, 0.3, -0.8, 0, 0}, {0, -0.2, 0, 0, 0}};
  for (int i = 0; i < meta * state; i++)
    dot[i] = before[i] = i % state < learned ? any(23 * i) : 0;
  for (int i = 0; i < 2 * state; i++)
    bar[i] = after[i] = any(29 * i);
  for (int j = 0; j < 2 * meta; j++)
    eta_bar[j] = any(j); /* added to */
  struct mv_columns columns = {.count = meta, .theta_dot = dot, .report = report};
  struct mv_adjoints adjoints = {.count = 2, .theta_bar = bar, .eta_bar = eta_bar, .weight = weight};
  b.task->step_jvp(&b.life, 1, b.theta, b.tape, &columns, 1);
  b.task->step_vjp(&b.life, 1, b.theta, b.tape, &adjoints, 1);
  for (int k = 0; k < 2; k++)
    for (int c = 0; c < meta; c++) {
      double left = weight[k].logp * report[c].logp + weight[k].surrogate * report[c].surrogate, scale = fabs(left);
      double right = eta_bar[k * meta + c] - any(k * meta + c);
      for (int i = 0; i < state; i++) {
        left += after[k * state + i] * dot[c * state + i];
        right += bar[k * state + i] * before[c * state + i];
        scale += fabs(after[k * state + i] * dot[c * state + i]);
      }
      near("adjoint and tangent", left, right, 1e-14 * scale);
    }
  b.task->init_vjp(&b.life, &adjoints);
  free(dot), free(bar);
  bench_free(&b);
}

static void transposes(void **state)
{
  (void)state;
  check_transpose("first_state_discounted", false);
  check_transpose("first_state_adv", true);
}

/* A learner that has left the numbers leaves no finite objective, in estimators without derivatives too. */
static void broken_learner(void **state)
{
  (void)state;
  struct rig r;
  rig_make(&r, mv_kernel_find("scalar"), "maze", "fd", 30);
  *(double *)rig_task_setting(&r, "learning_rate") = 1e6;
  *(double *)rig_task_setting(&r, "vf_coef") = 1e6;
  rig_ready(&r);
  const double eta[] = {0};
  rig_sample(&r, mv_key_make(1, eta, 1), eta, 0, NULL);
  assert_false(isfinite(rig_value(&r, rig_offset(&r, "objective"), 0)));
  rig_free(&r);
}

static struct mv_job *job_of(const char *hidden, char *message, size_t size)
{
  char text[512];
  snprintf(text, sizeof text,
           "name: a\nseed: 1\nlifetime_length: 2\ntask: {name: maze, hidden: %s}\neta: {points: [[0]]}\n"
           "estimators:\n  - {name: fd, replicates: 1}\n",
           hidden);
  FILE *report = fmemopen(message, size, "w");
  struct mv_job *job = mv_job_parse("a.yaml", text, strlen(text), NULL, 0, mv_kernel_best(), report);
  fclose(report);
  return job;
}

static void jobs(void **state)
{
  (void)state;
  char message[1000] = "";
  struct mv_job *job = job_of("[8, 4]", message, sizeof message);
  assert_non_null(job);
  assert_string_equal(job->kernel->name, "scalar"); /* lanes: 1 */
  assert_ptr_equal(job->task, mv_task_find(job->kernel, "maze"));
  mv_job_free(job);
  assert_null(job_of("[8, 0]", message, sizeof message));
  assert_non_null(strstr(message, "a.yaml:4:32: hidden: 0 is out of range"));
  assert_null(job_of("[1, 1, 1, 1, 1, 1, 1, 1]", message, sizeof message));
  assert_non_null(strstr(message, "8 hidden layers; at most 7"));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(moves),          cmocka_unit_test(starts),     cmocka_unit_test(respawns),
      cmocka_unit_test(quantiles),      cmocka_unit_test(products),   cmocka_unit_test(hessian),
      cmocka_unit_test(variants),       cmocka_unit_test(transposes), cmocka_unit_test(independent_program),
      cmocka_unit_test(broken_learner), cmocka_unit_test(jobs)};
  return cmocka_run_group_tests_name("maze", tests, NULL, NULL);
}
