#!/bin/bash
# The verbs from outside: exit codes, where text goes, stop and resume, the same digest from any number of ranks.
set -u
metavar=${METAVAR:-build/metavar}
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
  timeout -k 9 60 "$@" >"$dir/out" 2>"$dir/err"
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
for verb in run plan status list describe plot report; do
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
check "plan for many ranks" code 0 "$metavar" plan "$dir/job.yaml" --json --ranks 4096 --latency 1e-5
check "tells the efficiency" grep -qE '"efficiency": (0\.|[0-9.]+e-)' "$dir/out"
check "plan: no such number of ranks" code 2 "$metavar" plan "$dir/job.yaml" --ranks 1.5
million="--set lifetime_length=1000000 --set estimators.0.mode=reverse --set estimators.0.truncation=[1000000]"
keep() { code "$1" "$metavar" plan "$dir/job.yaml" $million --set "estimators.0.$2" --json; }
check "plan of a million steps in reverse" keep 0 checkpoints=200
check "plan tells what is kept" grep -q '"kept": 200' "$dir/out"
check "and the evaluations" grep -q '"evaluations_per_step": 2.99' "$dir/out"
check "by default what memory holds" keep 0 memory=100000
check "plan tells how much that is" grep -qE '"kept": 6[0-9],' "$dir/out"
check "memory for less than one step" keep 78 memory=100
check "says what is needed" grep -q 'memory: 100 bytes do not hold one step of task tree_bandit; give at least [0-9]' "$dir/err"
check "more kept than memory holds" keep 78 checkpoints=200000
check "says how many" grep -q 'checkpoints: 200000 steps of [0-9]* bytes do not fit into memory: 250000000; keep at most [0-9]' "$dir/err"
check "a window longer than the lifetime" keep 78 truncation=[1000001]
check "says how long it may be" grep -q 'truncation length 1000001 exceeds lifetime_length 1000000' "$dir/err"
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
check "analyze against itself" code 0 "$metavar" analyze "$dir/run1" -o "$dir/an1" --bootstrap 200 --reference "$dir/run1:es"
check "the same bits on one core" code 0 taskset -c 0 "$metavar" analyze "$dir/run1" -o "$dir/an2" --bootstrap 200 --reference "$dir/run1:es"
check "all tables are the same" diff -r "$dir/an1" "$dir/an2"
check "no such reference" code 2 "$metavar" analyze "$dir/run1" -o "$dir/an3" --reference nowhere

# Two outer losses of the maze: the same lifetimes, so each sample has its partner in the other run.
maze() { # LOSS RUN SETTING...
  printf 'name: m\nseed: 7\nlifetime_length: 2\nblock: 4\ntask: {name: maze, hidden: [4], outer_loss: %s}\neta: {points: [[0], [1]]}\n%s\n' "$1" \
    'estimators: [{name: backprop, weighted: false, replicates: 120}]' >"$dir/maze.yaml"
  "$metavar" run "$dir/maze.yaml" -o "$2" -q "${@:3}" >/dev/null
}
check "returns" maze first_state "$dir/returns"
check "advantages" maze first_state_adv "$dir/advantages"
check "returns in a larger maze" maze first_state "$dir/larger" --set task.side=4
check "an outer loss against another" code 0 "$metavar" analyze "$dir/advantages" -o "$dir/an4" --bootstrap 200 --reference "$dir/returns:backprop"
width() { # RUN: interval of the ratio of variances at lambda 0, of settings that have their equal in the reference run
  awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
    $at["lambda_a"] == 0 && $at["lambda_b"] == 0 { print $at["variance_ratio_high"] - $at["variance_ratio_low"] }' "$1/differences.csv"
}
check "other random numbers" maze first_state "$dir/others" --set seed=8
check "against these" code 0 "$metavar" analyze "$dir/advantages" -o "$dir/an5" --bootstrap 200 --reference "$dir/others:backprop"
narrower() { awk -v a="$(width "$1")" -v b="$(width "$2")" 'BEGIN { print "# widths", a, b; exit !(a > 0 && a < b / 2) }'; }
check "pairs have narrower intervals" narrower "$dir/an4" "$dir/an5"
check "another maze is another question" code 2 "$metavar" analyze "$dir/advantages" -o "$dir/an6" --reference "$dir/larger:backprop"
check "says what differs" grep -q 'its side is another one' "$dir/err"

check "run again does nothing" code 0 "$metavar" run "$dir/job.yaml" -o "$dir/run1" -q --set unit=33
check "another job is refused" code 78 "$metavar" run "$dir/job.yaml" -o "$dir/run1" -q --set seed=8

# Nothing more comes from a rank that hangs, but what is done is committed by the clock. Takes about 13 seconds, beside the
# tests that follow.
hang() {
  local pid hanging
  mpirun -np 2 "$metavar" run "$dir/job.yaml" -o "$dir/hang" --master-computes no --set lifetime_length=100000 \
    --set estimators.0.replicates=20000 -q >/dev/null 2>&1 &
  sleep 6
  for pid in $(pgrep -P $!); do
    grep -qz '^OMPI_COMM_WORLD_RANK=1$' "/proc/$pid/environ" && hanging=$pid
  done
  kill -STOP "$hanging"
  cp "$dir/hang/manifest.jsonl" "$dir/hang_early"
  for _ in {1..75}; do [ -s "$dir/hang/manifest.jsonl" ] && break; sleep 0.2; done
  cp "$dir/hang/manifest.jsonl" "$dir/hang_late"
  kill -KILL "$hanging"
  wait $!
}
hang &
hang=$!

# A run of a few seconds is stopped by a signal, goes on with another number of ranks, and gives the digest of one that
# was never stopped.
second=$("$metavar" plan "$dir/job.yaml" --json | awk -F'[:,]' '/seconds_per_replicate/ {printf "%d", 1 / $2; exit}')
long="--set estimators.0.replicates=$((3 * second / 2)) -q" # two eta points
start() { # RUN ARGUMENT...: a run in the background, under way when this returns; its pid is in $!
  "$metavar" run "$dir/job.yaml" -o "$@" >"$1.out" 2>"$1.err" &
  for _ in {1..100}; do [ -e "$1/attempts/001.json" ] && break; sleep 0.05; done
  sleep 0.8
}
digest_is_that_of() { # RUN: of the last command's run
  grep '^digest ' "$dir/out" | cmp - <(grep '^digest ' "$dir/$1.out")
}
check "undisturbed" code 0 mpirun -np 2 "$metavar" run "$dir/job.yaml" -o "$dir/whole" $long
cp "$dir/out" "$dir/whole.out"
check "status --digest" code 0 "$metavar" status "$dir/whole" --digest
check "is that digest" digest_is_that_of whole
start "$dir/stopped" $long
kill -TERM $!
wait $!
check "stopped early: 75" test $? = 75
check "status of a stopped run" code 0 "$metavar" status "$dir/stopped"
check "is not finished" grep -q 'not yet' "$dir/out"
check "digest needs results" code 75 "$metavar" status "$dir/stopped" --digest
check "some is committed" grep -q '"done": [1-9]' <("$metavar" status "$dir/stopped" --json)
check "goes on" code 0 mpirun -np 2 "$metavar" run "$dir/job.yaml" -o "$dir/stopped" $long
check "same digest" digest_is_that_of whole

# Two runs at once: the second one leaves with 69, whatever HDF5 thinks of locks; the first one is not disturbed. Kill -9
# of the first frees the run.
start "$dir/pair" $long
first=$!
check "second run: 69" code 69 "$metavar" run "$dir/job.yaml" -o "$dir/pair" $long
check "says who runs" grep -q "another process works on this run (host .*, pid $first, .*since 20" "$dir/err"
check "status needs no lock" code 0 "$metavar" status "$dir/pair"
wait $first
check "first run: 0" test $? = 0
check "results of the first run" code 0 "$metavar" status "$dir/pair" --digest
check "are right" digest_is_that_of whole
export HDF5_USE_FILE_LOCKING=FALSE
start "$dir/killed" $long
first=$!
check "second run without HDF5's locks: 69" code 69 mpirun -q -np 2 "$metavar" run "$dir/job.yaml" -o "$dir/killed" $long
check "is told once" lines 1
kill -KILL $first
wait $first 2>/dev/null
check "killed: the lock is free" code 0 mpirun -np 2 "$metavar" run "$dir/job.yaml" -o "$dir/killed" $long
check "results after it" digest_is_that_of whole
unset HDF5_USE_FILE_LOCKING

# Shards that are lost are computed again, and the run can be finished again after that.
for turn in 1 2; do
  rm -f "$dir"/run1/results.h5
  [ $turn = 1 ] && rm "$dir"/run1/shards/*.h5
  check "shards lost, run $turn" code 0 "$metavar" run "$dir/job.yaml" -o "$dir/run1" -q --set unit=33
  check "digest after losing shards, run $turn" same "$dir/digest1" <(grep '^digest ' "$dir/out")
done
check "status after losing shards" grep -q '"done": 3654' <("$metavar" status "$dir/run1" --json 2>/dev/null)
rm "$dir"/run1/manifest.jsonl
check "manifest lost: refused" code 65 "$metavar" run "$dir/job.yaml" -o "$dir/run1" -q --set unit=33
check "says what is missing" grep -q 'run1/manifest.jsonl is missing' "$dir/err"

# Units of a minute and more: the second signal does not wait for their end, unless it comes so soon after the first that it is
# its echo.
slow="--set lifetime_length=100000 --set unit=20000 --set estimators.0.replicates=20000 -q"
for signal in TERM INT; do
  start "$dir/slow$signal" $slow
  kill -$signal $!
  sleep 0.3
  kill -TERM $!
  sleep 1.2
  check "SIG$signal and its echo: units under way go on" kill -0 $!
  kill -TERM $!
  wait $! 2>/dev/null
  check "SIG$signal, then SIGTERM: the end" test $? = 143
done

wait $hang
check "a result is not committed at once" test ! -s "$dir/hang_early"
check "but after ten seconds" test -s "$dir/hang_late"
exit $failed
