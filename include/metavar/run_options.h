/* run_options.h - the command line of `metavar run` and `metavar train`, read and checked. */
#ifndef METAVAR_RUN_OPTIONS_H
#define METAVAR_RUN_OPTIONS_H

#include "metavar/command.h"

enum mv_computes { MV_COMPUTES_AUTO, MV_COMPUTES_YES, MV_COMPUTES_NO };

struct mv_run_options {
  const char *verb, *run;
  double period; /* of progress lines; 0: none */
  enum mv_computes computes;
  double limit; /* seconds; INFINITY: not given */
  char **set;   /* [set_count] "key=value", those of --target-se first and of --max-replicates last */
  int set_count;
};

/* measures: with the options of a stopping rule. Exit code; errors told by one rank. Free the options in any case. */
int mv_run_options_read(const struct mv_args *, const char *verb, bool measures, struct mv_run_options *);
void mv_run_options_free(struct mv_run_options *);

#endif
