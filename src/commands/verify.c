/* verify.c - `metavar verify`: is a run what it claims to be?
 *
 * Every byte of the manifest and the shards is read and compared with its checksum, every dataset of results.h5 is read
 * (HDF5 compares its checksums), every replicate is counted, and samples chosen at random are computed again here and
 * compared bit by bit. The choice follows from a seed, so a failure can be shown to somebody else.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metavar/again.h"
#include "metavar/command.h"
#include "metavar/memory.h"
#include "metavar/ranges.h"
#include "metavar/rounds.h"
#include "metavar/text.h"
#include "metavar/train.h"

struct verify {
  const char *run;
  int64_t samples; /* to compute again */
  uint32_t seed;
  bool bad; /* some check has failed */
};

__attribute__((format(printf, 4, 5))) static void verdict(struct verify *v, bool fine, const char *what,
                                                          const char *format, ...)
{
  va_list arguments;
  printf("%-3s  %-10s  ", fine ? "ok" : "BAD", what);
  va_start(arguments, format);
  vprintf(format, arguments);
  va_end(arguments);
  printf("\n");
  fflush(stdout);
  v->bad |= !fine;
}

/* ---- files ------------------------------------------------------------------------------------------------ */

/* What is damaged stays listed when its samples have been computed again, but matters no more. */
static void check_files(struct verify *v, const struct mv_audit *a, int64_t total)
{
  char bytes[MV_TEXT_SHORT];
  bool whole = a->samples == total;
  const char *mended = whole ? " but replaced" : "";
  verdict(v, a->damaged_lines == 0 || whole, "manifest",
          "%lld lines; %lld damaged%s; %lld cut off by a kill, which never counted", (long long)a->lines,
          (long long)a->damaged_lines, a->damaged_lines ? mended : "", (long long)a->torn_lines);
  verdict(v, a->damaged_shards == 0 || whole, "shards", "%lld files, %s; %lld missing or damaged%s",
          (long long)a->shards, mv_text_bytes((double)a->bytes, bytes), (long long)a->damaged_shards,
          a->damaged_shards ? mended : "");
  if (a->carried > 0) {
    verdict(v, a->damaged_carried == 0 || a->finished, "carried",
            "%lld files of what lifetimes carry to the next update; %lld missing or damaged%s", (long long)a->carried,
            (long long)a->damaged_carried,
            a->damaged_carried == 0 ? ""
            : a->finished           ? ": more updates would be computed from an earlier one on"
                                    : ": those curves are computed again from an earlier update on");
  }
  verdict(v, whole || !a->finished, "committed", "%lld of %lld samples", (long long)a->samples, (long long)total);
}

static void check_rounds(struct verify *v, const struct mv_audit *a, const struct mv_job *job)
{
  if (job->stop.relative_error > 0)
    verdict(v, a->cells_going_on == 0 || !a->finished, "rounds",
            "%d of the stopping rule are on record; %lld cells go on after the last", a->rounds,
            (long long)a->cells_going_on);
}

static void check_sums(struct verify *v)
{
  int wrong, count = mv_store_check_sums(v->run, &wrong);
  if (count > 0)
    verdict(v, wrong == 0, "checksums", "%d files in checksums.xxh128; %d changed", count, wrong);
  else
    printf("--   checksums   none: a run of an earlier version\n");
}

/* ---- results.h5 ------------------------------------------------------------------------------------------- */

static void check_replicates(struct verify *v, const struct mv_results *results)
{
  const struct mv_plan *plan = mv_results_plan(results);
  int64_t right = 0, total = mv_plan_samples(plan);
  int bad = 0;
  for (int cell = 0; cell < plan->cells; cell++) {
    int64_t count = mv_results_count(results, cell);
    right += count > 0 ? count : 0;
    bad += count != plan->replicates[cell];
  }
  verdict(v, bad == 0, plan->job->train.updates ? "updates" : "replicates",
          "%lld of %lld are in results.h5; %d of %d cells have gaps", (long long)right, (long long)total, bad,
          plan->cells);
}

/* ---- the stopping rule -------------------------------------------------------------------------------------- */

#define ROUNDS_MAX 64 /* 2^36 replicates in doublings, and then some */

struct looks { /* at one cell, at the end of each of its rounds */
  int count;
  int64_t blocks[ROUNDS_MAX];
  struct mv_gauge *gauge[ROUNDS_MAX];
};

static void look_at(void *self, const struct mv_moments *m)
{
  struct looks *looks = self;
  for (int k = 0; k < looks->count; k++) {
    if (m->block < looks->blocks[k]) {
      mv_gauge_add(looks->gauge[k], m->block, m->count, m->nonfinite, m->mean, m->comoment);
    }
  }
}

/* Whether the rule, asked again, lets the cell go on in each of its rounds but the last, and end there. */
static bool stops_rightly(struct mv_results *results, int cell)
{
  const struct mv_plan *plan = mv_results_plan(results);
  const struct mv_entry *entry = &plan->job->entries[mv_plan_entry(plan, cell)];
  struct looks looks = {0};
  int64_t replicates;
  do {
    replicates = mv_round_replicates(plan->job, entry, looks.count + 1);
    looks.blocks[looks.count] = (replicates + plan->job->block - 1) / plan->job->block;
    looks.gauge[looks.count++] = mv_gauge_create(plan, cell, replicates);
  } while (replicates < plan->replicates[cell] && looks.count < ROUNDS_MAX);
  bool right = mv_results_blocks(results, cell, look_at, &looks) == MV_EXIT_OK;
  for (int k = 0; k < looks.count; k++) {
    bool last = k == looks.count - 1, reached = mv_gauge_reached(looks.gauge[k]);
    right = right && (reached ? last : !last || replicates == entry->replicates);
    mv_gauge_free(looks.gauge[k]);
  }
  return right;
}

static void check_decisions(struct verify *v, struct mv_results *results)
{
  const struct mv_plan *plan = mv_results_plan(results);
  int wrong = 0;
  if (!(plan->job->stop.relative_error > 0)) {
    return;
  }
  for (int cell = 0; cell < plan->cells; cell++) {
    wrong += !stops_rightly(results, cell);
  }
  verdict(v, wrong == 0, "decisions", "%d cells judged again; %d do not end where the stopping rule says", plan->cells,
          wrong);
}

/* ---- once more ---------------------------------------------------------------------------------------------- */

struct again {
  struct mv_results *results;
  struct mv_again *again;
  int64_t samples, blocks, different;
};

static void compute_again(struct again *a, const struct mv_unit *unit)
{
  const struct mv_plan *plan = mv_results_plan(a->results);
  const struct mv_entry *entry = &plan->job->entries[mv_plan_entry(plan, (int)unit->cell)];
  size_t size;
  const char *differs = NULL;
  void *result = mv_again_compute(a->again, a->results, unit, &size);
  bool readable = result && mv_results_compare(a->results, result, size, &differs);
  if (differs) {
    const bool trains = plan->job->train.updates > 0;
    fprintf(stderr, "metavar verify: %s, %s %d, %s %lld: %s is not what is computed here\n", entry->label,
            trains ? "curve" : "point", mv_plan_point(plan, (int)unit->cell),
            trains                             ? "update"
            : entry->store == MV_STORE_SAMPLES ? "replicate"
                                               : "block of moments that begins with replicate",
            (long long)unit->first, differs);
  }
  a->different += differs || !readable;
  free(result);
}

/* Random number k of the choice: a point and a replicate of an entry. */
static struct mv_unit choose(const struct mv_plan *plan, uint32_t seed, int64_t k, int e)
{
  uint32_t word[4], counter[4] = {(uint32_t)k, (uint32_t)(k >> 32), (uint32_t)e, 0};
  mv_philox(counter, (struct mv_key){{seed, 0}}, word);
  uint64_t point = (((uint64_t)word[0] << 32) | word[1]) % (uint64_t)plan->job->points;
  int64_t cell = (int64_t)e * plan->job->points + (int64_t)point;
  uint64_t replicate = (((uint64_t)word[2] << 32) | word[3]) % (uint64_t)plan->replicates[cell];
  return (struct mv_unit){cell, (int64_t)replicate, 1};
}

/* Samples, in turn from each entry that stores them. */
static void samples_again(struct again *a, const struct verify *v)
{
  const struct mv_job *job = mv_results_job(a->results);
  int storing = 0;
  for (int e = 0; e < job->entry_count; e++) {
    storing += job->entries[e].store == MV_STORE_SAMPLES;
  }
  for (int64_t k = 0; storing > 0 && k < v->samples;) {
    for (int e = 0; e < job->entry_count && k < v->samples; e++) {
      if (job->entries[e].store == MV_STORE_SAMPLES) {
        struct mv_unit unit = choose(mv_results_plan(a->results), v->seed, k++, e);
        compute_again(a, &unit);
        a->samples++;
      }
    }
  }
}

/* One block of each entry that stores moments. */
static void blocks_again(struct again *a, const struct verify *v)
{
  const struct mv_job *job = mv_results_job(a->results);
  for (int e = 0; e < job->entry_count; e++) {
    if (job->entries[e].store == MV_STORE_MOMENTS && v->samples > 0) {
      struct mv_unit unit = choose(mv_results_plan(a->results), v->seed, 0, e);
      unit.first -= unit.first % job->block;
      int64_t left = mv_results_plan(a->results)->replicates[unit.cell] - unit.first;
      unit.count = left < job->block ? left : job->block;
      compute_again(a, &unit);
      a->blocks++;
    }
  }
}

/* ---- lifetimes that are carried ------------------------------------------------------------------------------- */

/* Whether every update of a curve is where the gradient before has led. */
struct chain {
  const struct mv_plan *plan;
  int cell;
  double *next; /* [state] of the row after the last */
  int64_t broken;
};

static void follow_chain(void *self, const struct mv_samples *s)
{
  struct chain *c = self;
  const int64_t values = c->plan->layout[mv_plan_entry(c->plan, c->cell)].values, from = c->plan->job->meta + 1;
  const size_t bytes = (size_t)(mv_record_state(c->plan->job) - from) * sizeof(double); /* behind what is measured */
  for (int64_t r = 0; r < s->count; r++) {
    const double *row = s->values + r * values;
    c->broken += memcmp(row + from, c->next + from, bytes) != 0;
    mv_record_next(c->plan, c->cell, row, c->next);
  }
}

static void check_chains(struct verify *v, struct mv_results *results)
{
  const struct mv_plan *plan = mv_results_plan(results);
  struct chain chain = {.plan = plan, .next = mv_memory_take((size_t)mv_record_state(plan->job), sizeof(double))};
  bool readable = true;
  for (; chain.cell < plan->cells && readable; chain.cell++) {
    mv_record_start(plan, chain.cell, chain.next);
    readable = mv_results_samples(results, chain.cell, follow_chain, &chain) == MV_EXIT_OK;
  }
  verdict(v, readable && chain.broken == 0, "chain", "%lld of %lld updates are not where the gradient before leads",
          (long long)chain.broken, (long long)mv_plan_samples(plan));
  free(chain.next);
}

/* An update can be computed from the start of its curve alone: the first ones of every curve are. */
static void check_starts(struct verify *v, struct mv_results *results)
{
  const struct mv_plan *plan = mv_results_plan(results);
  struct again again = {.results = results, .again = mv_again_create(plan)};
  int64_t each = (v->samples + plan->cells - 1) / plan->cells;
  for (int cell = 0; cell < plan->cells && again.samples < v->samples; cell++) {
    struct mv_unit unit = {cell, 0, each < plan->replicates[cell] ? each : plan->replicates[cell]};
    compute_again(&again, &unit);
    again.samples += unit.count;
  }
  mv_again_free(again.again);
  verdict(v, again.different == 0, "recomputed",
          "the first %lld updates of curves, %lld in all; %lld curves differ in some bit. Lifetimes are carried, so a "
          "later update follows from all before it (metavar replay goes through them)",
          (long long)each, (long long)again.samples, (long long)again.different);
}

static void check_again(struct verify *v, struct mv_results *results)
{
  struct again again = {.results = results, .again = mv_again_create(mv_results_plan(results))};
  samples_again(&again, v);
  blocks_again(&again, v);
  mv_again_free(again.again);
  verdict(v, again.different == 0, "recomputed",
          "%lld samples and %lld blocks of moments, chosen with seed %u; %lld differ in some bit",
          (long long)again.samples, (long long)again.blocks, v->seed, (long long)again.different);
}

static void check_results(struct verify *v, const struct mv_job *job)
{
  char digest[33];
  int exit_code;
  struct mv_results *results = mv_results_open(v->run, &exit_code);
  bool readable = results && mv_results_digest(v->run, digest) == MV_EXIT_OK;
  verdict(v, readable, "results.h5", readable ? "every dataset can be read; digest %s" : "cannot be read", digest);
  if (readable) {
    int64_t wrong, count = mv_results_check_axes(results, &wrong);
    verdict(v, mv_results_are_of(results, job), "job", "that of results.h5 against that of the run directory");
    verdict(v, wrong == 0, "axes", "%lld datasets that follow from the job; %lld wrong", (long long)count,
            (long long)wrong);
    check_replicates(v, results);
    check_decisions(v, results);
    if (mv_job_carries(job)) {
      check_chains(v, results);
      check_starts(v, results);
    } else {
      check_again(v, results);
    }
  }
  mv_results_close(results);
}

/* ---- the command ---------------------------------------------------------------------------------------------- */

static int verify(struct verify *v)
{
  struct mv_audit audit;
  struct mv_job *job = mv_store_job(v->run);
  if (!job) {
    return MV_EXIT_DATA;
  }
  struct mv_plan *plan = mv_plan_make(job);
  int exit_code = mv_store_audit(v->run, plan, &audit);
  if (exit_code == MV_EXIT_OK) {
    check_files(v, &audit, mv_plan_samples(plan));
    check_rounds(v, &audit, job);
    check_sums(v);
    if (audit.finished) {
      check_results(v, job);
    } else {
      printf("--   results.h5  not written yet\n");
    }
  }
  mv_plan_free(plan);
  mv_job_free(job);
  if (exit_code == MV_EXIT_OK && v->bad) {
    fprintf(stderr,
            "metavar verify: %s is damaged; give the command again that made it: what is lost is computed again "
            "and results.h5 is written again if it is not what its checksum says; else move it away first\n",
            v->run);
  }
  return exit_code == MV_EXIT_OK && v->bad ? MV_EXIT_DATA : exit_code;
}

/* A whole number from 0 to most; false after a message. */
static bool read_count(const char *option, const char *text, int64_t most, int64_t *value)
{
  char *end;
  if (!text) {
    return true;
  }
  *value = strtoll(text, &end, 10);
  if (*text >= '0' && *text <= '9' && *end == 0 && *value <= most) {
    return true;
  }
  fprintf(stderr, "metavar verify: --%s %s: must be a whole number from 0 to %lld\n", option, text, (long long)most);
  return false;
}

static int run(const struct mv_args *args)
{
  struct verify v = {.run = mv_args_at(args, 0), .samples = 100};
  int64_t seed = 1;
  if (!read_count("samples", mv_args_value(args, "samples"), 1000000000, &v.samples) ||
      !read_count("seed", mv_args_value(args, "seed"), UINT32_MAX, &seed)) {
    return MV_EXIT_USAGE;
  }
  v.seed = (uint32_t)seed;
  return verify(&v);
}

const struct mv_command mv_command_verify = {
    .name = "verify",
    .positional = "RUN",
    .least = 1,
    .most = 1,
    .summary = "check a run: checksums, every replicate once, samples computed again",
    .doc = "Reads all of the run directory RUN: lines of the manifest and shards against their checksums, results.h5 "
           "against its own and against the job, every replicate of every cell; then computes randomly chosen samples, "
           "and one block of every entry that stores moments, again on this machine and compares their bits. One line "
           "for each check. Exit code 0 if all is well, 65 if not. Changes nothing.",
    .options =
        (const struct mv_option[]){{"samples", 'n', "N", "samples to compute again (default 100; 0: no blocks either)"},
                                   {"seed", 0, "SEED", "of the choice (default 1)"},
                                   {0}},
    .run = run,
    .reads = true,
};
