/* main.c - the table of verbs, and nothing else. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "metavar/comm.h"
#include "metavar/command.h"
#include "metavar/sandbox.h"
#include "metavar/text.h"
#include "metavar/version.h"

static const struct mv_command *const commands[] = {
    &mv_command_run,      &mv_command_train,  &mv_command_plan,    &mv_command_status, &mv_command_list,
    &mv_command_describe, &mv_command_check,  &mv_command_analyze, &mv_command_plot,   &mv_command_sbatch,
    &mv_command_stop,     &mv_command_verify, &mv_command_replay,  &mv_command_export, &mv_command_report,
};
#define COMMANDS (sizeof commands / sizeof *commands)

static void print_help(FILE *out)
{
  fprintf(out, "usage: metavar VERB [arguments]\n\n");
  mv_text_wrap(out, 0, 0, "Measures the bias and variance of meta-gradient estimators.");
  fprintf(out, "\n");
  for (size_t i = 0; i < COMMANDS; i++) {
    mv_text_wrap(out, fprintf(out, "  %-9s ", commands[i]->name), 12, commands[i]->summary);
  }
  fprintf(out, "\nmetavar VERB --help tells more; metavar --version says what this binary is.\n");
}

struct call {
  const struct mv_command *command;
  const struct mv_args *args;
};

static int run_guarded(const void *argument)
{
  const struct call *call = argument;
  return call->command->run(call->args);
}

static int dispatch(int argc, char **argv)
{
  const char *verb = argc > 1 ? argv[1] : "";
  if (!strcmp(verb, "--version") || !strcmp(verb, "-V")) {
    mv_version_print(stdout);
    return MV_EXIT_OK;
  }
  if (!strcmp(verb, "--help") || !strcmp(verb, "-h") || !strcmp(verb, "help")) {
    print_help(stdout);
    return MV_EXIT_OK;
  }
  for (size_t i = 0; i < COMMANDS; i++) {
    if (!strcmp(commands[i]->name, verb)) {
      int exit_code;
      struct mv_args *args = mv_args_parse(commands[i], argc - 1, argv + 1, &exit_code);
      if (args) {
        exit_code = commands[i]->reads ? mv_sandbox_run(verb, run_guarded, &(struct call){commands[i], args})
                                       : commands[i]->run(args);
        mv_args_free(args);
      }
      return exit_code;
    }
  }
  if (mv_comm_speaks()) {
    if (*verb) {
      fprintf(stderr, "metavar: unknown verb %s; see metavar --help\n", verb);
    } else {
      print_help(stderr);
    }
  }
  return MV_EXIT_USAGE;
}

/* A standard stream that the caller has closed stays useless, but keeps its number: else the next file to be opened, the
 * manifest say, would get it, and every message. */
static void hold_streams(void)
{
  int fd = open("/dev/null", O_RDONLY);
  while (fd >= 0 && fd <= STDERR_FILENO) {
    fd = open("/dev/null", O_RDONLY);
  }
  if (fd >= 0) {
    close(fd);
  }
}

int main(int argc, char **argv)
{
  hold_streams();
  signal(SIGPIPE, SIG_IGN); /* a reader that went away ends no run */
  signal(SIGXFSZ, SIG_IGN); /* writing beyond `ulimit -f` fails and is told */
  int exit_code = dispatch(argc, argv);
  int failed = ferror(stdout) | fclose(stdout);
  if (failed && errno != EPIPE && exit_code == MV_EXIT_OK) {
    fprintf(stderr, "metavar: cannot write to standard output: %s\n", strerror(errno));
    exit_code = MV_EXIT_IO;
  }
  return exit_code;
}
