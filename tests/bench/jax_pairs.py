"""metavar against JAX (bandit_vmapped.py, bandit_tuned.py) on all cores of this machine: jax_pairs.py METAVAR VERSION CSV.

First JAX is judged: means and variances of its samples against metavar's. Then its best batch sizes and mode are looked for.
Then, TURNS times, everything is timed once, one after the other:
    metavar          the whole program, mpirun on all cores: start, calibration, moments and results.h5 are in its time
    JAX              one process a core, compiled and warm; its samples are dropped
A replicate of the study is a backprop sample (two lifetimes, all T, both Hessian modes, all discounts, any lambda) and an es
sample (one pair, all T). Ratios are JAX's seconds per replicate over metavar's in the same turn; medians and quartiles.
    same algorithm   JAX too has all settings from one primal, and all T of es from one pair
    structure        one run for each T, Hessian mode and discount, and for each T of es; lambda offline
    structure rerun  one run for each coefficient too: 6 lambdas at discount 1 and 4 more discounts at lambda 1, as published
Runs that differ in a discount or a lambda alone are the same program with another argument: timed once, counted as many times.
N - T steps without tangents and T with them cost a + b T, so T = 2, 41, 80 stand for all five, whose mean is theirs.
"""
import csv
import datetime
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
JOB = os.path.join(HERE, "jax.yaml")
POINTS, TURNS = 25, 5
METAVAR_SECONDS = 12  # of a run: its start and end, half a second, weigh little, as in a study of minutes
LENGTHS, TIMED, HESSIANS = (2, 21, 41, 61, 80), (2, 41, 80), ("pathwise", "dice")
PROGRAMS = ("vmapped/inverse_cdf", "vmapped/categorical", "tuned/inverse_cdf", "tuned/categorical")
DISCOUNTS, COEFFICIENTS = 5, 10
STEPS = 2 * 80  # of a replicate of backprop, and of a pair
CORES = sorted(os.sched_getaffinity(0))


# --- JAX ---------------------------------------------------------------------------------------------------------------
class Workers:
    """One process on each core; each is asked, then each answers."""

    def __init__(self):
        script = os.path.join(HERE, "jax_worker.py")
        self.processes = [subprocess.Popen([sys.executable, script, str(core)], stdin=subprocess.PIPE,
                                           stdout=subprocess.PIPE, text=True) for core in CORES]

    def ask(self, *words):
        for p in self.processes:
            print(*words, file=p.stdin, flush=True)
        answers = [p.stdout.readline() for p in self.processes]
        if "" in answers:
            sys.exit("jax_worker.py has ended")
        return [json.loads(answer) for answer in answers]

    def per_replicate(self, name, goal):
        """Seconds of all cores for one replicate, from about `goal` seconds."""
        replicates = int(name.split("/")[3])
        calls = max(1, round(goal / self.guess(name)))
        took = self.ask("seconds", name, calls)
        return 1 / sum(replicates * calls / t for t in took)

    guesses = {}

    def guess(self, name):
        """Seconds of one call; the first asks for compilation."""
        if name not in self.guesses:
            self.guesses[name] = max(self.ask("seconds", name, 5)) / 5
        return self.guesses[name]

    def close(self):
        for p in self.processes:
            p.stdin.close()
            p.wait()


def search(workers):
    """Names of the fastest programs: {(program, kind): name}."""
    best = {}
    for program in PROGRAMS:
        cheap = program.endswith("inverse_cdf")  # the mode is looked for where choices do not drown it
        sizes = (32, 64, 128) if cheap else (16, 64)
        options = {"es": [f"{program}/es/{n}" for n in sizes], "shared": [f"{program}/shared/{n}" for n in sizes],
                   "single": [f"{program}/forward/{n}" for n in sizes] + cheap * [f"{program}/reverse/64"],
                   "fixed": cheap * [f"{program}/fixed/64"]}
        for kind, names in options.items():
            tail = "/41/dice" if kind in ("single", "fixed") else ""
            took = {n: min(workers.per_replicate(n + tail, 0.3) for _ in range(3)) for n in names}
            for n, t in took.items():
                print(f"  {n + tail:40} {1e6 * t:9.1f} us a replicate", flush=True)
            best[program, kind] = min(took.items(), key=lambda x: x[1], default=("", math.inf))
        best[program, "fixed"] = min(best[program, "fixed"], best[program, "single"], key=lambda x: x[1])
    return {key: name for key, (name, _) in best.items()}


# --- metavar -----------------------------------------------------------------------------------------------------------
def run_metavar(metavar, replicates, *more):
    """Seconds of a whole run, and what its samples are."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "run")
        settings = [f"estimators.{name}.replicates={n}" for name, n in replicates.items()]
        words = ["mpirun", "-np", str(len(CORES)), metavar, "run", JOB, "-o", out, "-q"]
        for s in [*settings, *more]:
            words += ["--set", s]
        start = time.perf_counter()
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        took = time.perf_counter() - start
        with open(os.path.join(out, "attempts", os.listdir(os.path.join(out, "attempts"))[0]), encoding="utf-8") as f:
            attempt = json.load(f)
        if not more:
            return took, attempt
        subprocess.run([metavar, "analyze", out, "--lambda", "0,0.4,1", "--bootstrap", "1000"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with open(os.path.join(out, "analysis", "cells.csv"), encoding="utf-8") as f:
            return {cell_name(row): row for row in csv.DictReader(f)}


def cell_name(row):
    if row["entry"] == "es":
        return f"es/{row['truncation']}"
    return f"{row['hessian']}/{row['truncation']}/{float(row['meta_discount']):g}/{float(row['lambda']):g}"


def scaled(metavar, entries, goal):
    """Replicates at each point for a run of about `goal` seconds."""
    count = 500
    base = run_metavar(metavar, {"backprop": 1, "es": 1})[0]
    took = run_metavar(metavar, {"backprop": 1, "es": 1, **{e: count for e in entries}})[0]
    return {"backprop": 1, "es": 1, **{e: max(count, round(count * goal / max(took - base, 0.05))) for e in entries}}, base


# --- is it right? ------------------------------------------------------------------------------------------------------
def deviations(found, cell):
    """Of the means and of the sum of variances, in standard errors; the variance only where no few samples make it."""
    *mean, se_0, se_1, variance, variance_se, largest = found
    out = []
    for j, se in ((0, se_0), (1, se_1)):
        error = (se**2 + float(cell[f"mean_se_{j}"]) ** 2) ** 0.5
        out.append(abs(mean[j] - float(cell[f"mean_{j}"])) / error)
    if cell["tail_warning"] == "0" and largest < 0.02:
        out.append(abs(variance - float(cell["variance"])) / (variance_se**2 + float(cell["variance_se"]) ** 2) ** 0.5)
    return out


def judge(workers, metavar):
    cells = run_metavar(metavar, {"backprop": 40000, "es": 40000}, "eta={points: [[1.5, 1.5]]}")
    names = [f"{program}/{kind}/64" for program in PROGRAMS for kind in ("es", "shared")]
    for style in ("vmapped", "tuned"):
        names += [f"{style}/inverse_cdf/{kind}/64/41/dice" for kind in ("forward", "reverse", "fixed")]
        names.append(f"{style}/inverse_cdf/forward/64/41/pathwise")
    wrong = 0
    for name in names:
        calls = 160 if "inverse" in name else 40
        worst = [d for found in workers.ask("moments", name, calls) for key, row in found.items()
                 for d in deviations(row, cells[key])]
        wrong += max(worst) > 5
        print(f"  {name:40} {len(worst):4} means and variances, at most {max(worst):.1f} standard errors apart", flush=True)
    if wrong:
        sys.exit("JAX and metavar do not agree")


# --- timing ------------------------------------------------------------------------------------------------------------
def turn(workers, metavar, sizes, best):
    """Seconds per replicate of everything: {(program, what): seconds}."""
    t = {}
    for what, size in sizes.items():
        t["metavar", what] = run_metavar(metavar, size)[0] / (POINTS * size["es"])
    for program in PROGRAMS:
        t[program, "es"] = workers.per_replicate(best[program, "es"], 1.5)
        t[program, "backprop"] = workers.per_replicate(best[program, "shared"], 2.0)
        for kind in ("single", "fixed"):
            if kind == "fixed" and best[program, kind] == best[program, "single"]:
                t[program, kind] = t[program, "single"]
            else:
                t[program, kind] = len(LENGTHS) / len(TIMED) * sum(
                    workers.per_replicate(f"{best[program, kind]}/{length}/{h}", 0.25) for length in TIMED for h in HESSIANS)
        for part in ("draws", "primal"):
            t[program, part] = workers.per_replicate(best[program, "shared"].replace("shared", part), 0.25)
        t[program, "same algorithm"] = t[program, "backprop"] + t[program, "es"]
        t[program, "structure"] = DISCOUNTS * t[program, "single"] + len(LENGTHS) * t[program, "es"]
        t[program, "structure rerun"] = COEFFICIENTS * t[program, "fixed"] + len(LENGTHS) * t[program, "es"]
    return t


def quartiles(values):
    return statistics.quantiles(values, n=4, method="inclusive")


def rows_of(turns, best):
    """Program, sampler, what, batch sizes; seconds per replicate; ratio to metavar."""
    rows = [("metavar", "inverse_cdf", what, "", [t["metavar", what] for t in turns], None) for what in ("study", "es")]
    for program in PROGRAMS:
        for what, of, kinds in (("es", "es", ("es",)), ("same algorithm", "study", ("shared", "es")),
                                ("structure", "study", ("single", "es")), ("structure rerun", "study", ("fixed", "es"))):
            seconds = [t[program, what] for t in turns]
            ratio = [s / t["metavar", of] for s, t in zip(seconds, turns)]
            style, sampler = program.split("/")
            settings = " ".join(best[program, kind].split("/", 2)[2] for kind in kinds)
            rows.append((f"jax {style}", sampler, what, settings, seconds, ratio))
    return rows


def report(rows, turns, path, about):
    layout = "{:13}{:13}{:17}{:18}{:>15}{:>22}{:>11}{:>17}".format
    print("\n" + layout("", "sampler", "what", "program/batch", "us a replicate", "quartiles", "/ metavar", "quartiles"))
    new = not os.path.exists(path)
    with open(path, "a", encoding="utf-8", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        if new:
            out.writerow([*about, "program", "sampler", "what", "settings", "us_per_replicate", "first_quartile",
                          "third_quartile", "per_metavar", "per_metavar_first_quartile", "per_metavar_third_quartile"])
        for program, sampler, what, settings, seconds, ratio in rows:
            low, middle, high = (f"{1e6 * q:.2f}" for q in quartiles(seconds))
            r = [f"{q:.3g}" for q in quartiles(ratio)] if ratio else ["", "1", ""]
            spread = f"{r[0]} to {r[2]}" if ratio else ""
            print(layout(program, sampler, what, settings, middle, f"{low} to {high}", r[1], spread))
            out.writerow([*about.values(), program, sampler, what, settings, middle, low, high, r[1], r[0], r[2]])
    print("\nwhere JAX's time goes, ns of one core per inner step of a lifetime")
    layout = "{:24}{:>16}{:>24}{:>24}{:>8}".format
    print(layout("", "random numbers", "a step, with them", "tangents beside it", "es"))
    for program in PROGRAMS:
        draws, primal, backprop, es = (1e9 * len(CORES) / STEPS * statistics.median(t[program, part] for t in turns)
                                       for part in ("draws", "primal", "backprop", "es"))
        print(layout(program, *(f"{x:.0f}" for x in (draws, primal, backprop - primal, es))))


def main():
    metavar, version, path = sys.argv[1:]
    started, workers = time.monotonic(), Workers()
    print("JAX against metavar: means and variances at eta = (1.5, 1.5)", flush=True)
    judge(workers, metavar)
    print("best batch sizes and mode", flush=True)
    best = search(workers)
    sizes = {}
    for what, entries in (("study", ("backprop", "es")), ("es", ("es",))):
        sizes[what], base = scaled(metavar, entries, METAVAR_SECONDS)
    attempt = run_metavar(metavar, {"backprop": 1, "es": 1})[1]
    turns = []
    for i in range(TURNS):
        turns.append(turn(workers, metavar, sizes, best))
        print(f"turn {i + 1} of {TURNS}, {time.monotonic() - started:.0f} s", flush=True)
    workers.close()
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        cpu = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), "unknown")
    now = datetime.datetime.now(datetime.timezone.utc)
    about = {"date": now.strftime("%Y-%m-%dT%H:%M:%SZ"), "commit": attempt["version"].split("git ")[-1].rstrip(")"), "cpu": cpu,
             "cores": len(CORES), "load": round(os.getloadavg()[0], 1), "kernel": attempt["kernel"], "jax": version}
    report(rows_of(turns, best), turns, path, about)
    print(f"\nmetavar starts and ends in {base:.2f} s, which its times contain; load {about['load']}; "
          f"{time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
