/* record.c - the row of an update: where a curve is, what was measured there, and the next row from it.
 *
 * Everything that row u + 1 depends on comes first in row u: the gradient, the mean objective (which counts towards the
 * row's status), eta, the optimizer's vectors, and the number of steps taken.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "metavar/train.h"

int mv_record_outputs(const struct mv_job *job, const struct mv_axis *meta, struct mv_output *out)
{
  static const char *const moments[][2] = {{"", ""}, {"velocity", ""}, {"first_moment", "second_moment"}};
  const int kept = mv_outer_moments(&job->train);
  int n = 0;
  out[n++] = (struct mv_output){
      .name = "gradient", .role = MV_GRADIENT, .unit = "1", .doc = "mean gradient estimate at eta, which was followed"};
  out[n++] = (struct mv_output){.name = "objective",
                                .role = MV_OBJECTIVE,
                                .unit = "1",
                                .doc = "mean objective of the replicates of the gradient, perturbed as they are"};
  out[n++] = (struct mv_output){.name = "eta", .role = MV_RECORD, .rank = 1, .doc = "meta-parameters at the update"};
  for (int k = 0; k < kept; k++) {
    out[n++] = (struct mv_output){
        .name = moments[kept][k], .role = MV_RECORD, .rank = 1, .doc = "state of the optimizer before the update"};
  }
  out[n++] = (struct mv_output){.name = "steps", .role = MV_NOTE, .doc = "updates taken so far, without those skipped"};
  out[n++] = (struct mv_output){
      .name = "gradient_se", .role = MV_RECORD, .rank = 1, .doc = "standard error of the gradient over replicates"};
  out[n++] = (struct mv_output){.name = "gradient_norm", .role = MV_RECORD, .doc = "Euclidean norm of the gradient"};
  out[n++] =
      (struct mv_output){.name = "evaluated",
                         .role = MV_RECORD,
                         .doc = "mean objective at unperturbed eta over held-out replicates; NaN: not evaluated"};
  out[n++] = (struct mv_output){
      .name = "evaluated_se", .role = MV_RECORD, .doc = "standard error of evaluated over the held-out replicates"};
  out[n++] = (struct mv_output){
      .name = "nonfinite", .role = MV_NOTE, .doc = "replicates left out of the means because a value is not finite"};
  for (int o = 0; o < n; o++) {
    out[o].unit = "1";
    if (out[o].role == MV_RECORD && out[o].rank == 1) {
      out[o].axis[0] = *meta;
    }
  }
  return n;
}

struct mv_record mv_record_view(const struct mv_job *job, double *row)
{
  const int meta = job->meta, kept = mv_outer_moments(&job->train);
  struct mv_record r = {.gradient = row, .objective = row + meta};
  r.eta = r.objective + 1;
  r.moment = r.eta + meta;
  r.steps = r.moment + kept * meta;
  r.gradient_se = r.steps + 1;
  r.gradient_norm = r.gradient_se + meta;
  r.evaluated = r.gradient_norm + 1;
  r.evaluated_se = r.evaluated + 1;
  r.nonfinite = r.evaluated_se + 1;
  return r;
}

int64_t mv_record_state(const struct mv_job *job)
{
  return (int64_t)(2 + mv_outer_moments(&job->train)) * job->meta + 2;
}

void mv_record_start(const struct mv_plan *plan, int cell, double *row)
{
  const struct mv_job *job = plan->job;
  struct mv_record r = mv_record_view(job, row);
  memset(row, 0, (size_t)mv_record_state(job) * sizeof *row);
  memcpy(r.eta, job->eta + (size_t)mv_plan_point(plan, cell) * (size_t)job->meta, (size_t)job->meta * sizeof *row);
}

void mv_record_next(const struct mv_plan *plan, int cell, const double *row, double *next)
{
  const struct mv_job *job = plan->job;
  const struct mv_entry *entry = &job->entries[mv_plan_entry(plan, cell)];
  memmove(next, row, (size_t)mv_record_state(job) * sizeof *row);
  struct mv_record r = mv_record_view(job, next);
  *r.steps +=
      mv_outer_step(&job->train, mv_entry_rate(job, entry), job->meta, r.gradient, (int64_t)*r.steps, r.eta, r.moment);
}

bool mv_record_evaluates(const struct mv_train *t, int64_t update)
{
  return t->evaluate_every > 0 && update % t->evaluate_every == 0;
}
