/* store_stop.c - asking a run to stop, from another process or another machine.
 *
 * Whoever wants it makes RUN/stop.request; the process that works on the run looks for it, commits and leaves. The file
 * is removed by that process: when it leaves, and when it begins, because a request that an earlier one did not live to
 * see is not meant for it.
 */
#include "metavar/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REQUEST "stop.request"

/* An open run directory; -1 after a message. */
static int open_run(const char *path)
{
  int run = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (run < 0)
    mv_store_say("%s: %s", path, strerror(errno));
  else if (faccessat(run, "resolved.yaml", F_OK, 0) != 0) {
    mv_store_say("%s: not a run of metavar, or not readable (resolved.yaml: %s)", path, strerror(errno));
    close(run);
    run = -1;
  }
  return run;
}

int mv_store_holder(const char *path, struct mv_holder *holder)
{
  int run = open_run(path);
  if (run < 0)
    return MV_EXIT_DATA;
  holder->held = mv_lock_held(run, holder->name, sizeof holder->name);
  close(run);
  return MV_EXIT_OK;
}

int mv_store_ask_stop(const char *path)
{
  int run = open_run(path);
  if (run < 0)
    return MV_EXIT_DATA;
  int fd = openat(run, REQUEST, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666), code = MV_EXIT_OK;
  if (fd < 0 && errno != EEXIST) {
    mv_store_say("%s/" REQUEST ": cannot be made: %s; send SIGTERM to the process that works on the run", path,
                 strerror(errno));
    code = MV_EXIT_IO;
  }
  if (fd >= 0)
    close(fd);
  close(run);
  return code;
}

/* A network file system may remember for a while that the file is not there; opening its folder makes it look. */
bool mv_stop_requested(int run)
{
  struct stat info;
  int folder = openat(run, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  bool there = folder >= 0 && fstatat(folder, REQUEST, &info, AT_SYMLINK_NOFOLLOW) == 0;
  if (folder >= 0)
    close(folder);
  return there;
}

void mv_stop_clear(int run) { unlinkat(run, REQUEST, 0); }
