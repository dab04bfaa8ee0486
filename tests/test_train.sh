#!/bin/bash
# test_train.sh - learning curves are the same bits for any number of ranks, unit size and kernel, in one piece or not; the path of
# eta is that of the optimizer; what extends a training and what does not.
. "$(dirname "$0")/lib.sh"
cd "$scratch" || exit 1

job() { # UPDATES SEEDS STARTS MORE_OF_TRAIN MORE_ESTIMATORS
  cat <<Y
name: curves
seed: 7
lifetime_length: 12
task: {name: bandit, arms: 6, batch: 4, cutoff: 3}
train:
  updates: $1
  seeds: $2
  learning_rate: 0.3
  evaluate_every: 4
  evaluate_replicates: 50
  $4
eta:
  points: [$3]
estimators:
$5
  - {name: backprop, weighted: false, lambda: [0, 1], replicates: 70}
  - {name: fd, learning_rate: 0.1, replicates: 40}
Y
}
job 20 2 '[0.5, 1], [1, 0]' >small.yaml
job 20 2 '[0.5, 1], [1, 0]' 'optimizer: adam' >adam.yaml
job 20 1 '[0.5, 1]' 'momentum: 0.9' >momentum.yaml
job 33 3 '[2, 2], [0.5, 1], [1, 0]' '' '  - {name: es, label: wide, sigma: 0.5, replicates: 50}' >large.yaml
# Populations of 1,000 pairs, as they are and shaped: updates are cut into parts.
sed '/^estimators/,$d; s/updates: .*/updates: 3/' momentum.yaml >es.yaml
printf 'estimators:\n  - {name: es, population: 2, lifetimes_per_task: 1000, replicates: 1000}\n  - {name: es, label: ranked, shaping: centered_rank, replicates: 1000}\n' >>es.yaml
sed -i 's/lifetime_length: 12/lifetime_length: 60/' es.yaml

# --- the same bits ---
for what in small adam momentum es; do
  check "$what: one process" code 0 "$metavar" train $what.yaml -o $what -q
done
for ranks in 2 3 4; do
  check "es in parts on $ranks ranks" code 0 mpirun -np $ranks "$metavar" train es.yaml -o es$ranks -q
  check "es on $ranks ranks: the same bits" same "$(digest es)" "$(digest es$ranks)"
done
sed '/ranked/d' es.yaml >alone.yaml
check "one curve on two ranks" code 0 mpirun -np 2 "$metavar" train alone.yaml -o alone -q
shared() { [ "$(sed -n 's/.*"messages": \([0-9]*\).*/\1/p' alone/attempts/001.json)" -ge 8 ]; } # a unit and a result of 4 updates
check "both work on each update" shared
check "three ranks, units of 3" code 0 mpirun -np 3 "$metavar" train small.yaml -o small3 -q --set unit=3
check "the same bits" same "$(digest small)" "$(digest small3)"
check "scalar kernel, rank 0 does not compute" env METAVAR_ISA=scalar mpirun -np 2 "$metavar" train small.yaml -o scalar -q --master-computes no
check "the same bits" same "$(digest small)" "$(digest scalar)"
for what in small adam momentum; do
  /usr/bin/python3 "$top/tests/check_training.py" $what/results.h5 | sed "s/^ok /ok $what: /; s/^not ok /not ok $what: /"
done

# --- what it stores ---
check "verify" code 0 "$metavar" verify adam --samples 40
check "updates computed again" says '40 samples and 0 blocks of moments, chosen with seed 1; 0 differ'
check "replay" code 0 "$metavar" replay adam backprop_lambda1 3 17
check "every bit" says 'this sample: every bit as stored'
check "status" code 0 "$metavar" status adam
check "counts updates" says 'updates  *252 of 252'
check "plan" code 0 "$metavar" plan small.yaml
check "counts curves" says 'fd  *samples  *4  *84 '
check "analyze" code 0 "$metavar" analyze adam
check "report" code 0 "$metavar" report adam
page() { grep -q 'id="learning_curves"' adam/analysis/report.html && grep -q 'Where curves end' adam/analysis/report.html && ! grep -qE '(src|href)="(http|//)' adam/analysis/report.html; }
check "curves and ends are on the page" page
check "pictures" code 0 "$metavar" plot adam
check "curves and paths" says 'eta_paths.csv'
checked() { # curves.csv against the file itself
  /usr/bin/python3 - <<'P'
import csv
import numpy as np
import xarray as xr

for row in csv.DictReader(open("adam/analysis/curves.csv")):
    data = xr.open_dataset("adam/results.h5", engine="h5netcdf", group=row["entry"])
    curves = [2 * int(row["start"]) + seed for seed in (0, 1)]
    at = data.isel(curve=curves, update=int(row["update"]))
    spread = lambda x: x.std(axis=0, ddof=1) / np.sqrt(2)
    eta = at.eta.values
    assert np.allclose([float(row["eta_0"]), float(row["eta_1"])], eta.mean(axis=0), rtol=1e-13)
    assert np.allclose([float(row["eta_se_0"]), float(row["eta_se_1"])], spread(eta), atol=1e-13)
    assert np.isclose(float(row["evaluated"]), at.evaluated.values.mean(), rtol=1e-13)
    assert np.isclose(float(row["evaluated_se"]), spread(at.evaluated.values), rtol=1e-9)
    assert float(row["spent_primal"]) == float(at.spent_primal) and int(row["update"]) % 4 == 0
P
}
check "curves.csv: means over seeds" checked
printf 'name: s\nseed: 1\nlifetime_length: 4\ntask: {name: tree_bandit}\neta: {grid: [[0, 1, 2], [0, 1]]}\nestimators: [{name: objective, replicates: 3000, store: moments}]\n' >surface.yaml
check "a return surface" code 0 "$metavar" run surface.yaml -o surface -q
check "its table" code 0 "$metavar" analyze surface
check "paths over it" code 0 "$metavar" plot adam --surface surface --only eta_paths
check "run does not train" code 78 "$metavar" run small.yaml -o no
check "train does not measure" code 78 "$metavar" train "$top/jobs/demo.yaml" -o no
check "nothing was made" test ! -e no

# --- what bias and variance predict ---
tree() { # NAME MORE_OF_TRAIN ESTIMATORS
  printf 'name: %s\nseed: 3\nlifetime_length: 4\ntask: {name: tree_bandit}\ntrain: {updates: 60, evaluate_every: 20, evaluate_replicates: 300000, seeds: 2, %s}\neta: {points: [[0.5, 1]]}\nestimators:\n%s\n' "$@" >"$1.yaml"
}
tree follow 'learning_rate: 4' '  - {name: backprop, label: naive, lambda: 0, weighted: false, truncation: [2, 4], replicates: 2000}
  - {name: fd, eps: 0.2, replicates: 100}'
tree heavy 'learning_rate: 2, momentum: 0.5' '  - {name: backprop, weighted: false, hessian: dice, lambda: 0, replicates: 2000}'
cat >study.yaml <<'Y'
name: study
seed: 5
lifetime_length: 4
block: 500
task: {name: tree_bandit}
eta:
  grid: [{linspace: [0, 6, 9]}, {linspace: [0, 3, 5]}]
estimators:
  - {name: reference, replicates: 50000, store: moments}
  - {name: backprop, hessian: [pathwise, dice], truncation: [2, 4], replicates: 50000, store: moments}
Y
check "a study" code 0 "$metavar" run study.yaml -o study -q
for what in follow heavy; do
  check "$what: train" code 0 mpirun -np 2 "$metavar" train $what.yaml -o $what -q
  check "$what: analyze with the study" code 0 "$metavar" analyze $what --study study
done
alone() { ! grep -q '^fd' follow/analysis/improvement.csv; }
check "fd is not in the study" alone
predicted() { # RUN PART: J gains what is predicted, within 4 standard errors; without that part it does not
  /usr/bin/python3 - "$@" <<'P'
import csv, math, sys

run, part = sys.argv[1:]
rows = [{k: v if k in ("entry", "estimator", "shaping") else float(v) for k, v in row.items()} for row in csv.DictReader(open(run + "/analysis/improvement.csv"))]
for entry in dict.fromkeys(row["entry"] for row in rows):
    mine = [row for row in rows if row["entry"] == entry]
    ends = [row for row in mine if row["update"] == 60]
    assert len(ends) == 2 and all(row["outside"] == 0 for row in mine)
    off = sum(row["realised_sum"] - row["predicted_sum"] for row in ends) / 2
    # seeds are independent but for the study
    error = math.sqrt(sum(row["chance_sum"] ** 2 + row["realised_sum_se"] ** 2 for row in ends) / 4 + ends[0]["predicted_sum_se"] ** 2)
    lost = sum(row[part] * row["updates"] for row in mine) / 2
    print(f"{entry}: {off:.5f} +- {error:.5f}; without {part}: {off + lost:.5f}")
    assert abs(off) < 4 * error
    assert entry == "naive_truncation4" or abs(off + lost) > 20 * error  # hardly biased
    for row in mine:
        parts = sum(row[name] for name in ("drift", "bias", "momentum", "curvature", "noise"))
        assert math.isclose(parts, row["predicted"], rel_tol=1e-9)
P
}
check "J gains what is predicted; not without the bias" predicted follow bias
check "with momentum; not without it" predicted heavy momentum
narrow() { sed 's/6, 9\]/2, 3]/' study.yaml >narrow.yaml; "$metavar" run narrow.yaml -o narrow -q; "$metavar" analyze follow --study narrow -o outside; grep -q ',60,20,20,nan,' outside/improvement.csv; }
check "nothing is predicted outside the study, and it says so" narrow
check "adam is refused" code 2 "$metavar" analyze adam --study study
check "says why" says 'adam, whose step is not linear'
check "another task is refused" code 2 "$metavar" analyze momentum --study study
loss() { # NAME LOSS MORE
  printf 'name: %s\nseed: 3\nlifetime_length: 2\nblock: 10\ntask: {name: maze, hidden: [2], environments: 2, horizon: 3, outer_loss: %s}\n%s\nestimators: [{name: backprop, weighted: false, replicates: 20}]\n' "$@" >"$1.yaml"
}
loss learner first_state_adv 'train: {updates: 4, learning_rate: 0.1, evaluate_every: 2, evaluate_replicates: 20}
eta: {points: [[0]]}'
loss inquiry first_state 'eta: {grid: [{linspace: [-1, 1, 4]}]}'
check "a training by advantages" code 0 "$metavar" train learner.yaml -o learner -q
check "a study of returns" code 0 "$metavar" run inquiry.yaml -o inquiry -q
check "another outer loss is refused" code 2 "$metavar" analyze learner --study inquiry
check "says which" says 'outer_loss'
check "the same outer loss" code 0 "$metavar" run inquiry.yaml -o same -q --set task.outer_loss=first_state_adv
check "is taken" code 0 "$metavar" analyze learner --study same:backprop
check "a measurement has no study" code 2 "$metavar" analyze study --study study
check "report" code 0 "$metavar" report follow
check "has the prediction" grep -q 'predicted from bias and variance' follow/analysis/report.html
check "the picture" code 0 "$metavar" plot follow --only predicted_improvement

# --- stopped, extended ---
check "no time at all" code 75 "$metavar" train large.yaml -o late -q --max-time 0s
check "then it goes on" code 0 mpirun -np 2 "$metavar" train large.yaml -o late -q
check "more updates, seeds, starts, estimators" code 0 mpirun -np 2 "$metavar" train large.yaml -o small -q
check "the same bits as in one piece" same "$(digest late)" "$(digest small)"
check "verify" code 0 "$metavar" verify small
check "fewer updates" code 78 "$metavar" train small.yaml -o small -q
check "names them" says 'updates: 20 (fewer than there are)'
check "another learning rate" code 78 "$metavar" train large.yaml -o small -q --set train.learning_rate=0.1
check "more replicates" code 78 "$metavar" train large.yaml -o small -q --set estimators.fd.replicates=41
batch() { "$metavar" sbatch small.yaml -o small -n 2 -t 10 >out && bash -n out && grep -qx 'METAVAR_VERB=train' out; }
check "its batch script trains" batch
