/* stop.c - `metavar stop`: asks the process that works on a run to store what is done and leave; from any machine that
 * sees the run directory. */
#include <stdio.h>
#include <unistd.h>

#include "metavar/command.h"

#define LOOK_MICROSECONDS 100000

/* Until nobody works on the run. Exit code. */
static int wait_for_end(const char *run)
{
  struct mv_holder holder = {.held = true};
  int exit_code = MV_EXIT_OK;
  while (exit_code == MV_EXIT_OK && holder.held) {
    usleep(LOOK_MICROSECONDS);
    exit_code = mv_store_holder(run, &holder);
  }
  return exit_code;
}

static int run(const struct mv_args *args)
{
  const char *directory = mv_args_at(args, 0);
  struct mv_holder holder;
  int exit_code = mv_store_holder(directory, &holder);
  if (exit_code != MV_EXIT_OK) {
    return exit_code;
  }
  if (!holder.held) {
    printf("nobody works on %s\n", directory);
    return MV_EXIT_OK;
  }
  exit_code = mv_store_ask_stop(directory);
  if (exit_code == MV_EXIT_OK) {
    printf("asked to stop: %s\n", *holder.name ? holder.name : "the process that works on the run");
    fflush(stdout);
    if (mv_args_value(args, "wait")) {
      exit_code = wait_for_end(directory);
    }
  }
  return exit_code;
}

const struct mv_command mv_command_stop = {
    .name = "stop",
    .positional = "RUN",
    .least = 1,
    .most = 1,
    .summary = "ask a run to store what is done and leave",
    .doc =
        "Asks the process that works on the run directory RUN, on whatever machine, to store what is done and leave "
        "with exit code 75. It looks twice a second; work units that are under way are finished first. Says who that "
        "is, or that nobody works on the run, which is no mistake (exit code 0).",
    .options = (const struct mv_option[]){{"wait", 'w', NULL, "come back when nobody works on the run any more"}, {0}},
    .run = run,
};
