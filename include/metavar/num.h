/* num.h - the number type of the inner loops, and the functions that may be called on it.
 *
 * One source text of every task and estimator is compiled several times:
 *   MV_NUM=MV_NUM_LANES    num is a native vector of MV_LANES doubles: MV_LANES lifetimes side by side
 *   MV_NUM=MV_NUM_SCALAR   num is one double: the reference
 *   MV_NUM=MV_NUM_COMPLEX  num is a double complex whose imaginary part is an exact directional derivative
 *                          (complex step; Squire & Trapp 1998), the oracle of every hand-written derivative
 * Every lane is an IEEE double computed by the same operations in the same order in all builds
 * (-ffp-contract=off, no libm), so results are bit-identical for every vector width and compiler.
 * Comparisons act on the real part. Arrays of num cross file boundaries by pointer only; seen from outside a
 * kernel, num x[k] is double x[k * lanes + lane].
 */
#ifndef METAVAR_NUM_H
#define METAVAR_NUM_H

#include <stdint.h>

#define MV_NUM_SCALAR  1
#define MV_NUM_LANES   2
#define MV_NUM_COMPLEX 3
#ifndef MV_NUM
#define MV_NUM MV_NUM_SCALAR
#endif
#define MV_LANES_MAX 8 /* widest kernel: 512 bits */

#if MV_NUM == MV_NUM_LANES
#define MV_VECTOR_BYTES (8 * MV_LANES)
typedef double num __attribute__((vector_size(MV_VECTOR_BYTES), may_alias));
typedef int64_t numi __attribute__((vector_size(MV_VECTOR_BYTES), may_alias));
typedef uint64_t numu __attribute__((vector_size(MV_VECTOR_BYTES), may_alias));
#else
#undef MV_LANES
#define MV_LANES 1
#if MV_NUM == MV_NUM_COMPLEX
typedef double _Complex num;
#else
typedef double num;
#endif
typedef int64_t numi;
typedef uint64_t numu;
#endif

#endif
