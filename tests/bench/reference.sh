#!/bin/bash
# reference.sh - what the true meta-gradient costs at a given standard error: the reference, alone and with 16 lifetimes of a task
# instance, against central differences as in Vuorio et al. 2022 (eps .01, Gumbel-max), with the inverse CDF, and with eps .1.
# For the same standard error costs are as variance x cost of a sample. Cost: inner steps simulated; inner-step equivalents, which count
# tangents too; processor seconds of one core. `make bench-reference` writes a line for each point and road, and the sums over the
# grid, to results/reference.csv.
set -u
cd "$(dirname "$0")/../.." || exit 1
export METAVAR=${METAVAR:-build/metavar}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export folder
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# ROAD SAMPLER ENTRY: one entry alone, on one core; its processor seconds.
measure() {
  local job=$folder/$1.yaml
  sed -e '/^estimators:/d' tests/bench/reference.yaml >"$job"
  printf 'sampler: %s\nestimators:\n  - {%s, store: moments}\n' "$2" "$3" >>"$job"
  TIMEFORMAT=%U
  { time "$METAVAR" run "$job" -o "$folder/$1" --quiet >"$folder/$1.log" 2>&1; } 2>"$folder/$1.seconds" &&
    "$METAVAR" analyze "$folder/$1" --bootstrap 100 >>"$folder/$1.log" 2>&1 || { cat "$folder/$1.log" >&2; return 1; }
}
export -f measure

xargs -P "$(nproc)" -d '\n' -I {} bash -c 'IFS="|" read -r road sampler entry <<<"{}"; measure "$road" "$sampler" "$entry"' <<'ROADS' || exit 1
fd_.01_gumbel|gumbel|name: fd, eps: 0.01, replicates: 10000
fd_.1_gumbel|gumbel|name: fd, eps: 0.1, replicates: 4000
fd_.01_inverse_cdf|inverse_cdf|name: fd, eps: 0.01, replicates: 40000
fd_.1_inverse_cdf|inverse_cdf|name: fd, eps: 0.1, replicates: 20000
reference_16|inverse_cdf|name: reference, lifetimes: 16, replicates: 4000
reference_1|inverse_cdf|name: reference, replicates: 50000
ROADS

/usr/bin/python3 - "$folder" tests/bench/results/reference.csv <<'PYTHON'
import csv, datetime, math, os, platform, subprocess, sys
folder, out = sys.argv[1:]
roads = ["reference_16", "reference_1", "fd_.01_gumbel", "fd_.01_inverse_cdf", "fd_.1_gumbel", "fd_.1_inverse_cdf"]
metavar = os.environ["METAVAR"]
with open("/proc/cpuinfo", encoding="utf-8") as file:
    cpu = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())
about = {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
         "version": subprocess.run([metavar, "--version"], capture_output=True, text=True).stdout.split("\n")[0].replace(",", ";"),
         "cpu": cpu.replace(",", ";")}
table = {}
for road in roads:
    with open(f"{folder}/{road}/analysis/cells.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["role"] == "gradient" and row["point"] != "all"]
    with open(f"{folder}/{road}.seconds", encoding="utf-8") as file:
        seconds = float(file.read().split()[-1])
    samples = sum(int(row["count"]) + int(row["nonfinite"]) for row in rows)
    for row in rows + [None]:
        if row:
            variance, se, point = float(row["variance"]), float(row["variance_se"]), row["point"]
            steps, tangents = float(row["cost_primal"]), float(row["cost_tangent"])
        else:
            variance, se = sum(float(r["variance"]) for r in rows), math.sqrt(sum(float(r["variance_se"]) ** 2 for r in rows))
            point = "sum"
        table[road, point] = {**about, "point": point, "eta_0": row["eta_0"] if row else "", "eta_1": row["eta_1"] if row else "",
                              "road": road, "variance": variance, "variance_se": se, "steps": steps, "equivalents": steps + tangents,
                              "us": 1e6 * seconds / samples}
new = not os.path.exists(out)
with open(out, "a", encoding="utf-8", newline="") as file:
    writer = None
    for (road, point), line in table.items():
        best = table["reference_16", point]
        for cost in ("steps", "equivalents", "us"):
            line[cost + "_ratio"] = line["variance"] * line[cost] / (best["variance"] * best[cost])
        line = {k: f"{v:.5g}" if isinstance(v, float) else v for k, v in line.items()}
        writer = writer or csv.DictWriter(file, line, lineterminator="\n")
        if new:
            writer.writeheader()
            new = False
        writer.writerow(line)
print("variance x cost relative to reference_16, summed over the grid (least and largest of the points)")
print(f"{'':20}{'variance':>18}{'steps':>22}{'equivalents':>22}{'seconds':>22}")
for road in roads:
    line = table[road, "sum"]
    text = f"{road:20}{line['variance']:11.4g} +-{line['variance_se']:5.2g}"
    for cost in ("steps", "equivalents", "us"):
        points = [table[road, point][cost + "_ratio"] for r, point in table if r == road and point != "sum"]
        text += f"{line[cost + '_ratio']:9.3g} ({min(points):.3g}, {max(points):.3g})".rjust(22)
    print(text)
PYTHON
