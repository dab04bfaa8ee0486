/* softmax.h - a softmax policy over K arms that learns by the plain policy gradient. Kernel files only; bandit and
 * tree_bandit are this with different rewards.
 *
 * theta[K] are logits, pi = softmax(theta). A batch of B choices enters only through counts n_k and reward sums R_k:
 *   ell = sum_k n_k log pi_k          surrogate = (1/B) sum_k stop(R_k) log pi_k        R_n = (1/B) sum_k R_k
 *   theta' = theta + alpha g,         g_k = (1/B) (R_k - R pi_k),  R = sum_k R_k        V_n = sum_k mu_k pi_k
 * With the tangent d of theta and c_k = d_k - sum_j pi_j d_j (so that d log pi_k = c_k):
 *   pathwise: dg_k = -(R/B) pi_k c_k;   dice adds (1/B) (R_k c_k - pi_k sum_j R_j c_j)  (Foerster et al. 2018)
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
  num top = theta[0], sum = num_set(0.0);
  for (int k = 1; k < arms; k++)
    top = num_max(top, theta[k]);
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

/* Tangent of one column of the update: d[K] in place, alpha_dot the tangent of alpha. */
static inline void mv_softmax_update_jvp(int arms, int batch, num alpha, num alpha_dot, enum mv_hessian hessian,
                                         const num *tape, num *d, struct mv_report *dot)
{
  struct mv_softmax s = mv_softmax_view((num *)tape, arms);
  const double share = 1.0 / batch;
  num mean = num_set(0.0), logp = num_set(0.0), surrogate = num_set(0.0), expected = num_set(0.0);
  for (int k = 0; k < arms; k++)
    mean += s.pi[k] * d[k];
  for (int k = 0; k < arms; k++) {
    num c = d[k] - mean;
    logp += s.count[k] * c;
    surrogate += s.reward[k] * c;
    expected += s.value[k] * c;
  }
  num pull = alpha * *s.mean_reward;
  if (hessian == MV_DICE) {
    num scale = alpha * share, shift = scale * surrogate;
    for (int k = 0; k < arms; k++) {
      num c = d[k] - mean;
      d[k] += alpha_dot * s.gradient[k] + (scale * s.reward[k] * c - s.pi[k] * (pull * c + shift));
    }
  } else {
    for (int k = 0; k < arms; k++)
      d[k] += alpha_dot * s.gradient[k] - pull * s.pi[k] * (d[k] - mean);
  }
  *dot =
      (struct mv_report){.objective = num_set(0.0), .logp = logp, .surrogate = surrogate * share, .expected = expected};
}

/* step_jvp of a task whose rate is prepared[phase] and whose eta are the two rates. */
static inline void mv_softmax_jvp(int arms, int batch, int phase, const struct mv_life *life, const num *tape,
                                  struct mv_columns *columns)
{
  for (int c = 0; c < columns->count; c++)
    mv_softmax_update_jvp(arms, batch, life->prepared[phase],
                          life->prepared[2 + phase] * columns->eta_dot[2 * c + phase], columns->hessian, tape,
                          columns->theta_dot + c * arms, &columns->report[c]);
}

static inline void mv_zero(num *x, int64_t count)
{
  for (int64_t i = 0; i < count; i++)
    x[i] = num_set(0.0);
}

#endif
