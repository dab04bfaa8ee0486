/* bench_reverse.c - what a gradient through N inner steps takes forwards, and back with so many steps kept: processor
 * time, evaluations and memory. `make bench` builds and runs it with the fastest kernel; some two minutes.
 *
 * bandit: that of Vuorio et al. 2022 (30 arms, batches of 10), M = 2, small rates. maze: side 5, 5 environments, horizon 16,
 * networks of 256 x 256 units, M = 385 (context network), T = N; forwards a column for each is carried, so for few steps
 * alone. One window of N steps; kept: all that MEMORY holds, or a given number.
 */
#include "bench.h"
#include "harness.h"

enum { REPEATS = 3 };
#define MEMORY 1200000000 /* bytes of records */
#define ENOUGH 3.0        /* seconds after which a timing is not repeated */

/* Least of a few runs of one lane group, per inner step of one lifetime. */
static double time_sample(struct rig *r, const double *eta)
{
  double least = HUGE_VAL, begin = thread_seconds();
  for (int repeat = 0; repeat < REPEATS && (repeat == 0 || thread_seconds() - begin < ENOUGH); repeat++) {
    double start = thread_seconds(), took;
    rig_sample(r, mv_key_make(1, eta, r->problem.shape.meta), eta, 0, NULL);
    took = thread_seconds() - start;
    least = took < least ? took : least;
  }
  return least / ((double)r->problem.steps * r->kernel->lanes);
}

static void make_maze(struct rig *r)
{
  *(int64_t *)rig_task_setting(r, "side") = 5;
  *(int64_t *)rig_task_setting(r, "horizon") = 16;
  *(int64_t *)rig_task_setting(r, "environments") = 5;
  *(struct mv_ints *)rig_task_setting(r, "hidden") = (struct mv_ints){2, {256, 256}};
  *(int *)rig_task_setting(r, "entropy") = 1; /* context */
  r->problem.shape = r->problem.task->shape(r->problem.settings);
}

/* checkpoints < 0: forwards; 0: all that MEMORY holds */
static void bench(FILE *csv, const char *task, int64_t steps, int64_t checkpoints)
{
  struct rig r;
  struct mv_reversal back = {0};
  char kernel[MV_KERNEL_LABEL];
  const char *const mode = checkpoints < 0 ? "forward" : "reverse";
  rig_make(&r, kernel_of(task), task, "backprop", steps);
  if (!strcmp(task, "maze"))
    make_maze(&r);
  *(bool *)rig_setting(&r, "weighted") = false;
  *(int64_t *)rig_setting(&r, "memory") = MEMORY;
  *(int *)rig_setting(&r, "mode") = rig_word(&r, "mode", mode);
  *(int64_t *)rig_setting(&r, "checkpoints") = checkpoints < 0 ? 0 : checkpoints;
  rig_ready(&r);
  if (checkpoints >= 0)
    r.estimator->reversal(r.settings, &r.problem, &back);
  else
    back.evaluations = 1;
  const int meta = r.problem.shape.meta;
  double eta[meta];
  for (int j = 0; j < meta; j++)
    eta[j] = !strcmp(task, "maze") ? 0.1 * sin(j) : -6 - j;
  mv_kernel_label(r.kernel, &r.problem.shape, kernel);
  double us = 1e6 * time_sample(&r, eta), mib = (double)r.arena.size / 1048576;
  printf("%-7s %5d %8lld %-8s %8lld %8.3f %10.3f %12.4f\n", task, meta, (long long)steps, mode, (long long)back.records,
         back.evaluations, mib, us);
  if (csv)
    csv_line(csv, origin_compiler(), "%s,%s,%d,%lld,%s,%lld,%.4f,%.3f,%.4f", kernel, task, meta, (long long)steps, mode,
             (long long)back.records, back.evaluations, mib, us);
  rig_free(&r);
}

int main(int argc, char **argv)
{
  static const int64_t few[] = {0, 200, 20, 5}, fewer[] = {0, 50, 10, 4};
  FILE *csv =
      csv_open(argc > 1 ? argv[1] : NULL, "compiler,kernel,task,meta,steps,mode,kept,evaluations,mib,us_per_step");
  printf("%-7s %5s %8s %-8s %8s %8s %10s %12s\n", "task", "M", "N", "mode", "kept", "evals", "MiB", "us/step");
  for (int64_t steps = 1000; steps <= 1000000; steps *= 10) {
    bench(csv, "bandit", steps, -1);
    for (size_t k = 0; k < sizeof few / sizeof *few; k++)
      if (few[k] != 5 || steps <= 10000)
        bench(csv, "bandit", steps, few[k]);
  }
  bench(csv, "maze", 8, -1);
  for (int64_t steps = 100; steps <= 400; steps *= 2)
    for (size_t k = 0; k < sizeof fewer / sizeof *fewer; k++)
      bench(csv, "maze", steps, fewer[k]);
  return csv && fclose(csv);
}
