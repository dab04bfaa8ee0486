/* sbatch.c - `metavar sbatch`: a batch script for SLURM, printed or submitted.
 *
 * The script is slurm/metavar.sbatch, which is part of this program: only the lines above its marker are made here, with
 * the options of sbatch as #SBATCH comments and the job, the run and the settings as shell words. Text that sbatch itself
 * reads is restricted to characters that mean nothing to any parser; all other text is single-quoted. No shell runs here:
 * sbatch is started with the same options as arguments, which also take precedence over SBATCH_ variables.
 */
#include <assert.h>
#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "metavar/command.h"
#include "metavar/deadline.h"
#include "metavar/memory.h"

/* The file as one string; paths are relative to the top of the source tree, where make runs. */
__asm__(".section .rodata\n"
        ".global mv_sbatch_script\n"
        "mv_sbatch_script:\n"
        ".incbin \"slurm/metavar.sbatch\"\n"
        ".byte 0\n"
        ".previous\n");
extern const char mv_sbatch_script[];

#define MARKER     "# ---- `metavar sbatch` replaces everything above this line ----\n"
#define WORD_MAX   64
#define OPTION_MAX (WORD_MAX + 32)
#define OPTIONS    10

extern char **environ;

struct script {
  const char *job, *run; /* as given */
  bool trains;           /* for metavar train */
  const char *const *overrides;
  int override_count;
  char options[OPTIONS][OPTION_MAX]; /* of sbatch */
  int option_count;
};

/* ---- the options of sbatch ------------------------------------------------------------------------------- */

static void add_option(struct script *s, const char *format, ...)
{
  va_list list;
  va_start(list, format);
  vsnprintf(s->options[s->option_count++], OPTION_MAX, format, list);
  va_end(list);
}

/* Whether the value of an option is absent or made of at most WORD_MAX allowed characters; a mistake is told. */
static bool word_is_plain(const char *option, const char *value)
{
  static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  if (!value || (*value && *value != '-' && strlen(value) <= WORD_MAX && strspn(value, allowed) == strlen(value))) {
    return true;
  }
  fprintf(stderr,
          "metavar sbatch: the value of --%s must be 1 to %d of the characters A-Z a-z 0-9 . _ - and not begin "
          "with -\n",
          option, WORD_MAX);
  return false;
}

/* A count from 1 to a million; *count is kept when the option is absent. */
static bool read_count(const struct mv_args *args, const char *option, long *count)
{
  const char *value = mv_args_value(args, option);
  if (!value) {
    return true;
  }
  size_t digits = strspn(value, "0123456789");
  *count = digits > 0 && digits <= 7 && !value[digits] ? strtol(value, NULL, 10) : 0;
  if (*count >= 1 && *count <= 1000000) {
    return true;
  }
  fprintf(stderr, "metavar sbatch: --%s must be a number from 1 to 1000000\n", option);
  return false;
}

/* Seconds of a time limit as SLURM writes it: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S. 0 if it is none. */
static double read_time(const char *text)
{
  size_t digits = strspn(text, "0123456789"), length = strlen(text);
  double seconds = 0;
  if (digits == length) {
    return length <= 9 ? 60 * strtod(text, NULL) : 0;
  }
  return strspn(text, "0123456789:-") == length && mv_duration_read(text, &seconds) ? seconds : 0;
}

/* Reads what concerns sbatch. `name` is the job's own. */
static bool read_options(struct script *s, const struct mv_args *args, const char *name)
{
  static const char *const words[] = {"partition", "account"};
  const char *given = mv_args_value(args, "name"), *time = mv_args_value(args, "time");
  long nodes = 0, ranks = 0;
  name = given ? given : name;
  time = time ? time : "1:00:00";
  if (!word_is_plain("name", name) || !read_count(args, "nodes", &nodes) || !read_count(args, "ntasks", &ranks)) {
    return false;
  }
  double seconds = read_time(time);
  if (seconds < 60) {
    fprintf(stderr, "metavar sbatch: --time must be a minute or more, written M, H:M:S, D-H or D-H:M:S, as in 90 or "
                    "12:00:00\n");
    return false;
  }
  ranks = ranks ? ranks : nodes > 4 ? nodes : 4;
  if (ranks < nodes) {
    fprintf(stderr, "metavar sbatch: %ld ranks cannot use %ld nodes; give --ntasks %ld or more\n", ranks, nodes, nodes);
    return false;
  }
  add_option(s, "--job-name=%s", name);
  add_option(s, "--ntasks=%ld", ranks);
  if (nodes) {
    add_option(s, "--nodes=%ld", nodes);
  }
  add_option(s, "--time=%s", time);
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    const char *value = mv_args_value(args, words[i]);
    if (!word_is_plain(words[i], value)) {
      return false;
    }
    if (value) {
      add_option(s, "--%s=%s", words[i], value);
    }
  }
  /* SLURM looks at its clocks every half minute or so: the warning may come a minute early. */
  add_option(s, "--signal=B:USR1@%.0f", seconds < 144 ? floor(seconds * 5 / 6) : 120);
  add_option(s, "--requeue");
  add_option(s, "--open-mode=append");
  add_option(s, "--output=%%x-%%j.log");
  return true;
}

/* ---- the text ---------------------------------------------------------------------------------------------- */

/* One word of the shell, whatever the bytes. */
static void print_quoted(FILE *out, const char *text)
{
  putc('\'', out);
  for (; *text; text++) {
    if (*text == '\'') {
      fputs("'\\''", out);
    } else {
      putc(*text, out);
    }
  }
  putc('\'', out);
}

/* An absolute path as one word of the shell, whether it exists or not: the script may be submitted anywhere. */
static void print_path(FILE *out, const char *path)
{
  char *there = realpath(path, NULL);
  if (there) {
    print_quoted(out, there);
  } else if (*path == '/') {
    print_quoted(out, path);
  } else {
    char *here = getcwd(NULL, 0);
    char *joined = mv_memory_take(strlen(here ? here : "") + strlen(path) + 2, 1);
    sprintf(joined, "%s%s%s", here ? here : "", here ? "/" : "", path);
    print_quoted(out, joined);
    free(joined);
    free(here);
  }
  free(there);
}

static void print_script(FILE *out, const struct script *s)
{
  fputs("#!/bin/bash\n", out);
  for (int i = 0; i < s->option_count; i++) {
    fprintf(out, "#SBATCH %s\n", s->options[i]);
  }
  fputs("\n# Made by metavar sbatch; submit it again whenever the run should go on.\nset -u\nMETAVAR=", out);
  print_path(out, "/proc/self/exe");
  fprintf(out, "\nMETAVAR_VERB=%s\nset -- ", s->trains ? "train" : "run");
  print_path(out, s->job);
  putc(' ', out);
  print_path(out, s->run);
  for (int i = 0; i < s->override_count; i++) {
    fputs(" --set ", out);
    print_quoted(out, s->overrides[i]);
  }
  putc('\n', out);
  const char *body = strstr(mv_sbatch_script, MARKER);
  assert(body && "slurm/metavar.sbatch has lost its marker");
  fputs(body + strlen(MARKER), out);
}

/* ---- submitting ------------------------------------------------------------------------------------------ */

/* Runs sbatch with the script as its standard input; it prints the job id. Exit code. */
static int submit(const struct script *s)
{
  FILE *file = tmpfile();
  if (file) {
    print_script(file, s);
  }
  if (!file || fflush(file) || lseek(fileno(file), 0, SEEK_SET) != 0) {
    fprintf(stderr, "metavar sbatch: cannot write a temporary file: %s\n", strerror(errno));
    return MV_EXIT_IO;
  }
  char *argv[OPTIONS + 3] = {"sbatch", "--parsable"};
  for (int i = 0; i < s->option_count; i++) {
    argv[i + 2] = (char *)s->options[i];
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, fileno(file), STDIN_FILENO);
  pid_t pid;
  int error = posix_spawnp(&pid, "sbatch", &actions, NULL, argv, environ), status = 0;
  posix_spawn_file_actions_destroy(&actions);
  if (!error) {
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
  }
  fclose(file);
  if (error) {
    fprintf(stderr,
            "metavar sbatch: cannot start sbatch: %s; is this a login node of a SLURM cluster? Without --submit "
            "the script is printed\n",
            strerror(error));
    return MV_EXIT_FAILED;
  }
  if (status) {
    fprintf(stderr, "metavar sbatch: sbatch did not take the job; its message is above\n");
    return MV_EXIT_FAILED;
  }
  return MV_EXIT_OK;
}

/* ---- the command ------------------------------------------------------------------------------------------- */

static int run(const struct mv_args *args)
{
  struct script script = {.job = mv_args_at(args, 0), .run = mv_args_value(args, "output")};
  if (!script.run || !*script.run) {
    fprintf(stderr, "metavar sbatch: where to? say -o RUN, the directory that will hold the run\n");
    return MV_EXIT_USAGE;
  }
  script.override_count = mv_args_values(args, "set", &script.overrides);
  struct mv_job *job = mv_job_read(script.job, script.overrides, script.override_count, mv_kernel_best(), stderr);
  if (!job) {
    return MV_EXIT_JOB;
  }
  script.trains = job->train.updates > 0;
  bool fine = read_options(&script, args, job->name);
  mv_job_free(job);
  if (!fine) {
    return MV_EXIT_USAGE;
  }
  if (mv_args_value(args, "submit")) {
    return submit(&script);
  }
  print_script(stdout, &script);
  return MV_EXIT_OK;
}

const struct mv_command mv_command_sbatch = {
    .name = "sbatch",
    .positional = "JOB",
    .least = 1,
    .most = 1,
    .summary = "print a SLURM batch script for a job, or submit it",
    .doc =
        "Checks the job file JOB and prints a batch script that computes it into the run directory RUN, goes on where "
        "an earlier attempt stopped, and queues itself again when time is up or it was preempted, until all is done. "
        "With --submit it gives the script to sbatch and prints the job id instead. JOB and RUN are made absolute.",
    .options =
        (const struct mv_option[]){
            {"output", 'o', "RUN", "the run directory, created if it is not there"},
            {"ntasks", 'n', "N", "ranks (default 4, or one on each of more nodes)"},
            {"nodes", 'N', "N", "nodes (default: as SLURM places the ranks)"},
            {"time", 't', "TIME", "time limit of one attempt, as SLURM writes it (default 1:00:00)"},
            {"partition", 'p', "NAME", "partition"},
            {"account", 'A', "NAME", "account"},
            {"name", 'J', "NAME", "name of the SLURM job (default: the job file's name)"},
            {"set", 's', "KEY=VALUE", "replace a setting of the job file, as in seed=7; may be repeated"},
            {"submit", 0, NULL, "submit the script"},
            {0}},
    .run = run,
};
