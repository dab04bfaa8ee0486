/* improvement.c - improvement.csv: what bias and variance predict that each update adds to J, beside what was realised.
 *
 * An update goes from eta to eta + alpha (v + r), r the mean of m replicates with mean g + b and covariance S / m, g the
 * gradient of J and H its Hessian, v = momentum x velocity (0 without). With u = g + b + v,
 *     E J(eta') - J(eta) = alpha g.g              drift: the step that a perfect gradient would take
 *                        + alpha g.b              bias
 *                        + alpha g.v              momentum
 *                        + alpha^2 / 2 u.H u      curvature along the mean step
 *                        + alpha^2 / 2m tr H S    noise, through the curvature         + O(alpha^3),
 * and what happens scatters about it with variance alpha^2 g.S g / m (chance). g, b, S and H = dg / deta come from the
 * study (study.c, local.c) at the eta where the curve is. Given where it is, updates are independent in what they add, so
 * sums along a curve predict J(eta_t) - J(eta_0), and their chances add up.
 *
 * Squares of noisy means are too large; delete-a-group jackknife: with x of everything and x_k without group k of G,
 * the estimate is G x - (G - 1) mean x_k, its variance (G - 1) / G sum (x_k - mean)^2. Sums along a curve are jackknifed
 * as sums, since neighbouring updates use the same samples of the study.
 */
#include <math.h>
#include <string.h>

#include "metavar/improvement.h"
#include "metavar/memory.h"
#include "metavar/train.h"

#define ROWS_MOST  1000 /* of one curve */
#define PARTS_MOST 20   /* places on the path at which the updates between two rows are judged */
#define TAKES      (1 + MV_STUDY_GROUPS)

void mv_improvement(int meta, double rate, double replicates, const double *g, const double *q, const double *hessian,
                    const double *velocity, const double *covariance, double out[MV_PARTS])
{
  double u[meta];
  memset(out, 0, MV_PARTS * sizeof *out);
  for (int i = 0; i < meta; i++) {
    const double v = velocity ? velocity[i] : 0;
    u[i] = q[i] + v;
    out[MV_DRIFT] += rate * g[i] * g[i];
    out[MV_BIAS] += rate * g[i] * (q[i] - g[i]);
    out[MV_MOMENTUM] += rate * g[i] * v;
  }
  for (int i = 0; i < meta; i++)
    for (int j = 0; j < meta; j++) {
      const double h = hessian[i * meta + j], s = covariance[mv_pair_at(meta, i, j)] / replicates;
      out[MV_CURVATURE] += rate * rate / 2 * u[i] * h * u[j];
      out[MV_NOISE] += rate * rate / 2 * h * s;
      out[MV_CHANCE] += rate * rate * g[i] * s * g[j];
    }
}

/* A curve on its way through the study. */
struct walk {
  const struct mv_study *study;
  const struct mv_subject *subject;
  struct mv_local *local;
  const struct mv_job *job;
  const struct mv_entry *entry;
  int64_t rows, stride; /* updates from one row of the table to the next */
  double *eta, *velocity, *evaluated, *evaluated_se;
  double sum[TAKES][MV_PARTS], all[TAKES][MV_PARTS]; /* since the row before; since the start */
  int64_t updates, outside;                          /* since the row before */
};

/* Value of a quantity with `size` numbers at each point, and its derivatives (may be NULL). */
static void fit(const struct mv_local *l, const double *y, int size, double *value, double *slope)
{
  const int width = 1 + l->meta;
  memset(value, 0, (size_t)size * sizeof *value);
  if (slope)
    memset(slope, 0, (size_t)(size * l->meta) * sizeof *slope);
  for (int p = 0; p < l->near; p++)
    for (int k = 0; k < size; k++) {
      const double *w = l->weight + p * width, x = y[l->point[p] * size + k];
      value[k] += w[0] * x;
      for (int j = 0; slope && j < l->meta; j++)
        slope[k * l->meta + j] += w[1 + j] * x;
    }
}

/* `count` updates, all of them as if they were at update u. */
static void add_updates(struct walk *w, int64_t u, int64_t count)
{
  const int meta = w->study->meta, pairs = meta * (meta + 1) / 2, points = w->study->points;
  const double rate = mv_entry_rate(w->job, w->entry), replicates = (double)w->entry->replicates;
  double g[meta], q[meta], s[pairs], slope[meta * meta], hessian[meta * meta], v[meta], out[MV_PARTS];
  w->updates += count;
  if (!mv_local_at(w->local, w->eta + u * meta)) {
    w->outside += count;
    return;
  }
  for (int j = 0; j < meta && w->velocity; j++)
    v[j] = w->job->train.momentum * w->velocity[u * meta + j];
  for (int k = 0; k < TAKES; k++) {
    fit(w->local, w->study->reference.mean + k * points * meta, meta, g, slope);
    fit(w->local, w->subject->mean + k * points * meta, meta, q, NULL);
    fit(w->local, w->subject->covariance + k * points * pairs, pairs, s, NULL);
    for (int i = 0; i < meta; i++)
      for (int j = 0; j < meta; j++)
        hessian[i * meta + j] = (slope[i * meta + j] + slope[j * meta + i]) / 2;
    mv_improvement(meta, rate, replicates, g, q, hessian, w->velocity ? v : NULL, s, out);
    for (int part = 0; part < MV_PARTS; part++)
      w->sum[k][part] += (double)count * out[part];
  }
}

/* --- the jackknife ------------------------------------------------------------------------------------------------ */

struct estimate {
  double value, se;
};

static struct estimate jackknife(const double x[TAKES])
{
  const double groups = MV_STUDY_GROUPS;
  double mean = 0, square = 0;
  for (int k = 1; k < TAKES; k++)
    mean += x[k] / groups;
  for (int k = 1; k < TAKES; k++)
    square += (x[k] - mean) * (x[k] - mean);
  return (struct estimate){groups * x[0] - (groups - 1) * mean, sqrt((groups - 1) / groups * square)};
}

/* One part, or (MV_PARTS) all that is expected. */
static struct estimate part_of(double takes[TAKES][MV_PARTS], int part, double scale)
{
  double x[TAKES];
  for (int k = 0; k < TAKES; k++) {
    x[k] = 0;
    for (int p = 0; p < MV_CHANCE; p++)
      x[k] += part == MV_PARTS || part == p ? scale * takes[k][p] : 0;
    x[k] = part == MV_CHANCE ? scale * takes[k][MV_CHANCE] : x[k];
  }
  return jackknife(x);
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

static void put(FILE *file, struct estimate e)
{
  mv_csv_put(file, e.value);
  mv_csv_put(file, e.se);
}

static struct estimate realised(const struct walk *w, int64_t from, int64_t to, double scale)
{
  return (struct estimate){scale * (w->evaluated[to] - w->evaluated[from]),
                           scale * hypot(w->evaluated_se[from], w->evaluated_se[to])};
}

static double chance(double takes[TAKES][MV_PARTS], double scale)
{
  double variance = part_of(takes, MV_CHANCE, 1).value;
  return scale * sqrt(variance > 0 || isnan(variance) ? variance : 0);
}

static void write_row(FILE *file, struct walk *w, int64_t to)
{
  const double each = 1 / (double)w->updates;
  for (int k = 0; k < TAKES; k++)
    for (int part = 0; part < MV_PARTS; part++) {
      w->sum[k][part] = w->outside > 0 ? (double)NAN : w->sum[k][part];
      w->all[k][part] += w->sum[k][part];
    }
  fprintf(file, ",%lld,%lld,%lld", (long long)to, (long long)w->updates, (long long)w->outside);
  for (int part = 0; part < MV_CHANCE; part++)
    mv_csv_put(file, part_of(w->sum, part, each).value);
  put(file, part_of(w->sum, MV_PARTS, each));
  mv_csv_put(file, chance(w->sum, each));
  put(file, realised(w, to - w->updates, to, each));
  put(file, part_of(w->all, MV_PARTS, 1));
  mv_csv_put(file, chance(w->all, 1));
  put(file, realised(w, 0, to, 1));
  fputc('\n', file);
  memset(w->sum, 0, sizeof w->sum);
  w->updates = w->outside = 0;
}

static void write_curve(FILE *file, struct walk *w, const struct mv_plan *plan, int cell)
{
  const int seeds = (int)w->job->train.seeds, point = mv_plan_point(plan, cell);
  for (int64_t to = w->stride; to < w->rows; to += w->stride) {
    int64_t step = (w->stride + PARTS_MOST - 1) / PARTS_MOST;
    for (int64_t u = to - w->stride; u < to; u += step) {
      int64_t count = to - u < step ? to - u : step;
      add_updates(w, u + (count - 1) / 2, count);
    }
    mv_start_put(file, plan, mv_plan_entry(plan, cell), point / seeds);
    fprintf(file, ",%d", point % seeds);
    write_row(file, w, to);
  }
}

/* Exit code. */
static int walk_curve(FILE *file, struct mv_results *results, struct mv_study *study, struct mv_local *local, int cell)
{
  const struct mv_plan *plan = mv_results_plan(results);
  const int e = mv_plan_entry(plan, cell);
  bool fine = true;
  struct walk w = {.study = study,
                   .subject = &study->subject[e],
                   .local = local,
                   .job = plan->job,
                   .entry = &plan->job->entries[e],
                   .rows = mv_job_rows(plan->job, e),
                   .stride = mv_curve_stride(plan->job, e, ROWS_MOST)};
  w.eta = mv_curve_column(results, cell, "eta", &fine);
  w.evaluated = mv_curve_column(results, cell, "evaluated", &fine);
  w.evaluated_se = mv_curve_column(results, cell, "evaluated_se", &fine);
  if (plan->job->train.momentum > 0)
    w.velocity = mv_curve_column(results, cell, "velocity", &fine);
  if (fine)
    write_curve(file, &w, plan, cell);
  free(w.eta);
  free(w.evaluated);
  free(w.evaluated_se);
  free(w.velocity);
  return fine ? MV_EXIT_OK : MV_EXIT_DATA;
}

int mv_improvement_write(FILE *file, struct mv_results *results, struct mv_study *study)
{
  const struct mv_plan *plan = mv_results_plan(results);
  int code = MV_EXIT_OK;
  struct mv_local local;
  fputs("entry,estimator,shaping,start", file);
  mv_csv_names(file, "start", plan->job->meta);
  fputs(",seed,update,updates,outside,drift,bias,momentum,curvature,noise,predicted,predicted_se,chance,realised,"
        "realised_se,predicted_sum,predicted_sum_se,chance_sum,realised_sum,realised_sum_se\n",
        file);
  mv_local_make(&local, study->meta, study->points, study->tables.job->eta);
  for (int cell = 0; cell < plan->cells && code == MV_EXIT_OK; cell++)
    if (study->subject[mv_plan_entry(plan, cell)].entry >= 0)
      code = walk_curve(file, results, study, &local, cell);
  mv_local_free(&local);
  return code;
}
