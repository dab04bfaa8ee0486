#!/bin/bash
# test_watchdog.sh - ranks of a real run are stopped (SIGSTOP): the others do their work, and the results are the same bits.
. "$(dirname "$0")/lib.sh"
job=$top/tests/digest.yaml
export METAVAR_PATIENCE_SECONDS=1
args=(--set unit=4000 --set estimators.5.replicates=1e6 --set block=4000 --quiet)

"$metavar" run "$job" -o "$scratch/plain" "${args[@]}" >/dev/null 2>&1

# The process that is rank $1 of the run in directory $2; waits until it works.
rank_of() {
  local pid
  for _ in $(seq 200); do
    [ -e "$2/attempts/001.json" ] && for pid in $(pgrep -f -- "-o $2"); do
      if tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -qx "OMPI_COMM_WORLD_RANK=$1"; then
        echo "$pid"
        return
      fi
    done
    sleep 0.05
  done
  return 1
}

# stopped NAME RANKS RANK SECONDS EXIT ARGS: starts a run, stops a rank (for so long; 0: for ever), expects an exit code
stopped() {
  local run=$scratch/$1 pid rc
  timeout -k 9 100 mpirun -np "$2" "$metavar" run "$job" -o "$run" "${args[@]}" "${@:6}" >"$run.out" 2>"$run.err" &
  local runner=$!
  pid=$(rank_of "$3" "$run") || { echo "no such rank"; kill $runner; return 1; }
  sleep 0.3
  kill -STOP "$pid"
  [ "$4" = 0 ] || { sleep "$4"; kill -CONT "$pid"; }
  wait $runner
  rc=$?
  cat "$run.err"
  [ $rc = "$5" ] || { echo "exit code $rc, not $5"; return 1; }
}
digest() { "$metavar" status "$1" --digest | tail -n 1; }
same() { "$metavar" verify "$scratch/$1" && [ "$(digest "$scratch/$1")" = "$expected" ]; }
says() { grep -qE "$2" "$scratch/$1.err" || { cat "$scratch/$1.err"; return 1; }; }

expected=$(digest "$scratch/plain")

check "a worker stopped for ever: exit 0" stopped ever 3 1 0 0
check "a worker stopped for ever: a message names rank and host" says ever "rank 1 on host $(hostname) has been silent for"
check "a worker stopped for ever: same digest, nothing twice" same ever

check "a worker stopped for a while: exit 0" stopped while 3 2 2 0
check "a worker stopped for a while: same digest, nothing twice" same while

check "the only worker stopped: exit 0" stopped alone 2 1 0 0
check "the only worker stopped: same digest" same alone

# the work is over before the rank is stopped
check "a worker stopped at the end: exit 0" stopped end 3 1 0 0 --set estimators.5.replicates=420

export METAVAR_PATIENCE_SECONDS=0.1
check "rank 0 stopped: the others end the run with exit 75" stopped master 3 0 0 75
check "rank 0 stopped: a message says so" says master "heard nothing from rank 0"
again() {
  env -u METAVAR_PATIENCE_SECONDS timeout -k 9 100 mpirun -np 2 "$metavar" run "$job" -o "$scratch/master" "${args[@]}" && same master
}
check "rank 0 stopped: the same command again completes it, same digest" again
