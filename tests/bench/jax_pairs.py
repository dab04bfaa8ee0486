"""metavar against JAX (bandit_jax.py) on all cores of this machine, in turn: jax_pairs.py METAVAR VERSION CSV.

First JAX is judged: means and variances of its samples against metavar's, and its forward against its reverse mode. Then its
best batch sizes and mode are looked for, and then, TURNS times, everything is timed once, one after the other:
    metavar          the whole program, mpirun on all cores: start, calibration, moments and results.h5 are in its time
    JAX              one process a core, compiled and warm; its samples are dropped
A replicate of the study is a backprop sample (two lifetimes, all T, both Hessian modes, all discounts, any lambda) and an es
sample (one pair, all T). Ratios are JAX's seconds per replicate over metavar's in the same turn; medians and quartiles.
    same algorithm   JAX too has all settings from one primal, and all T of es from one pair
    structure        one run for each T, Hessian mode and discount, and for each T of es; lambda offline
    structure rerun  one run for each coefficient too: 6 lambdas at discount 1 and 4 more discounts at lambda 1, as published
Runs that differ in a discount or a lambda alone are the same program with another argument: timed once, counted as many times.
"""
import csv
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
JOB = os.path.join(HERE, "jax.yaml")
POINTS, TURNS = 25, 7
LENGTHS, HESSIANS, SAMPLERS = (2, 21, 41, 61, 80), ("pathwise", "dice"), ("inverse_cdf", "categorical")
DISCOUNTS, COEFFICIENTS = 5, 10
STEPS = 2 * 80  # of a replicate of backprop, and of a pair
CORES = sorted(os.sched_getaffinity(0))


# --- JAX ---------------------------------------------------------------------------------------------------------------
class Workers:
    """One process on each core; each is asked, then each answers."""

    def __init__(self):
        script = os.path.join(HERE, "bandit_jax.py")
        self.processes = [subprocess.Popen([sys.executable, script, str(core)], stdin=subprocess.PIPE,
                                           stdout=subprocess.PIPE, text=True) for core in CORES]

    def ask(self, *words):
        for p in self.processes:
            print(*words, file=p.stdin, flush=True)
        answers = [p.stdout.readline() for p in self.processes]
        if "" in answers:
            sys.exit("bandit_jax.py has ended")
        return [json.loads(answer) for answer in answers]

    def per_replicate(self, name, goal):
        """Seconds of all cores for one replicate, from about `goal` seconds."""
        replicates = int(name.split("/")[2])
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
    """Names of the fastest programs: {kind: {sampler: pattern}}."""
    best = {}
    for sampler in SAMPLERS:
        sizes = (32, 64, 128) if sampler == "inverse_cdf" else (8, 32)
        options = {"es": [f"{sampler}/es/{n}" for n in sizes], "shared": [f"{sampler}/shared/{n}" for n in sizes],
                   "single": [f"{sampler}/forward/{n}" for n in sizes] + [f"{sampler}/reverse/{sizes[1]}"],
                   "fixed": [f"{sampler}/fixed/{sizes[1]}"]}
        for kind, names in options.items():
            tail = "/41/dice" if kind in ("single", "fixed") else ""
            took = {n: min(workers.per_replicate(n + tail, 0.3) for _ in range(3)) for n in names}
            for n, t in took.items():
                print(f"  {n + tail:36} {1e6 * t:9.1f} us a replicate")
            name = min(took, key=took.get)
            best[sampler, kind] = name, took[name]
        if best[sampler, "single"][1] <= best[sampler, "fixed"][1]:
            best[sampler, "fixed"] = best[sampler, "single"]
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
    single = [f"{kind}/64/{length}/{h}" for kind, length, h in (("forward", 41, "dice"), ("forward", 80, "pathwise"),
                                                                ("reverse", 41, "dice"), ("fixed", 41, "dice"))]
    wrong = 0
    for name in [f"inverse_cdf/{x}" for x in ("es/64", "shared/64", *single)] + ["categorical/es/32", "categorical/shared/32"]:
        calls = 160 if name.startswith("inverse") else 80
        worst = [d for found in workers.ask("moments", name, calls) for key, row in found.items()
                 for d in deviations(row, cells[key])]
        wrong += max(worst) > 5
        print(f"  {name:36} {len(worst):4} means and variances agree within {max(worst):.1f} standard errors")
    if wrong:
        sys.exit("JAX and metavar do not agree")


# --- timing ------------------------------------------------------------------------------------------------------------
def turn(workers, metavar, sizes, best):
    """Seconds per replicate of everything: {(sampler, what): seconds}."""
    t = {}
    for what, size in sizes.items():
        t["metavar", what] = run_metavar(metavar, size)[0] / (POINTS * size["es"])
    for sampler in SAMPLERS:
        t[sampler, "es"] = workers.per_replicate(best[sampler, "es"], 1.5)
        t[sampler, "backprop"] = workers.per_replicate(best[sampler, "shared"], 2.0)
        for kind in ("single", "fixed"):
            if kind == "fixed" and best[sampler, kind] == best[sampler, "single"]:
                t[sampler, kind] = t[sampler, "single"]
            else:
                t[sampler, kind] = sum(workers.per_replicate(f"{best[sampler, kind]}/{length}/{h}", 0.25)
                                       for length in LENGTHS for h in HESSIANS)
        for part in ("draws", "primal"):
            t[sampler, part] = workers.per_replicate(best[sampler, "shared"].replace("shared", part), 0.25)
        t[sampler, "same algorithm"] = t[sampler, "backprop"] + t[sampler, "es"]
        t[sampler, "structure"] = DISCOUNTS * t[sampler, "single"] + len(LENGTHS) * t[sampler, "es"]
        t[sampler, "structure rerun"] = COEFFICIENTS * t[sampler, "fixed"] + len(LENGTHS) * t[sampler, "es"]
    return t


def quartiles(values):
    return statistics.quantiles(values, n=4, method="inclusive")


def rows_of(turns, best):
    """Program, sampler, what, settings; seconds per replicate; ratio to metavar."""
    rows = [("metavar", "inverse_cdf", what, "", [t["metavar", what] for t in turns], None) for what in ("study", "es")]
    for sampler in SAMPLERS:
        for what, of, kinds in (("es", "es", ("es",)), ("same algorithm", "study", ("shared", "es")),
                                ("structure", "study", ("single", "es")), ("structure rerun", "study", ("fixed", "es"))):
            seconds = [t[sampler, what] for t in turns]
            ratio = [s / t["metavar", of] for s, t in zip(seconds, turns)]
            settings = " ".join(best[sampler, kind].split("/", 1)[1] for kind in kinds)
            rows.append(("jax", sampler, what, settings, seconds, ratio))
    return rows


def report(rows, turns, path, about):
    print(f"\n{'':8}{'sampler':13}{'what':17}{'program/batch':24}{'us a replicate':>15}{'quartiles':>20}{'/ metavar':>11}"
          f"{'quartiles':>17}")
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
            print(f"{program:8}{sampler:13}{what:17}{settings:24}{middle:>15}{low + ' to ' + high:>20}{r[1]:>11}{spread:>17}")
            out.writerow([*about.values(), program, sampler, what, settings, middle, low, high, r[1], r[0], r[2]])
    print("\nwhere JAX's time goes, ns of one core per inner step:")
    for sampler in SAMPLERS:
        part = {p: 1e9 * len(CORES) / STEPS * statistics.median(t[sampler, p] for t in turns)
                for p in ("draws", "primal", "backprop", "es")}
        print(f"  {sampler:13}{part['primal']:8.0f} a step without tangents, of which {part['draws']:.0f} random numbers drawn "
              f"beforehand; {part['backprop'] - part['primal']:.0f} tangents of all windows; {part['es']:.0f} es")


def main():
    metavar, version, path = sys.argv[1:]
    started, workers = time.monotonic(), Workers()
    print("JAX against metavar: means and variances at eta = (1.5, 1.5)", flush=True)
    judge(workers, metavar)
    print("best batch sizes and mode", flush=True)
    best = search(workers)
    sizes = {}
    for what, entries in (("study", ("backprop", "es")), ("es", ("es",))):
        sizes[what], base = scaled(metavar, entries, 4.0)
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
