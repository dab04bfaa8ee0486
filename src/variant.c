/* variant.c - one build of the inner loops: its tasks, estimators and entry points in one table. Compiled once per
 * variant. */
#include <string.h>

#include "metavar/few_rows.h"
#include "metavar/kernel.h"
#include "metavar/math.h"
#include "metavar/noise.h"

#define MV_REGISTER_TASK(name)      extern const struct mv_task MV_JOIN(mv_task_, name, MV_VARIANT);
#define MV_REGISTER_ESTIMATOR(name) extern const struct mv_estimator MV_JOIN(mv_estimator_, name, MV_VARIANT);
#include "registry.h"
#undef MV_REGISTER_TASK
#undef MV_REGISTER_ESTIMATOR

static const struct mv_task *const tasks[] = {
#define MV_REGISTER_TASK(name) &MV_JOIN(mv_task_, name, MV_VARIANT),
#define MV_REGISTER_ESTIMATOR(name)
#include "registry.h"
    NULL};
#undef MV_REGISTER_TASK
#undef MV_REGISTER_ESTIMATOR

static const struct mv_estimator *const estimators[] = {
#define MV_REGISTER_TASK(name)
#define MV_REGISTER_ESTIMATOR(name) &MV_JOIN(mv_estimator_, name, MV_VARIANT),
#include "registry.h"
    NULL};

/* The names of the files, in the same order. */
static const char *const task_files[] = {
#undef MV_REGISTER_TASK
#undef MV_REGISTER_ESTIMATOR
#define MV_REGISTER_TASK(name) #name,
#define MV_REGISTER_ESTIMATOR(name)
#include "registry.h"
    NULL};
static const char *const estimator_files[] = {
#undef MV_REGISTER_TASK
#undef MV_REGISTER_ESTIMATOR
#define MV_REGISTER_TASK(name)
#define MV_REGISTER_ESTIMATOR(name) #name,
#include "registry.h"
    NULL};

#define MV_TEXT_(x) #x
#define MV_TEXT(x)  MV_TEXT_(x)

/* Elementary functions, for tests: y[i] = function(x[i]), in groups of lanes. */
static void math(const char *function, const double *x, double *y, int n)
{
  for (int i = 0; i < n; i += MV_LANES) {
    real in = real_set(0.25), sine, cosine, out;
    for (int l = 0; l < MV_LANES && i + l < n; l++)
      ((double *)&in)[l] = x[i + l];
    if (!strcmp(function, "exp"))
      out = real_exp(in);
    else if (!strcmp(function, "log"))
      out = real_log(in);
    else if (!strcmp(function, "log1p"))
      out = real_log1p(in);
    else {
      real_sincos_turn(in, &sine, &cosine);
      out = !strcmp(function, "sin") ? sine : cosine;
    }
    for (int l = 0; l < MV_LANES && i + l < n; l++)
      y[i + l] = ((const double *)&out)[l];
  }
}

static void draw(const struct mv_coords *coords, enum mv_purpose purpose, int64_t step, int count, double *out)
{
  struct mv_counter counter = mv_counter_make(coords, purpose);
  num drawn[count];
  if (purpose == MV_FOR_NORMAL || purpose == MV_FOR_PERTURB)
    mv_draw_normals(&counter, step, count, drawn);
  else
    mv_draw_uniforms(&counter, step, count, drawn);
  for (int i = 0; i < count; i++)
    for (int l = 0; l < MV_LANES; l++)
      out[i * MV_LANES + l] = (double)NUM_LANE(drawn, i, l);
}

static void few_rows(int m, int n, int k, const double *a, const double *b, double *c)
{
  mv_few_rows(m, n, k, a, b, c);
}

#define MV_KERNEL_(variant) const struct mv_kernel mv_kernel_##variant
#define MV_KERNEL(variant)  MV_KERNEL_(variant)
extern MV_KERNEL(MV_VARIANT);
MV_KERNEL(MV_VARIANT) = {
    .name = MV_TEXT(MV_VARIANT),
    .lanes = MV_LANES,
    .tasks = tasks,
    .estimators = estimators,
    .task_files = task_files,
    .estimator_files = estimator_files,
    .walk_run = mv_walk_run,
    .walk_bytes = mv_walk_bytes,
    .walk_back = mv_walk_back,
    .walk_back_bytes = mv_walk_back_bytes,
    .few_rows = few_rows,
    .math = math,
    .draw = draw,
};
