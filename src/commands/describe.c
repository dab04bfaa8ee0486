/* describe.c - `metavar describe NAME`: a task, an estimator, or the keys of a job file, from the tables that parse
 * them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metavar/command.h"
#include "metavar/memory.h"
#include "metavar/text.h"

#define DOC_COLUMN 6

static const char *const kind_names[] = {
    [MV_INT] = "integer",
    [MV_SEED] = "integer, 0 to 2^64 - 1",
    [MV_REAL] = "number",
    [MV_BOOL] = "true or false",
    [MV_CHOICE] = "word",
    [MV_NAME] = "name",
    [MV_INT_LIST] = "list of integers",
    [MV_REAL_LIST] = "list of numbers",
    [MV_CHOICE_LIST] = "list of words",
};

static void print_range(const struct mv_field *f)
{
  bool numbers = f->kind == MV_INT || f->kind == MV_REAL || f->kind == MV_INT_LIST || f->kind == MV_REAL_LIST;
  if (f->choices) {
    for (const char *const *word = f->choices; *word; word++) {
      printf("%s%s", word == f->choices ? ": " : " | ", *word);
    }
  } else if (numbers && isfinite(f->min) && isfinite(f->max)) {
    printf(", %s %.12g to %.12g", f->open_min ? "above" : "from", f->min, f->max);
  } else if (numbers && isfinite(f->min)) {
    printf(", %s %.12g", f->open_min ? "above" : "at least", f->min);
  } else if (numbers && isfinite(f->max)) {
    printf(", at most %.12g", f->max);
  }
}

static void print_fields(const char *title, const struct mv_field *fields)
{
  if (mv_field_count(fields) == 0) {
    return;
  }
  printf("\n%s:\n", title);
  for (const struct mv_field *f = fields; f->name; f++) {
    printf("  %s: %s", f->name, kind_names[f->kind]);
    print_range(f);
    if (f->unit && strcmp(f->unit, "1")) {
      printf(", in %s", f->unit);
    }
    printf(f->fallback ? "; default %s\n" : "; must be given\n", f->fallback);
    mv_text_wrap(stdout, 0, DOC_COLUMN, f->doc);
  }
}

static void print_draws(const char *when, const struct mv_draws *d)
{
  if (d->uniforms == 0 && d->normals == 0 && d->choices == 0) {
    return;
  }
  printf("  noise %s:", when);
  const char *comma = "";
  if (d->uniforms > 0) {
    printf("%s %d uniform", comma, d->uniforms);
    comma = ",";
  }
  if (d->normals > 0) {
    printf("%s %d normal", comma, d->normals);
    comma = ",";
  }
  if (d->choices > 0) {
    printf("%s %d choices among %d", comma, d->choices, d->arity);
  }
  printf("\n");
}

/* Sizes follow from the settings: shown for the defaults, if every setting has one. */
static void print_shape(const struct mv_task *task)
{
  for (const struct mv_field *f = task->fields; f->name; f++) {
    if (!f->fallback) {
      return;
    }
  }
  void *settings = mv_memory_take(1, task->settings_size);
  mv_field_defaults(task->fields, settings);
  struct mv_shape s = task->shape(settings);
  printf("\nwith the default settings:\n  meta-parameters: %d", s.meta);
  for (int i = 0; task->meta_names && i < s.meta; i++) {
    printf("%s%s", i ? ", " : " (", task->meta_names[i]);
  }
  printf("%s\n  state theta: %d numbers, task instance: %d, tape of a step: %d\n", task->meta_names ? ")" : "", s.state,
         s.instance, s.tape);
  printf("  derivatives:");
  const bool any = task->step_jvp || task->step_vjp;
  for (int h = 0; h < MV_HESSIANS; h++) {
    if (any && s.hessians & 1u << h) {
      printf(" %s", mv_hessian_names[h]);
    }
  }
  printf("%s%s%s\n", task->step_jvp ? "; forward" : "", task->step_vjp ? "; reverse" : "",
         any ? "" : " none: only estimators that need no derivatives apply");
  printf("  expected objective of a step given its state: %s\n", s.expected ? "known" : "not known");
  print_draws("of an instance", &s.at_instance);
  print_draws("of theta_0", &s.at_init);
  print_draws("of a step", &s.at_step);
  free(settings);
}

static void describe_task(const struct mv_task *task)
{
  printf("task %s\n\n", task->name);
  mv_text_wrap(stdout, 0, 0, task->doc);
  print_fields("settings, in the job's task", task->fields);
  print_shape(task);
}

static void describe_estimator(const struct mv_estimator *estimator)
{
  printf("estimator %s\n\n", estimator->name);
  mv_text_wrap(stdout, 0, 0, estimator->doc);
  printf("\nneeds derivatives of the task: %s\n", estimator->needs & MV_NEEDS_DERIVATIVE ? "yes" : "no");
  print_fields("settings, in an entry of the job's estimators", estimator->fields);
  printf("\nmetavar describe entry tells the settings that every entry has.\n");
}

static int run(const struct mv_args *args)
{
  const char *name = mv_args_at(args, 0);
  const struct mv_task *task = mv_task_find(mv_kernel_best(), name);
  const struct mv_estimator *estimator = mv_estimator_find(mv_kernel_best(), name);
  if (task) {
    describe_task(task);
  } else if (estimator) {
    describe_estimator(estimator);
  } else if (!strcmp(name, "job")) {
    printf("a job file (YAML)\n\n");
    mv_text_wrap(stdout, 0, 0,
                 "Besides the keys below a job has task: (name and its settings), eta: (grid:, zip: or points: of "
                 "meta-parameters) and "
                 "estimators: (a list of entries; see metavar describe entry). It may have stop: (a stopping rule). "
                 "With train: it is one for metavar train.");
    print_fields("keys", mv_job_fields);
    print_fields("keys of stop", mv_stop_fields);
    print_fields("keys of train", mv_train_fields);
  } else if (!strcmp(name, "entry")) {
    printf("an entry of estimators: in a job file\n\n");
    mv_text_wrap(stdout, 0, 0,
                 "Besides the keys below an entry has name:, the estimator, and that estimator's settings. A list "
                 "given to a setting "
                 "that takes one value makes one entry for each of its values.");
    print_fields("keys", mv_entry_fields);
    print_fields("in training also", mv_followed_fields);
  } else {
    fprintf(stderr,
            "metavar describe: nothing is called %s; metavar list names tasks and estimators, and there are job and "
            "entry\n",
            name);
    return MV_EXIT_USAGE;
  }
  return MV_EXIT_OK;
}

const struct mv_command mv_command_describe = {
    .name = "describe",
    .positional = "NAME",
    .least = 1,
    .most = 1,
    .summary = "explain a task, an estimator, a job file (job) or an entry of its estimators (entry)",
    .doc = "Explains NAME: what it computes and from which paper, then every setting with type, range, default and "
           "meaning. NAME is a "
           "task, an estimator, job or entry.",
    .run = run,
};
