/* store_manifest.c - which samples are committed: RUN/manifest.jsonl, one line for each shard.
 *
 *   {"v": 1, "shard": "000001.h5", "bytes": 8391234, "xxh3": "<XXH3-128 of the file>", "nonfinite": 0,
 *    "job": "<mv_job_id of the job that numbers the cells>", "units": [[cell, first, count], ...],
 *    "carried": [[cell, row, bytes, "<XXH3-128>"], ...],  files of store_carried.c, if there are any
 *    "crc": "<crc32 of the line up to the comma before this key>"}
 *
 * A line is appended after the shard is durable, so the manifest is the only truth: a shard without a line, a line that
 * is torn, and a line whose shard is gone or changed count as never written. They are told and left where they are;
 * their samples are missing and get computed again, to the same bits. So a shard that comes back (from a copy of the
 * run, say) does no harm: replicates that are listed more than once are the same wherever they are taken from, and
 * count once.
 */
#include "metavar/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "metavar/memory.h"

#define CRC_KEY ",\"crc\":\""

char *mv_line_seal(char *text)
{
  size_t length = strlen(text) - 1; /* without the closing brace */
  unsigned long crc = crc32(0, (const unsigned char *)text, (unsigned)length);
  text = mv_memory_grow(text, length + 32, 1);
  snprintf(text + length, 32, CRC_KEY "%08lx\"}\n", crc);
  return text;
}

bool mv_line_whole(const char *line, size_t length)
{
  size_t tail = strlen(CRC_KEY) + 8 + 2;
  if (length < tail || strncmp(line + length - tail, CRC_KEY, strlen(CRC_KEY)) != 0)
    return false;
  char hex[9];
  snprintf(hex, sizeof hex, "%08lx", crc32(0, (const unsigned char *)line, (unsigned)(length - tail)));
  return memcmp(hex, line + length - 10, 8) == 0;
}

char *mv_manifest_line(const struct mv_shard *shard, const struct mv_unit *units)
{
  json_t *list = json_array();
  for (int64_t u = 0; u < shard->units; u++)
    json_array_append_new(
        list, json_pack("[I,I,I]", (json_int_t)units[u].cell, (json_int_t)units[u].first, (json_int_t)units[u].count));
  json_t *carried = shard->carried_count > 0 ? json_array() : NULL;
  for (int64_t k = 0; k < shard->carried_count; k++)
    json_array_append_new(carried, json_pack("[I,I,I,s]", (json_int_t)shard->carried[k].written,
                                             (json_int_t)shard->carried[k].row, (json_int_t)shard->carried[k].bytes,
                                             shard->carried[k].xxh3));
  json_t *line = json_pack("{s:i,s:s,s:I,s:s,s:I,s:s*,s:o,s:o*}", "v", 1, "shard", shard->name, "bytes",
                           (json_int_t)shard->bytes, "xxh3", shard->xxh3, "nonfinite", (json_int_t)shard->nonfinite,
                           "job", *shard->job ? shard->job : NULL, "units", list, "carried", carried);
  char *text = json_dumps(line, JSON_COMPACT);
  json_decref(line);
  return mv_line_seal(text);
}

static void remember_number(struct mv_manifest *manifest, const struct mv_shard *shard)
{
  int number = atoi(shard->name);
  manifest->last_number = number > manifest->last_number ? number : manifest->last_number;
}

void mv_manifest_add(struct mv_manifest *manifest, const struct mv_shard *shard, const struct mv_unit *units,
                     const struct mv_unit *written)
{
  manifest->shard = mv_memory_grow(manifest->shard, (size_t)manifest->shards + 1, sizeof *manifest->shard);
  manifest->unit = mv_memory_grow(manifest->unit, (size_t)(manifest->units + shard->units), sizeof *manifest->unit);
  struct mv_shard *added = &manifest->shard[manifest->shards++];
  *added = *shard;
  added->first_unit = manifest->units;
  added->carried = NULL;
  added->carried_count = 0;
  manifest->written =
      mv_memory_grow(manifest->written, (size_t)(manifest->units + shard->units), sizeof *manifest->written);
  memcpy(manifest->unit + manifest->units, units, (size_t)shard->units * sizeof *units);
  memcpy(manifest->written + manifest->units, written, (size_t)shard->units * sizeof *written);
  manifest->units += shard->units;
  int64_t before = manifest->have.samples;
  for (int64_t u = 0; u < shard->units; u++)
    if (units[u].count > 0)
      mv_ranges_add(&manifest->have, &units[u]);
  if (manifest->have.samples > before)
    manifest->nonfinite += shard->nonfinite;
  remember_number(manifest, shard);
}

void mv_manifest_free(struct mv_manifest *manifest)
{
  free(manifest->shard);
  free(manifest->unit);
  free(manifest->written);
  free(manifest->carried);
  mv_ranges_free(&manifest->have);
  *manifest = (struct mv_manifest){0};
}

/* "000001.h5": never a path to elsewhere. */
static bool is_shard_name(const char *name)
{
  size_t digits = strspn(name, "0123456789");
  return digits > 0 && digits < 10 && strcmp(name + digits, ".h5") == 0;
}

/* shard->carried from its list. False: not one of ours. */
static bool carried_parse(json_t *list, struct mv_shard *shard)
{
  shard->carried_count = (int64_t)json_array_size(list);
  shard->carried = mv_memory_take((size_t)shard->carried_count, sizeof *shard->carried);
  for (int64_t k = 0; k < shard->carried_count; k++) {
    struct mv_carried *c = &shard->carried[k];
    json_int_t cell, row, bytes;
    const char *digest;
    if (json_unpack(json_array_get(list, (size_t)k), "[I,I,I,s!]", &cell, &row, &bytes, &digest) != 0 ||
        strlen(digest) != 32)
      return false;
    *c = (struct mv_carried){.written = cell, .row = row, .shard = atoi(shard->name), .bytes = bytes};
    strcpy(c->xxh3, digest);
  }
  return true;
}

/* Units of a line; malloc'ed, NULL if the line is not one of ours. */
static struct mv_unit *line_parse(const char *line, size_t length, struct mv_shard *shard)
{
  if (!mv_line_whole(line, length))
    return NULL;
  json_t *root = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL), *list = NULL, *carried = NULL;
  const char *name = NULL, *digest = NULL, *job = "";
  json_int_t version = 0, bytes = 0, nonfinite = 0;
  struct mv_unit *units = NULL;
  *shard = (struct mv_shard){0};
  if (json_unpack(root, "{s:I,s:s,s:I,s:s,s:I,s?s,s:o,s?o}", "v", &version, "shard", &name, "bytes", &bytes, "xxh3",
                  &digest, "nonfinite", &nonfinite, "job", &job, "units", &list, "carried", &carried) == 0 &&
      version == 1 && is_shard_name(name) && strlen(digest) == 32 && strlen(job) <= 32 && json_is_array(list)) {
    strcpy(shard->job, job);
    strcpy(shard->name, name);
    strcpy(shard->xxh3, digest);
    shard->bytes = bytes;
    shard->nonfinite = nonfinite;
    shard->units = (int64_t)json_array_size(list);
    units = mv_memory_take((size_t)shard->units, sizeof *units);
    if (!carried_parse(carried, shard)) {
      free(units);
      units = NULL;
    }
    for (int64_t u = 0; u < shard->units && units; u++) {
      json_int_t cell, first, count;
      if (json_unpack(json_array_get(list, (size_t)u), "[I,I,I!]", &cell, &first, &count) == 0) {
        units[u] = (struct mv_unit){cell, first, count};
      } else {
        free(units);
        units = NULL;
      }
    }
  }
  json_decref(root);
  return units;
}

static bool units_fit(const struct mv_plan *plan, const struct mv_shard *shard, const struct mv_unit *units)
{
  for (int64_t u = 0; u < shard->units; u++)
    if (!mv_unit_fits(plan, &units[u]))
      return false;
  return true;
}

/* What is wrong with the size of the file of that name. */
static const char *size_fault(int run, const struct mv_shard *shard, char name[64])
{
  struct stat info;
  snprintf(name, 64, "shards/%s", shard->name);
  if (fstatat(run, name, &info, 0) != 0)
    return strerror(errno);
  return S_ISREG(info.st_mode) && info.st_size == shard->bytes ? NULL : "has the wrong size";
}

static const char *const changed = "has changed since it was written";

const char *mv_shard_fault(int run, const struct mv_shard *shard, bool digest)
{
  char name[64], hex[33];
  int64_t bytes;
  const char *fault = size_fault(run, shard, name);
  if (fault || !digest)
    return fault;
  bool same = mv_file_digest(run, name, &bytes, hex) && bytes == shard->bytes && strcmp(hex, shard->xxh3) == 0;
  return same ? NULL : changed;
}

const char *mv_shard_load(int run, const struct mv_shard *shard, void *out)
{
  char name[64], hex[33];
  const char *fault = size_fault(run, shard, name);
  if (fault)
    return fault;
  bool same = mv_file_load(run, name, out, shard->bytes, hex) && strcmp(hex, shard->xxh3) == 0;
  return same ? NULL : changed;
}

/* The first part of a line: whoever wrote it was killed, and it was never complete. */
static bool line_is_torn(const char *line, const char *end)
{
  static const char start[] = "{\"v\":1,\"shard\":\"";
  size_t length = (size_t)(end - line), common = length < sizeof start - 1 ? length : sizeof start - 1;
  return memcmp(line, start, common) == 0 && end[-1] != '}';
}

/* The line's units in cells of the present job. NULL, or what is wrong. */
static const char *units_map(const struct mv_ancestry *ancestry, const char *id, const struct mv_plan *plan,
                             const struct mv_shard *shard, const struct mv_unit *written, struct mv_unit *units)
{
  memcpy(units, written, (size_t)shard->units * sizeof *units);
  if (strcmp(shard->job, id) == 0 || (*shard->job == 0 && ancestry->count == 0))
    return units_fit(plan, shard, units) ? NULL : "damaged line ignored";
  for (int k = 0; k < ancestry->count; k++) {
    const struct mv_ancestor *a = &ancestry->at[k];
    if (!a->fits || (*shard->job && strcmp(shard->job, a->id) != 0))
      continue;
    if (!units_fit(a->plan, shard, written))
      return "damaged line ignored";
    for (int64_t u = 0; u < shard->units; u++)
      units[u] = mv_ancestor_unit(a, plan, &written[u]);
    return NULL;
  }
  return "line ignored, which is of a job that this run no longer knows";
}

/* Likewise what is carried, into the table; nothing where the present job has no such cell. */
static void carried_map(const struct mv_ancestry *ancestry, const char *id, const struct mv_plan *plan,
                        const struct mv_shard *shard, struct mv_manifest *manifest)
{
  for (int64_t k = 0; k < shard->carried_count; k++) {
    struct mv_carried *c = &shard->carried[k], dropped;
    struct mv_shard one = {.units = 1};
    struct mv_unit written = {c->written, c->row, 1}, unit;
    strcpy(one.job, shard->job);
    if (units_map(ancestry, id, plan, &one, &written, &unit) || unit.count == 0)
      continue;
    c->cell = unit.cell;
    mv_carried_add(manifest, c, &dropped);
  }
}

bool mv_manifest_read(int run, const char *path, const struct mv_plan *plan, bool digest, struct mv_manifest *manifest)
{
  *manifest = (struct mv_manifest){0};
  size_t size;
  char *text = mv_file_read(run, "manifest.jsonl", &size);
  if (!text) {
    mv_store_say("%s/manifest.jsonl: %s", path, strerror(errno));
    return false;
  }
  manifest->torn = size > 0 && text[size - 1] != '\n';
  int64_t number = 1;
  char id[33];
  mv_job_id(plan->job, id);
  struct mv_ancestry ancestry = mv_ancestry_read(run, path, plan);
  for (char *line = text, *end; line < text + size; line = end + 1, number++) {
    end = memchr(line, '\n', (size_t)(text + size - line));
    end = end ? end : text + size;
    if (end == line)
      continue;
    struct mv_shard shard = {0};
    struct mv_unit *written = line_parse(line, (size_t)(end - line), &shard);
    struct mv_unit *units = mv_memory_take(written ? (size_t)shard.units : 0, sizeof *units);
    if (written)
      remember_number(manifest, &shard);
    const char *fault = written ? mv_shard_fault(run, &shard, digest) : NULL;
    const char *wrong = written ? units_map(&ancestry, id, plan, &shard, written, units) : "damaged line ignored";
    manifest->lines++;
    if (wrong) {
      mv_store_say("%s/manifest.jsonl:%lld: %s: what no other line lists counts as missing", path, (long long)number,
                   wrong);
      ++*(line_is_torn(line, end) ? &manifest->torn_lines : &manifest->damaged_lines);
    } else if (fault) {
      mv_store_say("%s/shards/%s: %s; ignored: what no other shard holds counts as missing", path, shard.name, fault);
      manifest->damaged_shards++;
    } else {
      mv_manifest_add(manifest, &shard, units, written);
      carried_map(&ancestry, id, plan, &shard, manifest);
    }
    free(units);
    free(written);
    free(shard.carried);
  }
  mv_ancestry_free(&ancestry);
  free(text);
  return true;
}
