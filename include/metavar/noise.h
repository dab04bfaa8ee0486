/* noise.h - Philox for all lanes at once. Kernel files only; stream.h says what the coordinates mean.
 *
 * Counter words: [0] draw block, [1] step, [2] task instance (low 32 bits), [3] task (8 bits), lifetime (20), purpose
 * (4). A block of 128 bits makes two numbers: uniforms (k + 1/2) 2^-52, k < 2^52, so never 0 or 1; normals by Box &
 * Muller (1958), which take exactly two uniforms for two normals, so that every draw has a fixed address.
 */
#ifndef METAVAR_NOISE_H
#define METAVAR_NOISE_H

#include <assert.h>

#include "metavar/math.h"
#include "metavar/stream.h"
#include "metavar/unroll.h"

enum { MV_PHILOX_ROUNDS = 10 };

struct mv_counter { /* 32-bit words in 64-bit lanes */
  numu low, high;
  uint64_t key[MV_PHILOX_ROUNDS][2]; /* of each round */
};

static inline struct mv_counter mv_counter_make(const struct mv_coords *coords, enum mv_purpose purpose)
{
  struct mv_counter c;
  for (int round = 0; round < MV_PHILOX_ROUNDS; round++) {
    c.key[round][0] = (uint32_t)(coords->key.word[0] + (uint32_t)round * 0x9E3779B9u);
    c.key[round][1] = (uint32_t)(coords->key.word[1] + (uint32_t)round * 0xBB67AE85u);
  }
  for (int l = 0; l < MV_LANES; l++) {
    uint64_t task = (uint64_t)coords->task[l], lifetime = (uint64_t)mv_coords_lifetime(coords, purpose, l);
    assert(task < MV_MAX_TASKS && lifetime < MV_MAX_LIFETIMES);
    NUMI_LANE(&c.low, 0, l) = (int64_t)(task & 0xffffffffu);
    NUMI_LANE(&c.high, 0, l) = (int64_t)((task >> 32) | lifetime << 8 | (uint64_t)purpose << 28);
  }
  return c;
}

/* Two uniforms of every lane. The multiplications see low halves alone, so high halves hold rubbish until the end. */
static inline void mv_uniform_pair(const struct mv_counter *c, uint64_t step, uint64_t block, real out[2])
{
  const numu zero = {0};
  numu x0 = zero + block, x1 = zero + step, x2 = c->low, x3 = c->high;
#pragma GCC unroll 10
  for (int round = 0; round < MV_PHILOX_ROUNDS; round++) {
    numu p0 = mv_mul32(x0, zero + UINT64_C(0xD2511F53)), p1 = mv_mul32(x2, zero + UINT64_C(0xCD9E8D57));
    x0 = mv_xor(p1 >> 32, x1, zero + c->key[round][0]);
    x2 = mv_xor(p0 >> 32, x3, zero + c->key[round][1]);
    x1 = p1;
    x3 = p0;
  }
  const uint64_t low = 0xffffffffu, one = UINT64_C(0x3ff) << 52;
  out[0] = MV_REAL((x1 << 32 | (x0 & low)) >> 12 | one) - (1.0 - 0x1p-53);
  out[1] = MV_REAL((x3 << 32 | (x2 & low)) >> 12 | one) - (1.0 - 0x1p-53);
}

static inline void mv_draw_uniforms(const struct mv_counter *c, int64_t step, int count, num *out)
{
  for (int i = 0; i < count; i += 2) {
    real u[2];
    mv_uniform_pair(c, (uint64_t)step, (uint64_t)i / 2, u);
    out[i] = u[0];
    if (i + 1 < count)
      out[i + 1] = u[1];
  }
}

/* In stages over all pairs: the long chains of one pair wait for nothing else. */
static inline void mv_draw_normals(const struct mv_counter *c, int64_t step, int count, num *out)
{
  const int pairs = (count + 1) / 2;
  if (pairs == 0)
    return;
  real u[pairs][2], radius[pairs];
  for (int i = 0; i < pairs; i++)
    mv_uniform_pair(c, (uint64_t)step, (uint64_t)i, u[i]);
  for (int i = 0; i < pairs; i++)
    radius[i] = real_sqrt(-2.0 * real_log_normal(u[i][0]));
  for (int i = 0; i < pairs; i++) {
    real sine, cosine;
    real_sincos_turn(u[i][1], &sine, &cosine);
    out[2 * i] = radius[i] * cosine;
    if (2 * i + 1 < count)
      out[2 * i + 1] = radius[i] * sine;
  }
}

#endif
