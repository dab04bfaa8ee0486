/* members.c - what an analysis compares: the entries of the run, and the references of another one.
 *
 * `--reference` names an entry of the run (LABEL), a run (RUN2) or an entry of a run (RUN2:LABEL). From another run come
 * all entries of the estimator `reference`, and the one that is named. It has to have the same task and lifetimes, but
 * for settings that change estimates only, and the run's eta points among its own. With the same seed its replicates share
 * their random numbers with the run's, and pair with them; in chunks of as many task instances as blocks of both runs have
 * in common.
 */
#define _GNU_SOURCE
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "metavar/analysis.h"
#include "metavar/memory.h"

bool mv_aim_equal(const struct mv_aim *a, const struct mv_aim *b)
{
  return a->length == b->length && a->window == b->window && a->smoothing == b->smoothing;
}

static int cell_of(const struct mv_member *m, int point) { return m->number * m->job->points + m->point[point]; }

int64_t mv_member_replicates(const struct mv_member *m, int point)
{
  return mv_results_plan(m->results)->replicates[cell_of(m, point)];
}

struct mv_aim mv_member_aim(const struct mv_member *m, int setting)
{
  const struct mv_setting *s = &m->settings.at[setting];
  const struct mv_entry *e = mv_member_entry(m);
  if (!e->estimator->aim)
    return (struct mv_aim){.length = m->job->lifetime_length};
  return e->estimator->aim(e->settings, &m->job->problem, s->output, s->index, s->lambda);
}

static bool is_reference(const struct mv_member *m)
{
  return strcmp(mv_member_entry(m)->estimator->name, "reference") == 0;
}

/* The setting of member m that is unbiased for an objective; -1 none. */
static int find_in(const struct mv_member *m, const struct mv_aim *aim)
{
  for (int s = 0; s < m->settings.count; s++) {
    struct mv_aim here = mv_member_aim(m, s);
    if (here.unbiased && mv_aim_equal(&here, aim))
      return s;
  }
  return -1;
}

struct mv_place mv_find_aim(const struct mv_tables *t, const struct mv_aim *aim, int own)
{
  for (int guest = 1; guest >= 0; guest--)
    for (int e = 0; e < t->members; e++) {
      int s = t->member[e].guest == guest && is_reference(&t->member[e]) ? find_in(&t->member[e], aim) : -1;
      if (s >= 0)
        return (struct mv_place){e, s};
    }
  int s = own >= 0 ? find_in(&t->member[own], aim) : -1;
  return (struct mv_place){s >= 0 ? own : -1, s};
}

/* The list of coefficients, and 1 if it is not there: the full correction is what sources are told by. */
static void make_settings(struct mv_member *m, const double *lambda, int lambdas)
{
  double all[lambdas + 1];
  bool one = false;
  for (int l = 0; l < lambdas; l++) {
    all[l] = lambda[l];
    one = one || lambda[l] == 1;
  }
  all[lambdas] = 1;
  m->settings = mv_settings_make(m->layout, all, lambdas + !one);
  for (int s = 0; s < m->settings.count; s++)
    m->settings.at[s].hidden = m->guest || (!one && m->settings.at[s].lambda == 1);
}

static void add_member(struct mv_tables *t, struct mv_results *results, int number, bool guest, const double *lambda,
                       int lambdas)
{
  t->member = mv_memory_grow(t->member, (size_t)t->members + 1, sizeof *t->member);
  struct mv_member *m = &t->member[t->members++];
  *m = (struct mv_member){.results = results, .job = mv_results_job(results), .number = number, .guest = guest};
  m->layout = &mv_results_plan(results)->layout[number];
  make_settings(m, lambda, lambdas);
  m->point = mv_memory_take((size_t)t->job->points, sizeof *m->point);
}

static void collect_axes(struct mv_tables *t, const struct mv_layout *layout)
{
  for (int o = 0; o < layout->output_count; o++) {
    const struct mv_output *output = &layout->output[o];
    if (output->role != MV_GRADIENT && output->role != MV_COMPONENT && output->role != MV_TARGET)
      continue;
    for (int a = 0; a < output->rank - 1; a++) {
      int known = 0;
      while (known < t->axis_count && strcmp(t->axis[known], output->axis[a].name) != 0)
        known++;
      if (known == t->axis_count && known < MV_OUTPUTS_MAX * MV_AXES_MAX)
        t->axis[t->axis_count++] = output->axis[a].name;
    }
  }
}

static bool is_run(const char *path)
{
  struct stat info;
  return stat(path, &info) == 0;
}

char *mv_reference_run(const char *reference, const char **label)
{
  const char *colon = strrchr(reference, ':');
  bool whole = is_run(reference) || !colon;
  *label = whole ? NULL : colon + 1;
  return whole ? strdup(reference) : strndup(reference, (size_t)(colon - reference));
}

/* what: "it has no", or that it is no run either. */
static int unknown_label(const struct mv_job *job, const char *option, const char *run, const char *what,
                         const char *label)
{
  fprintf(stderr, "metavar: --%s %s: %s entry labelled '%s'; there are:", option, run, what, label);
  for (int e = 0; e < job->entry_count; e++)
    fprintf(stderr, " %s", job->entries[e].label);
  fprintf(stderr, "\n");
  return MV_EXIT_USAGE;
}

bool mv_same_question(const struct mv_job *a, const struct mv_job *b, bool estimates, const char *option,
                      const char *run)
{
  const char *key = strcmp(a->task->name, b->task->name)       ? "task"
                    : a->lifetime_length != b->lifetime_length ? "lifetime_length"
                                                               : NULL;
  for (const struct mv_field *f = a->task->fields; !key && f->name; f++) {
    if (f->estimate && !estimates)
      continue;
    char mine[256], other[256];
    mv_field_print(f, a->task_settings, mine, sizeof mine);
    mv_field_print(f, b->task_settings, other, sizeof other);
    if (strcmp(mine, other) != 0)
      key = f->name;
  }
  if (key)
    fprintf(stderr, "metavar: --%s %s: its %s is another one; it has to have the same task and lifetimes\n", option,
            run, key);
  return !key;
}

/* Where the run's eta points are in the reference run. */
static bool find_points(const struct mv_tables *t, struct mv_member *m, const char *run)
{
  const size_t size = (size_t)t->job->meta * sizeof(double);
  for (int p = 0; p < t->job->points; p++) {
    int q = 0;
    while (q < m->job->points && memcmp(t->job->eta + p * t->job->meta, m->job->eta + q * t->job->meta, size) != 0)
      q++;
    if (q == m->job->points) {
      fprintf(stderr, "metavar: --reference %s: it lacks eta point %d of this run; add it there and compute on\n", run,
              p);
      return false;
    }
    m->point[p] = q;
  }
  return true;
}

/* Entries of another run. *named: the member that the label names; -1 without one. */
static int add_guests(struct mv_tables *t, const char *run, const char *label, const double *lambda, int lambdas,
                      int *named)
{
  int code;
  t->guest_results = mv_results_open(run, &code);
  if (!t->guest_results)
    return code;
  const struct mv_job *job = mv_results_job(t->guest_results);
  if (!mv_same_question(t->job, job, false, "reference", run))
    return MV_EXIT_USAGE;
  int wanted = label ? mv_job_find(job, label, NULL) : -1;
  if (label && wanted < 0)
    return unknown_label(job, "reference", run, "it has no", label);
  for (int e = 0; e < job->entry_count; e++) {
    if (e != wanted && strcmp(job->entries[e].estimator->name, "reference") != 0)
      continue;
    add_member(t, t->guest_results, e, true, lambda, lambdas);
    if (e == wanted)
      *named = t->members - 1;
    if (e == wanted && job->problem.shape.biased && job->entries[e].estimator->needs & MV_NEEDS_DERIVATIVE)
      mv_warn(t,
              "--reference %s:%s: derivatives of its task are biased with these settings, so it is no truth: what is "
              "called bias is the distance from it",
              run, label);
    if (!find_points(t, &t->member[t->members - 1], run))
      return MV_EXIT_USAGE;
  }
  if (t->members > t->entries)
    return MV_EXIT_OK;
  fprintf(stderr, "metavar: --reference %s: it has no entry of the estimator 'reference'; name one: %s:LABEL\n", run,
          run);
  return MV_EXIT_USAGE;
}

/* Member m as the reference: one gradient, lambda = 1. */
static int choose(struct mv_tables *t, int m)
{
  const struct mv_settings *settings = &t->member[m].settings;
  int found = 0;
  for (int s = 0; s < settings->count; s++) {
    const struct mv_setting *at = &settings->at[s];
    if (t->member[m].layout->output[at->output].role == MV_TARGET || (at->base >= 0 && at->lambda != 1))
      continue;
    t->reference = (struct mv_place){m, s};
    found++;
  }
  if (found == 1)
    return MV_EXIT_OK;
  fprintf(stderr,
          "metavar: entry '%s' cannot be the reference: it has %d gradients, not one; take an entry with one value "
          "along each axis\n",
          mv_member_entry(&t->member[m])->label, found);
  return MV_EXIT_USAGE;
}

/* The first that estimates grad J itself, guests before the run's own. */
static int choose_any(struct mv_tables *t)
{
  struct mv_place place = mv_find_aim(t, &(struct mv_aim){.length = t->job->lifetime_length}, -1);
  if (place.member >= 0)
    return choose(t, place.member);
  mv_warn(t, "the run has no entry of the estimator 'reference', so biases stay undefined; --reference names another "
             "entry or run");
  return MV_EXIT_OK;
}

int mv_members_make(struct mv_tables *t, struct mv_results *results, const double *lambda, int lambdas,
                    const char *reference)
{
  int named = -1, code = MV_EXIT_OK;
  for (int e = 0; e < t->job->entry_count; e++) {
    add_member(t, results, e, false, lambda, lambdas);
    collect_axes(t, t->member[e].layout);
    for (int p = 0; p < t->job->points; p++)
      t->member[e].point[p] = p;
  }
  t->entries = t->members;
  t->reference = (struct mv_place){-1, -1};
  if (reference && (named = mv_job_find(t->job, reference, NULL)) < 0) {
    const char *label;
    char *run = mv_reference_run(reference, &label);
    code = is_run(run) ? add_guests(t, run, label, lambda, lambdas, &named)
                       : unknown_label(t->job, "reference", reference, "there is no such run, and no", reference);
    free(run);
  }
  if (code)
    return code;
  return named >= 0 ? choose(t, named) : choose_any(t);
}

void mv_members_free(struct mv_tables *t)
{
  for (int e = 0; e < t->members; e++) {
    struct mv_member *m = &t->member[e];
    for (int k = 0; m->average && k < m->settings.count * MV_FIGURES; k++)
      mv_average_free(&m->average[k]);
    mv_settings_free(&m->settings);
    free(m->point);
    free(m->row);
    free(m->coordinate);
    free(m->average);
    free(m->grid);
  }
  free(t->member);
  if (t->guest_results)
    mv_results_close(t->guest_results);
}

/* --- reading -------------------------------------------------------------------------------------------------- */

struct adding {
  struct mv_panel *panel;
  const struct mv_tables *tables;
  int member;
};

static void add_block(void *self, const struct mv_moments *block)
{
  const struct adding *a = self;
  const struct mv_member *m = &a->tables->member[a->member];
  mv_panel_add(a->panel, a->member, &m->settings, m->layout, block);
}

int mv_members_read(struct mv_tables *t, int point, struct mv_panel *p)
{
  struct mv_extent extent[t->members];
  int code = MV_EXIT_OK;
  int64_t shared = mv_common_divisor(t->job->block, t->member[t->members - 1].job->block);
  for (int e = 0; e < t->members; e++) {
    const struct mv_member *m = &t->member[e];
    const int64_t other = m->guest ? t->job->block : t->member[t->members - 1].job->block;
    extent[e] = (struct mv_extent){.settings = m->settings.count,
                                   .blocks = (mv_member_replicates(m, point) + m->job->block - 1) / m->job->block,
                                   .width = mv_member_nest(m),
                                   .family = m->job->seed != t->job->seed};
    if (t->guest_results && m->job->seed == t->job->seed)
      extent[e].width *= other / shared;
  }
  mv_panel_make(p, t->job->meta, t->members, extent);
  for (int e = 0; e < t->members && code == MV_EXIT_OK; e++) {
    const struct mv_member *m = &t->member[e];
    struct adding a = {p, t, e};
    if (m->settings.count)
      code = mv_results_blocks(m->results, cell_of(m, point), add_block, &a);
  }
  return code;
}
