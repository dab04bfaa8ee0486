/* export.h - results as a long table for data frames: one value in a row, with all that it is about. */
#ifndef METAVAR_EXPORT_H
#define METAVAR_EXPORT_H

#include <stdio.h>

#include "metavar/store.h"

struct mv_export {
  FILE *out;           /* failures stay in its error flag */
  bool json;           /* one JSON object a line; else CSV with a header */
  bool moments;        /* rows are values of blocks, of every entry; else values of samples, of those that store them */
  const bool *entries; /* [entry_count] which of them */
};

/* Writes all rows; memory is that of one piece of a cell. Exit code; what cannot be read is told. */
int mv_export_write(struct mv_results *, const struct mv_export *);

#endif
