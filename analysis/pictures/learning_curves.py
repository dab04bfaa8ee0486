"""Learning curves: the objective at unperturbed eta against updates and against inner steps spent, one line of panels per start."""

from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from .shared import BLACK, BLUE, DOUBLE, GREEN, ORANGE, PINK, RED, SKY, YELLOW, Drawn, LeftOut, below, finite, np, plt

ORDER = 20
TABLE = "curves"
TITLE = "Learning curves"
COLOURS = [BLUE, ORANGE, GREEN, RED, SKY, PINK, BLACK, YELLOW, "0.5"]
MOST = 6  # starts


def colours_of(rows):
    return {entry: COLOURS[k % len(COLOURS)] for k, entry in enumerate(dict.fromkeys(row["entry"] for row in rows))}


def start_of(row):
    """(1, 5)"""
    names = [name for name in row if name.startswith("start_")]
    return f"({', '.join(f'{row[name]:g}' for name in names)})" if len(names) <= 3 else f"{row['start']:g}"


def points_of(rows, column):
    """What is known of one curve."""
    return [
        {
            "entry": row["entry"], "start": int(row["start"]), "update": int(row["update"]),
            "steps": row["spent_primal"] + row["spent_tangent"], "seeds": int(row[column + "_seeds"]),
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
    rows = tables.rows("curves", "entry", "start", "update", "spent_primal", "spent_tangent", "evaluated", "objective")
    column = "evaluated" if any(finite(row["evaluated"]) for row in rows) else "objective"
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
            chosen = [row for row in rows if row["start"] == start and row["entry"] == entry]
            points = points_of(chosen, column)
            for ax, across in zip(line, ("update", "steps")):
                draw_curve(ax, points, across, colour)
                ax.grid()
            drawn += points
        first = next(row for row in rows if row["start"] == start)
        line[0].set_ylabel(f"objective\nfrom {start_of(first)}")
    if not drawn:
        raise LeftOut("no objective in these curves is finite")
    axes[-1][0].set_xlabel("updates")
    axes[-1][1].xaxis.set_major_formatter(EngFormatter(sep=""))
    axes[-1][1].set_xlabel("inner steps spent on gradients (primal + tangent)")
    below(figure, [Line2D([], [], color=colour, lw=1.5, label=entry) for entry, colour in colours.items()], min(len(colours), 5))
    seeds = max(point["seeds"] for point in drawn)
    where = "at unperturbed eta over held-out replicates" if column == "evaluated" else "of the replicates that gradients come from"
    band = f"one standard error over {seeds} seeds" if seeds > 1 else "one standard error over replicates (there is one seed)"
    caption = f"Mean objective {where}, against updates (left) and inner steps (right). Bands: {band}."
    if len(starts) > MOST:
        caption += f" The first {MOST} of {len(starts)} starts."
    return Drawn(figure, drawn, caption)
