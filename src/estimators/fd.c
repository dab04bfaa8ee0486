/* fd.c - central finite differences, coordinate by coordinate, with common random numbers.
 *
 *   g_j = (F(eta + eps/2 e_j) - F(eta - eps/2 e_j)) / eps
 * All 2 M lifetimes of a replicate share the task instance and every noise; how choices couple is the sampler's setting
 * (gumbel keeps more of them equal than inverse_cdf). With discrete choices the variance grows as eps shrinks; the bias
 * is O(eps^2). Ground truth of Vuorio et al. 2022.
 */
#include "metavar/window.h"

struct settings {
  double eps;
  struct mv_ints truncation;
  int window;
};

static const struct mv_field fields[] = {
    {"eps", MV_REAL, offsetof(struct settings, eps), "0.1", 0, 1e6, NULL, "1",
     "distance between the two points of a difference", true},
    {"truncation", MV_INT_LIST, offsetof(struct settings, truncation), "[]", 1, 1e9, NULL, "inner steps",
     MV_TRUNCATION_DOC},
    {"window", MV_CHOICE, offsetof(struct settings, window), "random", 0, 0, mv_window_names, NULL, MV_WINDOW_DOC},
    MV_FIELD_END};

static void complete(void *settings, const struct mv_problem *p, struct mv_complaints *complaints)
{
  mv_truncation_complete(&((struct settings *)settings)->truncation, p, complaints);
}

static int outputs(const void *settings, const struct mv_problem *p, struct mv_output *out)
{
  (void)p;
  const struct settings *s = settings;
  struct mv_axis truncation = MV_AXIS_TRUNCATION(&s->truncation);
  out[0] = (struct mv_output){.name = "gradient",
                              .role = MV_GRADIENT,
                              .rank = 1,
                              .axis = {truncation},
                              .unit = "1",
                              .doc = "central difference of the window's mean objective"};
  out[1] = (struct mv_output){
      .name = "objective", .role = MV_OBJECTIVE, .unit = "1", .doc = "mean objective over the perturbed lifetimes"};
  out[2] = (struct mv_output){.name = "window_start",
                              .role = MV_NOTE,
                              .rank = 1,
                              .axis = {truncation},
                              .unit = "inner steps",
                              .doc = "first step of the window"};
  return 3;
}

static int cost(const void *settings, const struct mv_problem *p, double *primal, double *tangent)
{
  const struct settings *s = settings;
  for (int t = 0; t < s->truncation.count; t++) {
    primal[t] = 2.0 * p->shape.meta * mv_window_reach(p, (enum mv_window)s->window, s->truncation.value[t]);
    tangent[t] = 0.0;
  }
  return 1;
}

/* A difference quotient is the gradient of nothing. */
static struct mv_aim aim(const void *settings, const struct mv_problem *p, int output, const int *index, double lambda)
{
  (void)output, (void)lambda;
  const struct settings *s = settings;
  return mv_window_aim(p, (enum mv_window)s->window, s->truncation.value[index[0]], 0.0, false);
}

static int64_t lifetimes(const void *settings, const struct mv_problem *p)
{
  (void)settings, (void)p;
  return 1;
}

static double work(const void *settings, const struct mv_problem *p)
{
  (void)settings;
  return 2.0 * p->shape.meta * (double)p->steps;
}

static size_t workspace(const void *settings, const struct mv_problem *p)
{
  size_t lengths = (size_t)((const struct settings *)settings)->truncation.count;
  return mv_walk_bytes(p, 0) + mv_arena_cost(sizeof(num) * (size_t)p->shape.meta) +
         2 * mv_arena_cost(sizeof(num) * lengths) + mv_arena_cost(sizeof(int64_t[MV_LANES_MAX]) * lengths);
}

static void sample(const struct mv_request *r)
{
  const struct settings *s = r->settings;
  const struct mv_problem *p = r->problem;
  const int meta = p->shape.meta, lengths = s->truncation.count;
  const size_t mark = r->arena->used;
  num *eta = mv_arena_take(r->arena, sizeof(num) * (size_t)meta);
  num *mean[2];
  for (int m = 0; m < 2; m++)
    mean[m] = mv_arena_take(r->arena, sizeof(num) * (size_t)lengths);
  struct mv_window_sums sums = {.truncation = &s->truncation,
                                .start = mv_arena_take(r->arena, sizeof(int64_t[MV_LANES_MAX]) * (size_t)lengths)};
  struct mv_walk walk = mv_request_walk(r, 1, eta);
  num *gradient = r->values, *objective = gradient + lengths * meta, *window_start = objective + 1;
  *objective = num_set(0.0);
  for (int t = 0; t < lengths; t++) {
    mv_window_place(&walk, (enum mv_window)s->window, s->truncation.value[t], sums.start[t]);
    for (int l = 0; l < MV_LANES; l++)
      NUM_LANE(window_start, t, l) = (double)sums.start[t][l];
  }
  for (int j = 0; j < meta; j++) {
    for (int m = 0; m < 2; m++) {
      for (int i = 0; i < meta; i++)
        eta[i] = num_set(r->eta[i] + (i == j ? (m ? -0.5 : 0.5) * s->eps : 0.0));
      sums.window = mean[m];
      mv_window_means(&walk, &sums);
      *objective += sums.all;
    }
    for (int t = 0; t < lengths; t++)
      gradient[t * meta + j] = (mean[0][t] - mean[1][t]) * (1.0 / s->eps);
  }
  *objective *= 1.0 / (double)(2 * meta * p->steps);
  r->arena->used = mark;
}

MV_ESTIMATOR(fd) = {
    .name = "fd",
    .doc = "Central finite differences of the objective along each meta-parameter, all lifetimes of a replicate with "
           "common random numbers. Needs no derivatives; "
           "unbiased for the difference quotient, biased by O(eps^2) for the gradient.",
    .fields = fields,
    .settings_size = sizeof(struct settings),
    .complete = complete,
    .outputs = outputs,
    .cost = cost,
    .aim = aim,
    .lifetimes = lifetimes,
    .workspace = workspace,
    .work = work,
    .sample = sample,
};
