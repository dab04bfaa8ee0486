/* math.h - elementary functions of lanes. Kernel files only.
 *
 * No libm here: its results change with the instruction set of the machine. These use +, -, *, /, sqrt and integer
 * operations on the bits in one fixed order, so every lane of every build gives the same bits; errors are about 1 ulp
 * (tests/test_math.c). real is the number type of random numbers: a lane vector, or a double where num is double or
 * complex; numb holds a truth value of every lane. exp: argument reduction by Cody & Waite (1980), polynomial of
 * degree 11 by Chebyshev interpolation; results below the smallest normal number are flushed to 0. log, sin, cos:
 * polynomials of fdlibm (Sun Microsystems 1993).
 */
#ifndef METAVAR_MATH_H
#define METAVAR_MATH_H

#include <stdbool.h>
#include <string.h>

#include "metavar/num.h"

#if MV_NUM == MV_NUM_LANES

typedef num real;
#define MV_BITS(x) ((numi)(x))
#define MV_REAL(i) ((real)(i))
#if defined(__x86_64__)
#include <immintrin.h>
#if MV_LANES == 2
static inline real real_sqrt(real x) { return (real)_mm_sqrt_pd((__m128d)x); }
static inline numu mv_mul32(numu a, numu b) { return (numu)_mm_mul_epu32((__m128i)a, (__m128i)b); }
#elif MV_LANES == 4
static inline real real_sqrt(real x) { return (real)_mm256_sqrt_pd((__m256d)x); }
static inline numu mv_mul32(numu a, numu b) { return (numu)_mm256_mul_epu32((__m256i)a, (__m256i)b); }
#elif MV_LANES == 8
static inline real real_sqrt(real x) { return (real)_mm512_sqrt_pd((__m512d)x); }
static inline numu mv_mul32(numu a, numu b) { return (numu)_mm512_mul_epu32((__m512i)a, (__m512i)b); }
#endif
#else
static inline real real_sqrt(real x)
{
  for (int l = 0; l < MV_LANES; l++)
    x[l] = __builtin_sqrt(x[l]);
  return x;
}
static inline numu mv_mul32(numu a, numu b) { return (a & 0xffffffffu) * (b & 0xffffffffu); }
#endif
#if MV_LANES == 8 && defined(__AVX512F__) /* truth in mask registers */
typedef __mmask8 numb;
static inline numb real_less(real a, real b) { return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_LT_OQ); }
static inline numb numi_less(numi a, numi b) { return _mm512_cmplt_epi64_mask((__m512i)a, (__m512i)b); }
static inline real real_select(numb t, real a, real b) { return (real)_mm512_mask_blend_pd(t, (__m512d)b, (__m512d)a); }
static inline numi numi_select(numb t, numi a, numi b)
{
  return (numi)_mm512_mask_blend_epi64(t, (__m512i)b, (__m512i)a);
}
static inline numi numi_subtract(numi a, numb t, int64_t x) /* a - x where t, else a */
{
  return (numi)_mm512_mask_sub_epi64((__m512i)a, t, (__m512i)a, _mm512_set1_epi64(x));
}
static inline bool numb_any(numb t) { return t; }
static inline numu mv_xor(numu a, numu b, numu c)
{
  return (numu)_mm512_ternarylogic_epi64((__m512i)a, (__m512i)b, (__m512i)c, 0x96);
}
#else
typedef numi numb;
static inline numb real_less(real a, real b) { return (numi)(a < b); }
static inline numb numi_less(numi a, numi b) { return (numi)(a < b); }
static inline numi numi_select(numb t, numi a, numi b) { return (t & a) | (~t & b); }
static inline real real_select(numb t, real a, real b) { return (real)numi_select(t, (numi)a, (numi)b); }
static inline numi numi_subtract(numi a, numb t, int64_t x) { return x == 1 ? a + t : a - (t & x); }
static inline bool numb_any(numb t)
{
#if MV_LANES == 4 && defined(__AVX__)
  return _mm256_movemask_pd((__m256d)t);
#elif MV_LANES == 2 && defined(__SSE2__)
  return _mm_movemask_pd((__m128d)t);
#else
  int64_t any = 0;
  for (int l = 0; l < MV_LANES; l++)
    any |= t[l];
  return any;
#endif
}
static inline numu mv_xor(numu a, numu b, numu c) { return a ^ b ^ c; }
#endif

#else

typedef double real;
static inline numi mv_bits(real x)
{
  numi i;
  memcpy(&i, &x, sizeof i);
  return i;
}
static inline real mv_from_bits(uint64_t i)
{
  real x;
  memcpy(&x, &i, sizeof x);
  return x;
}
#define MV_BITS(x) mv_bits(x)
#define MV_REAL(i) mv_from_bits((uint64_t)(i))
static inline real real_sqrt(real x) { return __builtin_sqrt(x); }
static inline numu mv_mul32(numu a, numu b) { return (a & 0xffffffffu) * (b & 0xffffffffu); }
typedef numi numb;
static inline numb real_less(real a, real b) { return -(numi)(a < b); }
static inline numb numi_less(numi a, numi b) { return -(numi)(a < b); }
static inline numi numi_select(numb t, numi a, numi b) { return t ? a : b; }
static inline real real_select(numb t, real a, real b) { return t ? a : b; }
static inline numi numi_subtract(numi a, numb t, int64_t x) { return x == 1 ? a + t : a - (t & x); }
static inline bool numb_any(numb t) { return t; }
static inline numu mv_xor(numu a, numu b, numu c) { return a ^ b ^ c; }

#endif

/* A constant in every lane. */
static inline real real_set(double x) { return (real){0} + x; }

/* Nearest whole number k of |x| < 2^51, as a number; its low bits are those of x + MV_ROUND. */
#define MV_ROUND 0x1.8p52
/* The same; its low bits are those of the exponent of 2^(k-1). */
#define MV_EXP_SHIFT (MV_ROUND + 1022.0)

/* exp, where it does not overflow; for x <= 0 it never does */
static inline real real_exp_negative(real x)
{
  real shifted = x * 0x1.71547652b82fep+0 + MV_EXP_SHIFT, k = shifted - MV_EXP_SHIFT;
  real r = (x - k * 0x1.62e42fee00000p-1) - k * 0x1.a39ef35793c76p-33;
  real r2 = r * r, r4 = r2 * r2;
  real low =
      (0x1.5555555555555p-3 + 0x1.5555555554cb0p-5 * r) + r2 * (0x1.1111111110e68p-7 + 0x1.6c16c173948e7p-10 * r);
  real high =
      (0x1.a01a01a4b5f72p-13 + 0x1.a019c98e708e7p-16 * r) + r2 * (0x1.71de17d5ef6f3p-19 + 0x1.288060f149570p-22 * r);
  real q = low + r4 * (high + r4 * 0x1.af2391d7f5e6cp-26);
  real p = 1.0 + (r + r2 * (0.5 + r * q));
  /* 2^(k-1), then doubled: k = 1024 does not overflow */
  real y = p * MV_REAL((numu)MV_BITS(shifted) << 52) * 2.0;
  return real_select(real_less(x, real_set(-708.0)), real_set(0.0), y);
}

static inline real real_exp(real x)
{
  return real_select(real_less(real_set(709.782712893383973096), x), real_set(__builtin_inf()), real_exp_negative(x));
}

/* Natural logarithm of a positive normal number. */
static inline real real_log_normal(real x)
{
  numu bits = (numu)MV_BITS(x);
  numu shifted = bits - 0x3fe6a09e667f3bcdu + (UINT64_C(1024) << 52);
  numu k_bits = shifted >> 52;
  real f = MV_REAL(bits - ((k_bits - 1024) << 52)) - 1.0;
  real k = MV_REAL(k_bits | 0x4330000000000000u) - (0x1p52 + 1024.0);
  real s = f / (2.0 + f), z = s * s, w = z * z;
  real even = w * (0x1.999999997fa04p-2 + w * (0x1.c71c51d8e78afp-3 + w * 0x1.39a09d078c69fp-3));
  real odd =
      z * (0x1.5555555555593p-1 + w * (0x1.2492494229359p-2 + w * (0x1.7466496cb03dep-3 + w * 0x1.2f112df3e5244p-3)));
  real half = 0.5 * f * f;
  return k * 0x1.62e42fee00000p-1 - ((half - (s * (half + (even + odd)) + k * 0x1.a39ef35793c76p-33)) - f);
}

/* Natural logarithm of a number that is not subnormal; log 0 = -inf, log of a negative number is NaN. */
static inline real real_log(real x)
{
  real y = real_log_normal(x);
  y = real_select(real_less(x, real_set(__builtin_inf())), y, x); /* inf and NaN pass through */
  y = real_select(real_less(x, real_set(0x1p-1022)), real_set(-__builtin_inf()), y);
  return real_select(real_less(x, real_set(0.0)), real_set(__builtin_nan("")), y);
}

/* log(1 + x), x >= 0. */
static inline real real_log1p(real x)
{
  real u = 1.0 + x;
  return real_log(u) + (x - (u - 1.0)) / u;
}

/* sin and cos of 2 pi u, 0 <= u <= 1. */
static inline void real_sincos_turn(real u, real *sine, real *cosine)
{
  real shifted = 4.0 * u + MV_ROUND;
  numu quadrant = (numu)MV_BITS(shifted);
  real t = (u - 0.25 * (shifted - MV_ROUND)) * 0x1.921fb54442d18p+2, z = t * t;
  real s = t + t * z *
                   (-0x1.5555555555549p-3 +
                    z * (0x1.111111110f8a6p-7 +
                         z * (-0x1.a01a019c161d5p-13 +
                              z * (0x1.71de357b1fe7dp-19 + z * (-0x1.ae5e68a2b9cebp-26 + z * 0x1.5d93a5acfd57cp-33)))));
  real c =
      1.0 - (0.5 * z -
             z * z *
                 (0x1.555555555554cp-5 +
                  z * (-0x1.6c16c16c15177p-10 +
                       z * (0x1.a01a019cb1590p-16 +
                            z * (-0x1.27e4f809c52adp-22 + z * (0x1.1ee9ebdb4b1c4p-29 + z * -0x1.8fae9be8838d4p-37))))));
  numb swap = numi_less((numi)(quadrant << 63), (numi){0});
  numu sine_sign = (quadrant & 2) << 62, cosine_sign = ((quadrant + 1) & 2) << 62;
  *sine = MV_REAL((numu)MV_BITS(real_select(swap, c, s)) ^ sine_sign);
  *cosine = MV_REAL((numu)MV_BITS(real_select(swap, s, c)) ^ cosine_sign);
}

/* --- the same for num: what tasks call -------------------------------------------------------------------- */
#if MV_NUM == MV_NUM_COMPLEX

#include <complex.h>
/* The complex build is an oracle and makes no samples: libm is welcome here. */
static inline num num_exp(num x) { return cexp(x); }
static inline num num_exp_negative(num x) { return cexp(x); }
static inline num num_log(num x) { return clog(x); }
static inline num num_log1p(num x) { return clog(1.0 + x); }
static inline numb num_less(num a, num b) { return real_less(creal(a), creal(b)); }
static inline num num_select(numb t, num a, num b) { return t ? a : b; }
static inline num num_stop(num x) { return creal(x); } /* derivatives stop here */
static inline num num_set(double x) { return x; }
#define MV_REAL_PART(x) creal(x)

#else

#define MV_REAL_PART(x) (x)

static inline num num_exp(num x) { return real_exp(x); }
static inline num num_exp_negative(num x) { return real_exp_negative(x); }
static inline num num_log(num x) { return real_log(x); }
static inline num num_log1p(num x) { return real_log1p(x); }
static inline numb num_less(num a, num b) { return real_less(a, b); }
static inline num num_select(numb t, num a, num b) { return real_select(t, a, b); }
static inline num num_stop(num x) { return x; }
static inline num num_set(double x) { return real_set(x); }

#endif

static inline num num_max(num a, num b) { return num_select(num_less(a, b), b, a); }

/* log(1 + e^x), without overflow */
static inline num num_softplus(num x)
{
  numb positive = num_less(num_set(0.0), x);
  num magnitude = num_select(positive, x, -x);
  return num_select(positive, x, num_set(0.0)) + num_log1p(num_exp_negative(-magnitude));
}

/* 1 / (1 + e^-x), without overflow: the derivative of softplus */
static inline num num_sigmoid(num x)
{
  numb positive = num_less(num_set(0.0), x);
  num e = num_exp_negative(num_select(positive, -x, x));
  return num_select(positive, num_set(1.0), e) / (1.0 + e);
}

/* tanh(x), to 2e-16 of 1; 1 - tanh^2 is its derivative */
static inline num num_tanh(num x)
{
  numb positive = num_less(num_set(0.0), x);
  num e = num_exp_negative(2.0 * num_select(positive, -x, x)), size = (1.0 - e) / (1.0 + e);
  return num_select(positive, size, -size);
}

/* One lane of an array x[k] of num, to be read or assigned. */
#if MV_NUM == MV_NUM_LANES
typedef double mv_lane_value __attribute__((may_alias));
typedef int64_t mv_lane_index __attribute__((may_alias));
#else
typedef num mv_lane_value;
typedef int64_t mv_lane_index __attribute__((may_alias));
#endif
#define NUM_LANE(x, k, lane)  (((mv_lane_value *)(x))[(k)*MV_LANES + (lane)])
#define NUMI_LANE(x, k, lane) (((mv_lane_index *)(x))[(k)*MV_LANES + (lane)])

#endif
