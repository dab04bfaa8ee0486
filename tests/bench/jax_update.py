"""The maze's inner update, and its tangent, in metavar and in JAX: jax_update.py WORKER VERSION CSV (see update_worker.c).

From the same batch (observations, actions, returns): forward passes of actor and critic, loss, gradient, sgd. JAX is written as
one writes it (jax.grad, jax.jvp, jax.jit, pytrees), in float64 and float32, compiled beforehand, one call after another. First
its float64 numbers have to be metavar's to 1e-9 of the largest change of a parameter. Then, TURNS times, everything in turn:
    one core    one process, one thread, pinned; processor time
    all cores   one such process a core at once, as ranks are; processor time again. JAX also as one process with a thread a core
                (threads): wall time, in which other load on the machine counts
Where there is AVX-512 metavar also runs with OpenBLAS's kernels for it. Microseconds per update, all cores together; ratios are
over metavar with its default kernels in the same turn. "tangent" is
an update with its tangent along one direction of the parameters and of the entropy's share.
"""
import csv
import datetime
import os
import statistics
import subprocess
import sys
import tempfile
import time

TURNS, SECONDS, ROWS = 7, 0.2, 80
WIDTHS = {"actor": (26, 256, 256, 4), "critic": (26, 256, 256, 1)}
RATE, VALUE_SHARE, SHARE, SHARE_DOT = 1.0, 0.1, 0.3, 0.2
CORES = sorted(os.sched_getaffinity(0))


# --- JAX, in a process of its own -----------------------------------------------------------------------------------------
def jax_worker(path, threads):
    os.environ["NPROC"] = threads
    os.environ["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={'false' if threads == '1' else 'true'}"
    import jax
    import jax.numpy as jnp
    import numpy as np

    jax.config.update("jax_enable_x64", True)

    def net(params, x):
        for w, b in params[:-1]:
            x = jax.nn.relu(x @ w + b)
        w, b = params[-1]
        return x @ w + b

    def loss(theta, advantage, batch, share):
        observation, chosen, gain = batch
        log_pi = jax.nn.log_softmax(net(theta["actor"], observation))
        entropy = -(jnp.exp(log_pi) * log_pi).sum(1)
        value = net(theta["critic"], observation)[:, 0]
        return (-(advantage * (chosen * log_pi).sum(1)).mean() - share * entropy.mean()
                + 0.5 * VALUE_SHARE * ((gain - value) ** 2).mean())

    def update(theta, share, batch):
        observation, _, gain = batch
        advantage = gain - net(theta["critic"], observation)[:, 0]  # held in the gradient, not in the tangent
        gradient = jax.grad(loss)(theta, advantage, batch, share)
        return jax.tree.map(lambda p, g: p - RATE * g, theta, gradient)

    def tangent(theta, share, batch, theta_dot, share_dot):
        return jax.jvp(lambda p, c: update(p, c, batch), (theta, share), (theta_dot, share_dot))

    def tree(flat):
        out, at = {}, 0
        for name, width in WIDTHS.items():
            out[name] = []
            for n, m in zip(width, width[1:]):
                out[name].append((flat[at:at + n * m].reshape(n, m), flat[at + n * m:at + (n + 1) * m]))
                at += (n + 1) * m
        return out

    def flat(params):
        return np.concatenate([np.ravel(x).astype(float) for name in WIDTHS for layer in params[name] for x in layer])

    size = sum((n + 1) * m for width in WIDTHS.values() for n, m in zip(width, width[1:]))
    counts = np.cumsum([size, ROWS * 26, ROWS * 4, ROWS, size, size])
    theta, observation, chosen, gain, direction, expected, expected_dot = np.split(np.fromfile(path), counts)
    arguments = {}
    for precision in (jnp.float64, jnp.float32):
        cast = lambda x: jax.tree.map(lambda y: jnp.array(y, precision), x)  # noqa: E731
        batch = cast((observation.reshape(ROWS, -1), chosen.reshape(ROWS, -1), gain))
        arguments[precision.__name__] = (cast(tree(theta)), cast(SHARE), batch, cast(tree(direction)), cast(SHARE_DOT))
    programs = {"update": jax.jit(update), "tangent": jax.jit(tangent)}

    def run(what, precision):
        a = arguments[precision]
        return programs[what](*(a[:3] if what == "update" else a))

    for line in sys.stdin:
        what, precision, *timing = line.split()
        if what == "differ":
            after, dot = run("tangent", precision)
            print(*(abs(flat(found) - wanted).max() / abs(wanted - before).max()
                    for found, wanted, before in ((after, expected, theta), (dot, expected_dot, direction))), flush=True)
            continue
        clock = time.process_time if timing[0] == "cpu" else time.perf_counter
        jax.block_until_ready(run(what, precision))
        calls, start = 0, clock()
        while clock() - start < float(timing[1]):
            jax.block_until_ready(run(what, precision))
            calls += 1
        print((clock() - start) / calls, flush=True)


# --- both ---------------------------------------------------------------------------------------------------------------
class Workers:
    """Processes that are asked at once; on `cores` each, or one on all of them."""

    def __init__(self, words, cores, core=None):
        environment = {**os.environ, "OPENBLAS_CORETYPE": core} if core else None
        self.processes = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
                                           preexec_fn=lambda mine=mine: os.sched_setaffinity(0, mine)) for mine in cores]

    def ask(self, words, only_first=False):
        asked = self.processes[:1] if only_first else self.processes
        for p in asked:
            print(words, file=p.stdin, flush=True)
        answers = [p.stdout.readline().split() for p in asked]
        if [] in answers:
            sys.exit("a worker has ended")
        return answers

    def seconds(self, words, only_first):
        """Per update."""
        return 1 / sum(1 / float(a[0]) for a in self.ask(words, only_first))

    def close(self):
        for p in self.processes:
            p.stdin.close()
            p.wait()


def quartiles(values):
    return statistics.quantiles(values, n=4, method="inclusive")


def cpuinfo(key):
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        return next((line.split(":")[1].strip() for line in f if line.startswith(key)), "unknown")


def measure(native, processes, threads):
    """{(cores, program, precision, what): seconds of each turn}"""
    turns = {}
    for _ in range(TURNS):
        for what in ("update", "tangent"):
            for cores in ("one", "all"):
                rows = [(name, "float64", workers, f"{what} cpu") for name, workers in native.items()]
                for precision in ("float64", "float32"):
                    rows.append(("jax", precision, processes, f"{what} {precision} cpu"))
                    if cores == "all":
                        rows.append(("jax threads", precision, threads, f"{what} {precision} wall"))
                for program, precision, workers, words in rows:
                    turns.setdefault((cores, program, precision, what), []).append(
                        workers.seconds(f"{words} {SECONDS}", cores == "one"))
    return turns


def main():
    worker, version, path = sys.argv[1:]
    each = [{core} for core in CORES]
    with tempfile.TemporaryDirectory() as folder:
        case = os.path.join(folder, "case")
        native = {"metavar": Workers([worker], each)}
        commit, core = native["metavar"].ask(f"file {case}", True)[0]
        if "avx512" in cpuinfo("flags"):
            native["metavar SkylakeX"] = Workers([worker], each, "SkylakeX")
        script = [sys.executable, os.path.abspath(__file__), "worker", case]
        processes, threads = Workers([*script, "1"], each), Workers([*script, str(len(CORES))], [set(CORES)])
        for precision, most in (("float64", 1e-9), ("float32", 1e-3)):
            differ = [float(x) for workers in (processes, threads) for a in workers.ask(f"differ {precision}") for x in a]
            print(f"JAX and metavar, {precision}: largest difference {max(differ):.1e} of the largest change", flush=True)
            if not max(differ) <= most:
                sys.exit("JAX and metavar do not agree")
        turns = measure(native, processes, threads)
        for workers in (*native.values(), processes, threads):
            workers.close()
    now = datetime.datetime.now(datetime.timezone.utc)
    about = {"date": now.strftime("%Y-%m-%dT%H:%M:%SZ"), "commit": commit, "cpu": cpuinfo("model name"), "cores": len(CORES),
             "load": round(os.getloadavg()[0], 1), "kernel": core, "jax": version}
    layout = "{:6}{:20}{:10}{:10}{:>10}{:>20}{:>11}{:>17}".format
    print(layout("cores", "program", "precision", "what", "us", "quartiles", "/ metavar", "quartiles"))
    new = not os.path.exists(path)
    with open(path, "a", encoding="utf-8", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        if new:
            out.writerow([*about, "used", "program", "precision", "what", "us", "first_quartile", "third_quartile", "per_metavar",
                          "per_metavar_first_quartile", "per_metavar_third_quartile"])
        for (cores, program, precision, what), seconds in turns.items():
            base = turns[cores, "metavar", "float64", what]
            low, middle, high = (f"{1e6 * q:.1f}" for q in quartiles(seconds))
            r = [f"{q:.3f}" for q in quartiles([s / b for s, b in zip(seconds, base)])]
            print(layout(cores, program, precision, what, middle, f"{low} to {high}", r[1], f"{r[0]} to {r[2]}"))
            out.writerow([*about.values(), cores, program, precision, what, middle, low, high, r[1], r[0], r[2]])


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        jax_worker(*sys.argv[2:])
    else:
        main()
