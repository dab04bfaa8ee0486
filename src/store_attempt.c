/* store_attempt.c - one start of a run as a JSON text: who computed, where, with what, when, and how it ended. Of the
 * environment only what tells a batch job is kept. */
#include "metavar/store_internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <time.h>

#include "metavar/version.h"

void mv_time_print(double seconds, char out[MV_TIME_TEXT])
{
  time_t whole = (time_t)seconds;
  struct tm parts;
  strftime(out, MV_TIME_TEXT, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&whole, &parts));
}

static json_t *json_time(double seconds)
{
  char text[MV_TIME_TEXT];
  if (seconds <= 0)
    return json_null();
  mv_time_print(seconds, text);
  return json_string(text);
}

static json_t *json_slurm(void)
{
  static const char *const names[] = {"SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_NAME",
                                      "SLURM_RESTART_COUNT"};
  json_t *slurm = json_object();
  for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
    json_t *value = json_string(getenv(names[k]) ? getenv(names[k]) : ""); /* NULL unless UTF-8 */
    if (getenv(names[k]) && value)
      json_object_set(slurm, names[k], value);
    json_decref(value);
  }
  return slurm;
}

char *mv_attempt_text(const struct mv_attempt *attempt, int number, const char *kernel)
{
  json_t *root = json_pack("{s:i,s:i,s:s,s:o,s:s,s:s,s:o,s:o,s:s?,s:I,s:I}", "attempt", number, "ranks", attempt->ranks,
                           "hosts", attempt->hosts ? attempt->hosts : "", "slurm", json_slurm(), "version",
                           mv_version_line(), "kernel", kernel, "start", json_time(attempt->start), "end",
                           json_time(attempt->end), "exit_reason", attempt->exit_reason, "messages",
                           (json_int_t)attempt->messages, "message_bytes", (json_int_t)attempt->bytes);
  char *text = json_dumps(root, JSON_INDENT(1));
  json_decref(root);
  return text;
}
