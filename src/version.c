/* version.c - where this binary comes from: version, commit, compiler, flags, libraries. */
#include "metavar/version.h"

#include <gsl/gsl_version.h>
#include <jansson.h>
#include <xxhash.h>
#include <yaml.h>

#include "build_info.h"
#include "metavar/comm.h"
#include "metavar/store.h"

const char *mv_version_line(void) { return "metavar " MV_VERSION " (git " MV_GIT ")"; }

void mv_version_print(FILE *out)
{
  unsigned xxhash = XXH_versionNumber();
  fprintf(out, "%s\n", mv_version_line());
  fprintf(out, "compiler  %s, %s\n", MV_COMPILER, MV_FLAGS);
  fprintf(out, "kernels  ");
  const struct mv_kernel *kernels[8];
  int count = mv_kernel_list(kernels);
  for (int i = 0; i < count; i++) {
    fprintf(out, " %s%s", kernels[i]->name, kernels[i] == mv_kernel_best() ? " (used here)" : "");
  }
  fprintf(out, "\nMPI       %s\n", mv_comm_library());
  fprintf(out, "libraries %s, GSL %s, libyaml %s, jansson %s, xxHash %u.%u.%u, Random123 (headers: Philox4x32-10)\n",
          mv_store_library(), gsl_version, yaml_get_version_string(), jansson_version_str(), xxhash / 10000,
          xxhash / 100 % 100, xxhash % 100);
}
