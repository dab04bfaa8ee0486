/* script.c - verbs that draw: starts a Python script of analysis/ and waits for it. The interpreter is Debian's if it is
 * there, since that one has Debian's matplotlib; no shell is involved, and no bytecode is left beside the scripts. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "build_info.h"
#include "metavar/memory.h"
#include "metavar/script.h"

#define NO_PROGRAM 127 /* exit code of a child that could not start its program */

static char *find_script(const char *name)
{
  const char *dir = getenv("METAVAR_ANALYSIS_DIR");
  char *path;
  if (asprintf(&path, "%s/%s", dir && *dir ? dir : MV_ANALYSIS_DIR, name) < 0)
    abort();
  return path;
}

static char **append(char **argv, size_t *count, const char *text)
{
  argv = mv_memory_grow(argv, *count + 2, sizeof *argv);
  argv[*count] = strdup(text);
  argv[++*count] = NULL;
  return argv;
}

/* argv of the child: interpreter, script, --option=value as often as given, --, RUN. */
static char **make_argv(const char *python, const char *script, const struct mv_command *command,
                        const struct mv_args *args)
{
  size_t count = 0;
  char **argv = append(append(append(NULL, &count, python), &count, "-B"), &count, script);
  for (const struct mv_option *o = command->options; o && o->name; o++) {
    const char *const *values;
    int given = mv_args_values(args, o->name, &values);
    for (int k = 0; k < given; k++) {
      char *text;
      if (asprintf(&text, "--%s=%s", o->name, values[k]) < 0)
        abort();
      argv = append(argv, &count, text);
      free(text);
    }
  }
  return append(append(argv, &count, "--"), &count, mv_args_at(args, 0));
}

static int start(const char *verb, char **argv)
{
  int status;
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    execvp(argv[0], argv);
    _exit(NO_PROGRAM);
  }
  while (child > 0 && waitpid(child, &status, 0) < 0)
    if (errno != EINTR)
      child = -1;
  if (child < 0) {
    fprintf(stderr, "metavar: cannot start %s: %s\n", argv[0], strerror(errno));
    return MV_EXIT_INTERNAL;
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == NO_PROGRAM) {
    fprintf(stderr, "metavar: %s needs python3; install it (Debian: apt install python3-matplotlib)\n", verb);
    return MV_EXIT_FAILED;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : MV_EXIT_INTERNAL;
}

int mv_script_run(const char *name, const struct mv_command *command, const struct mv_args *args)
{
  int code = MV_EXIT_FAILED;
  char *script = find_script(name);
  if (access(script, R_OK)) {
    fprintf(stderr, "metavar: cannot read %s: %s; set METAVAR_ANALYSIS_DIR to the folder that holds it\n", script,
            strerror(errno));
  } else {
    const char *python = access("/usr/bin/python3", X_OK) == 0 ? "/usr/bin/python3" : "python3";
    char **argv = make_argv(python, script, command, args);
    code = start(command->name, argv);
    for (char **at = argv; *at; at++)
      free(*at);
    free(argv);
  }
  free(script);
  return code;
}
