/* blas.h - matrix products for networks: of OpenBLAS, and our own for few rows. The library is loaded when it is first
 * wanted, so that nothing else needs it and nothing else in this program is computed by it. */
#ifndef METAVAR_BLAS_H
#define METAVAR_BLAS_H

#include <stdbool.h>

/* Loads the library; ends the program with a message and code 69 when it cannot. Any thread. */
void mv_blas_open(void);

/* The library's kernels in use, such as "Haswell": with another library or another name, products have other bits. */
const char *mv_blas_core(void);

/* Up to here C = A B + C is computed by our own code: more rows are worth the rearranging of B that OpenBLAS begins with. */
enum { MV_FEW_ROWS = 15 };

/* C = alpha op(A) op(B) + beta C, rows first, without gaps: op(A)[m][k], op(B)[k][n], C[m][n]; op transposes or not. */
void mv_blas_product(bool turn_a, bool turn_b, int m, int n, int k, double alpha, const double *a, const double *b,
                     double beta, double *c);

#endif
