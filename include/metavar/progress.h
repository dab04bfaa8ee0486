/* progress.h - the progress line of a run, on stderr. */
#ifndef METAVAR_PROGRESS_H
#define METAVAR_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct mv_meter {
  FILE *out;
  const char *noun; /* what is counted: "samples" */
  bool terminal;    /* one line, drawn again and again */
  double period;    /* seconds between lines */
  double start, last;
  int64_t total;          /* samples of the whole run */
  int64_t before, done;   /* committed by earlier attempts; computed by this one */
  int64_t nonfinite;      /* of this attempt's */
  double work, work_done; /* predicted seconds of this attempt: samples of different entries cost differently */
};

/* Period: seconds between lines where stderr is no terminal; 0: silent everywhere. */
void mv_meter_start(struct mv_meter *, const char *noun, double period, int64_t total, int64_t missing, double work);
void mv_meter_grow(struct mv_meter *, int64_t total, double work); /* more to do: samples in all, seconds on top */
void mv_meter_add(struct mv_meter *, int64_t samples, int64_t nonfinite, double work);
void mv_meter_tick(struct mv_meter *);        /* prints when it is time to */
void mv_meter_break(const struct mv_meter *); /* another message follows */
void mv_meter_stop(struct mv_meter *);        /* a last line */

#endif
