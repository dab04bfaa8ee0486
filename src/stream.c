/* stream.c - keys of the random streams; the lanes' side of Philox is in noise.h.
 *
 * A key is a chain of Philox blocks: start from the seed, absorb M, then the bits of each nominal eta value. For a
 * fixed key a block is a bijection of its counter, so two eta points meet only by a 2^-64 chance.
 */
#include <string.h>

#include <Random123/philox.h>

#include "metavar/stream.h"

void mv_philox(const uint32_t counter[4], struct mv_key key, uint32_t out[4])
{
  philox4x32_ctr_t c = {{counter[0], counter[1], counter[2], counter[3]}};
  philox4x32_key_t k = {{key.word[0], key.word[1]}};
  philox4x32_ctr_t r = philox4x32(c, k);
  memcpy(out, r.v, sizeof r.v);
}

static struct mv_key absorb(struct mv_key key, uint64_t bits, uint32_t place)
{
  uint32_t out[4];
  mv_philox((uint32_t[]){(uint32_t)bits, (uint32_t)(bits >> 32), place, 0x6d65746du}, key, out);
  return (struct mv_key){{out[0], out[1]}};
}

struct mv_key mv_key_make(uint64_t seed, const double *eta, int meta)
{
  struct mv_key key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
  key = absorb(key, (uint64_t)meta, 0);
  for (int i = 0; i < meta; i++) {
    double value = eta[i] == 0.0 ? 0.0 : eta[i];
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    key = absorb(key, bits, 1 + (uint32_t)i);
  }
  return key;
}
