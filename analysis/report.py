"""One page about a run, from the tables that `metavar analyze` writes.

usage: report.py [--tables=DIR] [--surface=RUN2] [--output=FILE] RUN

The page holds all it shows: pictures are inside, nothing is loaded, no script runs (its content security policy forbids both). Everything
that comes from the run is escaped. The same run and tables give the same bytes. Exit code 0: written; 65: no tables; 74: cannot write.
"""

import argparse
import base64
import glob
import gzip
import itertools
import math
import os
import sys
from html import escape

try:
    from pictures import about, shared
    from pictures.learning_curves import start_of
    from pictures.mse_budget import family, read
    from pictures.predicted_improvement import mean_curve, with_drift
except ImportError as missing:
    sys.exit(f"metavar: report needs the Python packages matplotlib and numpy ({missing}); Debian: apt install python3-matplotlib")

EXIT_DATA, EXIT_IO = 65, 74
MOST_ROWS = 500  # of a table on the page; the rest is in the file that comes with it
OPEN_ROWS = 12  # a longer table is folded
DPI = 200
# name of the table: what it is
TABLES = {
    "ends": "Where curves end",
    "improvement": "What bias and variance predict of each update, and what was realised",
    "curves": "Learning curves",
    "paths": "Paths of eta",
    "grid": "Averages over the eta points",
    "board": "Bias against each target",
    "sources": "Sources of bias",
    "differences": "Paired differences between settings",
    "components": "Components of variance",
    "best": "Best coefficient and meta-discount at each budget",
    "combined": "Best combinations of two estimators",
    "breakeven": "Break-even budgets",
    "budget": "Mean squared error against budget",
    "cells": "Every eta point",
}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 72em; margin: 2em auto; padding: 0 1.5em; }
h1 { font-size: 1.7em; margin-bottom: 0.2em; } h2 { margin-top: 2em; border-bottom: 1px solid #ccc; } h3 { margin-top: 1.6em; }
nav a { margin-right: 1em; } a { color: #0072b2; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.1em 1.2em; } dt { color: #555; } dd { margin: 0; overflow-wrap: anywhere; }
.warn { border-left: 4px solid #d55e00; background: #fdf1e8; padding: 0.5em 1em; } .calm { border-left: 4px solid #009e73; padding: 0.5em 1em; }
figure { margin: 1em 0 2.5em; } figure img { max-width: 100%; height: auto; } figcaption { max-width: 58em; color: #333; }
.scroll { overflow: auto; max-height: 40em; } summary { cursor: pointer; padding: 0.3em 0; }
table { border-collapse: collapse; font: 12px/1.4 ui-monospace, monospace; white-space: nowrap; }
th { position: sticky; top: 0; background: #eee; text-align: left; } th, td { padding: 0.15em 0.6em; border-bottom: 1px solid #e5e5e5; }
td.n { text-align: right; } pre { background: #f6f6f6; padding: 1em; overflow: auto; max-height: 40em; }
@media print { .scroll, pre { max-height: none; overflow: visible; } nav { display: none; } }
"""


def shown(value):
    """A number as people read it; undefined ones are a dash."""
    if isinstance(value, str):
        return value
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.4g}"


def table(rows):
    """HTML of dicts of equal keys."""
    head = "".join(f"<th>{escape(str(name))}</th>" for name in rows[0])
    lines = []
    for row in rows:
        marks = ((' class="n"' if not isinstance(value, str) else "", escape(shown(value))) for value in row.values())
        lines.append("<tr>" + "".join(f"<td{mark}>{text}</td>" for mark, text in marks) + "</tr>")
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n' + "\n".join(lines) + "</tbody></table></div>"


def folded(title, inside, open_=False):
    return f"<details{' open' if open_ else ''}><summary>{escape(title)}</summary>\n{inside}</details>"


def definitions(pairs):
    return "<dl>" + "".join(f"<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>" for name, value in pairs) + "</dl>"


def data_link(name, content, kind):
    return f'<a download="{escape(name)}" href="data:{kind};base64,{base64.b64encode(content).decode()}">{escape(name)}</a>'


def section(name, title, inside):
    return f'<section id="{name}"><h2>{escape(title)}</h2>\n{inside}\n</section>'


# --- what the run says ---


def read_text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def attempts(run):
    found = [shared.read_object(path) for path in sorted(glob.glob(os.path.join(glob.escape(run), "attempts", "*.json")))]
    return [attempt for attempt in found if attempt]


def hosts_of(attempt):
    """vm x 2, other x 1"""
    names = str(attempt.get("hosts", "")).split(",")
    return ", ".join(f"{name} × {len(list(same))}" for name, same in itertools.groupby(sorted(names)))


def attempt_rows(found):
    keys = ["attempt", "start", "end", "exit_reason", "ranks", "hosts", "version", "kernel"]
    return [{key: hosts_of(a) if key == "hosts" else str(a.get(key, "")) for key in keys} for a in found]


def header(tables, found):
    summary = tables.summary
    first, last = (found[0], found[-1]) if found else ({}, {})
    pairs = [
        ("job", summary.get("job", "?")),
        ("digest of results.h5", summary.get("results_digest", "?")),
        ("computed", f"{first.get('start', '?')} to {last.get('end', '?')}, attempts: {len(found)}"),
        ("ranks", last.get("ranks", "?")),
        ("hosts", hosts_of(last) if last else "?"),
        ("computed by", last.get("version", "?")),
        ("analysed by", summary.get("version", "?")),
    ]
    return f"<header><h1>{escape(str(summary.get('job', 'run')))}</h1>\n{definitions(pairs)}</header>"


def trains(tables):
    return tables.has("curves")


def older(tables, run):
    """Whether the tables are older than the results."""
    try:
        return os.path.getmtime(os.path.join(tables.folder, "ends.csv" if trains(tables) else "grid.csv")) < os.path.getmtime(os.path.join(run, "results.h5"))
    except OSError:
        return False


def lost_samples(tables):
    lost = {row["entry"]: row["nonfinite"] for row in tables.rows("grid", "nonfinite") if row["nonfinite"] > 0}
    return [f"{entry}: {shown(count)} samples were not finite; they are counted, and in no mean." for entry, count in lost.items()]


def lost_updates(tables):
    found = []
    for row in tables.rows("ends", "nonfinite", "skipped"):
        if row["nonfinite"] > 0 or row["skipped"] > 0:
            what = f"{shown(row['nonfinite'])} replicates were not finite and are in no mean, {shown(row['skipped'])} updates were skipped"
            found.append(f"{row['entry']} from {start_of(row)}: {what}.")
    outside = {row["entry"]: None for row in tables.rows("improvement", "outside") if row["outside"] > 0} if tables.has("improvement") else {}
    return found + [f"{entry}: a curve leaves the points of the study; nothing is predicted from there on." for entry in outside]


def warnings(tables, run, left_out):
    found = tables.summary.get("warnings", [])
    found = [str(text) for text in found] if isinstance(found, list) else []
    if older(tables, run):
        found.insert(0, "The tables are older than results.h5: run `metavar analyze` again.")
    found += lost_updates(tables) if trains(tables) else lost_samples(tables)
    notes = "".join(f"<li>Not drawn: {escape(name)}: {escape(str(reason))}</li>" for name, reason in left_out.items())
    lines = "".join(f"<li>{escape(text)}</li>" for text in found)
    box = f'<div class="warn"><ul>{lines}</ul></div>' if found else '<p class="calm">None.</p>'
    return section("warnings", "Warnings", box + (f"<ul>{notes}</ul>" if notes else ""))


# --- which estimator at which budget ---


def steps(budget):
    """A budget to two digits."""
    return f"{float(f'{budget:.2g}'):,.0f}"


def reach(values):
    """A range of coefficients."""
    values = sorted(set(values))
    return " to ".join(shown(value) for value in (values if len(values) < 2 else (values[0], values[-1]))) or "–"


def error(row):
    return f"{row['mse']:.3g} ({row['mse_low']:.3g}, {row['mse_high']:.3g})"


def spans(winners):
    """The winners, one row for each run of the same family."""
    for name, same in itertools.groupby(winners, key=family):
        same = list(same)
        yield {
            "budget from": steps(same[0]["budget"]),
            "to": steps(same[-1]["budget"]),
            "best": name,
            "λ": reach(row["lambda"] for row in same if shared.finite(row["lambda"])),
            "γ": reach(shared.discount(row) for row in same if row["lambda"] and shared.finite(shared.discount(row))),
            "mse (interval) at the first": error(same[0]),
            "at the last budget": error(same[-1]),
            "best in draws": f"{100 * min(row.get('best_share', math.nan) for row in same):.0f} % or more",
            "heavy tail at": f"{max(row.get('tail_warnings', 0) for row in same):.0f} points",
        }


def answer(tables):
    try:
        _, winners = read(tables)
    except shared.LeftOut as reason:
        return section("answer", "Which estimator at which budget", f"<p>Not known: {escape(str(reason))}.</p>")
    rows = list(spans(winners))
    words = []
    for row in rows:
        where = f"from {row['budget from']}" if words else f"up to {row['to']}"
        lead = f" (λ {row['λ']})" if row["λ"] != "–" else ""
        tail = "" if row["heavy tail at"] == "0 points" else f", whose variance has a heavy tail at {row['heavy tail at']}"
        words.append(f"<li>{escape(where)} inner steps: <b>{escape(row['best'])}</b>{escape(lead + tail)}</li>")
    text = (
        "<p>The setting with the least mean squared error, averaged over the eta points, for a budget of inner steps for one estimate at "
        f"one eta point (tangent steps count as steps). Errors with {escape(tables.interval_text)}; where those of two settings overlap, "
        "this run does not tell them apart. The last column says in how many of the bootstrap's draws each setting of the row is the best: at "
        "the budget where that is least. Where the variance has a heavy tail, a few samples dominate it: do not rely on it.</p>"
    )
    return section("answer", "Which estimator at which budget", f"{text}<ul>{''.join(words)}</ul>" + table(rows))


# --- where training leads ---


def vector(row, name):
    return "(" + ", ".join(shown(row[key]) for key in row if key.startswith(name + "_") and key[len(name) + 1 :].isdigit()) + ")"


def end_rows(rows):
    for row in rows:
        yield {
            "from": start_of(row), "row": row["entry"], "ends at": vector(row, "eta"), "standard error": vector(row, "eta_se"),
            "wanders by": vector(row, "wander"), "objective there": row["evaluated"], "its error": row["evaluated_se"],
        }  # fmt: skip


def best_ends(rows):
    """The highest objective from each start, and what cannot be told from it."""
    for start, same in itertools.groupby(sorted(rows, key=lambda row: row["start"]), key=lambda row: row["start"]):
        same = sorted((row for row in same if shared.finite(row["evaluated"])), key=lambda row: -row["evaluated"])
        if same:
            best, *others = same
            near = [row["entry"] for row in others if not best["evaluated"] - row["evaluated"] > 2 * math.hypot(best["evaluated_se"], row["evaluated_se"])]
            also = f"; not told apart from it: {', '.join(near)}" if near else ""
            yield f"<li>from {escape(start_of(best))}: <b>{escape(best['entry'])}</b>, {best['evaluated']:.4g} ({best['evaluated_se']:.2g}){escape(also)}</li>"


def prediction_rows(tables):
    """Of each row of estimators and start, at the last update that is predicted."""
    rows = with_drift(tables.rows("improvement", "entry", "start", "update", "predicted_sum", "realised_sum"))
    for key in dict.fromkeys((row["entry"], row["start"]) for row in rows):
        mine = [row for row in rows if (row["entry"], row["start"]) == key]
        known = [point for point in mean_curve(mine) if shared.finite(point["predicted_sd"])]
        if known:
            last = known[-1]
            yield {
                "from": start_of(mine[0]), "row": last["entry"], "after": last["update"], "drift alone": last["drift_sum"],
                "predicted": last["predicted_sum"], "realised": last["realised_sum"], "standard deviation": last["predicted_sd"],
                "realised less predicted, in these": (last["realised_sum"] - last["predicted_sum"]) / last["predicted_sd"],
            }  # fmt: skip


def outcome(tables):
    rows = tables.rows("ends", "entry", "start", "evaluated", "evaluated_se", "eta_0")
    text = (
        "<p>The objective at unperturbed eta at the last evaluation, mean over seeds, standard error in brackets; evaluations share their "
        "replicates, so differences are surer than these errors say. Ends are means over the last tenth of the updates.</p>"
    )
    inside = f"{text}<ul>{''.join(best_ends(rows))}</ul>" + (table(list(end_rows(rows))) if rows else "")
    predictions = list(prediction_rows(tables)) if tables.has("improvement") else []
    if predictions:
        inside += "<h3>Gain in the objective, predicted from bias and variance</h3>" + table(predictions)
    return section("answer", "Where learning leads", inside)


# --- pictures and tables ---


def pictures(tables):
    """HTML of every picture; {name: why it is left out}."""
    out, left_out = [], {}
    for name, picture in about(tables).items():
        try:
            drawn = shared.draw(picture, tables)
        except shared.LeftOut as reason:
            left_out[name] = reason
            continue
        image = base64.b64encode(shared.as_bytes(drawn.figure, "png", DPI)).decode()
        width = round(drawn.figure.get_figwidth() * 130)
        shared.plt.close(drawn.figure)
        out.append(
            f'<h3>{escape(picture.TITLE)}</h3><figure id="{name}"><img width="{width}" alt="{escape(picture.TITLE)}" '
            f'src="data:image/png;base64,{image}"><figcaption>{escape(drawn.caption)} Drawn numbers: '
            f"{data_link(name + '.csv', shared.as_csv(drawn.rows), 'text/csv')}.</figcaption></figure>"
        )
    return section("pictures", "Pictures", "\n".join(out) or "<p>None.</p>"), left_out


def table_section(tables):
    out = []
    for name, title in TABLES.items():
        try:
            rows = tables.rows(name) if tables.has(name) else []
        except shared.LeftOut as reason:
            out.append(f"<p>{escape(str(reason))}</p>")
            continue
        if not rows:
            continue
        with open(os.path.join(tables.folder, name + ".csv"), "rb") as file:
            content = file.read()
        long = len(rows) > MOST_ROWS
        link = data_link(name + ".csv.gz", gzip.compress(content, mtime=0), "application/gzip") if long else data_link(name + ".csv", content, "text/csv")
        what = f"The first {MOST_ROWS} of {len(rows)} rows; all of them: " if long else "With all digits: "
        inside = f"<p>{what}{link}</p>" + table(rows[:MOST_ROWS])
        out.append(folded(f"{title} ({name}.csv, {len(rows)} rows)", inside, len(rows) <= OPEN_ROWS))
    return section("tables", "Tables", "\n".join(out))


def methods(tables):
    summary = tables.summary
    pairs = [(name, value) for key in ("options", "methods") for name, value in dict(summary.get(key) or {}).items()]
    if trains(tables):
        text = (
            "<p>Random numbers follow from seed, update and replicate, so curves of one seed are paired, whatever their start and estimator. What "
            "columns mean is in analysis/README.md of metavar.</p>"
        )
        return section("methods", "Methods", text + definitions(pairs))
    text = (
        "<p>Bias is measured against the reference entry, an unbiased estimate of the exact gradient. Replicates with the same task instance "
        "have the same random numbers under every estimator, and all intervals use that pairing. What columns mean is in analysis/README.md "
        "of metavar. After Vuorio et al. 2022, An Investigation of the Bias-Variance Tradeoff in Meta-Gradients, arXiv 2209.11303.</p>"
    )
    return section("methods", "Methods", text + definitions(pairs))


def job_section(run):
    parts = [
        folded(f"{name}: {what}", f"<pre>{escape(text)}</pre>", name == "job.yaml")
        for name, what in (("job.yaml", "as given"), ("resolved.yaml", "with all defaults"))
        if (text := read_text(os.path.join(run, name)))
    ]
    return section("job", "Job", "\n".join(parts) or "<p>The run directory holds no job file.</p>")


def page(run, tables):
    found = attempts(run)
    drawn, left_out = pictures(tables)
    provenance = table(attempt_rows(found)) if found else "<p>The run directory names no attempt.</p>"
    parts = ["warnings", "answer", "pictures", "tables", "job", "provenance", "methods"]
    sections = [
        header(tables, found),
        "<nav>" + "".join(f'<a href="#{name}">{name}</a>' for name in parts) + "</nav>",
        warnings(tables, run, left_out),
        outcome(tables) if trains(tables) else answer(tables),
        drawn,
        table_section(tables),
        job_section(run),
        section("provenance", "Provenance", provenance),
        methods(tables),
    ]
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(str(tables.summary.get("job", "run")))}: metavar'
        f"</title><style>{STYLE}</style></head><body>\n" + "\n".join(sections) + "\n</body></html>\n"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run")
    parser.add_argument("--tables")
    parser.add_argument("--surface")
    parser.add_argument("--output")
    options = parser.parse_args()
    run, path = shared.run_folder(options.run), options.output
    try:
        tables = shared.tables_of(run, options.tables)
        if options.surface:
            tables.surface = shared.surface_of(options.surface)
        path = path or os.path.join(tables.folder, "report.html")
        content = page(run, tables)
        shared.write(path, content.encode("utf-8", "replace"))
    except shared.LeftOut as reason:
        print(f"metavar: {reason}", file=sys.stderr)
        return EXIT_DATA
    except OSError as error:
        print(f"metavar: cannot write {path}: {error.strerror}", file=sys.stderr)
        return EXIT_IO
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
