/* tree_moments.h - exact first and second moments of an estimator on tree_bandit, by enumeration through production
 * code. */
#ifndef METAVAR_TESTS_TREE_MOMENTS_H
#define METAVAR_TESTS_TREE_MOMENTS_H

#include "tree.h"

/* Given each instance: E x, E x^2, and E x base(x) for the components among the values, base(x) the gradient each is
 * added to. */
struct moments {
  int64_t size;
  int64_t *base; /* [size] place of the base; -1 none */
  double *mean[2], *second[2], *product[2];
};

static inline double mean_of(const struct moments *m, int64_t i) { return 0.5 * (m->mean[0][i] + m->mean[1][i]); }

/* Covariance of x_i and x_j whose product's conditional means are given: between the instances, and within them. */
static inline double between(const struct moments *m, int64_t i, int64_t j)
{
  return 0.25 * (m->mean[0][i] - m->mean[1][i]) * (m->mean[0][j] - m->mean[1][j]);
}

static inline double within(const struct moments *m, int64_t i, int64_t j, double *const product[2])
{
  double sum = 0;
  for (int instance = 0; instance < 2; instance++)
    sum += 0.5 * (product[instance][i] - m->mean[instance][i] * m->mean[instance][j]);
  return sum;
}

/* Of the mean over so many lifetimes of one instance. */
static inline double variance(const struct moments *m, int64_t i, int lifetimes)
{
  return between(m, i, i) + within(m, i, i, m->second) / lifetimes;
}

static inline double covariance(const struct moments *m, int64_t i, int lifetimes)
{
  return between(m, i, m->base[i]) + within(m, i, m->base[i], m->product) / lifetimes;
}

static inline void find_bases(const struct rig *r, int64_t *base)
{
  const int meta = r->problem.shape.meta;
  for (int64_t i = 0; i < rig_total(r); i++)
    base[i] = -1;
  for (int o = 0; o < r->outputs; o++) {
    const struct mv_output *out = &r->output[o];
    if (out->role != MV_COMPONENT)
      continue;
    int64_t each = meta; /* the axes that the base lacks, and the last one, which it has */
    for (int a = r->output[out->base].rank; a < out->rank; a++)
      each *= out->axis[a].length;
    for (int64_t i = 0; i < r->offset[o + 1] - r->offset[o]; i++)
      base[r->offset[o] + i] = r->offset[out->base] + i / each * meta + i % meta;
  }
}

static inline void enumerate(struct rig *r, int passes, struct moments *m)
{
  struct tree tree;
  tree_make(&tree);
  struct mv_forced forced = {tree_fill, &tree};
  const int lanes = r->kernel->lanes;
  m->size = rig_total(r);
  m->base = calloc((size_t)m->size, sizeof *m->base);
  find_bases(r, m->base);
  for (int instance = 0; instance < 2; instance++) {
    m->mean[instance] = calloc((size_t)m->size, sizeof(double));
    m->second[instance] = calloc((size_t)m->size, sizeof(double));
    m->product[instance] = calloc((size_t)m->size, sizeof(double));
  }
  double *eta = tree_eta(r->kernel, eta0);
  for (int64_t first = 0; first < TREE_ALL; first += lanes) {
    struct tree_walk walk = tree_run(r, &tree, eta, first);
    for (tree.pass = 0; tree.pass < passes; tree.pass++) {
      rig_sample(r, (struct mv_key){{0, 0}}, eta0, first, &forced);
      for (int l = 0; l < lanes && first + l < TREE_ALL; l++) {
        int instance = tree_instance(first + l);
        double weight = tree_weight(&tree, &walk, first + l, l) / passes;
        for (int64_t i = 0; i < m->size; i++) {
          double x = rig_value(r, i, l);
          m->mean[instance][i] += weight * x;
          m->second[instance][i] += weight * x * x;
          if (m->base[i] >= 0)
            m->product[instance][i] += weight * x * rig_value(r, m->base[i], l);
        }
      }
    }
  }
  free(eta);
}

static inline void moments_free(struct moments *m)
{
  for (int instance = 0; instance < 2; instance++)
    free(m->mean[instance]), free(m->second[instance]), free(m->product[instance]);
  free(m->base);
}

#endif
