#!/bin/bash
# The verbs from outside: exit codes, where text goes, stop and resume, the same digest from any number of ranks.
# Usage: tests/test_commands.sh [BUILD]
set -u
metavar=${1:-build}/metavar
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0
check() { # NAME CONDITION...
  local name=$1
  shift
  if "$@"; then echo "ok $name"; else echo "not ok $name"; failed=1; fi
}
code() { # WANTED COMMAND...: the exit code, and no word on stdout unless it is 0
  local wanted=$1
  shift
  timeout 60 "$@" >"$dir/out" 2>"$dir/err"
  local got=$?
  [ $got = "$wanted" ] && { [ "$wanted" = 0 ] || { [ ! -s "$dir/out" ] && [ -s "$dir/err" ]; }; } && return
  echo "# exit code $got, wanted $wanted: $*"
  head -5 "$dir/err"
  return 1
}
silent() { [ -s "$dir/out" ] && [ ! -s "$dir/err" ]; }
same() { [ -s "$1" ] && cmp "$1" "$2"; }
lines() { [ "$(wc -l <"$dir/err")" = "$1" ]; }

cat >"$dir/job.yaml" <<'Y'
name: tiny
seed: 7
lifetime_length: 4
task: {name: tree_bandit}
eta:
  points:
    - [0.4, -0.3]
    - [1, 0]
block: 100
estimators:
  - {name: backprop, truncation: [2, 4], replicates: 1050, store: moments}
  - {name: es, replicates: 777}
Y
printf 'name: tiny\n\tseed: 7\n' >"$dir/bad.yaml"

check "no verb: usage" code 2 "$metavar"
check "unknown verb" code 2 "$metavar" nonsense
check "--version" code 0 "$metavar" --version
check "--version is on stdout" silent
for verb in run plan status list describe; do
  check "$verb --help" code 0 "$metavar" $verb --help
  check "$verb --help is on stdout" silent
  check "$verb: unknown option" code 2 "$metavar" $verb --nonsense
done
check "too many arguments" code 2 "$metavar" status a b
check "option without its value" code 2 "$metavar" run job.yaml -o
check "run without -o" code 2 "$metavar" run "$dir/job.yaml"
check "progress must be a number" code 2 "$metavar" run "$dir/job.yaml" -o "$dir/x" --progress 1s
for name in $("$metavar" list | awk '/^$/ {n++} n < 2 && /^  [a-z]/ {print $1}') job entry; do
  check "describe $name" code 0 "$metavar" describe "$name"
done
check "describe nonsense" code 2 "$metavar" describe nonsense
check "plan" code 0 "$metavar" plan "$dir/job.yaml" --json
check "plan counts samples" grep -q '"samples": 3654' "$dir/out"
check "bad job" code 78 "$metavar" run "$dir/bad.yaml" -o "$dir/x"
check "bad job under mpirun" code 78 mpirun -q -np 3 "$metavar" run "$dir/bad.yaml" -o "$dir/x"
check "is told once" lines 1
check "bad job creates nothing" test ! -e "$dir/x"

for ranks in 1 2 3; do
  check "run with $ranks ranks" code 0 mpirun -np $ranks "$metavar" run "$dir/job.yaml" -o "$dir/run$ranks" -q --set unit=$((ranks * 33))
  grep '^digest ' "$dir/out" >"$dir/digest$ranks"
  check "digest of $ranks ranks" same "$dir/digest1" "$dir/digest$ranks"
done
check "status" code 0 "$metavar" status "$dir/run2" --json
check "status counts samples" grep -q '"done": 3654' "$dir/out"
check "run again does nothing" code 0 "$metavar" run "$dir/job.yaml" -o "$dir/run1" -q --set unit=33
check "another job is refused" code 78 "$metavar" run "$dir/job.yaml" -o "$dir/run1" -q --set seed=8

# A run of about ten seconds is stopped by a signal, goes on with another number of ranks, and gives the digest of one that was
# never stopped.
second=$("$metavar" plan "$dir/job.yaml" --json | awk -F'[:,]' '/seconds_per_replicate/ {printf "%d", 1 / $2; exit}')
long="--set estimators.0.replicates=$((5 * second)) -q" # two eta points
"$metavar" run "$dir/job.yaml" -o "$dir/stopped" $long 2>"$dir/err" >"$dir/out" &
sleep 3
kill -TERM $!
wait $!
check "stopped early: 75" test $? = 75
check "status of a stopped run" code 0 "$metavar" status "$dir/stopped"
check "is not finished" grep -q 'not yet' "$dir/out"
check "digest needs results" code 75 "$metavar" status "$dir/stopped" --digest
check "some is committed" grep -q '"done": [1-9]' <("$metavar" status "$dir/stopped" --json)
check "goes on" code 0 mpirun -np 2 "$metavar" run "$dir/job.yaml" -o "$dir/stopped" $long
grep '^digest ' "$dir/out" >"$dir/digest_stopped"
check "undisturbed" code 0 mpirun -np 2 "$metavar" run "$dir/job.yaml" -o "$dir/whole" $long
grep '^digest ' "$dir/out" >"$dir/digest_whole"
check "same digest" same "$dir/digest_stopped" "$dir/digest_whole"
check "status --digest" code 0 "$metavar" status "$dir/whole" --digest
check "is that digest" grep -qxf "$dir/digest_whole" "$dir/out"
exit $failed
