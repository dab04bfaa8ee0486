#!/bin/bash
# test_carried.sh - training whose lifetimes go on from update to update: the same bits for any number of ranks, however the work is
# cut, after kill -9, in one piece or extended, with what is carried damaged or lost.
. "$(dirname "$0")/lib.sh"
cd "$scratch" || exit 1

job() { # UPDATES SEEDS LENGTH ROWS
  cat <<Y
name: carried
seed: 7
lifetime_length: $3
task: {name: bandit, arms: 6, batch: 4, cutoff: 1}
train: {updates: $1, seeds: $2, learning_rate: 0.3, optimizer: adam, lifetimes: carried}
eta: {points: [[0.5, 1], [1, 0]]}
estimators:
$4
Y
}
rows='  - {name: backprop, weighted: false, lambda: [0, 1], lifetimes: 2, replicates: 40}
  - {name: es, population: 4, replicates: 40}'
job 20 2 6 "$rows" >all.yaml
job 9 1 6 "$rows" >few.yaml
job 6 1 150 '  - {name: es, label: plain, noise_shared: [task, action, reward], replicates: 300}
  - {name: es, label: ranked, shaping: centered_rank, replicates: 300}' | sed 's/, \[1, 0\]//' >parts.yaml

networks() { # UPDATES: one curve of nested es in parts, networks carried, goals that flip, a context network
  cat <<Y
name: networks
seed: 7
lifetime_length: 3
task: {name: maze, side: 3, environments: 4, horizon: 4, hidden: [6], entropy: context, context_hidden: 1, flip_every: 8, activation: tanh}
train: {updates: $1, seeds: 1, learning_rate: 0.3, lifetimes: carried}
eta: {points: [[0.3, -0.2, 0.5, 0.1, -0.4, 0.2, 0.6, -0.3, 0.1, 0.4, 0.2, 1, -0.5]]}
estimators:
  - {name: es, population: 6, replicates: 10}
Y
}

# --- the same bits ---
check "one process" code 0 "$metavar" train all.yaml -o all -q
check "two ranks" code 0 mpirun -np 2 "$metavar" train all.yaml -o two -q
check "the same bits" same "$(digest all)" "$(digest two)"
check "three ranks, units of 3, scalar kernel" code 0 env METAVAR_ISA=scalar mpirun -np 3 "$metavar" train all.yaml -o three -q --set unit=3
check "the same bits" same "$(digest all)" "$(digest three)"
check "one process" code 0 "$metavar" train parts.yaml -o parts -q
check "updates in parts on three ranks, more than there are curves" code 0 mpirun -np 3 "$metavar" train parts.yaml -o parts3 -q
check "the same bits" same "$(digest parts)" "$(digest parts3)"
shared() { [ "$(sed -n 's/.*"messages": \([0-9]*\).*/\1/p' parts3/attempts/001.json)" -ge 20 ]; }
check "all ranks work on each update" shared
networks 12 >nets.yaml
networks 5 >fewer.yaml
check "networks, one process" code 0 "$metavar" train nets.yaml -o nets -q
check "in parts on three ranks" code 0 mpirun -np 3 "$metavar" train fewer.yaml -o nets3 -q --set unit=1
check "extended on two" code 0 mpirun -np 2 "$metavar" train nets.yaml -o nets3 -q --set unit=2
check "the same bits" same "$(digest nets)" "$(digest nets3)"
check "verify them" code 0 "$metavar" verify nets3 --samples 8

# --- extended, killed, damaged ---
check "few updates and seeds" code 0 mpirun -np 2 "$metavar" train few.yaml -o few -q
check "more of both" code 0 mpirun -np 2 "$metavar" train all.yaml -o few -q
quiet() { ! grep -q again err; }
check "nothing is computed again" quiet
check "the same bits as in one piece" same "$(digest all)" "$(digest few)"
export METAVAR_COMMIT_SECONDS=0
kept() { [ "$(find killed/carried -name '*.bin' | wc -l)" -le 24 ]; } # two of each curve
(METAVAR_KILL_AT=manifest.half:20 "$metavar" train all.yaml -o killed -q --set unit=3; :) 2>/dev/null # the shell's word of it too
check "killed in a commit (all points: test_torture.sh): goes on" code 0 mpirun -np 2 "$metavar" train all.yaml -o killed -q --set unit=4
check "the same bits" same "$(digest all)" "$(digest killed)"
check "the last two states of a curve are kept" kept
mpirun -np 2 "$metavar" train all.yaml -o shot -q --set unit=1 2>/dev/null &
shot=$!
for _ in $(seq 200); do [ "$(grep -c . shot/manifest.jsonl 2>/dev/null)" -gt 20 ] 2>/dev/null && break; sleep 0.02; done
kill -9 $shot $(sed -n 's/.*pid \([0-9]*\).*/\1/p' shot/run.lock) 2>/dev/null
wait $shot 2>/dev/null
check "it was in the middle" test ! -e shot/results.h5
check "kill -9 of mpirun and rank 0 in the middle" code 0 mpirun -np 3 "$metavar" train all.yaml -o shot -q
check "the same bits" same "$(digest all)" "$(digest shot)"
(METAVAR_KILL_AT=manifest.synced:40 "$metavar" train all.yaml -o hurt -q --set unit=3; :) 2>/dev/null
check "verify an unfinished run" code 0 "$metavar" verify hurt
twice() { ls hurt/carried | sed 's/.*-//' | sort | uniq -d; } # curves with both states; which have come so far is a matter of timing
lost=$(twice | head -1) harmed=$(twice | tail -1)
rm -f hurt/carried/*-"$lost"
printf X | dd of="$(ls hurt/carried/*-"$harmed" | tail -1)" bs=1 seek=9 conv=notrunc 2>/dev/null
check "verify finds what is lost and damaged" code 65 "$metavar" verify hurt
check "counts it" says 'BAD  carried .* 3 missing or damaged'
check "train goes on from what is there" code 0 "$metavar" train hurt/job.yaml -o hurt -q
once() { [ "$(grep -c "computed again" err)" = 2 ] && grep -q 'is computed again from update 0 on.*No such file' err && grep -q 'is computed again from update [1-9][0-9]* on.*has changed' err; }
check "tells it once for each curve" once
check "the same bits" same "$(digest all)" "$(digest hurt)"
unset METAVAR_COMMIT_SECONDS

# --- what can be said of it ---
check "verify" code 0 "$metavar" verify all --samples 24
check "says what it has computed again" says 'the first 2 updates of curves, 24 in all; 0 curves differ'
check "and that updates follow from each other" says 'chain  *0 of 252 updates'
check "replay, from the start of the curve" code 0 "$metavar" replay all es 3 17
check "every bit" says 'this sample: every bit as stored'
check "plan" code 0 "$metavar" plan all.yaml
check "tells what is carried" says 'carried: .* by the lifetimes of all curves'
check "analyze" code 0 "$metavar" analyze all
check "another one" code 0 "$metavar" analyze parts
check "both in one picture" code 0 "$metavar" plot all --beside parts --only learning_curves
lives() { # curves.csv against the file itself
  /usr/bin/python3 - <<'P'
import csv
import xarray as xr

for row in csv.DictReader(open("all/analysis/curves.csv")):
    data = xr.open_dataset("all/results.h5", engine="h5netcdf", group=row["entry"])
    update, first = int(row["update"]), 2 * int(row["start"])
    assert float(row["lifetime_steps"]) == 6 * (update + 1)
    assert abs(float(row["objective"]) - data.objective.values[first : first + 2, update].mean()) < 1e-13
drawn = {row["entry"] for row in csv.DictReader(open("all/analysis/learning_curves.csv"))}
assert drawn == {"backprop_lambda0 T=6", "backprop_lambda1 T=6", "es T=6", "plain T=150", "ranked T=150"}
P
}
check "steps of lifetimes, and their windows" lives
check "a run without curves" code 65 "$metavar" plot all --beside "$scratch/nowhere"
