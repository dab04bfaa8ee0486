/* store_chunk.c - chunks of results.h5: how datasets are cut, and the checksum that HDF5's filter fletcher32 keeps behind
 * each, formed several words at a time.
 *
 * Of n 16-bit words w_0, w_1, ..., big-endian (an odd last byte is the upper half of one): A = sum w_i and
 * B = sum (n - i) w_i, both modulo 65535, 65535 standing for 0 unless all words are 0; the checksum is B 65536 + A
 * (Fletcher 1982, IEEE Transactions on Communications 30:247; H5_checksum_fletcher32).
 *
 * A word whose bytes are swapped is 256 times the word modulo 65535, so words are summed little-endian. Lane l of L sums
 * in a_l every L-th word, and in b_l what a_l is after each of J steps; then, of these J L words, A = sum a_l and
 * B = L sum b_l - sum l a_l, and words before them add J L times their own A.
 */
#include "metavar/store_internal.h"

#include <string.h>

/* Whole trailing axes as far as they fit, at least one element; an axis that is cut is cut into equal parts, because the
 * last chunk has its full size in the file. */
void mv_chunk_shape(const struct mv_dataset *row, int64_t chunk[MV_RANK_MAX])
{
  int64_t room = MV_CHUNK_BYTES / (int64_t)mv_type_bytes(row->type);
  for (int d = row->rank - 1; d >= 0; d--) {
    int64_t parts = (row->dims[d] + room - 1) / room;
    chunk[d] = (row->dims[d] + parts - 1) / parts;
    room = room / chunk[d] > 0 ? room / chunk[d] : 1;
  }
}

int64_t mv_chunk_rows(const struct mv_dataset *row)
{
  int64_t chunk[MV_RANK_MAX] = {0};
  mv_chunk_shape(row, chunk);
  bool whole = chunk[0] == 1;
  for (int d = 2; d < row->rank; d++)
    whole = whole && chunk[d] == row->dims[d];
  return whole ? chunk[1] : 0;
}

enum { MODULUS = 65535, LANES = 16, STEPS = 256 }; /* b_l < 65535 STEPS (STEPS + 1) / 2 < 2^32 */

struct sums {
  uint64_t a, b; /* modulo MODULUS */
  bool any;      /* word that is not 0 */
};

static void add_block(struct sums *s, const unsigned char *bytes)
{
  uint32_t a[LANES] = {0}, b[LANES] = {0};
  uint64_t sum = 0, weighted = 0;
  for (int step = 0; step < STEPS; step++, bytes += 2 * LANES) {
    uint16_t word[LANES];
    memcpy(word, bytes, sizeof word);
    for (int l = 0; l < LANES; l++) {
      a[l] += word[l];
      b[l] += a[l];
    }
  }
  for (unsigned l = 0; l < LANES; l++) {
    sum += a[l];
    weighted += (uint64_t)LANES * b[l] - (uint64_t)l * a[l];
  }
  s->b = (s->b + (uint64_t)(STEPS * LANES) * s->a + weighted) % MODULUS;
  s->a = (s->a + sum) % MODULUS;
  s->any = s->any || sum > 0;
}

static void add_word(struct sums *s, uint16_t word)
{
  s->a = (s->a + word) % MODULUS;
  s->b = (s->b + s->a) % MODULUS;
  s->any = s->any || word > 0;
}

/* The same sum of big-endian words. */
static uint32_t half(const struct sums *s, uint64_t sum)
{
  uint32_t value = (uint32_t)(sum * 256 % MODULUS);
  return value == 0 && s->any ? MODULUS : value;
}

uint32_t mv_fletcher32(const void *data, size_t size)
{
  const unsigned char *bytes = data;
  struct sums s = {0};
  for (; size >= 2 * LANES * STEPS; size -= 2 * LANES * STEPS, bytes += 2 * LANES * STEPS)
    add_block(&s, bytes);
  for (; size > 0; size -= size > 1 ? 2 : 1, bytes += 2) {
    unsigned char pair[2] = {bytes[0], size > 1 ? bytes[1] : 0};
    uint16_t word;
    memcpy(&word, pair, sizeof word);
    add_word(&s, word);
  }
  return half(&s, s.b) << 16 | half(&s, s.a);
}
