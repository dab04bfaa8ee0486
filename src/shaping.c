/* shaping.c - fitness shaping over one population of n members with objectives F_i.
 *
 *   z_score         u_i = (F_i - mean F) / s, s^2 the mean squared deviation; 0 where all are equal
 *   centered_rank   u_i = rank_i / (n - 1) - 1/2, ranks 0 .. n - 1 upwards, equal members share the mean of theirs
 * (Salimans et al. 2017, section 2; Wierstra et al. 2014, section 3.1). The mean of sum u_i z_i / (n sigma) is no longer the
 * gradient of the smoothed objective: it follows that of an objective that depends on the population. Ranks do not change
 * with any increasing function of F. Sums run over the members in their order, so they are the same bits everywhere.
 */
#include "metavar/shaping.h"

#include <gsl/gsl_heapsort.h>
#include <math.h>

const char *const mv_shaping_names[] = {"none", "z_score", "centered_rank", NULL};

static void z_score(int64_t n, double *f)
{
  double count = 0, mean = 0, square = 0;
  for (int64_t i = 0; i < n; i++) {
    count += !isnan(f[i]);
    mean += isnan(f[i]) ? 0 : f[i];
  }
  mean /= count;
  for (int64_t i = 0; i < n; i++) {
    f[i] -= mean;
    square += isnan(f[i]) ? 0 : f[i] * f[i];
  }
  double s = sqrt(square / count);
  for (int64_t i = 0; i < n; i++) {
    f[i] = s > 0 ? f[i] / s : 0 * f[i];
  }
}

/* NaN last. */
static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return isnan(x) || isnan(y) ? !!isnan(x) - !!isnan(y) : (x > y) - (x < y);
}

static void centered_rank(int64_t n, double *f, size_t *order)
{
  size_t members = 0;
  gsl_heapsort_index(order, f, (size_t)n, sizeof *f, ascending);
  while (members < (size_t)n && !isnan(f[order[members]])) {
    members++;
  }
  for (size_t k = 0, end; k < members; k = end) {
    double rank, value = f[order[k]];
    for (end = k + 1; end < members && f[order[end]] == value; end++) {
    }
    rank = (double)(k + end - 1) / 2;
    for (size_t i = k; i < end; i++) {
      f[order[i]] = members > 1 ? rank / (double)(members - 1) - 0.5 : 0;
    }
  }
}

void mv_shape(enum mv_shaping shaping, int64_t n, double *fitness, size_t *order)
{
  if (shaping == MV_SHAPING_Z_SCORE) {
    z_score(n, fitness);
  } else if (shaping == MV_SHAPING_CENTERED_RANK) {
    centered_rank(n, fitness, order);
  }
}
