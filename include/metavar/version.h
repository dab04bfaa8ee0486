/* version.h - one line that says what this binary is. */
#ifndef METAVAR_VERSION_H
#define METAVAR_VERSION_H

#include <stdio.h>

const char *mv_version_line(void); /* "metavar 0.1.0 (git 0123456789ab)" */

/* The same and what it was built with: compiler, flags, libraries. */
void mv_version_print(FILE *);

#endif
