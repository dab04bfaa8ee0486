/* check.c - `metavar check`: can this binary be trusted on this machine? Random numbers, derivatives, and the bits of
 * every pair of task and estimator in every kernel that runs here. */
#include <stdio.h>
#include <string.h>

#include "metavar/blas.h"
#include "metavar/command.h"
#include "metavar/selfcheck.h"

#define TOLERANCE 1e-12

static int failures, passes, skips;

static void say(bool ok, const char *what, const char *detail)
{
  printf("%-6s %s%s%s\n", ok ? "ok" : "FAILED", what, detail[0] ? ": " : "", detail);
  failures += !ok;
  passes += ok;
}

static void check_transpose(const struct mv_kernel *kernel, const char *task, enum mv_hessian hessian,
                            const char *oracle, struct mv_selfcheck_transpose found)
{
  char what[160], detail[128];
  snprintf(what, sizeof what, "transpose of %s, %s, kernel %s, against %s", task, mv_hessian_names[hessian],
           kernel->name, oracle);
  snprintf(detail, sizeof detail, "relative difference %.1e%s%s", found.worst, found.where[0] ? " in " : "",
           found.where);
  say(found.worst <= TOLERANCE, what, detail);
}

/* One task and Hessian mode. */
static void check_derivative(const struct mv_kernel *kernel, const struct mv_task *task, enum mv_hessian hessian)
{
  char what[160], detail[64];
  if (task->step_jvp) {
    double worst = mv_selfcheck_jvp(kernel, task->name, NULL, hessian, MV_INVERSE_CDF);
    snprintf(what, sizeof what, "derivative of %s, %s, kernel %s, against the complex step", task->name,
             mv_hessian_names[hessian], kernel->name);
    snprintf(detail, sizeof detail, "relative difference %.1e", worst);
    say(worst <= TOLERANCE, what, detail);
  }
  if (task->step_jvp && task->step_vjp)
    check_transpose(kernel, task->name, hessian, "the derivative",
                    mv_selfcheck_dot(kernel, task->name, hessian, MV_INVERSE_CDF));
  if (task->step_vjp)
    check_transpose(kernel, task->name, hessian, "the complex step",
                    mv_selfcheck_back(kernel, task->name, hessian, MV_INVERSE_CDF));
}

static void check_derivatives(const struct mv_kernel *kernel)
{
  for (int t = 0; kernel->tasks[t]; t++) {
    const struct mv_task *task = kernel->tasks[t];
    char settings[4096] = {0};
    if (task->settings_size > sizeof settings || !mv_selfcheck_serves(kernel, task->name))
      continue;
    mv_field_defaults(task->fields, settings);
    for (int hessian = 0; hessian < MV_HESSIANS; hessian++)
      if (task->shape(settings).hessians & 1u << hessian)
        check_derivative(kernel, task, hessian);
  }
}

static void check_pair(const struct mv_kernel *kernel, const char *task, const char *estimator, enum mv_recipe recipe)
{
  const char *expected = mv_selfcheck_golden(task, estimator, recipe);
  char got[33], scalar[33], what[160];
  snprintf(what, sizeof what, "bits of %s on %s, %s settings, kernel %s", estimator, task, mv_recipe_names[recipe],
           kernel->name);
  if (expected && !mv_selfcheck_holds(task)) {
    printf("%-6s %s: networks are recorded with OpenBLAS's kernels for " MV_GOLDEN_CORE ", these are for %s\n", "skip",
           what, mv_blas_core());
    skips++;
    return;
  }
  mv_selfcheck_digest(kernel, task, estimator, recipe, got);
  mv_selfcheck_digest(mv_kernel_find("scalar"), task, estimator, recipe, scalar);
  if (expected)
    say(!strcmp(got, expected), what, strcmp(got, expected) ? "differ from the recorded digest" : "");
  else
    say(!strcmp(got, scalar), what, "compared with the scalar kernel; no digest is recorded");
}

static void check_bits(const struct mv_kernel *kernel)
{
  for (int t = 0; kernel->tasks[t]; t++)
    for (int e = 0; kernel->estimators[e]; e++)
      for (int recipe = 0; recipe < MV_RECIPES; recipe++)
        if (mv_recipe_valid(recipe, kernel->tasks[t], kernel->estimators[e]) &&
            mv_selfcheck_serves(kernel, kernel->tasks[t]->name))
          check_pair(kernel, kernel->tasks[t]->name, kernel->estimators[e]->name, recipe);
}

static int print_golden(void)
{
  const struct mv_kernel *kernel = mv_kernel_find("scalar");
  for (int t = 0; kernel->tasks[t]; t++)
    if (!mv_selfcheck_holds(kernel->tasks[t]->name)) {
      fprintf(stderr,
              "metavar: digests of networks are recorded with OpenBLAS's kernels for " MV_GOLDEN_CORE
              ", here those for %s are in use; see OPENBLAS_CORETYPE\n",
              mv_blas_core());
      return MV_EXIT_FAILED;
    }
  puts("/* golden.h - digests of `metavar check --golden`: change them only when the bits change on purpose, with the "
       "reason in the commit. */");
  for (int t = 0; kernel->tasks[t]; t++)
    for (int e = 0; kernel->estimators[e]; e++)
      for (int recipe = 0; recipe < MV_RECIPES; recipe++) {
        char hex[33];
        if (!mv_recipe_valid(recipe, kernel->tasks[t], kernel->estimators[e]))
          continue;
        const char *task = kernel->tasks[t]->name, *estimator = kernel->estimators[e]->name;
        mv_selfcheck_digest(kernel, task, estimator, recipe, hex);
        printf("{\"%s\", \"%s\", \"%s\", \"%s\"},\n", task, estimator, mv_recipe_names[recipe], hex);
      }
  return MV_EXIT_OK;
}

static int run(const struct mv_args *args)
{
  if (mv_args_value(args, "golden"))
    return print_golden();
  const struct mv_kernel *kernel[8];
  int n = mv_kernel_list(kernel);
  say(mv_selfcheck_philox(), "Philox4x32-10 against the published vectors", "");
  for (int k = 0; k < n; k++)
    if (strcmp(kernel[k]->name, "shadow")) {
      check_derivatives(kernel[k]);
      check_bits(kernel[k]);
    }
  printf("%d passed, %d failed", passes, failures);
  if (skips)
    printf(", %d skipped", skips);
  putchar('\n');
  return failures ? MV_EXIT_FAILED : MV_EXIT_OK;
}

static const struct mv_option options[] = {
    {"golden", 0, NULL, "print the digests of all pairs as src/golden.h and exit"},
    {NULL},
};

const struct mv_command mv_command_check = {
    .name = "check",
    .positional = "",
    .summary = "derivatives, known answers and recorded digests, with this binary on this machine",
    .doc = "Checks the random numbers against published vectors, every hand-written derivative against the complex "
           "step, and the bits of every pair of task and estimator in every kernel against the digests recorded in the "
           "source. Takes about a second; exit code 1 "
           "if anything fails. Digests of networks are skipped where OpenBLAS has other kernels in use than those that "
           "they were recorded with.",
    .options = options,
    .run = run,
};
