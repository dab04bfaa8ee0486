/* kernel.c - which builds of the inner loops this machine can run, and which is used. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metavar/blas.h"
#include "metavar/kernel.h"

#define MV_REGISTER_KERNEL(variant) extern const struct mv_kernel mv_kernel_##variant;
#include "kernels.h"
#undef MV_REGISTER_KERNEL

const char *const mv_hessian_names[] = {"pathwise", "dice", NULL};
const char *const mv_sampler_names[] = {"inverse_cdf", "gumbel", NULL};

static const struct mv_kernel *const built[] = {
#define MV_REGISTER_KERNEL(variant) &mv_kernel_##variant,
#include "kernels.h"
    NULL};

static bool runs_here(const struct mv_kernel *kernel)
{
#ifdef __x86_64__
  if (!strcmp(kernel->name, "x86_64_v3"))
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  if (!strcmp(kernel->name, "x86_64_v4"))
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd");
#endif
  return kernel->name[0] != '\0';
}

static void same_name(const char *folder, const char *file, const char *name)
{
  if (!strcmp(file, name))
    return;
  fprintf(stderr, "metavar: src/%s/%s.c calls itself \"%s\": .name has to be the name of the file\n", folder, file,
          name);
  abort();
}

/* A copied file whose .name was forgotten would hide the original. */
static void check_names(const struct mv_kernel *kernel)
{
  for (int i = 0; kernel->tasks[i]; i++)
    same_name("tasks", kernel->task_files[i], kernel->tasks[i]->name);
  for (int i = 0; kernel->estimators[i]; i++)
    same_name("estimators", kernel->estimator_files[i], kernel->estimators[i]->name);
}

int mv_kernel_list(const struct mv_kernel *out[8])
{
  int n = 0;
  check_names(built[0]);
  for (int i = 0; built[i]; i++)
    if (runs_here(built[i]))
      out[n++] = built[i];
  return n;
}

const struct mv_kernel *mv_kernel_find(const char *name)
{
  for (int i = 0; built[i]; i++)
    if (!strcmp(built[i]->name, name) && runs_here(built[i]))
      return built[i];
  return NULL;
}

const struct mv_kernel *mv_kernel_best(void)
{
  const char *wanted = getenv("METAVAR_ISA");
  if (wanted && *wanted) {
    const struct mv_kernel *kernel = mv_kernel_find(wanted);
    if (kernel && strcmp(wanted, "shadow"))
      return kernel;
    static bool told;
    if (!told)
      fprintf(stderr, "metavar: METAVAR_ISA=%s is not a kernel of this machine, ignored; see `metavar list kernels`\n",
              wanted);
    told = true;
  }
  const struct mv_kernel *list[8], *best = NULL;
  int n = mv_kernel_list(list);
  for (int i = 0; i < n; i++)
    if (strcmp(list[i]->name, "shadow") && (!best || list[i]->lanes > best->lanes))
      best = list[i];
  return best;
}

const struct mv_kernel *mv_kernel_for(const struct mv_kernel *kernel, const struct mv_shape *shape)
{
  return shape->lanes == 1 && kernel->lanes > 1 ? mv_kernel_find("scalar") : kernel;
}

void mv_kernel_label(const struct mv_kernel *kernel, const struct mv_shape *shape, char out[MV_KERNEL_LABEL])
{
  const bool blas = shape->lanes == 1;
  snprintf(out, MV_KERNEL_LABEL, "%s%s%s", kernel->name, blas ? "+" : "", blas ? mv_blas_core() : "");
}

const struct mv_task *mv_task_find(const struct mv_kernel *kernel, const char *name)
{
  for (int i = 0; kernel->tasks[i]; i++)
    if (!strcmp(kernel->tasks[i]->name, name))
      return kernel->tasks[i];
  return NULL;
}

const struct mv_estimator *mv_estimator_find(const struct mv_kernel *kernel, const char *name)
{
  for (int i = 0; kernel->estimators[i]; i++)
    if (!strcmp(kernel->estimators[i]->name, name))
      return kernel->estimators[i];
  return NULL;
}
