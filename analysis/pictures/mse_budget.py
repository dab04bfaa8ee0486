"""Mean squared error against budget: which setting is best where, and the budgets at which the answer changes.

A curve is a family: the settings of one entry that differ in coefficient and meta-discount only; at each budget the best of them.
"""

import itertools
import math

import numpy as np
from matplotlib.lines import Line2D

from .shared import (
    BLACK, BLUE, DOUBLE, GREEN, ORANGE, PINK, RED, SKY, Drawn, LeftOut, bars, discount, finite, label, length, plt, setting, viridis,
)  # fmt: skip

ORDER = 5
TITLE = "Mean squared error against budget"
COLOURS = [BLUE, ORANGE, GREEN, RED, SKY, PINK, BLACK]
LINES = ["-", (0, (4, 1.5)), (0, (1, 1))]
MOST = 14  # families; the best of each entry, then those with the smallest error somewhere come first


def family(row, suffix=""):
    return label(row, suffix, leave=("meta_discount", "lambda"))


def best_of(rows):
    """{family: its best row at each budget, in order}."""
    found = {}
    for row in rows:
        at = found.setdefault(family(row), {})
        if row["budget"] not in at or row["mse"] < at[row["budget"]]["mse"]:
            at[row["budget"]] = row
    return {name: [at[budget] for budget in sorted(at)] for name, at in found.items()}


def choose(found):
    """The families to draw, in order of the budget at which they come closest to the best of all."""
    least = {}
    for curve in found.values():
        for row in curve:
            least[row["budget"]] = min(least.get(row["budget"], math.inf), row["mse"])
    nearest = {name: min((row["mse"] / least[row["budget"]], row["budget"]) for row in curve) for name, curve in found.items()}
    ranked, seen = sorted(found, key=lambda name: nearest[name]), set()
    again = {name: (entry := found[name][0]["entry"]) in seen or seen.add(entry) for name in ranked}  # not its entry's best
    chosen = sorted(ranked, key=lambda name: bool(again[name]))[:MOST]
    return sorted(chosen, key=lambda name: nearest[name][1])


def column(rows, name):
    return np.array([row[name] for row in rows])


def read(tables):
    """Rows of budget.csv that have an error, and the best of them at each budget, in order."""
    rows = tables.rows("budget", "budget", "mse", "mse_low", "mse_high", "best")
    rows = [row for row in rows if finite(row["mse"]) and row["mse"] > 0]
    winners = sorted({row["budget"]: row for row in reversed(rows) if row["best"] == 1}.values(), key=lambda row: row["budget"])
    if not winners:
        raise LeftOut("budget.csv names no best setting")
    return rows, winners


def break_evens(tables, winners, found):
    """(row of breakeven.csv, error there) where the best passes from one family to another."""
    if not tables.has("breakeven"):
        return []
    changes = {(setting(a), setting(b)) for a, b in zip(winners, winners[1:]) if family(a) != family(b)}
    out = []
    for row in tables.rows("breakeven", "budget", "budget_low", "budget_high"):
        if (setting(row, "_a"), setting(row, "_b")) in changes and finite(row["budget"]) and row["budget"] > 0:
            curve = found[family(row, "_b")]
            at = np.interp(math.log(row["budget"]), np.log(column(curve, "budget")), np.log(column(curve, "mse")))
            out.append((row, math.exp(at)))
    return out


def styles_of(found, winners):
    """{family: colour and line}: the winners' colours are their own."""
    names, won = choose(found), {family(row) for row in winners}
    ranked = sorted(names, key=lambda name: name not in won)
    styles = {name: (COLOURS[k % len(COLOURS)], LINES[k // len(COLOURS) % len(LINES)]) for k, name in enumerate(ranked)}
    return {name: styles[name] for name in names}


def between(curve, name, dense):
    """A column at budgets close together; inf where the budget buys no sample."""
    values = np.log(np.maximum(column(curve, name), 1e-300))
    return np.exp(np.interp(np.log(dense), np.log(column(curve, "budget")), values, left=np.inf))


def draw_curves(axes, found, styles):
    every = np.concatenate([column(found[name], "budget") for name in styles])
    dense = np.geomspace(every.min(), every.max(), 800)
    errors = np.array([between(found[name], "mse", dense) for name in styles])
    least = np.argmin(errors, axis=0)
    for k, (name, (colour, line)) in enumerate(styles.items()):
        curve, best = found[name], least == k
        axes.plot(column(curve, "budget"), column(curve, "mse"), ls=line, color=colour, lw=0.9, zorder=2)
        low, high = (between(curve, end, dense) for end in ("mse_low", "mse_high"))
        axes.fill_between(dense, low, high, where=best, color=colour, alpha=0.3, lw=0)
        axes.plot(dense, np.where(best, errors[k], np.nan), ls=line, color=colour, lw=2.4, dash_capstyle="butt", solid_capstyle="butt", zorder=3)


def draw_break_evens(axes, points):
    low, high = axes.get_xlim()
    for row, mse in points:
        ends = np.clip([row["budget_low"], row["budget_high"]], low, high)
        axes.errorbar(
            row["budget"], mse, xerr=bars(row["budget"], *ends).reshape(2, 1), fmt="o", ms=4, mfc="white", mec=BLACK, mew=0.8,
            ecolor=BLACK, elinewidth=0.8, capsize=2, capthick=0.8, zorder=5,
        )  # fmt: skip
    axes.set_xlim(low, high)


def draw_strip(axes, winners, value, name):
    """Value of the best setting along the budget, as colours and numbers."""
    budgets = np.log(column(winners, "budget"))
    edges = np.exp(np.concatenate([budgets[:1], (budgets[1:] + budgets[:-1]) / 2, budgets[-1:]]))
    values = [value(row) if finite(value(row)) else None for row in winners]
    _, _, shades = viridis(v for v in values if v is not None)
    start = 0
    for held, same in itertools.groupby(values):
        end = start + len(list(same))
        low, high = edges[start], edges[end]
        colour = (0.93,) * 3 if held is None else shades[held]
        axes.axvspan(low, high, color=colour, lw=0)
        if len(winners) > 1 and math.log(high / low) > 0.035 * (budgets[-1] - budgets[0]):
            text = "none" if held is None else f"{held:g}"
            axes.text(
                math.sqrt(low * high), 0.5, text, ha="center", va="center", fontsize=6, color="white" if sum(colour[:3]) < 1.5 else "black",
                transform=axes.get_xaxis_transform(),
            )  # fmt: skip
        start = end
    axes.set_yticks([])
    axes.set_ylabel(name, rotation=0, ha="right", va="center")
    for spine in axes.spines.values():
        spine.set_visible(False)


def strip_value(name):
    def value(row):
        return row["lambda"] if name == "lambda" else math.nan if row["lambda"] == 0 else discount(row)

    return value


def draw_figure(found, styles, winners, points):
    figure, axes = plt.subplots(3, 1, figsize=(DOUBLE, 3.7), height_ratios=[1, 0.05, 0.05], sharex=True, layout="constrained")
    draw_curves(axes[0], found, styles)
    budgets, mse = column(winners, "budget"), column(winners, "mse")
    axes[0].set(xscale="log", yscale="log", xlim=(budgets.min(), budgets.max()), ylim=(0.4 * mse.min(), 3 * mse.max()))
    draw_break_evens(axes[0], points)
    axes[0].set_ylabel("mean squared error\n(sum over coordinates)")
    axes[0].grid()
    draw_strip(axes[1], winners, strip_value("lambda"), r"best $\lambda$")
    draw_strip(axes[2], winners, strip_value("discount"), r"best $\gamma$")
    axes[2].set_xlabel("budget: inner steps for one estimate at one eta point")
    entries = [Line2D([], [], color=colour, ls=line, label=name) for name, (colour, line) in styles.items()]
    entries.append(Line2D([], [], color="0.4", lw=2.4, label="best of all"))
    if points:
        entries.append(Line2D([], [], marker="o", ms=4, mfc="white", mec=BLACK, color=BLACK, lw=0.8, label="break-even"))
    axes[0].legend(handles=entries, bbox_to_anchor=(1.01, 1), loc="upper left", borderaxespad=0)
    return figure


def draw(tables):
    rows, winners = read(tables)
    found = best_of(rows)
    styles = styles_of(found, winners)
    points = break_evens(tables, winners, found)
    figure = draw_figure(found, styles, winners, points)
    empty = {"budget_low": math.nan, "budget_high": math.nan, "mse_low": math.nan, "mse_high": math.nan}
    drawn = [
        {"kind": "curve", "family": name, "setting": label(row), "best": int(row["best"]), "budget": row["budget"], "mse": row["mse"]}
        | {column: row.get(column, value) for column, value in empty.items()}
        for name in styles for row in found[name]
    ]  # fmt: skip
    for row, mse in points:
        words = {"kind": "break-even", "family": family(row, "_b"), "setting": label(row, "_b"), "best": 0, "budget": row["budget"], "mse": mse}
        drawn.append(words | {column: row.get(column, value) for column, value in empty.items()})
    left = [name for name in found if name not in styles]
    return Drawn(
        figure,
        drawn,
        "Mean squared error of the estimate that a budget buys, averaged over the eta points: squared bias plus variance over the number "
        "of samples. A line is the best coefficient and meta-discount at each budget. Thick: the best of all, with "
        f"{tables.interval_text} (shaded); its coefficient and meta-discount are below. Circles: break-even budgets where the best passes "
        "to another estimator or window, with intervals; those that reach the edge of the picture go on beyond it."
        + (f" Not drawn: {', '.join(left)}." if left else ""),
    )
