/* tails.h - how heavy the tail of |g|^2 is, and whether a few samples make a variance. */
#ifndef METAVAR_TAILS_H
#define METAVAR_TAILS_H

#include <stdbool.h>
#include <stdint.h>

#define MV_TAIL_MAX 128 /* largest squared norms that are remembered */

/* The largest squared norms of one vector, gathered from blocks that tell their MV_LARGEST largest each. */
struct mv_tail {
  int filled;
  double top[MV_TAIL_MAX]; /* descending */
  double known;            /* all that are larger are in top; -1: all there are */
};

struct mv_tail mv_tail_make(void);
/* largest[MV_LARGEST] of a block, descending; -1 where it has fewer samples. */
void mv_tail_add(struct mv_tail *, const double *largest);

/* Index of the tail P(|g|^2 > x) ~ x^-index, from the `count` largest of `samples` (Hill 1975). NaN and 0 if too few are
 * known. */
struct mv_hill {
  double index;
  int count;
};
struct mv_hill mv_tail_hill(const struct mv_tail *, double samples);

/* Whether a few samples dominate the variance: its own variance is infinite by the index, or one sample makes more than
 * a twentieth of the sum of squares. share: of the largest sample. NaN: unknown, no reason to warn. */
bool mv_tail_warns(const struct mv_hill *, double share);

/* Median over bins of neighbouring groups of their means of one coordinate (median of means). Groups have `count` samples
 * and mean[g * stride]. */
double mv_median_of_means(int groups, const int64_t *count, const double *mean, int64_t stride);

#endif
