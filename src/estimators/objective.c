/* objective.c - the objective itself, without any gradient: one lifetime, forward.
 *
 *   J(eta) = E (1/N) sum_n R_n
 * For return surfaces over a grid of eta, and for held-out evaluation during training.
 */
#include "metavar/window.h"

struct settings {
  int64_t lifetimes;
};

static const struct mv_field fields[] = {{"lifetimes", MV_INT, offsetof(struct settings, lifetimes), "1", 1, 1e6, NULL,
                                          "1", "lifetimes of one task instance that one estimate averages"},
                                         MV_FIELD_END};

static int outputs(const void *settings, const struct mv_problem *p, struct mv_output *out)
{
  (void)settings, (void)p;
  out[0] = (struct mv_output){
      .name = "objective", .role = MV_OBJECTIVE, .unit = "1", .doc = "mean objective over the lifetime"};
  return 1;
}

static int64_t lifetimes(const void *settings, const struct mv_problem *p)
{
  (void)p;
  return ((const struct settings *)settings)->lifetimes;
}

static double work(const void *settings, const struct mv_problem *p)
{
  return (double)(((const struct settings *)settings)->lifetimes * p->steps);
}

static int cost(const void *settings, const struct mv_problem *p, double *primal, double *tangent)
{
  primal[0] = work(settings, p);
  tangent[0] = 0.0;
  return 0;
}

static size_t workspace(const void *settings, const struct mv_problem *p)
{
  (void)settings;
  return mv_walk_bytes(p, 0) + mv_arena_cost(sizeof(num) * (size_t)p->shape.meta);
}

static void observe(void *self, int64_t n, const struct mv_report *r, struct mv_block *blocks)
{
  (void)n, (void)blocks;
  *(num *)self += r->objective;
}

static void sample(const struct mv_request *r)
{
  const struct settings *s = r->settings;
  const size_t mark = r->arena->used;
  num *eta = mv_arena_take(r->arena, sizeof(num) * (size_t)r->problem->shape.meta);
  for (int j = 0; j < r->problem->shape.meta; j++)
    eta[j] = num_set(r->eta[j]);
  struct mv_walk walk = mv_request_walk(r, s->lifetimes, eta);
  r->values[0] = num_set(0.0);
  for (int64_t life = 0; life < s->lifetimes; life++) {
    mv_walk_run(&walk, observe, r->values);
    mv_walk_next(&walk);
  }
  r->values[0] *= 1.0 / (double)(s->lifetimes * r->problem->steps);
  r->arena->used = mark;
}

MV_ESTIMATOR(objective) = {
    .name = "objective",
    .doc =
        "The objective J without a gradient: lifetimes at eta, simulated forward. For return surfaces over a grid of "
        "eta, and what training evaluates on held-out replicates.",
    .fields = fields,
    .settings_size = sizeof(struct settings),
    .outputs = outputs,
    .cost = cost,
    .lifetimes = lifetimes,
    .workspace = workspace,
    .work = work,
    .sample = sample,
};
