/* nn.h - multilayer perceptrons over batches. Kernel files only.
 *
 * Layer l = 1 .. L of a batch of rows:  z_l = a_{l-1} W_l + b_l,  a_l = f(z_l) for l < L,  a_L = z_L; a_0 is the input. The
 * activation f is max(z, 0), of which f'' = 0 is taken, or tanh z; f' and f'' / f' are known from a.
 * With d_l the derivative of a loss by z_l, and R x the derivative of x along a direction of the parameters (the R-operator;
 * Pearlmutter 1994, section 3), each pass stands beside its mirror:
 *   forward    z_l     = a_{l-1} W_l + b_l             R z_l     = R a_{l-1} W_l + a_{l-1} R W_l + R b_l
 *              a_l     = f(z_l)                        R a_l     = f'(z_l) R z_l
 *   backward   g W_l   = a_{l-1}^T d_l                 R g W_l   = R a_{l-1}^T d_l + a_{l-1}^T R d_l
 *              g b_l   = sum of the rows of d_l        R g b_l   = sum of the rows of R d_l
 *              d_{l-1} = f'(z_{l-1}) d_l W_l^T         R d_{l-1} = f'(z_{l-1}) (R d_l W_l^T + d_l R W_l^T)
 *                                                                  + f''(z_{l-1}) R z_{l-1} d_l W_l^T
 * R g is the Hessian of the loss times the direction, if R d_L is the tangent of d_L along it.
 *
 * Parameters are one flat vector: W_1[n_0][n_1], b_1[n_1], W_2, b_2, ... A batch of activations (or of derivatives by them) is
 * another: a_0[rows][n_0], a_1[rows][n_1], ...; of derivatives the place of a_0 is unused.
 */
#ifndef METAVAR_NN_H
#define METAVAR_NN_H

#include "metavar/blas.h"
#include "metavar/math.h"

enum { MV_NN_DEPTH = 8 };
enum mv_activation { MV_RELU, MV_TANH };

struct mv_nn {
  int layers;                 /* L >= 1 */
  int width[MV_NN_DEPTH + 1]; /* n_0 .. n_L */
  enum mv_activation activation;
};

/* Places in the flat vector of parameters; layer L + 1 begins at its end. */
static inline int mv_nn_weights(const struct mv_nn *n, int layer)
{
  int place = 0;
  for (int l = 1; l < layer; l++)
    place += (n->width[l - 1] + 1) * n->width[l];
  return place;
}
static inline int mv_nn_biases(const struct mv_nn *n, int layer)
{
  return mv_nn_weights(n, layer) + n->width[layer - 1] * n->width[layer];
}
static inline int mv_nn_size(const struct mv_nn *n) { return mv_nn_weights(n, n->layers + 1); }

/* Place of a_l in a batch; layer L + 1 begins at its end. */
static inline int mv_nn_place(const struct mv_nn *n, int rows, int layer)
{
  int units = 0;
  for (int l = 0; l < layer; l++)
    units += n->width[l];
  return rows * units;
}
static inline int mv_nn_batch(const struct mv_nn *n, int rows) { return mv_nn_place(n, rows, n->layers + 1); }

/* C = alpha op(A) op(B) + C, matrices without gaps. By OpenBLAS where a num is a double; the plain loops are for the complex
 * shadow, the oracle of all that is here. (Lanes compile them and never run: mv_shape.lanes.) */
static inline void mv_nn_product(bool turn_a, bool turn_b, int m, int n, int k, double alpha, const num *a,
                                 const num *b, num *c)
{
#if MV_NUM == MV_NUM_SCALAR
  mv_blas_product(turn_a, turn_b, m, n, k, alpha, a, b, 1.0, c);
#else
  for (int i = 0; i < m; i++)
    for (int p = 0; p < k; p++) {
      num x = alpha * (turn_a ? a[p * m + i] : a[i * k + p]);
      for (int j = 0; j < n; j++)
        c[i * n + j] += x * (turn_b ? b[j * k + p] : b[p * n + j]);
    }
#endif
}

/* Every row of x[rows][count] becomes y[count], or zero if y is NULL. */
static inline void mv_nn_rows_set(int rows, int count, const num *y, num *x)
{
  for (int r = 0; r < rows; r++)
    for (int j = 0; j < count; j++)
      x[r * count + j] = y ? y[j] : num_set(0.0);
}

/* y[count] += scale * sum of the rows of x[rows][count] */
static inline void mv_nn_rows_add(int rows, int count, double scale, const num *x, num *y)
{
  for (int r = 0; r < rows; r++)
    for (int j = 0; j < count; j++)
      y[j] += scale * x[r * count + j];
}

/* z[i] becomes f(z[i]). */
static inline void mv_nn_activate(enum mv_activation f, int count, num *z)
{
  if (f == MV_TANH)
    for (int i = 0; i < count; i++)
      z[i] = num_tanh(z[i]);
  else
    for (int i = 0; i < count; i++)
      z[i] = num_select(num_less(z[i], num_set(0.0)), num_set(0.0), z[i]);
}

/* x[i] times f'(z), a[i] = f(z). */
static inline void mv_nn_gate(enum mv_activation f, int count, const num *a, num *x)
{
  if (f == MV_TANH)
    for (int i = 0; i < count; i++)
      x[i] *= 1.0 - a[i] * a[i];
  else
    for (int i = 0; i < count; i++)
      x[i] = num_select(num_less(num_set(0.0), a[i]), x[i], num_set(0.0));
}

/* d_dot[i] += f''(z) R z d_l W_l^T = f'' / f'^2 a_dot[i] d[i]; where f' = 0, so are a_dot and d. */
static inline void mv_nn_bend(enum mv_activation f, int count, const num *a, const num *a_dot, const num *d, num *d_dot)
{
  if (f == MV_TANH)
    for (int i = 0; i < count; i++) {
      const num slope = 1.0 - a[i] * a[i], nil = num_set(0.0);
      d_dot[i] -= num_select(num_less(nil, slope), 2.0 * a[i] * a_dot[i] * d[i] / slope, nil);
    }
}

/* Rows first .. first + count - 1 of a batch of `rows`: their a_0 is filled, a_1 .. a_L out. */
static inline void mv_nn_forward(const struct mv_nn *n, const num *params, int rows, int first, int count, num *a)
{
  for (int l = 1; l <= n->layers; l++) {
    const int from = n->width[l - 1], to = n->width[l];
    const num *in = a + mv_nn_place(n, rows, l - 1) + first * from;
    num *out = a + mv_nn_place(n, rows, l) + first * to;
    mv_nn_rows_set(count, to, params + mv_nn_biases(n, l), out);
    mv_nn_product(false, false, count, to, from, 1.0, in, params + mv_nn_weights(n, l), out);
    if (l < n->layers)
      mv_nn_activate(n->activation, count * to, out);
  }
}

/* R of the whole batch along params_dot, the input held fixed; a_dot_1 .. a_dot_L out. */
static inline void mv_nn_forward_dot(const struct mv_nn *n, const num *params, const num *params_dot, int rows,
                                     const num *a, num *a_dot)
{
  for (int l = 1; l <= n->layers; l++) {
    const int from = n->width[l - 1], to = n->width[l];
    const num *in = a + mv_nn_place(n, rows, l - 1), *in_dot = a_dot + mv_nn_place(n, rows, l - 1);
    num *out_dot = a_dot + mv_nn_place(n, rows, l);
    mv_nn_rows_set(rows, to, params_dot + mv_nn_biases(n, l), out_dot);
    mv_nn_product(false, false, rows, to, from, 1.0, in, params_dot + mv_nn_weights(n, l), out_dot);
    if (l > 1)
      mv_nn_product(false, false, rows, to, from, 1.0, in_dot, params + mv_nn_weights(n, l), out_dot);
    if (l < n->layers)
      mv_nn_gate(n->activation, rows * to, a + mv_nn_place(n, rows, l), out_dot);
  }
}

/* d_L is filled: d_1 .. d_{L-1} out, gradient = start + scale * g. start: NULL is zero; params or gradient as well.
 * gradient may not be params. A layer is copied when it is needed: a large net is larger than a cache. */
static inline void mv_nn_backward(const struct mv_nn *n, const num *params, int rows, const num *a, num *d,
                                  double scale, const num *start, num *gradient)
{
  for (int l = n->layers; l >= 1; l--) {
    const int from = n->width[l - 1], to = n->width[l], weights = mv_nn_weights(n, l);
    const num *in = a + mv_nn_place(n, rows, l - 1), *out = d + mv_nn_place(n, rows, l);
    num *below = d + mv_nn_place(n, rows, l - 1);
    if (start != gradient)
      mv_nn_rows_set(1, (from + 1) * to, start ? start + weights : NULL, gradient + weights);
    mv_nn_product(true, false, from, to, rows, scale, in, out, gradient + weights);
    mv_nn_rows_add(rows, to, scale, out, gradient + mv_nn_biases(n, l));
    if (l == 1)
      return;
    mv_nn_rows_set(rows, from, NULL, below);
    mv_nn_product(false, true, rows, from, to, 1.0, out, params + mv_nn_weights(n, l), below);
    mv_nn_gate(n->activation, rows * from, in, below);
  }
}

/* R of the same: d_dot_L is filled, d_dot_1 .. d_dot_{L-1} out, gradient_dot += scale * R g. gradient_dot may be params_dot:
 * the direction of a layer is not needed once its own R g is known. */
static inline void mv_nn_backward_dot(const struct mv_nn *n, const num *params, const num *params_dot, int rows,
                                      const num *a, const num *a_dot, const num *d, num *d_dot, double scale,
                                      num *gradient_dot)
{
  for (int l = n->layers; l >= 1; l--) {
    const int from = n->width[l - 1], to = n->width[l], in = mv_nn_place(n, rows, l - 1), out = mv_nn_place(n, rows, l);
    const int weights = mv_nn_weights(n, l);
    if (l > 1) {
      mv_nn_rows_set(rows, from, NULL, d_dot + in);
      mv_nn_product(false, true, rows, from, to, 1.0, d_dot + out, params + weights, d_dot + in);
      mv_nn_product(false, true, rows, from, to, 1.0, d + out, params_dot + weights, d_dot + in);
      mv_nn_gate(n->activation, rows * from, a + in, d_dot + in);
      mv_nn_bend(n->activation, rows * from, a + in, a_dot + in, d + in, d_dot + in);
      mv_nn_product(true, false, from, to, rows, scale, a_dot + in, d + out, gradient_dot + weights);
    }
    mv_nn_product(true, false, from, to, rows, scale, a + in, d_dot + out, gradient_dot + weights);
    mv_nn_rows_add(rows, to, scale, d_dot + out, gradient_dot + mv_nn_biases(n, l));
  }
}

/* --- initialisation ------------------------------------------------------------------------------------------------ */

/* The u-quantile of N(0,1) truncated to [-2, 2]: its probability p = 1/2 + q of N(0,1), then Wichura (1988), algorithm
 * AS 241, PPND16, whose tail for p < exp(-25) cannot occur. */
static inline real mv_nn_truncated_normal(real u)
{
  real q = (u - 0.5) * 0x1.e8b4307d3627ap-1; /* Phi(2) - Phi(-2) */
  real size = real_select(real_less(q, real_set(0.0)), -q, q);
  real r = 0.180625 - q * q;
  real above = ((((((2.5090809287301226727e3 * r + 3.3430575583588128105e4) * r + 6.7265770927008700853e4) * r +
                   4.5921953931549871457e4) *
                      r +
                  1.3731693765509461125e4) *
                     r +
                 1.9715909503065514427e3) *
                    r +
                1.3314166789178437745e2) *
                   r +
               3.3871328727963666080e0;
  real below = ((((((5.2264952788528545610e3 * r + 2.8729085735721942674e4) * r + 3.9307895800092710610e4) * r +
                   2.1213794301586595867e4) *
                      r +
                  5.3941960214247511077e3) *
                     r +
                 6.8718700749205790830e2) *
                    r +
                4.2313330701600911252e1) *
                   r +
               1.0;
  real s = real_sqrt(-real_log(0.5 - size)) - 1.6;
  real far_above =
      ((((((7.74545014278341407640e-4 * s + 2.27238449892691845833e-2) * s + 2.41780725177450611770e-1) * s +
          1.27045825245236838258e0) *
             s +
         3.64784832476320460504e0) *
            s +
        5.76949722146069140550e0) *
           s +
       4.63033784615654529590e0) *
          s +
      1.42343711074968357734e0;
  real far_below =
      ((((((1.05075007164441684324e-9 * s + 5.47593808499534494600e-4) * s + 1.51986665636164571966e-2) * s +
          1.48103976427480074590e-1) *
             s +
         6.89767334985100004550e-1) *
            s +
        1.67638483018380384940e0) *
           s +
       2.05319162663775882187e0) *
          s +
      1.0;
  real far = far_above / far_below;
  far = real_select(real_less(q, real_set(0.0)), -far, far);
  return real_select(real_less(real_set(0.425), size), far, q * above / below);
}

/* Number of weights: of uniforms that mv_nn_init takes. */
static inline int mv_nn_draws(const struct mv_nn *n)
{
  int count = 0;
  for (int l = 1; l <= n->layers; l++)
    count += n->width[l - 1] * n->width[l];
  return count;
}

/* Weights: N(0,1) truncated to [-2, 2], over sqrt(n_{l-1}), not rescaled to unit variance; biases 0. */
static inline void mv_nn_init(const struct mv_nn *n, const num *uniform, num *params)
{
  for (int l = 1; l <= n->layers; l++) {
    const int from = n->width[l - 1], to = n->width[l];
    const real scale = 1.0 / real_sqrt(real_set(from));
    num *weights = params + mv_nn_weights(n, l);
    for (int i = 0; i < from * to; i++)
      weights[i] = scale * mv_nn_truncated_normal(MV_REAL_PART(*uniform++));
    mv_nn_rows_set(1, to, NULL, params + mv_nn_biases(n, l));
  }
}

#endif
