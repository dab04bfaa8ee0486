/* replay.c - `metavar replay`: one sample again, in full detail: where its random numbers come from, every output by
 * name, where it stops being finite, and whether results.h5 holds the same bits. A sample is a function of its coordinates
 * alone, so it can be had again at any time on any machine. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "metavar/again.h"
#include "metavar/analysis.h"
#include "metavar/command.h"
#include "metavar/memory.h"

struct replay {
  const char *run;
  struct mv_results *results; /* NULL: not written yet, then own_job and own_plan are those of the run directory */
  struct mv_job *own_job;
  struct mv_plan *own_plan;
  const struct mv_plan *plan;
  int entry, point;
  int64_t replicate;
};

/* ---- the run -------------------------------------------------------------------------------------------------- */

/* The job, from results.h5 if it is there. Exit code. */
static int open_job(struct replay *r)
{
  char *path = mv_memory_take(strlen(r->run) + sizeof "/results.h5", 1);
  sprintf(path, "%s/results.h5", r->run);
  int exit_code = MV_EXIT_OK;
  if (access(path, F_OK) == 0) {
    r->results = mv_results_open(path, &exit_code);
    r->plan = r->results ? mv_results_plan(r->results) : NULL;
  } else if ((r->own_job = mv_store_job(r->run))) {
    r->plan = r->own_plan = mv_plan_make(r->own_job);
  } else {
    exit_code = MV_EXIT_DATA;
  }
  free(path);
  return exit_code;
}

/* A whole number below most; -1 after a message. */
static int64_t read_index(const char *what, const char *text, int64_t most)
{
  char *end;
  long long value = strtoll(text, &end, 10);
  if (*text >= '0' && *text <= '9' && *end == 0 && value < most) {
    return value;
  }
  fprintf(stderr, "metavar replay: %s %s: must be a whole number from 0 to %lld\n", what, text, (long long)most - 1);
  return -1;
}

/* ---- printing --------------------------------------------------------------------------------------------------- */

static void print_coordinates(const struct replay *r)
{
  const struct mv_job *job = r->plan->job;
  const struct mv_entry *entry = &job->entries[r->entry];
  int64_t p = entry->perturbations_per_lifetime, l = entry->lifetimes_per_task;
  char seed[MV_REAL_TEXT];
  printf("entry         %s (%s on %s, lifetime length %lld)\n", entry->label, entry->estimator->name, job->task->name,
         (long long)job->lifetime_length);
  if (job->train.updates) {
    printf("curve         %d: seed %lld, starts at", r->point, (long long)(r->point % job->train.seeds));
  } else {
    printf("eta           point %d:", r->point);
  }
  for (int m = 0; m < job->meta; m++) {
    mv_real_print(job->eta[(int64_t)r->point * job->meta + m], seed);
    printf("%s %s = %s", m ? "," : "", r->plan->meta_names[m], seed);
  }
  if (job->train.updates) {
    printf("\nupdate        %lld: %lld replicates\n", (long long)r->replicate, (long long)entry->replicates);
    return;
  }
  printf("\nreplicate     %lld: task instance %lld, lifetime %lld, perturbation %lld\n", (long long)r->replicate,
         (long long)(r->replicate / (p * l)), (long long)(r->replicate / p % l), (long long)(r->replicate % p));
  printf("random key    %08x %08x (seed %llu)\n", (unsigned)r->plan->key[r->point].word[0],
         (unsigned)r->plan->key[r->point].word[1], (unsigned long long)job->seed);
}

static void print_value(const struct mv_output *output, int64_t index, double value, const double *stored)
{
  int64_t stride = 1;
  int width = printf("  %s", output->name);
  for (int a = 0; a < output->rank; a++) {
    stride *= output->axis[a].length;
  }
  for (int a = 0; a < output->rank; a++) {
    char text[256];
    stride /= output->axis[a].length;
    mv_axis_text(&output->axis[a], (int)(index / stride % output->axis[a].length), text, sizeof text);
    width += printf("%s%s=%s%s", a ? ", " : "[", output->axis[a].name, text, a + 1 < output->rank ? "" : "]");
  }
  printf("%*s %.17g", width < 64 ? 64 - width : 0, "", value);
  if (stored && memcmp(stored, &value, sizeof value) != 0) {
    printf("   stored: %.17g", *stored);
  }
  printf("\n");
}

/* stored: NULL if there is nothing to compare with. */
static void print_values(const struct replay *r, const double *values, const double *stored)
{
  const struct mv_layout *layout = &r->plan->layout[r->entry];
  for (int o = 0; o < layout->output_count; o++) {
    for (int64_t k = 0; k < layout->size[o]; k++) {
      int64_t at = layout->offset[o] + k;
      print_value(&layout->output[o], k, values[at], stored ? &stored[at] : NULL);
    }
  }
}

/* ---- computing and comparing -------------------------------------------------------------------------------- */

/* Result of a unit of the plan; malloc'ed. NULL: told. */
static void *compute(const struct replay *r, const struct mv_plan *plan, const struct mv_unit *unit,
                     struct mv_trace *trace, size_t *size)
{
  struct mv_again *again = mv_again_create(plan);
  mv_again_watch(again, trace);
  void *result = mv_again_compute(again, r->results, unit, size);
  mv_again_free(again);
  return result;
}

/* Says whether the stored bits are those of the result. Exit code. */
static int compare(const struct replay *r, const char *what, const void *result, size_t size)
{
  const char *differs;
  if (!mv_results_compare(r->results, result, size, &differs)) {
    return MV_EXIT_DATA;
  }
  printf("%s: %s%s\n", what, differs ? "NOT the stored bits, first difference in " : "every bit as stored",
         differs ? differs : "");
  return differs ? MV_EXIT_DATA : MV_EXIT_OK;
}

/* Samples [first, first + count) of the cell, whatever the entry stores: as if it stored samples. Malloc'ed, with a view;
 * NULL: told. */
static void *compute_samples(const struct replay *r, int64_t first, int64_t count, struct mv_trace *trace,
                             struct mv_result *view, size_t *size)
{
  struct mv_job job = *r->plan->job;
  size_t entries = (size_t)job.entry_count;
  job.entries = mv_memory_take(entries, sizeof *job.entries);
  memcpy(job.entries, r->plan->job->entries, entries * sizeof *job.entries);
  job.entries[r->entry].store = MV_STORE_SAMPLES;
  struct mv_plan plan = *r->plan;
  plan.job = &job;
  struct mv_unit unit = {(int64_t)r->entry * job.points + r->point, first, count};
  void *result = compute(r, &plan, &unit, trace, size);
  if (result && !mv_result_view(&plan, result, *size, view)) {
    free(result);
    result = NULL;
  }
  free(job.entries);
  return result;
}

static void print_status(const struct replay *r, int8_t status, const struct mv_trace *t)
{
  if (status == MV_OK && !t->found[0])
    printf("status        ok\n");
  else if (t->found[0])
    printf("status        %s: lifetime %lld of %lld, from inner step %lld of %lld on\n",
           status == MV_OK ? "ok, but parameters or its likelihood are not finite" : "not finite",
           (long long)t->lifetime[0], (long long)t->lifetimes, (long long)t->step[0],
           (long long)r->plan->job->lifetime_length);
  else if (r->plan->job->train.updates)
    printf("status        not finite\n");
  else
    printf("status        not finite: a derivative; parameters and objectives are\n");
}

static int replay_sample(const struct replay *r)
{
  const bool known = r->results && r->plan->job->entries[r->entry].store == MV_STORE_SAMPLES;
  const int cell = r->entry * r->plan->job->points + r->point;
  struct mv_trace trace = {0};
  struct mv_result view;
  size_t size;
  int8_t stored_status;
  void *result = compute_samples(r, r->replicate, 1, &trace, &view, &size);
  double *stored = mv_memory_take((size_t)r->plan->layout[r->entry].values, sizeof *stored);
  int exit_code = MV_EXIT_DATA;
  if (result && (!known || mv_results_sample(r->results, cell, r->replicate, stored, &stored_status))) {
    print_status(r, view.status[0], &trace);
    print_values(r, view.values, known ? stored : NULL);
    exit_code = known ? compare(r, "this sample", result, size) : MV_EXIT_OK;
  }
  free(stored);
  free(result);
  return exit_code;
}

/* The block of moments that the sample is part of. */
static int replay_block(const struct replay *r)
{
  const struct mv_job *job = r->plan->job;
  struct mv_unit unit = {(int64_t)r->entry * job->points + r->point, r->replicate - r->replicate % job->block, 0};
  int64_t left = r->plan->replicates[unit.cell] - unit.first;
  unit.count = left < job->block ? left : job->block;
  size_t size;
  void *result = compute(r, r->plan, &unit, NULL, &size);
  char what[96];
  snprintf(what, sizeof what, "moments of its block, replicates %lld to %lld", (long long)unit.first,
           (long long)(unit.first + unit.count - 1));
  int exit_code = compare(r, what, result, size);
  free(result);
  return exit_code;
}

/* ---- what is asked for -------------------------------------------------------------------------------------- */

struct search {
  int64_t block; /* the first with a sample that is not finite; -1: none yet */
};

static void search_block(void *self, const struct mv_moments *block)
{
  struct search *s = self;
  if (s->block < 0 && block->nonfinite > 0)
    s->block = block->block;
}

/* The first replicate of the cell that is not finite; -1 after a message. */
static int64_t find_nonfinite(const struct replay *r)
{
  const struct mv_job *job = r->plan->job;
  const int cell = r->entry * job->points + r->point;
  struct search s = {.block = -1};
  struct mv_result view;
  size_t size;
  if (!r->results || job->train.updates) {
    fprintf(stderr, "metavar replay: nonfinite: is looked for in the results.h5 of a measurement; give a number\n");
    return -1;
  }
  if (mv_results_blocks(r->results, cell, search_block, &s))
    return -1;
  if (s.block < 0) {
    fprintf(stderr, "metavar replay: nonfinite: all samples of %s at point %d are finite\n",
            job->entries[r->entry].label, r->point);
    return -1;
  }
  const int64_t first = s.block * job->block, left = r->plan->replicates[cell] - first;
  void *samples = compute_samples(r, first, left < job->block ? left : job->block, NULL, &view, &size);
  int64_t at = 0;
  while (samples && at < view.head->unit.count && view.status[at] == MV_OK)
    at++;
  if (samples && at == view.head->unit.count) {
    fprintf(stderr, "metavar replay: nonfinite: block %lld has none when it is computed again; run metavar verify\n",
            (long long)s.block);
    free(samples);
    samples = NULL;
  }
  int64_t found = samples ? first + at : -1;
  free(samples);
  return found;
}

static bool read_place(struct replay *r, const struct mv_args *args)
{
  const struct mv_job *job = r->plan->job;
  r->entry = mv_job_find(job, mv_args_at(args, 1), "replay");
  if (r->entry < 0) {
    return false;
  }
  const bool trains = job->train.updates > 0;
  r->point = (int)read_index(trains ? "CURVE" : "POINT", mv_args_at(args, 2), job->points);
  if (r->point < 0) {
    return false;
  }
  int64_t cell = (int64_t)r->entry * job->points + r->point; /* without results, a rule may give it up to the most */
  int64_t most = r->results ? r->plan->replicates[cell] : mv_job_rows(job, r->entry);
  r->replicate = strcmp(mv_args_at(args, 3), "nonfinite") == 0
                     ? find_nonfinite(r)
                     : read_index(trains ? "UPDATE" : "REPLICATE", mv_args_at(args, 3), most);
  return r->replicate >= 0;
}

static int run(const struct mv_args *args)
{
  struct replay r = {.run = mv_args_at(args, 0)};
  int exit_code = open_job(&r);
  if (exit_code == MV_EXIT_OK) {
    exit_code = read_place(&r, args) ? MV_EXIT_OK : MV_EXIT_USAGE;
  }
  if (exit_code == MV_EXIT_OK && !r.results && r.plan->job->train.updates) {
    fprintf(stderr, "metavar replay: %s: an update follows from the one before, and there is no results.h5 yet\n",
            r.run);
    exit_code = MV_EXIT_AGAIN;
  }
  if (exit_code == MV_EXIT_OK) {
    print_coordinates(&r);
    exit_code = replay_sample(&r);
  }
  if (exit_code == MV_EXIT_OK && !r.results) {
    printf("results.h5 is not written yet: nothing to compare with\n");
  } else if (exit_code == MV_EXIT_OK && r.plan->job->entries[r.entry].store == MV_STORE_MOMENTS) {
    exit_code = replay_block(&r);
  }
  mv_results_close(r.results);
  mv_plan_free(r.own_plan);
  mv_job_free(r.own_job);
  return exit_code;
}

const struct mv_command mv_command_replay = {
    .name = "replay",
    .positional = "RUN ENTRY POINT REPLICATE",
    .least = 4,
    .most = 4,
    .summary = "compute one sample of a run again and show it",
    .doc = "Computes replicate REPLICATE of the estimator labelled ENTRY at eta point POINT again, prints its "
           "coordinates and every output, and says whether results.h5 holds the same bits (for an entry that stores "
           "moments: whether it holds those of the sample's block). Points and replicates count from 0; the word "
           "nonfinite for REPLICATE stands for the first that is not finite. Of such a sample it says which of its "
           "lifetimes, or members, stops being finite at which inner step. Exit code 0, or 65 if a bit differs.",
    .options = (const struct mv_option[]){{0}},
    .run = run,
    .reads = true,
};
