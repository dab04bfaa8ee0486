# lib.sh - what the test scripts share. A script prints one "ok NAME" or "not ok NAME" per check.
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
metavar=${METAVAR:-$top/build/metavar}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1

# check NAME COMMAND...: ok if the command succeeds; its output is shown when it does not
check() {
  local name=$1
  shift
  if "$@" >"$scratch/check.log" 2>&1; then
    echo "ok $name"
  else
    echo "not ok $name"
    sed 's/^/#   /' "$scratch/check.log" | head -n 20
  fi
}
