#!/bin/bash
# test_clock.sh - the wall clock jumps by a hundred days while a run with a time limit is under way: nothing comes of it.
. "$(dirname "$0")/lib.sh"
metavar=$top/build/metavar # not one with sanitizers, which want to be loaded first as libfaketime does
fake=$(find /usr/lib -name libfaketime.so.1 | head -n 1)
job=(run "$top/tests/digest.yaml" --set unit=4000 --set estimators.5.replicates=1e6 --set block=4000 --quiet)
"$metavar" "${job[@]}" -o "$scratch/plain" >/dev/null
expected=$("$metavar" status "$scratch/plain" --digest | tail -n 1)

# jumps NAME FAKE_MONOTONIC_TOO: the exit code of a run of some seconds in whose middle the clock jumps
jumps() {
  local run=$scratch/$1 clock=$scratch/$1.clock runner
  printf '+0d\n' >"$clock"
  LD_PRELOAD=$fake FAKETIME_TIMESTAMP_FILE=$clock FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=$((1 - $2)) \
    timeout -k 9 100 "$metavar" "${job[@]}" -o "$run" --max-time 90s >"$run.out" 2>"$run.err" &
  runner=$!
  for _ in $(seq 100); do [ -e "$run/attempts/001.json" ] && break; sleep 0.05; done
  sleep 0.5
  printf '%s\n' '+100d' >"$clock"
  sleep 0.3
  [ "$2" = 1 ] || printf '%s\n' '-100d' >"$clock"
  wait $runner
}
forth_and_back() { jumps wall 0 && [ "$("$metavar" status "$scratch/wall" --digest | tail -n 1)" = "$expected" ]; }
check "the wall clock jumps forth and back: exit 0, same digest" forth_and_back
limit() { jumps monotonic 1; [ $? = 75 ]; } # shows that the jumps arrive
check "were it the monotonic clock, the time limit would have ended the run" limit
