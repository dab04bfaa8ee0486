#!/bin/bash
# test_rounds.sh - a stopping rule: the same samples for any number of ranks and units and for runs killed anywhere;
# shorter cells are absent in results.h5, and nothing else; what stops wrongly is found; rules that may follow each other.
. "$(dirname "$0")/lib.sh"
cd "$scratch" || exit 1

# es: nested, instances of 3 do not end with blocks, and too few replicates, the last block cut; fd: the same, moments;
# steep: not finite.
cat >job.yaml <<'Y'
name: rounds
seed: 7
lifetime_length: 4
task: {name: tree_bandit}
block: 100
eta:
  points: [[0.4, -0.3], [1, 0], [2, 2]]
stop: {relative_error: 0.03}
estimators:
  - {name: backprop, truncation: [2, 4], replicates: 40000, store: moments}
  - {name: es, perturbations_per_lifetime: 3, replicates: 5050}
  - {name: reference, replicates: 40000}
  - {name: fd, replicates: 4950, store: moments}
  - {name: es, label: steep, sigma: 1e-309, replicates: 4000, store: moments}
Y
check "one rank" code 0 "$metavar" run job.yaml -o one -q
check "it says what fell short" says 'note: es: . of 3 cells have all 5050 replicates and have not reached 0.03 (variance)'
check "and what never can" says 'note: steep: 3 of 3 cells .* an error that cannot be told'
wanted=$(digest one)
check "verify" code 0 "$metavar" verify one
check "it judged the cells" says '15 cells judged again; 0 do not'
for ranks in 2 3; do
  check "$ranks ranks" code 0 mpirun -np $ranks "$metavar" run job.yaml -o ranks$ranks -q --set unit=$((ranks * 170))
  check "the same bits" same "$wanted" "$(digest ranks$ranks)"
done
check "the option says the same" code 0 "$metavar" run job.yaml -o option -q --target-se 0.03:variance
check "the same bits" same "$wanted" "$(digest option)"

# --- killed ---
points="$(METAVAR_KILL_AT=list "$metavar" run job.yaml -o list 2>/dev/null | grep '^rounds') rounds.half:2 rounds.synced:3
  shard.half:2 manifest.half:3 results.h5.half"
for point in $points; do
  rm -rf killed
  check "killed at $point" code 137 env METAVAR_KILL_AT=$point bash -c '"$0" run job.yaml -o killed -q; exit $?' "$metavar"
  check "it goes on" code 0 mpirun -np 2 "$metavar" run job.yaml -o killed -q
  check "to the same bits" same "$wanted" "$(digest killed)"
done
check "and is well" code 0 "$metavar" verify killed

# --- the record ---
damage() { # PYTHON that changes the list `line` of lines
  rm -rf bad && cp -r one bad && rm bad/results.h5
  /usr/bin/python3 -c "
import json, zlib
line = [json.loads(l) for l in open('bad/rounds.jsonl')]
$1
def seal(l):
    l.pop('crc')
    text = json.dumps(l, separators=(',', ':'))[:-1]
    return text + ',\"crc\":\"%08x\"}\n' % zlib.crc32(text.encode())
open('bad/rounds.jsonl', 'w').write(''.join(l if isinstance(l, str) else seal(l) for l in line))"
}
damage 'line[0] = "{}\n"'
check "a damaged line" code 0 "$metavar" run job.yaml -o bad -q
check "is decided again" same "$wanted" "$(digest bad)"
damage 'line.clear()'
check "no record" code 0 "$metavar" run job.yaml -o bad -q
check "is made again" same "$wanted" "$(digest bad)"
damage 'line[1]["go_on"] = []; del line[2:]'
check "a record that stops too early" code 0 "$metavar" run job.yaml -o bad -q
check "is found" code 65 "$metavar" verify bad
check "in the decisions" says '^BAD  decisions'
damage 'line[-1]["go_on"] = [[0, 1]]'
check "a record that goes on too long" code 0 "$metavar" run job.yaml -o bad -q
check "is found" code 65 "$metavar" verify bad

# --- what others see ---
cat >look.py <<'P'
import h5py, numpy as np, xarray as xr
f = h5py.File("one/results.h5")
lengths = set()
for g in ("backprop", "es", "reference", "fd", "steep"):
    n = f[g]["replicates"][:]
    lengths |= set(n.tolist())
    for p in range(3):
        if "status" in f[g]:
            status = f[g]["status"][p]
            assert (status[: n[p]] <= 1).all() and (status[n[p] :] == 2).all(), (g, p)
            assert np.isnan(f[g]["gradient"][p, n[p] :]).all() and len(status) == n.max()
            assert not np.isnan(f[g]["gradient"][p, : n[p]]).any()
        else:
            blocks = -(-n[p] // 100)
            count = f[g]["count"][p]
            assert count[:blocks].sum() + f[g]["nonfinite"][p].sum() == n[p] and not count[blocks:].any(), (g, p)
            assert np.isnan(f[g]["mean"][p, blocks:]).all() and (f[g]["largest_id"][p, blocks:] == -1).all()
assert len(lengths) > 3, lengths
assert f["es/status"].attrs["flag_meanings"].decode() == "ok nonfinite absent"
x = xr.open_dataset("one/results.h5", engine="h5netcdf", group="es")
n = x.replicates.values
assert np.allclose(x.gradient.mean("replicate").values[1], f["es/gradient"][1, : n[1]].mean(0))
P
check "h5py and xarray: shorter cells are absent" /usr/bin/python3 look.py
check "analyze" code 0 "$metavar" analyze one --bootstrap 100
counts() { # cells.csv against results.h5
  /usr/bin/python3 -c '
import csv, h5py
f = h5py.File("one/results.h5")
for r in csv.DictReader(open("one/analysis/cells.csv")):
    assert int(r["count"]) + int(r["nonfinite"]) == f[r["entry"]]["replicates"][int(r["point"])], r'
}
check "every cell with its own count" counts
last=$(/usr/bin/python3 -c 'import h5py; print(h5py.File("one/results.h5")["reference/replicates"][0] - 1)')
check "replay: the last replicate of a cell" code 0 "$metavar" replay one reference 0 "$last"
check "replay: not there" code 2 "$metavar" replay one reference 0 39999
check "plan: at most" code 0 "$metavar" plan job.yaml
check "says so" says 'at most'

# --- rules that may follow each other ---
check "a stricter rule goes on" code 0 "$metavar" run job.yaml -o option -q --target-se 0.02
# a shard is lost, its samples come into another, and it comes back
cp -r one back
mv back/shards/000001.h5 lost
check "a lost shard" code 0 "$metavar" run job.yaml -o back -q --set unit=130
mv lost back/shards/000001.h5
check "comes back, and a stricter rule goes on" code 0 "$metavar" run job.yaml -o back -q --target-se 0.02
check "from scratch" code 0 "$metavar" run job.yaml -o scratch -q --target-se 0.02
check "the same bits" same "$(digest scratch)" "$(digest option)"
check "the same bits" same "$(digest scratch)" "$(digest back)"
check "a looser one is refused" code 78 "$metavar" run job.yaml -o option -q --target-se 0.03
check "with the difference" says 'here: *stop: {relative_error: 0.03, statistic: variance, first_round: 3200}'
check "more replicates go on" code 0 "$metavar" run job.yaml -o option -q --target-se 0.02 --max-replicates 41000
check "from scratch" code 0 "$metavar" run job.yaml -o scratch2 -q --target-se 0.02 --max-replicates 41000
check "the same bits" same "$(digest scratch2)" "$(digest option)"
sed '/^stop/d' job.yaml >plain.yaml
check "no rule" code 0 "$metavar" run plain.yaml -o plain -q --max-replicates 1050
check "a rule goes on with it" code 0 "$metavar" run plain.yaml -o plain -q --target-se 0.03
check "to the same bits" same "$wanted" "$(digest plain)"
check "and no rule with that" code 0 "$metavar" run plain.yaml -o plain -q
check "a rule with fewer is refused" code 78 "$metavar" run plain.yaml -o plain -q --target-se 0.03
check "with the difference" says '(fewer than there are)'
check "verify" code 0 "$metavar" verify plain
