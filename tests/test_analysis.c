/* test_analysis.c - the offline statistics against direct computation from samples. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>

#include "metavar/analysis.h"
#include "metavar/memory.h"

/* --- a layout as backprop's: direct[2][M], correction[2][3][M] on top of it, a target, an objective
 * ----------------------- */

enum { META = 2, LENGTHS = 2, DISCOUNTS = 3, DIRECT = LENGTHS * META, CORRECTION = LENGTHS * DISCOUNTS * META };
enum { VALUES = DIRECT + CORRECTION + LENGTHS * META + 1, PAIRS = VALUES * (VALUES + 1) / 2, VECTORS = 2 + 6 };

static const int64_t lengths[LENGTHS] = {2, 30};
static const double discounts[DISCOUNTS] = {0, 0.5, 1};
static double primal[LENGTHS] = {2, 30}, tangent[LENGTHS] = {20, 300};
static int64_t watched[VECTORS][2];

static struct mv_layout make_layout(void)
{
  struct mv_axis length = {.name = "truncation", .kind = MV_AXIS_INTS, .length = LENGTHS, .value.ints = lengths};
  struct mv_axis discount = {
      .name = "meta_discount", .kind = MV_AXIS_REALS, .length = DISCOUNTS, .value.reals = discounts};
  struct mv_axis meta = {.name = "meta_parameter", .kind = MV_AXIS_INTS, .length = META};
  struct mv_layout l = {
      .output_count = 4,
      .output = {{.name = "direct", .role = MV_GRADIENT, .rank = 2, .axis = {length, meta}},
                 {.name = "correction", .role = MV_COMPONENT, .base = 0, .rank = 3, .axis = {length, discount, meta}},
                 {.name = "weighted", .role = MV_TARGET, .rank = 2, .axis = {length, meta}},
                 {.name = "objective", .role = MV_OBJECTIVE}},
      .offset = {0, DIRECT, DIRECT + CORRECTION, VALUES - 1},
      .size = {DIRECT, CORRECTION, LENGTHS * META, 1},
      .values = VALUES,
      .moments = VALUES,
      .pairs = PAIRS,
      .vectors = VECTORS,
      .vector = watched,
      .cost_rank = 1,
      .settings = LENGTHS,
      .primal = primal,
      .tangent = tangent,
  };
  for (int t = 0; t < LENGTHS; t++) {
    watched[t][0] = t * META;
    watched[t][1] = -1;
    for (int d = 0; d < DISCOUNTS; d++) {
      watched[LENGTHS + t * DISCOUNTS + d][0] = t * META;
      watched[LENGTHS + t * DISCOUNTS + d][1] = DIRECT + (t * DISCOUNTS + d) * META;
    }
  }
  return l;
}

/* Moments of a block, straight from the definitions. */
struct block {
  struct mv_moments moments;
  double mean[VALUES], comoment[PAIRS], largest[VECTORS * MV_LARGEST];
  int64_t largest_id[VECTORS * MV_LARGEST];
};

static void make_block(struct block *b, int64_t id, int64_t first, int count, double (*x)[VALUES])
{
  memset(b, 0, sizeof *b);
  for (int k = 0; k < VALUES; k++)
    for (int i = 0; i < count; i++)
      b->mean[k] += x[i][k] / count;
  for (int j = 0, at = 0; j < VALUES; j++)
    for (int k = j; k < VALUES; k++, at++)
      for (int i = 0; i < count; i++)
        b->comoment[at] += (x[i][j] - b->mean[j]) * (x[i][k] - b->mean[k]);
  for (int v = 0; v < VECTORS; v++)
    for (int i = 0; i < count; i++) {
      double square = 0;
      for (int m = 0; m < META; m++) {
        double g = x[i][watched[v][0] + m] + (watched[v][1] < 0 ? 0 : x[i][watched[v][1] + m]);
        square += g * g;
      }
      if (i == 0 || square > b->largest[v * MV_LARGEST]) {
        b->largest[v * MV_LARGEST] = square;
        b->largest_id[v * MV_LARGEST] = first + i;
      }
    }
  b->moments = (struct mv_moments){id, count, 0, b->mean, b->comoment, b->largest, b->largest_id};
}

static void near(double x, double y, double relative)
{
  if (!(fabs(x - y) <= relative * fmax(fabs(x), fabs(y))))
    fail_msg("%.17g is not %.17g within %g", x, y, relative);
}

/* --- settings, merging, combining
 * -------------------------------------------------------------------------------------- */

static void test_settings(void **state)
{
  (void)state;
  struct mv_layout layout = make_layout();
  struct mv_settings s = mv_settings_make(&layout, (double[]){0, 0.5, 1}, 3);
  assert_int_equal(s.count, LENGTHS * DISCOUNTS * 3 + LENGTHS); /* direct itself is coefficient 0 */
  assert_int_equal(s.meta, META);
  const struct mv_setting *last = &s.at[LENGTHS * DISCOUNTS * 3 - 1]; /* T 30, discount 1, lambda 1 */
  assert_int_equal(last->base, META);
  assert_int_equal(last->first, DIRECT + 5 * META);
  assert_int_equal(last->watched, LENGTHS + 5);
  assert_true(last->lambda == 1 && last->primal == 30 && last->tangent == 300);
  assert_int_equal(last[-1].watched, -1); /* lambda 0.5 */
  assert_int_equal(last[-2].watched, 1);  /* lambda 0: direct */
  const struct mv_output *output = &layout.output[last->output];
  int axis = mv_setting_axis(&layout, last, "meta_discount");
  assert_true(mv_axis_number(&output->axis[axis], last->index[axis]) == 1);
  assert_int_equal(mv_setting_axis(&layout, last, "hessian"), -1);
  mv_settings_free(&s);
}

/* A panel of one entry in groups of so many blocks. */
static struct mv_panel make_panel(int settings, int64_t blocks, int64_t each)
{
  struct mv_panel p;
  mv_panel_make(&p, META, 1, &(struct mv_extent){settings, blocks, each, 0});
  return p;
}

/* Every row of the panel's only entry, without a reference. */
static void fill_rows(struct mv_panel *p, int resamples, const struct mv_settings *settings, struct mv_row *row,
                      double *coordinates)
{
  struct mv_point at;
  mv_panel_close(p, resamples, 0);
  mv_point_make(&at, p, &(struct mv_analysis){resamples, 0.95}, NULL);
  for (int s = 0; s < settings->count; s++)
    mv_cell_fill(&at, 0, s, 1, &settings->at[s], &row[s], coordinates + s * MV_COORDINATES * META, NULL);
  mv_point_free(&at);
  mv_panel_free(p);
}

/* Groups of blocks of unequal size against the samples themselves, for every setting. */
static void test_combine_and_merge(void **state)
{
  (void)state;
  enum { N = 100, BLOCK = 8 };
  static double x[N][VALUES];
  struct mv_layout layout = make_layout();
  struct mv_settings settings = mv_settings_make(&layout, (double[]){-0.3, 0, 1}, 3);
  struct mv_panel panel = make_panel(settings.count, (N + BLOCK - 1) / BLOCK, 3);
  gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
  for (int i = 0; i < N; i++)
    for (int k = 0; k < VALUES; k++)
      x[i][k] = 100 + gsl_ran_gaussian(rng, 1 + k);
  for (int b = 0; b * BLOCK < N; b++) {
    struct block block;
    make_block(&block, b, b * BLOCK, N - b * BLOCK < BLOCK ? N - b * BLOCK : BLOCK, x + b * BLOCK);
    mv_panel_add(&panel, 0, &settings, &layout, &block.moments);
  }
  struct mv_row row[settings.count];
  double coordinates[settings.count][MV_COORDINATES][META];
  fill_rows(&panel, 100, &settings, row, &coordinates[0][0][0]);
  for (int s = 0; s < settings.count; s++) {
    const struct mv_setting *at = &settings.at[s];
    double trace = 0, largest = 0, squares = 0, mean[META] = {0}, norm[N] = {0};
    int64_t who = -1;
    for (int m = 0; m < META; m++) {
      double g[N], square = 0;
      for (int i = 0; i < N; i++) {
        g[i] = at->base < 0 ? x[i][at->first + m] : x[i][at->base + m] + at->lambda * x[i][at->first + m];
        mean[m] += g[i] / N;
        norm[i] += g[i] * g[i];
      }
      for (int i = 0; i < N; i++)
        square += (g[i] - mean[m]) * (g[i] - mean[m]);
      near(coordinates[s][0][m], mean[m], 1e-12);
      near(coordinates[s][1][m], sqrt(square / (N - 1) / N), 1e-10);
      near(coordinates[s][2][m], square / (N - 1), 1e-10);
      trace += square / (N - 1);
    }
    for (int i = 0; i < N; i++) {
      squares += norm[i];
      if (norm[i] > largest) {
        largest = norm[i];
        who = i;
      }
    }
    assert_int_equal(row[s].count, N);
    near(row[s].stat[MV_STAT_VARIANCE], trace, 1e-10);
    assert_true(isnan(row[s].stat[MV_STAT_BIAS2_UNBIASED]));
    if (at->watched >= 0) {
      near(row[s].stat[MV_STAT_LARGEST_SHARE], largest / squares, 1e-12);
      assert_int_equal(row[s].largest_id, who);
    } else {
      assert_true(isnan(row[s].stat[MV_STAT_LARGEST_SHARE]));
    }
  }
  mv_settings_free(&settings);
  gsl_rng_free(rng);
}

/* One sample in a thousand carries nearly everything: the share says so, and who it was. */
static void test_heavy_tail(void **state)
{
  (void)state;
  enum { N = 1000, BLOCK = 50, WHO = 777 };
  static double x[N][VALUES];
  struct mv_layout layout = make_layout();
  struct mv_settings settings = mv_settings_make(&layout, (double[]){1}, 1);
  struct mv_panel panel = make_panel(settings.count, N / BLOCK, 1);
  struct mv_row row[settings.count];
  double coordinates[settings.count][MV_COORDINATES][META];
  for (int i = 0; i < N; i++)
    for (int k = 0; k < VALUES; k++)
      x[i][k] = i == WHO ? 1e4 : i % 2 - 0.5;
  for (int b = 0; b < N / BLOCK; b++) {
    struct block block;
    make_block(&block, b, b * BLOCK, BLOCK, x + b * BLOCK);
    block.moments.nonfinite = 2;
    mv_panel_add(&panel, 0, &settings, &layout, &block.moments);
  }
  fill_rows(&panel, 200, &settings, row, &coordinates[0][0][0]);
  assert_int_equal(row[0].largest_id, WHO);
  near(row[0].stat[MV_STAT_LARGEST_SHARE], 2 * 4e8 / (2 * 4e8 + 2 * 999),
       1e-12); /* direct + correction: 2e4, else +-1 */
  assert_int_equal(row[0].nonfinite, 2 * N / BLOCK);
  assert_true(row[0].stat[MV_STAT_VARIANCE_SE] > 0.5 * row[0].stat[MV_STAT_VARIANCE]);
  mv_settings_free(&settings);
}

static void test_merge_far_from_zero(void **state)
{
  (void)state;
  double mean = 1e9, square = 2, b_mean = 1e9 + 1, b_square = 2; /* {1e9 - 1, 1e9 + 1} and {1e9, 1e9 + 2} */
  assert_int_equal(mv_merge(1, 2, &mean, &square, 2, &b_mean, &b_square), 4);
  assert_true(mean == 1e9 + 0.5 && square == 5);
  assert_int_equal(mv_merge(1, 4, &mean, &square, 0, &b_mean, &b_square), 4);
  assert_true(square == 5);
}

/* Averages over points, their combined error, and an interval that holds them. */
static void test_grid(void **state)
{
  (void)state;
  enum { DRAWS = 5 };
  struct mv_row rows[4][2];
  struct mv_average average[2][MV_FIGURES] = {0};
  const double errors[DRAWS] = {-2, -1, 0, 1, 2};
  for (int p = 0; p < 4; p++)
    for (int s = 0; s < 2; s++) {
      rows[p][s] = (struct mv_row){.count = 10, .nonfinite = p};
      for (int k = 0; k < MV_STATS; k++)
        rows[p][s].stat[k] = s == 0 ? p + 1 : NAN;
      for (int f = 0; f < MV_FIGURES; f++) {
        struct mv_estimate e = mv_row_figure(&rows[p][s], (enum mv_figure)f);
        mv_average_add(&average[s][f], &e, DRAWS, errors);
      }
    }
  struct mv_grid_row row;
  mv_grid_fill(&row, &rows[0][0], 4, 2, META, average[0], 0.5);
  assert_int_equal(row.count, 40);
  assert_int_equal(row.nonfinite, 6);
  near(row.average[0].here.value, 2.5, 1e-15);
  near(row.average[0].here.se, sqrt(1 + 4 + 9 + 16) / 4, 1e-15);
  near(row.average[1].here.se, sqrt(1 + 4 + 9 + 16) / 8, 1e-15); /* over M = 2 */
  near(row.average[0].here.low, 1.5, 1e-15);                     /* the quartiles of the errors are -1 and 1 */
  near(row.average[1].here.high, 3.5 / 2, 1e-15);
  assert_true(row.average[0].eta_low == 2 &&
              row.average[0].eta_high == 3); /* quartiles of the mean of 4 draws from 4 */
  assert_true(row.largest_share == 4);
  mv_grid_fill(&row, &rows[0][1], 4, 2, META, average[1], 0.5);
  assert_true(isnan(row.average[0].here.value) && isnan(row.average[0].here.low) && isnan(row.average[0].eta_low) &&
              isnan(row.largest_share));
  for (int k = 0; k < 2 * MV_FIGURES; k++)
    mv_average_free(&average[k / MV_FIGURES][k % MV_FIGURES]);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_settings),
      cmocka_unit_test(test_combine_and_merge),
      cmocka_unit_test(test_merge_far_from_zero),
      cmocka_unit_test(test_heavy_tail),
      cmocka_unit_test(test_grid),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
