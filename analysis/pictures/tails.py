"""Tails: how much of a variance comes from its largest sample, and how heavy the tail is."""

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from .shared import BLUE, DOUBLE, RED, Drawn, LeftOut, below, discount, finite, is_dice, label, length, plt, setting

ORDER = 7
TITLE = "Tails"
MOST = 40


def watched(tables):
    """{setting: rows by point} of what has its largest samples kept, at full meta-discount."""
    rows = [row for row in tables.rows("cells", "role", "largest_share", "point") if finite(row["largest_share"]) and row["role"] == "gradient"]
    full = max((discount(row) for row in rows if finite(discount(row))), default=None)
    found = {}
    for row in rows:
        if not finite(discount(row)) or discount(row) == full:
            found.setdefault(setting(row), []).append(row)
    return dict(sorted(found.items(), key=lambda item: order(item[1][0])))


def order(row):
    return (row["entry"], is_dice(row), length(row) if finite(length(row)) else 0)


def strip(axes, chosen, name, z):
    """A row of dots for each setting: the eta points, and the worst of them."""
    for y, rows in enumerate(chosen):
        values = np.array([row[name] for row in rows])
        x = values[np.isfinite(values)]
        if not len(x):
            continue
        jitter = 0.22 * ((np.arange(len(x)) * 0.618034) % 1 - 0.5)
        axes.plot(x, y + jitter, "o", ms=2.4, mfc=BLUE, mec="none", alpha=0.5)
        worst = rows[int(np.nanargmax(values) if name == "largest_share" else np.nanargmin(values))]
        axes.plot(worst[name], y, "|", ms=9, mew=1.4, color=RED)
        if name == "hill_index":
            axes.plot(worst[name] * (1 + np.array([-z, z]) / np.sqrt(worst["hill_count"])), [y, y], color=RED, lw=0.8)
    axes.grid(axis="x")
    axes.set_ylim(len(chosen) - 0.4, -0.6)
    axes.tick_params("y", length=0)


def draw(tables):
    found = watched(tables)
    if not found:
        raise LeftOut("cells.csv has no largest samples")
    chosen = list(found.values())[:MOST]
    hill = any(finite(row.get("hill_index", np.nan)) for rows in chosen for row in rows)
    figure, axes = plt.subplots(
        1, 1 + hill, figsize=(DOUBLE if hill else 0.62 * DOUBLE, 0.9 + 0.17 * len(chosen)), sharey=True, squeeze=False, layout="constrained"
    )
    share = axes[0][0]
    strip(share, chosen, "largest_share", tables.z)
    share.set(xscale="log", xlabel="largest sample's share of the sum of squares")
    share.set_yticks(range(len(chosen)), [label(rows[0]) for rows in chosen])
    share.set_xlim(right=1)
    entries = [
        Line2D([], [], marker="o", ls="", ms=2.4, mfc=BLUE, mec="none", label="an eta point"),
        Line2D([], [], marker="|", ls="", ms=8, mew=1.4, color=RED, label="the worst eta point"),
    ]
    if hill:
        strip(axes[0][1], chosen, "hill_index", tables.z)
        axes[0][1].set(xlabel="Hill index of the squared norm", xscale="log")
        axes[0][1].xaxis.set_major_locator(FixedLocator([0.5, 1, 2, 4, 8, 16, 32]))
        axes[0][1].xaxis.set_minor_locator(NullLocator())
        axes[0][1].xaxis.set_major_formatter("{x:g}")
        for value, text, style in ((1, "no variance", "-"), (2, "variance has no error", "--")):
            axes[0][1].axvline(value, color="0.3", lw=0.8, ls=style, zorder=1)
            entries.append(Line2D([], [], color="0.3", lw=0.8, ls=style, label=f"left of {value}: {text}"))
    below(figure, entries, len(entries))
    caption = (
        "Left: share of the largest sample in the sum of squared norms, at each eta point: near 1 a single sample makes the variance. "
        "All that have their largest samples kept: every plain gradient, and coefficients 0 and 1."
    )
    if hill:
        caption += (
            " Right: Hill index of the tail of the squared norm. Below 2 the variance's own error has no meaning, below 1 there is no "
            f"variance. Bars: {tables.interval_text} at the worst point."
        )
    if len(found) > MOST:
        caption += f" {len(found) - MOST} settings are not drawn."
    drawn = [
        {"setting": label(row), "point": int(row["point"]), "largest_share": row["largest_share"], "hill_index": row.get("hill_index", np.nan), "hill_count": row.get("hill_count", np.nan)}
        for rows in chosen for row in rows
    ]  # fmt: skip
    return Drawn(figure, drawn, caption)
