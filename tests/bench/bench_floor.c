/* bench_floor.c - how near the inner loops are to the floor of the hardware. `make bench` builds and runs one per kernel.
 *
 * The floor is what a step of the bandit cannot do without, in a bare loop over the same lanes: K exponentials, 2B
 * counter-based uniforms, the B normals made of half of them, B inverse-CDF choices, the normalisation of the softmax
 * and K multiply-adds of the update. Parts of it run alone give the shares: `update` is
 * what the primal takes beyond exponentials, random numbers and choices; `tangents` what backprop takes beyond the
 * primal (4 truncation lengths, 2 Hessian modes, 6 discounts). Everything is timed in turn, TURNS times,
 * in processor time of this thread: medians and quartiles; ratios are medians of the ratios within one turn.
 * Problem: the long study of Vuorio et al. 2022 at eta = (1.5, 1.5).
 */
#include "bench.h"
#include "harness.h"
#include "metavar/choose.h"
#include "metavar/noise.h"

enum { ARMS = 30, BATCH = 10, STEPS = 80, MOST = 16 };

static const double eta[] = {1.5, 1.5};
static const struct mv_ints lengths = {4, {2, 21, 41, 80}};
static volatile double sink;

/* --- the floor and its parts ------------------------------------------------------------------------------- */

enum { EXP = 1, RANDOM = 2, CHOICE = 4, REST = 8, FLOOR = 15 };

static struct mv_counter counter_of(enum mv_purpose purpose)
{
  struct mv_coords coords = {.key = mv_key_make(1, eta, 2)};
  for (int l = 0; l < MV_LANES_MAX; l++)
    coords.task[l] = l;
  return mv_counter_make(&coords, purpose);
}

static inline __attribute__((always_inline)) void bare(int parts)
{
  struct mv_counter action = counter_of(MV_FOR_ACTION), normal = counter_of(MV_FOR_NORMAL);
  real theta[ARMS], pi[ARMS], u[BATCH], z[BATCH], kept = real_set(0.0);
  for (int k = 0; k < ARMS; k++) {
    theta[k] = real_set(-0.1 * k);
    pi[k] = real_set(1.0 / ARMS);
  }
  mv_draw_uniforms(&action, 0, BATCH, u);
  for (int64_t n = 0; n < STEPS; n++) {
    real top = theta[0], sum = real_set(0.0);
    if (parts & REST)
      for (int k = 1; k < ARMS; k++)
        top = num_max(top, theta[k]);
    if (parts & EXP)
      for (int k = 0; k < ARMS; k++)
        pi[k] = num_exp_negative(theta[k] - top);
    if (parts & REST) {
      for (int k = 0; k < ARMS; k++)
        sum += pi[k];
      sum = 1.0 / sum;
      for (int k = 0; k < ARMS; k++)
        pi[k] *= sum;
    }
    if (parts & RANDOM) {
      mv_draw_uniforms(&action, n, BATCH, u);
      mv_draw_normals(&normal, n, BATCH, z);
      kept += z[0] + z[BATCH - 1] + u[0];
    }
    if (parts & CHOICE) {
      numi index[BATCH];
      struct mv_noise noise = {.choice = u, .sampler = MV_INVERSE_CDF};
      mv_choose(&noise, 0, BATCH, ARMS, theta, pi, index);
      for (int b = 0; b < BATCH; b++)
        kept += MV_REAL(index[b]);
    }
    if (parts & REST)
      for (int k = 0; k < ARMS; k++)
        theta[k] += 1e-3 * pi[k];
    else
      __asm__ volatile("" : : "r"(pi), "r"(theta), "r"(u), "r"(z) : "memory");
  }
  sink = NUM_LANE(&kept, 0, 0) + NUM_LANE(pi, 0, 0) + NUM_LANE(theta, 1, 0);
}

static __attribute__((noinline)) void run_floor(void *self) { (void)self, bare(FLOOR); }
static __attribute__((noinline)) void run_exp(void *self) { (void)self, bare(EXP); }
static __attribute__((noinline)) void run_random(void *self) { (void)self, bare(RANDOM); }
static __attribute__((noinline)) void run_choice(void *self) { (void)self, bare(CHOICE); }

/* --- the production loops ---------------------------------------------------------------------------------- */

static void watch_nothing(void *self, int64_t n, const struct mv_report *report, struct mv_block *blocks)
{
  (void)self, (void)n, (void)report, (void)blocks;
}

static void run_primal(void *self)
{
  struct rig *r = self;
  num at[2] = {num_set(eta[0]), num_set(eta[1])};
  r->arena.used = 0;
  struct mv_walk walk = {.problem = &r->problem, .eta = at, .steps = STEPS, .arena = &r->arena};
  walk.coords.key = mv_key_make(1, eta, 2);
  for (int l = 0; l < MV_LANES_MAX; l++)
    walk.coords.task[l] = l;
  r->kernel->walk_run(&walk, watch_nothing, NULL);
}

static void run_sample(void *self)
{
  static int64_t first;
  rig_sample(self, mv_key_make(1, eta, 2), eta, first += MV_LANES, NULL);
}

/* --- timing ------------------------------------------------------------------------------------------------ */

struct item {
  const char *name;
  void (*run)(void *self);
  struct rig *rig;
  double steps;          /* inner steps of one lane in one run */
  double seconds[TURNS]; /* per inner step of one lane */
};

static struct item items[MOST];
static int item_count;

static struct item *add(const char *name, void (*run)(void *), struct rig *rig, int64_t steps)
{
  items[item_count] = (struct item){name, run, rig, (double)steps};
  return &items[item_count++];
}

/* What remains of `whole` without its parts. */
static void add_rest(const char *name, const struct item *whole, int parts, const struct item *const *part)
{
  struct item *rest = add(name, NULL, NULL, STEPS);
  for (int i = 0; i < TURNS; i++) {
    rest->seconds[i] = whole->seconds[i];
    for (int p = 0; p < parts; p++)
      rest->seconds[i] -= part[p]->seconds[i];
  }
}

/* --- what is timed ----------------------------------------------------------------------------------------- */

static struct rig *rig_of(const char *estimator)
{
  const struct mv_kernel *kernel = mv_kernel_find(MV_BENCH_KERNEL);
  struct rig *r = malloc(sizeof *r);
  rig_make(r, kernel, "bandit", estimator, STEPS);
  *(int64_t *)rig_task_setting(r, "cutoff") = 10;
  if (mv_field_find(r->estimator->fields, "truncation"))
    *(struct mv_ints *)rig_setting(r, "truncation") = lengths;
  return r;
}

static void add_estimators(struct rig *backprop)
{
  *(struct mv_reals *)rig_setting(backprop, "meta_discount") = (struct mv_reals){6, {0, 0.5, 0.8, 0.9, 0.95, 1}};
  rig_choose(backprop, "hessian", (const char *const[]){"pathwise", "dice", NULL});
  rig_ready(backprop);
  add("backprop", run_sample, backprop, STEPS);
  struct rig *es = rig_of("es"), *fd = rig_of("fd"), *reference = rig_of("reference");
  rig_ready(es), rig_ready(fd), rig_ready(reference);
  add("es", run_sample, es, 2 * STEPS);
  add("fd", run_sample, fd, 4 * STEPS);
  add("reference", run_sample, reference, STEPS);
}

static void report(FILE *csv)
{
  printf("%-10s %9s %17s %10s %10s %7s %8s\n", MV_BENCH_KERNEL, "ns/step", "quartiles", "steps/s", "samples/s",
         "/floor", "/primal");
  for (int i = 0; i < item_count; i++) {
    const struct item *m = &items[i];
    double at[4], rate = 1 / quartile(m->seconds, NULL, 2), samples = m->run == run_sample ? rate / m->steps : 0;
    for (int q = 1; q <= 3; q++)
      at[q] = 1e9 * quartile(m->seconds, NULL, q);
    double per_floor = quartile(m->seconds, items[0].seconds, 2),
           per_primal = quartile(m->seconds, items[1].seconds, 2);
    printf("%-10s %9.2f %8.2f %8.2f %10.3g %10.3g %7.3f %8.3f\n", m->name, at[2], at[1], at[3], rate, samples,
           per_floor, per_primal);
    if (csv)
      csv_line(csv, origin_compiler(), "%s,%s,%.2f,%.2f,%.2f,%.4g,%.4g,%.4f,%.4f", MV_BENCH_KERNEL, m->name, at[2],
               at[1], at[3], rate, samples, per_floor, per_primal);
  }
}

int main(int argc, char **argv)
{
  if (!mv_kernel_find(MV_BENCH_KERNEL)) /* before any vector instruction */
    return 0;
  struct rig *any = rig_of("fd");
  rig_ready(any);
  add("floor", run_floor, NULL, STEPS);
  const struct item *primal = add("primal", run_primal, any, STEPS);
  const struct item *part[] = {add("exp", run_exp, NULL, STEPS), add("random", run_random, NULL, STEPS),
                               add("choice", run_choice, NULL, STEPS)};
  add_estimators(rig_of("backprop"));
  for (int repeat = 0; repeat < TURNS; repeat++)
    for (int i = 0; i < item_count; i++)
      items[i].seconds[repeat] = seconds_of(items[i].run, items[i].rig) / (items[i].steps * MV_LANES);
  add_rest("update", primal, 3, part);
  add_rest("tangents", part[2] + 1, 1, &primal);
  FILE *csv = csv_open(argc > 1 ? argv[1] : NULL,
                       "compiler,kernel,what,ns_per_step,first_quartile,third_quartile,steps_per_second,"
                       "samples_per_second,per_floor,per_primal");
  report(csv);
  return csv && fclose(csv);
}
