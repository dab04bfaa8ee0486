/* mode.h - derivatives forwards or back: the settings that estimators share, and what a walk back takes. Kernel files
 * only. */
#ifndef METAVAR_MODE_H
#define METAVAR_MODE_H

#include "metavar/estimator.h"
#include "metavar/revolve.h"

enum { MV_FEW = 8 }; /* meta-parameters at which tangents, which need nothing kept, are always the better choice */

enum mv_mode { MV_MODE_AUTO, MV_MODE_FORWARD, MV_MODE_REVERSE };
static const char *const mv_mode_names[] = {"auto", "forward", "reverse", NULL};

struct mv_mode_settings {
  int mode;            /* enum mv_mode; not auto once completed */
  int64_t checkpoints; /* records; 0: as many as memory holds */
  int64_t memory;      /* bytes */
};

#define MV_MODE_DOC                                                                                                    \
  "forward: tangents; reverse: adjoints; auto: forward for up to 8 meta-parameters, beyond that what takes fewer "     \
  "inner-step equivalents. The same values up to rounding"
#define MV_CHECKPOINTS_DOC                                                                                             \
  "reverse: steps kept at most; others are evaluated again, with the same bits; 0: as many as memory holds"
#define MV_MEMORY_DOC                                                                                                  \
  "reverse: what the steps kept by a rank may take, counted for 8 lifetimes side by side; for one where the task has " \
  "one lane"

/* Counted for the widest kernel that serves the task, so that machines do not differ in what they keep. */
static inline int64_t mv_mode_record_bytes(const struct mv_problem *p)
{
  return (int64_t)mv_record_bytes(&p->shape, p->shape.lanes ? p->shape.lanes : MV_LANES_MAX);
}

/* Records of a walk back over so many steps: all but the one that is worked on, or as many as there may be. */
static inline int64_t mv_mode_records(const struct mv_mode_settings *s, const struct mv_problem *p, int64_t length)
{
  int64_t most = s->checkpoints ? s->checkpoints : s->memory / mv_mode_record_bytes(p);
  int64_t all = length > 1 ? length - 1 : 1;
  return most < 1 ? 1 : most < all ? most : all;
}

/* Evaluations of inner steps in a walk back over so many. */
static inline double mv_mode_evaluations(const struct mv_mode_settings *s, const struct mv_problem *p, int64_t length)
{
  return mv_revolve_evaluations(length, mv_mode_records(s, p, length));
}

static inline bool mv_mode_reversal(const struct mv_mode_settings *s, const struct mv_problem *p,
                                    struct mv_reversal *out)
{
  const int64_t records = mv_mode_records(s, p, p->steps);
  *out = (struct mv_reversal){records, mv_record_bytes(&p->shape, MV_LANES) * (size_t)(records + 1),
                              mv_mode_evaluations(s, p, p->steps) / (double)p->steps};
  return s->mode == MV_MODE_REVERSE;
}

/* Settings hook: decides where the mode is auto, by the work that each would be. */
static inline void mv_mode_complete(struct mv_mode_settings *s, const struct mv_problem *p, double forward,
                                    double reverse, struct mv_complaints *c)
{
  const struct mv_task *task = p->task;
  if (s->mode == MV_MODE_AUTO)
    s->mode = !task->step_jvp || (task->step_vjp && p->shape.meta > MV_FEW && reverse < forward) ? MV_MODE_REVERSE
                                                                                                 : MV_MODE_FORWARD;
  if (s->mode == MV_MODE_FORWARD && !task->step_jvp)
    mv_complain(c, "mode", "task %s offers no derivative forwards; use reverse", task->name);
  if (s->mode == MV_MODE_REVERSE && !task->step_vjp)
    mv_complain(c, "mode", "task %s offers no derivative in reverse; use forward", task->name);
  if (s->mode != MV_MODE_REVERSE)
    return;
  const int64_t each = mv_mode_record_bytes(p), kept = s->checkpoints < p->steps ? s->checkpoints : p->steps;
  if (s->memory < each)
    mv_complain(c, "memory", "%lld bytes do not hold one step of task %s; give at least %lld", (long long)s->memory,
                task->name, (long long)each);
  else if (kept > s->memory / each)
    mv_complain(c, "checkpoints", "%lld steps of %lld bytes do not fit into memory: %lld; keep at most %lld",
                (long long)s->checkpoints, (long long)each, (long long)s->memory, (long long)(s->memory / each));
}

#endif
