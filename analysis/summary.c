/* summary.c - summary.json: what was analysed, how, and the grid averages. Undefined and infinite numbers are null:
 * JSON has none. */
#include <assert.h>
#include <jansson.h>
#include <math.h>

#include "metavar/analysis.h"
#include "metavar/version.h"

static void set_text(void *self, const char *name, const char *value)
{
  json_object_set_new(self, name, json_string(value));
}
static void set_whole(void *self, const char *name, int64_t value)
{
  json_object_set_new(self, name, json_integer(value));
}
static void set_real(void *self, const char *name, double value)
{
  json_object_set_new(self, name, isfinite(value) ? json_real(value) : json_null());
}

static json_t *options(const struct mv_tables *t, const double *lambda, int lambdas)
{
  json_t *list = json_array();
  for (int l = 0; l < lambdas; l++)
    json_array_append_new(list, json_real(lambda[l]));
  const struct mv_member *reference = t->reference.member < 0 ? NULL : &t->member[t->reference.member];
  return json_pack("{s:o, s:i, s:f, s:s?, s:s?, s:i}", "lambda", list, "bootstrap", t->options.resamples, "confidence",
                   t->options.confidence, "reference", reference ? mv_member_entry(reference)->label : NULL,
                   "reference_job", reference && reference->guest ? reference->job->name : NULL, "eta_bootstrap",
                   MV_GRID_RESAMPLES);
}

static json_t *methods(void)
{
  return json_pack("{s:s, s:s, s:s, s:s, s:s}", "se",
                   "Poisson bootstrap over groups of blocks; errors of points combined in quadrature", "bias2_unbiased",
                   "plug-in less the variance of the difference of the means", "bias2_low",
                   "unbiased estimate plus percentiles of its bootstrap errors, cut at 0", "variance_low",
                   "bootstrap-t on the logarithm", "eta_low", "percentile bootstrap over eta points, both ends");
}

static json_t *texts(char *const *text, int count)
{
  json_t *list = json_array();
  for (int k = 0; k < count; k++)
    json_array_append_new(list, json_string(text[k]));
  return list;
}

void mv_summary_write(FILE *file, const struct mv_tables *t, const char *digest, const double *lambda, int lambdas)
{
  json_t *rows = json_array();
  for (int e = 0; e < t->entries; e++)
    for (int s = 0; s < t->member[e].settings.count; s++) {
      if (t->member[e].settings.at[s].hidden)
        continue;
      json_t *row = json_object();
      mv_grid_columns(t, e, s, &(struct mv_sink){row, set_text, set_whole, set_real});
      json_array_append_new(rows, row);
    }
  json_t *all = json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o}", "job", t->job->name, "results_digest", digest,
                          "version", mv_version_line(), "options", options(t, lambda, lambdas), "methods", methods(),
                          "warnings", texts(t->warning, t->warnings), "grid", rows);
  assert(all);
  json_dumpf(all, file, JSON_INDENT(1) | JSON_REAL_PRECISION(17)); /* a failure stays in the file's error flag */
  fputc('\n', file);
  json_decref(all);
}

void mv_training_summary_write(FILE *file, const struct mv_job *job, const char *digest, const char *study)
{
  json_t *how = json_pack("{s:s, s:s, s:s, s:s}", "mean over seeds", "standard error: standard deviation / sqrt(seeds)",
                          "evaluated", "held-out replicates at unperturbed eta, the same at each evaluation", "end",
                          "mean over the last tenth of the updates", "predicted",
                          "local quadratic regression of the study; delete-a-group jackknife");
  json_t *all = json_pack("{s:s, s:s, s:s, s:{s:s?}, s:o, s:[]}", "job", job->name, "results_digest", digest, "version",
                          mv_version_line(), "options", "study", study, "methods", how, "warnings");
  assert(all);
  json_dumpf(all, file, JSON_INDENT(1));
  fputc('\n', file);
  json_decref(all);
}
