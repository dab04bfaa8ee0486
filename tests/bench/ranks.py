#!/usr/bin/env python3
"""ranks.py - real runs: one rank and two, storing samples or moments, many idle ranks; results.h5, analyze, memory.

Appends to results/ranks.csv. All ratios are of runs that took turns. Three minutes on two calm cores. Rates are the
run's own: samples over the time from the first unit to the last commit; `seconds` includes the launcher and results.h5.
"""
import csv, os, platform, re, shutil, subprocess, sys, tempfile, threading, time
from datetime import datetime, timezone

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_rmaps_base_oversubscribe="1")
METAVAR = os.environ.get("METAVAR", "build/metavar")
OUT = "tests/bench/results/ranks.csv"
PART = ["jobs/v22_bandit_long.yaml", "--set", "estimators.*.replicates=2000", "--set", "block=100"]
RANKS = (8, 16, 32, 64)
UNITS = 300_000  # of one lane group


class Memory(threading.Thread):
    """The largest VmHWM of any rank of a run, MiB: rank 0, the others."""

    def __init__(self, run):
        super().__init__(daemon=True)
        self.run_path, self.peak, self.over = run.encode(), {}, False

    def run(self):
        while not self.over:
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    with open(f"/proc/{pid}/cmdline", "rb") as file:
                        words = file.read().split(b"\0")
                    if self.run_path not in words or b"mpirun" in words[0]:
                        continue
                    with open(f"/proc/{pid}/environ", "rb") as file:
                        rank = re.search(rb"OMPI_COMM_WORLD_RANK=(\d+)", file.read())
                    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
                        peak = re.search(r"VmHWM:\s+(\d+)", file.read())
                    which = int(rank[1]) > 0 if rank else False
                    self.peak[which] = max(self.peak.get(which, 0), int(peak[1]) / 1024)
                except (OSError, TypeError):
                    pass  # ended meanwhile
            time.sleep(0.2)


def run(ranks, job, name, *options):
    """One run: wall seconds, samples/s of the run itself, peak MiB of rank 0 and of another."""
    path = os.path.join(SCRATCH, name)
    shutil.rmtree(path, ignore_errors=True)
    memory = Memory(path)
    memory.start()
    start = time.monotonic()
    done = subprocess.run(["mpirun", "--bind-to", "none", "-np", str(ranks), METAVAR, "run", *job, "-o", path,
                           "--progress", "3600", *options], capture_output=True, text=True, check=False)
    seconds = time.monotonic() - start
    memory.over = True
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    rate = re.findall(r"([\d.]+)( [kMG])?/s, ", done.stderr)[-1]
    return {"seconds": seconds, "rate": float(rate[0]) * {"": 1, " k": 1e3, " M": 1e6, " G": 1e9}[rate[1]],
            "master_mib": memory.peak.get(False, 0), "worker_mib": memory.peak.get(True, 0)}


def line(what, ranks, **values):
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        cpu = next((x.split(":")[1].strip() for x in file if x.startswith("model name")), platform.machine())
    version = subprocess.run([METAVAR, "--version"], capture_output=True, text=True, check=True).stdout
    row = {"date": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
           "commit": re.search(r"git (\S+?)\)", version)[1], "cpu": cpu, "cores": len(os.sched_getaffinity(0)),
           "load": round(os.getloadavg()[0], 1), "what": what, "ranks": ranks}
    row |= {key: f"{values[key]:.4g}" if key in values else ""
            for key in ("seconds", "rate", "ratio", "master_mib", "worker_mib", "megabytes")}
    new = not os.path.exists(OUT)
    with open(OUT, "a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, row, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)
    print(f"{what}, {ranks} ranks: " + ", ".join(f"{k} {row[k]}" for k in values), flush=True)


def median(runs, key):
    return sorted(r[key] for r in runs)[len(runs) // 2]


def one_and_two():
    """One rank, two ranks, two ranks that keep every sample, by turns."""
    ways = {"one": (1, ()), "two": (2, ()), "samples": (2, ("--set", "estimators.*.store=samples"))}
    runs = {way: [] for way in ways}
    for _ in range(2):
        for way, (ranks, options) in ways.items():
            runs[way].append(run(ranks, PART, way, *options))
    pairs = list(zip(runs["one"], runs["two"], runs["samples"]))
    line("long study", 1, seconds=median(runs["one"], "seconds"), rate=median(runs["one"], "rate"))
    line("long study", 2, seconds=median(runs["two"], "seconds"), rate=median(runs["two"], "rate"),
         ratio=sum(b["rate"] / a["rate"] for a, b, _ in pairs) / len(pairs), master_mib=runs["two"][0]["master_mib"],
         worker_mib=runs["two"][0]["worker_mib"])
    line("long study, all samples", 2, seconds=median(runs["samples"], "seconds"), rate=median(runs["samples"], "rate"),
         ratio=sum(c["seconds"] / b["seconds"] for _, b, c in pairs) / len(pairs),
         master_mib=runs["samples"][0]["master_mib"], worker_mib=runs["samples"][0]["worker_mib"])


def afterwards():
    """results.h5 once more from the shards, and its analysis, of the run that kept every sample."""
    path = os.path.join(SCRATCH, "samples")
    size = os.path.getsize(os.path.join(path, "results.h5")) / 1e6
    os.remove(os.path.join(path, "results.h5"))
    for what, command in (("results.h5 from shards", ["run", *PART, "--set", "estimators.*.store=samples", "-o", path]),
                          ("analyze", ["analyze", path, "--bootstrap", "1000"])):
        start = time.monotonic()
        subprocess.run([METAVAR, *command], check=True, stdout=subprocess.DEVNULL)
        line(what, 1, seconds=time.monotonic() - start, megabytes=size)


def idle_ranks():
    """Units of eight replicates of a tiny task: how many rank 0 serves, all of the program included."""
    job = os.path.join(SCRATCH, "tiny.yaml")
    with open(job, "w", encoding="utf-8") as file:
        file.write("name: tiny\nseed: 1\nlifetime_length: 4\ntask: {name: tree_bandit}\nunit: 8\neta: {points: [[0.5, 0.5]]}\n"
                   "estimators:\n  - {name: fd, eps: 0.1, replicates: 800000}\n")
    for ranks in RANKS:
        one = run(ranks, [job], "tiny", "--set", f"estimators.0.replicates={8 * UNITS}", "--master-computes", "no")
        line("units of no time (rate: units/s)", ranks, seconds=one["seconds"], rate=one["rate"] / 8,
             master_mib=one["master_mib"], worker_mib=one["worker_mib"])


if __name__ == "__main__":
    os.makedirs("runs", exist_ok=True)
    SCRATCH = tempfile.mkdtemp(prefix="bench.", dir="runs")
    try:
        one_and_two()
        afterwards()
        idle_ranks()
    finally:
        shutil.rmtree(SCRATCH, ignore_errors=True)
