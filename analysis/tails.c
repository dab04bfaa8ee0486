/* tails.c - heavy tails: where a few samples decide, variances and their error bars mean little.
 *
 * Hill index: of the order statistics x_1 >= x_2 >= ... of |g|^2,
 *     1 / index = (1 / k) sum_{i <= k} log(x_i / x_{k+1}),                          (Hill 1975, Ann. Stat. 3:1163, eq. 2.2)
 * relative standard error 1 / sqrt(k). Below 2, E |g|^4 is infinite: the sample variance has no variance, so its standard
 * error has nothing to estimate; below 1 there is no variance either. Light tails give large values. Blocks keep only
 * their MV_LARGEST largest, so x_i is known while it is above the last kept of every block; k is the number of those, at
 * most one sample in a hundred, since the tail is what lies far out.
 *
 * Median of means: the samples in 8 log(1 / .05) = 24 bins; the median of the bins' means is within sqrt(32 log(1 / .05) / n)
 * standard deviations of the mean with probability 95 %, whatever the tail (Lugosi & Mendelson 2019, Found. Comput. Math.
 * 19:1145, theorem 2). Where it is far from the mean, a few samples make the mean.
 */
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>
#include <math.h>

#include "metavar/plan.h"
#include "metavar/tails.h"

#define LEAST  8    /* order statistics behind an index */
#define PART   100  /* the tail is at most one sample in so many */
#define BINS   24   /* of the median of means */
#define HEAVY  2.0  /* index of |g|^2 below which |g|^4 has no mean */
#define GREEDY 0.05 /* share of one sample in the sum of squares */

struct mv_tail mv_tail_make(void) { return (struct mv_tail){.known = -1}; }

static void insert(struct mv_tail *t, double x)
{
  if (t->filled == MV_TAIL_MAX) {
    double least = t->top[MV_TAIL_MAX - 1];
    t->known = fmax(t->known, fmin(least, x));
    if (x <= least)
      return;
    t->filled--;
  }
  int at = t->filled++;
  for (; at > 0 && t->top[at - 1] < x; at--)
    t->top[at] = t->top[at - 1];
  t->top[at] = x;
}

void mv_tail_add(struct mv_tail *t, const double *largest)
{
  t->known = fmax(t->known, largest[MV_LARGEST - 1]);
  for (int k = 0; k < MV_LARGEST && largest[k] > t->known; k++)
    insert(t, largest[k]);
}

struct mv_hill mv_tail_hill(const struct mv_tail *t, double samples)
{
  int above = 0, k;
  while (above < t->filled && t->top[above] > t->known)
    above++;
  k = (int)fmin(t->known < 0 ? above - 1 : above, samples / PART);
  double least = k < above ? t->top[k < 0 ? 0 : k] : t->known, sum = 0;
  if (k < LEAST || !(least > 0))
    return (struct mv_hill){NAN, 0};
  for (int i = 0; i < k; i++)
    sum += log(t->top[i] / least);
  return (struct mv_hill){k / sum, k};
}

bool mv_tail_warns(const struct mv_hill *hill, double share) { return hill->index < HEAVY || share > GREEDY; }

double mv_median_of_means(int groups, const int64_t *count, const double *mean, int64_t stride)
{
  double bin[BINS], all = 0, before = 0;
  int bins = 0;
  for (int g = 0; g < groups; g++)
    all += (double)count[g];
  double size = 0, sum = 0;
  for (int g = 0; g < groups; g++) { /* a bin ends where its share of the samples is full */
    size += (double)count[g];
    sum += count[g] ? (double)count[g] * mean[g * stride] : 0;
    if (size > 0 && before + size >= all * (bins + 1) / BINS * (1 - 1e-12)) {
      bin[bins++] = sum / size;
      before += size;
      size = sum = 0;
    }
  }
  if (bins == 0)
    return NAN;
  gsl_sort(bin, 1, (size_t)bins);
  return gsl_stats_median_from_sorted_data(bin, 1, (size_t)bins);
}
