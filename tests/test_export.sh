#!/bin/bash
# test_export.sh - CSV and JSON lines hold what results.h5 holds, bit by bit, in cells of different lengths and with
# values that are not finite; failures of the reader and of the disk end as they should.
. "$(dirname "$0")/lib.sh"
cd "$scratch" || exit 1

cat >job.yaml <<'Y'
name: export
seed: 7
lifetime_length: 4
task: {name: tree_bandit}
block: 10
eta:
  points: [[0.4, -0.3], [1, 0.1]]
stop: {relative_error: 0.15}
estimators:
  - {name: backprop, truncation: [2, 4], meta_discount: [0.3, 1], replicates: 1000, store: moments}
  - {name: es, perturbations_per_lifetime: 3, truncation: [2, 4], replicates: 655}
  - {name: backprop, label: samples, truncation: [3], replicates: 3000}
Y
check "a run" code 0 "$metavar" run job.yaml -o run -q
# What is not finite, as a run would have stored it.
/usr/bin/python3 -c '
import h5py, numpy as np
f = h5py.File("run/results.h5", "r+")
for k, v in enumerate((np.inf, -np.inf, np.nan)):
    f["es/gradient"][1, 5 + k, 0, k % 2] = v
    f["es/status"][1, 5 + k] = 1' || echo "not ok values that are not finite"

check "csv" code 0 "$metavar" export run -o all.csv
check "what has no samples is told" says 'backprop is left out: it stores moments, not samples'
check "jsonl" code 0 "$metavar" export run --jsonl -o all.jsonl
check "moments" code 0 "$metavar" export run --moments -o blocks.csv
check "moments, jsonl" code 0 "$metavar" export run --moments --jsonl -o blocks.jsonl
cat >samples.py <<'P'
import h5py, json, math, numpy as np, pandas as pd
f = h5py.File("run/results.h5")
csv = pd.read_csv("all.csv", float_precision="round_trip")
rows = [json.loads(line, parse_constant=lambda c: 1 / 0) for line in open("all.jsonl")]  # strict: no NaN
assert len(csv) == len(rows)
assert list(csv.columns) == [k for k in rows[0] if k != "nonfinite"]
for a, b in zip(csv.to_dict("records"), rows):
    word = b.pop("nonfinite", None)
    assert (b["value"] is None) == (word is not None)
    b["value"] = float(word) if word else b["value"]
    for k in a:
        missing = isinstance(a[k], float) and math.isnan(a[k])
        assert a[k] == b[k] or missing and (b[k] is None or math.isnan(b[k])), (k, a, b)
assert csv.replicate.groupby([csv.entry, csv.point]).max().nunique() > 1  # cells of different lengths
seen = 0
for entry, g in csv.groupby("entry"):
    assert entry in ("es", "samples")
    h = f[entry]
    for output, o in g.groupby("output"):
        d = h[output]
        axes = [d.dims[k][0].name.split("/")[-1] for k in range(2, d.ndim)]
        got = np.full(d.shape, np.nan)
        at = [o.point, o.replicate]
        for name in axes:
            values = [v.decode() if isinstance(v, bytes) else v for v in h[name][:]]
            at.append(o[name].map({v: k for k, v in enumerate(values)}))
        got[tuple(x.to_numpy(int) for x in at)] = o.value
        seen += len(o)
        for p, n in enumerate(h["replicates"][:]):
            assert np.array_equal(got[p, :n], d[p, :n].astype(float), equal_nan=True), (entry, output)
            assert np.isnan(got[p, n:]).all()
    wanted = h["status"][:][g.point, g.replicate] == 1
    assert ((g.status == "nonfinite") == wanted).all()
    assert (g.task_instance == h["task_instance"][:][g.replicate]).all()
    assert (g.perturbation == h["perturbation"][:][g.replicate]).all()
    assert (g.eta_0 == f["eta"][:, 0][g.point]).all() and (g.eta_1 == f["eta"][:, 1][g.point]).all()
assert seen == len(csv) and np.isinf(csv.value).sum() == 2 and csv.value.isna().sum() == 1
P
check "samples: through pandas to the bits of results.h5" /usr/bin/python3 samples.py
cat >blocks.py <<'P'
import h5py, json, numpy as np, pandas as pd
f = h5py.File("run/results.h5")
csv = pd.read_csv("blocks.csv", float_precision="round_trip")
assert len(csv) == sum(1 for _ in open("blocks.jsonl")) and json.loads(next(open("blocks.jsonl")))["count"] == 10
h, g = f["backprop"], csv[csv.entry == "backprop"]
values = h["mean"].shape[-1]
diagonal = h["pair_row"][:] == h["pair_col"][:]
for p, n in enumerate(h["replicates"][:]):
    mean, square = (g[g.point == p][k].to_numpy().reshape(-1, values) for k in ("mean", "square"))
    blocks = -(-n // 10)
    assert np.array_equal(mean, h["mean"][p, :blocks]) and np.array_equal(square, h["comoment"][p, :blocks][:, diagonal])
    assert g[(g.point == p) & (g.output == "objective")]["count"].sum() == n
first = g[(g.point == 0) & (g.block == 1)].iloc[1]
assert (first.output, first.truncation, first.meta_parameter, first.first_replicate) == ("direct", 2, "softplus_inverse_rate_late", 10)
g = csv[(csv.entry == "es") & (csv.point == 1) & (csv.output == "gradient")]
n = f["es/replicates"][1]
ok = f["es/status"][1, :n] == 0
assert g["count"].sum() / 4 == ok.sum() and g.nonfinite.sum() / 4 == 3
one = g[(g.truncation == 2) & (g.meta_parameter == "softplus_inverse_rate_early")]
x = f["es/gradient"][1, :n, 0, 0][ok]
assert np.isclose((one["count"] * one["mean"]).sum() / len(x), x.mean(), rtol=1e-12)
total = one.square.sum() + (one["count"] * (one["mean"] - x.mean()) ** 2).sum()
assert np.isclose(total / (len(x) - 1), x.var(ddof=1), rtol=1e-12)
P
check "moments: through pandas" /usr/bin/python3 blocks.py

check "one entry, to standard output" code 0 "$metavar" export run --entry samples
check "only that" test "$(cut -d, -f1 out | sort -u | tr '\n' ' ')" = "entry samples "
check "no such entry" code 2 "$metavar" export run --entry nothing
check "nothing to export" code 2 "$metavar" export run --entry backprop
check "both formats" code 2 "$metavar" export run --csv --jsonl
check "no run" code 65 "$metavar" export nowhere
quiet_pipe() { # the reader goes away
  "$metavar" export run --entry es 2>err | head -n 1 >out
  [ "${PIPESTATUS[0]}" = 141 ] && [ ! -s err ] && [ "$(wc -l <out)" = 1 ]
}
check "head" quiet_pipe
full() { "$metavar" export run --entry es >/dev/full 2>err; [ $? = 74 ] && grep -q 'No space' err; }
check "a full disk" full
check "a full device" code 74 "$metavar" export run --entry es -o /dev/full
check "into a pipe" test "$("$metavar" export run --entry es -o /dev/stdout | cksum)" = "$("$metavar" export run --entry es | cksum)"
limited() { # a write that fails in the middle leaves nothing behind
  mkdir -p small && (ulimit -f 20; trap '' XFSZ; "$metavar" export run --entry es -o small/x.csv) >out 2>err
  [ $? = 74 ] && [ -z "$(ls -A small)" ]
}
check "a file cut short is not left behind" limited
