"""Mean gradient and standard deviation of one sample against the meta-parameter, if there is one."""

import numpy as np
from matplotlib.lines import Line2D

from .gradient_field import choose, gradients, reference_of
from .shared import BLUE, DOUBLE, GREEN, MARKERS, ORANGE, PINK, RED, SKY, Drawn, LeftOut, bars, below, interval, label, plt

ORDER = 6
TITLE = "Gradient and standard deviation against eta"
COLOURS = (BLUE, RED, GREEN, ORANGE, PINK, SKY)


def columns(rows, *names):
    return (np.array([row[name] for row in rows]) for name in names)


def draw_setting(tables, axes, rows, style):
    """Returns the ends of the intervals of the standard deviation."""
    eta, mean, error, variance = columns(rows, "eta_0", "mean_0", "mean_se_0", "variance")
    low, high = (np.sqrt(np.clip(end, 0, None)) for end in np.array([interval(tables, row, "variance") for row in rows]).T)
    axes[0].errorbar(eta, mean, tables.z * error, **style)
    axes[1].errorbar(eta, np.sqrt(variance), bars(np.sqrt(variance), low, high), **style)
    return low, high


def draw(tables):
    found, meta = gradients(tables)
    if meta != 1:
        raise LeftOut(f"drawn for one meta-parameter, and there are {meta}")
    reference = reference_of(tables, found, meta)
    chosen = [sorted(found[key], key=lambda row: row["eta_0"]) for key in choose(found)[: len(COLOURS)]]
    if not chosen:
        raise LeftOut("there is no setting with lambda 0 or 1, and none without a correction")
    own = any(rows[0]["entry"] == reference[0]["entry"] for rows in chosen) if reference else True
    figure, axes = plt.subplots(1, 2, figsize=(DOUBLE, 2.9), sharex=True, layout="constrained")
    drawn, entries = [], []
    if not own:
        rows = sorted(reference, key=lambda row: row["eta_0"])
        axes[0].plot(*columns(rows, "eta_0", "mean_0"), color="0.72", lw=2.5)
        entries.append(Line2D([], [], color="0.72", lw=2.5, label="reference"))
    for rows, colour, marker in zip(chosen, COLOURS, MARKERS):
        style = {"color": colour, "marker": marker, "ms": 3, "lw": 1, "elinewidth": 0.8, "capsize": 1.5}
        ends = draw_setting(tables, axes, rows, style)
        entries.append(Line2D([], [], color=colour, marker=marker, ms=3, lw=1, label=label(rows[0])))
        for row, low, high in zip(rows, *ends):
            names = ("eta_0", "mean_0", "mean_se_0")
            deviation = {"sd": row["variance"] ** 0.5, "sd_low": low, "sd_high": high}
            drawn.append({"setting": label(row), "point": int(row["point"])} | {name: row[name] for name in names} | deviation)
    axes[0].axhline(0, color="0.6", lw=0.6, zorder=0)
    axes[0].set_ylabel("mean gradient of J")
    axes[1].set_ylabel("standard deviation of one sample")
    axes[1].set_yscale("log")
    for ax in axes:
        ax.set_xlabel(r"$\eta_0$")
        ax.grid()
    below(figure, entries, 3)
    caption = (
        f"Mean gradient (left) and standard deviation of one sample (right) against the meta-parameter, with {tables.interval_text} of "
        "each. The mean of m samples has a standard deviation that is smaller by the root of m. Gradients are those of J: published "
        "gradients of the loss -J have the other sign."
    )
    return Drawn(figure, drawn, caption)
