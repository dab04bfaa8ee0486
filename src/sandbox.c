/* sandbox.c - see sandbox.h.
 *
 * libhdf5 can crash or loop on a damaged file (its own reports list many such files). Commands that read data files
 * therefore work in a child, which dies with its parent: no core dump, bounded memory, and bounded processor time for
 * every piece of reading. A crash there is a fact about the file, told in one line; the parent lives on.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "metavar/sandbox.h"
#include "metavar/store.h"

#ifdef __SANITIZE_ADDRESS__ /* gcc */
#define MV_ADDRESS_SANITIZER
#elif defined(__has_feature) /* clang */
#if __has_feature(address_sanitizer)
#define MV_ADDRESS_SANITIZER
#endif
#endif

#define MEMORY_MAX ((rlim_t)16 << 30) /* address space of the child */

static bool inside;

void mv_sandbox_budget(int seconds)
{
  if (!inside)
    return;
  struct itimerval budget = {.it_value.tv_sec = seconds};
  setitimer(ITIMER_PROF, &budget, NULL); /* SIGPROF ends the process; nobody catches it */
}

static void enter(pid_t parent)
{
  inside = true;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) /* it has died already */
    _exit(MV_EXIT_INTERNAL);
  setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
#ifndef MV_ADDRESS_SANITIZER /* which reserves terabytes of address space */
  struct rlimit memory;
  if (getrlimit(RLIMIT_AS, &memory) == 0 && (memory.rlim_max == RLIM_INFINITY || memory.rlim_max > MEMORY_MAX))
    setrlimit(RLIMIT_AS, &(struct rlimit){MEMORY_MAX, MEMORY_MAX});
#endif
}

static int verdict(const char *verb, int status)
{
  if (WIFEXITED(status))
    return WEXITSTATUS(status);
  int number = WTERMSIG(status);
  if (number == SIGINT || number == SIGTERM || number == SIGKILL || number == SIGHUP || number == SIGPIPE)
    return 128 + number;
  fprintf(stderr,
          "metavar %s: reading ended in %s; the file is damaged, or not what it seems: compute the run again, or fetch "
          "the file again\n",
          verb, number == SIGPROF ? "an endless loop" : strsignal(number));
  return MV_EXIT_DATA;
}

int mv_sandbox_run(const char *verb, int (*work)(const void *argument), const void *argument)
{
  fflush(NULL);
  pid_t parent = getpid(), child = fork();
  if (child == 0) {
    enter(parent);
    int code = work(argument);
    bool failed = fflush(stdout) != 0 && errno != EPIPE;
    _exit(failed && code == MV_EXIT_OK ? MV_EXIT_IO : code);
  }
  if (child < 0) {
    fprintf(stderr, "metavar %s: cannot start a child process: %s\n", verb, strerror(errno));
    return MV_EXIT_INTERNAL;
  }
  int status;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR)
      return MV_EXIT_INTERNAL;
  return verdict(verb, status);
}
