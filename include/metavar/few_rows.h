/* few_rows.h - the product of a matrix of few rows with a large one. Kernel files only.
 *
 * A general product rearranges the large matrix for its inner loop, which pays for itself over many rows alone. Here it
 * is read as it lies, once for every five rows:
 *   C[m][n] += A[m][k] B[k][n],   each entry  ((c + a_0 b_0) + a_1 b_1) + ...
 * Lanes are columns. Every entry is a chain of its own, so all kernels give the same bits.
 */
#ifndef METAVAR_FEW_ROWS_H
#define METAVAR_FEW_ROWS_H

#include "metavar/num.h"

enum { MV_ROWS_AT_ONCE = 5 };

/* mv_few_NAME: as many columns as `vectors` <= 2 TYPEs have; its part of C in registers, where `rows` <= 5 is a constant. */
#define MV_FEW_EACH                                                                                                    \
  _Pragma("GCC unroll 5") for (int i = 0; i < rows; i++) _Pragma("GCC unroll 2") for (int j = 0; j < count; j++)
#define MV_FEW(name, type, vectors)                                                                                    \
  static inline __attribute__((always_inline)) void mv_few_##name(int rows, int n, int k, const double *a,             \
                                                                  const double *b, double *c)                          \
  {                                                                                                                    \
    enum { count = vectors };                                                                                          \
    type sum[MV_ROWS_AT_ONCE][count];                                                                                  \
    MV_FEW_EACH sum[i][j] = ((const type *)(c + i * n))[j];                                                            \
    for (int p = 0; p < k; p++, b += n)                                                                                \
      MV_FEW_EACH sum[i][j] += a[i * k + p] * ((const type *)b)[j];                                                    \
    MV_FEW_EACH((type *)(c + i * n))[j] = sum[i][j];                                                                   \
  }

enum { MV_FEW_LANES = MV_LANES < 2 ? 2 : MV_LANES };
typedef double mv_wide __attribute__((vector_size(8 * MV_FEW_LANES), aligned(8), may_alias));
typedef double mv_quad __attribute__((vector_size(32), aligned(8), may_alias));
MV_FEW(wide, mv_wide, 2)
MV_FEW(quad, mv_quad, 1)
MV_FEW(one, double, 1)

static inline __attribute__((always_inline)) void mv_few_columns(int rows, int n, int k, const double *a,
                                                                 const double *b, double *c)
{
  int j = 0;
  for (; j + 2 * MV_FEW_LANES <= n; j += 2 * MV_FEW_LANES)
    mv_few_wide(rows, n, k, a, b + j, c + j);
  for (; j + 4 <= n; j += 4)
    mv_few_quad(rows, n, k, a, b + j, c + j);
  for (; j < n; j++)
    mv_few_one(rows, n, k, a, b + j, c + j);
}

static inline void mv_few_rows(int m, int n, int k, const double *a, const double *b, double *c)
{
  int i = 0;
  for (; i + MV_ROWS_AT_ONCE <= m; i += MV_ROWS_AT_ONCE)
    mv_few_columns(MV_ROWS_AT_ONCE, n, k, a + i * k, b, c + i * n);
  for (; i < m; i++)
    mv_few_columns(1, n, k, a + i * k, b, c + i * n);
}

#endif
