/* args.c - the command line of one verb, from the table that also makes its --help. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metavar/command.h"
#include "metavar/comm.h"
#include "metavar/memory.h"
#include "metavar/text.h"

struct given { /* one option */
  int count;
  const char **values; /* [count], in order; "" for a switch */
};

struct mv_args {
  const struct mv_command *command;
  int count;
  char **at;           /* [count] positional arguments, in argv */
  struct given *given; /* [options] */
};

static int option_count(const struct mv_command *command)
{
  int n = 0;
  while (command->options && command->options[n].name) {
    n++;
  }
  return n;
}

static const struct given *find(const struct mv_args *args, const char *option)
{
  int n = option_count(args->command);
  for (int i = 0; i < n; i++) {
    if (!strcmp(args->command->options[i].name, option)) {
      return &args->given[i];
    }
  }
  fprintf(stderr, "metavar: the table of %s has no option %s\n", args->command->name, option);
  abort();
}

const char *mv_args_value(const struct mv_args *args, const char *option)
{
  const struct given *given = find(args, option);
  return given->count ? given->values[given->count - 1] : NULL;
}

int mv_args_values(const struct mv_args *args, const char *option, const char *const **out)
{
  const struct given *given = find(args, option);
  *out = given->values;
  return given->count;
}

int mv_args_count(const struct mv_args *args) { return args->count; }

const char *mv_args_at(const struct mv_args *args, int index) { return index < args->count ? args->at[index] : NULL; }

void mv_args_free(struct mv_args *args)
{
  if (!args) {
    return;
  }
  int n = option_count(args->command);
  for (int i = 0; i < n; i++) {
    free(args->given[i].values);
  }
  free(args->given);
  free(args);
}

static void print_option(char letter, const char *name, const char *argument, const char *doc)
{
  int at = letter ? printf("  -%c, --%s", letter, name) : printf("      --%s", name);
  if (argument) {
    at += printf(" %s", argument);
  }
  mv_text_wrap(stdout, at + printf("  "), 30, doc);
}

static void print_help(const struct mv_command *command)
{
  const char *positional = command->positional ? command->positional : "";
  printf("usage: metavar %s%s%s [options]\n\n", command->name, *positional ? " " : "", positional);
  mv_text_wrap(stdout, 0, 0, command->doc);
  printf("\noptions:\n");
  for (const struct mv_option *o = command->options; o && o->name; o++) {
    print_option(o->letter, o->name, o->argument, o->doc);
  }
  print_option('h', "help", NULL, "show this text");
}

/* Tells a mistake once, whatever the number of ranks. */
static void complain(const struct mv_command *command, const char *what, const char *which)
{
  if (mv_comm_speaks()) {
    fprintf(stderr, "metavar %s: %s%s%s; see metavar %s --help\n", command->name, what, which ? " " : "",
            which ? which : "", command->name);
  }
}

#define FIRST_OPTION 256 /* getopt's value of options[0]; letters lie below */

static struct option *long_options(const struct mv_command *command, char *letters)
{
  int n = option_count(command);
  struct option *table = mv_memory_take((size_t)n + 2, sizeof *table);
  *letters++ = ':'; /* a missing argument is told from an unknown option */
  for (int i = 0; i < n; i++) {
    const struct mv_option *o = &command->options[i];
    table[i] = (struct option){o->name, o->argument ? required_argument : no_argument, NULL, FIRST_OPTION + i};
    if (o->letter) {
      *letters++ = o->letter;
      *letters = ':';
      letters += o->argument != NULL;
    }
  }
  table[n] = (struct option){"help", no_argument, NULL, 'h'};
  strcpy(letters, "h");
  return table;
}

/* Index of the option that getopt has found, -1 for another value. */
static int option_index(const struct mv_command *command, int found)
{
  int n = option_count(command);
  if (found >= FIRST_OPTION) {
    return found - FIRST_OPTION;
  }
  for (int i = 0; i < n; i++) {
    if (command->options[i].letter == found) {
      return i;
    }
  }
  return -1;
}

/* Reads the options; false when there is nothing to run. */
static bool parse_options(struct mv_args *args, int argc, char **argv, const struct option *table, const char *letters,
                          int *exit_code)
{
  optind = 0; /* GNU: start afresh */
  opterr = 0;
  for (int found; (found = getopt_long(argc, argv, letters, table, NULL)) != -1;) {
    int i = option_index(args->command, found);
    if (i >= 0) {
      struct given *given = &args->given[i];
      given->values = mv_memory_grow(given->values, (size_t)given->count + 1, sizeof *given->values);
      given->values[given->count++] = args->command->options[i].argument ? optarg : "";
    } else if (found == 'h') {
      if (mv_comm_speaks()) {
        print_help(args->command);
      }
      *exit_code = MV_EXIT_OK;
      return false;
    } else {
      complain(args->command, found == ':' ? "this option needs a value:" : "unknown or ambiguous option",
               argv[optind - 1]);
      return false;
    }
  }
  args->count = argc - optind;
  args->at = argv + optind;
  if (args->count < args->command->least) {
    complain(args->command, "missing argument:", args->command->positional);
  } else if (args->count > args->command->most) {
    complain(args->command, "too many arguments:", args->at[args->command->most]);
  } else {
    return true;
  }
  return false;
}

struct mv_args *mv_args_parse(const struct mv_command *command, int argc, char **argv, int *exit_code)
{
  int n = option_count(command);
  struct mv_args *args = mv_memory_take(1, sizeof *args);
  args->command = command;
  args->given = mv_memory_take((size_t)n, sizeof *args->given);
  char *letters = mv_memory_take(2 * (size_t)n + 3, 1);
  struct option *table = long_options(command, letters);
  *exit_code = MV_EXIT_USAGE;
  bool ok = parse_options(args, argc, argv, table, letters, exit_code);
  free(table);
  free(letters);
  if (!ok) {
    mv_args_free(args);
    return NULL;
  }
  return args;
}
