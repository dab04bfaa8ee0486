/* store_lock.c - one process works on a run at a time.
 *
 * The lock is flock(2) on RUN/run.lock: the kernel frees it when its holder ends, however it ends, so there are no
 * stale locks, and it owes nothing to HDF5's own locks, which many users have switched off. The file says who holds it
 * or was the last to do so; it is never removed, for then two processes could lock two files of one name.
 */
#include "metavar/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "metavar/clock.h"

static void sign(int lock)
{
  char text[256], host[65] = "unknown", time[MV_TIME_TEXT];
  const char *slurm = getenv("SLURM_JOB_ID");
  gethostname(host, sizeof host - 1);
  mv_time_print(mv_clock_wall(), time);
  int length = snprintf(text, sizeof text, "host %s, pid %ld, %s%.32s%ssince %s\n", host, (long)getpid(),
                        slurm ? "SLURM job " : "", slurm ? slurm : "", slurm ? ", " : "", time);
  bool signed_ = ftruncate(lock, 0) == 0 && pwrite(lock, text, (size_t)length, 0) == length;
  (void)signed_; /* a full disk: the lock holds all the same */
}

/* What the holder wrote, up to the first character that is no plain text. */
static void read_holder(int lock, char *out, size_t size)
{
  ssize_t length = pread(lock, out, size - 1, 0), k = 0;
  while (k < length && out[k] >= ' ' && out[k] <= '~')
    k++;
  out[k] = 0;
}

bool mv_lock_held(int run, char *holder, size_t size)
{
  *holder = 0;
  int lock = openat(run, "run.lock", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), failed;
  if (lock < 0)
    return false;
  while ((failed = flock(lock, LOCK_SH | LOCK_NB)) != 0 && errno == EINTR)
    ;
  if (failed)
    read_holder(lock, holder, size);
  close(lock);
  return failed;
}

int mv_lock_take(int run, const char *path, int *lock)
{
  *lock = openat(run, "run.lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
  if (*lock < 0) {
    int code = mv_error_is_room(errno) ? MV_EXIT_IO : MV_EXIT_CREATE;
    mv_store_say_unwritten(path, "run.lock", 0);
    return code;
  }
  int failed, patience = 5; /* who only asks whether the lock is held holds it for a moment */
  while ((failed = flock(*lock, LOCK_EX | LOCK_NB)) != 0 &&
         (errno == EINTR || (errno == EWOULDBLOCK && patience-- > 0 && usleep(20000) == 0)))
    ;
  if (failed && errno == EWOULDBLOCK) {
    char holder[256];
    read_holder(*lock, holder, sizeof holder);
    mv_store_say("%s: another process works on this run (%s); wait for its end or stop it", path,
                 *holder ? holder : "it has not said which");
    return MV_EXIT_RUNNING;
  }
  if (failed)
    mv_store_say("%s/run.lock: this file system has no locks (%s); make sure that only one process works on the run",
                 path, strerror(errno));
  else
    sign(*lock);
  mv_kill_here("run", "locked");
  return MV_EXIT_OK;
}
