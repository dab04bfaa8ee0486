/* script.h - verbs that are Python scripts of analysis/: pictures and reports. */
#ifndef METAVAR_SCRIPT_H
#define METAVAR_SCRIPT_H

#include "metavar/command.h"

/* Starts the script NAME (a file of analysis/, or of METAVAR_ANALYSIS_DIR) with every value of the verb's options and
 * its first positional argument, and waits for it. Exit code. The script tells its own errors. */
int mv_script_run(const char *name, const struct mv_command *, const struct mv_args *);

#endif
