/* store_kill.c - named places where the process that writes a run can be made to die, for the tests of crash safety.
 *
 * METAVAR_KILL_AT=FILE.STEP[:N] raises SIGKILL when the step is passed for the N-th time (1 if not given);
 * METAVAR_KILL_AT=list prints all names. Files are those of a run directory, "shard", "carried" and "attempt" any one of
 * theirs.
 * Steps of a file that appears under its name when it is whole:
 *   begun    the temporary file is there, empty (results.h5: without what comes from shards)
 *   half     half of its bytes are written (results.h5: the N-th shard is copied)
 *   written  all of them are
 *   synced   they are durable
 *   renamed  it has its name
 *   durable  the name is durable
 * The manifest and the rounds grow: a line is half there, written, synced; "made" is their birth and that of the folders.
 */
#include "metavar/store_internal.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEPS(file) file ".begun", file ".half", file ".written", file ".synced", file ".renamed", file ".durable"

static const char *const points[] = {"run.made",        "run.locked",        "shards.made",
                                     "attempts.made",   STEPS("README.txt"), STEPS("checksums.xxh128"),
                                     STEPS("job.yaml"), "manifest.made",     STEPS("resolved.yaml"),
                                     STEPS("attempt"),  STEPS("earlier"),    STEPS("shard"),
                                     STEPS("carried"),  "manifest.half",     "manifest.written",
                                     "manifest.synced", "rounds.made",       "rounds.half",
                                     "rounds.written",  "rounds.synced",     STEPS("results.h5")};

static char wanted[64]; /* "" : none */
static long passages;   /* until then */

static bool is_point(const char *name)
{
  for (size_t k = 0; k < sizeof points / sizeof *points; k++)
    if (strcmp(points[k], name) == 0)
      return true;
  return false;
}

int mv_kill_start(void)
{
  const char *text = getenv("METAVAR_KILL_AT");
  if (!text)
    return MV_EXIT_OK;
  size_t length = strcspn(text, ":");
  char *end = "";
  snprintf(wanted, sizeof wanted, "%.*s", length < sizeof wanted ? (int)length : 0, text);
  passages = text[length] == ':' ? strtol(text + length + 1, &end, 10) : 1;
  if (is_point(wanted) && passages > 0 && *end == 0)
    return MV_EXIT_OK;
  if (strcmp(text, "list") != 0)
    mv_store_say("METAVAR_KILL_AT=%s: must be POINT or POINT:N, N at least 1; METAVAR_KILL_AT=list names the points",
                 text);
  for (size_t k = 0; k < sizeof points / sizeof *points && strcmp(text, "list") == 0; k++)
    puts(points[k]);
  return MV_EXIT_USAGE;
}

/* Whether the process is to die here and now. */
static bool is_due(const char *file, const char *step)
{
  char name[sizeof wanted];
  if (*wanted == 0)
    return false;
  if (strncmp(file, "shards/", 7) == 0)
    file = "shard";
  else if (strncmp(file, "carried/", 8) == 0)
    file = "carried";
  else if (strncmp(file, "attempts/", 9) == 0)
    file = "attempt";
  else if (strncmp(file, "resolved-", 9) == 0)
    file = "earlier";
  snprintf(name, sizeof name, "%s.%s", file, step);
  assert(is_point(name));
  return strcmp(name, wanted) == 0 && --passages == 0;
}

void mv_kill_here(const char *file, const char *step)
{
  if (is_due(file, step))
    raise(SIGKILL);
}

void mv_kill_half(int fd, const void *bytes, size_t size, const char *file)
{
  if (is_due(file, "half") && write(fd, bytes, size / 2) >= 0)
    raise(SIGKILL);
}
