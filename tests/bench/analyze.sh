#!/bin/bash
# analyze.sh - 10^7 samples analysed with 10,000 bootstrap resamples: seconds and memory. `make bench` appends a line to
# results/analyze.csv and fails when a minute or a GiB is exceeded.
set -u
cd "$(dirname "$0")/../.." || exit 1
metavar=${METAVAR:-build/metavar}
out=tests/bench/results/analyze.csv
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
run=$(mktemp -d)
trap 'rm -rf "$run"' EXIT
mpirun -np "$(nproc)" "$metavar" run tests/bench/analyze.yaml -o "$run/run" --progress 10 >&2 || exit 1
/usr/bin/python3 - "$metavar" "$run/run" "$out" <<'PYTHON'
import csv, os, platform, resource, subprocess, sys, time
metavar, run, out = sys.argv[1:]
start = time.monotonic()
code = subprocess.run([metavar, "analyze", run, "--bootstrap", "10000"], stdout=subprocess.DEVNULL).returncode
seconds = time.monotonic() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
if code:
    sys.exit(f"metavar analyze: exit code {code}")
with open(os.path.join(run, "analysis", "grid.csv"), encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
with open("/proc/cpuinfo", encoding="utf-8") as file:
    cpu = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())
entries = {row["entry"]: int(row["count"]) + int(row["nonfinite"]) for row in rows}
line = {
    "version": subprocess.run([metavar, "--version"], capture_output=True, text=True).stdout.split("\n")[0].replace(",", ";"),
    "cpu": cpu.replace(",", ";"), "cores": len(os.sched_getaffinity(0)), "load": round(os.getloadavg()[0], 1),
    "samples": sum(entries.values()), "eta_points": rows[0]["points"], "settings": len(rows), "resamples": 10000,
    "seconds": round(seconds, 1), "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
    "peak_mib": round(used.ru_maxrss / 1024),
}
new = not os.path.exists(out)
with open(out, "a", encoding="utf-8", newline="") as file:
    writer = csv.DictWriter(file, line, lineterminator="\n")
    if new:
        writer.writeheader()
    writer.writerow(line)
print(", ".join(f"{key} {value}" for key, value in line.items()))
if seconds > 60 or line["peak_mib"] > 1024:
    sys.exit("more than a minute or a GiB")
PYTHON
