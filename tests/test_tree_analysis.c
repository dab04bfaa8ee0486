/* test_tree_analysis.c - the offline statistics on tree_bandit, whose truths are enumerated: unbiased squared biases
 * average to the truth, and intervals cover it.
 *
 * Every repeat computes replicates of its own through worker and moments, and analyses them as `metavar analyze` would.
 * Intervals are tried at biases of 0, 1, 2, 4 and 10 standard errors: known vectors added to an unbiased estimator, so
 * that the noise stays the real one. METAVAR_LONG=N takes N repeats.
 */
#include <stdio.h>

#include "metavar/analysis.h"
#include "metavar/memory.h"
#include "metavar/plan.h"
#include "sampled.h"
#include "tree_moments.h"
#include "tree_oracle.h"

enum { META = 2, REPEATS = 2000, DRAWS = 500, BLOCK = 25, OWN = 1000, OTHER = 1500 };
/* Settings of a repeat: T = 4 unbiased and shifted by each number of standard errors; T = 2; T = 4 naive. */
enum { SHIFTS = 5, SHORT = SHIFTS, NAIVE, CASES };
static const double shifts[SHIFTS] = {0, 1, 2, 4, 10};

static const char job_text[] =
    "name: tree\nseed: 7\nlifetime_length: 4\nblock: 25\n"
    "task: {name: tree_bandit}\neta: {points: [[0.4, -0.3]]}\n"
    "estimators:\n"
    "  - {name: backprop, truncation: [2, 4], weighted: false, replicates: 1e9, store: moments}\n"
    "  - {name: reference, replicates: 1e9, store: moments}\n";

static struct {
  struct mv_job *job;
  struct mv_plan *plan;
  struct mv_worker *worker;
  struct mv_settings settings[2];
  double gradient[META];
  double mean[CASES][META], variance[CASES][META]; /* of one sample */
} world;

/* Mean and variance of base + lambda component at place t of the enumerated backprop. */
static void set_case(int k, const struct rig *r, const struct moments *m, int t, double lambda)
{
  for (int j = 0; j < META; j++) {
    int64_t d = rig_offset(r, "direct") + t * META + j, c = rig_offset(r, "correction") + t * META + j;
    world.mean[k][j] = mean_of(m, d) + lambda * mean_of(m, c);
    world.variance[k][j] = variance(m, d, 1) + 2 * lambda * covariance(m, c, 1) + lambda * lambda * variance(m, c, 1);
  }
}

/* Var of the reference, per coordinate, and its covariance with the unbiased estimator are left out of the unit in which
 * shifts are measured: tr Var of the entry's mean, which is nine tenths of it. */
static int set_up(void **state)
{
  (void)state;
  static const double direction[META] = {0.6, 0.8};
  struct rig r;
  struct moments m;
  rig_make(&r, mv_kernel_best(), "tree_bandit", "backprop", TREE_STEPS);
  *(struct mv_ints *)rig_setting(&r, "truncation") = (struct mv_ints){2, {2, 4}};
  rig_ready(&r);
  enumerate(&r, TREE_PASSES, &m);
  for (int k = 0; k < SHIFTS; k++)
    set_case(k, &r, &m, 1, 1);
  set_case(SHORT, &r, &m, 0, 1);
  set_case(NAIVE, &r, &m, 1, 0);
  struct oracle oracle = oracle_make();
  memcpy(world.gradient, oracle.gradient, sizeof world.gradient);
  for (int k = 0; k < SHIFTS; k++)
    for (int j = 0; j < META; j++)
      world.mean[k][j] += direction[j] * shifts[k] * sqrt((world.variance[k][0] + world.variance[k][1]) / OWN);
  moments_free(&m);
  rig_free(&r);
  world.job = mv_job_parse("tree", job_text, strlen(job_text), NULL, 0, mv_kernel_best(), stderr);
  assert_non_null(world.job);
  world.plan = mv_plan_make(world.job);
  world.worker = mv_worker_create(world.plan);
  for (int e = 0; e < 2; e++)
    world.settings[e] = mv_settings_make(&world.plan->layout[e], (double[]){0, 1}, 2);
  return 0;
}

static int tear_down(void **state)
{
  (void)state;
  mv_settings_free(&world.settings[0]);
  mv_settings_free(&world.settings[1]);
  mv_worker_free(world.worker);
  mv_plan_free(world.plan);
  mv_job_free(world.job);
  return 0;
}

/* Where the cases are among the entry's settings: T = 2 and 4, lambda 0 and 1. */
static const int setting_of[CASES] = {3, 3, 3, 3, 3, 1, 2};

/* Computes replicates [first, first + count) of an entry and adds their blocks. */
static void add_replicates(struct mv_panel *p, int e, const struct mv_settings *settings, int64_t first, int64_t count)
{
  const struct mv_layout *layout = &world.plan->layout[e];
  struct mv_unit unit = {e, first, count};
  size_t bytes = mv_result_bytes(world.plan, &unit);
  void *out = mv_memory_take(bytes, 1);
  struct mv_result r;
  mv_worker_compute(world.worker, &unit, out);
  assert_true(mv_result_view(world.plan, out, bytes, &r));
  for (int64_t b = 0; b < r.blocks; b++) {
    struct mv_moments block = {b,
                               r.count[b],
                               r.nonfinite[b],
                               r.mean + b * layout->moments,
                               r.comoment + b * layout->pairs,
                               r.largest + b * layout->vectors * MV_LARGEST,
                               r.largest_id + b * layout->vectors * MV_LARGEST};
    mv_panel_add(p, e, settings, layout, &block);
  }
  free(out);
}

/* The panel of a repeat, with the shifts. */
static void make_repeat(struct mv_panel *p, int64_t repeat)
{
  struct mv_setting at[CASES];
  for (int k = 0; k < CASES; k++)
    at[k] = world.settings[0].at[setting_of[k]];
  mv_panel_make(p, META, 2, (struct mv_extent[]){{CASES, OWN / BLOCK, 1, 0}, {1, OTHER / BLOCK, 1, 0}});
  /* the same first replicate: both see the same task instances */
  add_replicates(p, 0, &(struct mv_settings){CASES, META, at}, repeat * OTHER, OWN);
  add_replicates(p, 1, &world.settings[1], repeat * OTHER, OTHER);
  struct mv_groups *g = &p->sheet[0].groups;
  for (int k = 0; k < SHIFTS; k++)
    for (int at_group = 0; at_group < g->groups; at_group++)
      for (int j = 0; j < META; j++)
        g->mean[((int64_t)k * g->groups + at_group) * META + j] += world.mean[k][j] - world.gradient[j];
}

enum { SQUARE, VARIANCE, COSINE, RELATIVE, BIAS_0, BIAS_1, SIGN_0, SIGN_1, KINDS };
static const char *const kinds[KINDS] = {"squared bias",  "variance",      "cosine",       "relative error",
                                         "bias of eta_0", "bias of eta_1", "sign error 0", "sign error 1"};

/* What each interval has to cover. */
static void set_truth(int k, double *truth)
{
  double bias2 = 0, dot = 0, own = 0, reference = 0;
  for (int j = 0; j < META; j++) {
    double d = world.mean[k][j] - world.gradient[j];
    bias2 += d * d;
    dot += world.mean[k][j] * world.gradient[j];
    own += pow(world.mean[k][j], 2);
    reference += pow(world.gradient[j], 2);
    truth[BIAS_0 + j] = d;
    truth[SIGN_0 + j] =
        0.5 * erfc((world.gradient[j] < 0 ? -1 : 1) * world.mean[k][j] / sqrt(2 * world.variance[k][j]));
  }
  truth[SQUARE] = bias2;
  truth[VARIANCE] = world.variance[k][0] + world.variance[k][1];
  truth[COSINE] = dot / sqrt(own * reference);
  truth[RELATIVE] = sqrt(bias2 / reference);
}

static void get_intervals(const struct mv_row *row, const double *coordinates, double (*out)[2])
{
  static const enum mv_stat low[4] = {MV_STAT_BIAS2_LOW, MV_STAT_VARIANCE_LOW, MV_STAT_COSINE_LOW,
                                      MV_STAT_RELATIVE_ERROR_LOW};
  static const enum mv_stat high[4] = {MV_STAT_BIAS2_HIGH, MV_STAT_VARIANCE_HIGH, MV_STAT_COSINE_HIGH,
                                       MV_STAT_RELATIVE_ERROR_HIGH};
  for (int i = 0; i < 4; i++) {
    out[i][0] = row->stat[low[i]];
    out[i][1] = row->stat[high[i]];
  }
  for (int j = 0; j < META; j++) {
    out[BIAS_0 + j][0] = coordinates[MV_AT_BIAS_LOW * META + j];
    out[BIAS_0 + j][1] = coordinates[MV_AT_BIAS_HIGH * META + j];
    out[SIGN_0 + j][0] = coordinates[MV_AT_SIGN_ERROR_LOW * META + j];
    out[SIGN_0 + j][1] = coordinates[MV_AT_SIGN_ERROR_HIGH * META + j];
  }
}

static int repeats(void) { return getenv("METAVAR_LONG") ? atoi(getenv("METAVAR_LONG")) : REPEATS; }

static struct {
  double *unbiased[CASES], below[CASES][KINDS], above[CASES][KINDS]; /* counts of intervals beside the truth */
} seen;

static void run_repeats(void)
{
  const struct mv_analysis options = {DRAWS, 0.95};
  double truth[CASES][KINDS];
  for (int k = 0; k < CASES; k++) {
    set_truth(k, truth[k]);
    seen.unbiased[k] = mv_memory_take((size_t)repeats(), sizeof(double));
  }
  for (int i = 0; i < repeats(); i++) {
    struct mv_panel p;
    struct mv_point at;
    make_repeat(&p, i);
    mv_panel_close(&p, DRAWS, (uint32_t)i);
    mv_point_make(&at, &p, &options, &(struct mv_term){1, 0, 1});
    for (int k = 0; k < CASES; k++) {
      struct mv_row row;
      double coordinates[MV_COORDINATES * META], interval[KINDS][2];
      mv_cell_fill(&at, 0, k, 1, &world.settings[0].at[setting_of[k]], &row, coordinates, NULL);
      get_intervals(&row, coordinates, interval);
      seen.unbiased[k][i] = row.stat[MV_STAT_BIAS2_UNBIASED];
      for (int kind = 0; kind < KINDS; kind++) { /* NaN counts as above */
        seen.below[k][kind] += interval[kind][1] < truth[k][kind] - 1e-12;
        seen.above[k][kind] += !(interval[kind][0] <= truth[k][kind] + 1e-12);
      }
    }
    mv_point_free(&at);
    mv_panel_free(&p);
  }
}

/* The mean over repeats within 4 standard errors of the truth; the plug-in would be off by tr Var, dozens of them. */
static void unbiased(void **state)
{
  (void)state;
  run_repeats();
  for (int k = 0; k < CASES; k++) {
    double truth[KINDS], mean = 0, se = mv_deviation(seen.unbiased[k], repeats()) / sqrt(repeats());
    set_truth(k, truth);
    for (int i = 0; i < repeats(); i++)
      mean += seen.unbiased[k][i] / repeats();
    print_message("case %d: squared bias %.4e, mean of estimates %.4e, z = %.2f\n", k, truth[SQUARE], mean,
                  (mean - truth[SQUARE]) / se);
    assert_true(fabs(mean - truth[SQUARE]) < 4 * se);
    free(seen.unbiased[k]);
  }
}

/* At least 93 % everywhere; at most 97 % of those that are 4 standard errors from the edge of what is possible; within 3
 * binomial standard errors of these shares. */
static void covered(void **state)
{
  (void)state;
  const double n = repeats(), least = 0.93 - 3 * sqrt(0.93 * 0.07 / n), most = 0.97 + 3 * sqrt(0.97 * 0.03 / n);
  int failed = 0;
  for (int k = 0; k < CASES; k++)
    for (int kind = 0; kind < KINDS; kind++) {
      double share = 1 - (seen.below[k][kind] + seen.above[k][kind]) / n;
      bool edge = kind == SQUARE || kind == RELATIVE ? k < 3 || k == NAIVE : kind == COSINE && k != 4;
      bool wrong = share < least || (!edge && share > most);
      print_message("%s case %d: covered %.4f, too low %.4f, too high %.4f%s\n", kinds[kind], k, share,
                    seen.below[k][kind] / n, seen.above[k][kind] / n, wrong ? "  <--" : "");
      failed += wrong;
    }
  print_message("bounds: %.4f to %.4f\n", least, most);
  assert_int_equal(failed, 0);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(unbiased), cmocka_unit_test(covered)};
  return cmocka_run_group_tests_name("analysis of tree_bandit against enumeration", tests, set_up, tear_down);
}
