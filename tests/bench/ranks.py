#!/usr/bin/env python3
"""ranks.py [TURNS] - real runs: one rank and two, of the bandit and of networks, storing samples or moments, many idle ranks;
results.h5, analyze, memory.

Appends to results/ranks.csv. Ten minutes on two calm cores with 5 turns, under 60 s each. All ratios are medians over turns,
of runs of one turn. Rates are the run's own: samples over the time from the first unit to the last commit; `seconds`
includes the launcher and results.h5; `processor` is the processor time of all ranks and of the launcher, which other
programs on the machine change little.

  ratio            of rates to that of one rank; of samples: seconds over those of moments
  processor_ratio  the same where nobody waits: cores x the processor time of one rank / that of all; of samples: processor
                   time over that of moments
  two_alone        what two busy cores allow: rates of two runs of one rank, each bound to a core of its own, side by side,
                   over the rate of one that has the machine to itself, as in ratio. What ratio lacks of it is metavar's
"""
import csv, os, platform, re, resource, shutil, statistics, subprocess, sys, tempfile, threading, time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_rmaps_base_oversubscribe="1")
METAVAR = os.environ.get("METAVAR", "build/metavar")
OUT = "tests/bench/results/ranks.csv"
# As the study, with one block for each cell: some 20 s of one core, in 175 units.
PART = ["jobs/v22_bandit_long.yaml", "--set", "estimators.*.replicates=5000", "--set", "block=5000"]
SAMPLES = ["--set", "estimators.*.store=samples"]
MAZE = ["jobs/maze_gradients.yaml", "--set", "estimators.*.replicates=40"]  # as long
TURNS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
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


def processor_seconds():
    """Of all children that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(ranks, job, name, *options, bind=()):
    """One run: wall seconds, samples/s of the run itself, processor time, peak MiB of rank 0 and of another."""
    path = os.path.join(SCRATCH, name)
    shutil.rmtree(path, ignore_errors=True)
    memory = Memory(path)
    memory.start()
    start, processor = time.monotonic(), processor_seconds()
    done = subprocess.run(["mpirun", "--bind-to", "none", "-np", str(ranks), *bind, METAVAR, "run", *job, "-o", path,
                           "--progress", "3600", *options], capture_output=True, text=True, check=False)
    seconds, processor = time.monotonic() - start, processor_seconds() - processor
    memory.over = True
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    rate = re.findall(r"([\d.]+)( [kMG])?/s, ", done.stderr)[-1]
    return {"seconds": seconds, "rate": float(rate[0]) * {"": 1, " k": 1e3, " M": 1e6, " G": 1e9}[rate[1]],
            "processor": processor, "master_mib": memory.peak.get(False, 0), "worker_mib": memory.peak.get(True, 0)}


def side_by_side(job):
    """Rates of one run on each of two cores, at the same time."""
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(run, 1, job, f"core{core}", bind=("taskset", "-c", str(core)))
                for core in sorted(os.sched_getaffinity(0))[:2]]
    return {"rate": sum(one.result()["rate"] for one in runs)}


def line(what, ranks, **values):
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        cpu = next((x.split(":")[1].strip() for x in file if x.startswith("model name")), platform.machine())
    version = subprocess.run([METAVAR, "--version"], capture_output=True, text=True, check=True).stdout
    row = {"date": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
           "commit": re.search(r"git (\S+?)\)", version)[1], "cpu": cpu, "cores": len(os.sched_getaffinity(0)),
           "load": round(os.getloadavg()[0], 1), "what": what, "ranks": ranks}
    row |= {key: f"{values[key]:.4g}" if key in values else ""
            for key in ("seconds", "rate", "ratio", "processor", "processor_ratio", "two_alone", "master_mib", "worker_mib",
                        "megabytes")}
    new = not os.path.exists(OUT)
    with open(OUT, "a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, row, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)
    print(f"{what}, {ranks} ranks: " + ", ".join(f"{k} {row[k]}" for k in values), flush=True)


def one_and_two(what, job, samples=False):
    """One rank, two ranks, two ranks that keep every sample, two that are not one run: by turns."""
    ways = {"one": lambda: run(1, job, "one"), "two": lambda: run(2, job, "two"), "both": lambda: side_by_side(job)}
    if samples:
        ways["samples"] = lambda: run(2, job, "samples", *SAMPLES)
    turns = []
    for turn in range(TURNS):
        turns.append({way: start() for way, start in ways.items()})
        print(f"{what}, turn {turn + 1}: " + ", ".join(f"{way} {one['rate']:.4g}/s" for way, one in turns[-1].items()), flush=True)

    def median(way, key):
        return statistics.median(turn[way][key] for turn in turns)

    def ratio(way, other, key):
        return statistics.median(turn[way][key] / turn[other][key] for turn in turns)

    def all_of(way):
        return {key: median(way, key) for key in ("seconds", "rate", "processor", "master_mib", "worker_mib")}

    line(what, 1, **all_of("one"))
    line(what, 2, **all_of("two"), ratio=ratio("two", "one", "rate"), processor_ratio=2 * ratio("one", "two", "processor"),
         two_alone=ratio("both", "one", "rate"))
    if samples:
        line(what + ", all samples", 2, **all_of("samples"), ratio=ratio("samples", "two", "seconds"),
             processor_ratio=ratio("samples", "two", "processor"))


def afterwards():
    """results.h5 once more from the shards, and its analysis, of the run that kept every sample."""
    path = os.path.join(SCRATCH, "samples")
    size = os.path.getsize(os.path.join(path, "results.h5")) / 1e6
    os.remove(os.path.join(path, "results.h5"))
    for what, command in (("results.h5 from shards", ["run", *PART, *SAMPLES, "-o", path]),
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
        line("units of no time (rate: units/s)", ranks, **one | {"rate": one["rate"] / 8})


if __name__ == "__main__":
    print("ranks.py: one rank and two on the maze and on a part of the long study, every sample against moments, results.h5 and analyze, "
          "units of no time with 8 to 64 ranks", flush=True)
    os.makedirs("runs", exist_ok=True)
    SCRATCH = tempfile.mkdtemp(prefix="bench.", dir="runs")
    try:
        one_and_two("maze", MAZE)
        one_and_two("long study", PART, samples=True)
        afterwards()
        idle_ranks()
    finally:
        shutil.rmtree(SCRATCH, ignore_errors=True)
