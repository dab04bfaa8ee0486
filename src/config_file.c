/* config_file.c - the bytes of a job file.
 *
 * Only a regular file of sane size is read: a FIFO opened without O_NONBLOCK would hang, a device never end. Bytes
 * that no text editor of ours writes (NUL, carriage returns) are refused here with one message, since libyaml's
 * complaint about them comes later and says less. libyaml itself checks that the text is UTF-8.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *fault_of_open(int error)
{
  switch (error) {
  case ENOENT:
    return "no such file; check the path";
  case EACCES:
    return "permission denied; make it readable";
  default:
    return strerror(error);
  }
}

/* Reads fd up to the end or one byte more than allowed; -1 on failure. */
static ssize_t read_all(int fd, char *text, size_t room)
{
  size_t used = 0;
  while (used < room) {
    ssize_t got = read(fd, text + used, room - used);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return -1;
    }
    if (got == 0) {
      break;
    }
    used += (size_t)got;
  }
  return (ssize_t)used;
}

/* The file's bytes (malloc'ed), or NULL with the reason. */
static char *load(const char *path, size_t *length, const char **why)
{
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd < 0) {
    *why = fault_of_open(errno);
    return NULL;
  }
  struct stat s;
  char *text = NULL;
  if (fstat(fd, &s) != 0) {
    *why = strerror(errno);
  } else if (S_ISDIR(s.st_mode)) {
    *why = "is a directory; give the job file in it";
  } else if (!S_ISREG(s.st_mode)) {
    *why = "is not a regular file; save the job in a file and give its path";
  } else if (s.st_size > MV_JOB_FILE_MAX) {
    *why = "is larger than 1 MiB; a job file is a few lines of YAML, is this one?";
  } else {
    text = mv_config_alloc(MV_JOB_FILE_MAX + 1);
    ssize_t got = read_all(fd, text, MV_JOB_FILE_MAX + 1);
    *length = (size_t)got;
    *why = got < 0 ? strerror(errno) : got > MV_JOB_FILE_MAX ? "grew while it was read; try again" : NULL;
  }
  close(fd);
  if (*why) {
    free(text);
    return NULL;
  }
  return text;
}

struct mv_job *mv_job_read(const char *path, const char *const *overrides, int override_count,
                           const struct mv_kernel *kernel, void *report)
{
  size_t length = 0;
  const char *why = NULL;
  char *text = load(path, &length, &why);
  if (!text) {
    struct mv_config c = {.name = path};
    mv_error_at(&c, (struct mv_place){0}, NULL, "%s", why);
    mv_error_print(&c, report);
    mv_config_free(&c);
    return NULL;
  }
  struct mv_job *job = mv_job_parse(path, text, length, overrides, override_count, kernel, report);
  free(text);
  return job;
}
