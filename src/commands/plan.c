/* plan.c - `metavar plan`: what a job will cost, before anything is run.
 *
 * Counts follow from the job; times from a short calibration on this machine, with the kernel that run would use.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include <jansson.h>

#include "metavar/command.h"
#include "metavar/launch.h"
#include "metavar/memory.h"
#include "metavar/ranges.h"
#include "metavar/schedule.h"
#include "metavar/text.h"
#include "metavar/train.h"

#define CALIBRATION_SECONDS 2.0
#define RANKS_MOST          1000000
#define LONG_UPDATE         0.01 /* seconds: worth more than one rank */

struct row { /* one entry, or the sum of all */
  int64_t cells, samples, units;
  double bytes, seconds; /* in results.h5; on one core */
};

struct forecast {
  const struct mv_plan *plan;
  double calibration; /* seconds that it took */
  double *seconds;    /* [entry] per replicate; training: per update */
  struct row *rows, total;
  int64_t first_round; /* samples, with a stopping rule */
  double free_bytes;   /* of the file system here; -1: unknown */
  int ranks;           /* simulated; 0: none */
  struct mv_costs costs;
  struct mv_forecast run;
};

/* Bytes of the datasets of an entry; the rest of the file is small. */
static double entry_bytes(const struct mv_plan *plan, int entry)
{
  const struct mv_job *job = plan->job;
  const struct mv_entry *e = &job->entries[entry];
  const struct mv_layout *l = &plan->layout[entry];
  double points = job->points, replicates = (double)mv_job_rows(job, entry);
  if (e->store == MV_STORE_SAMPLES) {
    return points * replicates * (8.0 * (double)l->values + 1);
  }
  double blocks = (double)((e->replicates + job->block - 1) / job->block);
  return points * blocks * 8.0 * (double)(2 + l->moments + l->pairs + 2 * l->vectors * MV_LARGEST);
}

/* Work units of every entry, and how the ranks would get on with them. */
static void cut_units(struct forecast *f, const struct mv_plan *plan)
{
  struct mv_schedule *schedule = mv_schedule_create(plan);
  mv_schedule_cut(schedule, f->seconds, f->ranks > 0 ? f->ranks : 1);
  if (f->ranks > 0) {
    size_t loads;
    struct mv_load *load = mv_schedule_loads(schedule, &loads);
    f->run = mv_simulate(&f->costs, load, loads, f->ranks, f->ranks <= MV_RANKS_COMPUTING_MASTER);
    free(load);
  }
  struct mv_unit unit;
  while (mv_schedule_next(schedule, &unit)) {
    f->rows[mv_plan_entry(plan, (int)unit.cell)].units++;
  }
  mv_schedule_free(schedule);
}

/* Seconds of an update: those of its population, and its share of the evaluations. */
static void calibrate_updates(struct forecast *f, const struct mv_plan *plan)
{
  const struct mv_job *job = plan->job;
  double *seconds = mv_memory_take((size_t)job->entry_count + 1, sizeof *seconds);
  f->calibration = mv_population_calibrate(plan, CALIBRATION_SECONDS, seconds);
  for (int e = 0; e < job->entry_count; e++) {
    f->seconds[e] = mv_update_seconds(job, e, seconds);
  }
  free(seconds);
}

static void make_forecast(struct forecast *f, const struct mv_plan *plan)
{
  const struct mv_job *job = plan->job;
  size_t entries = (size_t)job->entry_count;
  f->plan = plan;
  f->seconds = mv_memory_take(entries, sizeof(double));
  f->rows = mv_memory_take(entries, sizeof(struct row));
  f->first_round = mv_plan_samples(plan);
  f->free_bytes = -1;
  for (int cell = 0; cell < plan->cells; cell++) { /* the worst case of a stopping rule */
    plan->replicates[cell] = mv_job_rows(job, mv_plan_entry(plan, cell));
  }
  if (job->train.updates) {
    calibrate_updates(f, plan);
  } else {
    f->calibration = mv_calibrate(plan, CALIBRATION_SECONDS, f->seconds);
    cut_units(f, plan);
  }
  for (int e = 0; e < job->entry_count; e++) {
    struct row *row = &f->rows[e];
    row->cells = job->points;
    row->samples = mv_job_rows(job, e) * job->points;
    row->bytes = entry_bytes(plan, e);
    row->seconds = (double)row->samples * f->seconds[e];
    f->total.cells += row->cells;
    f->total.samples += row->samples;
    f->total.units += row->units;
    f->total.bytes += row->bytes;
    f->total.seconds += row->seconds;
  }
  struct statvfs fs;
  if (!statvfs(".", &fs)) {
    f->free_bytes = (double)fs.f_bavail * (double)fs.f_frsize;
  }
}

static void print_row(const char *label, const char *store, const struct row *r, const char *values, const char *steps,
                      const char *seconds)
{
  char samples[MV_TEXT_SHORT], bytes[MV_TEXT_SHORT];
  printf("%-20s %-8s %6lld %9s %7s %10s %9s %10s %10.4g %7lld\n", label, store, (long long)r->cells,
         mv_text_count((double)r->samples, samples), values, mv_text_bytes(r->bytes, bytes), steps, seconds,
         r->seconds / 3600, (long long)r->units);
}

static size_t memory_of(const struct mv_plan *plan)
{
  return plan->job->train.updates ? mv_population_memory(plan) : mv_worker_memory(plan);
}

/* Where most of what is lost goes, and what helps. */
static const char *advice(const struct mv_forecast *r)
{
  if (r->tail > r->waiting) {
    return "too little work for so many ranks: more replicates, or fewer ranks";
  }
  if (r->committing > r->busy / 2) {
    return "rank 0 has too much to write: `store: moments`, larger blocks, or fewer ranks";
  }
  return "rank 0 has too many results to take: longer units (unit:), larger blocks, or fewer ranks";
}

static void print_ranks(const struct forecast *f)
{
  const struct mv_forecast *r = &f->run;
  char time[MV_TEXT_SHORT], units[MV_TEXT_SHORT], rate[MV_TEXT_SHORT];
  printf("with %d ranks: %s, efficiency %.1f %% (simulated; %s units/s, %s/s; messages of %.3g us)\n", f->ranks,
         mv_text_duration(r->seconds, time), 100 * r->efficiency, mv_text_count((double)r->units / r->seconds, units),
         mv_text_bytes(r->bytes / r->seconds, rate), 1e6 * f->costs.latency);
  printf("  lost: %.1f %% after a rank's last unit, %.1f %% waiting for rank 0 (busy for %.1f %% of the time, %.1f %% "
         "with commits), %.2f %% because rank 0 does not compute\n",
         100 * r->tail, 100 * r->waiting, 100 * r->busy, 100 * r->committing, 100 * r->master);
  printf("  and %s to make results.h5 from %s pieces, which is no part of the efficiency\n",
         mv_text_duration(r->finish, time), mv_text_count((double)r->groups, units));
  if (r->efficiency < 0.95) {
    printf("  %s\n", advice(r));
  }
}

/* What an entry's walks back keep; false if it has none. */
static bool reversal_of(const struct mv_job *job, int entry, struct mv_reversal *out)
{
  const struct mv_entry *e = &job->entries[entry];
  return e->estimator->reversal && e->estimator->reversal(e->settings, &job->problem, out);
}

static void print_reversals(const struct mv_job *job)
{
  for (int e = 0; e < job->entry_count; e++) {
    struct mv_reversal back;
    char bytes[MV_TEXT_SHORT];
    if (reversal_of(job, e, &back)) {
      printf("reverse: %s keeps %lld of %lld steps, %s in each rank; a step is evaluated %.3g times\n",
             job->entries[e].label, (long long)back.records, (long long)job->lifetime_length,
             mv_text_bytes((double)back.bytes, bytes), back.evaluations);
    }
  }
}

/* Bytes that the lifetimes of all curves carry from update to update, and those of the largest curve. */
static double carried_bytes(const struct mv_plan *plan, double *largest)
{
  double all = 0;
  *largest = 0;
  for (int cell = 0; cell < plan->cells && mv_job_carries(plan->job); cell++) {
    double curve = (double)mv_piece_curve(plan, cell);
    all += curve;
    *largest = curve > *largest ? curve : *largest;
  }
  return all;
}

static void print_carried(const struct mv_plan *plan)
{
  char all[MV_TEXT_SHORT], one[MV_TEXT_SHORT];
  double largest, bytes = carried_bytes(plan, &largest);
  if (bytes > 0) {
    printf(
        "carried: %s by the lifetimes of all curves, up to %s a curve. Rank 0 keeps all, once more where updates are "
        "cut into parts; each rank has two curves at work, rank 0 up to five and one on its way to each other rank\n",
        mv_text_bytes(bytes, all), mv_text_bytes(largest, one));
  }
}

/* Updates that are long and cannot be shared out. */
static void print_unspread(const struct forecast *f)
{
  const struct mv_job *job = f->plan->job;
  for (int e = 0; e < job->entry_count; e++) {
    if (job->train.updates && mv_population_blocks(job, e, 1) == 1 && f->seconds[e] > LONG_UPDATE) {
      printf("%s: one rank computes a whole update; a large population is spread over ranks if it is written as "
             "replicates (population: 2, replicates: pairs)\n",
             job->entries[e].label);
    }
  }
}

static void print_text(const struct forecast *f)
{
  const struct mv_job *job = f->plan->job;
  const bool trains = job->train.updates > 0;
  printf("job %s: task %s, %d %s, %d entries\n\n", job->name, job->task->name, job->points,
         trains ? "curves of each entry" : "eta points", job->entry_count);
  printf("%-20s %-8s %6s %9s %7s %10s %9s %10s %10s %7s\n", "entry", "store", trains ? "curves" : "cells",
         trains ? "updates" : "samples", "values", "results.h5", "steps", "us", "core-hours", "units");
  for (int e = 0; e < job->entry_count; e++) {
    char values[MV_TEXT_SHORT], steps[MV_TEXT_SHORT], seconds[MV_TEXT_SHORT];
    mv_text_count((double)f->plan->layout[e].values, values);
    mv_text_count(f->plan->work[e] * (trains ? (double)job->entries[e].replicates : 1), steps);
    snprintf(seconds, sizeof seconds, "%.3g", 1e6 * f->seconds[e]);
    print_row(job->entries[e].label, job->entries[e].store == MV_STORE_SAMPLES ? "samples" : "moments", &f->rows[e],
              values, steps, seconds);
  }
  print_row("total", "", &f->total, "", "", "");
  if (job->stop.relative_error > 0) {
    char first[MV_TEXT_SHORT];
    printf("\nat most: a cell stops when the relative error of its %s is %g; the first round is %s samples",
           mv_statistic_names[job->stop.statistic], job->stop.relative_error,
           mv_text_count((double)f->first_round, first));
  }
  char memory[MV_TEXT_SHORT], bytes[MV_TEXT_SHORT], room[MV_TEXT_SHORT], time[MV_TEXT_SHORT];
  printf("\nvalues, steps (inner-step equivalents) and us are of one %s.\n", trains ? "update" : "replicate");
  printf("core-hours and us: measured here in %.1f s with kernel %s; in all %s on one core\n", f->calibration,
         job->kernel->name, mv_text_duration(f->total.seconds, time));
  if (f->ranks > 0 && !trains) {
    print_ranks(f);
  }
  printf("memory: %s in each rank, besides results under way\n", mv_text_bytes((double)memory_of(f->plan), memory));
  print_reversals(job);
  print_carried(f->plan);
  printf("disk: %s of results.h5 and as much again for the shards it is made from",
         mv_text_bytes(f->total.bytes, bytes));
  double largest, carried = carried_bytes(f->plan, &largest);
  if (carried > 0) {
    printf(", %s of what is carried", mv_text_bytes(2 * carried, bytes));
  }
  printf(f->free_bytes < 0 ? "\n" : "; free here: %s\n", mv_text_bytes(f->free_bytes, room));
  print_unspread(f);
}

static void print_json(const struct forecast *f)
{
  const struct mv_job *job = f->plan->job;
  json_t *entries = json_array();
  for (int e = 0; e < job->entry_count; e++) {
    const struct row *r = &f->rows[e];
    json_t *entry =
        json_pack("{ss ss sI sI sI sf sf sf sf sI}", "entry", job->entries[e].label, "store",
                  job->entries[e].store == MV_STORE_SAMPLES ? "samples" : "moments", "cells", (json_int_t)r->cells,
                  "samples", (json_int_t)r->samples, "values", (json_int_t)f->plan->layout[e].values, "bytes", r->bytes,
                  "steps", f->plan->work[e] * (f->plan->job->train.updates ? (double)job->entries[e].replicates : 1),
                  f->plan->job->train.updates ? "seconds_per_update" : "seconds_per_replicate", f->seconds[e],
                  "core_hours", r->seconds / 3600, "units", (json_int_t)r->units);
    struct mv_reversal back;
    if (reversal_of(job, e, &back)) {
      json_object_set_new(entry, "reverse",
                          json_pack("{sI sI sf}", "kept", (json_int_t)back.records, "bytes_per_rank",
                                    (json_int_t)back.bytes, "evaluations_per_step", back.evaluations));
    }
    json_array_append_new(entries, entry);
  }
  const struct row *t = &f->total;
  json_t *o = json_pack("{ss ss si so s{sI sI sf sf sI} sf ss sI}", "job", job->name, "task", job->task->name, "points",
                        job->points, "entries", entries, "total", "cells", (json_int_t)t->cells, "samples",
                        (json_int_t)t->samples, "bytes", t->bytes, "core_hours", t->seconds / 3600, "units",
                        (json_int_t)t->units, "calibration_seconds", f->calibration, "kernel", job->kernel->name,
                        "memory_per_rank", (json_int_t)memory_of(f->plan));
  double largest, carried = carried_bytes(f->plan, &largest);
  if (carried > 0) {
    json_object_set_new(o, "carried", json_pack("{sf sf}", "bytes", carried, "largest_curve", largest));
  }
  if (f->free_bytes >= 0) {
    json_object_set_new(o, "free_bytes", json_real(f->free_bytes));
  }
  if (f->ranks > 0 && !job->train.updates) {
    const struct mv_forecast *r = &f->run;
    json_object_set_new(o, "simulation",
                        json_pack("{si sf sf sf sf sf sf sf sf sI sI sI sf sf}", "ranks", f->ranks, "latency",
                                  f->costs.latency, "seconds", r->seconds, "efficiency", r->efficiency, "tail", r->tail,
                                  "waiting", r->waiting, "master", r->master, "busy", r->busy, "committing",
                                  r->committing, "units", (json_int_t)r->units, "commits", (json_int_t)r->commits,
                                  "groups", (json_int_t)r->groups, "finish", r->finish, "bytes", r->bytes));
  }
  json_dumpf(o, stdout, JSON_INDENT(2));
  printf("\n");
  json_decref(o);
}

/* --ranks and --latency. Exit code; errors told. */
static int read_farm(const struct mv_args *args, struct forecast *f)
{
  const char *ranks = mv_args_value(args, "ranks"), *latency = mv_args_value(args, "latency");
  char *end = "";
  f->costs = mv_costs_usual;
  double number = ranks ? strtod(ranks, &end) : 0;
  if (ranks && (*end || !*ranks || !(number >= 1 && number <= RANKS_MOST) || number != (int)number)) {
    fprintf(stderr, "metavar plan: --ranks %s: must be a number of ranks, at most %d\n", ranks, RANKS_MOST);
    return MV_EXIT_USAGE;
  }
  f->ranks = (int)number;
  f->costs.latency = latency ? strtod(latency, &end) : f->costs.latency;
  if (latency && (*end || !*latency || !(f->costs.latency >= 0 && f->costs.latency <= 1))) {
    fprintf(stderr, "metavar plan: --latency %s: must be seconds from 0 to 1, as in 5e-6\n", latency);
    return MV_EXIT_USAGE;
  }
  return MV_EXIT_OK;
}

static int run(const struct mv_args *args)
{
  struct forecast forecast = {0};
  int exit_code = read_farm(args, &forecast);
  if (exit_code != MV_EXIT_OK) {
    return exit_code;
  }
  const char *const *overrides;
  int count = mv_args_values(args, "set", &overrides);
  struct mv_job *job = mv_job_read(mv_args_at(args, 0), overrides, count, mv_kernel_best(), stderr);
  if (!job) {
    return MV_EXIT_JOB;
  }
  struct mv_plan *plan = mv_plan_make(job);
  make_forecast(&forecast, plan);
  (mv_args_value(args, "json") ? print_json : print_text)(&forecast);
  free(forecast.rows);
  free(forecast.seconds);
  mv_plan_free(plan);
  mv_job_free(job);
  return MV_EXIT_OK;
}

const struct mv_command mv_command_plan = {
    .name = "plan",
    .positional = "JOB",
    .least = 1,
    .most = 1,
    .summary = "tell what a job will cost: cells, samples, bytes, core-hours",
    .doc =
        "Reads the job file JOB and tells, for every entry, the number of cells, samples and work units, the bytes "
        "it will take in results.h5, and the core-hours that follow from a calibration of a few seconds on this "
        "machine (too high when it is busy). With --ranks it also simulates the messages and commits of a run with so "
        "many ranks, with the costs of rank 0 that were measured on the machine of src/README.md. Runs nothing else "
        "and writes nothing.",
    .options =
        (const struct mv_option[]){
            {"set", 's', "KEY=VALUE", "replace a setting of the job file, as in seed=7; may be repeated"},
            {"ranks", 'n', "P", "simulate P ranks: how long they take, with what efficiency, and what limits"},
            {"latency", 0, "SECONDS", "of a message between them (default 5e-6)"},
            {"json", 'j', NULL, "the same as JSON"},
            {0}},
    .run = run,
};
