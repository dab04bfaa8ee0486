"""The frontier of Vuorio et al. 2022: squared bias against variance, averaged over the eta points.

left   the coefficient lambda of the sampling correction, at meta-discount 1
right  the meta-discount, at coefficient 1
x      variance of one estimate, sum over coordinates, log scale
y      mean over coordinates of the squared bias, without the upward bias of the published plug-in

Colour is the coefficient or discount, the marker the truncation length T. Lines join what differs in colour only. Estimators
without a correction (ES, finite differences) are in both panels. Points beyond the axis, which ends over the largest bias that is known
and not DiCE's, lie on its end.
"""

import math
from collections import namedtuple

import matplotlib
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from .shared import (
    BLACK, MARKERS, ORANGE, PINK, RED, SKY, Drawn, LeftOut, bars, below, discount, finite, interval, is_dice, label, length, plt,
    unit, viridis,
)  # fmt: skip

ORDER = 1
TITLE = "Frontier: squared bias against variance"
PLAIN_COLOURS = [RED, SKY, ORANGE, PINK, "0.35", BLACK]  # of entries without a correction
COLUMN = "v22_bias_unbiased"
Measure = namedtuple("Measure", "column plugin sign limits text line")  # what is on the vertical axis


def read(tables, measure):
    """Gradients that have a bias, with what the picture needs of them."""
    points = []
    for row in tables.rows("grid", "role", "variance", COLUMN, measure.column, measure.plugin):
        if row["role"] != "gradient" or not (finite(row[measure.column]) and row["variance"] > 0):
            continue
        point = {"entry": row["entry"], "estimator": row["estimator"], "setting": label(row)}
        point.update(length=length(row), discount=discount(row), dice=int(is_dice(row)))
        point["lambda"] = row["lambda"]
        point["variance"], point["y"] = row["variance"], measure.sign * row[measure.column]
        point["variance_low"], point["variance_high"] = interval(tables, row, "variance")
        point["y_low"], point["y_high"] = sorted(measure.sign * end for end in interval(tables, row, measure.column))
        low, _ = interval(tables, row, COLUMN)
        point["zero"] = int(not low > 0)
        point["plugin"] = measure.sign * row[measure.plugin]
        points.append(point)
    if not points:
        raise LeftOut("no setting has a bias: the run has no reference to measure it against")
    return points


def limits(points):
    """Ends of the bias axis: what is DiCE's or cannot be told from noise must not squeeze the rest."""
    known = [p for p in points if not p["dice"] and not p["zero"]] or points
    top = 1.2 * max(min(p["y_high"], 2 * p["y"]) if finite(p["y_high"]) else p["y"] for p in known)
    return -0.06 * top, top


class Panel:
    def __init__(self, axes, name, markers, plain, low, high, scale):
        self.axes, self.name, self.markers, self.plain = axes, name, markers, plain
        self.low, self.high, self.scale = low, high, scale

    def point(self, point, marker, colour):
        y = min(max(point["y"], self.low), self.high)
        outside = y != point["y"]
        if outside:  # on the end of the axis, with an arrow
            up = 1 if point["y"] > y else -1
            self.axes.annotate(
                "", (point["variance"], self.scale * y), (0, 9 * up), textcoords="offset points", annotation_clip=False,
                arrowprops={"arrowstyle": "<|-", "color": colour, "lw": 0.7, "mutation_scale": 5, "shrinkA": 0, "shrinkB": 0},
            )  # fmt: skip
        else:
            low = max(point["variance_low"], 0.05 * point["variance"])  # the bar must stay on the log axis
            self.axes.errorbar(
                point["variance"], self.scale * y, fmt="none", ecolor=colour, elinewidth=0.7, alpha=0.7, zorder=2,
                xerr=bars(point["variance"], low, point["variance_high"]).reshape(2, 1),
                yerr=self.scale * bars(y, point["y_low"], point["y_high"]).reshape(2, 1),
            )  # fmt: skip
        hollow = point["zero"]
        style = {"ls": "", "marker": marker, "clip_on": not outside, "zorder": 4 if hollow else 3}
        at = point["variance"], self.scale * y
        if point["dice"]:
            self.axes.plot(*at, ms=7, mfc="black", mec="black", mew=0, **style)
        self.axes.plot(
            *at, ms=4.6, mfc="white" if hollow else colour, mec=colour if hollow else "white", mew=1 if hollow else 0.4, **style
        )

    def draw(self, points, shades):
        """Curves of what has a correction, along the panel's variable; then the plain estimators."""
        curves = {}
        for point in points:
            key = (point["entry"], point["dice"], point["length"]) if finite(point["lambda"]) else (point["entry"],)
            curves.setdefault(key, []).append(point)
        for curve in curves.values():
            corrected = finite(curve[0]["lambda"])
            curve.sort(key=lambda point: point[self.name] if corrected else point["length"])
            if corrected or all(finite(point["length"]) for point in curve):
                y = self.scale * np.clip([p["y"] for p in curve], self.low, self.high)
                style = "--" if curve[0]["dice"] else "-" if corrected else ":"
                self.axes.plot([p["variance"] for p in curve], y, style, color="0.75", lw=0.7, zorder=1)
            for point in curve:
                colour = shades[point[self.name]] if corrected else self.plain[point["entry"]]
                self.point(point, self.markers.get(point["length"], "*"), colour)
        self.axes.set_xscale("log")
        self.axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        self.axes.grid()
        self.axes.set_xlabel("variance of one estimate\n(sum over coordinates)")


def colour_bar(figure, axes, values, cut, text):
    norm = matplotlib.colors.BoundaryNorm(np.arange(max(len(values), 2) + 1) - 0.5, max(len(values), 2))
    bar = figure.colorbar(
        matplotlib.cm.ScalarMappable(norm, cut), ax=axes, orientation="horizontal", location="top", aspect=26, pad=0.03,
        ticks=range(len(values)), fraction=0.06,
    )  # fmt: skip
    bar.ax.set_xticklabels([f"{value:g}" for value in values])
    bar.minorticks_off()
    bar.ax.tick_params(length=0, pad=1)
    bar.set_label(text, labelpad=3)
    bar.outline.set_linewidth(0)


def legend_entries(points, markers, plain, low, high):
    def key(marker, text, **style):
        return Line2D([], [], **{"marker": marker, "ls": "", "ms": 4.6, "label": text, **style})

    entries = [key(marker, f"$T={value:g}$", mfc="0.55", mec="0.55") for value, marker in markers.items()]
    for entry, colour in plain.items():
        ruled = all(finite(p["length"]) for p in points if p["entry"] == entry)
        entries.append(key("o" if ruled else "*", entry, mfc=colour, mec=colour, ls=":" if ruled else "", color="0.75"))
    if any(p["dice"] for p in points):
        entries.append(key("o", "DiCE", ls="--", color="0.75", ms=5.4, mfc="0.55", mec="black", mew=1.2))
    if any(not low <= p["y"] <= high for p in points):
        entries.append(key(r"$\uparrow$", "beyond the axis", mfc="0.3", mec="0.3", mew=0.3))
    if any(p["zero"] for p in points):
        entries.append(key("o", "zero bias not excluded", mfc="white", mec="0.3", mew=1))
    return entries


def panels_of(points):
    """(variable, points with a correction, label of the colours) of each panel."""
    full = max((p["discount"] for p in points if finite(p["discount"])), default=math.nan)
    corrected = [p for p in points if finite(p["lambda"])]
    panels = [
        ("lambda", [p for p in corrected if p["discount"] in (full,) or not finite(p["discount"])], r"coefficient $\lambda$"),
        ("discount", [p for p in corrected if p["lambda"] == 1 and finite(p["discount"])], r"meta-discount $\gamma$"),
    ]
    return panels if len({p["discount"] for p in panels[1][1]}) > 1 else panels[:1]


def draw_frontier(tables, measure):
    points = read(tables, measure)
    markers = {value: MARKERS[k % len(MARKERS)] for k, value in enumerate(sorted({p["length"] for p in points if finite(p["length"])}))}
    names = dict.fromkeys(p["entry"] for p in points if not finite(p["lambda"]))
    plain = {entry: PLAIN_COLOURS[k % len(PLAIN_COLOURS)] for k, entry in enumerate(names)}
    low, high = measure.limits(points)
    scale, power = unit(max(abs(low), abs(high)))
    panels = panels_of(points)
    figure, axes = plt.subplots(
        1, len(panels), figsize=(5.5 if len(panels) == 2 else 3.4, 4.0), sharey=True, squeeze=False, layout="constrained"
    )
    axes[0][0].set_ylim(scale * low, scale * high)
    for ax, (name, chosen, text) in zip(axes[0], panels):
        values, cut, shades = viridis(p[name] for p in chosen)
        others = [p for p in points if not finite(p["lambda"])]
        Panel(ax, name, markers, plain, low, high, scale).draw(chosen + others, shades)
        ax.axhline(scale * measure.line, color="0.5", ls="--", lw=0.9, zorder=1.5)
        if any(p["y"] < low for p in chosen + others):
            ax.tick_params("x", which="both", pad=9)  # room for arrows
        if chosen:
            colour_bar(figure, ax, values, cut, text)
    axes[0][0].set_ylabel(measure.text + power)
    drawn = {p["setting"]: p for _, chosen, _ in panels for p in chosen} | {p["setting"]: p for p in points if not finite(p["lambda"])}
    below(figure, legend_entries(list(drawn.values()), markers, plain, low, high), 5 if len(panels) == 2 else 3)
    return figure, list(drawn.values())


def draw(tables):
    figure, rows = draw_frontier(tables, Measure(COLUMN, "v22_bias", 1, limits, "squared bias (mean over coordinates)", 0))
    return Drawn(
        figure,
        rows,
        "Squared bias (unbiased estimate, mean over coordinates) against the variance of one estimate, both averaged over the eta "
        f"points. Bars: {tables.interval_text} for these eta points. Hollow: the interval of the bias includes zero. Left: "
        "coefficients of the sampling correction at meta-discount 1; right: meta-discounts at coefficient 1. Estimators without a "
        "correction are in both.",
    )
