/* study.c - a measurement as the study of a training: what the reference and the trained estimators give at its points.
 *
 * A row of the training is found again in the study by estimator, settings, and its place on the axes: one value of each
 * there, one of several here. Keys that only add outputs (backprop's weighted) may differ.
 *
 * Samples are cut into MV_STUDY_GROUPS groups of whole task instances, in turns, the same instances for every entry: chunk
 * c of `block` instances belongs to group c % groups. Whatever is computed from the means of all but one group, for each
 * group, tells its own error and the bias of a square (delete-a-group jackknife: Quenouille 1956, Tukey 1958), shared
 * random numbers and nested designs included.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <math.h>
#include <string.h>

#include "metavar/improvement.h"
#include "metavar/memory.h"

/* --- which estimate ----------------------------------------------------------------------------------------------- */

/* The output whose axes tell which gradient a row of the training follows. */
static int followed_output(const struct mv_output *output, int count)
{
  int followed = 0;
  for (int o = 0; o < count; o++)
    followed = output[o].role == MV_COMPONENT ? o : followed;
  return followed;
}

static bool names_axis_or_output(const struct mv_output *output, int count, const char *name)
{
  for (int o = 0; o < count; o++) {
    if (output[o].role == MV_TARGET && strcmp(output[o].name, name) == 0)
      return true;
    for (int a = 0; a < output[o].rank; a++)
      if (strcmp(output[o].axis[a].name, name) == 0)
        return true;
  }
  return false;
}

/* The setting of a study's member that has the training's place on every axis; -1: none. */
static int find_setting(const struct mv_member *m, const struct mv_output *output, int count, double lambda)
{
  const struct mv_output *wanted = &output[followed_output(output, count)];
  for (int s = 0; s < m->settings.count; s++) {
    const struct mv_setting *setting = &m->settings.at[s];
    bool same =
        m->layout->output[setting->output].role == wanted->role && !(setting->lambda != lambda && setting->base >= 0);
    for (int a = 0; a < wanted->rank && same; a++) {
      char mine[MV_NAME_MAX + 1], other[MV_NAME_MAX + 1];
      int axis = mv_setting_axis(m->layout, setting, wanted->axis[a].name);
      mv_axis_text(&wanted->axis[a], 0, mine, sizeof mine);
      if (axis >= 0)
        mv_axis_text(&m->layout->output[setting->output].axis[axis], setting->index[axis], other, sizeof other);
      same = axis >= 0 && strcmp(mine, other) == 0;
    }
    if (same)
      return s;
  }
  return -1;
}

/* The key of the estimator that differs, or NULL. */
static const char *other_key(const struct mv_entry *a, const struct mv_member *m, const struct mv_output *output,
                             int count)
{
  for (const struct mv_field *f = a->estimator->fields; f->name; f++) {
    char mine[2048], other[2048];
    mv_field_print(f, a->settings, mine, sizeof mine);
    mv_field_print(f, mv_member_entry(m)->settings, other, sizeof other);
    if (strcmp(mine, other) != 0 && !names_axis_or_output(output, count, f->name) &&
        !names_axis_or_output(m->layout->output, m->layout->output_count, f->name))
      return f->name;
  }
  return NULL;
}

/* Where a row of the training is in the study; what is missing is told. */
static void find_subject(const struct mv_study *s, const struct mv_job *training, const struct mv_entry *e,
                         const char *run, struct mv_subject *subject)
{
  struct mv_output output[MV_OUTPUTS_MAX];
  int count = e->estimator->outputs(e->settings, &training->problem, output);
  const char *key = NULL;
  bool known = false, nested = mv_entry_nest(e) > 1;
  bool shaped = mv_shaping_of(e->estimator, e->settings) != MV_SHAPING_NONE;
  subject->entry = -1;
  for (int k = 0; k < s->tables.members && subject->entry < 0 && !nested && !shaped; k++) {
    const struct mv_member *m = &s->tables.member[k];
    if (strcmp(mv_member_entry(m)->estimator->name, e->estimator->name) != 0)
      continue;
    known = true;
    const char *differs = other_key(e, m, output, count);
    int setting = differs ? -1 : find_setting(m, output, count, e->lambda);
    key = key ? key : differs ? differs : "values on an axis";
    if (setting >= 0) {
      subject->entry = k;
      subject->setting = setting;
    }
  }
  if (subject->entry >= 0)
    return;
  fprintf(stderr, "metavar: note: entry '%s' is left out: ", e->label);
  if (shaped)
    fprintf(stderr, "its fitness is shaped over the whole population of an update, which a study does not know\n");
  else if (nested)
    fprintf(stderr, "its replicates share task instances, so the variance of their mean is not that of one by their "
                    "number\n");
  else if (known)
    fprintf(stderr, "--study %s: its %s has other %s\n", run, e->estimator->name, key);
  else
    fprintf(stderr, "--study %s: it has no entry of the estimator %s\n", run, e->estimator->name);
}

/* --- moments ------------------------------------------------------------------------------------------------------ */

struct moments {
  int64_t count;
  double *mean, *square; /* [meta]; [pairs] sums of products of deviations */
};

/* Merges b into a, as mv_merge, with the products of different coordinates. */
static void merge(int meta, struct moments *a, int64_t count, const double *mean, const double *square)
{
  if (count == 0)
    return;
  double na = (double)a->count, nb = (double)count, n = na + nb, d[meta];
  for (int j = 0; j < meta; j++)
    d[j] = a->count ? mean[j] - a->mean[j] : 0;
  for (int i = 0, pair = 0; i < meta; i++)
    for (int j = i; j < meta; j++, pair++)
      a->square[pair] += square[pair] + d[i] * d[j] * (na * nb / n);
  for (int j = 0; j < meta; j++)
    a->mean[j] = a->count ? a->mean[j] + d[j] * (nb / n) : mean[j];
  a->count += count;
}

struct reading {
  int meta;
  int64_t nest;
  const struct mv_setting *setting;
  const struct mv_layout *layout;
  struct moments group[MV_STUDY_GROUPS];
};

static void add_block(void *self, const struct mv_moments *block)
{
  struct reading *r = self;
  const struct mv_setting *s = r->setting;
  const int meta = r->meta;
  const int64_t n = r->layout->moments;
  const double *x = block->comoment;
  double mean[meta], square[meta * (meta + 1) / 2];
  if (block->count == 0)
    return;
  mv_setting_sample(s, meta, block->mean, mean);
  for (int i = 0, pair = 0; i < meta; i++)
    for (int j = i; j < meta; j++, pair++) {
      square[pair] = x[mv_pair_at(n, s->first + i, s->first + j)];
      if (s->base >= 0)
        square[pair] =
            x[mv_pair_at(n, s->base + i, s->base + j)] + s->lambda * s->lambda * square[pair] +
            s->lambda * (x[mv_pair_at(n, s->base + i, s->first + j)] + x[mv_pair_at(n, s->first + i, s->base + j)]);
    }
  merge(meta, &r->group[block->block / r->nest % MV_STUDY_GROUPS], block->count, mean, square);
}

/* All groups but `without` (-1: all). */
static void put_moments(const struct reading *r, int without, double *mean, double *covariance)
{
  const int meta = r->meta, pairs = meta * (meta + 1) / 2;
  struct moments all = {0, mean, covariance};
  for (int g = 0; g < MV_STUDY_GROUPS; g++)
    if (g != without)
      merge(meta, &all, r->group[g].count, r->group[g].mean, r->group[g].square);
  for (int j = 0; j < meta; j++)
    mean[j] = all.count > 0 ? mean[j] : (double)NAN;
  for (int p = 0; p < pairs; p++)
    covariance[p] = all.count > 1 ? covariance[p] / (double)(all.count - 1) : (double)NAN;
}

static int read_subject(struct mv_study *s, struct mv_subject *subject)
{
  const int meta = s->meta, pairs = meta * (meta + 1) / 2, points = s->points;
  const struct mv_member *m = &s->tables.member[subject->entry];
  struct reading r = {meta, mv_member_nest(m), &m->settings.at[subject->setting], m->layout, {{0}}};
  double *room = mv_memory_take((size_t)(MV_STUDY_GROUPS * (meta + pairs)), sizeof *room);
  int code = MV_EXIT_OK;
  subject->mean = mv_memory_take((size_t)((1 + MV_STUDY_GROUPS) * points * meta), sizeof(double));
  subject->covariance = mv_memory_take((size_t)((1 + MV_STUDY_GROUPS) * points * pairs), sizeof(double));
  for (int p = 0; p < points && code == MV_EXIT_OK; p++) {
    memset(room, 0, (size_t)(MV_STUDY_GROUPS * (meta + pairs)) * sizeof *room);
    for (int g = 0; g < MV_STUDY_GROUPS; g++)
      r.group[g] = (struct moments){0, room + g * (meta + pairs), room + g * (meta + pairs) + meta};
    code = mv_results_blocks(m->results, m->number * points + p, add_block, &r);
    for (int k = 0; k <= MV_STUDY_GROUPS; k++)
      put_moments(&r, k - 1, subject->mean + (k * points + p) * meta, subject->covariance + (k * points + p) * pairs);
  }
  free(room);
  return code;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

/* Whether this is about something. */
static int check_training(const struct mv_job *training)
{
  if (training->train.optimizer == MV_ADAM)
    fprintf(stderr, "metavar: --study: the optimizer is adam, whose step is not linear in the gradient, so bias and "
                    "variance do not predict it; train with sgd\n");
  else if (mv_job_carries(training))
    fprintf(stderr,
            "metavar: --study: the training's lifetimes are carried from update to update, and a study has new ones\n");
  else if (training->train.evaluate_every == 0)
    fprintf(stderr, "metavar: --study: the training has evaluated nothing that a prediction could be compared with; "
                    "give it evaluate_every\n");
  else
    return MV_EXIT_OK;
  return MV_EXIT_USAGE;
}

static int check_study(const struct mv_study *s, const struct mv_job *training, const char *run)
{
  const struct mv_job *job = mv_results_job(s->results);
  if (job->train.updates)
    fprintf(stderr, "metavar: --study %s: is a training; a study is a run of metavar run\n", run);
  else if (job->sampler != training->sampler)
    fprintf(stderr, "metavar: --study %s: its sampler is another one\n", run);
  else if (job->points < mv_local_least(s->meta))
    fprintf(stderr, "metavar: --study %s: %d eta points are too few for a fit in %d dimensions; have %d or more\n", run,
            job->points, s->meta, mv_local_least(s->meta));
  else if (mv_same_question(training, job, true, "study", run))
    return MV_EXIT_OK;
  return MV_EXIT_USAGE;
}

/* The study's members, with every coefficient that is trained, and its reference. */
static int open_members(struct mv_study *s, const struct mv_job *training, const char *label, const char *run)
{
  double lambda[MV_LIST_MAX];
  int lambdas = 0, code = check_study(s, training, run);
  for (int e = 0; e < training->entry_count && lambdas < MV_LIST_MAX; e++) {
    int k = 0;
    while (k < lambdas && lambda[k] != training->entries[e].lambda)
      k++;
    lambda[k] = training->entries[e].lambda;
    lambdas += k == lambdas;
  }
  if (code == MV_EXIT_OK && label && mv_job_find(mv_results_job(s->results), label, "analyze --study") < 0)
    code = MV_EXIT_USAGE; /* told */
  if (code)
    return code;
  s->tables = (struct mv_tables){.job = mv_results_job(s->results), .plan = mv_results_plan(s->results)};
  s->points = s->tables.job->points;
  code = mv_members_make(&s->tables, s->results, lambda, lambdas, label);
  if (code == MV_EXIT_OK && s->tables.reference.member < 0) {
    fprintf(stderr, "metavar: --study %s: name the entry to go by: %s:LABEL\n", run, run);
    return MV_EXIT_USAGE;
  }
  for (int e = 0; e < s->tables.members && code == MV_EXIT_OK; e++) {
    const struct mv_member *m = &s->tables.member[e];
    if (mv_member_replicates(m, 0) < MV_STUDY_GROUPS * m->job->block * mv_member_nest(m))
      fprintf(stderr,
              "metavar: note: --study %s: entry '%s' has fewer than %d blocks at a point; errors are rough: use a "
              "smaller `block`\n",
              run, mv_member_entry(m)->label, MV_STUDY_GROUPS);
  }
  return code;
}

static int read_subjects(struct mv_study *s, const struct mv_job *training, const char *run)
{
  int code = MV_EXIT_OK, found = 0;
  for (int e = 0; e < s->subjects && code == MV_EXIT_OK; e++) {
    find_subject(s, training, &training->entries[e], run, &s->subject[e]);
    found += s->subject[e].entry >= 0;
    if (s->subject[e].entry >= 0)
      code = read_subject(s, &s->subject[e]);
  }
  if (code == MV_EXIT_OK && !found)
    return MV_EXIT_USAGE; /* told */
  s->reference = (struct mv_subject){s->tables.reference.member, s->tables.reference.setting, NULL, NULL};
  return code ? code : read_subject(s, &s->reference);
}

int mv_study_open(struct mv_study *s, const struct mv_job *training, const char *name)
{
  const char *label;
  char *run = mv_reference_run(name, &label);
  *s = (struct mv_study){.meta = training->meta, .subjects = training->entry_count};
  s->subject = mv_memory_take((size_t)s->subjects, sizeof *s->subject);
  int code = check_training(training);
  s->results = code ? NULL : mv_results_open(run, &code);
  code = s->results ? open_members(s, training, label, run) : code;
  code = code ? code : read_subjects(s, training, run);
  free(run);
  return code;
}

static void free_subject(struct mv_subject *s)
{
  free(s->mean);
  free(s->covariance);
}

void mv_study_close(struct mv_study *s)
{
  for (int e = 0; e < s->subjects && s->subject; e++)
    free_subject(&s->subject[e]);
  free_subject(&s->reference);
  free(s->subject);
  mv_tables_free(&s->tables);
  if (s->results)
    mv_results_close(s->results);
  *s = (struct mv_study){0};
}
