#!/usr/bin/env python3
"""The curves in a results.h5 of `metavar train`, against the outer loop written down once more with numpy, from the gradients that the
file holds. Usage: check_training.py RESULTS. One "ok NAME" or "not ok NAME" a check."""
import sys

import numpy as np
import xarray as xr

failed = False


def report(name, good):
    global failed
    failed |= not good
    print(("ok " if good else "not ok ") + name)


def numbers(text):
    return [float(x) for x in text.strip("[]").split(",")]


def path(g, start, attributes):
    """eta before each update, for gradients g[update, M]."""
    own = float(attributes["learning_rate"])
    rate = own if own > 0 else float(attributes["train_learning_rate"])
    momentum, epsilon = float(attributes["train_momentum"]), float(attributes["train_epsilon"])
    b1, b2 = numbers(attributes["train_betas"])
    eta, velocity, m, v, taken, out = start.copy(), 0 * start, 0 * start, 0 * start, 0, []
    for gradient in g:
        out.append(eta.copy())
        if not np.isfinite(gradient).all():
            continue
        taken += 1
        if attributes["train_optimizer"] == "adam":
            m = b1 * m + (1 - b1) * gradient
            v = b2 * v + (1 - b2) * gradient**2
            eta = eta + rate * (m / (1 - b1**taken)) / (np.sqrt(v / (1 - b2**taken)) + epsilon)
        else:
            velocity = momentum * velocity + gradient
            eta = eta + rate * velocity
    return np.array(out)


def check(file, name):
    data = xr.open_dataset(file, engine="h5netcdf", group=name)
    curves, updates, every = data.sizes["curve"], data.sizes["update"], int(data.attrs["train_evaluate_every"])
    seeds = int(data.attrs["train_seeds"])
    report(name + ": rows", updates == int(data.attrs["train_updates"]) + 1 and (data["update"].values == np.arange(updates)).all())
    report(name + ": seeds", (data.seed.values == np.arange(curves) % seeds).all())
    for c in range(curves):
        one = data.isel(curve=c)
        expected = path(one.gradient.values, one.start.values, data.attrs)
        sgd = data.attrs["train_optimizer"] == "sgd"
        worst = np.abs(one.eta.values - expected).max()
        report("%s: path of curve %d (%.0e)" % (name, c, worst), (one.eta.values == expected).all() if sgd else worst < 1e-12)
    norm = np.linalg.norm(data.gradient.values, axis=-1)
    report(name + ": norms", np.allclose(data.gradient_norm, norm, rtol=1e-14, atol=0))
    evaluated = np.isfinite(data.evaluated.values)
    report(name + ": evaluations", (evaluated == (np.arange(updates) % every == 0)).all() if every else not evaluated.any())
    spent = np.arange(updates) * float(data.attrs["replicates"])
    report(name + ": cost", (data.spent_primal == spent * float(data.cost_primal)).all() and (data.spent_tangent == spent * float(data.cost_tangent)).all())
    same = [c for c in range(curves) if c % seeds == 0]
    report(name + ": seeds differ", seeds == 1 or all((data.gradient[c, 0] != data.gradient[c + 1, 0]).all() for c in same))


def main(file):
    import h5py

    with h5py.File(file) as results:
        names = [name for name in results if name != "provenance" and isinstance(results[name], h5py.Group)]
    for name in names:
        check(file, name)
    raise SystemExit(failed)


main(sys.argv[1])
