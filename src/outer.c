/* outer.c - the outer optimizers: one step of eta up the gradient g of J.
 *
 *   sgd   v <- momentum v + g;  eta <- eta + alpha v                                    (Polyak 1964)
 *   adam  m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
 *         eta <- eta + alpha (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)        (Kingma & Ba 2015, algorithm 1)
 * Elementary operations and sqrt alone, one coordinate after the other, so that every machine takes the same step.
 */
#include <math.h>
#include <string.h>

#include "metavar/memory.h"
#include "metavar/train.h"

int mv_outer_moments(const struct mv_train *t) { return t->optimizer == MV_ADAM ? 2 : t->momentum > 0 ? 1 : 0; }

/* base^n without libm's pow, whose last bit depends on the machine. */
static double power(double base, int64_t n)
{
  double out = 1;
  for (; n > 0; n /= 2, base *= base) {
    out *= n % 2 ? base : 1;
  }
  return out;
}

static void sgd(const struct mv_train *t, double rate, int meta, const double *g, double *eta, double *velocity)
{
  for (int j = 0; j < meta; j++) {
    double step = g[j];
    if (t->momentum > 0) {
      step = velocity[j] = t->momentum * velocity[j] + g[j];
    }
    eta[j] += rate * step;
  }
}

static void adam(const struct mv_train *t, double rate, int meta, const double *g, int64_t steps, double *eta,
                 double *moment)
{
  double b1 = t->betas.value[0], b2 = t->betas.value[1], *m = moment, *v = moment + meta;
  double first = 1 - power(b1, steps + 1), second = 1 - power(b2, steps + 1);
  for (int j = 0; j < meta; j++) {
    m[j] = b1 * m[j] + (1 - b1) * g[j];
    v[j] = b2 * v[j] + (1 - b2) * (g[j] * g[j]);
    eta[j] += rate * (m[j] / first) / (sqrt(v[j] / second) + t->epsilon);
  }
}

static bool all_finite(const double *x, int64_t count)
{
  for (int64_t k = 0; k < count; k++) {
    if (!isfinite(x[k])) {
      return false;
    }
  }
  return true;
}

bool mv_outer_step(const struct mv_train *t, double rate, int meta, const double *gradient, int64_t steps, double *eta,
                   double *moment)
{
  int kept = mv_outer_moments(t) * meta;
  size_t bytes = (size_t)(meta + kept) * sizeof(double);
  double *next = mv_memory_take(1, bytes);
  memcpy(next, eta, (size_t)meta * sizeof *eta);
  if (kept > 0) /* else there are no moments */
    memcpy(next + meta, moment, (size_t)kept * sizeof *eta);
  if (t->optimizer == MV_ADAM) {
    adam(t, rate, meta, gradient, steps, next, next + meta);
  } else {
    sgd(t, rate, meta, gradient, next, next + meta);
  }
  bool fine = all_finite(next, meta + kept);
  if (fine) {
    memcpy(eta, next, (size_t)meta * sizeof *eta);
    if (kept > 0)
      memcpy(moment, next + meta, (size_t)kept * sizeof *eta);
  }
  free(next);
  return fine;
}
