/* rounds.c - the stopping rule: replicates go to the cells that need them.
 *
 * A cell has n_1 = first_round replicates after round 1, n_k = 2^(k-1) n_1 after round k, at most its entry's. When a
 * round is complete, each of its cells either stops or goes on to the next, by the relative standard error of a
 * statistic of each gradient estimate g in R^M of the cell (gradients, targets, base + 1 component; the worst counts).
 * Replicates 0 .. n-1 fall into G groups of neighbours, at most 128, that share no task instance; group k has n_k
 * samples of mean g_k, and g is the mean of all:
 *
 *   variance   v = (1/n) sum_k q_k,  q_k = sum over the group of |x - g|^2
 *              se^2 = G/(G-1) sum_k (q_k - n_k v)^2 / n^2,  relative to v
 *   gradient   se^2 = G/(G-1) sum_k n_k^2 |g_k - g|^2 / n^2,  relative to |g|
 *
 * Both are the linearised ratio estimate of clusters (Cochran 1977, Sampling Techniques, chapter 6), so that nested
 * designs, whose neighbours depend on each other, need no other formula.
 *
 * Why so: a decision looks at one cell, at counts that are fixed beforehand, and at its first n replicates alone, in
 * their order. So it is a pure function of samples, which are pure functions of coordinates: neither ranks, unit sizes,
 * kills nor other cells can change which samples a run ends up with. Counts double, so all looks together read no more
 * than twice the data, and a statistic is looked at a few times, not after every sample: a rule that looks always stops
 * where the estimated error happens to be low. With doubling the bias of what is estimated at the stop vanishes as the
 * target does (Chow & Robbins 1965, Ann. Math. Stat. 36:457; Glynn & Whitt 1992, Ann. Appl. Probab. 2:180).
 *
 * What cannot be told never stops a cell before its last replicate: fewer than 20 groups, whose scatter says little; a
 * sample that is not finite, which leaves no mean; a mean of zero, whose relative error stays near 1; an entry without
 * gradients (the objective alone). An error of exactly 0 is small enough. Heavy tails are what no rule sees: before the
 * first large sample the error looks small.
 */
#include "metavar/rounds.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "metavar/memory.h"

#define GROUPS_MAX   128
#define GROUPS_LEAST 20
#define ROUNDING     1e-26 /* a variance this small against the squared mean is rounding: the samples are all the same */

int64_t mv_round_replicates(const struct mv_job *job, const struct mv_entry *entry, int round)
{
  int64_t replicates = job->stop.first_round;
  assert(round >= 1);
  if (!(job->stop.relative_error > 0))
    return entry->replicates;
  for (int k = 1; k < round && replicates < entry->replicates; k++)
    replicates *= 2;
  return replicates < entry->replicates ? replicates : entry->replicates;
}

bool mv_round_is_end(const struct mv_job *job, const struct mv_entry *entry, int64_t replicates)
{
  int round = 1;
  while (mv_round_replicates(job, entry, round) < replicates &&
         mv_round_replicates(job, entry, round) < entry->replicates)
    round++;
  return mv_round_replicates(job, entry, round) == replicates;
}

struct mv_gauge {
  const struct mv_job *job;
  const struct mv_layout *layout;
  int64_t width, groups; /* blocks in a group */
  int64_t nonfinite;
  int64_t *count; /* [groups] */
  double *mean;   /* [groups][vectors][meta] */
  double *square; /* [groups][vectors]: sum of squared distances from the group's mean */
};

struct mv_gauge *mv_gauge_create(const struct mv_plan *plan, int cell, int64_t replicates)
{
  int e = mv_plan_entry(plan, cell);
  const struct mv_entry *entry = &plan->job->entries[e];
  int64_t block = plan->job->block, blocks = (replicates + block - 1) / block;
  int64_t nest = mv_entry_nest(entry);
  int64_t whole = nest / mv_common_divisor(nest, block); /* blocks that end with a task instance */
  struct mv_gauge *g = mv_memory_take(1, sizeof *g);
  g->job = plan->job;
  g->layout = &plan->layout[e];
  g->width = whole * ((blocks + whole * GROUPS_MAX - 1) / (whole * GROUPS_MAX));
  g->groups = (blocks + g->width - 1) / g->width;
  size_t records = (size_t)(g->groups * g->layout->vectors);
  g->count = mv_memory_take((size_t)g->groups, sizeof *g->count);
  g->mean = mv_memory_take(records * (size_t)plan->job->meta, sizeof *g->mean);
  g->square = mv_memory_take(records, sizeof *g->square);
  return g;
}

void mv_gauge_free(struct mv_gauge *g)
{
  if (!g)
    return;
  free(g->count);
  free(g->mean);
  free(g->square);
  free(g);
}

/* Vector v of a block: its mean; returns the sum of squared distances from it. */
static double vector_moments(const struct mv_layout *layout, int64_t v, int meta, const double *mean,
                             const double *comoment, double *out)
{
  int64_t n = layout->moments;
  double square = 0;
  for (int m = 0; m < meta; m++) {
    int64_t i = layout->vector[v][0] + m, j = layout->vector[v][1] + m;
    out[m] = mean[i];
    square += comoment[mv_pair_at(n, i, i)];
    if (layout->vector[v][1] >= 0) {
      out[m] += mean[j];
      square += 2 * comoment[mv_pair_at(n, i, j)] + comoment[mv_pair_at(n, j, j)];
    }
  }
  return square > 0 ? square : 0; /* parts that cancel: a rounding error below zero */
}

/* Chan, Golub & LeVeque 1983, eq. 2.1, for sums over coordinates. */
void mv_gauge_add(struct mv_gauge *g, int64_t b, int64_t count, int64_t nonfinite, const double *mean,
                  const double *comoment)
{
  int64_t group = b / g->width, vectors = g->layout->vectors;
  int meta = g->job->meta;
  double x[meta];
  assert(group < g->groups);
  g->nonfinite += nonfinite;
  if (count == 0)
    return;
  double na = (double)g->count[group], nb = (double)count, n = na + nb;
  for (int64_t v = 0; v < vectors; v++) {
    double *to = g->mean + (group * vectors + v) * meta, distance = 0;
    double square = vector_moments(g->layout, v, meta, mean, comoment, x);
    for (int m = 0; m < meta; m++) {
      double d = x[m] - to[m];
      distance += d * d;
      to[m] += d * (nb / n);
    }
    g->square[group * vectors + v] += square + distance * (na * nb / n);
  }
  g->count[group] += count;
}

/* Relative standard error of the statistic of one vector. */
static double vector_error(const struct mv_gauge *g, int64_t v)
{
  int64_t vectors = g->layout->vectors;
  int meta = g->job->meta;
  double mean[meta], n = 0, groups = (double)g->groups, total = 0, size = 0, spread = 0, q[GROUPS_MAX];
  memset(mean, 0, sizeof mean);
  for (int64_t k = 0; k < g->groups; k++) {
    n += (double)g->count[k];
    for (int m = 0; m < meta; m++)
      mean[m] += (double)g->count[k] * g->mean[(k * vectors + v) * meta + m];
  }
  for (int m = 0; m < meta; m++) {
    mean[m] /= n;
    size += mean[m] * mean[m];
  }
  for (int64_t k = 0; k < g->groups; k++) {
    double count = (double)g->count[k], distance = 0;
    for (int m = 0; m < meta; m++) {
      double d = g->mean[(k * vectors + v) * meta + m] - mean[m];
      distance += d * d;
    }
    q[k] = g->square[k * vectors + v] + count * distance;
    total += q[k];
    spread += count * count * distance;
  }
  if (!isfinite(size + total + spread)) /* sums that overflow */
    return INFINITY;
  if (g->job->stop.statistic == MV_STATISTIC_GRADIENT)
    return spread > 0 ? sqrt(groups / (groups - 1) * spread / size) / n : 0;
  spread = 0;
  for (int64_t k = 0; k < g->groups; k++)
    spread += (q[k] - (double)g->count[k] * total / n) * (q[k] - (double)g->count[k] * total / n);
  return total > ROUNDING * n * size ? sqrt(groups / (groups - 1) * spread) / total : 0;
}

double mv_gauge_error(const struct mv_gauge *g)
{
  double most = 0;
  if (g->groups < GROUPS_LEAST || g->nonfinite > 0 || g->layout->vectors == 0)
    return INFINITY;
  for (int64_t v = 0; v < g->layout->vectors; v++) {
    double error = vector_error(g, v);
    most = error > most ? error : most;
  }
  return most;
}

bool mv_gauge_reached(const struct mv_gauge *g) { return mv_gauge_error(g) <= g->job->stop.relative_error; }
