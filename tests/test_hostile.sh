#!/bin/bash
# test_hostile.sh - reading commands on damaged and hostile files: exit code 65 and a message; never a crash, a hang, or a read outside the file.
# fixtures/hdf5_crashers.tar.xz holds small mutated files on which libhdf5 1.10.8 itself crashes or loops.
. "$(dirname "$0")/lib.sh"
py=/usr/bin/python3
cat >"$scratch/job.yaml" <<'YAML'
name: small
seed: 3
lifetime_length: 4
task: {name: tree_bandit}
block: 20
eta: {points: [[0.4, -0.3], [1, 0]]}
estimators:
  - {name: backprop, truncation: [2, 4], replicates: 60}
  - {name: es, replicates: 60, store: moments}
  - {name: reference, replicates: 60}
YAML
check "a small run" "$metavar" run "$scratch/job.yaml" -o "$scratch/run" -q
good=$scratch/run/results.h5

# refused FILE: exit code 65 with a message within 20 s
refused() {
  timeout -k 9 20 "$metavar" analyze "$1" -o "$scratch/out" >"$scratch/out.txt" 2>"$scratch/err.txt"
  local rc=$?
  [ $rc -eq 65 ] && [ -s "$scratch/err.txt" ] || { echo "analyze $1: exit $rc"; cat "$scratch/err.txt"; return 1; }
}

mkdir "$scratch/corpus"
tar -xJf "$top/tests/fixtures/hdf5_crashers.tar.xz" -C "$scratch/corpus"
crashers() {
  local f n=0
  while read -r f; do
    refused "$f" || return 1
    n=$((n + 1))
  done < <(find "$scratch/corpus" -name '*.h5')
  [ "$n" -ge 29 ]
}
check "files on which libhdf5 crashes or hangs" crashers

# Hostile variants of a good file: external storage, external link, virtual dataset, sizes that the file cannot hold.
$py - "$good" "$scratch" <<'PY'
import shutil, sys
import h5py
import numpy as np
good, out = sys.argv[1:]

def variant(name):
    shutil.copy(good, f"{out}/{name}.h5")
    f = h5py.File(f"{out}/{name}.h5", "r+")
    shape, dtype = f["backprop/direct"].shape, f["backprop/direct"].dtype
    del f["backprop/direct"]
    return f, shape, dtype

f, shape, dtype = variant("external_storage")
f.create_dataset("backprop/direct", shape, dtype, external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])
f, shape, dtype = variant("external_link")
f["backprop/direct"] = h5py.ExternalLink(good, "/backprop/direct")
f, shape, dtype = variant("soft_link")
f["backprop/direct"] = h5py.SoftLink("/backprop/objective")
f, shape, dtype = variant("virtual")
layout = h5py.VirtualLayout(shape, dtype)
layout[...] = h5py.VirtualSource(good, "backprop/direct", shape)
f.create_virtual_dataset("backprop/direct", layout)
f, shape, dtype = variant("wrong_shape")
f.create_dataset("backprop/direct", (shape[0], shape[1] + 1) + shape[2:], dtype)
f, shape, dtype = variant("wrong_type")
f.create_dataset("backprop/direct", shape, "f4")
f, shape, dtype = variant("group")
f.create_group("backprop/direct")
f, shape, dtype = variant("missing")
f.close()
with h5py.File(f"{out}/huge.h5", "w") as f:
    f.create_dataset("x", (1 << 40, 1 << 20), "f8", chunks=(1 << 10, 1))
shutil.copy(good, f"{out}/huge_job.h5")
with h5py.File(f"{out}/huge_job.h5", "r+") as f:
    text = f["provenance/resolved"][()]
    text = text.decode().replace("replicates: 60", "replicates: 60000000000")
    del f["provenance/resolved"]
    f["provenance/resolved"] = text
data = open(good, "rb").read()
for name, part in (("half", data[: len(data) // 2]), ("empty", b""), ("short", data[:-1]), ("text", b"not HDF5\n" * 999)):
    open(f"{out}/{name}.h5", "wb").write(part)
PY
for f in external_storage external_link soft_link virtual wrong_shape wrong_type group missing huge_job; do
  check "$f: refused" refused "$scratch/$f.h5"
done
for f in huge half empty short text; do
  check "$f: refused" refused "$scratch/$f.h5"
done
mkfifo "$scratch/fifo.h5"
ln -s /dev/zero "$scratch/zero.h5"
ln -s loop.h5 "$scratch/loop.h5"
mkdir "$scratch/folder"
for f in fifo.h5 zero.h5 loop.h5 folder; do
  check "$f: refused" refused "$scratch/$f"
done

# Mutants of a good file: 0 or 65, in time. Seeded.
mutants() {
  $py - "$good" "$scratch/mutant.h5" "$metavar" "$scratch/out" <<'PY'
import random, subprocess, sys
good, path, metavar, out = sys.argv[1:]
data, rng = open(good, "rb").read(), random.Random(2022)
codes = {}
for k in range(100):
    mutant = bytearray(data)
    region = 6144 if k % 2 else len(data)
    for _ in range(rng.randint(1, 8)):
        mutant[rng.randrange(region)] = rng.randrange(256)
    if k % 25 == 0:
        del mutant[rng.randrange(len(mutant)):]
    open(path, "wb").write(mutant)
    done = subprocess.run([metavar, "analyze", path, "-o", out, "--bootstrap", "100"], capture_output=True, timeout=60)
    codes[done.returncode] = codes.get(done.returncode, 0) + 1
    if done.returncode not in (0, 65) or (done.returncode == 65 and not done.stderr):
        sys.exit(f"mutant {k}: exit {done.returncode}: {done.stderr.decode()}")
print(codes)
sys.exit(0 if codes.get(65, 0) > 20 else "mutants were hardly noticed: %s" % codes)
PY
}
check "100 mutants of a results file: read or refused, never a crash" mutants
