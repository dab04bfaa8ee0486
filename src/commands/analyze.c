/* analyze.c - `metavar analyze RUN`: bias, variance and their errors from results.h5, as tables. No MPI; reads the run,
 * writes only its own folder. */
#define _GNU_SOURCE
#include <errno.h>
#include <gsl/gsl_errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "metavar/advice.h"
#include "metavar/analysis.h"
#include "metavar/command.h"
#include "metavar/components.h"
#include "metavar/improvement.h"

struct request {
  const char *run, *reference, *study;
  char *results, *dir; /* results.h5; where the tables go */
  double lambda[MV_LIST_MAX];
  int lambdas;
  struct mv_analysis options;
  double task_cost;
  const char *const *pairs;
  int pair_count;
};

/* Everything that is computed. */
struct study {
  struct mv_tables tables;
  struct mv_advice advice;
  struct mv_anatomy anatomy;
};

static bool read_number(const char *text, double low, double high, char stop, double *out, const char **end)
{
  char *after;
  if (!strchr("+-.0123456789", *text) || *text == 0)
    return false;
  errno = 0;
  *out = strtod(text, &after);
  *end = after;
  return after != text && !errno && *out >= low && *out <= high && (*after == 0 || *after == stop);
}

static bool read_lambda(const char *text, struct request *r)
{
  for (r->lambdas = 0; r->lambdas < MV_LIST_MAX; text++) {
    if (!read_number(text, -1e6, 1e6, ',', &r->lambda[r->lambdas++], &text))
      return false;
    if (*text == 0)
      return true;
  }
  return false;
}

static int complain(const char *option, const char *value, const char *wanted)
{
  fprintf(stderr, "metavar: --%s '%s': %s\n", option, value, wanted);
  return MV_EXIT_USAGE;
}

static int read_options(const struct mv_args *args, struct request *r)
{
  const char *lambda = mv_args_value(args, "lambda"), *bootstrap = mv_args_value(args, "bootstrap"), *end;
  const char *confidence = mv_args_value(args, "confidence"), *task_cost = mv_args_value(args, "task-cost");
  double resamples = 10000;
  r->run = mv_args_at(args, 0);
  r->reference = mv_args_value(args, "reference");
  r->study = mv_args_value(args, "study");
  r->options = (struct mv_analysis){.confidence = 0.95};
  if (!read_lambda(lambda ? lambda : "0,0.2,0.4,0.6,0.8,1", r))
    return complain("lambda", lambda, "want numbers with commas between them, at most 64");
  if (bootstrap && (!read_number(bootstrap, 100, 20000, 0, &resamples, &end) || resamples != floor(resamples)))
    return complain("bootstrap", bootstrap, "want a whole number from 100 to 20000");
  if (confidence && !read_number(confidence, 0.5, 0.99, 0, &r->options.confidence, &end))
    return complain("confidence", confidence, "want a number from 0.5 to 0.99");
  if (task_cost && !read_number(task_cost, 0, 1e15, 0, &r->task_cost, &end))
    return complain("task-cost", task_cost, "want a number of inner steps, 0 or more");
  r->pair_count = mv_args_values(args, "pair", &r->pairs);
  r->options.resamples = (int)resamples;
  return MV_EXIT_OK;
}

/* RUN is a run directory or a results.h5; the tables go to the folder analysis beside results.h5 unless told. */
static void find_paths(struct request *r, const char *dir)
{
  struct stat info;
  char *slash;
  bool folder = stat(r->run, &info) == 0 && S_ISDIR(info.st_mode);
  if (asprintf(&r->results, folder ? "%s/results.h5" : "%s", r->run) < 0)
    abort();
  slash = strrchr(r->results, '/');
  if (asprintf(&r->dir, "%.*s/analysis", slash ? (int)(slash - r->results) : 1, slash ? r->results : ".") < 0)
    abort();
  if (dir) {
    free(r->dir);
    r->dir = strdup(dir);
  }
}

/* What goes to one file. */
struct output {
  const char *name;
  void (*write)(FILE *, const struct study *);
};

static void write_cells(FILE *file, const struct study *s) { mv_cells_write(file, &s->tables); }
static void write_grid(FILE *file, const struct study *s) { mv_grid_write(file, &s->tables); }
static void write_board(FILE *file, const struct study *s) { mv_table_write(file, &s->tables, MV_BOARD); }
static void write_sources(FILE *file, const struct study *s) { mv_table_write(file, &s->tables, MV_SOURCES); }
static void write_differences(FILE *file, const struct study *s) { mv_table_write(file, &s->tables, MV_DIFFERENCES); }
static void write_components(FILE *file, const struct study *s) { mv_components_write(file, &s->anatomy); }
static void write_budget(FILE *file, const struct study *s) { mv_budget_write(file, &s->advice); }
static void write_break_even(FILE *file, const struct study *s) { mv_break_even_write(file, &s->advice); }
static void write_best(FILE *file, const struct study *s) { mv_best_write(file, &s->advice); }
static void write_combined(FILE *file, const struct study *s) { mv_combined_write(file, &s->advice); }

static int make_folder(const struct request *r)
{
  if (mkdir(r->dir, 0777) == 0 || errno == EEXIST)
    return MV_EXIT_OK;
  fprintf(stderr, "metavar: cannot create %s: %s\n", r->dir, strerror(errno));
  return MV_EXIT_CREATE;
}

static int end_table(const struct request *r, const char *name, struct mv_draft *draft, int code)
{
  if (code) {
    mv_draft_drop(draft);
    return code;
  }
  code = mv_draft_commit(draft);
  if (code == MV_EXIT_OK)
    fprintf(stderr, "metavar: wrote %s/%s\n", r->dir, name);
  return code;
}

/* A table that is made while results.h5 is read. */
static int write_table(const struct request *r, const char *name, struct mv_results *results,
                       int (*write)(FILE *, struct mv_results *))
{
  struct mv_draft draft;
  int code = mv_draft_open(&draft, r->dir, name);
  return code ? code : end_table(r, name, &draft, write(draft.file, results));
}

static int write_improvement(const struct request *r, struct mv_results *results, struct mv_study *study)
{
  struct mv_draft draft;
  int code = mv_draft_open(&draft, r->dir, "improvement.csv");
  return code ? code : end_table(r, "improvement.csv", &draft, mv_improvement_write(draft.file, results, study));
}

static int write_training_summary(const struct request *r, const struct mv_job *job, const char *digest,
                                  const struct mv_study *study)
{
  struct mv_draft draft;
  int code = mv_draft_open(&draft, r->dir, "summary.json");
  if (code)
    return code;
  mv_training_summary_write(draft.file, job, digest, r->study ? study->tables.job->name : NULL);
  return end_table(r, "summary.json", &draft, MV_EXIT_OK);
}

/* Of a training: curves, paths, ends; and what a study predicts. */
static int analyze_training(const struct request *r, struct mv_results *results, const char *digest)
{
  struct mv_study study = {0};
  const struct mv_job *job = mv_results_job(results);
  int code = r->study ? mv_study_open(&study, job, r->study) : MV_EXIT_OK;
  code = code ? code : make_folder(r);
  code = code ? code : write_table(r, "curves.csv", results, mv_curves_write);
  code = code ? code : write_table(r, "paths.csv", results, mv_paths_write);
  code = code ? code : write_table(r, "ends.csv", results, mv_ends_write);
  if (r->study && code == MV_EXIT_OK)
    code = write_improvement(r, results, &study);
  code = code ? code : write_training_summary(r, job, digest, &study);
  mv_study_close(&study);
  return code;
}

static bool has_surface(const struct mv_plan *plan)
{
  bool has = false;
  for (int e = 0; e < plan->job->entry_count; e++)
    has = has || mv_is_surface(plan, e);
  return has;
}

static int write_files(const struct request *r, const struct study *s, const char *digest)
{
  static const struct output outputs[] = {{"cells.csv", write_cells},
                                          {"grid.csv", write_grid},
                                          {"board.csv", write_board},
                                          {"sources.csv", write_sources},
                                          {"differences.csv", write_differences},
                                          {"components.csv", write_components},
                                          {"budget.csv", write_budget},
                                          {"breakeven.csv", write_break_even},
                                          {"best.csv", write_best},
                                          {"combined.csv", write_combined},
                                          {"summary.json", NULL}};
  if (make_folder(r))
    return MV_EXIT_CREATE;
  for (size_t k = 0; k < sizeof outputs / sizeof *outputs; k++) {
    struct mv_draft draft;
    int code = mv_draft_open(&draft, r->dir, outputs[k].name);
    if (code)
      return code;
    if (outputs[k].write)
      outputs[k].write(draft.file, s);
    else
      mv_summary_write(draft.file, &s->tables, digest, r->lambda, r->lambdas);
    code = mv_draft_commit(&draft);
    if (code)
      return code;
    fflush(stdout); /* the table first, where both go to one place */
    fprintf(stderr, "metavar: wrote %s/%s\n", r->dir, outputs[k].name);
  }
  return MV_EXIT_OK;
}

static int compute(const struct request *r, struct mv_results *results, struct study *s)
{
  int code = mv_tables_make(results, &r->options, r->lambda, r->lambdas, r->reference, &s->tables);
  if (code == MV_EXIT_OK)
    code = mv_advice_make(&s->advice, &s->tables, r->pairs, r->pair_count);
  if (code == MV_EXIT_OK)
    code = mv_anatomy_make(&s->anatomy, &s->tables, r->task_cost);
  return code;
}

static int analyze(const struct request *r)
{
  int code;
  char digest[33];
  struct study study = {0};
  struct mv_results *results = mv_results_open(r->run, &code);
  if (!results)
    return code;
  code = mv_results_digest(r->results, digest);
  if (mv_results_job(results)->train.updates) {
    code = code ? code : analyze_training(r, results, digest);
    mv_results_close(results);
    return code;
  }
  if (code == MV_EXIT_OK && r->study)
    code = complain("study", r->study, "is for the run of a metavar train; bias goes by --reference");
  if (code == MV_EXIT_OK)
    code = compute(r, results, &study);
  if (code == MV_EXIT_OK) {
    mv_table_print(stdout, &study.tables);
    mv_anatomy_print(stdout, &study.anatomy);
    mv_advice_print(stdout, &study.advice);
    code = write_files(r, &study, digest);
    if (code == MV_EXIT_OK && has_surface(mv_results_plan(results)))
      code = write_table(r, "objective.csv", results, mv_objective_write);
  }
  mv_anatomy_free(&study.anatomy);
  mv_advice_free(&study.advice);
  mv_tables_free(&study.tables);
  mv_results_close(results);
  return code;
}

static int run_analyze(const struct mv_args *args)
{
  struct request r = {0};
  int code = read_options(args, &r);
  if (code)
    return code;
  gsl_set_error_handler_off();
  find_paths(&r, mv_args_value(args, "output"));
  code = analyze(&r);
  free(r.results);
  free(r.dir);
  return code;
}

static const struct mv_option options[] = {
    {"lambda", 0, "LIST", "coefficients of the sampling correction (default 0,0.2,0.4,0.6,0.8,1)"},
    {"bootstrap", 0, "N", "resamples of the samples' blocks (default 10000)"},
    {"confidence", 0, "P", "of all intervals (default 0.95)"},
    {"reference", 0, "LABEL|RUN2[:LABEL]",
     "what bias is measured against: an entry of this run, or of another one (default: the first entry of the "
     "estimator 'reference')"},
    {"study", 0, "RUN2[:LABEL]",
     "of a training: the measurement of its estimators, with a reference, at eta points around its paths, that "
     "predicts "
     "what each update adds"},
    {"task-cost", 0, "STEPS", "what a new task instance costs, in inner steps, for the best nested design (default 0)"},
    {"pair", 0, "'A vs B'",
     "two settings to compare and to mix, beside those that matter; LABEL or LABEL:axis=value,lambda=value; "
     "repeatable"},
    {"output", 'o', "DIR", "where the tables go (default RUN/analysis)"},
    {0},
};

const struct mv_command mv_command_analyze = {
    .name = "analyze",
    .positional = "RUN",
    .least = 1,
    .most = 1,
    .summary = "bias and variance of every setting, from a finished run",
    .doc =
        "Reads the results of RUN and reports, for every eta point and setting and as averages over the eta points: "
        "variance, squared bias against the reference (as it is, and without its upward bias), cosine similarity, each "
        "with its error and interval; the distance from every objective that an estimator may be held against; the "
        "sources of bias; paired differences. Components are combined with every coefficient in the list. Prints the "
        "averages, where variance comes from in nested designs, and which estimator is best at which budget; writes "
        "all numbers to cells.csv, grid.csv, board.csv, sources.csv, differences.csv, components.csv, budget.csv, "
        "breakeven.csv, best.csv, combined.csv and summary.json, whose columns analysis/README.md explains. Of entries "
        "of the estimator objective it writes the return surface, objective.csv. Of a run of metavar train it writes "
        "learning curves, paths of eta and where they end: curves.csv, paths.csv, ends.csv, summary.json; with --study "
        "what bias and "
        "variance predict of each update, beside what happened: improvement.csv.",
    .options = options,
    .run = run_analyze,
    .reads = true,
};
