/* deadline.h - when a run has to be over, and what still fits in before that. */
#ifndef METAVAR_DEADLINE_H
#define METAVAR_DEADLINE_H

#include <stdbool.h>
#include <stdint.h>

/* "90s", "10m", "2h", "3d", or as SLURM writes them: "10:00", "2:00:00", "1-00:00:00". False: none of these. */
bool mv_duration_read(const char *text, double *seconds);

/* Units handed out and not back yet, of one predicted length. Thousands of ranks hold tens of thousands, of few sorts. */
struct mv_under_way {
  double predicted;
  int64_t units;
};

struct mv_deadline {
  double at;                 /* on the monotonic clock; INFINITY: never */
  struct mv_under_way *sort; /* [sorts] */
  int sorts, capacity;
  double predicted_sum, measured_sum; /* of those that are back */
};

/* `limit` seconds after `begin` (on the monotonic clock). Limit INFINITY: when the SLURM job ends, if this is one, less a
 * margin. */
void mv_deadline_start(struct mv_deadline *, double begin, double limit);
void mv_deadline_free(struct mv_deadline *);

/* Whether a unit that takes so many seconds, and may wait for the longest of those under way, would be back in time;
 * then it counts as handed out. */
bool mv_deadline_admit(struct mv_deadline *, double predicted);
/* One of them is back. */
void mv_deadline_back(struct mv_deadline *, double predicted, double measured);

#endif
