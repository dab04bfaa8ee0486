/* update_worker.c - the maze's inner update for jax_update.py: from a given batch, forward passes of actor and critic, loss,
 * gradient, sgd; and its tangent along one direction. 26-256-256-4 and 26-256-256-1, 80 rows.
 *
 * Lines in: "file PATH" writes the arrays that `arrays` lists, one after another; "update CLOCK SECONDS" and "tangent CLOCK
 * SECONDS" (update and tangent) answer seconds per call, by clock "cpu" (of this thread) or "wall".
 */
#include "bench.h"
#include "harness.h"
#include "metavar/actor_critic.h"
#include "metavar/blas.h"

enum { IN = 26, HIDDEN = 256, ACTIONS = 4, ROWS = 80 };
static const struct mv_actor_critic learner = {.actor = {3, {IN, HIDDEN, HIDDEN, ACTIONS}},
                                               .critic = {3, {IN, HIDDEN, HIDDEN, 1}},
                                               .rows = ROWS,
                                               .rate = 1,
                                               .value_share = 0.1};
static struct mv_lesson lesson;
static struct mv_motion motion;
static double *theta, *direction, *next, *dot;

static double any(int i) { return 0.5 + 0.499 * sin(i); } /* in (0, 1) */
static double *take(int count) { return calloc((size_t)count, sizeof(double)); }

/* A batch as episodes leave it: six one-hot numbers out of 3 and one out of 8, an action, a return. */
static void make(void)
{
  const int size = mv_actor_critic_size(&learner), actor = mv_nn_size(&learner.actor);
  const int draws = mv_nn_draws(&learner.actor) + mv_nn_draws(&learner.critic);
  double *u = take(draws);
  theta = take(size), direction = take(size), next = take(size), dot = take(size);
  lesson = mv_lesson_view(&learner, take(mv_lesson_size(&learner)));
  motion = mv_motion_view(&learner, take(mv_motion_size(&learner)));
  for (int i = 0; i < draws; i++)
    u[i] = any(i);
  mv_nn_init(&learner.actor, u, theta), mv_nn_init(&learner.critic, u + mv_nn_draws(&learner.actor), theta + actor);
  for (int i = 0; i < size; i++)
    direction[i] = any(7 * i) - 0.5;
  for (int r = 0; r < ROWS; r++) {
    for (int digit = 0; digit < 6; digit++)
      lesson.actor[r * IN + 3 * digit + (int)(3 * any(6 * r + digit))] = 1;
    lesson.actor[r * IN + 18 + r / 10] = 1;
    lesson.chosen[r * ACTIONS + (int)(ACTIONS * any(3 * r))] = 1;
    lesson.gain[r] = any(5 * r);
  }
  memcpy(lesson.critic, lesson.actor, sizeof(double) * ROWS * IN);
  *lesson.share = 0.3;
  free(u);
}

static void update(void *self)
{
  (void)self;
  mv_nn_forward(&learner.actor, theta, ROWS, 0, ROWS, lesson.actor);
  for (int r = 0; r < ROWS; r++)
    mv_policy(ACTIONS, mv_logits(&learner, lesson.actor) + r * ACTIONS, lesson.pi + r * ACTIONS,
              lesson.log_pi + r * ACTIONS, &lesson.entropy[r]);
  mv_critic_values(&learner, theta, &lesson);
  mv_actor_critic_update(&learner, theta, next, &lesson);
}

static void tangent(void *self)
{
  struct mv_report report;
  update(self);
  memcpy(dot, direction, sizeof(double) * (size_t)mv_actor_critic_size(&learner));
  mv_actor_critic_jvp(&learner, theta, &lesson, &motion, 0.2, false, dot, &report);
}

static void write_file(const char *path)
{
  const size_t size = (size_t)mv_actor_critic_size(&learner);
  const struct {
    const double *from;
    size_t count;
  } arrays[] = {{theta, size},       {lesson.actor, ROWS * IN}, {lesson.chosen, ROWS * ACTIONS},
                {lesson.gain, ROWS}, {direction, size},         {next, size},
                {dot, size}};
  FILE *f = fopen(path, "wb");
  tangent(NULL);
  for (size_t i = 0; f && i < sizeof arrays / sizeof *arrays; i++)
    if (fwrite(arrays[i].from, sizeof(double), arrays[i].count, f) != arrays[i].count)
      exit(1);
  if (!f || fclose(f))
    exit(1);
  printf("%s %s\n", MV_GIT, mv_blas_core());
}

int main(void)
{
  char word[16], argument[4096];
  setvbuf(stdout, NULL, _IOLBF, 0);
  make();
  while (scanf("%15s %4095s", word, argument) == 2) {
    double goal;
    if (!strcmp(word, "file"))
      write_file(argument);
    else if (scanf("%lf", &goal) == 1)
      printf("%.9g\n", seconds_by(!strcmp(argument, "cpu") ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, goal,
                                  !strcmp(word, "update") ? update : tangent, NULL));
  }
}
