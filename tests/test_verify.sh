#!/bin/bash
# test_verify.sh - verify and replay find what is wrong and only that; stop, --max-time and SLURM's time end a run in good
# order; a larger job extends a run, killed at any step or not, to the bits of one made from scratch.
. "$(dirname "$0")/lib.sh"
cd "$scratch" || exit 1

refused() { # CODES COMMAND...: with one of them, and soon
  local codes=$1 got
  shift
  timeout -k 9 20 "$@" >out 2>err
  got=$?
  [[ $codes = *$got* ]] || { cat err; echo "exit code $got: $*"; return 1; }
}
fails_in() { # CHECK...: verify says BAD in exactly these lines
  [ "$(awk '$1 == "BAD" {print $2}' out | tr '\n' ' ')" = "$* " ] || { cat out; return 1; }
}
job() { # REPLICATES_OF_MOMENTS REPLICATES_OF_SAMPLES POINTS MORE_ESTIMATORS
  cat <<Y
name: tiny
seed: 7
lifetime_length: 4
task: {name: tree_bandit}
block: 100
eta:
  points: [$3]
estimators:
$4
  - {name: backprop, truncation: [2, 4], replicates: $1, store: moments}
  - {name: es, perturbations_per_lifetime: 3, replicates: $2}
Y
}
job 1050 777 '[0.4, -0.3], [1, 0]' >small.yaml
job 1390 1000 '[1, 0], [2, 2], [0.4, -0.3]' '  - {name: es, label: wide, sigma: 0.5, replicates: 50}' >large.yaml

# --- verify and replay ---
check "run" code 0 "$metavar" run small.yaml -o run -q --set unit=200
check "verify: well" code 0 "$metavar" verify run --samples 20
check "recomputed what was asked for" says '20 samples and 1 blocks of moments, chosen with seed 1; 0 differ'
check "verify: another choice" code 0 "$metavar" verify run --samples 5 --seed 2
check "verify: bad number" code 2 "$metavar" verify run --samples x
check "verify: no run" code 65 "$metavar" verify nowhere
check "replay a sample" code 0 "$metavar" replay run es 1 776
check "its coordinates" says 'replicate  *776: task instance 258, lifetime 0, perturbation 2'
check "its bits" says 'this sample: every bit as stored'
check "replay a sample of moments" code 0 "$metavar" replay run backprop 0 1049
check "the bits of its block" says 'replicates 1000 to 1049: every bit as stored'

cat >diverges.yaml <<'Y'
name: diverges
seed: 7
lifetime_length: 12
block: 16
task: {name: maze, hidden: [4], learning_rate: 1e6, vf_coef: 1e6}
eta: {points: [[0]]}
estimators:
  - {name: backprop, weighted: false, replicates: 32, lifetimes: 2}
  - {name: es, replicates: 32, store: moments}
Y
check "a learner that diverges" code 0 "$metavar" run diverges.yaml -o diverges -q
check "the first sample that is not finite" code 0 "$metavar" replay diverges backprop 0 nonfinite
check "says where" says 'status  *not finite: lifetime 1 of 2, from inner step 9 of 12 on'
at=$(sed -n 's/^replicate *\([0-9]*\):.*/\1/p' out)
check "the first of moments" code 0 "$metavar" replay diverges es 0 nonfinite
check "says where" says 'status  *not finite: lifetime . of 2, from inner step [0-9]* of 12 on'
check "lifetimes that end before" code 0 "$metavar" run diverges.yaml -o before -q --set lifetime_length=9
check "are finite" code 0 "$metavar" replay before backprop 0 "$at"
check "says so" says 'status  *ok'
check "one that ends just after" code 0 "$metavar" run diverges.yaml -o after -q --set lifetime_length=11
check "its parameters are not" code 0 "$metavar" replay after backprop 0 "$at"
check "says so" says 'status  *ok, but parameters or its likelihood are not finite: lifetime 1 of 2, from inner step 9 of 11 on'
check "where all are finite" code 2 "$metavar" replay run es 1 nonfinite
check "says so" says 'all samples of es at point 1 are finite'

check "replay: no such label" code 2 "$metavar" replay run nothing 0 0
check "replay: no such replicate" code 2 "$metavar" replay run es 0 777

flip() { # FILE OFFSET: changes one byte
  local byte
  byte=$(od -An -tu1 -j "$2" -N 1 "$1")
  printf "\\x$(printf %02x $((byte ^ 16)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
damaged() { rm -rf bad && cp -r run bad; }
damaged
flip bad/shards/000001.h5 5000
check "a byte of a shard" code 65 "$metavar" verify bad
check "is found" fails_in shards committed
damaged
flip bad/manifest.jsonl 70
check "a byte of the manifest" code 65 "$metavar" verify bad
check "is found" fails_in manifest committed
damaged
printf '{"v":1,"shard":"000009.h5","by\n' >>bad/manifest.jsonl
check "a line that was never finished does no harm" code 0 "$metavar" verify bad
damaged
flip bad/results.h5 "$(/usr/bin/python3 -c 'import h5py; print(h5py.File("run/results.h5")["es/gradient"].id.get_chunk_info(0).byte_offset + 99)')"
check "a byte of results.h5" code 65 "$metavar" verify bad
check "is found" fails_in checksums results.h5
check "the run mends it" code 0 "$metavar" run small.yaml -o bad -q
check "and says so" says 'writing it again from the shards'
check "to the same bits" same "$(digest bad)" "$(digest run)"
for file in job.yaml resolved.yaml; do
  damaged
  printf '# \n' >>bad/$file
  check "a change of $file" code 65 "$metavar" verify bad
  check "is found" fails_in checksums
  check "the run mends it" code 0 "$metavar" run small.yaml -o bad -q --set unit=200
  check "and says so" says "$file: is not what checksums.xxh128 says"
  check "$file is whole" cmp run/$file bad/$file
done
for lost in shards attempts resolved.yaml "resolved.yaml job.yaml checksums.xxh128" "checksums.xxh128 results.h5" run.lock; do
  damaged
  (cd bad && rm -r $lost)
  check "without $lost: another job is refused" refused 6578 "$metavar" run small.yaml -o bad -q --set seed=8
  check "without $lost: the run mends it" code 0 "$metavar" run small.yaml -o bad -q
  check "to the same bits" same "$(digest bad 2>/dev/null)" "$(digest run)"
  check "and all is well again" code 0 "$metavar" verify bad --samples 1
done
damaged
rm -r bad/shards
touch bad/shards
check "a file in the place of shards" code 74 "$metavar" run small.yaml -o bad -q
check "is named" says 'bad/shards: cannot be written: Not a directory'
"$metavar" run small.yaml -o other -q --set seed=8 >/dev/null
damaged
cp other/results.h5 bad/
rm bad/checksums.xxh128
check "results of another job" code 0 "$metavar" run small.yaml -o bad -q
check "are noticed" says 'bad/results.h5: holds the results of another job'
check "and replaced" same "$(digest bad)" "$(digest run)"
for file in job.yaml checksums.xxh128 manifest.jsonl resolved.yaml; do
  damaged
  truncate -s 1T bad/$file
  check "$file of a terabyte: verify" refused 065 "$metavar" verify bad --samples 1
  check "$file of a terabyte: run" refused 0657478 "$metavar" run small.yaml -o bad -q
done
check "run with --set" code 0 "$metavar" run small.yaml -o set -q --set seed=9
check "without it: refused" code 78 "$metavar" run small.yaml -o set -q
check "with the file that it names: goes on" code 0 "$metavar" run "$(sed -n 's/.*run the job in //p' err)" -o set -q
damaged # in a way that leaves a smaller job, which the one given now would extend
sed -i 's/replicates: 777/replicates: 77/' bad/resolved.yaml
check "a resolved.yaml that says less" code 0 "$metavar" run small.yaml -o bad -q --set unit=200
check "is no smaller job" says 'resolved.yaml: is not what checksums.xxh128 says'
check "and is mended" cmp run/resolved.yaml bad/resolved.yaml
damaged
sed -i 's/replicates: 777/replicates: 77/' bad/resolved.yaml
check "another job on top of it: refused" code 65 "$metavar" run large.yaml -o bad -q
check "says how to mend it" says 'run bad/job.yaml first'
damaged
rm bad/checksums.xxh128
check "a run of an earlier version, without checksums" code 0 "$metavar" verify bad
damaged
truncate -s 20000 bad/results.h5
check "results.h5 cut short" code 65 "$metavar" verify bad
damaged
rm bad/results.h5
check "not finished, but whole" code 0 "$metavar" verify bad
check "replay without results.h5" code 0 "$metavar" replay bad es 0 3
# Numbers that are wrong though every checksum is right: those of another seed under this job's name.
/usr/bin/python3 - <<'P'
import h5py, shutil
shutil.copytree("run", "forged")
with h5py.File("forged/results.h5", "r+") as to, h5py.File("other/results.h5") as source:
    for name in ("es/gradient", "backprop/mean"):
        to[name][...] = source[name][...]
    to["es/status"][1, 5] = 1
P
sed -i '/results.h5/d' forged/checksums.xxh128
check "forged numbers" code 65 "$metavar" verify forged
check "are found" fails_in replicates recomputed
check "replay of a forged sample" code 65 "$metavar" replay forged es 0 3
check "shows both" says 'stored: '

# beside what follows
mkdir bin hang
printf '#!/bin/sh\nsleep 100\n' >hang/squeue
chmod +x hang/squeue
SLURM_JOB_ID=12 PATH="$PWD/hang:$PATH" timeout -k 9 12 "$metavar" run small.yaml -o patient -q >/dev/null &
hanging=$!

# --- extend ---
"$metavar" run large.yaml -o scratch -q >/dev/null
cp -r run first
small=$(digest first)
large=$(digest scratch)
check "extend" code 0 mpirun -np 2 "$metavar" run large.yaml -o run -q
check "it says so" says 'goes on with a larger job'
check "the bits of a run from scratch" same "$(digest run)" "$(digest scratch)"
check "verify after it" code 0 "$metavar" verify run
check "what was done was kept" cmp first/shards/000001.h5 run/shards/000001.h5
new=$(tail -n 1 run/manifest.jsonl | grep -o '\[[0-9,]*\]' | awk -F'[],[]' '{n += $4} END {print n}')
check "and not done again" same "$new" $((3 * 50 + 1390 + 1000 + 2 * (1390 - 1000) + 2 * (1000 - 777)))
check "the results of before have another name" cmp first/results.h5 run/results-001.h5
rm -rf bad && cp -r run bad && sed -i 's/replicates: 1000/replicates: 100/' bad/resolved.yaml
check "back to the smaller job, resolved.yaml damaged: refused" code 65 "$metavar" run small.yaml -o bad -q --set unit=200
check "the larger one mends it" code 0 "$metavar" run large.yaml -o bad -q
check "to the same bits" same "$(digest bad)" "$(digest run)"
check "back to the smaller job: refused" code 78 "$metavar" run small.yaml -o run -q
check "says what is missing" says 'there: eta point \[2, 2\]'
check "fewer replicates: refused" code 78 "$metavar" run large.yaml -o run -q --set estimators.wide.replicates=49
check "says it" says 'fewer than there are'
check "a changed setting: refused" code 78 "$metavar" run large.yaml -o run -q --set estimators.wide.sigma=0.6 --set estimators.2.replicates=2000
check "says which" says 'sigma: 0.6'
check "a changed seed: refused" code 78 "$metavar" run large.yaml -o run -q --set seed=9
check "extend once more" code 0 "$metavar" run large.yaml -o run -q --set estimators.backprop.replicates=1400 --set unit=100
"$metavar" run large.yaml -o scratch2 -q --set estimators.backprop.replicates=1400 >/dev/null
check "the bits again" same "$(digest run)" "$(digest scratch2)"

# killed at every step of extending; then the small job, the large job, or the small one first and then the large one
fine=0 wrong=0
for point in run.locked earlier.{begun,half,written,synced,renamed,durable} job.yaml.{begun,renamed} \
  resolved.yaml.{begun,half,written,synced,renamed,durable} attempt.renamed shard.renamed manifest.half manifest.synced results.h5.half; do
  rm -rf cut && cp -r first cut
  (METAVAR_KILL_AT=$point exec "$metavar" run large.yaml -o cut -q) >out 2>&1
  [ $? = 137 ] || { echo "# $point: was not killed"; wrong=$((wrong + 1)); continue; }
  if [[ $point =~ ^(run|earlier|job|resolved.yaml.[bhws]) ]]; then
    "$metavar" run small.yaml -o cut -q >out 2>&1 && same "$(digest cut 2>&1)" "$small" || { echo "# $point: the small job"; wrong=$((wrong + 1)); }
  fi
  "$metavar" run large.yaml -o cut -q >out 2>&1 && same "$(digest cut 2>/dev/null)" "$large" && fine=$((fine + 1)) || { echo "# $point"; wrong=$((wrong + 1)); }
done 2>/dev/null
check "killed at $((fine + wrong)) steps of extending" test "$wrong" = 0 -a "$fine" = 20

# --- stopping ---
second=$("$metavar" plan small.yaml --json | awk -F'[:,]' '/seconds_per_replicate/ {printf "%d", 1 / $2; exit}')
long="--set estimators.backprop.replicates=$((60 * second)) -q"
start() { # RUN: a run in the background, under way when this returns; its pid is in $!
  "$metavar" run small.yaml -o "$1" $long >"$1.out" 2>"$1.err" &
  for _ in {1..100}; do [ -e "$1/attempts/001.json" ] && break; sleep 0.05; done
}
started() { awk -v a="$1" -v b="$(date +%s.%N)" -v most="$2" 'BEGIN {exit !(b - a < most)}'; }
check "stop: nobody runs" code 0 "$metavar" stop run
check "says so" says 'nobody works on run'
check "stop: no run" code 65 "$metavar" stop nowhere
check "watch a finished run" code 0 "$metavar" status run --watch
start asked
pid=$!
"$metavar" status asked --watch --interval 0.2 >watched &
watcher=$!
sleep 1
check "stop a run" code 0 "$metavar" stop asked --wait
check "says who ran" says "asked to stop: host .*, pid $pid"
wait $watcher
check "the watcher: 75" test $? = 75
check "and saw it all" grep -q 'pid.*' watched
check "and the end" grep -q 'nobody works on it' watched
wait $pid
check "the run: 75" test $? = 75
check "says why" grep -q 'metavar stop' asked.err
check "the request is gone" test ! -e asked/stop.request
check "some is committed" grep -q '"done": [1-9]' <("$metavar" status asked --json)

# a request that is left over stops nobody
touch first/stop.request
check "an old request is forgotten" code 0 "$metavar" run small.yaml -o first -q
check "and removed" test ! -e first/stop.request

time_ends() { # SECONDS_AT_MOST COMMAND...
  local before most=$1
  before=$(date +%s.%N)
  shift
  code 75 "$@" && started "$before" "$most"
}
check "--max-time" time_ends 5 "$metavar" run small.yaml -o limited $long --max-time 2s
check "says why" says 'the time is nearly up'
check "and some is committed" grep -q '"done": [1-9]' <("$metavar" status limited --json)
check "goes on when the time is enough" code 75 "$metavar" run small.yaml -o limited $long --max-time 0:01
check "too short for anything" code 75 "$metavar" run small.yaml -o limited $long --max-time 0s
check "says so" says 'too short'
for bad in 5 1x -1s 1:2:3:4 '' 1-; do
  check "--max-time '$bad'" code 2 "$metavar" run small.yaml -o limited --max-time "$bad"
done
for good in 90s 10m 2h 1-00:00:00 2-0 1:00:00; do
  check "--max-time $good" code 0 "$metavar" run small.yaml -o first -q --max-time "$good"
done
export SLURM_JOB_ID=12
check "SLURM_JOB_END_TIME" time_ends 5 env SLURM_JOB_END_TIME=$(($(date +%s) + 3)) "$metavar" run small.yaml -o limited $long
printf '#!/bin/sh\n[ "$*" = "-h -j 12 -o %%L" ] && echo 0:03\n' >bin/squeue
chmod +x bin/squeue
check "squeue" time_ends 6 env PATH="$PWD/bin:$PATH" "$metavar" run small.yaml -o limited $long
wait $hanging
check "squeue that hangs holds nobody up for long" test -e patient/attempts/001.json
printf '#!/bin/sh\necho UNLIMITED\n' >bin/squeue
check "no limit" code 0 env PATH="$PWD/bin:$PATH" "$metavar" run small.yaml -o first -q
