"""What jax_pairs.py asks of one core: programs of bandit_vmapped.py or bandit_tuned.py by name, timed or judged.

Lines in: VERB NAME CALLS; lines out: JSON. NAME is STYLE/SAMPLER/KIND/REPLICATES, and /T/HESSIAN of a single setting.
"""
import functools
import json
import os
import sys
import time

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
os.environ["NPROC"] = "1"  # threads of XLA: there is one process a core
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

jax.config.update("jax_threefry_partitionable", False)  # the faster of its two counter layouts on one device
import bandit_tuned  # noqa: E402
import bandit_vmapped  # noqa: E402
from bandit_vmapped import DISCOUNTS, LENGTHS  # noqa: E402

GRID = [(a, b) for a in (0.5, 1.0, 1.5, 2.0, 2.5) for b in (0.5, 1.0, 1.5, 2.0, 2.5)]
HESSIANS = ("pathwise", "dice")
DISCOUNT, COEFFICIENT = 0.9, 0.4  # of single settings
STYLES = {"vmapped": bandit_vmapped, "tuned": bandit_tuned}


@functools.cache
def program(name):
    style, sampler, kind, replicates, *setting = name.split("/")
    style = STYLES[style]
    if not setting:
        return jax.jit(functools.partial(getattr(style, kind), sampler, int(replicates)))
    run = jax.jit(functools.partial(style.single, kind, sampler, int(setting[0]), setting[1] == "dice", int(replicates)))
    return lambda key, eta: run(key, eta, DISCOUNT, COEFFICIENT)


def seconds(name, calls, seed):
    """Of so many calls, without the compilation."""
    run, key = program(name), jax.random.key(seed)
    eta = [jnp.array(point) for point in GRID]
    keys = [jax.random.fold_in(key, i) for i in range(calls)]
    jax.block_until_ready(run(key, eta[0]))
    start = time.perf_counter()
    for i in range(calls):
        out = run(keys[i], eta[i % len(eta)])
    jax.block_until_ready(out)
    return time.perf_counter() - start


def estimates(name, out):
    """Settings and their samples [M, n]; names as in cells.csv."""
    kind, *setting = name.split("/")[2:]
    if kind == "es":
        return {f"es/{length}": out[t] for t, length in enumerate(LENGTHS)}
    if kind == "fixed":
        return {f"{setting[2]}/{setting[1]}/{DISCOUNT:g}/{COEFFICIENT:g}": out[0]}
    if kind != "shared":
        return {f"{setting[2]}/{setting[1]}/{DISCOUNT:g}/{c:g}": out[0] + c * out[1] for c in (0.0, 0.4, 1.0)}
    return {f"{hessian}/{length}/{gamma:g}/{c:g}": out[h][0, t] + c * out[h][1 + g, t]
            for h, hessian in enumerate(HESSIANS) for t, length in enumerate(LENGTHS)
            for g, gamma in enumerate(DISCOUNTS) for c in (0.0, 0.4, 1.0)}


def moments(name, calls, seed):
    """Of every setting at eta = (1.5, 1.5): means, their errors, the sum of variances, its error, the largest share."""
    run, key, eta = program(name), jax.random.key(seed), jnp.array([1.5, 1.5])
    parts = [estimates(name, jax.device_get(run(jax.random.fold_in(key, i), eta))) for i in range(calls)]
    found = {}
    for setting in parts[0]:
        g = np.concatenate([p[setting] for p in parts], -1).astype(float)
        n, mean = g.shape[1], g.mean(1)
        square = ((g - mean[:, None]) ** 2).sum(0)
        found[setting] = [*mean, *(g.std(1) / n**0.5), square.mean(), square.std() / n**0.5, square.max() / square.sum()]
    return found


def main():
    for line in sys.stdin:
        verb, name, calls = line.split()
        answer = {"seconds": seconds, "moments": moments}[verb](name, int(calls), int(sys.argv[1]))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
