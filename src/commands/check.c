/* check.c - `metavar check`: can this binary be trusted on this machine? Random numbers, derivatives, and the bits of
 * every pair of task and estimator in every kernel that runs here. */
#include <stdio.h>
#include <string.h>

#include "metavar/command.h"
#include "metavar/selfcheck.h"

#define JVP_TOLERANCE 1e-12

static int failures, passes;

static void say(bool ok, const char *what, const char *detail)
{
  printf("%-6s %s%s%s\n", ok ? "ok" : "FAILED", what, detail[0] ? ": " : "", detail);
  failures += !ok;
  passes += ok;
}

static void check_derivatives(const struct mv_kernel *kernel)
{
  for (int t = 0; kernel->tasks[t]; t++) {
    const struct mv_task *task = kernel->tasks[t];
    char settings[4096] = {0};
    if (!task->step_jvp || task->settings_size > sizeof settings || !mv_selfcheck_serves(kernel, task->name))
      continue;
    mv_field_defaults(task->fields, settings);
    for (int hessian = 0; hessian < MV_HESSIANS; hessian++) {
      if (!(task->shape(settings).hessians & 1u << hessian))
        continue;
      double worst = mv_selfcheck_jvp(kernel, task->name, NULL, hessian, MV_INVERSE_CDF);
      char what[160], detail[64];
      snprintf(what, sizeof what, "derivative of %s, %s, kernel %s, against the complex step", task->name,
               mv_hessian_names[hessian], kernel->name);
      snprintf(detail, sizeof detail, "relative difference %.1e", worst);
      say(worst <= JVP_TOLERANCE, what, detail);
    }
  }
}

static void check_pair(const struct mv_kernel *kernel, const char *task, const char *estimator, enum mv_recipe recipe)
{
  const char *expected = mv_selfcheck_golden(task, estimator, recipe);
  char got[33], scalar[33], what[160];
  mv_selfcheck_digest(kernel, task, estimator, recipe, got);
  mv_selfcheck_digest(mv_kernel_find("scalar"), task, estimator, recipe, scalar);
  snprintf(what, sizeof what, "bits of %s on %s, %s settings, kernel %s", estimator, task, mv_recipe_names[recipe],
           kernel->name);
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
        if (mv_pair_valid(kernel->tasks[t], kernel->estimators[e]) &&
            mv_selfcheck_serves(kernel, kernel->tasks[t]->name))
          check_pair(kernel, kernel->tasks[t]->name, kernel->estimators[e]->name, recipe);
}

static int print_golden(void)
{
  const struct mv_kernel *kernel = mv_kernel_find("scalar");
  puts("/* golden.h - digests of `metavar check --golden`: change them only when the bits change on purpose, with the "
       "reason in the commit. */");
  for (int t = 0; kernel->tasks[t]; t++)
    for (int e = 0; kernel->estimators[e]; e++)
      for (int recipe = 0; recipe < MV_RECIPES; recipe++) {
        char hex[33];
        if (!mv_pair_valid(kernel->tasks[t], kernel->estimators[e]))
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
  printf("%d passed, %d failed\n", passes, failures);
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
    .doc =
        "Checks the random numbers against published vectors, every hand-written derivative against the complex "
        "step, and the bits of every pair of task "
        "and estimator in every kernel against the digests recorded in the source. Takes about a second; exit code 1 "
        "if anything fails.",
    .options = options,
    .run = run,
};
