"""What all pictures share: tables, names of settings, intervals, style, files.

A picture is a module of this folder with

    ORDER   its place in the list
    TITLE   a line for the report
    draw(tables) -> Drawn; raises LeftOut with the reason when there is nothing to draw
    TABLE   the table without which nobody expects it; absent in pictures of measurements

and its files are named after the module.
"""

import csv
import io
import json
import math
import os
import statistics
from collections import namedtuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

SINGLE, DOUBLE = 3.4, 6.9  # widths of one and of two columns in print, inches
STYLE = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "0.93",
    "grid.linewidth": 0.5,
    "pdf.fonttype": 42,
}
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "<", ">"]
# Okabe & Ito 2008
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PINK = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
WORDS = {"entry", "estimator", "role", "output", "target", "target_entry", "source", "component"}
SYMBOLS = {"truncation": "T", "meta_discount": "γ", "lambda": "λ"}

Drawn = namedtuple("Drawn", "figure rows caption")  # rows: what is drawn, dicts of equal keys


class LeftOut(Exception):
    """Why a picture is not drawn."""


class Tables:
    """The tables of `metavar analyze` in one folder: rows are dicts; numbers are floats, words and names are text."""

    def __init__(self, folder):
        self.folder, self.known = folder, {}
        self.surface = self  # where objective.csv is
        self.beside = []  # of other trainings, whose curves.csv goes into the same picture
        self.summary = read_object(os.path.join(folder, "summary.json"))
        self.confidence = self.summary.get("options", {}).get("confidence", 0.95)
        self.interval_text = f"{100 * self.confidence:g} % intervals"
        self.z = statistics.NormalDist().inv_cdf((1 + self.confidence) / 2)

    def has(self, name):
        return os.path.exists(os.path.join(self.folder, name + ".csv"))

    def rows(self, name, *columns):
        if name not in self.known:
            self.known[name] = read_table(os.path.join(self.folder, name + ".csv"))
        rows = self.known[name]
        lacking = [column for column in columns if rows and column not in rows[0]]
        if lacking:
            raise LeftOut(f"{name}.csv lacks the columns {', '.join(lacking)}; run `metavar analyze` again")
        return rows


def run_folder(run):
    """The folder of a run that is named by itself or by its results.h5."""
    return os.path.dirname(run) or "." if os.path.isfile(run) and os.path.basename(run) == "results.h5" else run


def tables_of(run, folder=None):
    """The tables of a run; LeftOut says what to do about it when there are none."""
    if not folder and not os.path.isdir(run):
        raise LeftOut(f"{run}: there is no such run directory")
    folder = folder or os.path.join(run, "analysis")
    if not os.path.isdir(folder):
        raise LeftOut(f"cannot read {folder}; run `metavar analyze` on the run first")
    return Tables(folder)


def surface_of(run):
    """The tables of a run that has measured a return surface."""
    tables = tables_of(run_folder(run))
    if not tables.has("objective"):
        raise LeftOut(f"{run} has no return surface: analyze a run that has an entry of the estimator `objective`")
    return tables


def curves_of(run):
    """The tables of a training."""
    tables = tables_of(run_folder(run))
    if not tables.has("curves"):
        raise LeftOut(f"{run} has no learning curves: analyze a run of metavar train")
    return tables


def read_object(path):
    """The JSON object in a file; empty if there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def read_table(path):
    name = os.path.basename(path)
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise LeftOut(f"{name} is missing; run `metavar analyze` first") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LeftOut(f"{name} cannot be read: {error}") from None
    for row in rows:
        for column, text in row.items():
            if column is None or text is None:
                raise LeftOut(f"{name} has rows of unequal length; run `metavar analyze` again")
            row[column] = text if is_word(column) else number(text)
    return rows


def is_word(column):
    return column in WORDS or column[:-2] in WORDS and column[-2:] in ("_a", "_b")


def number(text):
    """A float; nan for an axis that there is not; the text itself where it is a word."""
    try:
        return float(text) if text else math.nan
    except ValueError:
        return text


def finite(value):
    return isinstance(value, float) and math.isfinite(value)


def axes_of(row, suffix=""):
    """Names of the axes of settings, which stand between the columns output and lambda."""
    names = list(row)
    at = names.index("output" + suffix)
    return [name.removesuffix(suffix) for name in names[at + 1 : names.index("lambda" + suffix)]]


def label(row, suffix="", leave=()):
    """A setting in words: backprop dice T=21 λ=0.4. Meta-discount 1 and the pathwise derivative go without saying."""
    words = [row["entry" + suffix]] if "entry" not in leave else []
    for name in [*axes_of(row, suffix), "lambda"]:
        value = row[name + suffix]
        if name in leave or value == "pathwise" or name == "meta_discount" and (value == 1 or row["lambda" + suffix] == 0):
            continue
        if isinstance(value, str):
            words.append(value)
        elif math.isfinite(value):
            words.append(f"{SYMBOLS.get(name, name)}={value:g}")
    return " ".join(words)


def setting(row, suffix=""):
    """What tells a setting from the others."""
    named = (row[name + suffix] for name in ["entry", "output", *axes_of(row, suffix), "lambda"])
    return tuple(value if isinstance(value, str) or value == value else None for value in named)


def length(row):
    return row.get("truncation", math.nan)


def discount(row):
    return row.get("meta_discount", math.nan)


def is_dice(row):
    return row.get("hessian") == "dice"


def interval(tables, row, name):
    """Ends of the interval of a column; from its standard error where the table has no interval."""
    low, high = row.get(name + "_low", math.nan), row.get(name + "_high", math.nan)
    if not (finite(low) and finite(high)):
        half = tables.z * row.get(name + "_se", math.nan)
        low, high = row[name] - half, row[name] + half
    return low, high


def bars(value, low, high):
    """matplotlib's error bars: lengths downwards and upwards; none where undefined."""
    down, up = value - np.asarray(low), np.asarray(high) - value
    return np.nan_to_num(np.clip([down, up], 0, None), nan=0.0, posinf=0.0)


def unit(top):
    """A factor that brings `top` to 1..999 or so, and how a label says it."""
    power = -3 * math.floor(math.log10(top) / 3) if top > 0 and math.isfinite(top) else 0
    if power in (0, -3):
        return 1.0, ""
    if power > 0 and top * 10 ** (power - 2) >= 1:
        power -= 2
    return 10.0**power, rf" $\times\,10^{{{power}}}$"


def viridis(values):
    """A colour for each value: viridis without its pale end."""
    values = sorted(set(values)) or [0]
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, max(len(values), 2)))
    return values, matplotlib.colors.ListedColormap(colours), {value: tuple(colours[k]) for k, value in enumerate(values)}


def below(figure, entries, columns, **style):
    """A legend under the axes of a constrained layout."""
    lines = math.ceil(len(entries) / columns)
    height = (0.165 * lines + 0.03) / figure.get_figheight()
    figure.get_layout_engine().set(rect=(0, height, 1, 1 - height))
    figure.legend(
        handles=entries, loc="lower center", ncol=columns, columnspacing=1.2, handletextpad=0.4, borderaxespad=0.1, **style
    )


def draw(picture, tables):
    """One picture in the common style."""
    with matplotlib.rc_context(STYLE):
        return picture.draw(tables)


def as_bytes(figure, kind, dpi=300):
    """The file, the same bytes whenever it is made."""
    file = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        if kind == "pdf":
            figure.savefig(file, format="pdf", metadata={"CreationDate": None})
        else:
            figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
    figure.set_layout_engine("none")  # found; the other format gets the same
    return file.getvalue()


def as_csv(rows):
    def text(value):
        return f"{value:.17g}" if isinstance(value, float) else str(value)

    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([text(value) for value in row.values()] for row in rows)
    return file.getvalue().encode()


def write(path, content):
    """All or nothing."""
    folder, name = os.path.split(path)
    hidden = os.path.join(folder, "." + name)
    with open(hidden, "wb") as file:
        file.write(content)
    os.replace(hidden, path)
