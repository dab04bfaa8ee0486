/* list.c - `metavar list`: the tasks, estimators, valid pairs and kernels of this binary. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "metavar/command.h"
#include "metavar/text.h"

/* "name  first sentence of its doc" */
static void print_row(const char *name, const char *doc)
{
  char line[400];
  const char *end = doc;
  while (*end && !(!strncmp(end, ". ", 2) && isupper((unsigned char)end[2]))) { /* no end: "et al. 2022" */
    end++;
  }
  snprintf(line, sizeof line, "%.*s", (int)(end - doc), doc);
  mv_text_wrap(stdout, printf("  %-14s ", name), 17, line);
}

static void list_tasks(const struct mv_kernel *kernel)
{
  for (const struct mv_task *const *t = kernel->tasks; *t; t++) {
    print_row((*t)->name, (*t)->doc);
  }
}

static void list_estimators(const struct mv_kernel *kernel)
{
  for (const struct mv_estimator *const *e = kernel->estimators; *e; e++) {
    print_row((*e)->name, (*e)->doc);
  }
}

static void list_pairs(const struct mv_kernel *kernel)
{
  for (const struct mv_task *const *t = kernel->tasks; *t; t++) {
    printf("  %-14s", (*t)->name);
    for (const struct mv_estimator *const *e = kernel->estimators; *e; e++) {
      if (mv_pair_valid(*t, *e)) {
        printf(" %s", (*e)->name);
      }
    }
    printf("\n");
  }
}

static void list_kernels(const struct mv_kernel *best)
{
  const struct mv_kernel *kernels[8];
  int count = mv_kernel_list(kernels);
  for (int i = 0; i < count; i++) {
    printf("  %-14s %d %s side by side%s\n", kernels[i]->name, kernels[i]->lanes,
           kernels[i]->lanes == 1 ? "lifetime" : "lifetimes", kernels[i] == best ? " (used by run)" : "");
  }
}

static const struct {
  const char *name, *title;
  void (*print)(const struct mv_kernel *);
} families[] = {
    {"tasks", "tasks (metavar describe NAME tells more)", list_tasks},
    {"estimators", "estimators (metavar describe NAME tells more)", list_estimators},
    {"pairs", "estimators that each task allows", list_pairs},
    {"kernels", "builds of the inner loops that this machine can run", list_kernels},
};
#define FAMILIES (sizeof families / sizeof *families)

static int run(const struct mv_args *args)
{
  const char *wanted = mv_args_at(args, 0);
  bool found = false;
  for (size_t i = 0; i < FAMILIES; i++) {
    if (!wanted || !strcmp(wanted, families[i].name)) {
      printf("%s%s:\n", found ? "\n" : "", families[i].title);
      families[i].print(mv_kernel_best());
      found = true;
    }
  }
  if (!found) {
    fprintf(stderr, "metavar list: there is no list of %s; there are tasks, estimators, pairs and kernels\n", wanted);
    return MV_EXIT_USAGE;
  }
  return MV_EXIT_OK;
}

const struct mv_command mv_command_list = {
    .name = "list",
    .positional = "[tasks|estimators|pairs|kernels]",
    .least = 0,
    .most = 1,
    .summary = "name the tasks, estimators, valid pairs and kernels",
    .doc = "Names what this binary holds, with one line each: tasks, estimators, which estimators each task allows, "
           "and the builds "
           "of the inner loops that this machine can run. Without an argument, all four.",
    .run = run,
};
