/* tree_smooth.h - exact mean and variance of es with independent members on tree_bandit, and so the gradients of the
 * smoothed objectives: enumeration at the nodes of a quadrature over the directions. */
#ifndef METAVAR_TESTS_TREE_SMOOTH_H
#define METAVAR_TESTS_TREE_SMOOTH_H

#include "tree.h"

enum { VALUES = 2 * LENGTHS }; /* [T][M] */

struct level {
  double first[2][LENGTHS], second[2][LENGTHS]; /* E F, E F^2 of each instance */
};

static inline struct level level_at(struct rig *r, const double *point)
{
  struct level level = {0};
  struct tree tree;
  tree_make(&tree);
  double *eta = tree_eta(r->kernel, point);
  for (int64_t first = 0; first < TREE_ALL; first += r->kernel->lanes) {
    struct tree_walk w = tree_run(r, &tree, eta, first);
    for (int l = 0; l < w.lanes && first + l < TREE_ALL; l++) {
      double weight = tree_weight(&tree, &w, first + l, l);
      int instance = tree_instance(first + l);
      for (int t = 0; t < LENGTHS; t++) {
        int64_t T = lengths.value[t], starts = TREE_STEPS - T + 1;
        for (int64_t s = 0; s < starts; s++) {
          double f = 0;
          for (int64_t n = s; n < s + T; n++)
            f += w.reward[n][l] / (double)T;
          level.first[instance][t] += weight * f / (double)starts;
          level.second[instance][t] += weight * f * f / (double)starts;
        }
      }
    }
  }
  free(eta);
  return level;
}

/* Nodes and weights of the 5-point rule for E g(z), z ~ N(0,1): exact for polynomials up to degree 9. */
static const double node[5] = {-2.8569700138728056, -1.3556261799742659, 0, 1.3556261799742659, 2.8569700138728056};
static const double node_weight[5] = {0.011257411327720689, 0.22207592200561266, 0.53333333333333333,
                                      0.22207592200561266, 0.011257411327720689};

/* Of one pair with independent members, given each instance: E g, E g^2; values [T][M]. */
static struct {
  double mean[2][VALUES], second[2][VALUES];
} exact;

static inline void exact_es_make(double sigma)
{
  struct rig r;
  rig_make(&r, mv_kernel_best(), "tree_bandit", "es", TREE_STEPS);
  rig_ready(&r);
  struct level level[5][5];
  for (int a = 0; a < 5; a++)
    for (int b = 0; b < 5; b++)
      level[a][b] = level_at(&r, (double[]){eta0[0] + sigma * node[a], eta0[1] + sigma * node[b]});
  for (int a = 0; a < 5; a++)
    for (int b = 0; b < 5; b++)
      for (int instance = 0; instance < 2; instance++)
        for (int i = 0; i < VALUES; i++) {
          const struct level *plus = &level[a][b], *minus = &level[4 - a][4 - b];
          double z = (i % 2 ? node[b] : node[a]) / (2 * sigma), weight = node_weight[a] * node_weight[b];
          double fp = plus->first[instance][i / 2], fm = minus->first[instance][i / 2];
          exact.mean[instance][i] += weight * (fp - fm) * z;
          exact.second[instance][i] +=
              weight * (plus->second[instance][i / 2] - 2 * fp * fm + minus->second[instance][i / 2]) * z * z;
        }
  rig_free(&r);
}

static inline double exact_mean(int i) { return 0.5 * (exact.mean[0][i] + exact.mean[1][i]); }

/* Of the mean over pairs of one instance: between the instances, and within them over the number of pairs. */
static inline double exact_variance(int i, int pairs)
{
  double between = 0.25 * pow(exact.mean[0][i] - exact.mean[1][i], 2), within = 0;
  for (int instance = 0; instance < 2; instance++)
    within += 0.5 * (exact.second[instance][i] - pow(exact.mean[instance][i], 2));
  return between + within / pairs;
}

#endif
