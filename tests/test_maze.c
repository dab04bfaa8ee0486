/* test_maze.c - the maze: dynamics by cases, tangents against the complex step, adjoints against tangents, whole lifetimes
 * against an independent program with automatic differentiation (tests/data/maze_autodiff.py).
 */
#include <complex.h>
#include <stdio.h>

#include "metavar/job.h"
#include "metavar/maze.h"
#include "numbers.h"

#include "data/maze_autodiff.inc"

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
static void autodiff_settings(const struct mv_task *task, const char *outer_loss, const char *activation, bool context,
                              void *s)
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
  *(int *)member(task, s, "activation") = word(task, "activation", activation);
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
    autodiff_settings(task, autodiff[k].outer_loss, autodiff[k].activation, autodiff[k].context, settings);
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
    const char *outer_loss, *activation;
    bool context;
    int64_t side, flip_every;
  } row[] = {{{0, {0}}, "first_state", "relu", false, 2, 16},
             {{1, {9}}, "first_state_adv", "tanh", false, 5, 0},
             {{3, {4, 6, 5}}, "first_state_discounted", "relu", true, 3, 24},
             {{2, {7, 6}}, "first_state_adv", "tanh", true, 3, 16},
             {{2, {70, 65}}, "first_state_discounted", "relu", false, 3, 0}};
  const struct mv_task *task = mv_task_find(mv_kernel_find("scalar"), "maze");
  void *settings = calloc(1, task->settings_size);
  for (size_t k = 0; k < sizeof row / sizeof *row; k++) {
    autodiff_settings(task, row[k].outer_loss, row[k].activation, row[k].context, settings);
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

static struct bench bench_make(const char *outer_loss, const char *activation, bool context)
{
  struct bench b = {.task = mv_task_find(mv_kernel_find("scalar"), "maze")};
  b.settings = calloc(1, b.task->settings_size);
  autodiff_settings(b.task, outer_loss, activation, context, b.settings);
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
static void check_transpose(const char *outer_loss, const char *activation, bool context)
{
  struct bench b = bench_make(outer_loss, activation, context);
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
  bool zero[40] = {false};
  struct mv_columns columns = {.count = meta, .theta_dot = dot, .report = report, .zero = zero};
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

/* The tangent along any direction of theta and any eta, the critic's included, against the complex step of one step. */
static void check_direction(const char *outer_loss, const char *activation, bool context)
{
  struct bench b = bench_make(outer_loss, activation, context);
  const struct mv_task *shadow = mv_task_find(mv_kernel_find("shadow"), "maze");
  const int meta = b.shape.meta, state = b.shape.state, learned = state - 11;
  double *dot = calloc((size_t)(meta * state), sizeof *dot);
  double complex *room = calloc((size_t)(meta + 2 * state + b.shape.tape + b.shape.scratch + 2001), sizeof *room);
  double complex *theta = room, *next = theta + state, *eta = next + state, *noise = eta + meta, *goal = noise + 2000;
  double complex *tape = goal + 1, *scratch = tape + b.shape.tape, out[5];
  bool zero[40] = {false};
  struct mv_report report[40];
  struct mv_columns columns = {.count = meta, .theta_dot = dot, .report = report, .zero = zero};
  for (int i = 0; i < meta * state; i++)
    dot[i] = i % state < learned ? any(31 * i) : 0;
  for (int i = 0; i < 2000; i++)
    noise[i] = 0.5 + 0.499 * any(19 * i);
  struct mv_life life = b.life;
  life.eta = (const num *)eta, life.instance = (const num *)goal, life.scratch = (num *)scratch;
  const struct mv_noise all = {(const num *)noise, (const num *)noise, (const num *)noise, MV_INVERSE_CDF};
  b.task->step_jvp(&b.life, 1, b.theta, b.tape, &columns, 1);
  for (int c = 0; c < meta; c += 6) {
    for (int i = 0; i < state; i++)
      theta[i] = b.theta[i] + (i % state < learned ? I * 1e-30 * any(31 * (c * state + i)) : 0);
    for (int j = 0; j < meta; j++)
      eta[j] = b.life.eta[j] + (j == c ? I * 1e-30 : 0);
    shadow->step(&life, 1, &all, MV_PATHWISE, (const num *)theta, (num *)next, (num *)tape, (struct mv_report *)out);
    near("tangent of ell", report[c].logp, cimag(out[1]) / 1e-30, 1e-12 * fabs(report[c].logp));
    near("tangent of the surrogate", report[c].surrogate, cimag(out[2]) / 1e-30, 1e-12 * fabs(report[c].logp));
    for (int i = 0; i < state; i++)
      near("tangent of theta", dot[c * state + i], cimag(next[i]) / 1e-30, 1e-11);
  }
  free(dot), free(room);
  bench_free(&b);
}

static void transposes(void **state)
{
  (void)state;
  check_transpose("first_state_discounted", "relu", false);
  check_transpose("first_state_adv", "relu", true);
  check_transpose("first_state_adv", "tanh", false);
}

static void directions(void **state)
{
  (void)state;
  check_direction("first_state_discounted", "relu", false);
  check_direction("first_state_adv", "relu", true);
  check_direction("first_state_adv", "tanh", false);
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
  const struct CMUnitTest tests[] = {cmocka_unit_test(moves),
                                     cmocka_unit_test(starts),
                                     cmocka_unit_test(respawns),
                                     cmocka_unit_test(variants),
                                     cmocka_unit_test(transposes),
                                     cmocka_unit_test(directions),
                                     cmocka_unit_test(independent_program),
                                     cmocka_unit_test(broken_learner),
                                     cmocka_unit_test(jobs)};
  return cmocka_run_group_tests_name("maze", tests, NULL, NULL);
}
