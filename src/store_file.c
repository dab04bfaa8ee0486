/* store_file.c - files of a run directory: read whole, replaced atomically, digested.
 *
 * A file is durable when its bytes and then its name have been through fsync. A reader therefore sees the old file or
 * the new one, also after a power cut; a temporary name that a killed writer left means nothing.
 */
#define _GNU_SOURCE
#include "metavar/store_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <xxhash.h>

#include "metavar/memory.h"

#define PIECE (256 << 10) /* bytes of a call that reads or writes: they stay in a cache */

#define TEXT_MAX                                                                                                       \
  (1 << 30) /* bytes of a file that is read whole; a manifest has some hundred bytes for a shard of MBs */

void mv_store_say(const char *format, ...)
{
  char text[4096];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  fprintf(stderr, "metavar: %s\n", text);
}

bool mv_error_is_room(int error) { return error == ENOSPC || error == EDQUOT; }

void mv_store_say_unwritten(const char *path, const char *name, size_t bytes)
{
  int error = errno;
  struct statvfs disk;
  bool full = mv_error_is_room(error);
  char room[96] = "";
  if (full && statvfs(path, &disk) == 0 && disk.f_files > 0 && disk.f_favail == 0)
    snprintf(room, sizeof room, " (it needs %zu bytes, and the file system can hold no more files)", bytes);
  else if (full && statvfs(path, &disk) == 0)
    snprintf(room, sizeof room, " (it needs %zu bytes, %lld are free)", bytes,
             (long long)disk.f_bavail * (long long)disk.f_frsize);
  mv_store_say("%s/%s: cannot be written: %s%s; what was committed before is safe: %s and run the same command again",
               path, name, strerror(error), room, full ? "make room" : "mend that");
}

/* Never waits for a FIFO or a device. */
static int open_regular(int directory, const char *name, int64_t *size)
{
  int fd = openat(directory, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  struct stat info;
  if (fd < 0)
    return -1;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(fd);
    errno = EINVAL;
    return -1;
  }
  *size = info.st_size;
  return fd;
}

bool mv_results_find(const char *run_or_file, char path[4096])
{
  struct stat info;
  int64_t size;
  snprintf(path, 4096, "%s", run_or_file);
  if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
    snprintf(path, 4096, "%s/results.h5", run_or_file);
  int fd = open_regular(AT_FDCWD, path, &size);
  if (fd >= 0)
    return close(fd), true;
  mv_store_say("%s: %s%s", path, errno == EINVAL ? "not a regular file" : strerror(errno),
               errno == ENOENT && strcmp(path, run_or_file) != 0 ? "; the run is not finished" : "");
  return false;
}

/* As many bytes as there are, up to size; -1 on error. */
static ssize_t read_fully(int fd, char *out, size_t size)
{
  size_t done = 0;
  while (done < size) {
    ssize_t n = read(fd, out + done, size - done);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return -1;
    if (n == 0)
      break;
    done += (size_t)n;
  }
  return (ssize_t)done;
}

struct mv_digest {
  XXH3_state_t *state;
};

struct mv_digest *mv_digest_start(void)
{
  struct mv_digest *digest = mv_memory_take(1, sizeof *digest);
  digest->state = XXH3_createState();
  XXH3_128bits_reset(digest->state);
  return digest;
}

void mv_digest_add(struct mv_digest *digest, const void *bytes, size_t size)
{
  XXH3_128bits_update(digest->state, bytes, size);
}

void mv_digest_end(struct mv_digest *digest, char hex[33])
{
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, XXH3_128bits_digest(digest->state));
  for (int k = 0; k < 16; k++)
    snprintf(hex + 2 * k, 3, "%02x", bytes.digest[k]);
  XXH3_freeState(digest->state);
  free(digest);
}

void mv_bytes_digest(const void *bytes, size_t size, char hex[33])
{
  struct mv_digest *digest = mv_digest_start();
  mv_digest_add(digest, bytes, size);
  mv_digest_end(digest, hex);
}

/* In pieces: the kernel then takes pages of its cache one by one, which on virtual machines is up to ten times as fast
 * as clearing room for large ones, and the digest (or NULL) finds the bytes in the processor's cache. */
static bool write_fully(int fd, const char *bytes, size_t size, struct mv_digest *digest)
{
  while (size > 0) {
    ssize_t n = write(fd, bytes, size < PIECE ? size : PIECE);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return false;
    if (digest)
      mv_digest_add(digest, bytes, (size_t)n);
    bytes += n;
    size -= (size_t)n;
  }
  return true;
}

char *mv_file_read(int directory, const char *name, size_t *size)
{
  int64_t bytes;
  int fd = open_regular(directory, name, &bytes);
  if (fd < 0)
    return NULL;
  if (bytes > TEXT_MAX) {
    close(fd);
    errno = EFBIG;
    return NULL;
  }
  char *text = mv_memory_take((size_t)bytes + 1, 1);
  ssize_t n = read_fully(fd, text, (size_t)bytes);
  int error = errno;
  close(fd);
  if (n < 0) {
    free(text);
    errno = error;
    return NULL;
  }
  text[n] = 0;
  if (size)
    *size = (size_t)n;
  return text;
}

bool mv_file_append(int fd, const char *name, const void *bytes, size_t size)
{
  mv_kill_half(fd, bytes, size, name);
  bool fine = write_fully(fd, bytes, size, NULL);
  mv_kill_here(name, "written");
  fine = fine && fsync(fd) == 0;
  mv_kill_here(name, "synced");
  return fine;
}

static bool sync_name(int directory, const char *name, int flags)
{
  int fd = openat(directory, name, O_RDONLY | O_CLOEXEC | flags);
  bool fine = fd >= 0 && fsync(fd) == 0;
  int error = errno;
  if (fd >= 0)
    close(fd);
  errno = error;
  return fine;
}

bool mv_file_sync(int directory, const char *name) { return sync_name(directory, name, 0); }

void mv_file_hasten(int directory, const char *name)
{
#ifdef SYNC_FILE_RANGE_WRITE
  int fd = openat(directory, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0)
    return;
  sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
  close(fd);
#else
  (void)directory, (void)name;
#endif
}

/* The folder that holds the name. */
static bool sync_folder(int directory, const char *name)
{
  char folder[256];
  const char *slash = strrchr(name, '/');
  snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - name) : 1, slash ? name : ".");
  return sync_name(directory, folder, O_DIRECTORY);
}

bool mv_file_publish(int directory, const char *temporary, const char *name)
{
  mv_kill_here(name, "written");
  bool fine = mv_file_sync(directory, temporary);
  mv_kill_here(name, "synced");
  if (!fine || renameat(directory, temporary, directory, name) != 0) {
    int error = errno;
    unlinkat(directory, temporary, 0);
    errno = error;
    return false;
  }
  mv_kill_here(name, "renamed");
  fine = sync_folder(directory, name);
  mv_kill_here(name, "durable");
  return fine;
}

/* Writes the temporary file of a name, opened with these flags too. */
static bool write_part(int directory, const char *name, const char *temporary, int flags, const void *bytes,
                       size_t size, struct mv_digest *digest)
{
  int fd = openat(directory, temporary, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | flags, 0666);
  if (fd < 0)
    return false;
  mv_kill_here(name, "begun");
  mv_kill_half(fd, bytes, size, name);
  bool fine = write_fully(fd, bytes, size, digest);
  int error = errno;
  if (close(fd) != 0 && fine) {
    fine = false;
    error = errno;
  }
  if (!fine) {
    unlinkat(directory, temporary, 0);
    errno = error;
  }
  return fine;
}

bool mv_file_write(int directory, const char *name, const void *bytes, size_t size)
{
  char temporary[256];
  snprintf(temporary, sizeof temporary, "%s.part", name);
  return write_part(directory, name, temporary, O_TRUNC, bytes, size, NULL) &&
         mv_file_publish(directory, temporary, name);
}

/* Whoever makes the temporary file owns both names until the rename, so looking is enough. */
bool mv_file_create(int directory, const char *name, const void *bytes, size_t size, char hex[33])
{
  char temporary[256];
  struct stat info;
  struct mv_digest *digest = mv_digest_start();
  snprintf(temporary, sizeof temporary, "%s.part", name);
  bool fine = write_part(directory, name, temporary, O_EXCL, bytes, size, digest);
  int error = errno;
  mv_digest_end(digest, hex);
  errno = error;
  if (!fine)
    return false;
  if (fstatat(directory, name, &info, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT)
    return mv_file_publish(directory, temporary, name);
  unlinkat(directory, temporary, 0);
  errno = EEXIST;
  return false;
}

/* Up to `most` bytes, which go to `out` unless that is NULL. */
static bool digest_file(int directory, const char *name, char *out, int64_t most, int64_t *bytes, char hex[33])
{
  int fd = open_regular(directory, name, bytes);
  if (fd < 0)
    return false;
  struct mv_digest *digest = mv_digest_start();
  char *buffer = out ? NULL : mv_memory_grow(NULL, PIECE, 1);
  ssize_t n = 1;
  for (*bytes = 0; n > 0; *bytes += n > 0 ? n : 0) {
    char *to = out ? out + *bytes : buffer;
    n = read_fully(fd, to, most - *bytes < PIECE ? (size_t)(most - *bytes) : PIECE);
    if (n > 0)
      mv_digest_add(digest, to, (size_t)n);
  }
  mv_digest_end(digest, hex);
  free(buffer);
  close(fd);
  return n == 0;
}

bool mv_file_digest(int directory, const char *name, int64_t *bytes, char hex[33])
{
  return digest_file(directory, name, NULL, INT64_MAX, bytes, hex);
}

bool mv_file_load(int directory, const char *name, char *out, int64_t bytes, char hex[33])
{
  int64_t there;
  return digest_file(directory, name, out, bytes, &there, hex) && there == bytes;
}

int mv_file_last_number(int directory, const char *name)
{
  int fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *entries = fd < 0 ? NULL : fdopendir(fd);
  if (!entries) {
    if (fd >= 0)
      close(fd);
    return -1;
  }
  int last = 0;
  for (struct dirent *entry; (entry = readdir(entries));) {
    char *end;
    long number = strtol(entry->d_name, &end, 10);
    if (end > entry->d_name && *end == '.' && number > last && number < 1000000000)
      last = (int)number;
  }
  closedir(entries);
  return last;
}
