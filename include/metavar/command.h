/* command.h - a verb of the program: one table from which parsing and --help follow. */
#ifndef METAVAR_COMMAND_H
#define METAVAR_COMMAND_H

#include "metavar/store.h"

struct mv_option {
  const char *name;     /* long name, without dashes */
  char letter;          /* short name or 0 */
  const char *argument; /* "N", "FILE"; NULL for a switch */
  const char *doc;
};

struct mv_args;
const char *mv_args_value(const struct mv_args *,
                          const char *option); /* last value given; "" for a switch; NULL if absent */
int mv_args_values(const struct mv_args *, const char *option, const char *const **out); /* all values, in order */
int mv_args_count(const struct mv_args *);                                               /* positional arguments */
const char *mv_args_at(const struct mv_args *, int index);

struct mv_command {
  const char *name;
  const char *positional;             /* "JOB", "RUN", "[NAME]" */
  int least, most;                    /* positional arguments */
  const char *summary;                /* one line of `metavar --help` */
  const char *doc;                    /* paragraph of `metavar VERB --help` */
  const struct mv_option *options;    /* ends with {NULL}; --help is added */
  int (*run)(const struct mv_args *); /* exit code */
  bool reads; /* reads data files that may be damaged: runs in a child process with limits (sandbox.h) */
};

/* Parses argv after the verb (argv[0]). NULL when there is nothing to run: then *exit_code is 0 after --help and 2
 * after a mistake, which has been told. */
struct mv_args *mv_args_parse(const struct mv_command *, int argc, char **argv, int *exit_code);
void mv_args_free(struct mv_args *);

/* One per file in src/commands. */
extern const struct mv_command mv_command_run, mv_command_train, mv_command_plan, mv_command_status, mv_command_list,
    mv_command_describe, mv_command_check, mv_command_analyze, mv_command_plot, mv_command_sbatch, mv_command_stop,
    mv_command_verify, mv_command_replay, mv_command_export, mv_command_report;

#endif
