/* test_config.c - good job files: what they mean, the way back to text, overrides, sweeps, ranges; and mutated ones,
 * which may be refused but never crash the reader (run it under -fsanitize=address,undefined). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "config_fakes.h"
#include <float.h>
#include <math.h>

/* Parses what must be good. */
static struct mv_job *good(const char *text, const char *const *overrides, int count)
{
  char *report;
  struct mv_job *job = parse_job(text, strlen(text), overrides, count, &report);
  if (!job) {
    fail_msg("job:\n%srefused:\n%s", text, report);
  }
  free(report);
  return job;
}

static struct mv_job *good_edit(const char *from, const char *to)
{
  char *text = edited_job(from, to);
  struct mv_job *job = good(text, NULL, 0);
  free(text);
  return job;
}

static struct mv_job *good_set(const char *override) { return good(good_job, &override, 1); }

static void test_meaning(void **state)
{
  (void)state;
  struct mv_job *job = good(good_job, NULL, 0);
  const struct slope *task = job->task_settings;
  const struct grad *grad = job->entries[0].settings;
  const struct push *push = job->entries[1].settings;
  assert_string_equal(job->name, "t");
  assert_true(job->seed == 7 && job->lifetime_length == 30 && job->sampler == MV_INVERSE_CDF);
  assert_true(job->block == 1000 && job->unit == 0);
  assert_ptr_equal(job->task, &fake_slope);
  assert_true(task->arms == 3 && task->cutoff == 4 && task->noise == 2);
  assert_true(task->mean.count == 2 && task->mean.value[0] == 0.1 && task->mean.value[1] == -3);
  assert_ptr_equal(job->problem.task, &fake_slope);
  assert_ptr_equal(job->problem.settings, task);
  assert_true(job->problem.shape.state == 3 && job->problem.steps == 30 && job->problem.sampler == MV_INVERSE_CDF);
  assert_true(job->meta == 2 && job->points == 2 && job->grid[0] == 2 && job->grid[1] == 1);
  assert_true(job->eta[0] == 1 && job->eta[1] == 3 && job->eta[2] == 2 && job->eta[3] == 3);
  assert_int_equal(job->entry_count, 2);
  assert_string_equal(job->entries[0].label, "grad");
  assert_string_equal(job->entries[1].label, "es");
  assert_true(job->entries[0].replicates == 100 && job->entries[1].replicates == 1000);
  assert_true(job->entries[1].store == MV_STORE_SAMPLES && job->entries[1].lifetimes_per_task == 1);
  assert_true(grad->truncation.count == 2 && grad->truncation.value[1] == 30 && grad->hessian.count == 1);
  assert_true(push->sigma == 0.1 && push->population == 2 && push->window == 0 && !push->shared);
  assert_string_equal(job->text, good_job);
  mv_job_free(job);
}

/* Settings that a hook derives. */
static void test_completed(void **state)
{
  (void)state;
  struct mv_job *job = good_edit("    truncation: [2, 30]\n", "");
  const struct grad *grad = job->entries[0].settings;
  assert_true(grad->truncation.count == 1 && grad->truncation.value[0] == 30);
  mv_job_free(job);
}

static const char canonical_good[] =
    "name: t\nseed: 7\nlifetime_length: 30\nsampler: inverse_cdf\nblock: 1000\nunit: 0\n"
    "task:\n  name: slope\n  arms: 3\n  cutoff: 4\n  noise: 2\n  mean: [0.1, -3]\n"
    "eta:\n  grid:\n    - [1, 2]\n    - [3]\n"
    "estimators:\n"
    "  - name: grad\n    label: grad\n    replicates: 100\n    store: samples\n"
    "    lifetimes_per_task: 1\n    perturbations_per_lifetime: 1\n"
    "    truncation: [2, 30]\n    hessian: [pathwise]\n    lifetimes: 1\n"
    "  - name: push\n    label: es\n    replicates: 1000\n    store: samples\n"
    "    lifetimes_per_task: 1\n    perturbations_per_lifetime: 1\n"
    "    sigma: 0.1\n    population: 2\n    window: random\n    shared: false\n";

static void check_round_trip(struct mv_job *job)
{
  char *first = mv_job_canonical(job, false);
  struct mv_job *again = good(first, NULL, 0);
  char *second = mv_job_canonical(again, false);
  assert_string_equal(first, second);
  assert_int_equal(job->points, again->points);
  assert_memory_equal(job->eta, again->eta, (size_t)job->points * (size_t)job->meta * sizeof *job->eta);
  assert_int_equal(!job->grid, !again->grid);
  assert_int_equal(job->entry_count, again->entry_count);
  for (int i = 0; i < job->entry_count; i++) {
    assert_string_equal(job->entries[i].label, again->entries[i].label);
    if (job->entries[i].estimator == &fake_push) {
      const struct push *a = job->entries[i].settings, *b = again->entries[i].settings;
      assert_memory_equal(&a->sigma, &b->sigma, sizeof a->sigma);
    }
  }
  mv_job_free(job), mv_job_free(again);
  free(first), free(second);
}

static void test_canonical(void **state)
{
  (void)state;
  struct mv_job *job = good(good_job, NULL, 0);
  char *text = mv_job_canonical(job, false), *identity = mv_job_canonical(job, true);
  assert_string_equal(text, canonical_good);
  assert_null(strstr(identity, "unit:"));
  assert_null(strstr(identity, "replicates:"));
  assert_null(strstr(identity, "name: t\n"));
  assert_non_null(strstr(identity, "seed: 7\n"));
  assert_non_null(strstr(identity, "  - name: push\n    label: es\n    store: samples\n"));
  free(text), free(identity);
  check_round_trip(job);
  check_round_trip(good_edit("sigma: 0.1", "sigma: [0.1, 0.30000000000000004, 1e-300, 123456.789e-3]"));
  check_round_trip(good_edit("  grid:\n    - [1, 2]\n    - 3\n", "  points: [[1, -2.5], [1e300, 0.1]]\n"));
  check_round_trip(good_edit("- 3\n", "- {logspace: [0.001, 7, 50]}\n"));
  check_round_trip(good_edit("seed: 7", "seed: 18446744073709551615\nsampler: gumbel"));
}

/* The stopping rule: only there when it is given, with whole blocks in a first round; and `*` in a path. */
static void test_stop(void **state)
{
  (void)state;
  const char *sets[] = {"estimators.*.replicates=5e6", "stop.statistic=gradient"};
  struct mv_job *job = good_edit("eta:\n", "block: 30\nstop: {relative_error: 0.05}\neta:\n");
  assert_true(job->stop.relative_error == 0.05 && job->stop.statistic == MV_STATISTIC_VARIANCE);
  assert_int_equal(job->stop.first_round, 32 * 30);
  check_round_trip(job);
  char *text = edited_job("eta:\n", "stop: {relative_error: 1, first_round: 1001}\neta:\n");
  job = good(text, sets, 2);
  assert_true(job->stop.relative_error == 1 && job->stop.statistic == MV_STATISTIC_GRADIENT);
  assert_int_equal(job->stop.first_round, 2000);
  assert_true(job->entries[0].replicates == 5000000 && job->entries[1].replicates == 5000000);
  char *canonical = mv_job_canonical(job, false), *identity = mv_job_canonical(job, true);
  assert_non_null(
      strstr(canonical, "\nstop:\n  relative_error: 1\n  statistic: gradient\n  first_round: 2000\neta:\n"));
  assert_null(strstr(identity, "stop"));
  free(canonical), free(identity), free(text);
  check_round_trip(job);
}

/* Only what changes results is identity. */
static void test_identity(void **state)
{
  (void)state;
  const struct {
    const char *set;
    bool same;
  } cases[] = {
      {"unit=5", true},   {"name=other", true},    {"estimators.0.replicates=7", true}, {"seed=8", false},
      {"block=7", false}, {"task.noise=1", false}, {"estimators.es.sigma=1", false},    {"eta.grid.1=4", false}};
  struct mv_job *job = good(good_job, NULL, 0);
  char *identity = mv_job_canonical(job, true);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct mv_job *other = good_set(cases[i].set);
    char *text = mv_job_canonical(other, true);
    assert_int_equal(strcmp(text, identity) == 0, cases[i].same);
    free(text);
    mv_job_free(other);
  }
  free(identity);
  mv_job_free(job);
}

static void test_eta_forms(void **state)
{
  (void)state;
  const char *old = "  grid:\n    - [1, 2]\n    - 3\n";
  struct mv_job *job = good_edit(old, "  grid: [{linspace: [1, 4, 4]}, [7, 5]]\n");
  assert_true(job->points == 8 && job->grid[0] == 4 && job->grid[1] == 2);
  for (int p = 0; p < 8; p++) {
    assert_true(job->eta[2 * p] == 1 + p / 2 && job->eta[2 * p + 1] == (p % 2 ? 5 : 7));
  }
  mv_job_free(job);
  job = good_edit(old, "  zip: [{linspace: [0, 1, 11]}, {logspace: [1e-3, 1e7, 11]}]\n");
  assert_true(job->points == 11 && !job->grid);
  const double powers[] = {1e-3, 1e-2, 0.1, 1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7};
  for (int p = 0; p < 11; p++) { /* the decimals that a person would write */
    assert_true(job->eta[2 * p] == p / 10.0 && job->eta[2 * p + 1] == powers[p]);
  }
  mv_job_free(job);
  job = good_edit(old, "  points: [[1, 2], [-0, 1e-5]]\n");
  assert_true(job->points == 2 && !job->grid && job->eta[1] == 2 && job->eta[3] == 1e-5);
  assert_false(signbit(job->eta[2]));
  mv_job_free(job);
  job = good_edit(old, "  grid: [{linspace: [-1.7e308, 1.7e308, 3]}, {logspace: [5e-324, 1.7e308, 2]}]\n");
  assert_true(job->eta[0] == -1.7e308 && job->eta[4] == 0 && job->eta[8] == 1.7e308);
  assert_true(job->eta[1] == 5e-324 && job->eta[3] == 1.7e308);
  mv_job_free(job);
}

static void test_numbers(void **state)
{
  (void)state;
  const struct {
    const char *text;
    int64_t value;
  } whole[] = {{"1e6", 1000000}, {"40000", 40000}, {"2.50e1", 25}, {"+7", 7}, {"1200e-2", 12}, {"4.", 4}, {"1E1", 10}};
  for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
    char set[64];
    snprintf(set, sizeof set, "estimators.0.replicates=%s", whole[i].text);
    struct mv_job *job = good_set(set);
    assert_true(job->entries[0].replicates == whole[i].value);
    mv_job_free(job);
  }
  struct mv_job *job = good_set("unit=-0");
  assert_true(job->unit == 0);
  mv_job_free(job);
  job = good_set("seed=18446744073709551615");
  assert_true(job->seed == UINT64_MAX);
  mv_job_free(job);
  job = good_set("estimators.es.sigma=.5e-3");
  assert_true(((const struct push *)job->entries[1].settings)->sigma == 0.5e-3);
  mv_job_free(job);
}

static void test_print(void **state)
{
  (void)state;
  const double values[] = {0,    -0.0,    1,       0.1,    1.0 / 3,  0.1 + 0.2,           1e22,
                           1e-7, DBL_MAX, DBL_MIN, 5e-324, -2.5e-10, 123456789012345680.0};
  const char *const texts[] = {"0", "0", "1", "0.1", "0.3333333333333333", "0.30000000000000004", "1e22", "1e-07"};
  const struct mv_field f = {.name = "x", .kind = MV_REAL};
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    char text[MV_REAL_TEXT], cut[4];
    int length = mv_field_print(&f, &values[i], text, sizeof text);
    assert_int_equal(length, strlen(text));
    assert_true(strtod(text, NULL) == values[i]);
    if (i < sizeof texts / sizeof *texts) {
      assert_string_equal(text, texts[i]);
    }
    assert_int_equal(mv_field_print(&f, &values[i], cut, sizeof cut), length);
    assert_int_equal(strncmp(cut, text, 3), 0);
    assert_int_equal(mv_field_print(&f, &values[i], NULL, 0), length);
  }
}

static void test_sweeps(void **state)
{
  (void)state;
  struct mv_job *job = good_edit("sigma: 0.1", "window: [first, random]\n    sigma: {linspace: [0.05, 0.2, 4]}");
  const char *const labels[] = {"grad",
                                "es_sigma0.05_windowfirst",
                                "es_sigma0.05_windowrandom",
                                "es_sigma0.1_windowfirst",
                                "es_sigma0.1_windowrandom",
                                "es_sigma0.15_windowfirst",
                                "es_sigma0.15_windowrandom",
                                "es_sigma0.2_windowfirst",
                                "es_sigma0.2_windowrandom"};
  const double sigmas[] = {0.05, 0.1, 0.15, 0.2};
  assert_int_equal(job->entry_count, 9);
  assert_string_equal(job->entries[0].label, labels[0]);
  for (int i = 1; i < 9; i++) {
    const struct push *push = job->entries[i].settings;
    assert_string_equal(job->entries[i].label, labels[i]);
    assert_true(push->window == i % 2 && push->sigma == sigmas[(i - 1) / 2] && job->entries[i].replicates == 1000);
  }
  check_round_trip(job);
}

static void test_overrides(void **state)
{
  (void)state;
  const char *sets[] = {"estimators.es.sigma=0.2",
                        "estimators.0={name: push, label: a.b, sigma: 3, replicates: 1}",
                        "estimators.a.b.sigma=4",
                        "eta.grid.1={linspace: [1, 2, 2]}",
                        "task.noise=5",
                        "block=7",
                        "block=8"};
  int count = sizeof sets / sizeof *sets;
  struct mv_job *job = good(good_job, sets, count);
  assert_true(((const struct push *)job->entries[1].settings)->sigma == 0.2);
  assert_string_equal(job->entries[0].label, "a.b");
  assert_true(((const struct push *)job->entries[0].settings)->sigma == 4);
  assert_true(job->points == 4 && job->eta[3] == 2);
  assert_true(((const struct slope *)job->task_settings)->noise == 5);
  assert_true(job->block == 8);
  assert_int_equal(strncmp(job->text, good_job, strlen(good_job)), 0);
  assert_non_null(strstr(job->text, "\n# --set estimators.es.sigma=0.2\n"));
  struct mv_job *plain = good(job->text, NULL, 0); /* the overrides are kept as comments */
  assert_true(plain->block == 1000);
  mv_job_free(plain);
  mv_job_free(job);
}

/* Byte mutations of a file that uses everything. Each is refused with a message or read; what is read survives the
 * way to text and back. */
static void test_mutations(void **state)
{
  (void)state;
  static const char bytes[] = "[]{}:,-#&*!|>'\"%@`\n\t\r \0\xff\xc3\xa9\x01.0e9_xN~?<";
  char *base = edited_job("sigma: 0.1", "sigma: [0.1, 2] # s\n    shared: true\n    window: [first, random]");
  char *sound = edited_job("- 3\n", "- {logspace: [1, 100, 3]}\n");
  size_t length = strlen(base);
  uint64_t x = 88172645463325252u;
  int accepted = 0, rounds = 6000;
  for (int i = 0; i < rounds; i++) {
    char *text = strdup(i % 2 ? base : sound), *report;
    length = strlen(text);
    for (int k = 0; k <= i % 3; k++) {
      x ^= x << 13, x ^= x >> 7, x ^= x << 17; /* xorshift64 */
      size_t at = x % length;
      text[at] = x >> 40 & 1 ? bytes[(x >> 32) % (sizeof bytes - 1)] : text[(x >> 20) % length];
    }
    size_t cut = x >> 50 & 7 ? length : x % length;
    struct mv_job *job = parse_job(text, cut, NULL, 0, &report);
    assert_int_equal(job == NULL, *report != '\0');
    if (job) {
      accepted++;
      char *first = mv_job_canonical(job, false);
      mv_job_free(job);
      job = good(first, NULL, 0);
      free(first);
    }
    mv_job_free(job);
    free(report), free(text);
  }
  assert_in_range(accepted, rounds / 100, rounds / 2); /* both ways were tried */
  free(base), free(sound);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_meaning),   cmocka_unit_test(test_completed), cmocka_unit_test(test_canonical),
      cmocka_unit_test(test_stop),      cmocka_unit_test(test_identity),  cmocka_unit_test(test_eta_forms),
      cmocka_unit_test(test_numbers),   cmocka_unit_test(test_print),     cmocka_unit_test(test_sweeps),
      cmocka_unit_test(test_overrides), cmocka_unit_test(test_mutations),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
