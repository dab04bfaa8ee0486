"""Where learning leads: paths of eta over the return surface, one panel per estimator, all in one scale."""

import math

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from .learning_curves import COLOURS
from .shared import DOUBLE, Drawn, LeftOut, below, finite, np, plt

ORDER = 21
TABLE = "paths"
TITLE = "Paths of eta"
COLUMNS = 3
LEVELS = 14


def surface_of(tables):
    """(eta_0, eta_1, objective[eta_1, eta_0]) of the first surface, or None."""
    if not tables.surface.has("objective"):
        return None
    rows = tables.surface.rows("objective", "entry", "eta_0", "eta_1", "objective")
    rows = [row for row in rows if row["entry"] == rows[0]["entry"]]
    x, y = (np.unique([row[name] for row in rows]) for name in ("eta_0", "eta_1"))
    if len(rows) != len(x) * len(y) or min(len(x), len(y)) < 2:
        raise LeftOut("the return surface is no grid")
    z = np.full((len(y), len(x)), np.nan)
    for row in rows:
        z[np.searchsorted(y, row["eta_1"]), np.searchsorted(x, row["eta_0"])] = row["objective"]
    return x, y, z


def limits(paths, surface):
    """All of the paths, and some room; not beyond the surface."""
    ends = []
    for k in (0, 1):
        values = np.concatenate([path[:, k] for path in paths])
        low, high = np.quantile(values, [0.002, 0.998])
        room = 0.12 * max(high - low, 0.5)
        low, high = low - room, high + room
        if surface:
            low, high = max(low, surface[k][0]), min(high, surface[k][-1])
        ends.append((low, high))
    return ends


def draw_surface(axes, surface, levels):
    return axes.contourf(*surface, levels=levels, cmap="Greys", alpha=0.55, extend="both", zorder=0)


def draw(tables):
    rows = tables.rows("paths", "entry", "start", "seed", "update", "eta_0")
    if not rows or "eta_1" not in rows[0] or "eta_2" in rows[0]:
        raise LeftOut("drawn for two meta-parameters")
    found = {}
    for row in rows:
        if finite(row["eta_0"]) and finite(row["eta_1"]):
            found.setdefault(row["entry"], {}).setdefault((int(row["start"]), int(row["seed"])), []).append((row["eta_0"], row["eta_1"]))
    paths = {entry: {key: np.array(path) for key, path in curves.items()} for entry, curves in found.items()}
    surface = surface_of(tables)
    (left, right), (bottom, top) = limits([path for curves in paths.values() for path in curves.values()], surface)
    columns = 2 if len(paths) == 4 else min(COLUMNS, len(paths))
    lines = math.ceil(len(paths) / columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(DOUBLE * columns / COLUMNS + (1 if columns < 3 else 0), 0.7 + 2.2 * lines), sharex=True, sharey=True,
        squeeze=False, layout="constrained",
    )  # fmt: skip
    shades = None
    if surface:
        x, y, z = surface
        seen = z[np.ix_((y >= bottom) & (y <= top), (x >= left) & (x <= right))]
        seen = seen if seen.size else z
        levels = np.linspace(np.nanmin(seen), np.nanmax(seen), LEVELS)
    for ax, (entry, curves) in zip(axes.flat, paths.items()):
        if surface:
            shades = draw_surface(ax, surface, levels)
        for (start, _), path in curves.items():
            colour = COLOURS[start % len(COLOURS)]
            ax.plot(*path.T, "-", color=colour, lw=0.7, alpha=0.9, zorder=2)
            ax.plot(*path[0], "x", color="black", ms=5, mew=1.2, zorder=4)
            ax.plot(*path[-1], "o", color=colour, ms=4.5, mec="black", mew=0.6, zorder=5)
        ax.set_title(entry, pad=3)
        ax.set(xlim=(left, right), ylim=(bottom, top))
    for ax in list(axes.flat)[len(paths) :]:
        ax.set_axis_off()
    for k in range(len(paths)):
        if k + columns >= len(paths):  # nothing below
            axes.flat[k].set_xlabel(r"$\eta_0$")
            axes.flat[k].tick_params(labelbottom=True)
    for ax in axes[:, 0]:
        ax.set_ylabel(r"$\eta_1$")
    if shades is not None:
        bar = figure.colorbar(shades, ax=axes, shrink=0.8, aspect=30, pad=0.01)
        bar.set_label("objective")
        low, high = shades.levels[0], shades.levels[-1]
        bar.set_ticks([tick for tick in MaxNLocator(6).tick_values(low, high) if low <= tick <= high])
        bar.outline.set_linewidth(0)
    below(
        figure,
        [
            Line2D([], [], marker="x", ls="", color="black", ms=5, label="start"),
            Line2D([], [], marker="o", ls="", mfc="white", mec="black", ms=4.5, label="end"),
        ],
        2,
    )
    drawn = [
        {"entry": row["entry"], "start": int(row["start"]), "seed": int(row["seed"]), "update": int(row["update"]), "eta_0": row["eta_0"], "eta_1": row["eta_1"]}
        for row in rows
    ]
    over = " over the objective (grey)" if surface else ""
    return Drawn(figure, drawn, f"Paths of eta{over}, one panel per estimator, all in one scale; a colour per start. A cross is a start, a dot an end.")
