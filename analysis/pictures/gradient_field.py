"""The mean gradient over the eta plane against the reference, as arrows."""

import math

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse

from .shared import BLUE, DOUBLE, SINGLE, Drawn, LeftOut, axes_of, below, discount, finite, is_dice, label, length, plt, setting

ORDER = 6
TITLE = "Mean gradient field"
MOST, COLUMNS = 8, 4  # panels


def choose(found):
    """Keys of the settings to draw, at full meta-discount: shortest, middle and longest window, without correction and with all of
    it; then the longest windows of what has no correction, and DiCE's."""
    full = max((discount(f[0]) for f in found.values() if finite(discount(f[0]))), default=math.nan)
    heads = {key: f[0] for key, f in found.items() if not finite(discount(f[0])) or discount(f[0]) == full}
    ranked = []
    for key, row in heads.items():
        lengths = sorted({length(other) for other in heads.values() if other["entry"] == row["entry"] and finite(length(other))})
        shortest, middle, longest = (lengths[0], lengths[len(lengths) // 2], lengths[-1]) if lengths else [math.nan] * 3
        at = length(row)
        plain = not finite(row["lambda"])
        if plain and (not lengths or at == longest):
            ranked.append((1, 0, 0, key))
        elif not plain and row["lambda"] in (0, 1) and (at in (middle, longest) or at == shortest and row["lambda"] == 0):
            ranked.append((2 if is_dice(row) else 0, at, row["lambda"], key))
    ranked.sort(key=lambda item: item[:3])
    return [key for _, _, _, key in ranked[:MOST]]


def arrows(rows):
    eta, mean, error = (np.array([[row[f"{name}_{k}"] for k in (0, 1)] for row in rows]) for name in ("eta", "mean", "mean_se"))
    return eta, mean, error


def spacing(eta):
    """Distance of the nearest neighbours, along the axes."""
    steps = [np.diff(np.unique(eta[:, k])) for k in (0, 1)]
    return min((step.min() for step in steps if len(step)), default=1.0)


def draw_field(axes, rows, reference, factor, step, spread):
    eta, mean, error = arrows(rows)
    at, truth, _ = arrows(reference)
    style = {"angles": "xy", "scale_units": "xy", "scale": 1, "units": "dots"}
    axes.quiver(*at.T, *(factor * truth).T, color="0.72", width=6, headwidth=2.6, headlength=3, headaxislength=3, zorder=1, **style)
    axes.quiver(*eta.T, *(factor * mean).T, color=BLUE, width=2.4, headwidth=4, headlength=5, headaxislength=4.5, zorder=3, **style)
    for place, tip, half in zip(eta, factor * mean, spread * factor * error):
        if np.isfinite(half).all():
            axes.add_patch(Ellipse(place + tip, *(2 * half), fc=BLUE, ec=BLUE, alpha=0.18, lw=0, zorder=2))
    axes.plot(*eta.T, ".", ms=2, color="0.3", zorder=4)
    for limit, ends in ((axes.set_xlim, at[:, 0]), (axes.set_ylim, at[:, 1])):
        limit(ends.min() - 1.1 * step, ends.max() + 1.1 * step)


def draw_plane(tables, grid, chosen, reference):
    at, truth, _ = arrows(reference)
    step, largest = spacing(at), np.hypot(*truth.T).max()
    spread = math.sqrt(-2 * math.log(1 - tables.confidence))  # radius of the region of two independent normals
    for ax, rows in zip(grid.flat, chosen):
        draw_field(ax, rows, reference, step / largest, step, spread)
        if 1 / 3 < np.ptp(at[:, 0]) / max(np.ptp(at[:, 1]), 1e-300) < 3:
            ax.set_aspect("equal")
    return f"reference (longest: {largest:.2g})", (
        "Mean gradient (thin, blue) and reference (thick, grey) over the eta plane; all arrows in one scale, the longest reference arrow "
        f"is as long as the step between eta points. Ellipses: {100 * tables.confidence:g} % regions of the mean, coordinates taken as "
        "independent. Arrows that leave a panel are cut."
    )


def draw_panels(tables, chosen, reference):
    columns, lines = min(COLUMNS, len(chosen)), math.ceil(len(chosen) / COLUMNS)
    figure, grid = plt.subplots(
        lines, columns, figsize=(max(DOUBLE * columns / COLUMNS, SINGLE), 0.5 + 1.85 * lines), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    known, caption = draw_plane(tables, grid, chosen, reference)
    for ax, rows in zip(grid.flat, chosen):
        ax.set_title(label(rows[0]), pad=3, fontsize=7)
    for ax in grid.flat[len(chosen) :]:
        ax.set_axis_off()
    for ax in grid.flat[: len(chosen)][-columns:]:  # those with nothing below
        ax.tick_params(labelbottom=True)
        ax.set_xlabel(r"$\eta_0$")
    for ax in grid[:, 0]:
        ax.set_ylabel(r"$\eta_1$")
    entries = [Line2D([], [], color="0.72", lw=3, label=known), Line2D([], [], color=BLUE, lw=1.2, label="mean of the setting")]
    region = f"{100 * tables.confidence:g} % region of the mean"
    entries.append(Line2D([], [], marker="o", ls="", ms=8, color=BLUE, alpha=0.18, mew=0, label=region))
    below(figure, entries, 3)
    return figure, caption


def reference_of(tables, found, meta):
    """The reference at each point. That of another run has no rows here: it is a mean less its bias."""
    options = tables.summary.get("options", {})
    own = next((f for f in found.values() if f[0]["entry"] == options.get("reference")), [])
    if own and not options.get("reference_job"):
        return own
    rows = next((f for f in found.values() if finite(f[0].get("bias_0"))), [])
    words = {"entry": "reference"} | {name: math.nan for name in (*axes_of(rows[0]), "lambda")} if rows else {}
    truth = [{f"mean_{k}": row[f"mean_{k}"] - row[f"bias_{k}"] for k in range(meta)} for row in rows]
    return [{**row, **words, **mean, **{f"mean_se_{k}": math.nan for k in range(meta)}} for row, mean in zip(rows, truth)]


def gradients(tables):
    """The rows of each setting that is a gradient, and the number of meta-parameters."""
    rows = tables.rows("cells", "role", "mean_0", "mean_se_0", "eta_0")
    found = {}
    for row in rows:
        if row["role"] == "gradient" and finite(row["mean_0"]):
            found.setdefault(setting(row), []).append(row)
    return found, sum(1 for name in (rows[0] if rows else ()) if name.startswith("eta_"))


def draw(tables):
    found, meta = gradients(tables)
    if meta != 2:
        raise LeftOut(f"drawn for two meta-parameters, and there {'is one (see gradient_line)' if meta == 1 else f'are {meta}'}")
    reference = reference_of(tables, found, meta)
    if not reference:
        raise LeftOut("the run has no reference to compare with")
    keys = choose({key: f for key, f in found.items() if f is not reference})
    if not keys:
        raise LeftOut("there is nothing but the reference")
    figure, caption = draw_panels(tables, [found[key] for key in keys], reference)
    drawn = []
    for chosen in [reference, *(found[key] for key in keys)]:
        for row in chosen:
            point = {"setting": label(row), "point": int(row["point"])}
            point |= {f"{name}_{k}": row[f"{name}_{k}"] for name in ("eta", "mean", "mean_se") for k in range(meta)}
            drawn.append(point)
    return Drawn(figure, drawn, caption)
