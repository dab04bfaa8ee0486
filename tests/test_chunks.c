/* test_chunks.c - results.h5 by whole chunks: the checksum is the filter's by its definition, files made of whole chunks
 * and of pieces hold the same, HDF5 elsewhere reads both and notices a flipped bit; shards are read ahead. */
#include "store_fake.h"

#include <fcntl.h>
#include <jansson.h>
#include <unistd.h>

#include "metavar/store_internal.h"

static char scratch[] = "/tmp/metavar-chunks-XXXXXX";

static void shell(const char *format, ...)
{
  char command[4000];
  va_list arguments;
  va_start(arguments, format);
  int length = snprintf(command, sizeof command, "cd %s && ", scratch);
  vsnprintf(command + length, sizeof command - (size_t)length, format, arguments);
  va_end(arguments);
  assert_int_equal(system(command), 0);
}

/* --- the checksum ---------------------------------------------------------------------------------------- */

static uint32_t modulo(uint64_t sum) { return sum > 0 && sum % 65535 == 0 ? 65535 : (uint32_t)(sum % 65535); }

/* By the book: sums of big-endian words, and of those sums. */
static uint32_t fletcher(const unsigned char *bytes, size_t size)
{
  uint64_t a = 0, b = 0;
  for (size_t k = 0; k < size; k += 2) {
    a += (uint64_t)bytes[k] << 8 | (k + 1 < size ? bytes[k + 1] : 0);
    b += a;
  }
  return modulo(b) << 16 | modulo(a);
}

static void test_checksum(void **state)
{
  (void)state;
  static const size_t around[] = {0, 31, 8191, 16384, 24577, 262143, 262144}; /* blocks have 8192 bytes */
  unsigned char *bytes = mv_memory_take(262144 + 64, 1);
  for (int kind = 0; kind < 4; kind++) {
    for (size_t k = 0; k < 262144 + 64; k++)
      bytes[k] = (unsigned char)(kind == 3 ? (k * k * 2654435761u) >> 13 : kind == 2 ? k % 2 ? 0 : 1 : kind ? 255 : 0);
    for (size_t s = 0; s < sizeof around / sizeof *around; s++)
      for (size_t size = around[s]; size < around[s] + 40; size++)
        assert_int_equal(mv_fletcher32(bytes, size), fletcher(bytes, size));
  }
  free(bytes);
}

/* --- whole chunks and pieces ----------------------------------------------------------------------------- */

enum { ROWS = 3001, POINTS = 2 }; /* corrections: three chunks of 1001 rows, the last one two rows too long */

/* A run in units of `size` rows, a shard for each; 0: of what is there. Exit code. */
static int make_run(const char *name, int64_t size, const char *damage, char *digest)
{
  char text[600], path[256];
  int code;
  snprintf(text, sizeof text,
           "name: chunks\nseed: 5\nlifetime_length: 30\ntask: {name: tone}\neta: {points: [[1, 0.5], [2, 1.5]]}\n"
           "estimators:\n  - {name: wave, replicates: %d}\n",
           ROWS);
  snprintf(path, sizeof path, "%s/%s", scratch, name);
  struct mv_job *job = mv_job_parse("chunks.yaml", text, strlen(text), NULL, 0, &fake_kernel, stderr);
  struct mv_plan *plan = mv_plan_make(job);
  struct mv_worker *worker = mv_worker_create(plan);
  struct mv_store *store = mv_store_open(path, plan, &code);
  assert_non_null(store);
  for (int cell = 0; cell < POINTS; cell++)
    for (int64_t first = 0; first < ROWS && size > 0; first += size) {
      struct mv_unit unit = {cell, first, first + size < ROWS ? size : ROWS - first};
      size_t bytes = mv_result_bytes(plan, &unit);
      void *result = mv_memory_take(bytes, 1);
      mv_worker_compute(worker, &unit, result);
      assert_int_equal(mv_store_add(store, result, bytes), MV_EXIT_OK);
      assert_int_equal(mv_store_commit(store), MV_EXIT_OK);
      free(result);
    }
  if (damage)
    shell("%s", damage);
  code = mv_store_finalize(store, digest);
  mv_store_close(store);
  mv_worker_free(worker);
  mv_plan_free(plan);
  mv_job_free(job);
  return code;
}

static void test_whole_and_pieces(void **state)
{
  (void)state;
  static const int64_t size[] = {ROWS, 1001, 2000, 499}; /* one chunk and more, one, some and pieces, pieces */
  char digest[4][33], path[256];
  for (int k = 0; k < 4; k++) {
    char name[32], read[33];
    snprintf(name, sizeof name, "run%d", k);
    assert_int_equal(make_run(name, size[k], NULL, digest[k]), MV_EXIT_OK);
    snprintf(path, sizeof path, "%s/%s", scratch, name);
    assert_int_equal(mv_results_digest(path, read), MV_EXIT_OK);
    assert_string_equal(read, digest[k]); /* this one has read the checksums too */
    assert_string_equal(digest[k], digest[0]);
  }
  shell("/usr/bin/python3 - <<'EOF'\n"
        "import h5py, numpy as np\n"
        "files = [h5py.File(f'run{k}/results.h5') for k in range(4)]\n"
        "first, *others = [f['wave'] for f in files]\n"
        "assert first['correction'].chunks == (1, 1001, 2, 2, 3, 2) and first['correction'].fletcher32\n"
        "for name in ('direct', 'correction', 'weighted', 'objective', 'window_start', 'status'):\n"
        "    for other in others:\n"
        "        assert np.array_equal(first[name][:], other[name][:], equal_nan=name[0] != 's'), name\n"
        "        for at in np.ndindex(*[-(-n // c) for n, c in zip(first[name].shape, first[name].chunks)]):\n"
        "            at = [k * c for k, c in zip(at, first[name].chunks)]\n"
        "            a, b = (d[name].id.read_direct_chunk(at) for d in (first, other))\n"
        "            inside = at[1] + first[name].chunks[1] <= first[name].shape[1]\n"
        "            assert a[0] == b[0] == 0 and len(a[1]) == len(b[1]) and (a[1] == b[1] or not inside), name\n"
        "EOF");
}

static void test_flip(void **state)
{
  (void)state;
  char digest[33];
  shell("cp run0/results.h5 flipped.h5 && /usr/bin/python3 - <<'EOF'\n"
        "import h5py\n"
        "at = {}\n"
        "with h5py.File('flipped.h5') as f:\n"
        "    data = f['wave/correction'].id\n"
        "    at = [data.get_chunk_info(k).byte_offset + data.get_chunk_info(k).size // 2 for k in "
        "range(data.get_num_chunks())]\n"
        "whole = open('flipped.h5', 'rb').read()\n"
        "for place in at:\n"
        "    with open('flipped.h5', 'wb') as file:\n"
        "        file.write(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1:])\n"
        "    try:\n"
        "        h5py.File('flipped.h5')['wave/correction'][:]\n"
        "        raise SystemExit('read')\n"
        "    except OSError:\n"
        "        pass\n"
        "EOF\n");
  char path[256];
  snprintf(path, sizeof path, "%s/flipped.h5", scratch);
  assert_int_equal(mv_results_digest(path, digest), MV_EXIT_DATA);
}

/* --- shards as they once were ---------------------------------------------------------------------------- */

/* The manifest, with the shards as they are now. */
static void list_again(const char *name)
{
  char path[256];
  size_t size;
  snprintf(path, sizeof path, "%s/%s", scratch, name);
  int run = open(path, O_RDONLY | O_DIRECTORY);
  char *text = mv_file_read(run, "manifest.jsonl", &size);
  snprintf(path, sizeof path, "%s/%s/manifest.jsonl", scratch, name);
  FILE *out = fopen(path, "w");
  assert_true(text && out);
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
    char shard[64], hex[33];
    int64_t bytes;
    json_t *root = json_loads(line, 0, NULL);
    snprintf(shard, sizeof shard, "shards/%s", json_string_value(json_object_get(root, "shard")));
    assert_true(mv_file_digest(run, shard, &bytes, hex));
    json_object_set_new(root, "bytes", json_integer(bytes));
    json_object_set_new(root, "xxh3", json_string(hex));
    json_object_del(root, "crc");
    char *sealed = mv_line_seal(json_dumps(root, JSON_COMPACT));
    fputs(sealed, out);
    free(sealed);
    json_decref(root);
  }
  fclose(out);
  free(text);
  close(run);
}

/* With chunks and their checksums: rows do not follow each other in the file. */
static void test_chunked_shards(void **state)
{
  (void)state;
  char digest[33], again[33], path[256];
  snprintf(path, sizeof path, "%s/run3", scratch);
  assert_int_equal(mv_results_digest(path, digest), MV_EXIT_OK);
  shell("cp -r run3 old && rm old/results.h5 && /usr/bin/python3 - <<'EOF'\n"
        "import glob, h5py, os\n"
        "for name in glob.glob('old/shards/*.h5'):\n"
        "    with h5py.File(name) as plain, h5py.File('chunked.h5', 'w') as file:\n"
        "        for unit, group in plain.items():\n"
        "            to = file.create_group(unit)\n"
        "            to.attrs['cell_first_count'] = group.attrs['cell_first_count']\n"
        "            for key, rows in group.items():\n"
        "                assert rows.chunks is None\n"
        "                to.create_dataset(key, data=rows[:], chunks=True, fletcher32=True)\n"
        "    os.replace('chunked.h5', name)\n"
        "EOF");
  list_again("old");
  assert_int_equal(make_run("old", 0, NULL, again), MV_EXIT_OK);
  assert_string_equal(again, digest);
}

/* --- shards read ahead ----------------------------------------------------------------------------------- */

static void test_changed_ahead(void **state)
{
  (void)state;
  static const char *const damage[] = {
      "printf x | dd of=changed0/shards/000005.h5 bs=1 seek=9000 conv=notrunc 2>/dev/null",
      "rm changed1/shards/000014.h5", "truncate -s 100 changed2/shards/000001.h5"};
  for (int k = 0; k < 3; k++) {
    char name[32];
    snprintf(name, sizeof name, "changed%d", k);
    assert_int_equal(make_run(name, 499, damage[k], NULL), MV_EXIT_AGAIN);
    shell("test ! -e %s/results.h5 && test ! -e %s/results.h5.part", name, name);
  }
}

/* In turn, whatever their size. */
static void test_large_ahead(void **state)
{
  (void)state;
  static const int mib[] = {1, 70, 70, 2, 90, 3};
  enum { COUNT = sizeof mib / sizeof *mib };
  struct mv_shard shard[COUNT];
  const struct mv_shard *list[COUNT];
  shell("mkdir -p large/shards");
  for (int k = 0; k < COUNT; k++) {
    shell("echo %d > large/shards/%d.h5 && truncate -s %dM large/shards/%d.h5", k, k, mib[k], k);
    shard[k] = (struct mv_shard){.bytes = (int64_t)mib[k] << 20};
    snprintf(shard[k].name, sizeof shard[k].name, "%d.h5", k);
    list[k] = &shard[k];
  }
  assert_int_equal(chdir(scratch), 0);
  int run = open("large", O_RDONLY | O_DIRECTORY);
  for (int k = 0; k < COUNT; k++) {
    char name[64];
    int64_t bytes;
    snprintf(name, sizeof name, "shards/%d.h5", k);
    assert_true(mv_file_digest(run, name, &bytes, shard[k].xxh3));
  }
  for (int used = COUNT; used >= 0; used -= 3) { /* to the end, or not */
    struct mv_ahead *ahead = mv_ahead_start(run, list, COUNT);
    for (int k = 0; k < used; k++) {
      const char *bytes;
      assert_null(mv_ahead_next(ahead, &bytes));
      assert_int_equal(bytes[0], '0' + k);
      assert_int_equal(bytes[shard[k].bytes - 1], 0);
      mv_ahead_release(ahead);
    }
    mv_ahead_stop(ahead);
  }
  close(run);
}

static int setup(void **state)
{
  (void)state;
  return mkdtemp(scratch) ? 0 : -1;
}

static int teardown(void **state)
{
  (void)state;
  char command[300];
  snprintf(command, sizeof command, "rm -rf -- %s", scratch);
  return system(command);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_checksum),      cmocka_unit_test(test_whole_and_pieces),
                                     cmocka_unit_test(test_flip),          cmocka_unit_test(test_chunked_shards),
                                     cmocka_unit_test(test_changed_ahead), cmocka_unit_test(test_large_ahead)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
