/* test_checkpoints.c - how many steps a walk back keeps changes no bit; a million steps, 200 of them kept, take three
 * evaluations of each at most. The schedule alone: test_revolve.c.
 */
#include <stdio.h>

#include "harness.h"

#define TOLERANCE 1e-10 /* of reverse against forward mode */

static void set_mode(struct rig *r, const char *mode, int64_t checkpoints)
{
  *(int *)rig_setting(r, "mode") = rig_word(r, "mode", mode);
  *(int64_t *)rig_setting(r, "checkpoints") = checkpoints;
}

static void checkpoints_change_no_bit(void **state)
{
  (void)state;
  static const double eta[] = {1, 2.5};
  static const int64_t kept[] = {1, 2, 3, 7, 20, 49, 1000};
  struct mv_key key = mv_key_make(33, eta, 2);
  double *expected = NULL;
  for (int k = -1; k < (int)(sizeof kept / sizeof *kept); k++) {
    struct rig r;
    rig_make(&r, mv_kernel_best(), "bandit", "backprop", 50);
    *(struct mv_ints *)rig_setting(&r, "truncation") = (struct mv_ints){2, {7, 20}};
    *(bool *)rig_setting(&r, "weighted") = false; /* windows alone: the walk back ends in mid-lifetime */
    rig_choose(&r, "hessian", mv_hessian_names);
    set_mode(&r, "reverse", k < 0 ? 0 : kept[k]);
    rig_ready(&r);
    const size_t bytes = sizeof(double) * (size_t)(rig_total(&r) * r.kernel->lanes);
    expected = expected ? expected : calloc(5, bytes);
    for (int64_t group = 0; group < 5; group++) {
      rig_sample(&r, key, eta, group * r.kernel->lanes, NULL);
      if (k < 0)
        memcpy((char *)expected + (size_t)group * bytes, r.values, bytes);
      assert_memory_equal((char *)expected + (size_t)group * bytes, r.values, bytes);
    }
    rig_free(&r);
  }
  free(expected);
}

enum { MILLION = 1000000, KEPT = 200 };
static const struct mv_task *counted; /* the task whose steps are counted */
static uint8_t *evaluations;          /* of each step */
static const num *tapes[KEPT + 10];   /* different ones that steps were given */
static int tape_count;

static void counting_step(const struct mv_life *life, int64_t n, const struct mv_noise *noise, enum mv_hessian hessian,
                          const num *theta, num *theta_next, num *tape, struct mv_report *report)
{
  int i = 0;
  while (i < tape_count && tapes[i] != tape)
    i++;
  if (i == tape_count && tape_count < KEPT + 10)
    tapes[tape_count++] = tape;
  evaluations[n]++;
  counted->step(life, n, noise, hessian, theta, theta_next, tape, report);
}

static void million_make(struct rig *r, struct mv_task *task, const char *mode, int64_t checkpoints)
{
  rig_make(r, mv_kernel_find("scalar"), "bandit", "backprop", MILLION);
  *(int64_t *)rig_task_setting(r, "arms") = 2;
  *(int64_t *)rig_task_setting(r, "batch") = 1;
  r->problem.shape = r->problem.task->shape(r->problem.settings);
  *(bool *)rig_setting(r, "weighted") = false;
  *(int64_t *)rig_setting(r, "memory") = INT64_C(4000000000);
  set_mode(r, mode, checkpoints);
  if (checkpoints) {
    counted = r->problem.task;
    *task = *counted;
    task->step = counting_step;
    r->problem.task = task;
  }
  rig_ready(r);
}

static void a_million_steps(void **state)
{
  (void)state;
  static const double eta[] = {-12, -13}; /* rates of 1e-6: the lifetime is all learning */
  struct mv_key key = mv_key_make(35, eta, 2);
  struct rig few, all, forward;
  struct mv_task task;
  evaluations = calloc(MILLION, 1);
  million_make(&few, &task, "reverse", KEPT);
  million_make(&all, NULL, "reverse", 0);
  million_make(&forward, NULL, "forward", 0);
  rig_sample(&few, key, eta, 5, NULL);
  rig_sample(&all, key, eta, 5, NULL);
  rig_sample(&forward, key, eta, 5, NULL);
  int64_t total = 0;
  for (int64_t n = 0; n < MILLION; n++) {
    assert_in_range(evaluations[n], 1, 3);
    total += evaluations[n];
  }
  print_message("%d steps kept: %.4f evaluations of a step, %.1f KiB; all kept: %.1f MiB\n", KEPT,
                (double)total / MILLION, (double)few.arena.size / 1024, (double)all.arena.size / 1048576);
  assert_true(tape_count <= KEPT + 2); /* that of the step at work, and of steps that are not kept */
  assert_true(few.arena.size < 64 * 1024 && all.arena.size > 100 * few.arena.size);
  assert_memory_equal(few.values, all.values, sizeof(double) * (size_t)rig_total(&few));
  for (int64_t i = 0; i < 4; i++) {
    print_message("%s %.17g, forward %.17g\n", i < 2 ? "direct" : "correction", few.values[i], forward.values[i]);
    assert_true(fabs(few.values[i] - forward.values[i]) <= TOLERANCE * fabs(forward.values[i]));
  }
  free(evaluations);
  rig_free(&few), rig_free(&all), rig_free(&forward);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(checkpoints_change_no_bit), cmocka_unit_test(a_million_steps)};
  return cmocka_run_group_tests_name("checkpoints", tests, NULL, NULL);
}
