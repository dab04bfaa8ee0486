/* bench_network.c - how near networks are to the rate of OpenBLAS. `make bench` builds and runs it.
 *
 * The rate is that of one product of 80 x 256 by 256 x 256, the largest of a maze with 10 environments, 8 steps and
 * networks 26-256-256-4. Beside it: of the actor the forward pass, the gradient (forward and backward) and the product of
 * the Hessian with a vector (R-operator, given the gradient); acting (the forward pass as 8 batches of 10 rows, which is how
 * episodes need it); and the maze's inner step, its tangent (the actor's; the critic learns without eta) and its adjoint as a
 * whole, random weights and episodes included.
 * Floating-point operations are those of the products alone. All in turn, TURNS times, in processor time of this thread:
 * medians and quartiles; per_dgemm is the median over turns of the ratio of rates.
 */
#include "bench.h"
#include "harness.h"
#include "metavar/nn.h"

enum { ROWS = 80, TIMES = 8, BATCH = ROWS / TIMES, MOST = 8 };
static const struct mv_nn net = {.layers = 3, .width = {26, 256, 256, 4}};

static double *theta, *direction, *gradient, *a, *d, *a_dot, *d_dot;

/* Products of one pass over the net, each 2 rows n_{l-1} n_l operations: `first` in layer 1, `others` in the rest. */
static double work(int first, int others)
{
  double sum = 0;
  for (int l = 1; l <= net.layers; l++)
    sum += (l == 1 ? first : others) * 2.0 * ROWS * net.width[l - 1] * net.width[l];
  return sum;
}

static void run_dgemm(void *self)
{
  (void)self;
  mv_blas_product(false, false, ROWS, 256, 256, 1.0, a + ROWS * 26, theta + mv_nn_weights(&net, 2), 1.0, a_dot);
}
static void run_forward(void *self) { (void)self, mv_nn_forward(&net, theta, ROWS, 0, ROWS, a); }
static void run_acting(void *self)
{
  (void)self;
  for (int t = 0; t < TIMES; t++)
    mv_nn_forward(&net, theta, ROWS, t * BATCH, BATCH, a);
}
static void run_gradient(void *self)
{
  run_forward(self);
  mv_nn_backward(&net, theta, ROWS, a, d, 1e-9, gradient, gradient);
}
static void run_hessian(void *self)
{
  (void)self;
  mv_nn_forward_dot(&net, theta, direction, ROWS, a, a_dot);
  mv_nn_backward_dot(&net, theta, direction, ROWS, a, a_dot, d, d_dot, 1e-9, gradient);
}

/* --- the task -------------------------------------------------------------------------------------------------------- */

static struct {
  const struct mv_task *task;
  struct mv_life life;
  struct mv_noise noise;
  double *theta, *next, *tape;
  struct mv_columns columns;
  struct mv_adjoints adjoints;
} maze;

static double *take(int count) { return calloc((size_t)count, sizeof(double)); }

static void maze_make(void)
{
  static double eta = 0, goal = 1;
  static bool zero;
  static struct mv_report report, weight = {.logp = 1e-3, .surrogate = 1e-3};
  maze.task = mv_task_find(mv_kernel_find("scalar"), "maze");
  void *settings = calloc(1, maze.task->settings_size);
  mv_field_defaults(maze.task->fields, settings);
  const struct mv_shape s = maze.task->shape(settings);
  double *noise = take(s.at_init.uniforms);
  for (int i = 0; i < s.at_init.uniforms; i++)
    noise[i] = 0.5 + 0.499 * sin(i);
  maze.noise = (struct mv_noise){noise, noise, noise, MV_INVERSE_CDF};
  maze.life =
      (struct mv_life){.settings = settings, .steps = 8, .eta = &eta, .instance = &goal, .scratch = take(s.scratch)};
  maze.theta = take(s.state), maze.next = take(s.state), maze.tape = take(s.tape);
  maze.columns = (struct mv_columns){.count = 1, .theta_dot = take(s.state), .report = &report, .zero = &zero};
  maze.adjoints =
      (struct mv_adjoints){.count = 1, .weight = &weight, .theta_bar = take(s.state), .eta_bar = take(s.meta)};
  maze.task->init(&maze.life, &maze.noise, maze.theta);
  maze.task->init_jvp(&maze.life, &maze.columns);
}

static void run_step(void *self)
{
  (void)self;
  struct mv_report report;
  maze.task->step(&maze.life, 0, &maze.noise, MV_PATHWISE, maze.theta, maze.next, maze.tape, &report);
}
static void run_tangent(void *self)
{
  (void)self;
  maze.task->step_jvp(&maze.life, 0, maze.theta, maze.tape, &maze.columns, 1);
}

static void run_adjoint(void *self)
{
  (void)self;
  maze.task->step_vjp(&maze.life, 0, maze.theta, maze.tape, &maze.adjoints, 1);
}

/* --------------------------------------------------------------------------------------------------------------------- */

static void nets_make(void)
{
  const int size = mv_nn_size(&net), batch = mv_nn_batch(&net, ROWS), draws = mv_nn_draws(&net);
  theta = take(size), direction = take(size), gradient = take(size);
  a = take(batch), d = take(batch), a_dot = take(batch), d_dot = take(batch);
  double *u = take(draws);
  for (int i = 0; i < draws; i++)
    u[i] = 0.5 + 0.499 * sin(i);
  mv_nn_init(&net, u, theta), mv_nn_init(&net, u, direction);
  for (int i = 0; i < batch; i++)
    a[i] = i % 4 == 0, d[i] = d_dot[i] = 1e-3 * sin(i);
  free(u);
}

int main(int argc, char **argv)
{
  const struct {
    const char *name;
    void (*run)(void *);
    double work;
  } item[] = {{"dgemm", run_dgemm, 2.0 * ROWS * 256 * 256}, {"forward", run_forward, work(1, 1)},
              {"acting", run_acting, work(1, 1)},           {"gradient", run_gradient, work(2, 3)},
              {"hessian", run_hessian, work(2, 6)},         {"step", run_step, 2 * work(2, 3)},
              {"tangent", run_tangent, work(2, 6)},         {"adjoint", run_adjoint, 2 * work(2, 6)}};
  enum { ITEMS = sizeof item / sizeof *item };
  double seconds[ITEMS][TURNS], rate[ITEMS][TURNS];
  nets_make();
  maze_make();
  run_gradient(NULL), run_step(NULL);
  for (int repeat = 0; repeat < TURNS; repeat++)
    for (int i = 0; i < ITEMS; i++) {
      seconds[i][repeat] = 1e6 * seconds_of(item[i].run, NULL);
      rate[i][repeat] = 1e-3 * item[i].work / seconds[i][repeat];
    }
  FILE *csv =
      csv_open(argc > 1 ? argv[1] : NULL, "compiler,core,what,us,first_quartile,third_quartile,gflops,per_dgemm");
  printf("%-10s %9s %19s %8s %7s\n", mv_blas_core(), "us", "quartiles", "Gflop/s", "/dgemm");
  for (int i = 0; i < ITEMS; i++) {
    double at[4], speed = quartile(rate[i], NULL, 2), share = quartile(rate[i], rate[0], 2);
    for (int q = 1; q <= 3; q++)
      at[q] = quartile(seconds[i], NULL, q);
    printf("%-10s %9.1f %9.1f %9.1f %8.1f %7.3f\n", item[i].name, at[2], at[1], at[3], speed, share);
    if (csv)
      csv_line(csv, origin_compiler(), "%s,%s,%.1f,%.1f,%.1f,%.2f,%.4f", mv_blas_core(), item[i].name, at[2], at[1],
               at[3], speed, share);
  }
  return csv && fclose(csv);
}
