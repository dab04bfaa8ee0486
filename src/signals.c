/* signals.c - being asked to leave.
 *
 * SIGUSR1 is how batch systems say that time is nearly up; SIGTERM may follow and still gives time. Who ends a job may
 * say so twice within a moment (SLURM's daemon to every process and mpirun to every rank), so a second SIGTERM or SIGINT
 * means "at once" only when it comes later than that.
 */
#define _GNU_SOURCE
#include "metavar/signals.h"

#include <signal.h>
#include <stddef.h>

#include "metavar/clock.h"

#define ECHO_SECONDS 1.0

static volatile sig_atomic_t noted, asked;
static volatile double asked_at;

static void on_signal(int number)
{
  double now = mv_clock_monotonic(); /* clock_gettime may be called here */
  if (!noted) {
    noted = number;
  }
  if (number == SIGUSR1) {
    return;
  }
  if (!asked) {
    asked_at = now;
    asked = 1;
  } else if (now - asked_at >= ECHO_SECONDS) {
    signal(number, SIG_DFL);
    raise(number); /* arrives when this handler returns */
  }
}

void mv_signals_catch(void)
{
  static const int numbers[] = {SIGTERM, SIGINT, SIGUSR1};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
      sigaddset(&action.sa_mask, numbers[k]); /* one at a time */
    }
    sigaction(numbers[i], &action, NULL);
  }
}

int mv_signals_noted(void) { return noted; }
