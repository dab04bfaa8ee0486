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

# For scripts that work in $scratch: what the last command said stays in the files out and err.
# code WANTED COMMAND...: whether the exit code is that
code() {
  local wanted=$1 got
  shift
  timeout -k 9 300 "$@" >out 2>err
  got=$?
  cat err
  [ $got = "$wanted" ] || { echo "exit code $got, wanted $wanted: $*"; head -n 20 out; return 1; }
}
# says PATTERN: whether the last command did
says() { grep -q -- "$1" out err || { head -n 20 out err; return 1; }; }
# digest RUN: the line with the digest of its results
digest() { "$metavar" status "$1" --digest 2>/dev/null | grep '^digest'; }
# same A B: whether both are the same, and something
same() { [ -n "$1" ] && [ "$1" = "$2" ] || { echo "$1"; echo "$2"; return 1; }; }
