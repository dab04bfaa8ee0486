/* maze.c - the grid world of Vuorio et al. 2022, section on MDPs: an actor and a critic learn from whole episodes; the share
 * of the entropy in their loss is meta-learned.
 *
 * One inner step: `environments` new episodes of `horizon` steps (maze.h), actions by the actor, one update (actor_critic.h).
 * Rows of the batch are ordered by time, then environment. Observation: for player, green and blue their row and their
 * column, one-hot each, then the time, one-hot: 6 side + horizon numbers.
 *   G_{b,t} = sum_{t'>=t} discount^(t'-t) r_{b,t'},   R_n = mean_b G_{b,0},   ell_n = sum of all log pi(a)
 * The share is c = sigmoid(eta) (M = 1), or sigmoid of a network with parameters eta that sees the mean reward of the last 10
 * batches, this one included, zeros at first; they are inputs, not differentiated.
 * Surrogate (1/B) sum_{b,t} w log pi(a), and the baseline of the correction, by outer_loss:
 *   first_state_discounted: w = discount^t G, exact: its derivative has the mean D_n     first_state: w = G, as published
 *   first_state_adv: w = A = G - v, and R_n - mean_b v_{b,0} in the correction, as published: v has learned from the choices
 *   that the correction credits, so it is biased.
 * With relu (as published) an update jumps where a unit switches. The mean of the derivatives along lifetimes lacks what the
 * jumps add (Lee, Yu & Yang 2018), so it is not the derivative of the mean; tanh has none.
 * theta: actor, critic, the last rewards, the goal (1: green pays, 0: blue). The goal is the task instance; every flip_every
 * steps of one environment it is drawn anew, maybe the same.
 */
#include "metavar/actor_critic.h"
#include "metavar/choose.h"
#include "metavar/maze.h"

enum { ACTIONS = MV_MAZE_ACTIONS, MEMORY = 10 /* mean rewards that the context network sees */ };
enum outer_loss { FIRST_STATE_DISCOUNTED, FIRST_STATE, FIRST_STATE_ADV };
enum entropy { SCALAR, CONTEXT };
static const char *const outer_losses[] = {"first_state_discounted", "first_state", "first_state_adv", NULL};
static const char *const entropies[] = {"scalar", "context", NULL};
static const char *const activations[] = {"relu", "tanh", NULL}; /* in the order of mv_activation */

struct settings {
  int64_t side, horizon, environments, flip_every, context_hidden;
  struct mv_ints hidden;
  double discount, vf_coef, learning_rate;
  int activation, outer_loss, entropy;
  bool v22_respawn;
};

static const struct mv_field fields[] = {
    {"side", MV_INT, offsetof(struct settings, side), "3", 2, 64, NULL, "1", "rows and columns of the grid"},
    {"horizon", MV_INT, offsetof(struct settings, horizon), "8", 1, 1024, NULL, "1", "steps of an episode"},
    {"environments", MV_INT, offsetof(struct settings, environments), "10", 1, 1024, NULL, "1",
     "episodes of one inner step"},
    {"hidden", MV_INT_LIST, offsetof(struct settings, hidden), "[256, 256]", 1, 2048, NULL, "1",
     "units of the hidden layers of the actor, and of the critic"},
    {"activation", MV_CHOICE, offsetof(struct settings, activation), "relu", 0, 0, activations, NULL,
     "of these units; updates by relu jump where a unit switches, which biases derivatives; tanh is smooth"},
    {"discount", MV_REAL, offsetof(struct settings, discount), "0.99", 0, 1, NULL, "1", "of later rewards in a return"},
    {"vf_coef", MV_REAL, offsetof(struct settings, vf_coef), "0.1", 0, 1e6, NULL, "1",
     "share of the critic's loss in the inner loss"},
    {"learning_rate", MV_REAL, offsetof(struct settings, learning_rate), "1", 0, 1e6, NULL, "1",
     "of the inner update, plain gradient descent", true},
    {"outer_loss", MV_CHOICE, offsetof(struct settings, outer_loss), "first_state_discounted", 0, 0, outer_losses, NULL,
     "how actions are credited within a step: by discounted returns (exact), by returns, or by advantages (biased)",
     .estimate = true},
    {"entropy", MV_CHOICE, offsetof(struct settings, entropy), "scalar", 0, 0, entropies, NULL,
     "meta-parameters: one, the inverse sigmoid of the entropy's share, or a network of the last rewards that yields "
     "it"},
    {"context_hidden", MV_INT, offsetof(struct settings, context_hidden), "32", 1, 1024, NULL, "1",
     "hidden units of that network"},
    {"flip_every", MV_INT, offsetof(struct settings, flip_every), "0", 0, 1e12, NULL, "1",
     "environment steps after which the goal is drawn anew, checked before an inner step; 0: never"},
    {"v22_respawn", MV_BOOL, offsetof(struct settings, v22_respawn), "false", 0, 0, NULL, NULL,
     "an object never reappears on the last free cell, as in the published code"},
    MV_FIELD_END};

/* --- sizes ----------------------------------------------------------------------------------------------------------- */

static struct mv_nn network(int in, const struct mv_ints *hidden, int activation, int out)
{
  struct mv_nn n = {.layers = hidden->count + 1, .width = {in}, .activation = (enum mv_activation)activation};
  for (int l = 0; l < hidden->count; l++)
    n.width[l + 1] = (int)hidden->value[l];
  n.width[n.layers] = out;
  return n;
}

static struct mv_actor_critic learner(const struct settings *s)
{
  const int in = (int)(6 * s->side + s->horizon);
  return (struct mv_actor_critic){.actor = network(in, &s->hidden, s->activation, ACTIONS),
                                  .critic = network(in, &s->hidden, s->activation, 1),
                                  .rows = (int)(s->environments * s->horizon),
                                  .rate = s->learning_rate,
                                  .value_share = s->vf_coef};
}

static struct mv_nn context(const struct settings *s)
{
  return network(MEMORY, &(struct mv_ints){1, {s->context_hidden}}, MV_RELU, 1);
}

static int meta_count(const struct settings *s)
{
  struct mv_nn net = context(s);
  return s->entropy == CONTEXT ? mv_nn_size(&net) : 1;
}

#define PARAMETERS_MAX (INT64_C(1) << 30) /* of one learner; and in all columns of a tangent */

static void complete(void *settings, int64_t steps, struct mv_complaints *complaints)
{
  (void)steps;
  const struct settings *s = settings;
  int64_t from = 6 * s->side + s->horizon, units = from, size = 0;
  if (s->hidden.count >= MV_NN_DEPTH) {
    mv_complain(complaints, "hidden", "%d hidden layers; at most %d", s->hidden.count, MV_NN_DEPTH - 1);
    return;
  }
  for (int l = 0; l < s->hidden.count; l++) {
    size += (from + 1) * s->hidden.value[l];
    units += from = s->hidden.value[l];
  }
  size += (from + 1) * ACTIONS;
  if (2 * size * meta_count(s) > PARAMETERS_MAX)
    mv_complain(complaints, "hidden", "two networks of %lld parameters with %d tangents are too large; use fewer units",
                (long long)size, meta_count(s));
  if (4 * (units + ACTIONS) * s->environments * s->horizon > PARAMETERS_MAX)
    mv_complain(complaints, "environments", "batches of %lld rows are too large for networks of %lld units; use fewer",
                (long long)(s->environments * s->horizon), (long long)units);
}

/* An update by the gradients of such units is not continuous in theta. */
static bool jumps(const struct settings *s) { return s->activation == MV_RELU && s->hidden.count > 0; }

static int scratch_size(const struct settings *s)
{
  struct mv_actor_critic ac = learner(s);
  struct mv_nn net = context(s);
  int motion = mv_motion_size(&ac), thought = 2 * mv_nn_batch(&net, 1);
  return motion > thought ? motion : thought;
}

static struct mv_shape shape(const void *settings)
{
  const struct settings *s = settings;
  struct mv_actor_critic ac = learner(s);
  const int environments = (int)s->environments;
  return (struct mv_shape){.meta = meta_count(s),
                           .state = mv_actor_critic_size(&ac) + MEMORY + 1,
                           .instance = 1,
                           .tape = mv_lesson_size(&ac) + meta_count(s),
                           .scratch = scratch_size(s),
                           .lanes = 1,
                           .hessians = 1u << MV_PATHWISE,
                           .biased = s->outer_loss != FIRST_STATE_DISCOUNTED || jumps(s),
                           .at_instance = {.uniforms = 1},
                           .at_init = {.uniforms = mv_nn_draws(&ac.actor) + mv_nn_draws(&ac.critic)},
                           .at_step = {.uniforms = 1 + environments * MV_MAZE_PLACED + ac.rows * MV_MAZE_RESPAWNS,
                                       .choices = ac.rows,
                                       .arity = ACTIONS}};
}

/* What of theta is not learned: [MEMORY] rewards, the newest last, and the goal. Their tangents are and stay zero. */
static num *rewards_of(const struct mv_actor_critic *ac, const num *theta)
{
  return (num *)theta + mv_actor_critic_size(ac);
}

/* --- one batch ------------------------------------------------------------------------------------------------------- */

static num draw_goal(num uniform) { return num_select(num_less(uniform, num_set(0.5)), num_set(1.0), num_set(0.0)); }

static void instance(const void *settings, const struct mv_noise *noise, num *goal)
{
  (void)settings;
  *goal = draw_goal(noise->uniform[0]);
}

static void init(const struct mv_life *life, const struct mv_noise *noise, num *theta)
{
  struct mv_actor_critic ac = learner(life->settings);
  mv_nn_init(&ac.actor, noise->uniform, theta);
  mv_nn_init(&ac.critic, noise->uniform + mv_nn_draws(&ac.actor), theta + mv_nn_size(&ac.actor));
  num *rewards = rewards_of(&ac, theta);
  mv_nn_rows_set(1, MEMORY, NULL, rewards);
  rewards[MEMORY] = life->instance[0];
}

/* The goal at step n. */
static num goal_at(const struct settings *s, int64_t n, num before, num uniform)
{
  bool flips = n > 0 && s->flip_every > 0 && n * s->horizon / s->flip_every != (n - 1) * s->horizon / s->flip_every;
  return flips ? draw_goal(uniform) : before;
}

static double real_of(const num *x, int i, int lane)
{
  (void)lane;
  return MV_REAL_PART(NUM_LANE(x, i, lane));
}

/* The rows of time t. cell[environments][MV_LANES]: the mazes; x[environments][6 side + horizon] out. */
static void observe(const struct settings *s, int64_t t, int (*cell)[MV_LANES][MV_MAZE_THINGS], num *x)
{
  const int side = (int)s->side, width = (int)(6 * s->side + s->horizon);
  mv_nn_rows_set((int)s->environments, width, NULL, x);
  for (int b = 0; b < s->environments; b++, x += width) {
    x[6 * side + t] = num_set(1.0);
    for (int thing = 0; thing < MV_MAZE_THINGS; thing++)
      for (int l = 0; l < MV_LANES; l++) {
        NUM_LANE(x, 2 * thing * side + cell[b][l][thing] / side, l) = 1.0;
        NUM_LANE(x, (2 * thing + 1) * side + cell[b][l][thing] % side, l) = 1.0;
      }
  }
}

/* Row r acts: an action from its logits, a step of its maze. The reward goes where the return will be. */
static void act(const struct settings *s, const struct mv_noise *noise, int r, const num *goal, const num *logit,
                int (*cell)[MV_MAZE_THINGS], struct mv_lesson *lesson)
{
  const int row = r * ACTIONS, respawn = 1 + (int)s->environments * MV_MAZE_PLACED + r * MV_MAZE_RESPAWNS;
  numi action;
  mv_policy(ACTIONS, logit, lesson->pi + row, lesson->log_pi + row, &lesson->entropy[r]);
  mv_choose(noise, r, 1, ACTIONS, lesson->log_pi + row, lesson->pi + row, &action);
  mv_nn_rows_set(1, ACTIONS, NULL, lesson->chosen + row);
  for (int l = 0; l < MV_LANES; l++) {
    const int a = (int)NUMI_LANE(&action, 0, l);
    const double u[] = {real_of(noise->uniform, respawn, l), real_of(noise->uniform, respawn + 1, l)};
    NUM_LANE(lesson->chosen, row + a, l) = 1.0;
    NUM_LANE(lesson->gain, r, l) = mv_maze_step(
        (int)s->side, a, real_of(goal, 0, l) > 0.5 ? MV_MAZE_GREEN : MV_MAZE_BLUE, s->v22_respawn, u, cell[l]);
  }
}

/* The episodes: everything of the lesson that the actor's side has; gain holds rewards. */
static void play(const struct settings *s, const struct mv_actor_critic *ac, const struct mv_noise *noise,
                 const num *goal, const num *theta, struct mv_lesson *lesson)
{
  const int environments = (int)s->environments, width = ac->actor.width[0];
  int cell[environments][MV_LANES][MV_MAZE_THINGS];
  for (int b = 0; b < environments; b++)
    for (int l = 0; l < MV_LANES; l++) {
      double u[MV_MAZE_PLACED];
      for (int i = 0; i < MV_MAZE_PLACED; i++)
        u[i] = real_of(noise->uniform, 1 + b * MV_MAZE_PLACED + i, l);
      mv_maze_start((int)s->side, u, cell[b][l]);
    }
  for (int64_t t = 0; t < s->horizon; t++) {
    const int first = (int)t * environments;
    observe(s, t, cell, lesson->actor + first * width);
    mv_nn_forward(&ac->actor, theta, ac->rows, first, environments, lesson->actor);
    for (int b = 0; b < environments; b++)
      act(s, noise, first + b, goal, mv_logits(ac, lesson->actor) + (first + b) * ACTIONS, cell[b], lesson);
  }
  for (int i = 0; i < ac->rows * width; i++)
    lesson->critic[i] = lesson->actor[i];
}

/* Rewards become returns, in place; the mean reward is returned. */
static num collect(const struct settings *s, int rows, num *gain)
{
  num total = num_set(0.0);
  for (int r = rows - 1; r >= 0; r--) {
    total += gain[r];
    if (r + s->environments < rows)
      gain[r] += s->discount * gain[r + s->environments];
  }
  return total * (1.0 / rows);
}

/* c from the rewards that the network sees, and its derivatives by eta. share_dot[M] out. */
static void think(const struct mv_life *life, const num *rewards, num *share, num *share_dot)
{
  const struct settings *s = life->settings;
  const struct mv_nn net = context(s);
  num *a = life->scratch, *d = a + mv_nn_batch(&net, 1), z = life->eta[0];
  if (s->entropy == CONTEXT) {
    for (int i = 0; i < MEMORY; i++)
      a[i] = rewards[i];
    mv_nn_forward(&net, life->eta, 1, 0, 1, a);
    z = a[mv_nn_place(&net, 1, net.layers)];
  }
  *share = num_sigmoid(z);
  num slope = *share * num_sigmoid(-z);
  if (s->entropy == SCALAR) {
    *share_dot = slope;
    return;
  }
  d[mv_nn_place(&net, 1, net.layers)] = slope;
  mv_nn_backward(&net, life->eta, 1, a, d, 1.0, NULL, share_dot);
}

/* Weights of the surrogate, and the report. */
static struct mv_report judge(const struct settings *s, const struct mv_actor_critic *ac, struct mv_lesson *lesson)
{
  const double share = 1.0 / (double)s->environments;
  num logp = num_set(0.0), surrogate = num_set(0.0), first = num_set(0.0), baseline = num_set(0.0);
  double fade = 1.0;
  for (int r = 0; r < ac->rows; r++) {
    if (r > 0 && r % s->environments == 0 && s->outer_loss == FIRST_STATE_DISCOUNTED)
      fade *= s->discount;
    lesson->weight[r] =
        share * fade * num_stop(s->outer_loss == FIRST_STATE_ADV ? lesson->advantage[r] : lesson->gain[r]);
    num log_pi = mv_chosen(ACTIONS, lesson->chosen + r * ACTIONS, lesson->log_pi + r * ACTIONS);
    logp += log_pi;
    surrogate += lesson->weight[r] * log_pi;
  }
  for (int b = 0; b < s->environments; b++) {
    first += lesson->gain[b];
    if (s->outer_loss == FIRST_STATE_ADV)
      baseline += share * num_stop(mv_values(ac, lesson->critic)[b]);
  }
  /* 0 * logp: a policy that is not finite leaves no finite objective */
  return (struct mv_report){.objective = first * share + 0.0 * logp,
                            .logp = logp,
                            .surrogate = surrogate,
                            .expected = num_set(0.0),
                            .baseline = baseline};
}

/* --- step and derivatives -------------------------------------------------------------------------------------------- */

static void step(const struct mv_life *life, int64_t n, const struct mv_noise *noise, enum mv_hessian hessian,
                 const num *theta, num *theta_next, num *tape, struct mv_report *report)
{
  (void)hessian;
  const struct settings *s = life->settings;
  const struct mv_actor_critic ac = learner(s);
  struct mv_lesson lesson = mv_lesson_view(&ac, tape);
  const num *rewards = rewards_of(&ac, theta);
  num *rewards_next = rewards_of(&ac, theta_next);
  rewards_next[MEMORY] = goal_at(s, n, rewards[MEMORY], noise->uniform[0]);
  play(s, &ac, noise, &rewards_next[MEMORY], theta, &lesson);
  for (int i = 0; i < MEMORY - 1; i++)
    rewards_next[i] = rewards[i + 1];
  rewards_next[MEMORY - 1] = collect(s, ac.rows, lesson.gain);
  think(life, rewards_next, lesson.share, tape + mv_lesson_size(&ac));
  mv_critic_values(&ac, theta, &lesson);
  *report = judge(s, &ac, &lesson);
  mv_actor_critic_update(&ac, theta, theta_next, &lesson);
}

static void init_jvp(const struct mv_life *life, struct mv_columns *columns)
{
  const struct mv_shape size = shape(life->settings);
  mv_nn_rows_set(columns->count, size.state, NULL, columns->theta_dot);
  for (int c = 0; c < columns->count; c++)
    columns->zero[c] =
        true; /* its critic's part, for the whole lifetime: given the choices, the critic learns without eta */
}

static void step_jvp(const struct mv_life *life, int64_t n, const num *theta, const num *tape,
                     struct mv_columns *blocks, int block_count)
{
  (void)n;
  const struct mv_actor_critic ac = learner(life->settings);
  const struct mv_lesson lesson = mv_lesson_view(&ac, (num *)tape);
  const struct mv_motion motion = mv_motion_view(&ac, life->scratch);
  const int state = mv_actor_critic_size(&ac) + MEMORY + 1;
  const num *share_dot = tape + mv_lesson_size(&ac);
  for (int b = 0; b < block_count; b++)
    for (int c = 0; c < blocks[b].count; c++)
      mv_actor_critic_jvp(&ac, theta, &lesson, &motion, share_dot[c], blocks[b].zero[c],
                          blocks[b].theta_dot + c * state, &blocks[b].report[c]);
}

/* theta_0 does not depend on eta. */
static void init_vjp(const struct mv_life *life, struct mv_adjoints *adjoints) { (void)life, (void)adjoints; }

static void step_vjp(const struct mv_life *life, int64_t n, const num *theta, const num *tape,
                     struct mv_adjoints *blocks, int block_count)
{
  (void)n;
  const struct mv_actor_critic ac = learner(life->settings);
  const struct mv_lesson lesson = mv_lesson_view(&ac, (num *)tape);
  const struct mv_motion motion = mv_motion_view(&ac, life->scratch);
  const int state = mv_actor_critic_size(&ac) + MEMORY + 1, meta = meta_count(life->settings);
  const num *share_dot = tape + mv_lesson_size(&ac);
  for (int b = 0; b < block_count; b++)
    for (int c = 0; c < blocks[b].count; c++) {
      num share_bar =
          mv_actor_critic_vjp(&ac, theta, &lesson, &motion, &blocks[b].weight[c], blocks[b].theta_bar + c * state);
      for (int j = 0; j < meta; j++)
        blocks[b].eta_bar[c * meta + j] += share_bar * share_dot[j];
    }
}

MV_TASK(maze) = {
    .name = "maze",
    .doc =
        "A grid world (Vuorio et al. 2022, section on MDPs): a player, an object that pays 1 and one that costs 1; "
        "steps cost 0.04. An actor and a critic, networks of `hidden` units, start at random weights and learn by "
        "gradient descent on a Monte Carlo actor-critic loss from batches of `environments` episodes. The share of "
        "the entropy in that loss is meta-learned: sigmoid(eta), or a network of the last rewards. R_n is the mean "
        "discounted return. Derivatives are unbiased with outer_loss first_state_discounted and activation tanh alone.",
    .fields = fields,
    .settings_size = sizeof(struct settings),
    .complete = complete,
    .shape = shape,
    .instance = instance,
    .init = init,
    .step = step,
    .init_jvp = init_jvp,
    .step_jvp = step_jvp,
    .init_vjp = init_vjp,
    .step_vjp = step_vjp,
};
