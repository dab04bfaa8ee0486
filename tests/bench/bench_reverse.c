/* bench_reverse.c - what a gradient through N inner steps takes forwards, and back with so many steps kept: processor
 * time, evaluations and memory. `make bench` builds and runs it with the fastest kernel. Bandit of Vuorio et al. 2022 (30
 * arms, batches of 10), one window of N steps, small rates.
 */
#include "bench.h"
#include "harness.h"

enum { REPEATS = 3 };

/* Least of a few runs of one lane group, per inner step of one lifetime. */
static double time_sample(struct rig *r)
{
  static const double eta[] = {-6, -7};
  double least = HUGE_VAL;
  for (int repeat = 0; repeat < REPEATS; repeat++) {
    double start = thread_seconds(), took;
    rig_sample(r, mv_key_make(1, eta, 2), eta, 0, NULL);
    took = thread_seconds() - start;
    least = took < least ? took : least;
  }
  return least / ((double)r->problem.steps * r->kernel->lanes);
}

/* checkpoints < 0: forwards; 0: all that the default memory holds */
static void bench(FILE *csv, int64_t steps, int64_t checkpoints)
{
  struct rig r;
  struct mv_reversal back = {0};
  rig_make(&r, mv_kernel_best(), "bandit", "backprop", steps);
  *(bool *)rig_setting(&r, "weighted") = false;
  *(int *)rig_setting(&r, "mode") = rig_word(&r, "mode", checkpoints < 0 ? "forward" : "reverse");
  *(int64_t *)rig_setting(&r, "checkpoints") = checkpoints < 0 ? 0 : checkpoints;
  rig_ready(&r);
  if (checkpoints >= 0)
    r.estimator->reversal(r.settings, &r.problem, &back);
  else
    back.evaluations = 1;
  double ns = 1e9 * time_sample(&r), mib = (double)r.arena.size / 1048576;
  printf("%8lld %-8s %8lld %8.3f %10.2f %10.2f\n", (long long)steps, checkpoints < 0 ? "forward" : "reverse",
         (long long)back.records, back.evaluations, mib, ns);
  if (csv)
    fprintf(csv, "%s,%s,%lld,%s,%lld,%.4f,%.3f,%.2f\n", MV_GIT, r.kernel->name, (long long)steps,
            checkpoints < 0 ? "forward" : "reverse", (long long)back.records, back.evaluations, mib, ns);
  rig_free(&r);
}

int main(int argc, char **argv)
{
  static const int64_t kept[] = {-1, 0, 200, 20, 5};
  FILE *csv = argc > 1 ? fopen(argv[1], "a") : NULL;
  if (csv && fseek(csv, 0, SEEK_END) == 0 && ftell(csv) == 0)
    fprintf(csv, "commit,kernel,steps,mode,kept,evaluations,mib,ns_per_step\n");
  printf("%8s %-8s %8s %8s %10s %10s\n", "N", "mode", "kept", "evals", "MiB", "ns/step");
  for (int64_t steps = 1000; steps <= 1000000; steps *= 10)
    for (size_t k = 0; k < sizeof kept / sizeof *kept; k++)
      if (kept[k] != 5 || steps <= 10000)
        bench(csv, steps, kept[k]);
  return csv && fclose(csv);
}
