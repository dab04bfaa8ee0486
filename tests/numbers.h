/* numbers.h - fixed numbers for tests of networks, and a comparison that prints both sides. */
#ifndef METAVAR_TESTS_NUMBERS_H
#define METAVAR_TESTS_NUMBERS_H

#include "harness.h"

/* Fixed numbers in (-1, 1). */
static inline double any(int i)
{
  double x = 0.7548776662466927 * (i + 1);
  return 2 * (x - floor(x)) - 1;
}

static inline void near(const char *what, double got, double expected, double tolerance)
{
  if (!(fabs(got - expected) <= tolerance))
    fail_msg("%s: %.17g, expected %.17g within %g", what, got, expected, tolerance);
}

#endif
