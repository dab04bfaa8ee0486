/* store_job.c - which job a run holds, and which jobs may go on with it.
 *
 * A job may go on with the run of an earlier one if it has all of its cells: the same seed, task and settings, every eta
 * point, every estimator with settings that change no sample, and no fewer replicates in any cell: a stopping rule may
 * become stricter or be dropped, and a new one begins with at least what there is. Then the run is extended: what is
 * committed counts, because a sample is a function of the contents of its cell and its replicate id, not of the cell's
 * place in the job. The manifest numbers cells as the job of the time did, so every line names that job by a digest, and
 * resolved.yaml of every earlier job stays in the run directory as resolved-001.yaml, ...
 */
#include "metavar/store_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "metavar/memory.h"
#include "metavar/rounds.h"

void mv_job_id(const struct mv_job *job, char hex[33])
{
  struct mv_job same = *job;
  same.unit = 0; /* changes no result */
  char *text = mv_job_canonical(&same, false);
  mv_bytes_digest(text, strlen(text), hex);
  free(text);
}

/* --- the first difference ------------------------------------------------------------------------------------ */

static bool refuse(const char *path, const char *there, int there_length, const char *here, int here_length)
{
  if (path)
    mv_store_say("%s holds another job; nothing was touched. First difference:\n  there: %.*s\n  here:  %.*s\n"
                 "Choose another directory, or run the job in %s/resolved.yaml",
                 path, there_length, there, here_length, here, path);
  return false;
}

/* Next line that matters: not `unit`, which changes no result. Length without newline; -1 at the end. */
static int next_line(const char **text, const char **line)
{
  while (**text) {
    *line = *text;
    size_t length = strcspn(*text, "\n");
    *text += length + ((*text)[length] == '\n');
    if (strncmp(*line, "unit:", 5) != 0)
      return (int)length;
  }
  *line = "(nothing)";
  return -1;
}

/* True if both texts are the same; else says where they part. */
static bool same_text(const char *path, const char *there, const char *here)
{
  for (;;) {
    const char *a, *b;
    int m = next_line(&there, &a), n = next_line(&here, &b);
    if (m < 0 && n < 0)
      return true;
    if (m != n || memcmp(a, b, (size_t)n) != 0)
      return refuse(path, a, m < 0 ? 9 : m, b, n < 0 ? 9 : n);
  }
}

/* --- the parts of a job ---------------------------------------------------------------------------------------- */

/* All before eta, without the stopping rule. malloc'ed. */
static char *head_text(const struct mv_job *job)
{
  struct mv_job same = *job;
  if (same.train.updates)
    same.train.updates = same.train.seeds = 1; /* more of these go on */
  same.stop = (struct mv_stopping){0};
  char *text = mv_job_canonical(&same, false), *eta = strstr(text, "\neta:\n");
  eta[1] = 0;
  return text;
}

/* One estimator, without what says only how many samples there are. malloc'ed. */
static char *entry_text(const struct mv_job *job, const struct mv_entry *entry, bool with_label)
{
  struct mv_job one = *job;
  struct mv_entry copy = *entry;
  if (!job->train.updates)
    copy.replicates = 0;
  if (!with_label)
    strcpy(copy.label, "x");
  one.entry_count = 1;
  one.entries = &copy;
  char *text = mv_job_canonical(&one, false);
  const char *start = strstr(text, "\nestimators:\n") + 1;
  memmove(text, start, strlen(start) + 1);
  return text;
}

/* The later job's entry of the same contents; that of the same label if it is one. -1: none. */
static int find_entry(const struct mv_job *earlier, const struct mv_entry *wanted, const struct mv_job *later)
{
  char *there = entry_text(earlier, wanted, false);
  int found = -1;
  for (int e = 0; e < later->entry_count; e++) {
    bool named = strcmp(later->entries[e].label, wanted->label) == 0;
    char *here = entry_text(later, &later->entries[e], false);
    if ((found < 0 || named) && strcmp(there, here) == 0)
      found = e;
    free(here);
  }
  free(there);
  return found;
}

/* Says why an entry has no place in the later job. */
static bool refuse_entry(const char *path, const struct mv_job *earlier, const struct mv_entry *lost,
                         const struct mv_job *later)
{
  char *there = entry_text(earlier, lost, true), *here = NULL, name[MV_NAME_MAX + 16];
  for (int e = 0; e < later->entry_count && !here; e++)
    if (strcmp(later->entries[e].label, lost->label) == 0)
      here = entry_text(later, &later->entries[e], true);
  if (here) {
    same_text(path, there, here);
  } else {
    int length = snprintf(name, sizeof name, "estimator %s", lost->label);
    refuse(path, name, length, "(nothing)", 9);
  }
  free(there);
  free(here);
  return false;
}

static int stop_text(const struct mv_stopping *stop, char *out, size_t size)
{
  return snprintf(out, size, "stop: {relative_error: %g, statistic: %s, first_round: %lld}", stop->relative_error,
                  mv_statistic_names[stop->statistic], (long long)stop->first_round);
}

static bool match_entry(const char *path, const struct mv_job *earlier, const struct mv_entry *wanted,
                        const struct mv_job *later, int *entry)
{
  *entry = find_entry(earlier, wanted, later);
  if (*entry < 0)
    return refuse_entry(path, earlier, wanted, later);
  bool ruled = earlier->stop.relative_error > 0; /* else the first round has to be as large */
  const struct mv_entry *found = &later->entries[*entry];
  long long there = wanted->replicates, here = ruled ? found->replicates : mv_round_replicates(later, found, 1);
  if (here >= there || earlier->train.updates)
    return true;
  char a[MV_NAME_MAX + 64], b[sizeof a];
  int m = snprintf(a, sizeof a, "    replicates: %lld (%s)", there, wanted->label);
  int n = snprintf(b, sizeof b, "    replicates: %lld (fewer than there are)", here);
  return refuse(path, a, m, b, n);
}

/* Whether the later rule, if there is one, lets every cell have what the earlier one has given it. */
static bool match_stop(const char *path, const struct mv_job *earlier, const struct mv_job *later)
{
  const struct mv_stopping *a = &earlier->stop, *b = &later->stop;
  if (!(a->relative_error > 0) || !(b->relative_error > 0) ||
      (a->statistic == b->statistic && a->first_round == b->first_round && a->relative_error >= b->relative_error))
    return true;
  char there[256], here[sizeof there];
  int m = stop_text(a, there, sizeof there), n = stop_text(b, here, sizeof here);
  return refuse(path, there, m, here, n);
}

static bool match_point(const char *path, const struct mv_job *earlier, int wanted, const struct mv_job *later,
                        int *point)
{
  const double *eta = earlier->eta + (size_t)wanted * (size_t)earlier->meta;
  const int seeds = earlier->train.updates ? (int)earlier->train.seeds : 1;
  const int step = later->train.updates ? (int)later->train.seeds : 1;
  for (*point = wanted % seeds; *point < later->points; *point += step)
    if (memcmp(eta, later->eta + (size_t)*point * (size_t)later->meta, (size_t)later->meta * sizeof *eta) == 0)
      return true;
  char text[512], number[MV_REAL_TEXT];
  int length = snprintf(text, sizeof text, "eta point [");
  for (int m = 0; m < earlier->meta && length < (int)sizeof text - MV_REAL_TEXT - 4; m++) {
    mv_real_print(eta[m], number);
    length += snprintf(text + length, sizeof text - (size_t)length, "%s%s", m ? ", " : "", number);
  }
  length += snprintf(text + length, sizeof text - (size_t)length, "]");
  return refuse(path, text, length, "(nothing)", 9);
}

/* --- jobs that go on ------------------------------------------------------------------------------------------- */

/* Of updates or seeds. */
static bool match_count(const char *path, const char *name, int64_t there, int64_t here)
{
  char a[64], b[64];
  if (here >= there)
    return true;
  int m = snprintf(a, sizeof a, "  %s: %lld", name, (long long)there);
  int n = snprintf(b, sizeof b, "  %s: %lld (fewer than there are)", name, (long long)here);
  return refuse(path, a, m, b, n);
}

bool mv_job_goes_on(const struct mv_job *earlier, const struct mv_job *later, const char *path, int *entry, int *point)
{
  char *there = head_text(earlier), *here = head_text(later);
  bool fits = same_text(path, there, here);
  free(there);
  free(here);
  fits = fits && match_stop(path, earlier, later) &&
         match_count(path, "updates", earlier->train.updates, later->train.updates) &&
         match_count(path, "seeds", earlier->train.seeds, later->train.seeds);
  for (int p = 0; p < earlier->points && fits; p++)
    fits = match_point(path, earlier, p, later, &point[p]);
  for (int e = 0; e < earlier->entry_count && fits; e++)
    fits = match_entry(path, earlier, &earlier->entries[e], later, &entry[e]);
  return fits;
}

/* --- what earlier jobs of a run have left ---------------------------------------------------------------------- */

void mv_ancestry_free(struct mv_ancestry *ancestry)
{
  for (int k = 0; k < ancestry->count; k++) {
    free(ancestry->at[k].entry);
    free(ancestry->at[k].point);
    mv_plan_free(ancestry->at[k].plan);
    mv_job_free(ancestry->at[k].job);
  }
  free(ancestry->at);
}

struct mv_ancestry mv_ancestry_read(int run, const char *path, const struct mv_plan *plan)
{
  struct mv_ancestry ancestry = {0};
  char name[64], *text;
  size_t size;
  for (int number = 1; snprintf(name, sizeof name, MV_RESOLVED_OLD, number), (text = mv_file_read(run, name, &size));
       number++) {
    char where[4200];
    snprintf(where, sizeof where, "%s/%s", path, name);
    struct mv_job *job = mv_job_parse(where, text, size, NULL, 0, plan->job->kernel, stderr);
    free(text);
    if (!job)
      continue; /* told; its lines belong to no job */
    struct mv_ancestor a = {.job = job, .plan = mv_plan_make(job)};
    a.entry = mv_memory_take((size_t)job->entry_count, sizeof *a.entry);
    a.point = mv_memory_take((size_t)job->points, sizeof *a.point);
    a.fits = mv_job_goes_on(job, plan->job, NULL, a.entry, a.point);
    mv_job_id(job, a.id);
    ancestry.at = mv_memory_grow(ancestry.at, (size_t)ancestry.count + 1, sizeof a);
    ancestry.at[ancestry.count++] = a;
  }
  return ancestry;
}

/* A last block of moments that the present job continues does not count: it has to be made as a whole. */
struct mv_unit mv_ancestor_unit(const struct mv_ancestor *a, const struct mv_plan *plan, const struct mv_unit *unit)
{
  int entry = a->entry[mv_plan_entry(a->plan, (int)unit->cell)];
  int point = a->point[mv_plan_point(a->plan, (int)unit->cell)];
  const struct mv_entry *here = &plan->job->entries[entry];
  struct mv_unit mapped = {(int64_t)entry * plan->job->points + point, unit->first, unit->count};
  int64_t end = unit->first + unit->count;
  if (here->store == MV_STORE_MOMENTS && end < here->replicates)
    mapped.count -= end % plan->job->block;
  return mapped;
}
