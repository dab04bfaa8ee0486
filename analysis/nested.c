/* nested.c - nested analysis of variance, streaming: what part of tr Var g lies between task instances, between lifetimes
 * of one instance, between perturbations of one lifetime.
 *
 * Sample p of lifetime l of task instance k is  g = mu + a_k + b_kl + c_klp,  uncorrelated, with mean zero and
 *     A = E|a|^2 = tr Var E[g | task],  B = E|b|^2 = tr E Var(E[g | task, lifetime] | task),  C = E|c|^2,
 * so that tr Var g = A + B + C (law of total variance). With n_kl samples of a lifetime, n_k of an instance, N in all, in
 * b lifetimes and a instances, and the means m_kl, m_k, m of these samples,
 *     S_C = sum |g - m_kl|^2,     S_B = sum n_kl |m_kl - m_k|^2,     S_A = sum n_k |m_k - m|^2,
 *     E S_C = (N - b) C
 *     E S_B = (N - q) B + (b - a) C                                 q = sum n_kl^2 / n_k
 *     E S_A = (N - s / N) A + (q - p / N) B + (a - 1) C             s = sum n_k^2,  p = sum n_kl^2,
 * solved from the top (Henderson 1953, Biometrics 9:226, method 1; for a balanced design the usual mean squares). The
 * answers are unbiased, hence sometimes negative. Samples that are not finite are missing.
 *
 * Everything is a sum over task instances, so a resample of groups of instances needs but the groups' sums; S_A of a
 * resample is  sum_g (S_g + n_g |m_g - c|^2) - |sum_g n_g (m_g - c)|^2 / N  with any c.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "metavar/components.h"
#include "metavar/memory.h"

#define FOR_INSTANCES 0x696e7374u /* stream */

static double *reals(int64_t count) { return mv_memory_take((size_t)count, sizeof(double)); }

struct mv_nested mv_nested_make(int meta, int settings, int64_t replicates, int64_t lifetimes, int64_t perturbations)
{
  int64_t each = lifetimes * perturbations, instances = (replicates + each - 1) / each;
  struct mv_nested n = {.meta = meta, .settings = settings, .lifetimes = lifetimes, .perturbations = perturbations};
  n.width = (instances + MV_NESTED_GROUPS - 1) / MV_NESTED_GROUPS;
  n.groups = (int)((instances + n.width - 1) / n.width);
  n.tally = mv_memory_take((size_t)n.groups, sizeof *n.tally);
  n.mean = reals((int64_t)n.groups * settings * meta);
  n.square = reals((int64_t)n.groups * settings * MV_LEVELS);
  n.life_mean = reals((int64_t)settings * meta);
  n.task_mean = reals((int64_t)settings * meta);
  n.at = -1;
  return n;
}

void mv_nested_free(struct mv_nested *n)
{
  free(n->tally);
  free(n->mean);
  free(n->square);
  free(n->life_mean);
  free(n->task_mean);
  *n = (struct mv_nested){0};
}

/* A part of weight n and mean x joins a whole of weight `before`: the mean, and what it adds to the sum of squares. */
static double join(int meta, double before, double *mean, double n, const double *x)
{
  double part = n / (before + n), far = 0;
  if (before == 0) {
    memcpy(mean, x, (size_t)meta * sizeof *mean);
    return 0;
  }
  for (int m = 0; m < meta; m++) {
    double d = x[m] - mean[m];
    mean[m] += d * part;
    far += d * d;
  }
  return far * before * part;
}

static int group_of(const struct mv_nested *n) { return (int)(n->at / n->lifetimes / n->width); }

static void end_lifetime(struct mv_nested *n)
{
  double *square = n->square + (int64_t)group_of(n) * n->settings * MV_LEVELS + MV_LEVEL_LIFETIME,
         size = n->life.samples;
  for (int64_t s = 0; s < n->settings; s++)
    square[s * MV_LEVELS] +=
        join(n->meta, n->task.samples, n->task_mean + s * n->meta, size, n->life_mean + s * n->meta);
  n->task.samples += size;
  n->task.p += size * size;
  n->task.lifetimes++;
  n->life.samples = 0;
}

static void end_task(struct mv_nested *n)
{
  int64_t first = (int64_t)group_of(n) * n->settings;
  struct mv_tally *t = &n->tally[group_of(n)];
  double size = n->task.samples;
  for (int64_t s = 0; s < n->settings; s++)
    n->square[(first + s) * MV_LEVELS + MV_LEVEL_TASK] +=
        join(n->meta, t->samples, n->mean + (first + s) * n->meta, size, n->task_mean + s * n->meta);
  t->samples += size;
  t->tasks++;
  t->lifetimes += n->task.lifetimes;
  t->q += n->task.p / size;
  t->s += size * size;
  t->p += n->task.p;
  n->task = (struct mv_tally){0};
}

void mv_nested_end(struct mv_nested *n)
{
  if (n->at < 0)
    return;
  end_lifetime(n);
  end_task(n);
  n->at = -1;
}

void mv_nested_add(struct mv_nested *n, int64_t replicate, const double *g)
{
  int64_t lifetime = replicate / n->perturbations;
  assert(lifetime >= n->at);
  if (n->at >= 0 && lifetime != n->at)
    end_lifetime(n);
  if (n->at >= 0 && lifetime / n->lifetimes != n->at / n->lifetimes)
    end_task(n);
  n->at = lifetime;
  double *square = n->square + (int64_t)group_of(n) * n->settings * MV_LEVELS + MV_LEVEL_PERTURBATION;
  for (int64_t s = 0; s < n->settings; s++)
    square[s * MV_LEVELS] += join(n->meta, n->life.samples, n->life_mean + s * n->meta, 1, g + s * n->meta);
  n->life.samples++;
}

/* --- resamples --------------------------------------------------------------------------------------------------- */

/* Fewer than two groups tell nothing. */
static bool is_poor(int groups, const uint8_t *times)
{
  int drawn = 0;
  for (int g = 0; g < groups; g++)
    drawn += times[g] > 0;
  return drawn < 2 && groups >= 2;
}

struct mv_redraws mv_redraws_make(int count, const struct mv_nested *cells, int points)
{
  int groups = cells[0].groups, least = cells[0].groups;
  for (int p = 1; p < points; p++) {
    groups = cells[p].groups > groups ? cells[p].groups : groups;
    least = cells[p].groups < least ? cells[p].groups : least;
  }
  struct mv_redraws r = {count, least, reals((int64_t)groups * count)};
  uint8_t times[groups];
  for (int i = 0; i < count; i++) {
    uint32_t attempt = 0;
    do
      mv_draw_counts(FOR_INSTANCES, (uint32_t)i, attempt++, groups, times);
    while (is_poor(least, times));
    for (int g = 0; g < groups; g++)
      r.times[(int64_t)g * count + i] = times[g];
  }
  return r;
}

void mv_redraws_free(struct mv_redraws *r)
{
  free(r->times);
  *r = (struct mv_redraws){0};
}

/* Columns of a group's row: the tally, three sums of squares about c, n (m - c). */
enum { TALLY = 6, SQUARES = TALLY, MEANS = TALLY + MV_LEVELS };

static void fill_row(const struct mv_nested *n, int setting, int g, const double *c, double *row)
{
  const struct mv_tally *t = &n->tally[g];
  int64_t record = (int64_t)g * n->settings + setting;
  memcpy(row, (double[]){t->samples, t->tasks, t->lifetimes, t->q, t->s, t->p}, sizeof(double[TALLY]));
  memcpy(row + SQUARES, n->square + record * MV_LEVELS, sizeof(double[MV_LEVELS]));
  for (int m = 0; m < n->meta; m++) {
    double d = t->samples > 0 ? n->mean[record * n->meta + m] - c[m] : 0;
    row[MEANS + m] = t->samples * d;
    row[SQUARES + MV_LEVEL_TASK] += t->samples * d * d;
  }
}

/* sum[columns]: sums of such rows. */
static void solve(const struct mv_nested *n, const double *sum, double out[MV_LEVELS])
{
  double samples = sum[0], tasks = sum[1], lines = sum[2], q = sum[3], s = sum[4], p = sum[5];
  double between = sum[SQUARES + MV_LEVEL_TASK];
  for (int m = 0; m < n->meta; m++)
    between -= sum[MEANS + m] * sum[MEANS + m] / samples;
  double c = n->perturbations > 1 ? sum[SQUARES + MV_LEVEL_PERTURBATION] / (samples - lines) : 0;
  double b = n->lifetimes > 1 ? (sum[SQUARES + MV_LEVEL_LIFETIME] - (lines - tasks) * c) / (samples - q) : 0;
  out[MV_LEVEL_TASK] = (between - (q - p / samples) * b - (tasks - 1) * c) / (samples - s / samples);
  out[MV_LEVEL_LIFETIME] = b;
  out[MV_LEVEL_PERTURBATION] = c;
  for (int level = 0; level < MV_LEVELS; level++)
    out[level] = isfinite(out[level]) ? out[level] : (double)NAN;
}

void mv_nested_components(const struct mv_nested *n, int setting, const struct mv_redraws *r, double out[MV_LEVELS],
                          double *draws)
{
  int columns = MEANS + n->meta;
  double c[n->meta], row[columns], sum[columns], *sums = reals((int64_t)columns * (draws ? r->count : 0));
  for (int m = 0; m < n->meta; m++) /* close to the mean is enough */
    c[m] = n->mean[(int64_t)setting * n->meta + m];
  memset(sum, 0, sizeof sum);
  for (int g = 0; g < n->groups; g++) {
    fill_row(n, setting, g, c, row);
    for (int k = 0; k < columns; k++) {
      sum[k] += row[k];
      for (int64_t i = 0; draws && i < r->count; i++)
        sums[k * r->count + i] += r->times[(int64_t)g * r->count + i] * row[k];
    }
  }
  solve(n, sum, out);
  for (int64_t i = 0; draws && i < r->count; i++) {
    double level[MV_LEVELS];
    for (int k = 0; k < columns; k++)
      sum[k] = sums[k * r->count + i];
    solve(n, sum, level);
    for (int k = 0; k < MV_LEVELS; k++)
      draws[k * r->count + i] = level[k];
  }
  free(sums);
}
