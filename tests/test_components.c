/* test_components.c - sources of variance: against known components, by simulation and by enumeration of tree_bandit. */
#include <stdio.h>

#include "tree.h"

#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>

#include "metavar/components.h"
#include "metavar/memory.h"
#include "metavar/sample.h"

static void near(const char *what, double got, double exact, double se)
{
  print_message("  %s: %.5g +- %.2g, exact %.5g\n", what, got, se, exact);
  if (!(fabs(got - exact) <= 4 * se))
    fail_msg("%s: %.6g, exact %.6g, %.2f standard errors apart", what, got, exact, (got - exact) / se);
}

/* --- normal samples ---------------------------------------------------------------------------------------------- */

enum { META = 2, LIFETIMES = 3, PERTURBATIONS = 4, EACH = LIFETIMES * PERTURBATIONS };

/* Components a, b, c, each split over the coordinates as 1 : 3; a share `missing` of the samples is left out. */
static struct mv_nested simulate(gsl_rng *rng, int tasks, const double *size, double missing)
{
  struct mv_nested n = mv_nested_make(META, 1, (int64_t)tasks * EACH, LIFETIMES, PERTURBATIONS);
  double mean[MV_LEVELS][META], g[META];
  for (int64_t r = 0; r < (int64_t)tasks * EACH; r++) {
    for (int level = 0; level < MV_LEVELS; level++)
      for (int m = 0; m < META; m++)
        if (r % (level == 0 ? EACH : level == 1 ? PERTURBATIONS : 1) == 0)
          mean[level][m] = gsl_ran_gaussian(rng, sqrt(size[level] * (m ? 0.75 : 0.25)));
    for (int m = 0; m < META; m++)
      g[m] = 1e3 + mean[0][m] + mean[1][m] + mean[2][m];
    if (gsl_rng_uniform(rng) >= missing)
      mv_nested_add(&n, r, g);
  }
  mv_nested_end(&n);
  return n;
}

static double mean_of(const double *x, int n)
{
  double sum = 0;
  for (int i = 0; i < n; i++)
    sum += x[i] / n;
  return sum;
}

/* Unbiased whatever is missing, and covered by their intervals; a component that is zero is sometimes negative. */
static void normal_components(void **state)
{
  (void)state;
  enum { TRIALS = 1000, TASKS = 60 };
  static const double sizes[][MV_LEVELS] = {{2, 1, 0.5}, {0, 3, 1}}, missing[] = {0, 0.4};
  gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
  struct mv_redraws redraws = mv_redraws_make(400, &(struct mv_nested){.groups = TASKS}, 1);
  for (int k = 0; k < 4; k++) {
    double x[MV_COMPONENTS][TRIALS], covered[MV_COMPONENTS] = {0}, se2[MV_COMPONENTS] = {0}, total = 0;
    const double *size = sizes[k / 2];
    bool negative = false;
    for (int level = 0; level < MV_LEVELS; level++)
      total += size[level];
    for (int i = 0; i < TRIALS; i++) {
      struct mv_nested n = simulate(rng, TASKS, size, missing[k % 2]);
      struct mv_component rows[2][MV_COMPONENTS];
      mv_components_make(&n, 1, 0, &redraws, 0.95, rows[0]);
      assert_memory_equal(rows[0], rows[1], sizeof rows[0]); /* the average of one point is that point */
      for (int level = 0; level <= MV_LEVELS; level++) {
        double exact = level < MV_LEVELS ? size[level] : total;
        x[level][i] = rows[0][level].variance.value;
        se2[level] += rows[0][level].variance.se * rows[0][level].variance.se / TRIALS;
        covered[level] +=
            (rows[0][level].variance.low <= exact && exact <= rows[0][level].variance.high) / (double)TRIALS;
      }
      negative |= rows[0][MV_LEVEL_TASK].variance.value < 0;
      mv_nested_free(&n);
    }
    for (int level = 0; level <= MV_LEVELS; level++) {
      double deviation = mv_deviation(x[level], TRIALS);
      print_message("level %d: covered %.3f, error %.3g, reported %.3g\n", level, covered[level], deviation,
                    sqrt(se2[level]));
      near("component", mean_of(x[level], TRIALS), level < MV_LEVELS ? size[level] : total, deviation / sqrt(TRIALS));
      assert_true(covered[level] > 0.93 - 2 * sqrt(0.93 * 0.07 / TRIALS));
      assert_true(fabs(sqrt(se2[level]) / deviation - 1) < 0.1);
    }
    assert_true(negative == (size[0] == 0));
  }
  mv_redraws_free(&redraws);
  gsl_rng_free(rng);
}

/* Cells of unequal length, as a stopping rule leaves them: every draw serves the smallest, too. */
static void unequal_cells(void **state)
{
  (void)state;
  static const double size[MV_LEVELS] = {2, 1, 0.5};
  gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
  struct mv_nested cells[] = {simulate(rng, 60, size, 0), simulate(rng, 3, size, 0)};
  struct mv_redraws redraws = mv_redraws_make(1000, cells, 2);
  struct mv_component rows[3][MV_COMPONENTS];
  assert_int_equal(redraws.least, 3);
  mv_components_make(cells, 2, 0, &redraws, 0.95, rows[0]);
  for (int p = 0; p < 3; p++)
    for (int level = 0; level < MV_COMPONENTS; level++)
      assert_true(rows[p][level].variance.se > 0 && rows[p][level].variance.low < rows[p][level].variance.high);
  mv_redraws_free(&redraws);
  mv_nested_free(&cells[0]);
  mv_nested_free(&cells[1]);
  gsl_rng_free(rng);
}

/* The least variance for its cost among all whole numbers. */
static void allocation(void **state)
{
  (void)state;
  static const double cases[][4] = {{1, 4, 10, 100}, {2, 0.5, 7, 3}, {0.01, 30, 1, 1000}, {1, 1, 1, 0}};
  for (int k = 0; k < 4; k++) {
    const double *c = cases[k];
    double best = mv_best_lifetimes(c[0], c[1], c[2], c[3]), least = INFINITY, at = 0;
    for (double l = 1; l < 1e5; l++) {
      double cost = (c[0] + c[1] / l) * (c[3] + l * c[2]);
      at = cost < least ? l : at;
      least = fmin(least, cost);
    }
    assert_true(best == at);
  }
  assert_true(mv_best_lifetimes(-0.1, 1, 1, 1) == INFINITY);
  assert_true(mv_best_lifetimes(1, -0.1, 1, 1) == 1);
  assert_true(isnan(mv_best_lifetimes(NAN, 1, 1, 1)));
}

static const double arm_value[2][3] = {{1.0, 0.3, -0.5}, {-0.2, 0.8, 0.4}}, arm_spread[3] = {0.7, 0.5, 0.6};

/* --- tree_bandit -------------------------------------------------------------------------------------------------- */

/* Samples of one entry (a flow mapping) of tree_bandit at eta0, straight from the worker. */
static void sample_components(int steps, const char *entry, const double *lambda, int lambdas, bool by_coordinate,
                              struct mv_component *rows)
{
  char text[1000];
  int length = snprintf(text, sizeof text,
                        "name: tree\nseed: 11\nlifetime_length: %d\ntask: {name: tree_bandit}\neta: {points: [[%g, "
                        "%g]]}\nestimators:\n  - %s\n",
                        steps, eta0[0], eta0[1], entry);
  struct mv_job *job = mv_job_parse("tree", text, (size_t)length, NULL, 0, mv_kernel_best(), stderr);
  assert_non_null(job);
  struct mv_plan *plan = mv_plan_make(job);
  struct mv_worker *worker = mv_worker_create(plan);
  const struct mv_entry *e = &job->entries[0];
  struct mv_unit unit = {0, 0, e->replicates};
  size_t size = mv_result_bytes(plan, &unit);
  void *bytes = calloc(size, 1);
  struct mv_result result;
  mv_worker_compute(worker, &unit, bytes);
  assert_true(mv_result_view(plan, bytes, size, &result));
  struct mv_settings settings = mv_settings_make(&plan->layout[0], lambda, lambdas);
  int parts = by_coordinate ? settings.meta : 1, count = settings.count * parts;
  struct mv_nested n =
      mv_nested_make(settings.meta / parts, count, e->replicates, e->lifetimes_per_task, e->perturbations_per_lifetime);
  double g[settings.count * settings.meta];
  for (int64_t r = 0; r < e->replicates; r++) {
    for (int s = 0; s < settings.count; s++)
      mv_setting_sample(&settings.at[s], settings.meta, result.values + r * plan->layout[0].values,
                        g + s * settings.meta);
    mv_nested_add(&n, r, g);
  }
  mv_nested_end(&n);
  struct mv_redraws redraws = mv_redraws_make(1000, &n, 1);
  for (int s = 0; s < count; s++) {
    struct mv_component both[2 * MV_COMPONENTS];
    mv_components_make(&n, 1, s, &redraws, 0.95, both);
    memcpy(rows + s * MV_COMPONENTS, both, sizeof both / 2);
  }
  mv_redraws_free(&redraws);
  mv_nested_free(&n);
  mv_settings_free(&settings);
  free(bytes);
  mv_worker_free(worker);
  mv_plan_free(plan);
  mv_job_free(job);
}

/* backprop at T = N = 4 by enumeration: between the instances, and within them between lifetimes. */
static void tree_backprop(void **state)
{
  (void)state;
  static const double lambda[2] = {0, 1};
  struct rig r;
  struct tree tree;
  tree_make(&tree);
  struct mv_forced forced = {tree_fill, &tree};
  rig_make(&r, mv_kernel_best(), "tree_bandit", "backprop", TREE_STEPS);
  rig_ready(&r);
  int64_t direct = rig_offset(&r, "direct"), correction = rig_offset(&r, "correction");
  double first[2][2][2] = {0}, second[2][2] = {0}, *eta = tree_eta(r.kernel, eta0);
  for (int64_t h = 0; h < TREE_ALL; h += r.kernel->lanes) {
    struct tree_walk walk = tree_run(&r, &tree, eta, h);
    rig_sample(&r, (struct mv_key){{0, 0}}, eta0, h, &forced);
    for (int l = 0; l < r.kernel->lanes && h + l < TREE_ALL; l++)
      for (int k = 0; k < 2; k++)
        for (int m = 0; m < 2; m++) {
          double weight = tree_weight(&tree, &walk, h + l, l);
          double g = rig_value(&r, direct + m, l) + lambda[k] * rig_value(&r, correction + m, l);
          first[k][tree_instance(h + l)][m] += weight * g;
          second[k][tree_instance(h + l)] += weight * g * g;
        }
  }
  free(eta);
  rig_free(&r);
  struct mv_component rows[3][MV_COMPONENTS]; /* of both coefficients, and of the window-weighted gradient */
  sample_components(TREE_STEPS, "{name: backprop, lifetimes_per_task: 5, replicates: 100000}", lambda, 2, false,
                    rows[0]);
  for (int k = 0; k < 2; k++) {
    double task = 0, lifetime = 0;
    for (int instance = 0; instance < 2; instance++)
      lifetime += second[k][instance] / 2;
    for (int m = 0; m < 2; m++) {
      task += pow(first[k][0][m] - first[k][1][m], 2) / 4;
      lifetime -= (pow(first[k][0][m], 2) + pow(first[k][1][m], 2)) / 2;
    }
    print_message("backprop, lambda %g\n", lambda[k]);
    near("task", rows[k][MV_LEVEL_TASK].variance.value, task, rows[k][MV_LEVEL_TASK].variance.se);
    near("lifetime", rows[k][MV_LEVEL_LIFETIME].variance.value, lifetime, rows[k][MV_LEVEL_LIFETIME].variance.se);
    near("total", rows[k][MV_LEVELS].variance.value, task + lifetime, rows[k][MV_LEVELS].variance.se);
    assert_true(rows[k][MV_LEVEL_PERTURBATION].variance.value == 0);
    assert_true(rows[k][MV_LEVEL_TASK].variance.se < 0.2 * task &&
                rows[k][MV_LEVEL_LIFETIME].variance.se < 0.05 * lifetime);
  }
}

/* es with one pair of members and common random numbers u at N = T = 2. The learner sees eta_0 alone, as alpha =
 * softplus(eta_0 +- sigma z_0). For a lifetime, u fixed, its mean reward is a function of z_0, so E[g_0 | u] = h(u) / sigma
 * with h(u) = E z_0 F(z_0; u), and E[g_1 | u] = 0, as z_1 moves nothing. Here z_0 and u are summed over grids. */
enum { NODES = 161, UNIFORMS = 1500 };
static const double sigma = 0.3;

struct pair_moments {
  double h, h2, square, slope; /* E h, E h^2, E (F+ - F-)^2, E (F+ - F-)^2 z_0^2; given the instance */
};

static void first_batch(const int *outcome, const double *value, double reward[2], double *p)
{
  *p = (outcome[0] == outcome[1] ? 1 : 2) / 36.0; /* the policy is uniform, signs are fair */
  for (int b = 0; b < 2; b++)
    reward[b] = value[outcome[b] / 2] + (outcome[b] % 2 ? -1 : 1) * arm_spread[outcome[b] / 2];
}

/* Weights of the arms of the second policy, summed up. */
static void second_policy(const int *outcome, const double *reward, double z, double cumulative[3])
{
  double alpha = log1p(exp(eta0[0] + sigma * z)), total = 0;
  for (int a = 0; a < 3; a++) {
    double theta = 0;
    for (int b = 0; b < 2; b++)
      theta += alpha * reward[b] / 2 * ((outcome[b] / 2 == a) - 1.0 / 3);
    cumulative[a] = total += exp(theta);
  }
}

static struct pair_moments pair_moments(const double *value)
{
  struct tree tree;
  struct pair_moments out = {0};
  double z[NODES], w[NODES], norm = 0, reward[2], p, cumulative[NODES][3], r[NODES];
  tree_make(&tree);
  for (int i = 0; i < NODES; i++) {
    z[i] = -6 + 12.0 * i / (NODES - 1);
    norm += w[i] = exp(-z[i] * z[i] / 2);
  }
  for (int k = 0; k < TREE_PAIRS; k++) {
    double phi1 = 0, phi2 = 0, d1[NODES] = {0}, d2[NODES] = {0}; /* of one draw of the second batch */
    first_batch(tree.pair[k], value, reward, &p);
    for (int i = 0; i < NODES; i++)
      second_policy(tree.pair[k], reward, z[i], cumulative[i]);
    for (int u = 0; u < 2 * UNIFORMS; u++) {
      double phi = 0;
      for (int i = 0; i < NODES; i++) {
        double target = (u / 2 + 0.5) / UNIFORMS * cumulative[i][2];
        int a = (target >= cumulative[i][0]) + (target >= cumulative[i][1]);
        r[i] = value[a] + (u % 2 ? -1 : 1) * arm_spread[a];
        phi += w[i] / norm * z[i] * r[i];
      }
      phi1 += phi / (2 * UNIFORMS);
      phi2 += phi * phi / (2 * UNIFORMS);
      for (int i = 0; i < NODES; i++) {
        double d = r[i] - r[NODES - 1 - i];
        d1[i] += d / (2 * UNIFORMS);
        d2[i] += d * d / (2 * UNIFORMS);
      }
    }
    out.h += p * phi1 / 2; /* F = (R_0 + (r_1 + r_2) / 2) / 2 */
    out.h2 += p * (phi2 + phi1 * phi1) / 8;
    for (int i = 0; i < NODES; i++) {
      double square = p * w[i] / norm * (d2[i] + d1[i] * d1[i]) / 8;
      out.square += square;
      out.slope += square * z[i] * z[i];
    }
  }
  return out;
}

static void tree_es(void **state)
{
  (void)state;
  static const char *const names[] = {"task", "lifetime", "perturbation"};
  double mean[2], exact[2][MV_LEVELS] = {0};
  for (int instance = 0; instance < 2; instance++) {
    struct pair_moments m = pair_moments(arm_value[instance]);
    double lifetime = (m.h2 - m.h * m.h) / (sigma * sigma);
    mean[instance] = m.h / sigma;
    exact[0][MV_LEVEL_LIFETIME] += lifetime / 2;
    exact[0][MV_LEVEL_PERTURBATION] += (m.slope / (4 * sigma * sigma) - m.h2 / (sigma * sigma)) / 2;
    exact[1][MV_LEVEL_PERTURBATION] += m.square / (4 * sigma * sigma) / 2;
  }
  exact[0][MV_LEVEL_TASK] = pow(mean[0] - mean[1], 2) / 4;
  struct mv_component rows[2][MV_COMPONENTS];
  sample_components(2,
                    "{name: es, sigma: 0.3, noise_shared: [task, init, action, reward, window], lifetimes_per_task: 4, "
                    "perturbations_per_lifetime: 3, replicates: 240000}",
                    NULL, 0, true, rows[0]);
  for (int m = 0; m < 2; m++)
    for (int level = 0; level < MV_LEVELS; level++) {
      print_message("es, eta_%d\n", m);
      near(names[level], rows[m][level].variance.value, exact[m][level], rows[m][level].variance.se);
    }
  assert_true(rows[0][MV_LEVEL_LIFETIME].variance.se < 0.1 * exact[0][MV_LEVEL_LIFETIME]);
  assert_true(rows[0][MV_LEVEL_PERTURBATION].variance.se < 0.05 * exact[0][MV_LEVEL_PERTURBATION]);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(normal_components), cmocka_unit_test(unequal_cells), cmocka_unit_test(allocation),
      cmocka_unit_test(tree_backprop),     cmocka_unit_test(tree_es),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
