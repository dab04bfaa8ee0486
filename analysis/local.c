/* local.c - local quadratic regression: a smooth function of eta and its derivatives, from values at scattered points.
 *
 * About eta, y is fitted by a parabola, a + d.c + d.C d / 2 with d = (point - eta) / scale, by least squares with weights
 *     w = (1 - (|d| / b)^3)^3,   b = 5/4 of the distance to the 2 (1 + M + M (M + 1) / 2)-th nearest point
 * (tricube: Cleveland 1979; Cleveland & Devlin 1988). The fit is linear in y, so it is kept as weights of the points:
 * A^-1 X'W with the normal matrix A = X'W X, Cholesky. Curvature of y leaves no error in a, as a straight line would.
 *
 * There is no answer beyond the points: eta has to lie in the convex hull of those that have a weight. The hull's nearest
 * point x to eta is found by moving weight from the point that is farthest along x - eta to the one that is farthest
 * against it (Mitchell, Dem'yanov & Malozemov 1974).
 */
#include <gsl/gsl_linalg.h>
#include <math.h>
#include <string.h>

#include "metavar/improvement.h"
#include "metavar/memory.h"

#define REACH       1.25
#define HULL_STEPS  400
#define HULL_MARGIN 1e-3 /* of the bandwidth: how far outside still counts as on the edge */
#define LEAST_RCOND 1e-9

static int columns_of(int meta) { return 1 + meta + meta * (meta + 1) / 2; }

int mv_local_least(int meta) { return columns_of(meta) + 1; }

void mv_local_make(struct mv_local *l, int meta, int points, const double *eta)
{
  const size_t columns = (size_t)columns_of(meta), most = (size_t)points;
  *l = (struct mv_local){.meta = meta, .points = points, .eta = eta};
  l->scale = mv_memory_take((size_t)meta, sizeof *l->scale);
  for (int j = 0; j < meta; j++) {
    double low = INFINITY, high = -INFINITY;
    for (int p = 0; p < points; p++) {
      low = fmin(low, eta[p * meta + j]);
      high = fmax(high, eta[p * meta + j]);
    }
    l->scale[j] = high > low ? high - low : 1;
  }
  l->point = mv_memory_take(most, sizeof *l->point);
  l->weight = mv_memory_take(most * (size_t)(1 + meta), sizeof *l->weight);
  /* distances, the same sorted, differences, rows of X, A, three columns */
  l->room = mv_memory_take(most * (2 + (size_t)meta + columns) + columns * (columns + 3), sizeof *l->room);
}

void mv_local_free(struct mv_local *l)
{
  free(l->scale);
  free(l->point);
  free(l->weight);
  free(l->room);
  *l = (struct mv_local){0};
}

static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The points within the bandwidth, which is returned: l->near, l->point, and d[near][meta]. */
static double find_near(struct mv_local *l, const double *eta, double *distance, double *sorted, double *d)
{
  const int meta = l->meta, wanted = 2 * columns_of(meta) < l->points ? 2 * columns_of(meta) : l->points;
  for (int p = 0; p < l->points; p++) {
    double square = 0;
    for (int j = 0; j < meta; j++) {
      double x = (l->eta[p * meta + j] - eta[j]) / l->scale[j];
      square += x * x;
    }
    distance[p] = sorted[p] = sqrt(square);
  }
  qsort(sorted, (size_t)l->points, sizeof *sorted, ascending);
  const double bandwidth = REACH * sorted[wanted - 1];
  l->near = 0;
  for (int p = 0; p < l->points; p++)
    if (distance[p] < bandwidth) {
      for (int j = 0; j < meta; j++)
        d[l->near * meta + j] = (l->eta[p * meta + j] - eta[j]) / l->scale[j];
      l->point[l->near++] = p;
    }
  return bandwidth;
}

static double dot(const double *a, const double *b, int n)
{
  double sum = 0;
  for (int k = 0; k < n; k++)
    sum += a[k] * b[k];
  return sum;
}

/* Whether 0 is in the hull of d[near][meta], or not farther than margin from it. share[near]: room. */
static bool surrounds(int near, int meta, const double *d, double margin, double *share)
{
  double x[meta];
  memcpy(x, d, sizeof x);
  memset(share, 0, (size_t)near * sizeof *share);
  share[0] = 1;
  for (int step = 0; step < HULL_STEPS; step++) {
    int to = 0, from = -1;
    double least = INFINITY, most = -INFINITY, length = dot(x, x, meta), between = 0;
    for (int p = 0; p < near; p++) {
      double along = dot(d + p * meta, x, meta);
      to = along < least ? p : to;
      least = along < least ? along : least;
      from = share[p] > 0 && along > most ? p : from;
      most = share[p] > 0 && along > most ? along : most;
    }
    if (length <= margin * margin)
      return true;
    if (!(least <= margin * sqrt(length))) /* x parts 0 from all of them */
      return false;
    for (int j = 0; j < meta; j++)
      between += pow(d[to * meta + j] - d[from * meta + j], 2);
    double move = fmin(share[from], (most - least) / between);
    for (int j = 0; j < meta; j++)
      x[j] += move * (d[to * meta + j] - d[from * meta + j]);
    share[to] += move;
    share[from] -= move;
  }
  return false;
}

static void fill_row(int meta, const double *d, double *row)
{
  int n = 0;
  row[n++] = 1;
  for (int j = 0; j < meta; j++)
    row[n++] = d[j];
  for (int i = 0; i < meta; i++)
    for (int j = i; j < meta; j++)
      row[n++] = d[i] * d[j];
}

bool mv_local_at(struct mv_local *l, const double *eta)
{
  const int meta = l->meta, columns = columns_of(meta);
  double *distance = l->room, *sorted = distance + l->points, *d = sorted + l->points, *x = d + l->points * meta;
  double *normal = x + l->points * columns, *work = normal + columns * columns, condition = 0;
  const double bandwidth = find_near(l, eta, distance, sorted, d);
  if (l->near < columns || !surrounds(l->near, meta, d, HULL_MARGIN * bandwidth, sorted))
    return false;
  memset(normal, 0, (size_t)(columns * columns) * sizeof *normal);
  for (int p = 0; p < l->near; p++) {
    double *row = x + p * columns, u = distance[l->point[p]] / bandwidth, tricube = pow(1 - u * u * u, 3);
    for (int j = 0; j < meta; j++)
      d[p * meta + j] /= bandwidth;
    fill_row(meta, d + p * meta, row);
    for (int i = 0; i < columns; i++)
      for (int j = 0; j < columns; j++)
        normal[i * columns + j] += tricube * row[i] * row[j];
    l->weight[p * (1 + meta)] = tricube;
  }
  gsl_matrix_view a = gsl_matrix_view_array(normal, (size_t)columns, (size_t)columns);
  gsl_vector_view out = gsl_vector_view_array(work, (size_t)columns);
  gsl_vector_view three = gsl_vector_view_array(work, (size_t)(3 * columns));
  if (gsl_linalg_cholesky_decomp1(&a.matrix) || gsl_linalg_cholesky_rcond(&a.matrix, &condition, &three.vector) ||
      !(condition > LEAST_RCOND))
    return false;
  for (int p = 0; p < l->near; p++) {
    double *weight = l->weight + p * (1 + meta), tricube = weight[0];
    for (int i = 0; i < columns; i++)
      work[i] = tricube * x[p * columns + i];
    gsl_linalg_cholesky_svx(&a.matrix, &out.vector);
    weight[0] = work[0];
    for (int j = 0; j < meta; j++)
      weight[1 + j] = work[1 + j] / (bandwidth * l->scale[j]);
  }
  return true;
}
