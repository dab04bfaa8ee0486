/* revolve.c - binomial checkpointing: where to keep a state, and what it costs to keep few.
 *
 * beta(s, r) is the longest chain that s records and r evaluations of each step can serve (Griewank & Walther 2000,
 * equation 1): the right part of a segment may be as long as beta(s-1, r), the left part, which has been evaluated once, as
 * beta(s, r-1), and beta(s, r) = beta(s-1, r) + beta(s, r-1). They keep states alone, and evaluate each step once more
 * for its derivative; a record here keeps what the derivative needs too, so that r counts all evaluations.
 *
 * Among the splits that keep r least, the longest left part: then one of the two parts is as long as its bound, where
 * the evaluations in all are r beta(s, r) - beta(s+1, r-2). The least possible number is at most 3 % below
 * (tests/test_revolve.c).
 */
#include "metavar/revolve.h"

#include <assert.h>

/* beta(s, r); lengths are below 2^30, so what exceeds a length may as well be the largest number. */
static int64_t beta(int64_t records, int64_t repetitions)
{
  if (repetitions < 0)
    return 0;
  int64_t low = records < repetitions ? records : repetitions, high = records + repetitions - low, value = 1;
  for (int64_t k = 1; k <= low; k++) {
    if (value > INT64_MAX / (high + k))
      return INT64_MAX;
    value = value * (high + k) / k;
  }
  return value;
}

int64_t mv_revolve_repetitions(int64_t length, int64_t records)
{
  assert(length >= 1 && records >= 1);
  int64_t r = 1;
  for (int64_t reach = records + 1; reach < length; r++)
    reach = reach * (records + r + 1) / (r + 1);
  return r;
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

int64_t mv_revolve_split(int64_t length, int64_t records)
{
  assert(length >= 2);
  int64_t r = mv_revolve_repetitions(length, records);
  return smaller(beta(records, r - 1), length - beta(records - 1, r - 1));
}

/* Of a segment whose first step is evaluated already. */
static double again(int64_t length, int64_t records)
{
  double total = 0;
  while (length > 1) {
    int64_t r = mv_revolve_repetitions(length, records);
    if (length == beta(records, r))
      return total + (double)(r * length) - (double)beta(records + 1, r - 2);
    int64_t left = mv_revolve_split(length, records), right = length - left;
    total += (double)left;
    if (left == beta(records, r - 1)) { /* the left part is as long as it may be, or else the right one is */
      total += again(left, records) + (right == 1);
      length = right;
      records--;
    } else {
      total += right == 1 ? 1 : again(right, records - 1);
      length = left;
    }
  }
  return total;
}

double mv_revolve_evaluations(int64_t length, int64_t records) { return length == 1 ? 1 : again(length, records); }
