"""Stacked bars, one per setting: signed parts that add up to a total, each with its interval."""

import math
from collections import namedtuple

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .shared import BLACK, DOUBLE, bars, below, discount, finite, label, length, plt, setting, unit

WIDTH = 0.8
FEWEST = 8  # bars that a panel has room for, so that a single one is no wall
MOST_PANELS = 6
Part = namedtuple("Part", "name value low high")
Bar = namedtuple("Bar", "setting group text parts total row")  # parts: {name: Part}; total: Part or None


def collect(rows, kind, total, part):
    """Bars of the settings at full meta-discount, in order of length and coefficient. part(row) makes a Part; `kind` is the column that
    names it, `total` the name of the sum."""
    full = max((discount(row) for row in rows if finite(discount(row))), default=None)
    found = {}
    for row in rows:
        if finite(discount(row)) and discount(row) != full:
            continue
        key = setting(row)
        found.setdefault(key, (row, {}))[1][row[kind]] = part(row)
    out = []
    for row, parts in found.values():
        whole = parts.pop(total, None)
        corrected = finite(row["lambda"])
        group = f"T = {length(row):g}" if corrected else row["entry"]
        text = f"{row['lambda']:g}" if corrected else label(row, leave=("entry",)).replace("T=", "")
        out.append(Bar(label(row), group, text, parts, whole, row))
    return sorted(out, key=lambda bar: (length(bar.row) if finite(length(bar.row)) else 0, bar.row["lambda"] if finite(bar.row["lambda"]) else 0))


def panels(found):
    """(title, what the bars' labels are, bars) of each panel: one for each entry and Hessian mode, one for all that has no coefficient."""
    out = {}
    for bar in found:
        corrected = finite(bar.row["lambda"])
        title = label(bar.row, leave=("truncation", "meta_discount", "lambda")) if corrected else ""
        out.setdefault(title, []).append(bar)
    plain = out.pop("", [])
    sheets = [(title, r"$\lambda$", chosen) for title, chosen in out.items()]
    if plain:
        plain.sort(key=lambda bar: bar.group)  # stable: by length within an entry
        sheets.append(("no correction", "$T$", plain))
    return sheets[:MOST_PANELS], [title for title, _, _ in sheets[MOST_PANELS:]]


def positions(chosen):
    """Places of the bars, with gaps between groups; middles and names of the groups."""
    places, groups, at = [], {}, 0.0
    for k, bar in enumerate(chosen):
        at += 1.0 if k else 0.0
        if k and bar.group != chosen[k - 1].group:
            at += 0.8
        places.append(at)
        groups.setdefault(bar.group, []).append(at)
    return np.array(places), {name: (x[0] + x[-1]) / 2 for name, x in groups.items()}


def height(bar):
    """Ends of the stack."""
    values = [part.value for part in bar.parts.values() if finite(part.value)] + [0.0]
    return sum(v for v in values if v < 0), sum(v for v in values if v > 0)


def pieces(bar):
    """All of a bar that has an interval."""
    every = [*bar.parts.values(), *([bar.total] if bar.total else [])]
    return [part for part in every if finite(part.low) and finite(part.high)]


def width(bar):
    return max((part.high - part.low for part in pieces(bar)), default=0.0)


def sure(bar):
    """Whether the bar is more than noise."""
    low, high = height(bar)
    told = any(part.low > 0 or part.high < 0 for part in pieces(bar))
    return not pieces(bar) or told and width(bar) < 2 * (high - low)


def ends(chosen):
    """Limits of a panel's vertical axis: bars that may be noise do not stretch it, nor do intervals longer than bars."""
    known, far = [bar for bar in chosen if sure(bar)], 0.5
    if not known:  # the surest, and how unsure they are
        known, far = sorted(chosen, key=width)[: (len(chosen) + 1) // 2], math.inf
    low, high = min(height(bar)[0] for bar in known), max(height(bar)[1] for bar in known)
    size = max(high, -low)
    low = min([low, *(part.low for bar in known for part in pieces(bar) if part.low > low - far * size)])
    high = max([high, *(part.high for bar in known for part in pieces(bar) if part.high < high + far * size)])
    room = 0.1 * (high - low)
    return (low - room if low < 0 else 0.0), high + room


def draw_stack(axes, x, bar, colours, scale):
    """Positive parts upwards from zero, negative ones downwards; their intervals side by side. Ends of the stack."""
    reach = {1: 0.0, -1: 0.0}
    names = [name for name in colours if name in bar.parts and finite(bar.parts[name].value)]
    slots = np.linspace(-0.32, 0.32, len(names) + len(names) % 2)  # the middle is the total's
    for slot, name in zip(slots, names):
        part = bar.parts[name]
        side = 1 if part.value >= 0 else -1
        axes.bar(x, scale * part.value, WIDTH, bottom=scale * reach[side], color=colours[name], lw=0.3, ec="white")
        reach[side] += part.value
        if finite(part.low) and finite(part.high):
            span = scale * bars(part.value, part.low, part.high).reshape(2, 1)
            axes.errorbar(x + slot * WIDTH, scale * reach[side], yerr=span, fmt="none", ecolor="0.25", elinewidth=0.5, zorder=3)
    return reach[-1], reach[1]


def draw_total(axes, x, total, scale):
    span = scale * bars(total.value, total.low, total.high).reshape(2, 1)
    axes.errorbar(
        x, scale * total.value, yerr=span, fmt="D", ms=2.6, mfc="white", mec=BLACK, mew=0.7, ecolor=BLACK, elinewidth=0.8, zorder=4
    )


def draw_bars(axes, chosen, colours, scale):
    """One panel; whether a bar goes beyond its axis."""
    places, _ = positions(chosen)
    low, high = ends(chosen)
    cut = False
    for x, bar in zip(places, chosen):
        bottom, top = draw_stack(axes, x, bar, colours, scale)
        for outside, edge, marker in ((top > high, high, "^"), (bottom < low, low, "v")):
            if outside:
                axes.plot(x, scale * edge, marker, ms=3, color="black", clip_on=False, zorder=5)
                cut = True
        if bar.total and low <= bar.total.value <= high:
            draw_total(axes, x, bar.total, scale)
    axes.set_ylim(scale * low, scale * high)
    axes.axhline(0, color="0.3", lw=0.6)
    return cut


def name_bars(axes, what, chosen):
    """Ticks: what tells the bars of a group apart, and under it what tells the groups."""
    places, groups = positions(chosen)
    middle, half = (places[0] + places[-1]) / 2, max((places[-1] - places[0]) / 2 + 1, FEWEST / 2)
    axes.set_xlim(middle - half, middle + half)
    axes.set_xticks(places, [bar.text for bar in chosen], fontsize=6)
    axes.tick_params("x", length=0, pad=2)
    axes.grid(axis="y")
    axes.annotate(what, (1, 0), (2, -2), xycoords="axes fraction", textcoords="offset points", va="top", fontsize=7)
    points = 72 * (DOUBLE - 0.7) / (2 * half)  # of one bar
    end, down = -math.inf, 0
    for name, x in groups.items():
        side = 1.9 * len(name) + 3
        down = 1 - down if points * x - side < end else 0  # names that would touch go on two lines
        end = points * x + side
        axes.annotate(
            name, (x, 0), (0, -11 - 8 * down), xycoords=("data", "axes fraction"), textcoords="offset points", ha="center", va="top",
            fontsize=7,
        )  # fmt: skip


def stacked(sheets, colours, text):
    """The figure: a panel for each sheet, all in one unit."""
    figure, axes = plt.subplots(len(sheets), 1, figsize=(DOUBLE, 0.5 + 1.7 * len(sheets)), squeeze=False, layout="constrained")
    scale, power = unit(max(map(abs, ends(sheets[0][2]))))
    cut = False
    for ax, (title, what, chosen) in zip(axes[:, 0], sheets):
        cut = draw_bars(ax, chosen, colours, scale) or cut
        name_bars(ax, what, chosen)
        ax.set_title(title, loc="left", pad=3)
        ax.set_ylabel(text + power)
    legend(figure, sheets, colours, cut, "total")
    return figure


def legend(figure, sheets, colours, cut, total):
    used = [name for name in colours if any(name in bar.parts for _, _, chosen in sheets for bar in chosen)]
    entries = [Patch(color=colours[name], label=name) for name in used]
    if any(bar.total for _, _, chosen in sheets for bar in chosen):
        entries.append(Line2D([], [], marker="D", ms=3, mfc="white", mec=BLACK, mew=0.7, color=BLACK, lw=0.8, label=total))
    if cut:
        entries.append(Line2D([], [], marker="^", ls="", ms=3, color="black", label="beyond the axis"))
    below(figure, entries, min(len(entries), 8))


def rows_drawn(sheets, named):
    """What is drawn, for the picture's CSV."""
    out = []
    for title, _, chosen in sheets:
        for bar in chosen:
            for part in [*bar.parts.values(), *([bar.total] if bar.total else [])]:
                values = {"value": part.value, "low": part.low, "high": part.high}
                out.append({"panel": title, "setting": bar.setting, named: part.name, **values})
    return out
