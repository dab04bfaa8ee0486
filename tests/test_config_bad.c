/* test_config_bad.c - bad job files: every error at its line and column, with its cure, all in one pass and no other.
 * */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "config_fakes.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* The good job with `from` replaced by `to`, or `to` alone where from is NULL. Each line of `want` is "place: part":
 * a line of the report starts with the place and contains the part; the report has these lines, in this order, and no
 * others. */
struct bad {
  const char *from, *to, *want;
};

static const struct bad syntax[] = {
    {NULL, "", "f: is empty"},
    {NULL, "# only a comment\n", "f: is empty"},
    {NULL, "---\n", "f:2:1: empty where"},
    {NULL, "just words\n", "f:1:1: a single value where"},
    {NULL, "- a\n- b\n", "f:1:1: a list where"},
    {NULL, "name: \xff\xfe\n", "f:1:7: invalid leading UTF-8 octet; save the file as plain UTF-8"},
    {NULL, "name: \x01\n", "f:1:7: control characters are not allowed"},
    {"seed: 7\n", "seed: 7\r\n", "f:2:8: the line ends as in Windows (CR LF); convert"},
    {"  arms: 3", "\tarms: 3", "f:6:1: a tab where YAML wants spaces"},
    {"  arms: 3", "   arms: 3", "f:6:8: mapping values are not allowed in this context"},
    {"[1, 2]", "[1, 2",
     "f:11:11: did not find expected ',' or ']', while parsing a flow sequence that began at line 9"},
    {"name: t", "name: \"t", "f:19:1: found unexpected end of stream"},
    {"replicates: 1e3\n", "replicates: 1e3\n---\nname: x\n", "f:19:1: a second document"},
    {"seed: 7", "seed: &s 7", "f:2:7: an anchor (&s)"},
    {"seed: 7", "seed: *s", "f:2:7: an alias (*s)"},
    {"seed: 7", "seed: !!int 7", "f:2:7: a tag (tag:yaml.org,2002:int)"},
    {"seed: 7", "seed: 7\nseed: 8", "f:3:1: duplicate key \"seed\", first given at line 2"},
    {"seed: 7", "seed: 7\n[a]: 8", "f:3:1: a key must be a single word"},
    {"  arms: 3", "  arms: 3\n  arms: 4", "f:7:3: duplicate key \"arms\", first given at line 6"},
    {"arms: 3", "arms: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[3]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
     "f:6:39: nested deeper than 32 levels"},
};

static const struct bad keys[] = {
    {"seed: 7", "sede: 7",
     "f:1:1: seed: missing in the job\nf:2:1: unknown key \"sede\" in the job; did you mean \"seed\"?"},
    {"arms: 3", "arms: 3\n  cutof: 4", "f:7:3: unknown key \"cutof\" in task slope; did you mean \"cutoff\"?"},
    {"truncation:", "trunction:", "f:13:5: unknown key \"trunction\" in estimator grad; did you mean \"truncation\"?"},
    {"arms: 3", "arms: 3\n  color: 4", "f:7:3: unknown key \"color\" in task slope; known: name, arms, cutoff"},
    {"name: t\n", "", "f:1:1: name: missing in the job"},
    {"  arms: 3\n", "", "f:5:3: arms: missing in task slope; add it: number of arms"},
    {"    sigma: 0.1\n", "", "f:15:5: sigma: missing in estimator push"},
    {"    replicates: 1e3\n", "", "f:15:5: replicates: missing in estimator push"},
    {"  name: slope\n", "", "f:5:3: name: missing in task"},
    {"name: push\n    label: es\n", "label: es\n", "f:15:5: name: missing in a row of estimators"},
    {"name: slope", "name: slop", "f:5:9: name: unknown task \"slop\"; did you mean \"slope\"? known: flat, slope"},
    {"name: push", "name: esx", "f:15:11: name: unknown estimator \"esx\"; known: grad, push"},
    {"task:\n  name: slope\n  arms: 3\n", "task: slope\n", "f:4:7: task: a single value where a mapping belongs"},
    {"task:\n  name: slope\n  arms: 3\n", "", "f:1:1: task: missing in the job"},
    {"- name: grad", "- [grad]\n  - name: grad", "f:12:5: estimators: a list where a mapping belongs"},
};

static const struct bad numbers[] = {
    {"sigma: 0.1", "sigma: 0.1abc", "f:17:12: sigma: \"0.1abc\" is not a number"},
    {"sigma: 0.1", "sigma: nan", "f:17:12: sigma: \"nan\" is not finite"},
    {"sigma: 0.1", "sigma: -.INF", "f:17:12: sigma: \"-.INF\" is not finite"},
    {"sigma: 0.1", "sigma: 0,1", "f:17:12: sigma: \"0,1\" has a comma; write a decimal point"},
    {"sigma: 0.1", "sigma: 1e999", "f:17:12: sigma: \"1e999\" is too large"},
    {"sigma: 0.1", "sigma: 1e-999", "f:17:12: sigma: \"1e-999\" is too small"},
    {"sigma: 0.1", "sigma: 00.1", "f:17:12: sigma: \"00.1\" has a leading zero"},
    {"sigma: 0.1", "sigma: 0", "f:17:12: sigma: 0 is out of range; give a number greater than 0 and at most 1000000"},
    {"sigma: 0.1", "sigma: -1", "f:17:12: sigma: -1 is out of range"},
    {"sigma: 0.1", "sigma: '0.1'", "f:17:12: sigma: \"0.1\" is quoted"},
    {"sigma: 0.1", "sigma:", "f:17:11: sigma: no value is given"},
    {"sigma: 0.1", "sigma: .", "f:17:12: sigma: \".\" is not a number"},
    {"sigma: 0.1", "sigma: 1e", "f:17:12: sigma: \"1e\" is not a number"},
    {"replicates: 100", "replicates: 010", "f:14:17: replicates: \"010\" has a leading zero"},
    {"replicates: 100", "replicates: 0x10", "f:14:17: replicates: \"0x10\" is not decimal"},
    {"replicates: 100", "replicates: 1_000", "f:14:17: replicates: \"1_000\" has an underscore"},
    {"replicates: 100", "replicates: 40k", "f:14:17: replicates: \"40k\" has a suffix; write the number out"},
    {"replicates: 100", "replicates: 1.5", "f:14:17: replicates: \"1.5\" is not a whole number"},
    {"replicates: 100", "replicates: -4", "f:14:17: replicates: -4 is out of range; give a number at least 1"},
    {"replicates: 100", "replicates: 68719476737", "f:14:17: replicates: 68719476737 is out of range"},
    {"replicates: 100", "replicates: [100, 200]", "f:14:17: replicates: a list where one value belongs"},
    {"seed: 7", "seed: 18446744073709551616",
     "f:2:7: seed: \"18446744073709551616\" is too large; the largest integer is"},
    {"seed: 7", "seed: -7", "f:2:7: seed: -7 is negative"},
    {"lifetime_length: 30", "lifetime_length: 0",
     "f:3:18: lifetime_length: 0 is out of range; give a number at least 1"},
    {"name: t", "name: a b", "f:1:7: name: \"a b\" cannot be a name"},
    {"name: t", "name: ../x", "f:1:7: name: \"../x\" cannot be a name"},
    {"arms: 3", "arms: 3\n  mean: [0, 11, x]",
     "f:7:13: mean: 11 is out of range; give a number at least -10 and at most 10\nf:7:17: mean: \"x\" is not a "
     "number"},
    {"arms: 3", "arms: 3\n  mean: []", "f:7:9: mean: a list of 0; give 1 to 64"},
    {"[2, 30]", "{linspace: [1, 30, 3]}", "f:13:17: truncation: \"15.5\" is not a whole number"},
    {"[2, 30]", "{linspace: [1, 100, 100]}", "f:13:17: truncation: a list of 100; give 1 to 64"},
    {"[2, 30]", "{lin: [1, 30, 3]}", "f:13:17: truncation: a mapping that is no range"},
    {"[2, 30]", "[2, 30]\n    hessian: [dice, dize]",
     "f:14:21: hessian: \"dize\" is not a choice; did you mean \"dice\"?"},
    {"[2, 30]", "[2, 30]\n    hessian: [dice, dice]", "f:14:21: hessian: \"dice\" stands twice"},
    {"[2, 30]", "[2, 30]\n    hessian: {a: 1}", "f:14:14: hessian: a mapping where a list of words"},
    {"sigma: 0.1", "sigma: 0.1\n    shared: yes", "f:18:13: shared: \"yes\" is neither true nor false"},
};

static const struct bad etas[] = {
    {"  grid:\n    - [1, 2]\n    - 3\n", "  grid: [[1, 2]]\n", "f:8:9: grid: 1 lists for 2 meta-parameters"},
    {"  grid:\n    - [1, 2]\n    - 3\n", "  grid: 5\n", "f:8:9: grid: a single value where a list of lists"},
    {"  grid:\n    - [1, 2]\n    - 3\n", "  grid: []\n", "f:8:9: grid: an empty list where a list of lists"},
    {"  grid:\n    - [1, 2]\n    - 3\n", "  grid: [[], [x]]\n",
     "f:8:10: grid: an empty list; give at least one number\nf:8:15: grid: \"x\" is not a number"},
    {"[1, 2]", "[1, 2, 1.0]", "f:9:14: grid: equal to item 1 of the list"},
    {"- 3\n", "- 3\n  zip: [[1], [2]]\n", "f:8:3: eta: more than one of grid, zip and points"},
    {"  grid:\n    - [1, 2]\n    - 3\n", "  gird: [[1], [2]]\n",
     "f:8:3: unknown key \"gird\" in eta; did you mean \"grid\"?\nf:8:3: eta: none of grid, zip and points"},
    {"  grid:\n    - [1, 2]\n    - 3\n", "  zip: [[1, 2], [1, 2, 3]]\n", "f:8:17: zip: 3 numbers where 2 belong"},
    {"  grid:\n    - [1, 2]\n    - 3\n", "  points: [[1, 2], [3]]\n", "f:8:20: points: 1 numbers where 2 belong"},
    {"  grid:\n    - [1, 2]\n    - 3\n", "  points: [[1, 0], [3, 4], [1, -0]]\n", "f:8:28: points: equal to item 1"},
    {"- 3\n", "- {linspace: [1, 2]}\n", "f:10:18: grid: a range needs three numbers"},
    {"- 3\n", "- {linspace: [1, 2, 1]}\n", "f:10:25: points of the range: 1 is out of range; give a number at least 2"},
    {"- 3\n", "- {logspace: [0, 2, 3]}\n",
     "f:10:19: end of the range: 0 is out of range; give a number greater than 0"},
    {"- 3\n", "- {linspace: [1, 2, 1e6]}\n",
     "f:9:5: grid: 2000000 points of 2 meta-parameters; at most 1000000 numbers"},
    {"eta:\n  grid:\n    - [1, 2]\n    - 3\n", "eta: 3\n", "f:7:6: eta: a single value where a mapping belongs"},
};

static const struct bad entries[] = {
    {"label: es", "label: grad", "f:16:12: label: \"grad\" is the label of two entries"},
    {"label: es", "label: 2es", "f:16:12: label: \"2es\" cannot be a label"},
    {"label: es", "label: provenance", "f:16:12: label: \"provenance\" cannot be a label"},
    {"sigma: 0.1", "sigma: [0.1, 0.10]", "f:16:12: label: \"es_sigma0.1\" is the label of two entries"},
    {"sigma: 0.1", "sigma: [0.1, 0, x]", "f:17:18: sigma: 0 is out of range\nf:17:21: sigma: \"x\" is not a number"},
    {"sigma: 0.1", "sigma: []", "f:17:12: sigma: an empty list"},
    {"sigma: 0.1", "sigma: {linspace: [1, 2, 70]}\n    population: {linspace: [2, 200, 100]}",
     "f:15:5: estimator push: more than 4096 entries"},
    {"- name: grad", "- name: grad\n    store: sample",
     "f:13:12: store: \"sample\" is not a choice; did you mean \"samples\"?"},
    {"sigma: 0.1", "sigma: 0.1\n    population: 3", "f:18:17: population: 3 is odd"},
    {"[2, 30]", "[2, 31]", "f:13:17: truncation: 31 exceeds lifetime_length 30"},
    {"arms: 3", "arms: 3\n  cutoff: 31", "f:7:11: cutoff: 31 is more than the 30 steps"},
    {"lifetime_length: 30", "lifetime_length: 3",
     "f:5:3: cutoff: 4 is more than the 3 steps"}, /* a default: told at the task */
    {"name: slope", "name: flat",
     "f:12:11: name: estimator grad needs derivatives, which task flat does not offer; use push"},
    {"replicates: 100", "replicates: 100\n    perturbations_per_lifetime: 2",
     "f:15:33: perturbations_per_lifetime: estimator grad does not perturb"},
    {"replicates: 100", "replicates: 100\n    lifetimes: 1000\n    lifetimes_per_task: 1049",
     "f:16:25: lifetimes_per_task: 1049 draws of 1000 lifetimes each"},
    {"replicates: 100", "replicates: 100\n    perturbations_per_lifetime: 1048577",
     "f:15:33: perturbations_per_lifetime: 1048577 is out of range"},
    {"estimators:\n", "estimators: []\nx:\n",
     "f:11:13: estimators: an empty list where a list belongs\nf:12:1: unknown key \"x\" in the job"},
    /* everything at once, in the order of the file */
    {NULL,
     "nam: t\nseed: 2.5\nlifetime_length: x\ntask: {name: slope, arms: 1, noise: -1}\neta: {grid: [[1], [a]]}\n"
     "estimators:\n  - {name: grad, replicates: 0, hesian: dice}\n  - {name: psh}\n",
     "f:1:1: unknown key \"nam\"\nf:1:1: name: missing\nf:2:7: seed: \"2.5\" is not a whole\nf:3:18: lifetime_length: "
     "\"x\"\n"
     "f:4:27: arms: 1 is out\nf:4:37: noise: -1 is out\nf:5:20: grid: \"a\"\nf:7:30: replicates: 0 is\n"
     "f:7:33: unknown key \"hesian\"\nf:8:5: replicates: missing\nf:8:12: name: unknown estimator \"psh\"; did you "
     "mean \"push\"?"},
};

/* The same under an override. */
static const struct bad_set {
  const char *set;
  struct bad job;
} overrides[] = {
    {"seed=x", {"", "", "--set seed: \"x\" is not a number"}},
    {"sede=1", {"", "", "--set sede: unknown key \"sede\" in the job; did you mean \"seed\"?"}},
    {"tsk.arms=1", {"", "", "--set tsk.arms: no key \"tsk\" to go through; did you mean \"task\"?"}},
    {"task.arms.x=1", {"", "", "--set task.arms.x: goes into a single value"}},
    {"estimators.2.sigma=1", {"", "", "--set estimators.2.sigma: no item 2 in a list of 2"}},
    {"estimators.foo.sigma=1", {"", "", "--set estimators.foo.sigma: no item is labelled or named \"foo\""}},
    {"estimators.push.sigma=1",
     {"label: es", "label: x\n    sigma: 1\n    replicates: 1\n  - name: push",
      "--set estimators.push.sigma: 2 items are called \"push\""}},
    {"seed=", {"", "", "--set seed: no value is given"}},
    {"seed=[1", {"", "", "--set seed: did not find expected"}},
    {"seed", {"", "", "--set seed: is not of the form path=value"}},
    {"a..b=1", {"", "", "--set a..b: is not of the form path=value"}},
    {"estimators.es.population=3", {"", "", "--set estimators.es.population: 3 is odd"}},
    {"estimators.*.replicates=0",
     {"", "", "--set estimators.*.replicates: 0 is out of range"}}, /* two items, told once */
    {"stop=0.1", {"", "", "--set stop: a single value where a mapping belongs"}},
    {"stop={statistic: bias}",
     {"", "",
      "--set stop: relative_error: missing in stop\n"
      "--set stop: statistic: \"bias\" is not a choice"}},
    {"stop={relative_error: 0, first: 1}",
     {"", "",
      "--set stop: unknown key \"first\" in stop\n"
      "--set stop: relative_error: 0 is out of range"}},
    {"block=0", {"seed: 7", "seed: x", "f:2:7: seed: \"x\"\n--set block: 0 is out of range"}},
};

/* Line 7 and on: the outer loop. What it asks of estimators: test_train.c. */
#define TRAIN(...) "eta:\n", "train: {" __VA_ARGS__ "}\neta:\n"
#define USUAL      "updates: 5, learning_rate: 1"
static const struct bad trains[] = {
    {"eta:\n", "train: 5\neta:\n",
     "f:7:8: train: a single value where a mapping belongs; write `updates: ...` below it"},
    {TRAIN("update: 5, learning_rate: 1"), "f:7:8: updates: missing in train; add it: updates of eta in one curve\n"
                                           "f:7:9: unknown key \"update\" in train; did you mean \"updates\"?"},
    {TRAIN("updates: 5"), "f:7:8: learning_rate: missing in train"},
    {TRAIN("updates: 0, learning_rate: 1"), "f:7:18: updates: 0 is out of range; give a number at least 1"},
    {TRAIN("updates: 5, learning_rate: 0"), "f:7:36: learning_rate: 0 is out of range; give a number greater than 0"},
    {TRAIN(USUAL ", optimizer: adams"),
     "f:7:50: optimizer: \"adams\" is not a choice; did you mean \"adam\"? known: sgd, adam"},
    {TRAIN(USUAL ", momentum: 1"), "f:7:49: momentum: must be less than 1"},
    {TRAIN(USUAL ", optimizer: adam, momentum: 0.5"), "f:7:66: momentum: is of sgd; adam has betas"},
    {TRAIN(USUAL ", betas: [0.5, 0.9]"), "f:7:46: betas: are of adam; sgd has momentum"},
    {TRAIN(USUAL ", optimizer: adam, betas: [0.9, 1]"), "f:7:63: betas: must be two numbers"},
    {TRAIN(USUAL ", optimizer: adam, betas: 0.9"), "f:7:63: betas: must be two numbers"},
    {TRAIN(USUAL ", seeds: 0"), "f:7:46: seeds: 0 is out of range"},
    {TRAIN(USUAL ", seeds: 600000"),
     "f:7:8: seeds: 2 starts with 600000 seeds are more than 1000000 curves; take fewer"},
    {TRAIN(USUAL ", evaluate_every: -1"), "f:7:55: evaluate_every: -1 is out of range"},
    {TRAIN(USUAL ", evaluate_replicates: 0"), "f:7:60: evaluate_replicates: 0 is out of range"},
    {"    sigma: 0.1\n", "    sigma: 0.1\n    lambda: 0\n", "f:18:5: unknown key \"lambda\" in estimator push"},
};

/* The next line of *text, cut off. */
static char *take_line(char **text)
{
  char *line = *text, *end = strchr(line, '\n');
  if (!*line) {
    return NULL;
  }
  *text = end ? end + 1 : line + strlen(line);
  if (end) {
    *end = '\0';
  }
  return line;
}

static bool report_fits(const char *report, const char *want)
{
  char *got = strdup(report), *wants = strdup(want), *got_at = got, *want_at = wants, *line, *part;
  bool fits = true;
  while ((part = take_line(&want_at))) {
    size_t place = (size_t)(strstr(part, ": ") - part) + 2;
    line = take_line(&got_at);
    fits = fits && line && strncmp(line, part, place) == 0 && strstr(line + place, part + place);
  }
  fits = fits && !*got_at;
  free(got), free(wants);
  return fits;
}

static int wrong(const struct bad *b, const char *set)
{
  char *report, *text = b->from ? edited_job(b->from, b->to) : strdup(b->to);
  struct mv_job *job = parse_job(text, strlen(text), &set, set ? 1 : 0, &report);
  bool fits = !job && report_fits(report, b->want);
  if (!fits) {
    fprintf(stderr, "--- job, with --set %s:\n%s--- wanted:\n%s\n--- got:\n%s", set ? set : "nothing", text, b->want,
            report);
  }
  mv_job_free(job);
  free(text), free(report);
  return !fits;
}

#define CHECK(table)                                                                                                   \
  static void test_##table(void **state)                                                                               \
  {                                                                                                                    \
    (void)state;                                                                                                       \
    int count = 0;                                                                                                     \
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {                                                        \
      count += wrong(&table[i], NULL);                                                                                 \
    }                                                                                                                  \
    assert_int_equal(count, 0);                                                                                        \
  }
CHECK(syntax)
CHECK(keys)
CHECK(numbers)
CHECK(etas)
CHECK(entries)
CHECK(trains)

static void test_overrides(void **state)
{
  (void)state;
  int count = 0;
  for (size_t i = 0; i < sizeof overrides / sizeof *overrides; i++) {
    count += wrong(&overrides[i].job, overrides[i].set);
  }
  assert_int_equal(count, 0);
}

/* A NUL, and texts that are too many of something. */
static void test_bulk(void **state)
{
  (void)state;
  char *report;
  assert_null(parse_job("name: \0t\n", 9, NULL, 0, &report));
  assert_non_null(strstr(report, "f: is a binary file"));
  free(report);

  size_t size;
  char *text;
  FILE *out = open_memstream(&text, &size);
  for (int i = 0; i < 300; i++) {
    fprintf(out, "k%d: 1\n", i);
  }
  fclose(out);
  assert_null(parse_job(text, size, NULL, 0, &report));
  assert_non_null(strstr(report, "f:257:1: more than 256 keys"));
  free(text), free(report);

  out = open_memstream(&text, &size); /* one error a row: the first hundred are told, the others counted */
  fprintf(out, "estimators:\n");
  for (int i = 0; i < 4000; i++) {
    fprintf(out, "- x\n");
  }
  fclose(out);
  assert_null(parse_job(text, size, NULL, 0, &report));
  assert_non_null(strstr(report, "f:50:3: estimators"));
  assert_non_null(strstr(report, "more errors"));
  free(text), free(report);
}

/* What is no file. */
static void test_paths(void **state)
{
  (void)state;
  char dir[] = "/tmp/metavar-config-XXXXXX", path[64], big[64];
  assert_non_null(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/fifo", dir);
  snprintf(big, sizeof big, "%s/big", dir);
  assert_int_equal(mkfifo(path, 0600), 0);
  FILE *file = fopen(big, "w");
  assert_non_null(file);
  assert_int_equal(ftruncate(fileno(file), (1 << 20) + 1), 0);
  fclose(file);
  const struct {
    const char *path, *want;
  } cases[] = {{"/no/such/job.yaml", "no such file"},
               {dir, "is a directory"},
               {path, "not a regular file"},
               {"/dev/zero", "not a regular file"},
               {big, "larger than 1 MiB"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char *report;
    size_t size;
    FILE *out = open_memstream(&report, &size);
    assert_null(mv_job_read(cases[i].path, NULL, 0, &fake_kernel, out));
    fclose(out);
    assert_int_equal(strncmp(report, cases[i].path, strlen(cases[i].path)), 0);
    assert_non_null(strstr(report, cases[i].want));
    assert_ptr_equal(strchr(report, '\n') + 1, report + size); /* one line */
    free(report);
  }
  unlink(path), unlink(big), rmdir(dir);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_syntax), cmocka_unit_test(test_keys),    cmocka_unit_test(test_numbers),
      cmocka_unit_test(test_etas),   cmocka_unit_test(test_entries), cmocka_unit_test(test_overrides),
      cmocka_unit_test(test_bulk),   cmocka_unit_test(test_paths),   cmocka_unit_test(test_trains),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
