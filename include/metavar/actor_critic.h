/* actor_critic.h - an actor and a critic, two networks that learn from a batch: loss, update, tangent, adjoint. Kernel files
 * only.
 *
 * Rows r of a batch: an action a_r, its return G_r, logits z_r of the actor, value v_r of the critic; pi = softmax(z), H its
 * entropy, A = G - v, the mean over rows. Inner loss (Vuorio et al. 2022, section on MDPs), A held fixed in its gradient:
 *   L = -mean A log pi(a) - c mean H + (kappa/2) mean (G - v)^2,        theta' = theta - alpha dL/dtheta
 *   dL/dz_k = (1/rows) [ -A (1[k = a] - pi_k) + c pi_k (log pi_k + H) ],   dL/dv = (1/rows) kappa (v - G)
 * The tangent of the update follows v through A, R A = -R v (R: nn.h), so its Jacobian has a block from the critic to the
 * actor's update, which the adjoint carries back:
 *   R dL/dz_k = (1/rows) [ R v (1[k = a] - pi_k) + A R pi_k + R c pi_k (log pi_k + H)
 *                          + c (R pi_k (log pi_k + H) + pi_k (R log pi_k + R H)) ],   R dL/dv = (1/rows) kappa R v
 * For the adjoint x of theta', (dL/dtheta)^T x has the derivatives -(1/rows) R log pi(a) by A and -(1/rows) sum_r R H by c,
 * R along x.
 */
#ifndef METAVAR_ACTOR_CRITIC_H
#define METAVAR_ACTOR_CRITIC_H

#include "metavar/nn.h"
#include "metavar/task.h"

struct mv_actor_critic {
  struct mv_nn actor, critic;
  int rows;
  double rate, value_share; /* alpha, kappa */
};

/* What a step leaves for the derivatives. */
struct mv_lesson {
  num *actor, *actor_d, *critic, *critic_d; /* batches: activations, derivatives of rows * L by z */
  num *chosen, *pi, *log_pi;                /* [rows][actions]: 1[k = a], pi_k, log pi_k */
  num *entropy, *gain, *advantage;          /* [rows]: H, G, A */
  num *weight;                              /* [rows]: the surrogate is sum_r weight_r log pi(a_r) */
  num *share;                               /* c, share of the entropy in the loss */
};

static inline int mv_actions(const struct mv_actor_critic *ac) { return ac->actor.width[ac->actor.layers]; }

static inline int mv_lesson_size(const struct mv_actor_critic *ac)
{
  return 2 * mv_nn_batch(&ac->actor, ac->rows) + 2 * mv_nn_batch(&ac->critic, ac->rows) +
         (3 * mv_actions(ac) + 4) * ac->rows + 1;
}

static inline struct mv_lesson mv_lesson_view(const struct mv_actor_critic *ac, num *tape)
{
  const int actor = mv_nn_batch(&ac->actor, ac->rows), critic = mv_nn_batch(&ac->critic, ac->rows);
  const int rows = ac->rows, wide = rows * mv_actions(ac);
  num *chosen = tape + 2 * actor + 2 * critic, *entropy = chosen + 3 * wide;
  return (struct mv_lesson){.actor = tape,
                            .actor_d = tape + actor,
                            .critic = tape + 2 * actor,
                            .critic_d = tape + 2 * actor + critic,
                            .chosen = chosen,
                            .pi = chosen + wide,
                            .log_pi = chosen + 2 * wide,
                            .entropy = entropy,
                            .gain = entropy + rows,
                            .advantage = entropy + 2 * rows,
                            .weight = entropy + 3 * rows,
                            .share = entropy + 4 * rows};
}

/* The last layers' outputs, [rows][width]. */
static inline num *mv_logits(const struct mv_actor_critic *ac, num *batch)
{
  return batch + mv_nn_place(&ac->actor, ac->rows, ac->actor.layers);
}
static inline num *mv_values(const struct mv_actor_critic *ac, num *batch)
{
  return batch + mv_nn_place(&ac->critic, ac->rows, ac->critic.layers);
}

/* Parameters: those of the actor, then those of the critic. */
static inline int mv_actor_critic_size(const struct mv_actor_critic *ac)
{
  return mv_nn_size(&ac->actor) + mv_nn_size(&ac->critic);
}

/* pi, log pi and entropy of one row from its logits. */
static inline void mv_policy(int actions, const num *logit, num *pi, num *log_pi, num *entropy)
{
  num top = logit[0], sum = num_set(0.0), total = num_set(0.0);
  for (int k = 1; k < actions; k++)
    top = num_max(top, logit[k]);
  for (int k = 0; k < actions; k++) {
    log_pi[k] = logit[k] - top;
    pi[k] = num_exp_negative(log_pi[k]);
    sum += pi[k];
  }
  const num log_sum = num_log(sum), inverse = 1.0 / sum;
  for (int k = 0; k < actions; k++) {
    log_pi[k] -= log_sum;
    pi[k] *= inverse;
    total -= pi[k] * log_pi[k];
  }
  *entropy = total;
}

static inline num mv_chosen(int actions, const num *chosen, const num *x)
{
  num sum = num_set(0.0);
  for (int k = 0; k < actions; k++)
    sum += chosen[k] * x[k];
  return sum;
}

/* --- the update: everything of the lesson is there but the critic, its values and derivatives ------------------------ */

static inline void mv_critic_values(const struct mv_actor_critic *ac, const num *theta, struct mv_lesson *s)
{
  mv_nn_forward(&ac->critic, theta + mv_nn_size(&ac->actor), ac->rows, 0, ac->rows, s->critic);
  for (int r = 0; r < ac->rows; r++)
    s->advantage[r] = s->gain[r] - mv_values(ac, s->critic)[r];
}

static inline void mv_actor_critic_update(const struct mv_actor_critic *ac, const num *theta, num *theta_next,
                                          struct mv_lesson *s)
{
  const int actions = mv_actions(ac), rows = ac->rows, actor = mv_nn_size(&ac->actor);
  const double step = -ac->rate / rows;
  num *d = mv_logits(ac, s->actor_d), *dv = mv_values(ac, s->critic_d);
  for (int r = 0; r < rows; r++) {
    for (int k = r * actions; k < (r + 1) * actions; k++)
      d[k] = -s->advantage[r] * (s->chosen[k] - s->pi[k]) + *s->share * s->pi[k] * (s->log_pi[k] + s->entropy[r]);
    dv[r] = -ac->value_share * s->advantage[r];
  }
  mv_nn_backward(&ac->critic, theta + actor, rows, s->critic, s->critic_d, step, theta + actor, theta_next + actor);
  mv_nn_backward(&ac->actor, theta, rows, s->actor, s->actor_d, step, theta, theta_next);
}

/* --- tangent and adjoint --------------------------------------------------------------------------------------------- */

/* Scratch of both: R of the two batches, of activations and of derivatives. */
struct mv_motion {
  num *actor, *actor_d, *critic, *critic_d;
};
static inline int mv_motion_size(const struct mv_actor_critic *ac)
{
  return 2 * mv_nn_batch(&ac->actor, ac->rows) + 2 * mv_nn_batch(&ac->critic, ac->rows);
}
static inline struct mv_motion mv_motion_view(const struct mv_actor_critic *ac, num *scratch)
{
  const int actor = mv_nn_batch(&ac->actor, ac->rows), critic = mv_nn_batch(&ac->critic, ac->rows);
  return (struct mv_motion){scratch, scratch + actor, scratch + 2 * actor, scratch + 2 * actor + critic};
}

/* R of one row of the policy along R z: R log pi in place of it; *entropy_dot = R H; returns R log pi(a). */
static inline num mv_policy_dot(int actions, const num *chosen, const num *pi, const num *log_pi, num *z_dot,
                                num *entropy_dot)
{
  num mean = num_set(0.0);
  for (int k = 0; k < actions; k++)
    mean += pi[k] * z_dot[k];
  *entropy_dot = num_set(0.0);
  for (int k = 0; k < actions; k++) {
    z_dot[k] -= mean;
    *entropy_dot -= pi[k] * z_dot[k] * log_pi[k];
  }
  return mv_chosen(actions, chosen, z_dot);
}

/* R dL/dz of row r, times rows, from R log pi, R H, -R A and R c. */
static inline void mv_actor_d_dot(int actions, const struct mv_lesson *s, int r, const num *log_dot, num entropy_dot,
                                  num value_dot, num share_dot, num *d_dot)
{
  for (int j = 0; j < actions; j++) {
    const int k = r * actions + j;
    const num pi_dot = s->pi[k] * log_dot[j], level = s->log_pi[k] + s->entropy[r];
    d_dot[j] = value_dot * (s->chosen[k] - s->pi[k]) + s->advantage[r] * pi_dot + share_dot * s->pi[k] * level +
               *s->share * (pi_dot * level + s->pi[k] * (log_dot[j] + entropy_dot));
  }
}

/* theta_dot in place: from the tangent before the update to that after it, while c moves by share_dot. Tangents of ell and
 * of the surrogate out. still: the critic's part of theta_dot is zero, and stays so: c has no say in its update. */
static inline void mv_actor_critic_jvp(const struct mv_actor_critic *ac, const num *theta, const struct mv_lesson *s,
                                       const struct mv_motion *m, num share_dot, bool still, num *theta_dot,
                                       struct mv_report *report)
{
  const int actions = mv_actions(ac), rows = ac->rows, actor = mv_nn_size(&ac->actor);
  const double step = -ac->rate / rows;
  num *z_dot = mv_logits(ac, m->actor), *v_dot = mv_values(ac, m->critic), logp = num_set(0.0), surrogate = logp;
  mv_nn_forward_dot(&ac->actor, theta, theta_dot, rows, s->actor, m->actor);
  if (still)
    mv_nn_rows_set(rows, 1, NULL, v_dot);
  else
    mv_nn_forward_dot(&ac->critic, theta + actor, theta_dot + actor, rows, s->critic, m->critic);
  for (int r = 0; r < rows; r++) {
    const int row = r * actions;
    num *d_dot = mv_logits(ac, m->actor_d) + row, entropy_dot;
    num log_dot = mv_policy_dot(actions, s->chosen + row, s->pi + row, s->log_pi + row, z_dot + row, &entropy_dot);
    logp += log_dot;
    surrogate += s->weight[r] * log_dot;
    mv_actor_d_dot(actions, s, r, z_dot + row, entropy_dot, v_dot[r], share_dot, d_dot);
    mv_values(ac, m->critic_d)[r] = ac->value_share * v_dot[r];
  }
  *report = (struct mv_report){.objective = num_set(0.0), .logp = logp, .surrogate = surrogate};
  mv_nn_backward_dot(&ac->actor, theta, theta_dot, rows, s->actor, m->actor, s->actor_d, m->actor_d, step, theta_dot);
  if (!still)
    mv_nn_backward_dot(&ac->critic, theta + actor, theta_dot + actor, rows, s->critic, m->critic, s->critic_d,
                       m->critic_d, step, theta_dot + actor);
}

/* theta_bar in place: from the derivative of phi by theta' to that by theta (struct mv_adjoints), weight->logp and
 * weight->surrogate included. Returns the derivative of phi by c. The rate is not 0: what the weights add goes the way of
 * the update, over -rate / rows. */
static inline num mv_actor_critic_vjp(const struct mv_actor_critic *ac, const num *theta, const struct mv_lesson *s,
                                      const struct mv_motion *m, const struct mv_report *weight, num *theta_bar)
{
  const int actions = mv_actions(ac), rows = ac->rows, actor = mv_nn_size(&ac->actor);
  const double step = -ac->rate / rows;
  num *z_dot = mv_logits(ac, m->actor), *v_dot = mv_values(ac, m->critic), share_bar = num_set(0.0);
  mv_nn_forward_dot(&ac->actor, theta, theta_bar, rows, s->actor, m->actor);
  mv_nn_forward_dot(&ac->critic, theta + actor, theta_bar + actor, rows, s->critic, m->critic);
  for (int r = 0; r < rows; r++) {
    const int row = r * actions;
    num *d_dot = mv_logits(ac, m->actor_d) + row, entropy_dot;
    num log_dot = mv_policy_dot(actions, s->chosen + row, s->pi + row, s->log_pi + row, z_dot + row, &entropy_dot);
    num push = (weight->logp + weight->surrogate * s->weight[r]) / step;
    share_bar -= step * entropy_dot;
    mv_actor_d_dot(actions, s, r, z_dot + row, entropy_dot, push, num_set(0.0), d_dot);
    mv_values(ac, m->critic_d)[r] = ac->value_share * v_dot[r] + log_dot;
  }
  mv_nn_backward_dot(&ac->actor, theta, theta_bar, rows, s->actor, m->actor, s->actor_d, m->actor_d, step, theta_bar);
  mv_nn_backward_dot(&ac->critic, theta + actor, theta_bar + actor, rows, s->critic, m->critic, s->critic_d,
                     m->critic_d, step, theta_bar + actor);
  return share_bar;
}

#endif
