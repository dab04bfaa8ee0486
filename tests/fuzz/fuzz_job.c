/* fuzz_job.c - libFuzzer on the job-file reader: any bytes give a job or messages; the canonical text of a job reads back to itself.
 * `make fuzz` runs it; corpus: jobs/ and tests/. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metavar/job.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static FILE *nowhere;
  if (!nowhere)
    nowhere = fopen("/dev/null", "w");
  struct mv_job *job = mv_job_parse("fuzz", (const char *)data, size, NULL, 0, mv_kernel_find("scalar"), nowhere);
  if (!job)
    return 0;
  char *text = mv_job_canonical(job, false);
  struct mv_job *again = mv_job_parse("canonical", text, strlen(text), NULL, 0, mv_kernel_find("scalar"), nowhere);
  assert(again && "canonical text is a job");
  char *same = mv_job_canonical(again, false);
  assert(!strcmp(text, same));
  free(text), free(same);
  mv_job_free(job);
  mv_job_free(again);
  return 0;
}
