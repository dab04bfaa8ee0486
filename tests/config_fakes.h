/* config_fakes.h - two tasks and two estimators that only have settings, for the tests of the job-file reader. */
#ifndef METAVAR_CONFIG_FAKES_H
#define METAVAR_CONFIG_FAKES_H

#include "metavar/job.h"
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- tasks: slope has derivatives, flat has none --- */
struct slope {
  int64_t arms, cutoff;
  double noise;
  struct mv_reals mean;
};
static const struct mv_field slope_fields[] = {
    {"arms", MV_INT, offsetof(struct slope, arms), .min = 2, .max = 1024, .unit = "1", .doc = "number of arms"},
    {"cutoff", MV_INT, offsetof(struct slope, cutoff), .fallback = "4", .min = 1, .max = 1e9, .unit = "1", .doc = "c"},
    {"noise", MV_REAL, offsetof(struct slope, noise), .fallback = "2", .min = 0, .max = 1e6, .unit = "1", .doc = "n"},
    {"mean", MV_REAL_LIST, offsetof(struct slope, mean), .fallback = "[0.1, -3]", .min = -10, .max = 10, .doc = "m"},
    MV_FIELD_END};

static void slope_complete(void *settings, int64_t steps, struct mv_complaints *complaints)
{
  const struct slope *s = settings;
  if (s->cutoff > steps) {
    mv_complain(complaints, "cutoff", "%lld is more than the %lld steps", (long long)s->cutoff, (long long)steps);
  }
}

static struct mv_shape slope_shape(const void *settings)
{
  return (struct mv_shape){.meta = 2, .state = (int)((const struct slope *)settings)->arms};
}

static void no_jvp(const struct mv_life *life, int64_t n, const num *theta, const num *tape, struct mv_columns *blocks,
                   int block_count)
{
  (void)life, (void)n, (void)theta, (void)tape, (void)blocks, (void)block_count;
}

static const struct mv_task fake_slope = {.name = "slope",
                                          .fields = slope_fields,
                                          .settings_size = sizeof(struct slope),
                                          .complete = slope_complete,
                                          .shape = slope_shape,
                                          .step_jvp = no_jvp};
static const struct mv_task fake_flat = {
    .name = "flat", .fields = slope_fields, .settings_size = sizeof(struct slope), .shape = slope_shape};

/* --- estimators: grad needs derivatives, push perturbs --- */
struct grad {
  struct mv_ints truncation;
  struct mv_choices hessian;
  int64_t lifetimes;
};
static const char *const grad_modes[] = {"pathwise", "dice", NULL};
static const struct mv_field grad_fields[] = {
    {"truncation", MV_INT_LIST, offsetof(struct grad, truncation), .fallback = "[]", .min = 1, .max = 1e9, .doc = "T"},
    {"hessian", MV_CHOICE_LIST, offsetof(struct grad, hessian), .fallback = "[pathwise]", .choices = grad_modes,
     .doc = "h"},
    {"lifetimes", MV_INT, offsetof(struct grad, lifetimes), .fallback = "1", .min = 1, .max = 1e6, .doc = "l"},
    MV_FIELD_END};

static void grad_complete(void *settings, const struct mv_problem *problem, struct mv_complaints *complaints)
{
  struct grad *s = settings;
  if (s->truncation.count == 0) {
    s->truncation = (struct mv_ints){1, {problem->steps}};
  }
  for (int i = 0; i < s->truncation.count; i++) {
    if (s->truncation.value[i] > problem->steps) {
      mv_complain(complaints, "truncation", "%lld exceeds lifetime_length %lld", (long long)s->truncation.value[i],
                  (long long)problem->steps);
    }
  }
}

static int64_t grad_lifetimes(const void *settings, const struct mv_problem *problem)
{
  (void)problem;
  return ((const struct grad *)settings)->lifetimes;
}

struct push {
  double sigma;
  int64_t population;
  int window;
  bool shared;
};
static const char *const push_windows[] = {"random", "first", NULL};
static const struct mv_field push_fields[] = {
    {"sigma", MV_REAL, offsetof(struct push, sigma), .min = 0, .max = 1e6, .open_min = true, .doc = "step of eta"},
    {"population", MV_INT, offsetof(struct push, population), .fallback = "2", .min = 2, .max = 1000, .doc = "P"},
    {"window", MV_CHOICE, offsetof(struct push, window), .fallback = "random", .choices = push_windows, .doc = "w"},
    {"shared", MV_BOOL, offsetof(struct push, shared), .fallback = "false", .doc = "s"},
    MV_FIELD_END};

static void push_complete(void *settings, const struct mv_problem *problem, struct mv_complaints *complaints)
{
  (void)problem;
  const struct push *s = settings;
  if (s->population % 2) {
    mv_complain(complaints, "population", "%lld is odd; pairs need an even one", (long long)s->population);
  }
}

static const struct mv_estimator fake_grad = {.name = "grad",
                                              .fields = grad_fields,
                                              .settings_size = sizeof(struct grad),
                                              .needs = MV_NEEDS_DERIVATIVE,
                                              .complete = grad_complete,
                                              .lifetimes = grad_lifetimes};
static const struct mv_estimator fake_push = {.name = "push",
                                              .fields = push_fields,
                                              .settings_size = sizeof(struct push),
                                              .perturbs = true,
                                              .complete = push_complete};

static const struct mv_task *const fake_tasks[] = {&fake_flat, &fake_slope, NULL};
static const struct mv_estimator *const fake_estimators[] = {&fake_grad, &fake_push, NULL};
static const struct mv_kernel fake_kernel = {
    .name = "fake", .lanes = 1, .tasks = fake_tasks, .estimators = fake_estimators};

static const char good_job[] = "name: t\n"                 /*  1 */
                               "seed: 7\n"                 /*  2 */
                               "lifetime_length: 30\n"     /*  3 */
                               "task:\n"                   /*  4 */
                               "  name: slope\n"           /*  5 */
                               "  arms: 3\n"               /*  6 */
                               "eta:\n"                    /*  7 */
                               "  grid:\n"                 /*  8 */
                               "    - [1, 2]\n"            /*  9 */
                               "    - 3\n"                 /* 10 */
                               "estimators:\n"             /* 11 */
                               "  - name: grad\n"          /* 12 */
                               "    truncation: [2, 30]\n" /* 13 */
                               "    replicates: 100\n"     /* 14 */
                               "  - name: push\n"          /* 15 */
                               "    label: es\n"           /* 16 */
                               "    sigma: 0.1\n"          /* 17 */
                               "    replicates: 1e3\n";    /* 18 */

/* good_job with the first `from` replaced; malloc'ed. */
static char *edited_job(const char *from, const char *to)
{
  const char *at = strstr(good_job, from);
  if (!at) {
    fprintf(stderr, "the test edits \"%s\", which is not in the good job\n", from);
    abort();
  }
  size_t head = (size_t)(at - good_job);
  char *out = malloc(sizeof good_job + strlen(to));
  memcpy(out, good_job, head);
  strcpy(out + head, to);
  strcat(out, at + strlen(from));
  return out;
}

/* Parses; *report gets what was printed (malloc'ed). */
static struct mv_job *parse_job(const char *text, size_t length, const char *const *overrides, int count, char **report)
{
  size_t size;
  FILE *out = open_memstream(report, &size);
  struct mv_job *job = mv_job_parse("f", text, length, overrides, count, &fake_kernel, out);
  fclose(out);
  return job;
}

#endif
