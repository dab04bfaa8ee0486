/* draft.c - output files that appear whole or not at all: written under a temporary name, checked, synced, renamed. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "metavar/analysis.h"

#define LOST (-1) /* the reason of a failed write is gone by the time the stream is checked */

static int give_up(struct mv_draft *d, const char *what, int error)
{
  fprintf(stderr, "metavar: cannot %s %s: %s\n", what, d->final,
          error == LOST ? "an earlier write failed; is the disk full or over quota?" : strerror(error));
  unlink(d->temporary);
  free(d->temporary);
  free(d->final);
  return MV_EXIT_IO;
}

int mv_draft_open(struct mv_draft *d, const char *dir, const char *name)
{
  if (asprintf(&d->temporary, "%s/.%s.%ld", dir, name, (long)getpid()) < 0 ||
      asprintf(&d->final, "%s/%s", dir, name) < 0)
    abort();
  d->file = fopen(d->temporary, "we");
  return d->file ? MV_EXIT_OK : give_up(d, "create", errno);
}

void mv_draft_drop(struct mv_draft *d)
{
  fclose(d->file);
  unlink(d->temporary);
  free(d->temporary);
  free(d->final);
}

int mv_draft_commit(struct mv_draft *d)
{
  int error = ferror(d->file) ? LOST : 0;
  if (!error && (fflush(d->file) || fsync(fileno(d->file))))
    error = errno;
  if (fclose(d->file) && !error)
    error = errno;
  if (!error && rename(d->temporary, d->final))
    error = errno;
  if (error)
    return give_up(d, "write", error);
  free(d->temporary);
  free(d->final);
  return MV_EXIT_OK;
}
