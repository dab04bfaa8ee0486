/* es.c - evolution strategies with antithetic pairs (Salimans et al. 2017).
 *
 *   g = mean over pairs of (F(eta + sigma z) - F(eta - sigma z)) / (2 sigma) z,   z ~ N(0, I_M)
 * F is the mean of R_n over the window. Unbiased for the gradient of the smoothed objective
 * J_sigma(eta) = E J(eta + sigma z). The lifetime is simulated up to the window's end, only the window's rewards count; all
 * truncation lengths come from the same pair. What the two members share is a setting: by default the task instance alone
 * (Vuorio et al. 2022: own samples and own window starts). With shaping, what stands for F is its z-score or centred rank
 * among the members of the population (shaping.c): those of one estimate, or, when the framework gives them, of a larger
 * population that this estimate is a part of.
 */
#include "metavar/window.h"

struct settings {
  double sigma, sigma_decay, sigma_min;
  int64_t population;
  struct mv_ints truncation;
  struct mv_choices shared;
  int window, shaping;
};

enum { SHARE_TASK, SHARE_INIT, SHARE_ACTION, SHARE_REWARD, SHARE_WINDOW };
static const char *const shares[] = {"task", "init", "action", "reward", "window", NULL};

static const struct mv_field fields[] = {
    {"sigma", MV_REAL, offsetof(struct settings, sigma), "0.1", 0, 1e6, NULL, "1",
     "standard deviation of the perturbation of eta", true},
    {"sigma_decay", MV_REAL, offsetof(struct settings, sigma_decay), "1", 0, 1, NULL, "1",
     "training: factor of sigma at each update", true},
    {"sigma_min", MV_REAL, offsetof(struct settings, sigma_min), "0", 0, 1e6, NULL, "1",
     "training: the least that sigma comes to"},
    {"population", MV_INT, offsetof(struct settings, population), "2", 2, 1 << 18, NULL, "1",
     "perturbed lifetimes of one estimate, twice the number of antithetic pairs"},
    {"truncation", MV_INT_LIST, offsetof(struct settings, truncation), "[]", 1, 1e9, NULL, "inner steps",
     MV_TRUNCATION_DOC},
    {"noise_shared", MV_CHOICE_LIST, offsetof(struct settings, shared), "[task]", 0, 0, shares, NULL,
     "what the two members of a pair have in common; [task, init, action, reward, window] is common random numbers"},
    {"window", MV_CHOICE, offsetof(struct settings, window), "random", 0, 0, mv_window_names, NULL, MV_WINDOW_DOC},
    {"shaping", MV_CHOICE, offsetof(struct settings, shaping), "none", 0, 0, mv_shaping_names, NULL,
     "what stands for a member's objective: itself (none), or its z_score or centered_rank in the population, which is "
     "no "
     "longer an estimate of the gradient of J; training shapes over all members of an update"},
    MV_FIELD_END};

static void complete(void *settings, const struct mv_problem *p, struct mv_complaints *complaints)
{
  struct settings *s = settings;
  mv_truncation_complete(&s->truncation, p, complaints);
  if (s->sigma_min > s->sigma)
    mv_complain(complaints, "sigma_min", "%g is above sigma %g; swap them", s->sigma_min, s->sigma);
  if (s->population % 2)
    mv_complain(complaints, "population", "%lld is odd, but perturbations come in antithetic pairs; use %lld or %lld",
                (long long)s->population, (long long)s->population - 1, (long long)s->population + 1);
}

static int outputs(const void *settings, const struct mv_problem *p, struct mv_output *out)
{
  (void)p;
  const struct settings *s = settings;
  struct mv_axis truncation = MV_AXIS_TRUNCATION(&s->truncation);
  struct mv_axis member = {.name = "member",
                           .kind = MV_AXIS_INTS,
                           .length = (int)s->population,
                           .doc = "perturbed lifetime: + and - of the first pair, of the second, ..."};
  struct mv_axis shaped = {.name = "shaping",
                           .kind = MV_AXIS_NAMES,
                           .length = 1,
                           .value.names = &mv_shaping_names[s->shaping],
                           .doc = "what stands for the members' objectives"};
  const bool shapes = s->shaping != MV_SHAPING_NONE;
  out[0] = (struct mv_output){.name = "gradient",
                              .role = MV_GRADIENT,
                              .rank = 1 + shapes,
                              .axis = {truncation, shaped},
                              .unit = "1",
                              .doc = shapes ? "antithetic estimate from shaped fitness: not of the gradient of J"
                                            : "antithetic estimate of the gradient of the smoothed objective"};
  out[1] = (struct mv_output){
      .name = "objective", .role = MV_OBJECTIVE, .unit = "1", .doc = "mean objective over the members' lifetimes"};
  out[2] = (struct mv_output){.name = "window_start",
                              .role = MV_NOTE,
                              .rank = 2,
                              .axis = {member, truncation},
                              .unit = "inner steps",
                              .doc = "first step of the window"};
  out[3] = (struct mv_output){.name = "fitness",
                              .role = MV_FITNESS,
                              .rank = 2,
                              .axis = {member, truncation},
                              .unit = "1",
                              .doc = "mean objective of the member's window, before shaping"};
  return 3 + shapes;
}

static int cost(const void *settings, const struct mv_problem *p, double *primal, double *tangent)
{
  const struct settings *s = settings;
  for (int t = 0; t < s->truncation.count; t++) {
    primal[t] = (double)s->population * mv_window_reach(p, (enum mv_window)s->window, s->truncation.value[t]);
    tangent[t] = 0.0;
  }
  return 1;
}

static struct mv_aim aim(const void *settings, const struct mv_problem *p, int output, const int *index, double lambda)
{
  (void)output, (void)lambda;
  const struct settings *s = settings;
  return mv_window_aim(p, (enum mv_window)s->window, s->truncation.value[index[0]], s->sigma,
                       s->shaping == MV_SHAPING_NONE);
}

static enum mv_shaping shaping(const void *settings)
{
  return (enum mv_shaping)((const struct settings *)settings)->shaping;
}

static int64_t lifetimes(const void *settings, const struct mv_problem *p)
{
  (void)p;
  return ((const struct settings *)settings)->population;
}

static double work(const void *settings, const struct mv_problem *p)
{
  return (double)(((const struct settings *)settings)->population * p->steps);
}

static size_t workspace(const void *settings, const struct mv_problem *p)
{
  const struct settings *s = settings;
  size_t meta = (size_t)p->shape.meta, lengths = (size_t)s->truncation.count, members = (size_t)s->population;
  size_t shaped = s->shaping == MV_SHAPING_NONE ? 0 : members;
  return mv_walk_bytes(p, 0) + 2 * mv_arena_cost(sizeof(num) * meta) + 2 * mv_arena_cost(sizeof(num) * lengths) +
         mv_arena_cost(sizeof(int64_t[MV_LANES_MAX]) * lengths) + mv_arena_cost(sizeof(num) * lengths * shaped) +
         mv_arena_cost(sizeof(double) * shaped) + mv_arena_cost(sizeof(size_t) * shaped);
}

/* Members use lifetimes 2 pair and 2 pair + 1; what they share, the second takes from the first. */
static void coords_of_member(const struct settings *s, int member, struct mv_coords *coords)
{
  for (int purpose = 0; purpose < MV_PURPOSES; purpose++)
    coords->offset[purpose] = 0;
  if (!member)
    return;
  static const int purposes[][2] = {{MV_FOR_TASK, MV_FOR_TASK},
                                    {MV_FOR_INIT, MV_FOR_INIT},
                                    {MV_FOR_ACTION, MV_FOR_ACTION},
                                    {MV_FOR_REWARD, MV_FOR_NORMAL},
                                    {MV_FOR_WINDOW, MV_FOR_WINDOW}};
  for (int share = SHARE_TASK; share <= SHARE_WINDOW; share++) {
    bool shared = false;
    for (int i = 0; i < s->shared.count; i++)
      shared |= s->shared.value[i] == share;
    coords->offset[purposes[share][0]] = coords->offset[purposes[share][1]] = !shared;
  }
}

/* sigma_decay^update, by squaring: libm's pow has other last bits on other machines. */
static double sigma_of(const struct mv_request *r)
{
  const struct settings *s = r->settings;
  double sigma = s->sigma, base = s->sigma_decay;
  for (int64_t n = r->update; n > 0; n /= 2, base *= base)
    sigma *= n % 2 ? base : 1.0;
  return sigma > s->sigma_min ? sigma : s->sigma_min;
}

/* Both members of a pair: their windows' starts, means to mean[2][lengths]; adds all R_n to the objective. A lifetime that
 * goes on is the member's own. */
static void simulate_pair(const struct mv_request *r, struct mv_walk *walk, struct mv_window_sums *sums, int64_t pair,
                          double sigma, const num *z, num *eta, num *mean, num *objective, num *window_start)
{
  const struct settings *s = r->settings;
  const int lengths = s->truncation.count;
  for (int m = 0; m < 2; m++) {
    for (int j = 0; j < r->problem->shape.meta; j++)
      eta[j] = r->eta[j] + (m ? -sigma : sigma) * z[j];
    coords_of_member(s, m, &walk->coords);
    for (int t = 0; t < lengths; t++) {
      mv_window_place(walk, (enum mv_window)s->window, s->truncation.value[t], sums->start[t]);
      for (int l = 0; l < MV_LANES; l++)
        NUM_LANE(window_start, (2 * pair + m) * lengths + t, l) = (double)sums->start[t][l];
    }
    sums->window = mean + m * lengths;
    walk->state = r->state ? r->state + (2 * pair + m) * r->problem->shape.state : NULL;
    mv_window_means(walk, sums);
    *objective += sums->all;
  }
  for (int l = 0; l < MV_LANES_MAX; l++)
    walk->coords.lifetime[l] += 2;
}

/* The direction of a pair. Lifetimes that go on have one key for all windows, and new directions in each. */
static void draw_direction(const struct mv_request *r, const struct mv_walk *walk, int64_t pair, num *z)
{
  const struct settings *s = r->settings;
  mv_direction_draw(walk, r->draw, r->first / r->problem->steps * (s->population / 2) + pair, z);
}

/* Shapes fitness[population][lengths] over the population, into out. */
static void shape(const struct mv_request *r, const num *fitness, num *out)
{
  const struct settings *s = r->settings;
  const int lengths = s->truncation.count;
  const int64_t members = s->population;
  double *f = mv_arena_take(r->arena, sizeof(double) * (size_t)members);
  size_t *order = mv_arena_take(r->arena, sizeof(size_t) * (size_t)members);
  for (int t = 0; t < lengths; t++)
    for (int l = 0; l < MV_LANES; l++) {
      for (int64_t i = 0; i < members; i++)
        f[i] = NUM_LANE(fitness, i * lengths + t, l);
      mv_shape((enum mv_shaping)s->shaping, members, f, order);
      for (int64_t i = 0; i < members; i++)
        NUM_LANE(out, i * lengths + t, l) = f[i];
    }
}

static void follow_pair(const num *mean, int lengths, int meta, const num *z, num *gradient)
{
  for (int t = 0; t < lengths; t++)
    for (int j = 0; j < meta; j++)
      gradient[t * meta + j] += (mean[t] - mean[lengths + t]) * z[j];
}

static void sample(const struct mv_request *r)
{
  const struct settings *s = r->settings;
  const struct mv_problem *p = r->problem;
  const int meta = p->shape.meta, lengths = s->truncation.count;
  const bool shapes = s->shaping != MV_SHAPING_NONE;
  const double sigma = sigma_of(r);
  const size_t mark = r->arena->used;
  num *z = mv_arena_take(r->arena, sizeof(num) * (size_t)meta),
      *eta = mv_arena_take(r->arena, sizeof(num) * (size_t)meta);
  num *mean = mv_arena_take(r->arena, sizeof(num) * 2 * (size_t)lengths);
  struct mv_window_sums sums = {.truncation = &s->truncation,
                                .start = mv_arena_take(r->arena, sizeof(int64_t[MV_LANES_MAX]) * (size_t)lengths)};
  struct mv_walk walk = mv_request_walk(r, s->population, eta);
  num *gradient = r->values, *objective = gradient + lengths * meta, *window_start = objective + 1;
  num *fitness = window_start + s->population * lengths, *end = fitness + (shapes ? s->population * lengths : 0);
  const num *followed = r->fitness;
  for (num *x = r->values; x < end; x++)
    *x = num_set(0.0);

  for (int64_t pair = 0; pair < s->population / 2 && !followed; pair++) {
    num *here = shapes ? fitness + 2 * pair * lengths : mean;
    draw_direction(r, &walk, pair, z);
    simulate_pair(r, &walk, &sums, pair, sigma, z, eta, here, objective, window_start);
    if (!shapes)
      follow_pair(here, lengths, meta, z, gradient);
  }
  if (shapes && !followed) {
    num *shaped = mv_arena_take(r->arena, sizeof(num) * (size_t)(s->population * lengths));
    shape(r, fitness, shaped);
    followed = shaped;
  }
  for (int64_t pair = 0; pair < s->population / 2 && followed; pair++) {
    draw_direction(r, &walk, pair, z);
    follow_pair(followed + 2 * pair * lengths, lengths, meta, z, gradient);
  }
  for (int i = 0; i < lengths * meta; i++)
    gradient[i] *= 1.0 / (sigma * (double)s->population);
  *objective *= 1.0 / (double)(s->population * p->steps);
  r->arena->used = mark;
}

MV_ESTIMATOR(es) = {
    .name = "es",
    .doc = "Evolution strategies with antithetic pairs (Salimans et al. 2017): (F+ - F-) / (2 sigma) z, averaged over "
           "population/2 directions z ~ N(0, I). "
           "Needs no derivatives; unbiased for the gradient of the objective smoothed by N(0, sigma^2 I), unless "
           "fitness is shaped.",
    .fields = fields,
    .settings_size = sizeof(struct settings),
    .perturbs = true,
    .carries = true,
    .complete = complete,
    .outputs = outputs,
    .cost = cost,
    .aim = aim,
    .lifetimes = lifetimes,
    .workspace = workspace,
    .work = work,
    .sample = sample,
    .shaping = shaping,
};
