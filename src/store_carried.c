/* store_carried.c - what the lifetimes of a training carry from update to update (train: {lifetimes: carried}).
 *
 *   RUN/carried/000012-3.bin   states of all lifetimes of curve (cell) 3 behind the last update of it that shard 12 holds
 *
 * The file is durable before the manifest names it, in the line of its shard, with its digest. So it belongs to updates that
 * count, and who goes on from there comes to the same bits. Of every cell the last two are kept: should the last be damaged,
 * or the shard that it belongs to, the curve goes on from the one before; else (an earlier shard is lost, or both) it is
 * computed again from its start.
 */
#include "metavar/store_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "metavar/memory.h"

#define FOLDER "carried"
#define KEPT   2 /* of every cell */

void mv_carried_name(const struct mv_carried *c, char out[MV_CARRIED_NAME])
{
  snprintf(out, MV_CARRIED_NAME, FOLDER "/%06d-%lld.bin", c->shard, (long long)c->written);
}

bool mv_carried_folder(int run) { return mkdirat(run, FOLDER, 0777) == 0 ? fsync(run) == 0 : errno == EEXIST; }

/* The place of the one of this cell with the fewest updates, when there are too many; -1. */
static int64_t oldest(const struct mv_manifest *m, int64_t cell)
{
  int64_t found = -1, count = 0;
  for (int64_t k = 0; k < m->carried_count; k++)
    if (m->carried[k].cell == cell) {
      count++;
      found = found < 0 || m->carried[k].row <= m->carried[found].row ? k : found;
    }
  return count > KEPT ? found : -1;
}

static void forget(struct mv_manifest *m, int64_t k) { m->carried[k] = m->carried[--m->carried_count]; }

bool mv_carried_add(struct mv_manifest *m, const struct mv_carried *c, struct mv_carried *dropped)
{
  m->carried = mv_memory_grow(m->carried, (size_t)m->carried_count + 1, sizeof *m->carried);
  m->carried[m->carried_count++] = *c;
  int64_t k = oldest(m, c->cell);
  if (k < 0)
    return false;
  *dropped = m->carried[k];
  forget(m, k);
  return true;
}

int64_t mv_carried_last(const struct mv_manifest *m, int64_t cell)
{
  int64_t row = -1;
  for (int64_t k = 0; k < m->carried_count; k++)
    if (m->carried[k].cell == cell && m->carried[k].row > row)
      row = m->carried[k].row;
  return row;
}

/* Files that a killed process has left: written but not listed, or no longer of use. */
void mv_carried_sweep(int run, const struct mv_manifest *m)
{
  int fd = openat(run, FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *entries = fd < 0 ? NULL : fdopendir(fd);
  if (!entries) {
    if (fd >= 0)
      close(fd);
    return; /* nothing was carried */
  }
  for (struct dirent *entry; (entry = readdir(entries));) {
    char name[MV_CARRIED_NAME];
    bool wanted = *entry->d_name == '.';
    for (int64_t k = 0; k < m->carried_count && !wanted; k++) {
      mv_carried_name(&m->carried[k], name);
      wanted = strcmp(name + sizeof FOLDER, entry->d_name) == 0;
    }
    if (!wanted)
      unlinkat(fd, entry->d_name, 0);
  }
  closedir(entries);
}

const char *mv_carried_fault(int run, const struct mv_carried *c, void **state)
{
  char name[MV_CARRIED_NAME], hex[33];
  size_t size;
  mv_carried_name(c, name);
  char *bytes = mv_file_read(run, name, &size);
  if (!bytes)
    return strerror(errno);
  mv_bytes_digest(bytes, size, hex);
  if ((int64_t)size == c->bytes && strcmp(hex, c->xxh3) == 0) {
    *state = bytes;
    return NULL;
  }
  free(bytes);
  return "has changed since it was written";
}

/* The last one of a cell before update `limit`; -1. */
static int64_t find_last(const struct mv_manifest *m, int64_t cell, int64_t limit)
{
  int64_t found = -1;
  for (int64_t k = 0; k < m->carried_count; k++)
    if (m->carried[k].cell == cell && m->carried[k].row < limit &&
        (found < 0 || m->carried[k].row > m->carried[found].row))
      found = k;
  return found;
}

int64_t mv_carried_find(int run, const char *path, const struct mv_plan *plan, struct mv_manifest *m, int64_t cell,
                        int64_t limit, size_t bytes, void **state)
{
  char why[MV_CARRIED_NAME + 128] = "what its lifetimes carried is not listed", name[MV_CARRIED_NAME];
  const char *label = plan->job->entries[mv_plan_entry(plan, (int)cell)].label;
  int64_t k, row = -1;
  *state = NULL;
  while (!*state && (k = find_last(m, cell, limit)) >= 0) {
    const struct mv_carried *c = &m->carried[k];
    const char *fault = c->bytes == (int64_t)bytes ? mv_carried_fault(run, c, state) : "has the wrong size";
    row = *state ? c->row : -1;
    if (fault) {
      mv_carried_name(c, name);
      snprintf(why, sizeof why, "%s: %s", name, fault);
      forget(m, k);
    }
  }
  if (row + 1 < limit)
    mv_store_say("%s: curve %d of %s is computed again from update %lld on, to the same bits (%s)", path,
                 mv_plan_point(plan, (int)cell), label, (long long)row + 1, why);
  return row;
}
