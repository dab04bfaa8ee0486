"""Learning curves: the objective at unperturbed eta against updates and against inner steps spent, a line of panels per start. Where
lifetimes are carried from update to update: the objective of the gradient's replicates against the inner steps of a lifetime."""

import os

from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from .shared import BLACK, BLUE, DOUBLE, GREEN, ORANGE, PINK, RED, SKY, YELLOW, Drawn, LeftOut, below, finite, np, plt

ORDER = 20
TABLE = "curves"
TITLE = "Learning curves"
COLOURS = [BLUE, ORANGE, GREEN, RED, SKY, PINK, BLACK, YELLOW, "0.5"]
MOST = 6  # starts


def colours_of(rows):
    return {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(dict.fromkeys(row["name"] for row in rows))}


def window_of(row):
    """Inner steps of an update of lifetimes that are carried; nan of others."""
    return row["lifetime_steps"] / (row["update"] + 1)


def name_rows(all_tables, *columns):
    """The rows of several trainings, each with its `name`: the entry's, with its window and its run where one name is not enough."""
    runs = [(tables, tables.rows("curves", *columns)) for tables in all_tables]
    windows = {window_of(row) for _, rows in runs for row in rows if finite(row["lifetime_steps"])}
    known = {}
    for tables, rows in runs:
        for row in rows:
            row["name"] = row["entry"] + (f" T={window_of(row):g}" if len(windows) > 1 and finite(row["lifetime_steps"]) else "")
            known.setdefault(row["name"], set()).add(tables.folder)
    for tables, rows in runs:
        run = os.path.basename(os.path.dirname(os.path.abspath(tables.folder)))
        for row in rows:
            row["name"] += f" ({run})" if len(known[row["name"]]) > 1 else ""
    return [row for _, rows in runs for row in rows]


def start_of(row):
    """(1, 5)"""
    names = [name for name in row if name.startswith("start_")]
    return f"({', '.join(f'{row[name]:g}' for name in names)})" if len(names) <= 3 else f"{row['start']:g}"


def points_of(rows, column):
    """What is known of one curve."""
    return [
        {
            "entry": row["name"], "start": int(row["start"]), "update": int(row["update"]),
            "steps": row["spent_primal"] + row["spent_tangent"], "lifetime_steps": row["lifetime_steps"], "seeds": int(row[column + "_seeds"]),
            "objective": row[column], "objective_se": row[column + "_se"],
        }
        for row in rows
        if finite(row[column])
    ]  # fmt: skip


def draw_curve(axes, points, across, colour):
    x, y, error = (np.array([point[name] for point in points], float) for name in (across, "objective", "objective_se"))
    axes.plot(x, y, color=colour, lw=1, zorder=3)
    axes.fill_between(x, y - error, y + error, color=colour, alpha=0.2, lw=0, zorder=2)


def draw(tables):
    columns = ("entry", "start", "update", "spent_primal", "spent_tangent", "lifetime_steps", "evaluated", "objective")
    rows = name_rows([tables, *tables.beside], *columns)
    column = "evaluated" if any(finite(row["evaluated"]) for row in rows) else "objective"
    carried = all(finite(row["lifetime_steps"]) for row in rows)
    starts = list(dict.fromkeys(row["start"] for row in rows))
    colours = colours_of(rows)
    if not rows:
        raise LeftOut("there are no curves")
    shown = starts[:MOST]
    figure, axes = plt.subplots(
        len(shown), 2, figsize=(DOUBLE, 0.4 + 1.9 * len(shown)), sharey=True, sharex="col", squeeze=False, layout="constrained"
    )
    drawn = []
    for line, start in zip(axes, shown):
        for entry, colour in colours.items():
            chosen = [row for row in rows if row["start"] == start and row["name"] == entry]
            points = points_of(chosen, column)
            for ax, across in zip(line, ("lifetime_steps" if carried else "update", "steps")):
                draw_curve(ax, points, across, colour)
                ax.grid(True)
            drawn += points
        first = next(row for row in rows if row["start"] == start)
        line[0].set_ylabel(f"objective\nfrom {start_of(first)}")
    if not drawn:
        raise LeftOut("no objective in these curves is finite")
    axes[-1][0].set_xlabel("inner steps of each lifetime" if carried else "updates")
    if carried:
        axes[-1][0].xaxis.set_major_formatter(EngFormatter(sep=""))
    axes[-1][1].xaxis.set_major_formatter(EngFormatter(sep=""))
    axes[-1][1].set_xlabel("inner steps spent on gradients (primal + tangent)")
    lines = -(-len(colours) // 5)
    below(figure, [Line2D([], [], color=colour, lw=1.5, label=entry) for entry, colour in colours.items()], -(-len(colours) // lines))
    seeds = max(point["seeds"] for point in drawn)
    where = "at unperturbed eta over held-out replicates" if column == "evaluated" else "of the replicates that gradients come from"
    band = f"one standard error over {seeds} seeds" if seeds > 1 else "one standard error over replicates (there is one seed)"
    across = "inner steps of each lifetime, which goes on from update to update (left)," if carried else "updates (left)"
    caption = f"Mean objective {where}, against {across} and inner steps spent (right). Bands: {band}."
    if carried:
        caption += " Points are means over the updates since the point before."
    if len(starts) > MOST:
        caption += f" The first {MOST} of {len(starts)} starts."
    return Drawn(figure, drawn, caption)
