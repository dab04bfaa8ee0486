#!/bin/bash
# test_budget.sh - `metavar analyze`: sources of variance, budgets, break-even, fits; from a run to the files.
. "$(dirname "$0")/lib.sh"

cat >"$scratch/job.yaml" <<'YAML'
name: budget
seed: 5
lifetime_length: 4
task: {name: tree_bandit}
block: 100
eta: {points: [[0.4, -0.3], [1, 0.5]]}
estimators:
  - {name: backprop, truncation: [2, 4], meta_discount: [0.5, 1], hessian: [pathwise, dice], replicates: 20000, store: moments}
  - {name: es, sigma: 0.3, truncation: [2, 4], replicates: 20000, store: moments}
  - {name: es, label: nested, sigma: 0.3, noise_shared: [task, init, action, reward, window], replicates: 24000, lifetimes_per_task: 4, perturbations_per_lifetime: 3}
  - {name: es, label: blocks, lifetimes_per_task: 4, replicates: 2000, store: moments}
  - {name: reference, replicates: 20000, store: moments}
YAML
run=$scratch/run
check "a run with a nested design" "$metavar" run "$scratch/job.yaml" -o "$run"
analyze() { "$metavar" analyze "$run" --bootstrap 1000 --task-cost 40 "$@" >"$scratch/out" 2>"$scratch/err"; }
check "analyze" analyze --pair 'backprop:truncation=2,lambda=0 vs es:truncation=4'
says() { grep -q -- "$1" "$scratch/out" "$scratch/err" || { cat "$scratch/out" "$scratch/err"; return 1; }; }
check "prints which estimator at which budget" says "which estimator at which budget"
check "prints where variance comes from" says "nested:  variance"
check "says that moments do not tell components" says "entry 'blocks' is a nested design, but its moments"

one_core() { taskset -c "$(taskset -cp $$ | sed 's/.*: //; s/[-,].*//')" "$metavar" analyze "$run" --bootstrap 1000 --task-cost 40 \
  --pair 'backprop:truncation=2,lambda=0 vs es:truncation=4' -o "$scratch/again" >/dev/null 2>&1 && diff -r "$run/analysis" "$scratch/again"; }
check "the same bytes on one core" one_core

numbers() {
  /usr/bin/python3 - "$run/analysis" <<'PYTHON'
import csv, math, sys
from collections import defaultdict
def read(name):
    with open(f"{sys.argv[1]}/{name}.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))
def num(row, name): return float(row[name])
def label(row, suffix=""):
    return tuple(row[k + suffix] for k in ("entry", "output", "truncation", "hessian", "meta_discount", "lambda"))
grid = {label(row): row for row in read("grid")}
# components add up, and so do their shares; the total is the variance
parts = defaultdict(dict)
for row in read("components"):
    assert row["entry"] == "nested"
    parts[row["point"]][row["component"]] = row
assert set(parts) == {"-1", "0", "1"}
for row in parts.values():
    assert list(row) == ["task", "lifetime", "perturbation", "total"]
    for name in ("variance", "share"):
        assert math.isclose(sum(num(row[k], name) for k in ("task", "lifetime", "perturbation")), num(row["total"], name))
    assert all(num(r, "variance_low") < num(r, "variance") < num(r, "variance_high") for r in row.values())
    assert num(row["total"], "best_lifetimes") > 1 and num(row["total"], "best_perturbations") == 1
total = num(parts["-1"]["total"], "variance")
assert abs(total / num(next(r for r in grid.values() if r["entry"] == "nested"), "variance") - 1) < 0.01
# mse is what grid.csv says; the best is the smallest and on the front; the front is not beaten
budgets = defaultdict(list)
for row in read("budget"):
    budgets[num(row, "budget")].append(row)
assert len(budgets) > 10
for rows in budgets.values():
    able = [r for r in rows if num(r, "samples") >= 1]
    for r in able:
        g = grid[label(r)]
        expected = max(num(g, "bias2_unbiased"), 0) + num(g, "variance") / num(r, "samples")
        assert math.isclose(num(r, "mse"), expected, rel_tol=1e-9)
        assert num(r, "mse_low") <= num(r, "mse") <= num(r, "mse_high")
    best = [r for r in rows if r["best"] == "1"]
    assert len(best) == 1 and best[0]["on_front"] == "1"
    assert num(best[0], "mse") == min(num(r, "mse") for r in able)
    assert math.isclose(sum(num(r, "best_share") for r in rows), 1)
    assert all(math.isnan(num(r, "mse")) and r["on_front"] == "0" for r in rows if num(r, "samples") < 1)
# break-even: the two settings are equal there
pairs = read("breakeven")
for r in pairs:
    a, b = grid[label(r, "_a")], grid[label(r, "_b")]
    at = num(r, "budget")
    if 0 < at < math.inf:
        mse = [max(num(g, "bias2_unbiased"), 0) + num(g, "variance") * (num(g, "cost_primal") + num(g, "cost_tangent")) / at for g in (a, b)]
        assert math.isclose(*mse, rel_tol=1e-6), (r, mse)
    assert num(r, "budget_low") <= at <= num(r, "budget_high")
assert any({label(r, "_a")[0], label(r, "_b")[0]} == {"backprop", "es"} for r in pairs)
# fits: within the range of coefficients; no fit is worse in its own samples than the ends of its range
best = read("best")
assert {(r["entry"], r["truncation"], r["hessian"]) for r in best} == {("backprop", t, h) for t in "24" for h in ("pathwise", "dice")}
for r in best:
    if num(r, "mse") == num(r, "mse"):
        assert 0 <= num(r, "best_lambda") <= 1 and r["best_meta_discount"] in ("0.5", "1")
        assert num(r, "mse_fitted") <= min(num(r, "mse_lambda_0"), num(r, "mse_lambda_1")) * (1 + 1e-9)
        assert num(r, "mse_low") <= num(r, "mse") <= num(r, "mse_high")
# at T = N with pathwise Hessian the correction makes it unbiased: large budgets want all of it
full = [r for r in best if r["truncation"] == "4" and r["hessian"] == "pathwise"]
assert num(full[-1], "best_lambda") > 0.5 > num(full[3], "best_lambda")
mixed = read("combined")
assert mixed and all(-1 <= num(r, "weight_a") <= 2 for r in mixed if num(r, "mse") == num(r, "mse"))
assert all(r["entry_a"] != "nested" != r["entry_b"] for r in mixed)
PYTHON
}
check "the numbers fit together" numbers

fails() { "$metavar" analyze "$run" --bootstrap 100 -o "$scratch/no" "$@" >"$scratch/out" 2>"$scratch/err"; [ $? -eq 2 ]; }
check "a pair that nothing fits is refused" fails --pair 'es:truncation=7 vs backprop'
check "and says how to name one" says "LABEL:axis=value"
check "so is a cost below 0" fails --task-cost -1

# Where there are no rows there is still a header.
sed '/^eta/q' "$scratch/job.yaml" >"$scratch/bare.yaml"
printf 'estimators:\n  - {name: objective, replicates: 200}\n' >>"$scratch/bare.yaml"
check "a run without gradients" "$metavar" run "$scratch/bare.yaml" -o "$scratch/bare"
headers() {
  "$metavar" analyze "$scratch/bare" --bootstrap 100 >/dev/null 2>&1 && /usr/bin/python3 - "$run/analysis" "$scratch/bare/analysis" <<'PYTHON'
import csv, sys
axes = ("truncation", "hessian", "meta_discount")
for name in "cells grid board sources differences components budget breakeven best combined".split():
    full, bare = (list(csv.reader(open(f"{folder}/{name}.csv", encoding="utf-8"))) for folder in sys.argv[1:])
    assert len(full) > 1 and bare == [[column for column in full[0] if not column.startswith(axes)]], name
PYTHON
}
check "tables without rows have their header" headers
