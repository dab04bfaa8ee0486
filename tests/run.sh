#!/bin/bash
# run.sh [sanitized] - everything `make test` runs: builds with gcc, clang and sanitizers, CMocka tests, scripts; or everything with
# sanitizers (`make test-memory`). Ends with "N passed, N failed".
set -u
cd "$(dirname "$0")/.." || exit 1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
jobs=$(nproc)
passed=0 failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

step() { printf '\n== %s\n' "$*"; }
pass() { passed=$((passed + $1)); }
flunk() { failed=$((failed + 1)); printf 'FAILED: %s\n' "$1"; }

build() { # NAME VARIABLE=...: a warning-clean build of program and tests
  step "build: $1 (a minute or so)"
  if make -s -j"$jobs" "${@:2}" all tests >"$log" 2>&1; then pass 1; else tail -n 40 "$log"; flunk "build $1"; fi
}
unit() { # DIRECTORY PATTERN: CMocka programs
  local t n
  for t in "$1"/tests/test_*; do
    [[ -x $t && ! -d $t && $t != *.* && ${t##*/} =~ $2 ]] || continue
    [[ ${t##*/} == test_farm ]] && continue # an MPI program; test_farm.sh runs it
    step "$t"
    if timeout -k 9 1200 "$t" >"$log" 2>&1; then
      n=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log" | awk '{s += $1} END {print s + 0}')
      echo "$n passed"
      [ "$n" -gt 0 ] || flunk "$t ran no test"
      pass "$n"
    else
      tail -n 40 "$log"
      n=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log" | awk '{s += $1} END {print s + 0}')
      pass "$n"
      flunk "$t"
    fi
  done
}
script() { # FILE: lines "ok NAME" and "not ok NAME"
  step "$1"
  timeout -k 9 1200 "$1" >"$log" 2>&1
  local rc=$? ok bad
  ok=$(grep -c '^ok ' "$log") bad=$(grep -c '^not ok ' "$log")
  grep -vE '^ok ' "$log"
  echo "$ok passed"
  pass "$ok"
  failed=$((failed + bad))
  if [ "$bad" -gt 0 ]; then grep '^not ok' "$log"; fi
  if [ "$rc" -ne 0 ] && [ "$bad" -eq 0 ]; then flunk "$1 (exit $rc)"; fi
  if [ $((ok + bad)) -eq 0 ]; then flunk "$1 ran no check"; fi
}

sanitize="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"
build gcc BUILD=build
build clang BUILD=build-clang CC=clang
build sanitizers BUILD=build-san OPT=-O1 "SAN=$sanitize"
export ASAN_OPTIONS=fast_unwind_on_malloc=0 LSAN_OPTIONS=suppressions=$PWD/tests/memory/lsan.supp:print_suppressions=0

if [ "${1:-}" = sanitized ]; then
  export METAVAR=$PWD/build-san/metavar TORTURE_MINUTES=10 # everything is slower
  unit build-san .
else
  unit build .
  unit build-san '^test_(math|stream|conformance|backprop|revolve|reverse|design|config|config_bad|schedule|sample|rounds|panel|budget|store|analysis)$'
fi
for s in tests/test_*.sh; do
  script "$s"
done
[ "${1:-}" = sanitized ] && METAVAR=$PWD/build/metavar script tests/memory/test_valgrind.sh

echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
