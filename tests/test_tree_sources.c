/* test_tree_sources.c - sources of bias and the reference board of a whole run on tree_bandit, against enumeration.
 *
 * A run is computed, stored and analysed by production code; its tables are read through their columns. Every source's
 * vector has to be the enumerated one within 4 standard errors, and the parts have to add up to the total exactly.
 */
#define _GNU_SOURCE
#include <stdio.h>

#include "metavar/analysis.h"
#include "metavar/memory.h"
#include "sampled.h"
#include "tree_moments.h"
#include "tree_oracle.h"
#include "tree_smooth.h"

static const char job_text[] =
    "name: tree\nseed: 11\nlifetime_length: 4\nblock: 1000\n"
    "task: {name: tree_bandit}\neta: {points: [[0.4, -0.3]]}\n"
    "estimators:\n"
    "  - {name: backprop, truncation: [2, 4], hessian: [pathwise, dice], meta_discount: [0.5, 1], replicates: 60000, "
    "store: moments}\n"
    "  - {name: es, sigma: 0.3, truncation: [2, 4], replicates: 60000, store: moments}\n"
    "  - {name: reference, truncation: [2], replicates: 90000, store: moments}\n"
    "  - {name: reference, label: smoothed, smoothing: 0.3, truncation: [2], replicates: 60000, store: moments}\n";

static struct oracle oracle;
static struct rig backprop;
static struct moments exact_backprop;
static struct mv_results *results;
static struct mv_tables tables;
static char path[64];

/* Computes and stores the whole run. */
static void make_run(void)
{
  struct mv_job *job = mv_job_parse("tree", job_text, strlen(job_text), NULL, 0, mv_kernel_best(), stderr);
  assert_non_null(job);
  struct mv_plan *plan = mv_plan_make(job);
  struct mv_worker *worker = mv_worker_create(plan);
  int code;
  strcpy(path, "/tmp/metavar-sources-XXXXXX");
  assert_non_null(mkdtemp(path));
  strcat(path, "/run");
  struct mv_store *store = mv_store_open(path, plan, &code);
  assert_non_null(store);
  for (int cell = 0; cell < plan->cells; cell++) {
    struct mv_unit unit = {cell, 0, job->entries[mv_plan_entry(plan, cell)].replicates};
    size_t bytes = mv_result_bytes(plan, &unit);
    void *out = mv_memory_take(bytes, 1);
    mv_worker_compute(worker, &unit, out);
    assert_int_equal(mv_store_add(store, out, bytes), MV_EXIT_OK);
    free(out);
  }
  assert_int_equal(mv_store_finalize(store, NULL), MV_EXIT_OK);
  mv_store_close(store);
  mv_worker_free(worker);
  mv_plan_free(plan);
  mv_job_free(job);
}

static int set_up(void **state)
{
  (void)state;
  int code;
  oracle = oracle_make();
  exact_es_make(0.3);
  rig_make(&backprop, mv_kernel_best(), "tree_bandit", "backprop", TREE_STEPS);
  *(struct mv_ints *)rig_setting(&backprop, "truncation") = (struct mv_ints){2, {2, 4}};
  *(struct mv_reals *)rig_setting(&backprop, "meta_discount") = (struct mv_reals){2, {0.5, 1}};
  *(struct mv_choices *)rig_setting(&backprop, "hessian") = (struct mv_choices){2, {MV_PATHWISE, MV_DICE}};
  rig_ready(&backprop);
  enumerate(&backprop, TREE_PASSES, &exact_backprop);
  make_run();
  results = mv_results_open(path, &code);
  assert_non_null(results);
  code = mv_tables_make(results, &(struct mv_analysis){500, 0.95}, (double[]){0, 0.5, 1}, 3, NULL, &tables);
  assert_int_equal(code, MV_EXIT_OK);
  return 0;
}

static int tear_down(void **state)
{
  (void)state;
  char command[128];
  mv_tables_free(&tables);
  mv_results_close(results);
  moments_free(&exact_backprop);
  rig_free(&backprop);
  snprintf(command, sizeof command, "rm -r %.*s", (int)(strlen(path) - 4), path);
  return system(command);
}

/* --- one row of a table, by the names of its columns --- */

struct line {
  int count;
  char name[64][48], text[64][48];
  double value[64];
};

static void take_text(void *self, const char *name, const char *value)
{
  struct line *line = self;
  snprintf(line->name[line->count], 48, "%s", name);
  snprintf(line->text[line->count], 48, "%s", value);
  line->value[line->count++] = *value ? atof(value) : NAN;
}

static void take_real(void *self, const char *name, double value)
{
  struct line *line = self;
  take_text(self, name, "");
  line->value[line->count - 1] = value;
}

static void take_whole(void *self, const char *name, int64_t value) { take_real(self, name, (double)value); }

static struct line get_line(enum mv_table_kind kind, int row, int point)
{
  struct line line = {0};
  const struct mv_table *table = &tables.table[kind];
  table->columns(&tables, table, row, point, &(struct mv_sink){&line, take_text, take_whole, take_real});
  return line;
}

static int find(const struct line *line, const char *name)
{
  int k = 0;
  while (k < line->count && strcmp(line->name[k], name))
    k++;
  assert_true(k < line->count);
  return k;
}

static double real(const struct line *line, const char *name) { return line->value[find(line, name)]; }
static const char *text(const struct line *line, const char *name) { return line->text[find(line, name)]; }

/* --- truths --- */

/* Mean of backprop with these settings. */
static double gradient(int t, int hessian, int discount, double lambda, int j)
{
  int64_t d = rig_offset(&backprop, "direct") + (t * MODES + hessian) * 2 + j;
  int64_t c = rig_offset(&backprop, "correction") + ((t * MODES + hessian) * 2 + discount) * 2 + j;
  return mean_of(&exact_backprop, d) + lambda * mean_of(&exact_backprop, c);
}

static double backprop_truth(const struct line *line, const char *source, int j)
{
  int t = real(line, "truncation") == 4, discount = real(line, "meta_discount") == 1;
  int hessian = strcmp(text(line, "hessian"), "dice") == 0;
  double lambda = real(line, "lambda"), window = t ? oracle.gradient[j] : oracle.weighted[0][j];
  if (!strcmp(source, "hessian"))
    return gradient(t, hessian, discount, lambda, j) - gradient(t, MV_PATHWISE, discount, lambda, j);
  if (!strcmp(source, "correction"))
    return gradient(t, MV_PATHWISE, discount, lambda, j) - gradient(t, MV_PATHWISE, 1, 1, j);
  if (!strcmp(source, "credit") || (t && !strcmp(source, "rest")))
    return gradient(t, MV_PATHWISE, 1, 1, j) - window;
  if (!strcmp(source, "coverage"))
    return window - oracle.gradient[j];
  if (!strcmp(source, "total"))
    return gradient(t, hessian, discount, lambda, j) - oracle.gradient[j];
  fail_msg("backprop has no source '%s'", source);
  return NAN;
}

static double es_truth(const struct line *line, const char *source, int j)
{
  int t = real(line, "truncation") == 4;
  double window = exact_mean(t ? 2 * (LENGTHS - 1) + j : j), whole = exact_mean(2 * (LENGTHS - 1) + j);
  if (!strcmp(source, "rest"))
    return 0;
  if (!strcmp(source, "coverage"))
    return window - whole;
  if (!strcmp(source, "smoothing"))
    return whole - oracle.gradient[j];
  if (!strcmp(source, "total"))
    return window - oracle.gradient[j];
  fail_msg("es has no source '%s'", source);
  return NAN;
}

/* --- tests --- */

static void sources_are_exact(void **state)
{
  (void)state;
  int seen = 0;
  double worst = 0;
  for (int row = 0; row < tables.table[MV_SOURCES].rows; row++) {
    struct line line = get_line(MV_SOURCES, row, 0);
    const char *source = text(&line, "source");
    double size = 0;
    for (int j = 0; j < 2; j++) {
      char name[32];
      bool es = strcmp(text(&line, "entry"), "es") == 0;
      double truth = es ? es_truth(&line, source, j) : backprop_truth(&line, source, j);
      snprintf(name, sizeof name, "term_%d", j);
      double term = real(&line, name);
      snprintf(name, sizeof name, "term_se_%d", j);
      double se = real(&line, name);
      if (!(fabs(term - truth) <= 4 * se + ROUNDING))
        fail_msg("row %d, %s of %s T = %g: %.6g (%.2g), exact %.6g", row, source, text(&line, "entry"),
                 real(&line, "truncation"), term, se, truth);
      worst = fmax(worst, se > 0 ? fabs(term - truth) / se : 0);
      size += truth * truth;
      seen++;
    }
    if (!(fabs(real(&line, "size2_unbiased") - size) <= 4 * real(&line, "size2_se") + ROUNDING))
      fail_msg("row %d, %s: size %.4g, exact %.4g", row, source, real(&line, "size2_unbiased"), size);
  }
  print_message("%d terms, the worst %.2f standard errors off\n", seen, worst);
  assert_true(seen > 100);
}

static void parts_add_up(void **state)
{
  (void)state;
  double term[2] = {0}, projection = 0, largest = 0;
  for (int row = 0; row < tables.table[MV_SOURCES].rows; row++) {
    struct line line = get_line(MV_SOURCES, row, 1); /* averages, of one point */
    const double part[3] = {real(&line, "term_0"), real(&line, "term_1"), real(&line, "projection")};
    largest = fmax(largest, fabs(part[2]));
    if (strcmp(text(&line, "source"), "total") != 0) {
      term[0] += part[0], term[1] += part[1], projection += part[2];
      continue;
    }
    near("first coordinate", term[0], part[0], 1e-14);
    near("second coordinate", term[1], part[1], 1e-14);
    near("projection", projection, part[2], 1e-13 * largest);
    near("squared bias", real(&line, "size2_unbiased"), part[2], 1e-13 * largest);
    term[0] = term[1] = projection = largest = 0;
  }
}

/* Own targets are met; others are missed by what they are apart. */
static void board_is_exact(void **state)
{
  (void)state;
  int own = 0, other = 0;
  for (int row = 0; row < tables.table[MV_BOARD].rows; row++) {
    struct line line = get_line(MV_BOARD, row, 0);
    double bias = real(&line, "bias2_unbiased"), se = real(&line, "bias2_se");
    if (real(&line, "own_target") == 1) {
      own++;
      if (!(fabs(bias) <= 4 * se))
        fail_msg("row %d, %s to its own target %s: %.4g (%.2g)", row, text(&line, "entry"), text(&line, "target"), bias,
                 se);
      continue;
    }
    if (strcmp(text(&line, "entry"), "reference") || strcmp(text(&line, "target"), "exact") ||
        real(&line, "truncation") != 2)
      continue;
    double truth = 0;
    for (int j = 0; j < 2; j++)
      truth += pow(oracle.weighted[0][j] - oracle.gradient[j], 2);
    assert_true(fabs(bias - truth) <= 4 * se && bias > 10 * se); /* seen clearly, as they are paired */
    other++;
  }
  print_message("%d own targets\n", own);
  assert_true(own == 5 && other == 1); /* backprop: full and weighted, T = 2, 4; es: T = 2, 4 */
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(sources_are_exact), cmocka_unit_test(parts_add_up),
                                     cmocka_unit_test(board_is_exact)};
  return cmocka_run_group_tests_name("sources of bias on tree_bandit against enumeration", tests, set_up, tear_down);
}
