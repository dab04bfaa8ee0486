"""Draws the frontier of Vuorio et al. 2022: squared bias against variance, averaged over the eta points.

usage: plot_frontier.py GRID.CSV -o DIR

Reads the grid.csv that `metavar analyze` writes and makes DIR/frontier.pdf and DIR/frontier.png.

left   the coefficient lambda of the sampling correction, at meta-discount 1
right  the meta-discount, at coefficient 1
x      variance of one estimate, sum over coordinates, log scale
y      mean over coordinates of the squared bias, as published (plug-in), times 10^4

Colour is the coefficient or discount, the marker the truncation length T. Lines join what differs in colour
only. DiCE: dashed lines, black edges. Estimators without a correction (ES, finite differences) are grey and in both panels. Hollow:
bias not distinguishable from zero (unbiased estimate less than 1.96 standard errors above it). Bars: one standard error. Arrows: points
above the axis, which ends over the largest bias that is known and not DiCE's.
"""

import argparse
import csv
import math
import os
import sys

try:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator
except ImportError as missing:
    sys.exit(f"metavar: plot needs the Python packages matplotlib and numpy ({missing}); Debian: apt install python3-matplotlib")

UNIT = 1e4  # of the bias axis, as published
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "<", ">"]
PLAIN = {"es": ("0.35", "ES"), "fd": ("tab:brown", "finite differences")}
STYLE = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,
}


def number(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def read(path):
    """Rows of grid.csv that estimate the gradient itself and have a bias."""
    try:
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        sys.exit(f"metavar: cannot read {path}: {error.strerror}")
    needed = {"role", "estimator", "lambda", "variance", "variance_se", "v22_bias", "v22_bias_se", "v22_bias_unbiased"}
    if rows and not needed <= set(rows[0]):
        sys.exit(f"metavar: {path} lacks the columns {sorted(needed - set(rows[0]))}; run `metavar analyze` again")
    points = []
    for row in rows:
        if row["role"] != "gradient":
            continue
        point = {name: number(row[name]) for name in needed - {"role", "estimator"}}
        if not (math.isfinite(point["v22_bias"]) and point["variance"] > 0):
            continue
        point["entry"], point["estimator"] = row["entry"], row["estimator"]
        point["length"] = number(row.get("truncation"))
        point["discount"] = number(row.get("meta_discount"))
        point["dice"] = row.get("hessian") == "dice"
        points.append(point)
    if not points:
        sys.exit(f"metavar: {path} has no rows with a bias to draw; analyze a run that has a reference entry")
    return points


def has_zero(point):
    """Whether the bias may be zero, for all that the samples say."""
    return not point["v22_bias_unbiased"] > 1.96 * point["v22_bias_se"]


def ceiling(points):
    """Top of the bias axis: what is above and is DiCE's or cannot be told from noise must not squeeze the rest."""
    known = [p["v22_bias"] + p["v22_bias_se"] for p in points if not p["dice"] and not has_zero(p)]
    return 1.25 * UNIT * max(known or [p["v22_bias"] for p in points])


def draw_point(axes, point, marker, colour, top):
    x, y, hollow = point["variance"], UNIT * point["v22_bias"], has_zero(point)
    outside = y > top
    if outside:  # at the upper end, with an arrow
        y = top
        axes.annotate(
            "", (x, top), (0, 9), textcoords="offset points", annotation_clip=False,
            arrowprops={"arrowstyle": "<|-", "color": colour, "lw": 0.7, "mutation_scale": 5, "shrinkA": 0, "shrinkB": 0},
        )
    elif math.isfinite(point["v22_bias_se"]) and math.isfinite(point["variance_se"]):
        low = min(point["variance_se"], 0.9 * x)  # the bar must stay on the log axis
        axes.errorbar(
            x, y, xerr=[[low], [point["variance_se"]]], yerr=UNIT * point["v22_bias_se"], fmt="none", ecolor=colour,
            elinewidth=0.6, alpha=0.6, zorder=2,
        )
    style = {"ls": "", "marker": marker, "clip_on": not outside, "zorder": 4 if hollow else 3}
    if point["dice"]:
        axes.plot(x, y, ms=7, mfc="black", mec="black", mew=0, **style)
    axes.plot(x, y, ms=4.6, mfc="white" if hollow else colour, mec=colour if hollow else "white", mew=1 if hollow else 0.4, **style)


def draw_panel(axes, points, name, markers, shade, top):
    """Curves of what has a correction, along `name`; then the plain estimators."""
    curves = {}
    for point in points:
        if math.isfinite(point["lambda"]):
            curves.setdefault((point["entry"], point["dice"], point["length"]), []).append(point)
    for (_, dice, length), curve in curves.items():
        curve.sort(key=lambda point: point[name])
        x, y = [p["variance"] for p in curve], [UNIT * p["v22_bias"] for p in curve]
        y = [min(value, top) for value in y]
        axes.plot(x, y, "--" if dice else "-", color="0.75", lw=0.7, zorder=1)
        for point in curve:
            draw_point(axes, point, markers.get(length, "o"), shade(point[name]), top)
    for point in points:
        if not math.isfinite(point["lambda"]):
            colour = PLAIN.get(point["estimator"], ("0.35", ""))[0]
            draw_point(axes, point, markers.get(point["length"], "*"), colour, top)
    axes.axhline(0, color="0.5", ls="--", lw=0.9, zorder=1.5)
    axes.set_xscale("log")
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.grid(color="0.93", lw=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel("variance (sum over coordinates)")


def shading(values):
    """A colour for each value: viridis without its pale end, and the map and limits for the colour bar."""
    values = sorted(set(values)) or [0]
    cut = matplotlib.colors.ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0, 0.9, max(len(values), 2))))
    places = {value: k for k, value in enumerate(values)}
    return values, cut, lambda value: cut(places[value])


def colour_bar(figure, axes, values, cut, label):
    norm = matplotlib.colors.BoundaryNorm(np.arange(len(values) + 1) - 0.5, max(len(values), 2))
    bar = figure.colorbar(
        matplotlib.cm.ScalarMappable(norm, cut), ax=axes, orientation="horizontal", location="top", aspect=26, pad=0.03,
        ticks=range(len(values)), fraction=0.06,
    )
    bar.ax.set_xticklabels([f"{value:g}" for value in values])
    bar.minorticks_off()
    bar.ax.tick_params(length=0, pad=1)
    bar.set_label(label, labelpad=3)
    bar.outline.set_linewidth(0)


def legend_entries(points, markers, top):
    def key(marker, label, **style):
        return Line2D([], [], marker=marker, ls="", ms=4.6, label=label, **style)

    entries = [key(marker, f"$T={length:g}$", mfc="0.55", mec="0.55") for length, marker in markers.items()]
    for name, (colour, label) in PLAIN.items():
        found = [p for p in points if p["estimator"] == name]
        if found:
            marker = "o" if math.isfinite(found[0]["length"]) else "*"
            entries.append(key(marker, label, mfc=colour, mec=colour))
    if any(p["dice"] for p in points):
        entries.append(Line2D([], [], marker="o", ls="--", color="0.75", ms=5.4, mfc="0.55", mec="black", mew=1.2, label="DiCE"))
    if any(UNIT * p["v22_bias"] > top for p in points):
        entries.append(key(r"$\uparrow$", "above the axis", mfc="0.3", mec="0.3", mew=0.3))
    if any(has_zero(p) for p in points):
        entries.append(key("o", "zero bias not excluded", mfc="white", mec="0.3", mew=1))
    return entries


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table")
    parser.add_argument("-o", "--output", default=".")
    options = parser.parse_args()
    points = read(options.table)
    plt.rcParams.update(STYLE)

    lengths = sorted({p["length"] for p in points if math.isfinite(p["length"])})
    markers = {length: MARKERS[k % len(MARKERS)] for k, length in enumerate(lengths)}
    discounts = [p["discount"] for p in points if math.isfinite(p["discount"])]
    full = max(discounts, default=math.nan)
    plain = [p for p in points if not math.isfinite(p["lambda"])]
    corrected = [p for p in points if math.isfinite(p["lambda"])]
    by_coefficient = [p for p in corrected if p["discount"] == full or not math.isfinite(p["discount"])]
    by_discount = [p for p in corrected if p["lambda"] == 1 and math.isfinite(p["discount"])]
    panels = [("lambda", by_coefficient, r"coefficient $\lambda$ of the sampling correction")]
    if len({p["discount"] for p in by_discount}) > 1:
        panels.append(("discount", by_discount, r"meta-discount $\gamma$ of the correction"))

    figure, axes = plt.subplots(
        1, len(panels), figsize=(5.5 if len(panels) == 2 else 3.4, 3.7), sharey=True, squeeze=False, layout="constrained"
    )
    top = ceiling(points)
    axes[0][0].set_ylim(-0.05 * top, top)
    for ax, (name, chosen, label) in zip(axes[0], panels):
        values, cut, shade = shading(p[name] for p in chosen)
        draw_panel(ax, chosen + plain, name, markers, shade, top)
        if chosen:
            colour_bar(figure, ax, values, cut, label)
    axes[0][0].set_ylabel(r"squared bias (mean over coordinates) $\times 10^{4}$")
    entries = legend_entries(points, markers, top)
    columns = 5 if len(panels) == 2 else 3
    height = 0.055 * math.ceil(len(entries) / columns)
    figure.get_layout_engine().set(rect=(0, height, 1, 1 - height))
    figure.legend(
        handles=entries, loc="lower center", ncol=columns, frameon=False, columnspacing=1.2, handletextpad=0.3, borderaxespad=0.1
    )

    try:
        os.makedirs(options.output, exist_ok=True)
    except OSError as error:
        sys.exit(f"metavar: cannot create {options.output}: {error.strerror}")
    for name, extra in (("frontier.pdf", {"metadata": {"CreationDate": None}}), ("frontier.png", {"dpi": 300})):
        path = os.path.join(options.output, name)
        hidden = os.path.join(options.output, "." + name)
        try:
            figure.savefig(hidden, format=name[-3:], **extra)
            os.replace(hidden, path)
        except OSError as error:
            sys.exit(f"metavar: cannot write {path}: {error.strerror}")
        print(path)


if __name__ == "__main__":
    main()
