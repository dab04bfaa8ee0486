/* progress.c - samples done and to do, their rate, the time left, and the share that is not finite.
 *
 * On a terminal one line, drawn again five times a second; elsewhere (a batch job's log) a line a minute. The time left
 * follows from predicted seconds, not from samples: units are handed out longest first, so the first samples are the
 * slowest. The monotonic clock is immune to a clock that is set.
 */
#include "metavar/progress.h"

#include <unistd.h>

#include "metavar/clock.h"
#include "metavar/text.h"

#define REDRAW_SECONDS 0.2

void mv_meter_start(struct mv_meter *m, const char *noun, double period, int64_t total, int64_t missing, double work)
{
  double time = mv_clock_monotonic();
  *m = (struct mv_meter){.out = stderr,
                         .noun = noun,
                         .terminal = period > 0 && isatty(STDERR_FILENO),
                         .period = period,
                         .start = time,
                         .last = time,
                         .total = total,
                         .before = total - missing,
                         .work = work};
  if (m->terminal) {
    m->period = REDRAW_SECONDS;
  }
}

void mv_meter_grow(struct mv_meter *m, int64_t total, double work)
{
  m->total = total;
  m->work += work;
}

void mv_meter_add(struct mv_meter *m, int64_t samples, int64_t nonfinite, double work)
{
  m->done += samples;
  m->nonfinite += nonfinite;
  m->work_done += work;
}

static void print_line(const struct mv_meter *m, double time)
{
  char rate[MV_TEXT_SHORT], left[MV_TEXT_SHORT];
  double elapsed = time - m->start, share = m->total > 0 ? (double)(m->before + m->done) / (double)m->total : 1;
  double rest = m->work - m->work_done;
  fprintf(m->out, "%s%lld/%lld %s (%.1f %%), %s/s, %s left, non-finite %.3g %%%s",
          m->terminal ? "\r" : "metavar: ", (long long)(m->before + m->done), (long long)m->total, m->noun, 100 * share,
          mv_text_count(elapsed > 0 ? (double)m->done / elapsed : 0, rate),
          m->work_done > 0 ? mv_text_duration(rest > 0 ? rest / m->work_done * elapsed : 0, left) : "?",
          m->done > 0 ? 100 * (double)m->nonfinite / (double)m->done : 0.0, m->terminal ? "\033[K" : "\n");
  fflush(m->out);
}

void mv_meter_tick(struct mv_meter *m)
{
  double time = mv_clock_monotonic();
  if (m->period > 0 && time >= m->last + m->period) {
    m->last = time;
    print_line(m, time);
  }
}

void mv_meter_break(const struct mv_meter *m)
{
  if (m->terminal) {
    fputc('\n', m->out);
  }
}

void mv_meter_stop(struct mv_meter *m)
{
  if (m->period > 0) {
    print_line(m, mv_clock_monotonic());
    if (m->terminal) {
      fputc('\n', m->out);
    }
  }
}
