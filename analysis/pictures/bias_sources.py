"""Where bias comes from: projections of the sources on the total bias, which add up to the squared bias, averaged over the eta points."""

from .shared import BLUE, GREEN, ORANGE, PINK, RED, SKY, Drawn, LeftOut
from .stacks import Part, collect, panels, rows_drawn, stacked

ORDER = 3
TITLE = "Sources of bias"
COLOURS = {"correction": BLUE, "credit": ORANGE, "coverage": GREEN, "hessian": RED, "smoothing": PINK, "rest": "0.6"}


def part(row):
    return Part(row["source"], row["projection"], row["projection_low"], row["projection_high"])


def draw(tables):
    rows = tables.rows("sources", "role", "point", "source", "projection", "projection_low", "projection_high")
    sheets, left = panels(collect([row for row in rows if row["point"] == -1], "source", "total", part))
    if not sheets:
        raise LeftOut("sources.csv names no source of bias")
    names = [p for _, _, chosen in sheets for bar in chosen for p in bar.parts]
    colours = COLOURS | {name: SKY for name in names if name not in COLOURS}
    caption = (
        "Sources of bias, found by switching one ingredient at a time: missing correction (lambda below 1), credit to what was sampled "
        "before the window, coverage of the lifetime by random windows, Hessian mode, smoothing by perturbation; the rest is what the run cannot tell apart. A bar is the projection "
        "of the source on the total bias, averaged over the eta points; bars add up (with their signs) to the squared bias, the diamond. "
        f"Lines: {tables.interval_text}, each drawn at the end of its bar. Axes differ in scale."
    )
    if left:
        caption += f" Not drawn: {', '.join(left)}."
    return Drawn(stacked(sheets, colours, "projection on bias"), rows_drawn(sheets, "source"), caption)
