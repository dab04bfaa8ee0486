/* softmax.h - a softmax policy over K arms that learns by the plain policy gradient. Kernel files only; bandit and
 * tree_bandit are this with different rewards.
 *
 * theta[K] are logits, pi = softmax(theta). A batch of B choices enters only through counts n_k and reward sums R_k:
 *   ell = sum_k n_k log pi_k          surrogate = (1/B) sum_k stop(R_k) log pi_k        R_n = (1/B) sum_k R_k
 *   theta' = theta + alpha g,         g_k = (1/B) (R_k - R pi_k),  R = sum_k R_k        V_n = sum_k mu_k pi_k
 * With the tangent d of theta and c_k = d_k - sum_j pi_j d_j (so that d log pi_k = c_k):
 *   pathwise: dg_k = -(R/B) pi_k c_k;   dice adds (1/B) (R_k c_k - pi_k sum_j R_j c_j)  (Foerster et al. 2018)
 * Transposed, with the adjoint a of theta', weights l, s, v of ell, surrogate, V_n and p = sum_j pi_j a_j:
 *   x_k = l n_k + s R_k / B + v mu_k pi_k - alpha (R/B) pi_k a_k;   dice adds (alpha/B) R_k (a_k - p)
 *   adjoint of theta: a_k + x_k - pi_k sum_j x_j;   of alpha: sum_k g_k a_k
 */
#ifndef METAVAR_SOFTMAX_H
#define METAVAR_SOFTMAX_H

#include "metavar/choose.h"

/* One step's record. As a tape: 5 K + 1 nums. */
struct mv_softmax {
  num *pi, *count, *reward, *gradient, *value; /* [K] each: pi_k, n_k, R_k, g_k, mu_k pi_k */
  num *mean_reward;                            /* R / B */
};

static inline int mv_softmax_tape(int arms) { return 5 * arms + 1; }

static inline struct mv_softmax mv_softmax_view(num *tape, int arms)
{
  return (struct mv_softmax){tape, tape + arms, tape + 2 * arms, tape + 3 * arms, tape + 4 * arms, tape + 5 * arms};
}

/* pi and the logits' logarithms log pi_k + const = theta_k - max. Returns log sum_k exp(theta_k - max). */
static inline num mv_softmax_policy(int arms, const num *theta, num *shifted, num *pi)
{
  num high[4] = {theta[0], theta[0], theta[0], theta[0]}, sum = num_set(0.0);
  int first = 0;
  for (; first + 4 <= arms; first += 4)
    for (int i = 0; i < 4; i++)
      high[i] = num_max(high[i], theta[first + i]);
  for (; first < arms; first++)
    high[0] = num_max(high[0], theta[first]);
  num top = num_max(num_max(high[0], high[1]), num_max(high[2], high[3]));
  for (int k = 0; k < arms; k++) {
    shifted[k] = theta[k] - top;
    pi[k] = num_exp_negative(shifted[k]);
    sum += pi[k];
  }
  num inverse = 1.0 / sum;
  for (int k = 0; k < arms; k++)
    pi[k] *= inverse;
  return num_log(sum);
}

/* Counts and reward sums of B choices with rewards mean[arm] + noise, in the order of b. */
static inline void mv_softmax_tally(int arms, int batch, const numi *arm, const num *mean, const num *noise, num *tape)
{
  struct mv_softmax s = mv_softmax_view(tape, arms);
  real chosen[arms]; /* 2^52 + n_k: counted as whole numbers, in the low bits */
  for (int k = 0; k < arms; k++) {
    chosen[k] = real_set(0x1p52);
    s.reward[k] = num_set(0.0);
  }
  for (int b = 0; b < batch; b++)
#pragma GCC unroll 8
    for (int l = 0; l < MV_LANES; l++) {
      int64_t k = NUMI_LANE(arm, b, l);
      NUMI_LANE(chosen, k, l)++;
      NUM_LANE(s.reward, k, l) += NUM_LANE(mean, k, l) + NUM_LANE(noise, b, l);
    }
  for (int k = 0; k < arms; k++)
    s.count[k] = chosen[k] - 0x1p52;
}

/* The update once count, reward and pi of the tape are filled. mean[k] = mu_k. */
static inline void mv_softmax_update(int arms, int batch, num alpha, enum mv_hessian hessian, const num *mean,
                                     const num *shifted, num log_sum, const num *theta, num *theta_next, num *tape,
                                     struct mv_report *report)
{
  struct mv_softmax s = mv_softmax_view(tape, arms);
  num total = num_set(0.0), logp = num_set(0.0), surrogate = num_set(0.0), expected = num_set(0.0);
  const double share = 1.0 / batch;
  for (int k = 0; k < arms; k++) {
    total += s.reward[k];
    logp += s.count[k] * shifted[k];
    surrogate += s.reward[k] * shifted[k];
    s.value[k] = mean[k] * s.pi[k];
    expected += s.value[k];
  }
  *s.mean_reward = total * share;
  *report = (struct mv_report){.objective = *s.mean_reward,
                               .logp = logp - (double)batch * log_sum,
                               .surrogate = (surrogate - total * log_sum) * share,
                               .expected = expected};
#if MV_NUM == MV_NUM_COMPLEX
  if (hessian == MV_DICE) { /* rewards carry the magic box exp(log pi - stop(log pi)): 1, with a derivative */
    num boxed[arms], boxed_total = 0;
    for (int k = 0; k < arms; k++) {
      num log_pi = shifted[k] - log_sum;
      boxed[k] = s.reward[k] * num_exp(log_pi - num_stop(log_pi));
      boxed_total += boxed[k];
    }
    for (int k = 0; k < arms; k++)
      theta_next[k] = theta[k] + alpha * ((boxed[k] - boxed_total * s.pi[k]) * share);
    return;
  }
#endif
  (void)hessian;
  for (int k = 0; k < arms; k++) {
    s.gradient[k] = (s.reward[k] - total * s.pi[k]) * share;
    theta_next[k] = theta[k] + alpha * s.gradient[k];
  }
}

/* --- two learning rates, alpha = softplus(eta_0) and softplus(eta_1), in two phases of a lifetime
 * --------------------- */

#define MV_RATES_NAMES                                                                                                 \
  {                                                                                                                    \
    "softplus_inverse_rate_early", "softplus_inverse_rate_late"                                                        \
  }

/* prepared[4]: the rates, then their derivatives */
static inline void mv_rates_prepare(const struct mv_life *life, num *prepared)
{
  for (int phase = 0; phase < 2; phase++) {
    prepared[phase] = num_softplus(life->eta[phase]);
    prepared[2 + phase] = num_sigmoid(life->eta[phase]);
  }
}

enum { MV_RATES = 2 }; /* columns of a block */

/* What the columns of one step share: turn_k = alpha' g_k of the rate that serves, pull = alpha R / B, scale = alpha / B.
 */
struct mv_softmax_move {
  const num *turn, *pull_pi, *scaled_reward; /* [K] */
  num pull, scale;
};

/* mean[c] = sum_k pi_k d_k of n columns; n is a constant where it is called. Several at once, because each is a chain. */
static inline __attribute__((always_inline)) void mv_softmax_means(int n, int arms, const num *pi, num *const *d,
                                                                   num *mean)
{
  num sum[n];
#pragma GCC unroll 4
  for (int c = 0; c < n; c++)
    sum[c] = num_set(0.0);
  for (int k = 0; k < arms; k++)
#pragma GCC unroll 4
    for (int c = 0; c < n; c++)
      sum[c] += pi[k] * d[c][k];
#pragma GCC unroll 4
  for (int c = 0; c < n; c++)
    mean[c] = sum[c];
}

/* Tangents of the update along n columns of one block, d[c][K] in place, of which the first moves the rate that serves.
 */
static inline __attribute__((always_inline)) void mv_softmax_columns(int n, bool dice, bool expected, int arms,
                                                                     double share, const struct mv_softmax *s,
                                                                     const struct mv_softmax_move *m, num *const *d,
                                                                     const num *mean, struct mv_report *dot)
{
  num logp[n], surrogate[n], value[n];
#pragma GCC unroll 2
  for (int j = 0; j < n; j++)
    logp[j] = surrogate[j] = value[j] = num_set(0.0);
  for (int k = 0; k < arms; k++)
#pragma GCC unroll 2
    for (int j = 0; j < n; j++) {
      num c = d[j][k] - mean[j];
      logp[j] += s->count[k] * c;
      surrogate[j] += s->reward[k] * c;
      if (expected)
        value[j] += s->value[k] * c;
      if (!dice)
        d[j][k] += (j ? num_set(0.0) : m->turn[k]) - m->pull_pi[k] * c;
    }
  if (dice)
    for (int k = 0; k < arms; k++)
#pragma GCC unroll 2
      for (int j = 0; j < n; j++) {
        num c = d[j][k] - mean[j], shift = m->scale * surrogate[j];
        num move = m->scaled_reward[k] * c - s->pi[k] * (m->pull * c + shift);
        if (j == 0)
          move = m->turn[k] + move;
        d[j][k] += move;
      }
#pragma GCC unroll 2
  for (int j = 0; j < n; j++)
    dot[j] = (struct mv_report){
        .objective = num_set(0.0), .logp = logp[j], .surrogate = surrogate[j] * share, .expected = value[j]};
}

static inline __attribute__((always_inline)) void mv_softmax_block_jvp(int n, const struct mv_columns *block, int arms,
                                                                       double share, const struct mv_softmax *s,
                                                                       const struct mv_softmax_move *m, num *const *d,
                                                                       const num *mean, struct mv_report *dot)
{
  if (block->hessian == MV_DICE && block->expected)
    mv_softmax_columns(n, true, true, arms, share, s, m, d, mean, dot);
  else if (block->hessian == MV_DICE)
    mv_softmax_columns(n, true, false, arms, share, s, m, d, mean, dot);
  else if (block->expected)
    mv_softmax_columns(n, false, true, arms, share, s, m, d, mean, dot);
  else
    mv_softmax_columns(n, false, false, arms, share, s, m, d, mean, dot);
}

/* One or two blocks: their means together. The column of the rate that does not serve is skipped while it is zero. */
static inline void mv_softmax_pair_jvp(struct mv_columns *blocks, int count, int arms, int phase, double share,
                                       const struct mv_softmax *s, const struct mv_softmax_move *m)
{
  num *d[2 * MV_RATES], mean[2 * MV_RATES], nothing = 0.0 * s->pi[0]; /* NaN stays NaN */
  int n = 0;
  for (int b = 0; b < count; b++) {
    blocks[b].zero[phase] = false;
    d[n++] = blocks[b].theta_dot + phase * arms;
    if (!blocks[b].zero[!phase])
      d[n++] = blocks[b].theta_dot + !phase * arms;
  }
  if (n == 4)
    mv_softmax_means(4, arms, s->pi, d, mean);
  else if (n == 3)
    mv_softmax_means(3, arms, s->pi, d, mean);
  else if (n == 2)
    mv_softmax_means(2, arms, s->pi, d, mean);
  else
    mv_softmax_means(1, arms, s->pi, d, mean);
  n = 0;
  for (int b = 0; b < count; b++) {
    struct mv_report dot[MV_RATES] = {{num_set(0.0)}, {num_set(0.0), nothing, nothing, nothing}};
    if (blocks[b].zero[!phase])
      mv_softmax_block_jvp(1, &blocks[b], arms, share, s, m, d + n, mean + n, dot);
    else
      mv_softmax_block_jvp(2, &blocks[b], arms, share, s, m, d + n, mean + n, dot);
    n += blocks[b].zero[!phase] ? 1 : 2;
    blocks[b].report[phase] = dot[0];
    blocks[b].report[!phase] = dot[1];
  }
}

/* What the columns of one step share, at a rate alpha of derivative alpha_dot. turn, pull_pi, scaled_reward: [K] each. */
static inline struct mv_softmax_move mv_softmax_move(int arms, int batch, int phase, const struct mv_life *life,
                                                     const struct mv_softmax *s, num *turn, num *pull_pi,
                                                     num *scaled_reward)
{
  const num alpha = life->prepared[phase], alpha_dot = life->prepared[2 + phase];
  struct mv_softmax_move m = {turn, pull_pi, scaled_reward, alpha * *s->mean_reward, alpha * (1.0 / batch)};
  for (int k = 0; k < arms; k++) {
    turn[k] = alpha_dot * s->gradient[k];
    pull_pi[k] = m.pull * s->pi[k];
    scaled_reward[k] = m.scale * s->reward[k];
  }
  return m;
}

/* step_jvp of a task whose rate is prepared[phase] and whose eta are the two rates. */
static inline void mv_softmax_jvp(int arms, int batch, int phase, const struct mv_life *life, const num *tape,
                                  struct mv_columns *blocks, int count)
{
  const struct mv_softmax s = mv_softmax_view((num *)tape, arms);
  num turn[arms], pull_pi[arms], scaled_reward[arms];
  const struct mv_softmax_move m = mv_softmax_move(arms, batch, phase, life, &s, turn, pull_pi, scaled_reward);
  for (int b = 0; b < count; b += 2)
    mv_softmax_pair_jvp(blocks + b, count - b < 2 ? 1 : 2, arms, phase, 1.0 / batch, &s, &m);
}

/* The transpose of mv_softmax_columns, of n adjoint columns a[c][K] in place. */
static inline __attribute__((always_inline)) void mv_softmax_rows(int n, bool dice, int arms, double share,
                                                                  const struct mv_softmax *s,
                                                                  const struct mv_softmax_move *m, num *const *a,
                                                                  const struct mv_report *weight, num *rate_bar)
{
  num mean[n], sum[n], rate[n], surrogate[n], x[n][arms];
  if (dice)
    mv_softmax_means(n, arms, s->pi, a, mean);
#pragma GCC unroll 2
  for (int c = 0; c < n; c++) {
    sum[c] = rate[c] = num_set(0.0);
    surrogate[c] = weight[c].surrogate * share;
  }
  for (int k = 0; k < arms; k++)
#pragma GCC unroll 2
    for (int c = 0; c < n; c++) {
      x[c][k] = (weight[c].logp * s->count[k] + surrogate[c] * s->reward[k]) +
                (weight[c].expected * s->value[k] - m->pull_pi[k] * a[c][k]);
      if (dice)
        x[c][k] += m->scaled_reward[k] * (a[c][k] - mean[c]);
      sum[c] += x[c][k];
      rate[c] += m->turn[k] * a[c][k];
    }
  for (int k = 0; k < arms; k++)
#pragma GCC unroll 2
    for (int c = 0; c < n; c++)
      a[c][k] += x[c][k] - s->pi[k] * sum[c];
  for (int c = 0; c < n; c++)
    rate_bar[c] = rate[c];
}

/* The transpose of mv_softmax_jvp: columns of one block in pairs. R_n does not depend on theta given the samples. */
static inline void mv_softmax_vjp(int arms, int batch, int phase, const struct mv_life *life, const num *tape,
                                  struct mv_adjoints *blocks, int count)
{
  const struct mv_softmax s = mv_softmax_view((num *)tape, arms);
  const double share = 1.0 / batch;
  num turn[arms], pull_pi[arms], scaled_reward[arms];
  const struct mv_softmax_move m = mv_softmax_move(arms, batch, phase, life, &s, turn, pull_pi, scaled_reward);
  for (int b = 0; b < count; b++)
    for (int c = 0; c < blocks[b].count; c += 2) {
      const bool pair = c + 1 < blocks[b].count, dice = blocks[b].hessian == MV_DICE;
      num *const a[2] = {blocks[b].theta_bar + c * arms, blocks[b].theta_bar + (c + 1) * arms};
      const struct mv_report *weight = blocks[b].weight + c;
      num rate[2];
      if (pair && dice)
        mv_softmax_rows(2, true, arms, share, &s, &m, a, weight, rate);
      else if (pair)
        mv_softmax_rows(2, false, arms, share, &s, &m, a, weight, rate);
      else if (dice)
        mv_softmax_rows(1, true, arms, share, &s, &m, a, weight, rate);
      else
        mv_softmax_rows(1, false, arms, share, &s, &m, a, weight, rate);
      for (int i = 0; i < (pair ? 2 : 1); i++)
        blocks[b].eta_bar[(c + i) * MV_RATES + phase] += rate[i];
    }
}

static inline void mv_zero(num *x, int64_t count)
{
  for (int64_t i = 0; i < count; i++)
    x[i] = num_set(0.0);
}

/* init_jvp of a task that starts at a constant. */
static inline void mv_softmax_init_jvp(int arms, struct mv_columns *columns)
{
  mv_zero(columns->theta_dot, columns->count * arms);
  for (int c = 0; c < columns->count; c++)
    columns->zero[c] = true;
}

/* init_vjp of such a task: nothing reaches eta. */
static inline void mv_softmax_init_vjp(const struct mv_life *life, struct mv_adjoints *adjoints)
{
  (void)life, (void)adjoints;
}

#endif
