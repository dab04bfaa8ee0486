/* store_sums.c - RUN/checksums.xxh128: the files of a run that carry no checksum inside.
 *
 * Lines of `xxhsum -H128`, so that anybody can check them (`xxhsum -c checksums.xxh128`): 32 hexadecimal digits, two
 * spaces, a name. A file that is replaced is listed with its new contents first and loses its old line last; in between
 * both contents are right. So a process that is killed anywhere leaves no false alarm.
 */
#include "metavar/store_internal.h"

#include <stdio.h>
#include <string.h>

#include "metavar/memory.h"

#define FILE_NAME "checksums.xxh128"

static bool is_line(const char *line, size_t length)
{
  return length > 34 && length < 34 + sizeof((struct mv_sum *)0)->name && strspn(line, "0123456789abcdef") == 32 &&
         line[32] == ' ' && line[33] == ' ' && !memchr(line + 34, '/', length - 34);
}

struct mv_sums mv_sums_read(int run)
{
  struct mv_sums sums = {0};
  char *text = mv_file_read(run, FILE_NAME, NULL);
  for (char *line = text; line && *line; line += strcspn(line, "\n"), line += *line == '\n') {
    size_t length = strcspn(line, "\n");
    char name[sizeof sums.at->name], hex[33];
    if (!is_line(line, length))
      continue;
    snprintf(hex, sizeof hex, "%.32s", line);
    snprintf(name, sizeof name, "%.*s", (int)(length - 34), line + 34);
    mv_sums_add(&sums, name, hex);
  }
  free(text);
  return sums;
}

bool mv_sums_write(int run, const struct mv_sums *sums)
{
  char *text = mv_memory_take((size_t)sums->count + 1, sizeof *sums->at), *end = text;
  for (int k = 0; k < sums->count; k++)
    end += sprintf(end, "%s  %s\n", sums->at[k].hex, sums->at[k].name);
  bool fine = mv_file_write(run, FILE_NAME, text, (size_t)(end - text));
  free(text);
  return fine;
}

void mv_sums_add(struct mv_sums *sums, const char *name, const char *hex)
{
  struct mv_sum added; /* name and hex may be of another line */
  snprintf(added.name, sizeof added.name, "%s", name);
  snprintf(added.hex, sizeof added.hex, "%s", hex);
  sums->at = mv_memory_grow(sums->at, (size_t)sums->count + 1, sizeof *sums->at);
  sums->at[sums->count++] = added;
}

void mv_sums_add_text(struct mv_sums *sums, const char *name, const char *text)
{
  char hex[33];
  mv_bytes_digest(text, strlen(text), hex);
  mv_sums_add(sums, name, hex);
}

int mv_sums_drop(struct mv_sums *sums, const char *name)
{
  int kept = 0, before = sums->count;
  for (int k = 0; k < before; k++)
    if (strcmp(sums->at[k].name, name) != 0)
      sums->at[kept++] = sums->at[k];
  sums->count = kept;
  return before - kept;
}

void mv_sums_free(struct mv_sums *sums)
{
  free(sums->at);
  *sums = (struct mv_sums){0};
}

/* Texts are read whole, for then their size is limited. */
static bool digest_of(int run, const char *name, char hex[33])
{
  size_t length = strlen(name), size;
  int64_t bytes;
  if (length > 3 && strcmp(name + length - 3, ".h5") == 0)
    return mv_file_digest(run, name, &bytes, hex);
  char *text = mv_file_read(run, name, &size);
  if (text)
    mv_bytes_digest(text, size, hex);
  free(text);
  return text != NULL;
}

enum mv_sum_state mv_sums_state(int run, const struct mv_sums *sums, const char *name)
{
  char hex[33] = "";
  bool listed = false;
  for (int k = 0; k < sums->count; k++) {
    if (strcmp(sums->at[k].name, name) != 0)
      continue;
    if (!listed && !digest_of(run, name, hex))
      return MV_SUM_GONE;
    if (strcmp(sums->at[k].hex, hex) == 0)
      return MV_SUM_FITS;
    listed = true;
  }
  return listed ? MV_SUM_WRONG : MV_SUM_UNLISTED;
}
