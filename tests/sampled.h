/* sampled.h - estimators with random streams against exact answers: means, variances and covariances of many replicates
 * with their standard errors. The streams are fixed, so a test that passes passes everywhere. */
#ifndef METAVAR_TESTS_SAMPLED_H
#define METAVAR_TESTS_SAMPLED_H

#include "harness.h"

#define SAMPLES 60000

/* Sums of a few million terms of size 1: rounding of about 1e-13. */
#define ROUNDING 1e-12

struct sampled {
  int64_t count;
  double *x; /* [values][count] */
};

static inline struct sampled sampled_make(struct rig *r, const double *eta)
{
  const int lanes = r->kernel->lanes;
  int64_t size = rig_total(r), n = SAMPLES / lanes * lanes;
  struct sampled s = {n, malloc(sizeof(double) * (size_t)(n * size))};
  struct mv_key key = mv_key_make(2024, eta, r->problem.shape.meta);
  for (int64_t first = 0; first < n; first += lanes) {
    rig_sample(r, key, eta, first, NULL);
    for (int64_t i = 0; i < size; i++)
      for (int l = 0; l < lanes; l++)
        s.x[i * n + first + l] = rig_value(r, i, l);
  }
  return s;
}

static inline void sampled_free(struct sampled *s) { free(s->x); }

struct figure {
  double value, se;
};

static inline struct figure sampled_mean(const struct sampled *s, int64_t i)
{
  double n = (double)s->count, sum = 0, square = 0;
  for (int64_t k = 0; k < s->count; k++)
    sum += s->x[i * s->count + k];
  for (int64_t k = 0; k < s->count; k++)
    square += pow(s->x[i * s->count + k] - sum / n, 2);
  return (struct figure){sum / n, sqrt(square / (n - 1) / n)};
}

static inline struct figure sampled_covariance(const struct sampled *s, int64_t i, int64_t j)
{
  double n = (double)s->count, a = sampled_mean(s, i).value, b = sampled_mean(s, j).value, sum = 0, square = 0;
  for (int64_t k = 0; k < s->count; k++) {
    double d = (s->x[i * s->count + k] - a) * (s->x[j * s->count + k] - b);
    sum += d, square += d * d;
  }
  return (struct figure){sum / (n - 1), sqrt((square / n - pow(sum / n, 2)) / n)};
}

static inline struct figure sampled_variance(const struct sampled *s, int64_t i) { return sampled_covariance(s, i, i); }

static inline void near(const char *what, double got, double expected, double tolerance)
{
  if (!(fabs(got - expected) <= tolerance))
    fail_msg("%s: %.17g, expected %.17g within %g", what, got, expected, tolerance);
}

static inline void compare(const char *what, int64_t i, struct figure got, double exact)
{
  if (!(fabs(got.value - exact) <= 4 * got.se + ROUNDING))
    fail_msg("%s of value %d: sampled %.6g, exact %.6g, %.2f standard errors apart", what, (int)i, got.value, exact,
             (got.value - exact) / got.se);
}

#endif
