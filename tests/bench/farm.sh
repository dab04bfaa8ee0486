#!/bin/bash
# farm.sh - units that rank 0 serves, with 8 to 64 ranks, against what the simulation says (bench_farm.c). Appends to
# results/farm.csv. Two minutes on two calm cores; where rank 0 was without a core for some per cent of the time
# ("delayed") the line says more about the machine than about the farm.
set -u
cd "$(dirname "$0")/../.." || exit 1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
out=tests/bench/results/farm.csv
before=$(cat "$out" 2>/dev/null | wc -l)
echo "farm.sh: units/s that rank 0 serves with 8 to 64 ranks on $(nproc) cores, against the simulation"
for ranks in 8 16 32 64; do
  timeout -k 9 100 mpirun -np $ranks --bind-to none "${BUILD:-build}/bench/bench_farm" "$out" "$scratch/costs" || exit 1
done
/usr/bin/python3 - "$out" "$before" <<'PYTHON'
import csv, sys
with open(sys.argv[1], encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))[max(0, int(sys.argv[2]) - 1):]
rows = [row for row in rows if row["ratio"] not in ("", "nan")]
calm = [row for row in rows if float(row["delayed"]) <= 0.05]
for name, some in ("all", rows), ("rank 0 undisturbed", calm):
    fine = [row for row in some if abs(float(row["ratio"]) - 1) <= 0.2]
    print(f"{name}: simulated within 20 % of measured in {len(fine)} of {len(some)} trials")
PYTHON
