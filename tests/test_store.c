/* test_store.c - the run directory and results.h5: what goes in comes out, whatever the order; damage is found;
 * nobody's files are touched. */
#define _GNU_SOURCE /* memmem */
#include "store_fake.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "metavar/store_internal.h"

/* Sanitizer builds: libhdf5 keeps the memory of a file whose last write failed. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5"; }

/* The store's clock: the real one, and a jump. */
static time_t ahead;
int clock_gettime(clockid_t clock, struct timespec *t)
{
  long failed = syscall(SYS_clock_gettime, clock, t);
  t->tv_sec += ahead;
  return (int)failed;
}

/* --- scratch space, captured messages -------------------------------------------------------------------- */

static char scratch[] = "/tmp/metavar-store-XXXXXX";

static const char *in_scratch(const char *name)
{
  static char path[4][256];
  static int turn;
  turn = (turn + 1) % 4;
  snprintf(path[turn], sizeof path[turn], "%s/%s", scratch, name);
  return path[turn];
}

static void shell(const char *format, ...)
{
  char command[2000];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(command, sizeof command, format, arguments);
  va_end(arguments);
  assert_int_equal(system(command), 0);
}

/* What a command prints; malloc'ed. */
static char *shell_text(const char *command)
{
  char *text = mv_memory_take(1 << 16, 1);
  FILE *pipe = popen(command, "r");
  assert_non_null(pipe);
  size_t n = fread(text, 1, (1 << 16) - 1, pipe);
  text[n] = 0;
  assert_int_equal(pclose(pipe), 0);
  return text;
}

static int real_stderr = -1;
static void capture(void)
{
  fflush(stderr);
  real_stderr = dup(2);
  int fd = open(in_scratch("stderr"), O_WRONLY | O_CREAT | O_TRUNC, 0666);
  dup2(fd, 2);
  close(fd);
}

/* Ends the capture; the messages must hold this text, or be empty for "". */
static void expect_message(const char *part)
{
  char text[4000];
  fflush(stderr);
  dup2(real_stderr, 2);
  close(real_stderr);
  FILE *file = fopen(in_scratch("stderr"), "r");
  text[fread(text, 1, sizeof text - 1, file)] = 0;
  fclose(file);
  if (*part ? !strstr(text, part) : *text != 0)
    fail_msg("expected a message with \"%s\", got \"%s\"", part, text);
}

/* --- runs ------------------------------------------------------------------------------------------------- */

struct rig {
  struct mv_job *job;
  struct mv_plan *plan;
  struct mv_worker *worker;
  struct mv_store *store;
  char path[256];
};

static void rig_open(struct rig *rig, const char *name, int block, int unit)
{
  int code;
  rig->job = fake_job(block, unit, 5);
  rig->plan = mv_plan_make(rig->job);
  rig->worker = mv_worker_create(rig->plan);
  snprintf(rig->path, sizeof rig->path, "%s", in_scratch(name));
  rig->store = mv_store_open(rig->path, rig->plan, &code);
  assert_int_equal(code, MV_EXIT_OK);
  assert_non_null(rig->store);
}

static void rig_close(struct rig *rig)
{
  mv_store_close(rig->store);
  mv_worker_free(rig->worker);
  mv_plan_free(rig->plan);
  mv_job_free(rig->job);
}

static int rig_add(struct rig *rig, const struct mv_unit *unit)
{
  size_t bytes = mv_result_bytes(rig->plan, unit);
  void *result = mv_memory_take(bytes, 1);
  mv_worker_compute(rig->worker, unit, result);
  int code = mv_store_add(rig->store, result, bytes);
  free(result);
  return code;
}

/* All units of a job, cut to `size` replicates (moments: whole blocks). */
static int cut(const struct mv_plan *plan, int64_t size, struct mv_unit *units)
{
  int count = 0;
  for (int cell = 0; cell < plan->cells; cell++) {
    const struct mv_entry *e = &plan->job->entries[mv_plan_entry(plan, cell)];
    int64_t step =
        e->store == MV_STORE_MOMENTS ? (size + plan->job->block - 1) / plan->job->block * plan->job->block : size;
    for (int64_t first = 0; first < e->replicates; first += step)
      units[count++] = (struct mv_unit){cell, first, step < e->replicates - first ? step : e->replicates - first};
  }
  return count;
}

static void shuffle(struct mv_unit *units, int count, unsigned seed)
{
  for (int k = count - 1; k > 0; k--) {
    seed = seed * 1664525u + 1013904223u;
    int other = (int)(seed >> 8) % (k + 1);
    struct mv_unit unit = units[k];
    units[k] = units[other], units[other] = unit;
  }
}

static struct mv_unit units[4000];

/* A whole run: units of this size, in this order, a commit after every `per_shard`. */
static void rig_fill(struct rig *rig, int64_t size, unsigned seed, int per_shard)
{
  int count = cut(rig->plan, size, units);
  if (seed)
    shuffle(units, count, seed);
  for (int k = 0; k < count; k++) {
    assert_int_equal(rig_add(rig, &units[k]), MV_EXIT_OK);
    if (k % per_shard == per_shard - 1)
      assert_int_equal(mv_store_commit(rig->store), MV_EXIT_OK);
  }
}

static void count_samples(void *self, const struct mv_unit *unit) { *(int64_t *)self += unit->count; }
static int64_t committed(const struct mv_store *store)
{
  int64_t samples = 0;
  mv_store_committed(store, count_samples, &samples);
  return samples;
}

enum { TOTAL = 6 * (101 + 101 + 37) };

static void count_units(void *self, const struct mv_unit *unit) { (void)unit, ++*(int *)self; }

/* Computes what the store lacks. */
struct have {
  const struct mv_plan *plan;
  bool *sample; /* [cell][128] */
};
static void mark(void *self, const struct mv_unit *unit)
{
  struct have *have = self;
  for (int64_t r = 0; r < unit->count; r++)
    have->sample[unit->cell * 128 + unit->first + r] = true;
}
static void rig_repair(struct rig *rig, int64_t size)
{
  struct have have = {rig->plan, mv_memory_take((size_t)rig->plan->cells * 128, sizeof(bool))};
  mv_store_committed(rig->store, mark, &have);
  int count = cut(rig->plan, size, units);
  for (int k = 0; k < count; k++)
    if (!have.sample[units[k].cell * 128 + units[k].first])
      assert_int_equal(rig_add(rig, &units[k]), MV_EXIT_OK);
  free(have.sample);
}

static void digest_of(const char *path, char hex[33]) { assert_int_equal(mv_results_digest(path, hex), MV_EXIT_OK); }

/* --- what goes in comes out ------------------------------------------------------------------------------ */

/* In whatever order they come, the units of one commit that follow each other are written as one. */
static void test_units_join(void **state)
{
  (void)state;
  struct rig rig;
  int count = 0;
  char hex[33], whole[33];
  rig_open(&rig, "joined", 16, 0);
  rig_fill(&rig, 16, 7, 1000);
  assert_int_equal(mv_store_commit(rig.store), MV_EXIT_OK);
  mv_store_committed(rig.store, count_units, &count);
  assert_int_equal(count, rig.plan->cells);
  assert_int_equal(committed(rig.store), TOTAL);
  assert_int_equal(mv_store_finalize(rig.store, NULL), MV_EXIT_OK);
  digest_of(rig.path, hex);
  digest_of(in_scratch("digest2"), whole); /* every unit alone */
  assert_string_equal(hex, whole);
  rig_close(&rig);
}

static void test_same_digest(void **state)
{
  (void)state;
  static const struct {
    int64_t size;
    unsigned seed;
    int per_shard, unit;
  } way[] = {{16, 0, 1000, 0}, {16, 7, 5, 0}, {48, 3, 1, 3}, {101, 11, 4, 0}};
  char first[33], hex[33], name[32];
  for (size_t k = 0; k < sizeof way / sizeof *way; k++) {
    struct rig rig;
    snprintf(name, sizeof name, "digest%zu", k);
    rig_open(&rig, name, 16, way[k].unit);
    rig_fill(&rig, way[k].size, way[k].seed, way[k].per_shard);
    assert_int_equal(mv_store_finalize(rig.store, NULL), MV_EXIT_OK);
    assert_int_equal(committed(rig.store), TOTAL);
    digest_of(rig.path, k ? hex : first);
    if (k)
      assert_string_equal(hex, first);
    rig_close(&rig);
  }
  struct rig other; /* a single number that differs shows */
  int code;
  other.job = fake_job(16, 0, 6);
  other.job->eta[0] = 1.25;
  other.plan = mv_plan_make(other.job);
  other.worker = mv_worker_create(other.plan);
  other.store = mv_store_open(in_scratch("digest_other"), other.plan, &code);
  rig_fill(&other, 16, 0, 1000);
  assert_int_equal(mv_store_finalize(other.store, NULL), MV_EXIT_OK);
  digest_of(in_scratch("digest_other"), hex);
  assert_string_not_equal(hex, first);
  rig_close(&other);
}

struct check {
  const struct mv_plan *plan;
  int cell;
  int64_t blocks, nonfinite;
};

/* One block of one cell against the function itself. */
static void check_block(void *self, const struct mv_moments *got)
{
  struct check *check = self;
  const struct mv_job *job = check->plan->job;
  int e = mv_plan_entry(check->plan, check->cell);
  const struct mv_layout *l = &check->plan->layout[e];
  int64_t first = got->block * job->block, left = job->entries[e].replicates - first, finite;
  int64_t count = left < job->block ? left : job->block;
  double *rows = mv_memory_take((size_t)(count * l->values), 8), *mean = mv_memory_take((size_t)l->moments, 8);
  double *comoment = mv_memory_take((size_t)l->pairs, 8);
  assert_int_equal(got->block, check->blocks);
  for (int64_t r = 0; r < count; r++)
    expected_row(check->plan, check->cell, first + r, rows + r * l->values);
  direct_moments(l, rows, count, &finite, mean, comoment);
  assert_int_equal(got->count, finite);
  assert_int_equal(got->nonfinite, count - finite);
  assert_same_bits(got->mean, mean, (size_t)l->moments * 8);
  assert_same_bits(got->comoment, comoment, (size_t)l->pairs * 8);
  for (int64_t v = 0; v < l->vectors; v++) { /* the largest of all, from the samples */
    double most = -1;
    int64_t id = -1;
    for (int64_t r = 0; r < count; r++) {
      const double *x = rows + r * l->values + l->vector[v][0], *y = rows + r * l->values + l->vector[v][1];
      double a = x[0] + (l->vector[v][1] < 0 ? 0 : y[0]), b = x[1] + (l->vector[v][1] < 0 ? 0 : y[1]);
      if (row_is_finite(l, rows + r * l->values) && a * a + b * b > most)
        most = a * a + b * b, id = first + r;
    }
    assert_true(got->largest[v * MV_LARGEST] == most);
    assert_int_equal(got->largest_id[v * MV_LARGEST], id);
  }
  check->blocks++;
  check->nonfinite += got->nonfinite;
  free(rows), free(mean), free(comoment);
}

/* Samples of one cell against the function itself; notes are not read. */
static void check_samples(void *self, const struct mv_samples *got)
{
  struct check *check = self;
  const struct mv_layout *l = &check->plan->layout[mv_plan_entry(check->plan, check->cell)];
  double row[l->values];
  assert_int_equal(got->first, check->blocks);
  for (int64_t r = 0; r < got->count; r++) {
    expected_row(check->plan, check->cell, got->first + r, row);
    assert_same_bits(got->values + r * l->values, row, (size_t)l->moments * 8);
    assert_int_equal(got->status[r] == MV_OK, row_is_finite(l, row));
  }
  check->blocks += got->count;
}

/* With blocks of one replicate the mean is the sample itself; with 16 it is statistics. */
static void test_values(void **state)
{
  (void)state;
  for (int block = 1; block <= 16; block += 15) {
    struct rig rig;
    rig_open(&rig, block == 1 ? "values1" : "values16", block, 0);
    rig_fill(&rig, 23, 5, 7);
    assert_int_equal(mv_store_finalize(rig.store, NULL), MV_EXIT_OK);
    int code;
    struct mv_results *results = mv_results_open(rig.path, &code);
    assert_non_null(results);
    int64_t nonfinite = 0;
    for (int cell = 0; cell < rig.plan->cells; cell++) {
      struct check check = {rig.plan, cell, 0, 0};
      assert_int_equal(mv_results_blocks(results, cell, check_block, &check), MV_EXIT_OK);
      int64_t n = rig.job->entries[mv_plan_entry(rig.plan, cell)].replicates;
      assert_int_equal(check.blocks, (n + block - 1) / block);
      nonfinite += check.nonfinite;
      check.blocks = 0;
      if (rig.job->entries[mv_plan_entry(rig.plan, cell)].store == MV_STORE_SAMPLES) {
        assert_int_equal(mv_results_samples(results, cell, check_samples, &check), MV_EXIT_OK);
        assert_int_equal(check.blocks, n);
      }
    }
    assert_true(nonfinite > 0);
    struct mv_progress progress;
    assert_int_equal(mv_store_progress(rig.path, &progress), MV_EXIT_OK);
    assert_int_equal(progress.nonfinite, nonfinite);
    mv_results_close(results);
    rig_close(&rig);
  }
}

/* What only other programs see: notes, coordinates, status, labels. */
static void test_other_readers(void **state)
{
  (void)state;
  if (system("/usr/bin/python3 -c 'import h5py, numpy' 2>/dev/null") != 0) {
    print_message("no python3-h5py here: notes and labels not checked\n");
    skip();
  }
  shell("/usr/bin/python3 - %s <<'EOF'\n"
        "import sys, h5py, numpy as np\n"
        "f = h5py.File(sys.argv[1], 'r')\n"
        "g, r = f['waves'], np.arange(101)\n"
        "assert (g['replicate'][:] == r).all() and (g['task_instance'][:] == r // 6).all()\n"
        "assert (g['lifetime'][:] == r // 2 %% 3).all() and (g['perturbation'][:] == r %% 2).all()\n"
        "s = r // 6 + r // 2 %% 3 + r %% 6\n"
        "assert g['window_start'].dtype == 'int64' and g['window_start'].shape == (6, 101, 2)\n"
        "assert (g['window_start'][:] == np.stack([s %% 7, s %% 8], -1)[None]).all()\n"
        "bad = ~np.isfinite(g['direct'][:]).all(axis=(2, 3, 4))\n"
        "assert bad.any() and (g['status'][:] == bad).all() and g['status'].dtype == 'int8'\n"
        "assert (g['cost'][:] == g['cost_primal'][:] + g['cost_tangent'][:]).all() and g['cost'].shape == (2, 2)\n"
        "m = f['sums']\n"
        "v = [x.decode() for x in m['value'][:]]\n"
        "assert v[1] == 'direct[truncation=2,hessian=pathwise,eta_1]' and v[-1] == 'objective', v\n"
        "assert v[10] == 'correction[truncation=2,hessian=pathwise,meta_discount=0.5,eta_0]', v[10]\n"
        "assert m['vector'][5].decode() == 'direct+correction[truncation=2,hessian=pathwise,meta_discount=0.5]'\n"
        "assert (m['pair_row'][:] <= m['pair_col'][:]).all() and m['pair_col'][36] == 36 and m['pair_row'][37] == 1\n"
        "assert (m['block'][:] == np.arange(7) * 16).all() and m['comoment'].shape == (6, 7, 703)\n"
        "assert f['plain/cost'][()] == 30 and m['mean'].fletcher32 and not m['mean'].compression\n"
        "assert m.attrs['meta_discount'] == b'[0, 0.5, 1]' and m.attrs['task_arms'] == b'3'\n"
        "assert b'seed: 5' in f['provenance/job'][()] and len(f['provenance/manifest']) > 1\n"
        "EOF",
        in_scratch("values16/results.h5"));
}

/* --- stopping and going on ------------------------------------------------------------------------------- */

static void test_resume(void **state)
{
  (void)state;
  struct rig rig;
  struct mv_progress progress;
  char hex[33], whole[33];
  rig_open(&rig, "resume", 16, 0);
  assert_int_equal(mv_store_attempt(rig.store, &(struct mv_attempt){2, "a,b", NULL, 1e9, 0}), MV_EXIT_OK);
  int count = cut(rig.plan, 16, units);
  for (int k = 0; k < count / 2; k++)
    assert_int_equal(rig_add(&rig, &units[k]), MV_EXIT_OK);
  assert_int_equal(committed(rig.store), 0); /* too little, too soon */
  assert_int_equal(mv_store_commit(rig.store), MV_EXIT_OK);
  int64_t half = committed(rig.store);
  assert_true(half > 0 && half < TOTAL);
  capture();
  int code = mv_store_finalize(rig.store, NULL);
  expect_message("samples are missing");
  assert_int_equal(code, MV_EXIT_AGAIN);
  rig_add(&rig, &units[count - 1]); /* never committed */
  assert_int_equal(mv_store_attempt(rig.store, &(struct mv_attempt){2, "a,b", "stopped", 1e9, 1e9 + 60}), MV_EXIT_OK);
  rig_close(&rig);

  assert_int_equal(mv_store_progress(rig.path, &progress), MV_EXIT_OK);
  assert_int_equal(progress.done, half);
  assert_int_equal(progress.total, TOTAL);
  assert_int_equal(progress.shards, 1);
  assert_int_equal(progress.attempts, 1);
  assert_false(progress.finished);
  rig_open(&rig, "resume", 16, 3); /* `unit` may change */
  assert_int_equal(committed(rig.store), half);
  assert_int_equal(mv_store_attempt(rig.store, &(struct mv_attempt){1, "c", NULL, 2e9, 0}), MV_EXIT_OK);
  rig_repair(&rig, 16);
  assert_int_equal(mv_store_finalize(rig.store, NULL), MV_EXIT_OK);
  rig_close(&rig);
  assert_int_equal(mv_store_progress(rig.path, &progress), MV_EXIT_OK);
  assert_int_equal(progress.done, TOTAL);
  assert_int_equal(progress.attempts, 2);
  assert_true(progress.finished);
  digest_of(rig.path, hex);
  digest_of(in_scratch("digest0"), whole);
  assert_string_equal(hex, whole);
  shell("grep -q '\"exit_reason\": \"stopped\"' %s/attempts/001.json && grep -q 2001-09-09T01:47:40Z "
        "%s/attempts/001.json "
        "&& grep -q '\"end\": null' %s/attempts/002.json",
        rig.path, rig.path, rig.path);
}

/* Damages a finished run without its results, opens it, repairs it. */
static void damage_and_repair(const char *name, const char *damage, const char *message)
{
  struct rig rig;
  char hex[33], whole[33];
  rig_open(&rig, name, 16, 0);
  rig_fill(&rig, 16, 9, 20);
  assert_int_equal(mv_store_commit(rig.store), MV_EXIT_OK);
  rig_close(&rig);
  shell("cd %s && %s && ls shards | wc -l > ../before", rig.path, damage);
  capture();
  rig_open(&rig, name, 16, 0);
  expect_message(message);
  int64_t left = committed(rig.store);
  assert_true(left < TOTAL && left > TOTAL / 2);
  rig_repair(&rig, 16);
  assert_int_equal(mv_store_commit(rig.store), MV_EXIT_OK);
  rig_close(&rig);
  capture();
  rig_open(&rig, name, 16, 0); /* what was appended after a torn line is whole */
  expect_message(message);
  assert_int_equal(committed(rig.store), TOTAL);
  assert_int_equal(mv_store_finalize(rig.store, NULL), MV_EXIT_OK);
  digest_of(rig.path, hex);
  digest_of(in_scratch("digest0"), whole);
  assert_string_equal(hex, whole);
  shell("test $(ls %s/shards | wc -l) -gt $(cat %s)", rig.path,
        in_scratch("before")); /* nothing was deleted or replaced */
  rig_close(&rig);
}

static void test_damage(void **state)
{
  (void)state;
  damage_and_repair("torn", "truncate -s -20 manifest.jsonl", "manifest.jsonl:6: damaged line");
  damage_and_repair("wrong", "sed -i '2s/\"bytes\":/\"bytez\":/' manifest.jsonl", "manifest.jsonl:2: damaged line");
  damage_and_repair("crc", "sed -i '2s/\\[3,/[4,/' manifest.jsonl", "manifest.jsonl:2: damaged line");
  damage_and_repair("gone", "rm shards/000003.h5", "000003.h5: No such file");
  damage_and_repair("short", "truncate -s -1 shards/000001.h5", "000001.h5: has the wrong size");
  damage_and_repair("flip", "printf x | dd of=shards/000002.h5 bs=1 seek=9000 conv=notrunc 2>/dev/null",
                    "000002.h5: has changed");
  damage_and_repair("stray", "cp shards/000002.h5 shards/000009.h5 && rm shards/000004.h5", "000004.h5: No such file");
}

/* Opens a run of which something is not counted; the messages must say so. */
static void rig_reopen(struct rig *rig, const char *name, const char *message)
{
  capture();
  rig_open(rig, name, 16, 0);
  expect_message(message);
}

static void expect_whole(const char *path)
{
  char hex[33], whole[33];
  digest_of(path, hex);
  digest_of(in_scratch("digest0"), whole);
  assert_string_equal(hex, whole);
}

/* All samples, once, and as many that are not finite as in the undisturbed run. */
static void expect_progress(const char *path)
{
  struct mv_progress progress, whole;
  assert_int_equal(mv_store_progress(in_scratch("digest0"), &whole), MV_EXIT_OK);
  assert_int_equal(mv_store_progress(path, &progress), MV_EXIT_OK);
  assert_int_equal(progress.done, TOTAL);
  assert_int_equal(progress.nonfinite, whole.nonfinite);
}

/* Shards that are gone are computed again under new names, so their lines stay void and the run can be finished again
 * and again. */
static void test_lost_shards(void **state)
{
  (void)state;
  struct rig rig;
  rig_open(&rig, "lost", 16, 0);
  rig_fill(&rig, 16, 0, 60);
  assert_int_equal(mv_store_finalize(rig.store, NULL), MV_EXIT_OK);
  rig_close(&rig);
  shell("cd %s && rm shards/*.h5 results.h5", rig.path);
  rig_reopen(&rig, "lost", "000001.h5: No such file");
  assert_int_equal(committed(rig.store), 0);
  rig_fill(&rig, 16, 0, 60); /* the same bytes as before */
  assert_int_equal(mv_store_finalize(rig.store, NULL), MV_EXIT_OK);
  expect_whole(rig.path);
  rig_close(&rig);
  shell("cd %s && rm results.h5 && test ! -e shards/000001.h5", rig.path);
  rig_reopen(&rig, "lost", "000001.h5: No such file");
  assert_int_equal(committed(rig.store), TOTAL);
  assert_int_equal(mv_store_finalize(rig.store, NULL), MV_EXIT_OK);
  expect_whole(rig.path);
  rig_close(&rig);
  capture();
  expect_progress(rig.path);
  expect_message("000001.h5: No such file");
}

/* Shards that come back after their samples were computed again, in other pieces: nothing counts twice. */
static void test_samples_listed_twice(void **state)
{
  (void)state;
  struct rig rig;
  rig_open(&rig, "twice", 16, 0);
  rig_fill(&rig, 48, 3, 5);
  assert_int_equal(mv_store_commit(rig.store), MV_EXIT_OK);
  rig_close(&rig);
  shell("cd %s && mkdir ../away && mv shards/*.h5 ../away", rig.path);
  rig_reopen(&rig, "twice", "No such file");
  rig_fill(&rig, 32, 4, 7);
  assert_int_equal(mv_store_commit(rig.store), MV_EXIT_OK);
  rig_close(&rig);
  shell("cd %s && cp ../away/*.h5 shards", rig.path);
  rig_reopen(&rig, "twice", "");
  assert_int_equal(committed(rig.store), 2 * TOTAL);
  assert_int_equal(mv_store_finalize(rig.store, NULL), MV_EXIT_OK);
  expect_whole(rig.path);
  expect_progress(rig.path);
  rig_close(&rig);
  shell("cd %s && rm results.h5 shards/0000?[13579].h5", rig.path); /* what is left overlaps here and there */
  rig_reopen(&rig, "twice", "No such file");
  assert_in_range(committed(rig.store), TOTAL / 2, 2 * TOTAL);
  rig_fill(&rig, 16, 0, 60);
  assert_int_equal(mv_store_finalize(rig.store, NULL), MV_EXIT_OK);
  expect_whole(rig.path);
  rig_close(&rig);
}

/* A file that changes while the run is open is found when it is read, and its samples are computed again. */
static void test_changed_under_way(void **state)
{
  (void)state;
  struct rig rig;
  rig_open(&rig, "changed", 16, 0);
  rig_fill(&rig, 16, 0, 2); /* shards 1 and 2: two units of cell 0 each, all of one shape */
  assert_int_equal(mv_store_commit(rig.store), MV_EXIT_OK);
  shell("cd %s/shards && test $(stat -c %%s 000001.h5) = $(stat -c %%s 000002.h5) && cp 000002.h5 000001.h5", rig.path);
  capture();
  assert_int_equal(mv_store_finalize(rig.store, NULL), MV_EXIT_AGAIN);
  expect_message("shards/000001.h5: has changed");
  assert_int_not_equal(access(in_scratch("changed/results.h5"), F_OK), 0);
  rig_close(&rig);
  rig_reopen(&rig, "changed", "000001.h5: has changed");
  rig_repair(&rig, 16);
  assert_int_equal(mv_store_finalize(rig.store, NULL), MV_EXIT_OK);
  expect_whole(rig.path);
  rig_close(&rig);
}

/* A shard whose bytes are right, but whose line lists its units in another order. */
static void test_units_in_wrong_order(void **state)
{
  (void)state;
  struct rig rig;
  struct mv_manifest manifest;
  rig_open(&rig, "order", 16, 0);
  rig_fill(&rig, 16, 0, 60);
  assert_int_equal(mv_store_commit(rig.store), MV_EXIT_OK);
  int run = open(rig.path, O_RDONLY | O_DIRECTORY);
  assert_true(mv_manifest_read(run, rig.path, rig.plan, true, &manifest));
  struct mv_unit first = manifest.unit[0];
  manifest.unit[0] = manifest.unit[1];
  manifest.unit[1] = first;
  FILE *file = fopen(in_scratch("order/manifest.jsonl"), "w");
  for (int64_t s = 0; s < manifest.shards; s++) {
    char *line = mv_manifest_line(&manifest.shard[s], manifest.unit + manifest.shard[s].first_unit);
    fputs(line, file);
    free(line);
  }
  fclose(file);
  close(run);
  mv_manifest_free(&manifest);
  rig_close(&rig);
  rig_reopen(&rig, "order", "");
  assert_int_equal(committed(rig.store), TOTAL);
  capture();
  assert_int_equal(mv_store_finalize(rig.store, NULL), MV_EXIT_DATA);
  expect_message("000001.h5: does not hold what the manifest lists");
  rig_close(&rig);
  shell("rm %s/shards/000001.h5", rig.path);
  rig_reopen(&rig, "order", "No such file");
  rig_repair(&rig, 16);
  assert_int_equal(mv_store_finalize(rig.store, NULL), MV_EXIT_OK);
  expect_whole(rig.path);
  rig_close(&rig);
}

/* Results wait ten seconds at most, also when no other comes. */
static void test_tick(void **state)
{
  (void)state;
  struct rig rig;
  rig_open(&rig, "tick", 16, 0);
  cut(rig.plan, 16, units);
  ahead += 1000; /* nothing waits: no time to count */
  assert_int_equal(mv_store_tick(rig.store), MV_EXIT_OK);
  assert_int_equal(rig_add(&rig, &units[0]), MV_EXIT_OK);
  ahead += 6;
  assert_int_equal(rig_add(&rig, &units[1]), MV_EXIT_OK);
  assert_int_equal(mv_store_tick(rig.store), MV_EXIT_OK);
  assert_int_equal(committed(rig.store), 0);
  ahead += 5;
  assert_int_equal(mv_store_tick(rig.store), MV_EXIT_OK);
  assert_int_equal(committed(rig.store), 32);
  assert_int_equal(rig_add(&rig, &units[2]), MV_EXIT_OK);
  shell("mv %s/shards %s/elsewhere", rig.path, rig.path);
  ahead += 11;
  capture();
  assert_int_equal(mv_store_tick(rig.store), MV_EXIT_IO);
  expect_message("shards/000002.h5: cannot be written");
  rig_close(&rig);
}

/* --- one process at a time ------------------------------------------------------------------------------- */

static void expect_refusal(const char *path, const struct mv_plan *plan, int code, const char *message);

static void test_lock(void **state)
{
  (void)state;
  struct rig rig;
  char message[64];
  rig_open(&rig, "lock", 16, 0);
  snprintf(message, sizeof message, "another process works on this run (host ");
  expect_refusal(rig.path, rig.plan, MV_EXIT_RUNNING, message);
  snprintf(message, sizeof message, "pid %ld, ", (long)getpid());
  expect_refusal(rig.path, rig.plan, MV_EXIT_RUNNING, message);
  struct mv_progress progress;
  assert_int_equal(mv_store_progress(rig.path, &progress), MV_EXIT_OK);
  rig_close(&rig);
  rig_open(&rig, "lock", 16, 0);
  rig_close(&rig);
}

/* The lock ends with its holder, even by kill -9; a program that the holder has started does not keep it. */
static void test_lock_of_killed(void **state)
{
  (void)state;
  struct rig rig;
  int ready[2];
  char byte;
  assert_int_equal(pipe(ready), 0);
  rig_open(&rig, "killed", 16, 0); /* for its plan */
  mv_store_close(rig.store);
  pid_t holder = fork();
  if (holder == 0) {
    int code;
    alarm(20); /* whatever becomes of the parent */
    mv_store_open(rig.path, rig.plan, &code);
    if (system("sleep 5 >/dev/null 2>&1 &") == 0 && write(ready[1], "x", 1) == 1)
      pause();
    _exit(1);
  }
  assert_int_equal(read(ready[0], &byte, 1), 1);
  expect_refusal(rig.path, rig.plan, MV_EXIT_RUNNING, "another process works on this run");
  kill(holder, SIGKILL);
  assert_int_equal(waitpid(holder, NULL, 0), holder);
  int code;
  rig.store = mv_store_open(rig.path, rig.plan, &code);
  assert_int_equal(code, MV_EXIT_OK);
  close(ready[0]);
  close(ready[1]);
  rig_close(&rig);
}

/* Where locks do not work: a shard of another process is never replaced. */
static void test_shard_of_another(void **state)
{
  (void)state;
  static const char *const name[] = {"000001.h5", "000001.h5.part"};
  for (int k = 0; k < 2; k++) {
    struct rig rig;
    rig_open(&rig, k ? "other_part" : "other", 16, 0);
    cut(rig.plan, 16, units);
    assert_int_equal(rig_add(&rig, &units[0]), MV_EXIT_OK);
    shell("echo mine > %s/shards/%s", rig.path, name[k]);
    capture();
    assert_int_equal(mv_store_commit(rig.store), MV_EXIT_RUNNING);
    expect_message("somebody else has written it");
    shell("cd %s/shards && test \"$(ls)\" = %s && test $(cat *) = mine", rig.path, name[k]);
    rig_close(&rig);
    rig_open(&rig, k ? "other_part" : "other", 16, 0); /* one that was killed left it: the next name */
    assert_int_equal(rig_add(&rig, &units[0]), MV_EXIT_OK);
    assert_int_equal(mv_store_commit(rig.store), MV_EXIT_OK);
    shell("test -s %s/shards/000002.h5", rig.path);
    rig_close(&rig);
  }
}

/* --- refusals -------------------------------------------------------------------------------------------- */

static void expect_refusal(const char *path, const struct mv_plan *plan, int code, const char *message)
{
  int got = -1;
  capture();
  struct mv_store *store = mv_store_open(path, plan, &got);
  expect_message(message);
  assert_null(store);
  assert_int_equal(got, code);
}

static void test_other_job_refused(void **state)
{
  (void)state;
  struct rig rig;
  rig_open(&rig, "taken", 16, 0);
  rig_fill(&rig, 16, 0, 1000);
  assert_int_equal(mv_store_commit(rig.store), MV_EXIT_OK);
  rig_close(&rig);
  char command[700];
  snprintf(command, sizeof command, "find %s -printf '%%p %%s %%T@ %%C@\\n' | sort; cat %s/*.*", rig.path, rig.path);
  char *before = shell_text(command);
  struct mv_job *job = fake_job(16, 0, 6);
  struct mv_plan *plan = mv_plan_make(job);
  expect_refusal(rig.path, plan, MV_EXIT_JOB, "there: seed: 5\n  here:  seed: 6");
  char *after = shell_text(command);
  assert_string_equal(before, after);
  assert_true(strlen(before) > 500);
  free(before), free(after);
  mv_plan_free(plan);
  mv_job_free(job);
}

/* Without its manifest a run is not begun anew behind the user's back. */
static void test_manifest_missing(void **state)
{
  (void)state;
  struct rig rig;
  struct mv_progress progress;
  rig_open(&rig, "headless", 16, 0);
  rig_fill(&rig, 16, 0, 60);
  assert_int_equal(mv_store_commit(rig.store), MV_EXIT_OK);
  mv_store_close(rig.store);
  shell("cd %s && rm manifest.jsonl && ls -lR > ../headless_before", rig.path);
  expect_refusal(rig.path, rig.plan, MV_EXIT_DATA, "headless/manifest.jsonl is missing");
  shell("cd %s && ls -lR | cmp - ../headless_before", rig.path);
  capture();
  assert_int_equal(mv_store_progress(rig.path, &progress), MV_EXIT_DATA);
  expect_message("headless/manifest.jsonl: No such file");
  shell("touch %s/manifest.jsonl", rig.path); /* as the message says */
  int code;
  rig.store = mv_store_open(rig.path, rig.plan, &code);
  assert_int_equal(committed(rig.store), 0);
  rig_fill(&rig, 16, 0, 60);
  assert_int_equal(mv_store_finalize(rig.store, NULL), MV_EXIT_OK);
  expect_whole(rig.path);
  rig_close(&rig);
}

static void test_bad_places_refused(void **state)
{
  (void)state;
  struct mv_job *job = fake_job(16, 0, 5);
  struct mv_plan *plan = mv_plan_make(job);
  shell(
      "cd %s && mkdir foreign hollow && echo hi > foreign/thesis.tex && echo hi > afile && touch hollow/manifest.jsonl",
      scratch);
  shell("cd %s/hollow && echo '{}' >> manifest.jsonl", scratch);
  expect_refusal(in_scratch("foreign"), plan, MV_EXIT_CREATE, "not empty, and not a run");
  shell("test \"$(ls -A %s/foreign)\" = thesis.tex", scratch);
  expect_refusal(in_scratch("hollow"), plan, MV_EXIT_DATA, "lists nothing of the job given now");
  expect_refusal(in_scratch("afile"), plan, MV_EXIT_CREATE, "Not a directory");
  expect_refusal(in_scratch("no/where"), plan, MV_EXIT_CREATE, "create its parent first");
  expect_refusal("", plan, MV_EXIT_CREATE, "empty");
  strcpy(job->entries[2].label, "eta");
  expect_refusal(in_scratch("label"), plan, MV_EXIT_JOB, "label 'eta'");
  assert_int_not_equal(access(in_scratch("label"), F_OK), 0);
  strcpy(job->entries[2].label, "plain");
  shell("mkdir -p %s/begun/shards && echo name: > %s/begun/job.yaml.part", scratch,
        scratch); /* a start that was killed */
  int code;
  struct mv_store *store = mv_store_open(in_scratch("begun//"), plan, &code);
  assert_int_equal(code, MV_EXIT_OK);
  mv_store_close(store);
  shell("cd %s/begun && test -f resolved.yaml && test -f README.txt && grep -q 'seed: 5' job.yaml", scratch);
  mv_plan_free(plan);
  mv_job_free(job);
}

/* A disk that fills up: told once, exit code 74, what was committed stays, and the run goes on when there is room. */
static void test_full_disk(void **state)
{
  (void)state;
  char disk[256];
  snprintf(disk, sizeof disk, "%s", in_scratch("disk"));
  shell("mkdir %s", disk);
  if (mount("none", disk, "tmpfs", 0, "size=500k") != 0) {
    print_message("cannot mount a small tmpfs here: a full disk is not tested\n");
    skip();
  }
  struct rig rig;
  char hex[33], whole[33];
  int code = MV_EXIT_OK;
  rig_open(&rig, "disk/run", 16, 0);
  int count = cut(rig.plan, 16, units);
  capture();
  for (int k = 0; k < count && code == MV_EXIT_OK; k++) {
    code = rig_add(&rig, &units[k]);
    code = code == MV_EXIT_OK && k % 20 == 19 ? mv_store_commit(rig.store) : code;
  }
  expect_message("No space left on device");
  assert_int_equal(code, MV_EXIT_IO);
  int64_t safe = committed(rig.store);
  assert_true(safe > 0);
  rig_close(&rig);
  shell("test -z \"$(ls %s/shards | grep part)\"", rig.path);
  assert_int_equal(mount("none", disk, "tmpfs", MS_REMOUNT, "size=6m"), 0);
  rig_open(&rig, "disk/run", 16, 0);
  assert_int_equal(committed(rig.store), safe);
  rig_repair(&rig, 16);
  assert_int_equal(mv_store_commit(rig.store), MV_EXIT_OK);
  shell("dd if=/dev/zero of=%s/ballast bs=1k count=6000 2>/dev/null || true", disk);
  capture();
  code = mv_store_finalize(rig.store, NULL);
  expect_message("results.h5");
  assert_int_equal(code, MV_EXIT_IO);
  shell("test ! -e %s/results.h5 && test ! -e %s/results.h5.part", rig.path, rig.path);
  shell("rm %s/ballast", disk);
  assert_int_equal(mount("none", disk, "tmpfs", MS_REMOUNT, "size=16m"), 0);
  assert_int_equal(mv_store_finalize(rig.store, NULL), MV_EXIT_OK);
  digest_of(rig.path, hex);
  digest_of(in_scratch("digest0"), whole);
  assert_string_equal(hex, whole);
  rig_close(&rig);
  assert_int_equal(umount(disk), 0);
}

/* Somebody is asked while a commit waits for room: first they make some, then they are in a hurry. */
struct helpful {
  const char *disk;
  int asked;
};

static bool make_room(void *self)
{
  struct helpful *helpful = self;
  return helpful->asked++ > 0 || mount("none", helpful->disk, "tmpfs", MS_REMOUNT, "size=700k") != 0;
}

static void test_waits_for_room(void **state)
{
  (void)state;
  struct helpful helpful = {.disk = in_scratch("disk")};
  char disk[256];
  snprintf(disk, sizeof disk, "%s", helpful.disk);
  helpful.disk = disk;
  shell("mkdir -p %s", disk);
  if (mount("none", disk, "tmpfs", 0, "size=500k") != 0) {
    print_message("cannot mount a small tmpfs here: a full disk is not tested\n");
    skip();
  }
  setenv("METAVAR_ROOM_SECONDS", "30", 1);
  struct rig rig;
  int code = MV_EXIT_OK;
  rig_open(&rig, "disk/run", 16, 0);
  mv_store_on_full(rig.store, make_room, &helpful);
  int count = cut(rig.plan, 16, units);
  capture();
  for (int k = 0; k < count && code == MV_EXIT_OK; k++) {
    code = rig_add(&rig, &units[k]);
    code = code == MV_EXIT_OK && k % 20 == 19 ? mv_store_commit(rig.store) : code;
  }
  expect_message("there is room again");
  assert_int_equal(code, MV_EXIT_IO); /* the second time */
  assert_int_equal(helpful.asked, 2);
  rig_close(&rig);
  setenv("METAVAR_ROOM_SECONDS", "0", 1);
  assert_int_equal(umount(disk), 0);
}

/* Writing results.h5 fails half way, after the check for room: no file is left, and the next try succeeds. */
static void test_write_fails(void **state)
{
  (void)state;
  struct rig rig;
  struct rlimit normal, small;
  char hex[33], whole[33];
  rig_open(&rig, "limit", 16, 0);
  rig_fill(&rig, 16, 0, 1000);
  assert_int_equal(mv_store_commit(rig.store), MV_EXIT_OK);
  getrlimit(RLIMIT_FSIZE, &normal);
  for (rlim_t bytes = 99999; bytes < 600000; bytes += 99999) {
    small = (struct rlimit){bytes, normal.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    capture();
    setrlimit(RLIMIT_FSIZE, &small);
    int code = mv_store_finalize(rig.store, NULL);
    setrlimit(RLIMIT_FSIZE, &normal);
    assert_int_equal(code, MV_EXIT_IO);
    expect_message("results.h5.part: cannot be written: ");
    shell("test ! -e %s/results.h5 && test ! -e %s/results.h5.part", rig.path, rig.path);
  }
  assert_int_equal(mv_store_finalize(rig.store, NULL), MV_EXIT_OK);
  digest_of(rig.path, hex);
  digest_of(in_scratch("digest0"), whole);
  assert_string_equal(hex, whole);
  rig_close(&rig);
}

/* --- results that are not, or no longer ------------------------------------------------------------------ */

static void refuse_results(const char *path, const char *message)
{
  int code = -1;
  capture();
  struct mv_results *results = mv_results_open(path, &code);
  expect_message(message);
  assert_null(results);
  assert_int_equal(code, MV_EXIT_DATA);
}

static void ignore_block(void *self, const struct mv_moments *moments) { (void)self, (void)moments; }

static void test_damaged_results(void **state)
{
  (void)state;
  int code;
  shell("cd %s && cp digest0/results.h5 copy.h5 && cp copy.h5 cut.h5 && truncate -s -1 cut.h5 && mkfifo pipe.h5 && : > "
        "empty.h5",
        scratch);
  struct mv_results *results = mv_results_open(in_scratch("copy.h5"), &code); /* a file stands alone */
  assert_non_null(results);
  assert_int_equal(mv_results_job(results)->entry_count, 3);
  assert_int_equal(mv_results_plan(results)->cells, 18);
  mv_results_close(results);
  refuse_results(in_scratch("cut.h5"), "cut.h5: not an HDF5 file, or damaged");
  refuse_results(in_scratch("pipe.h5"), "not a regular file");
  refuse_results(in_scratch("empty.h5"), "not an HDF5 file");
  refuse_results(in_scratch("none.h5"), "No such file");
  refuse_results(in_scratch("begun"), "the run is not finished");
  refuse_results(in_scratch("digest0/shards/000001.h5"), "not a results file of metavar");
  char hex[33];
  capture();
  assert_int_equal(mv_results_digest(in_scratch("cut.h5"), hex), MV_EXIT_DATA);
  expect_message("damaged");
}

/* One bit of number 3 of replicate 50 in cell 2, wherever the file has it. */
static void flip_bit(const struct mv_plan *plan, const char *path)
{
  double *row = mv_memory_take((size_t)plan->layout[0].values, 8);
  expected_row(plan, 2, 50, row);
  FILE *file = fopen(path, "r+");
  static char bytes[8 << 20];
  size_t size = fread(bytes, 1, sizeof bytes, file);
  char *place = memmem(bytes, size, &row[3], 8);
  assert_non_null(place);
  fseek(file, place - bytes, SEEK_SET);
  fputc(*place ^ 1, file);
  fclose(file);
  free(row);
}

/* Found when it is read. */
static void test_flipped_bit(void **state)
{
  (void)state;
  struct mv_job *job = fake_job(16, 0, 5);
  struct mv_plan *plan = mv_plan_make(job);
  flip_bit(plan, in_scratch("copy.h5"));
  int code;
  char hex[33];
  struct mv_results *results = mv_results_open(in_scratch("copy.h5"), &code);
  assert_non_null(results);
  capture();
  assert_int_equal(mv_results_blocks(results, 2, ignore_block, NULL), MV_EXIT_DATA);
  expect_message("waves/direct cannot be read");
  mv_results_close(results);
  capture();
  assert_int_equal(mv_results_digest(in_scratch("copy.h5"), hex), MV_EXIT_DATA);
  expect_message("waves/direct cannot be read");
  mv_plan_free(plan);
  mv_job_free(job);
}

static void ignore_moments(void *self, const struct mv_moments *moments) { (void)self, (void)moments; }

/* In a shard, while the process that wrote it goes on: found by whatever reads the shard. */
static void test_flipped_shard(void **state)
{
  (void)state;
  struct rig rig;
  struct mv_manifest manifest;
  int8_t status;
  rig_open(&rig, "flipped", 16, 0);
  rig_fill(&rig, 16, 0, 1000);
  assert_int_equal(mv_store_commit(rig.store), MV_EXIT_OK);
  double *row = mv_memory_take((size_t)rig.plan->layout[0].values, 8);
  struct mv_schema *schema = mv_schema_make(rig.plan);
  int run = open(rig.path, O_RDONLY | O_DIRECTORY);
  assert_true(mv_manifest_read(run, rig.path, rig.plan, true, &manifest));
  for (int flipped = 0; flipped < 2; flipped++) {
    struct mv_pieces *pieces = mv_pieces_make(run, rig.path, rig.plan, schema, &manifest);
    struct mv_rows rows = mv_pieces_rows(pieces, 2);
    int code = flipped ? MV_EXIT_DATA : MV_EXIT_OK;
    capture();
    assert_int_equal(mv_store_row(rig.store, 2, 50, row, &status), code);
    expect_message(flipped ? "shards/000001.h5: has changed since it was written" : "");
    capture();
    assert_int_equal(mv_cell_blocks(rig.plan, 2, &rows, ignore_moments, NULL), !flipped);
    expect_message(flipped ? "shards/000001.h5: has changed since it was written" : "");
    mv_pieces_free(pieces);
    if (!flipped)
      flip_bit(rig.plan, in_scratch("flipped/shards/000001.h5"));
  }
  capture();
  assert_int_equal(mv_store_finalize(rig.store, NULL), MV_EXIT_AGAIN);
  expect_message("shards/000001.h5: has changed since it was written");
  close(run);
  mv_manifest_free(&manifest);
  mv_schema_free(schema);
  free(row);
  rig_close(&rig);
}

static void test_progress_refuses(void **state)
{
  (void)state;
  struct mv_progress progress;
  capture();
  assert_int_equal(mv_store_progress(in_scratch("foreign"), &progress), MV_EXIT_DATA);
  expect_message("not a run of metavar");
  capture();
  assert_int_equal(mv_store_progress(in_scratch("none"), &progress), MV_EXIT_DATA);
  expect_message("No such file");
}

static int setup(void **state)
{
  (void)state;
  setenv("METAVAR_ROOM_SECONDS", "0", 1); /* a full disk ends a commit at once */
  return mkdtemp(scratch) ? 0 : -1;
}

static int teardown(void **state)
{
  (void)state;
  char command[300];
  umount(in_scratch("disk"));
  if (getenv("METAVAR_KEEP")) { /* look at the files afterwards */
    print_message("kept: %s\n", scratch);
    return 0;
  }
  snprintf(command, sizeof command, "rm -rf -- %s", scratch);
  return system(command);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_digest),
                                     cmocka_unit_test(test_units_join),
                                     cmocka_unit_test(test_values),
                                     cmocka_unit_test(test_other_readers),
                                     cmocka_unit_test(test_resume),
                                     cmocka_unit_test(test_damage),
                                     cmocka_unit_test(test_lost_shards),
                                     cmocka_unit_test(test_samples_listed_twice),
                                     cmocka_unit_test(test_changed_under_way),
                                     cmocka_unit_test(test_units_in_wrong_order),
                                     cmocka_unit_test(test_tick),
                                     cmocka_unit_test(test_lock),
                                     cmocka_unit_test(test_lock_of_killed),
                                     cmocka_unit_test(test_shard_of_another),
                                     cmocka_unit_test(test_other_job_refused),
                                     cmocka_unit_test(test_manifest_missing),
                                     cmocka_unit_test(test_bad_places_refused),
                                     cmocka_unit_test(test_full_disk),
                                     cmocka_unit_test(test_waits_for_room),
                                     cmocka_unit_test(test_write_fails),
                                     cmocka_unit_test(test_damaged_results),
                                     cmocka_unit_test(test_flipped_bit),
                                     cmocka_unit_test(test_flipped_shard),
                                     cmocka_unit_test(test_progress_refuses)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
