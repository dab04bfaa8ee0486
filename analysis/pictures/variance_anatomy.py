"""Where variance comes from: shares of task instances, lifetimes and perturbations in the variance of one estimate, and its size."""

from .shared import BLUE, DOUBLE, GREEN, ORANGE, SKY, YELLOW, Drawn, LeftOut, finite, plt
from .stacks import Part, collect, draw_bars, draw_total, legend, name_bars, panels, positions, rows_drawn

ORDER = 4
TITLE = "Anatomy of variance"
LOG_FROM = 10  # largest variance over smallest
COLOURS = {
    "task": BLUE, "lifetime": ORANGE, "perturbation": GREEN, "task+lifetime": SKY, "lifetime+perturbation": YELLOW,
}  # fmt: skip


def part(row):
    return Part(row["component"], row["variance"], row["variance_low"], row["variance_high"])


def share(bar):
    """The bar in units of its total."""
    whole = bar.total.value
    parts = {p.name: Part(p.name, p.value / whole, p.low / whole, p.high / whole) for p in bar.parts.values()}
    return bar._replace(parts=parts, total=None)


def draw(tables):
    rows = tables.rows("components", "role", "point", "component", "variance", "variance_low", "variance_high")
    found = collect([row for row in rows if row["point"] == -1 and row["role"] == "gradient"], "component", "total", part)
    found = [bar for bar in found if bar.total and bar.total.value > 0 and any(finite(p.value) for p in bar.parts.values())]
    sheets, left = panels(found)
    if not sheets:
        raise LeftOut("no entry has a nested design (lifetimes_per_task, perturbations_per_lifetime)")
    figure, axes = plt.subplots(
        2 * len(sheets), 1, figsize=(DOUBLE, 0.4 + 2.5 * len(sheets)), height_ratios=[1, 1.3] * len(sheets), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    cut = False
    for (size, shares), (title, what, chosen) in zip(axes.reshape(-1, 2), sheets):
        cut = draw_bars(shares, [share(bar) for bar in chosen], COLOURS, 1) or cut
        name_bars(shares, what, chosen)
        shares.set(ylabel="share of variance", yticks=[0, 0.5, 1])
        for x, bar in zip(positions(chosen)[0], chosen):
            draw_total(size, x, bar.total, 1)
        size.set(xlim=shares.get_xlim(), ylabel="variance")
        values = [bar.total.value for bar in chosen]
        if max(values) > LOG_FROM * min(values):
            size.set_yscale("log")
        else:
            size.set_ylim(bottom=0)
        size.set_xticks([])
        size.spines["bottom"].set_visible(False)
        size.grid(axis="y")
        size.set_title(title, loc="left", pad=3)
    legend(figure, sheets, COLOURS, cut, "variance of one estimate (sum over coordinates)")
    caption = (
        "Anatomy of the variance of one estimate, averaged over the eta points: how much is between task instances, between lifetimes of "
        "one instance, and between perturbations of one lifetime (nested analysis of variance; a component's estimate may be negative). "
        f"Diamonds: all of it, sum over coordinates. Lines: {tables.interval_text}."
    )
    if left:
        caption += f" Not drawn: {', '.join(left)}."
    return Drawn(figure, rows_drawn(sheets, "component"), caption)
