"""What bias and variance predict that updates add to the objective, against what was realised: one panel per estimator."""

import math

from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .learning_curves import COLOURS, start_of
from .shared import DOUBLE, Drawn, LeftOut, below, finite, np, plt

ORDER = 22
TABLE = "improvement"
TITLE = "Predicted and realised improvement"
COLUMNS = 3


def with_drift(rows):
    """Sums of the drift along every curve."""
    sums = {}
    for row in rows:
        key = row["entry"], row["start"], row["seed"]
        sums[key] = row["drift_sum"] = sums.get(key, 0) + row["drift"] * row["updates"]
    return rows


def mean_curve(rows):
    """Means over the seeds of one start: the numbers that are drawn. Seeds are independent, but for the study."""
    out = []
    for update in sorted({row["update"] for row in rows}):
        here = [row for row in rows if row["update"] == update]
        mean = {name: sum(row[name] for row in here) / len(here) for name in ("predicted_sum", "drift_sum", "realised_sum")}
        own = sum(row["chance_sum"] ** 2 + row["realised_sum_se"] ** 2 for row in here) / len(here) ** 2
        out.append(
            {"entry": here[0]["entry"], "start": int(here[0]["start"]), "update": int(update), "seeds": len(here)}
            | mean
            | {"predicted_sd": math.sqrt(own + max(row["predicted_sum_se"] for row in here) ** 2)}
        )
    return out


def draw_start(axes, points, colour):
    names = ("update", "predicted_sum", "predicted_sd", "drift_sum", "realised_sum")
    x, predicted, sd, drift, realised = (np.array([0] + [point[name] for point in points], float) for name in names)
    axes.fill_between(x, predicted - sd, predicted + sd, color=colour, alpha=0.25, lw=0, zorder=2)
    axes.plot(x, predicted, color=colour, lw=1, zorder=3)
    axes.plot(x, drift, color=colour, lw=0.7, ls=":", zorder=2)
    axes.plot(x, realised, "o", color=colour, ms=2, mew=0, zorder=4)


def draw(tables):
    rows = tables.rows("improvement", "entry", "start", "seed", "update", "updates", "drift", "predicted_sum", "chance_sum", "realised_sum")
    if not any(finite(row["predicted_sum"]) for row in rows):
        raise LeftOut("no curve runs between the points of its study")
    rows = with_drift(rows)
    entries, starts = (list(dict.fromkeys(row[name] for row in rows)) for name in ("entry", "start"))
    columns = 2 if len(entries) == 4 else min(COLUMNS, len(entries))
    lines = math.ceil(len(entries) / columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(DOUBLE * max(columns, 2) / COLUMNS + (1 if columns < 3 else 0), 0.7 + 2 * lines), sharex=True,
        squeeze=False, layout="constrained",
    )  # fmt: skip
    drawn = []
    for ax, entry in zip(axes.flat, entries):
        values = [0.0]
        for k, start in enumerate(starts):
            points = mean_curve([row for row in rows if row["entry"] == entry and row["start"] == start])
            draw_start(ax, points, COLOURS[k % len(COLOURS)])
            values += [point[name] for point in points for name in ("predicted_sum", "realised_sum") if finite(point[name])]
            drawn += points
        room = 0.2 * (max(values) - min(values))
        ax.set_ylim(min(values) - room, max(values) + room)  # a drift may lead beyond
        ax.set_title(entry, pad=3)
        ax.grid()
    for k, ax in enumerate(axes.flat):
        if k >= len(entries):
            ax.set_axis_off()
        elif k + columns >= len(entries):
            ax.set_xlabel("updates")
            ax.tick_params(labelbottom=True)
    for ax in axes[:, 0]:
        ax.set_ylabel("J less that of the start")
    first = {row["start"]: row for row in reversed(rows)}
    names = [Line2D([], [], color=COLOURS[k % len(COLOURS)], lw=1.5, label=f"from {start_of(first[s])}") for k, s in enumerate(starts)]
    kinds = [
        Line2D([], [], color="0.3", marker="o", ms=2.5, mew=0, ls="", label="realised"),
        Line2D([], [], color="0.3", lw=1, label="predicted"),
        Patch(color="0.3", alpha=0.25, lw=0, label="one standard deviation"),
        Line2D([], [], color="0.3", lw=0.7, ls=":", label="drift alone"),
    ]
    below(figure, kinds + names, 4 if columns > 1 else 2)
    caption = (
        "Sums of what each update is expected to add to J, from gradient, bias, variance and curvature as the study measured them (lines), and what "
        "evaluations say (dots); means over seeds. Bands: where realised values are to be expected, from the chance of the gradients and the errors of "
        "study and evaluations. Dotted: drift alone, what perfect gradients would add to first order. Lines end where a curve leaves the study."
    )
    return Drawn(figure, drawn, caption)
