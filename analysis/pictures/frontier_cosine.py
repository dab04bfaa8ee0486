"""The frontier with direction in the place of size: negative cosine of mean gradient and reference against variance."""

from .frontier import Measure, draw_frontier
from .shared import Drawn

ORDER = 2
TITLE = "Frontier: direction against variance"


def limits(points):
    known = [p["y"] for p in points if not p["dice"] and p["variance"] > 0]
    return -1.05, min(max(known, default=0) + 0.1, 1.0)


def draw(tables):
    figure, rows = draw_frontier(tables, Measure("cosine_unbiased", "cosine", -1, limits, "negative cosine of mean and reference", -1))
    return Drawn(
        figure,
        rows,
        "Negative cosine (unbiased estimate) of the mean gradient and the reference against the variance of one estimate, both averaged over the eta "
        f"points; -1 is the right direction. Bars: {tables.interval_text} for these eta points. Hollow: the interval of the "
        "squared bias includes zero. Colours, markers and lines as in the frontier.",
    )
