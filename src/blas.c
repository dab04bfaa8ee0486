/* blas.c - OpenBLAS, loaded at run time; products of few rows go to the kernel (few_rows.h), in any the same bits.
 *
 * OpenBLAS has kernels for every kind of processor and picks those of the one it runs on, when it is loaded; each adds in
 * an order of its own. For the same bits everywhere the choice is taken from it: OPENBLAS_CORETYPE is set before that, to
 * Haswell on every x86-64 with AVX2, unless the environment says otherwise. One thread; whoever wants more starts ranks.
 * The library is opened with local symbols: GSL keeps the BLAS that it was linked with.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "metavar/blas.h"
#include "metavar/kernel.h"
#include "metavar/store.h"

#define LIBRARY "libopenblas.so.0"

enum { ROW_MAJOR = 101, PLAIN = 111, TURNED = 112 }; /* of the CBLAS interface */

static void (*dgemm)(int order, int turn_a, int turn_b, int m, int n, int k, double alpha, const double *a,
                     int stride_a, const double *b, int stride_b, double beta, double *c, int stride_c);
static char *(*corename)(void);
static const struct mv_kernel *own;
static pthread_once_t opened = PTHREAD_ONCE_INIT;

static const char *default_core(void)
{
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? "Haswell" : "Prescott";
#else
  return "ARMV8";
#endif
}

/* Before main: no other thread reads the environment yet. */
__attribute__((constructor)) static void choose_core(void)
{
  setenv("OPENBLAS_CORETYPE", default_core(), 0);
  setenv("OPENBLAS_NUM_THREADS", "1", 1);
}

static void load(void)
{
  own = mv_kernel_best();
  void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
  if (library) {
    *(void **)&dgemm = dlsym(library, "cblas_dgemm");
    *(void **)&corename = dlsym(library, "openblas_get_corename");
  }
  if (!dgemm || !corename) {
    fprintf(stderr, "metavar: networks need OpenBLAS: %s; install it (make deps, or the package libopenblas0-serial)\n",
            dlerror());
    exit(MV_EXIT_RUNNING);
  }
}

void mv_blas_open(void) { pthread_once(&opened, load); }

const char *mv_blas_core(void)
{
  mv_blas_open();
  return corename();
}

void mv_blas_product(bool turn_a, bool turn_b, int m, int n, int k, double alpha, const double *a, const double *b,
                     double beta, double *c)
{
  mv_blas_open();
  if (m <= MV_FEW_ROWS && !turn_a && !turn_b && alpha == 1.0 && beta == 1.0)
    own->few_rows(m, n, k, a, b, c);
  else
    dgemm(ROW_MAJOR, turn_a ? TURNED : PLAIN, turn_b ? TURNED : PLAIN, m, n, k, alpha, a, turn_a ? m : k, b,
          turn_b ? k : n, beta, c, n);
}
