/* deadline.c - when a run has to be over, and what still fits in before that.
 *
 * The limit is the user's (--max-time) or the batch system's. SLURM tells the end of a job in SLURM_JOB_END_TIME (23.02
 * and later) or through squeue; neither is followed to the second, and what is done has to be committed, so the run
 * leaves a margin. Wall-clock times are turned into a point of the monotonic clock once, at the start: a clock that is
 * set moves nothing.
 */
#include "metavar/deadline.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "metavar/clock.h"
#include "metavar/memory.h"

#define MARGIN_SECONDS 60.0 /* before the end of a SLURM job, */
#define MARGIN_SHARE   0.1  /* but not more than this share of the time that it has at the start */
#define CAUTION        1.25 /* units may take this much longer than those before them */
#define ASK_SECONDS    5.0  /* for squeue to answer */

extern char **environ;

/* --- durations --------------------------------------------------------------------------------------------------- */

static bool read_digits(const char **text, double *number)
{
  size_t digits = strspn(*text, "0123456789");
  if (digits == 0 || digits > 9)
    return false;
  *number = strtod(*text, NULL);
  *text += digits;
  return true;
}

/* [days-]hours:minutes:seconds, minutes:seconds; after days also hours or hours:minutes. */
static bool read_clock(const char *text, double *seconds)
{
  double days = 0, part[3] = {0};
  const char *rest = strchr(text, '-');
  bool has_days = rest != NULL;
  if (has_days && (!read_digits(&text, &days) || *text++ != '-'))
    return false;
  int parts = 0;
  do
    if (!read_digits(&text, &part[parts++]))
      return false;
  while (parts < 3 && *text == ':' && *++text);
  if (*text || (parts == 1 && !has_days))
    return false;
  if (!has_days && parts == 2)
    *seconds = 60 * part[0] + part[1];
  else
    *seconds = 86400 * days + 3600 * part[0] + 60 * part[1] + part[2];
  return true;
}

bool mv_duration_read(const char *text, double *seconds)
{
  static const char letters[] = "smhd";
  static const double factor[] = {1, 60, 3600, 86400};
  const char *end = text, *letter;
  double number;
  if (read_digits(&end, &number) && *end && end[1] == 0 && (letter = strchr(letters, *end))) {
    *seconds = number * factor[letter - letters];
    return true;
  }
  return read_clock(text, seconds);
}

/* --- SLURM ------------------------------------------------------------------------------------------------------- */

/* Absolute path of a program in PATH. */
static bool find_program(const char *name, char *out, size_t size)
{
  const char *path = getenv("PATH");
  while (path && *path) {
    int length = (int)strcspn(path, ":");
    if (*path == '/' && snprintf(out, size, "%.*s/%s", length, path, name) < (int)size && access(out, X_OK) == 0)
      return true;
    path += length + (path[length] == ':');
  }
  return false;
}

/* What comes out of a pipe until its end, or until the time is up: then false. */
static bool read_answer(int fd, char *out, size_t size)
{
  double until = mv_clock_monotonic() + ASK_SECONDS;
  size_t length = 0;
  for (;;) {
    double left = until - mv_clock_monotonic();
    struct pollfd wait = {fd, POLLIN, 0};
    int ready = left > 0 ? poll(&wait, 1, (int)(1000 * left) + 1) : 0;
    if (ready == 0)
      return false;
    ssize_t n = ready < 0 ? -1 : read(fd, out + length, size - 1 - length);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return false;
    length += (size_t)n;
    out[length] = 0;
    if (n == 0 || length == size - 1)
      return true;
  }
}

/* First line that a program prints, if it ends well and in time. */
static bool ask_program(char *const *argv, char *out, size_t size)
{
  int end[2], status = -1;
  pid_t child;
  if (pipe(end) != 0)
    return false;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, end[1], STDOUT_FILENO);
  posix_spawn_file_actions_addclose(&actions, end[0]);
  posix_spawn_file_actions_addclose(&actions, end[1]);
  bool fine = posix_spawn(&child, argv[0], &actions, NULL, argv, environ) == 0;
  posix_spawn_file_actions_destroy(&actions);
  close(end[1]);
  if (fine) {
    fine = read_answer(end[0], out, size);
    if (!fine)
      kill(child, SIGKILL);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
      ;
    fine = fine && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    out[strcspn(out, "\n")] = 0;
  }
  close(end[0]);
  return fine;
}

/* Seconds that this SLURM job has left; INFINITY: no SLURM job, no limit, or nobody knows. */
static double slurm_left(void)
{
  const char *job = getenv("SLURM_JOB_ID"), *until = getenv("SLURM_JOB_END_TIME");
  char program[4096], answer[256] = "", *end;
  double left;
  long long at = until ? strtoll(until, &end, 10) : 0;
  if (at > 0 && *end == 0)
    return (double)at - mv_clock_wall();
  if (!job || !*job || job[strspn(job, "0123456789_")] || !find_program("squeue", program, sizeof program))
    return INFINITY;
  char *const argv[] = {program, "-h", "-j", (char *)job, "-o", "%L", NULL};
  if (ask_program(argv, answer, sizeof answer) && mv_duration_read(answer + strspn(answer, " "), &left))
    return left;
  return INFINITY;
}

/* --- the deadline ------------------------------------------------------------------------------------------------ */

void mv_deadline_start(struct mv_deadline *d, double begin, double limit)
{
  *d = (struct mv_deadline){.at = begin + limit};
  if (isfinite(limit))
    return;
  double left = slurm_left();
  if (isfinite(left))
    d->at = mv_clock_monotonic() + left - fmin(MARGIN_SECONDS, fmax(0, MARGIN_SHARE * left));
}

void mv_deadline_free(struct mv_deadline *d) { free(d->sort); }

bool mv_deadline_admit(struct mv_deadline *d, double predicted)
{
  double longest = 0, pace = d->measured_sum > d->predicted_sum ? d->measured_sum / d->predicted_sum : 1;
  int at = d->sorts;
  for (int k = 0; k < d->sorts; k++) {
    longest = fmax(longest, d->sort[k].predicted);
    at = d->sort[k].predicted == predicted ? k : at;
  }
  if (mv_clock_monotonic() + CAUTION * pace * (longest + predicted) > d->at)
    return false;
  if (at == d->capacity) {
    d->capacity = 2 * d->capacity + 16;
    d->sort = mv_memory_grow(d->sort, (size_t)d->capacity, sizeof *d->sort);
  }
  if (at == d->sorts)
    d->sort[d->sorts++] = (struct mv_under_way){predicted, 0};
  d->sort[at].units++;
  return true;
}

void mv_deadline_back(struct mv_deadline *d, double predicted, double measured)
{
  d->predicted_sum += predicted;
  d->measured_sum += measured;
  for (int k = 0; k < d->sorts; k++)
    if (d->sort[k].predicted == predicted) {
      if (--d->sort[k].units == 0)
        d->sort[k] = d->sort[--d->sorts];
      return;
    }
}
