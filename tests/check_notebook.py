#!/usr/bin/python3
"""check_notebook.py RUN: the notebook analysis/frontier.ipynb runs from top to bottom and finds the numbers of `metavar analyze`.

Runs its code cells in one namespace, as Jupyter would, and compares its table with RUN/analysis/grid.csv. Prints one line.
"""
import csv
import json
import math
import os
import sys

os.environ["METAVAR_RUN"] = sys.argv[1]
os.environ["MPLBACKEND"] = "Agg"
with open(os.path.join(os.path.dirname(__file__), "../analysis/frontier.ipynb"), encoding="utf-8") as file:
    notebook = json.load(file)
assert notebook["nbformat"] == 4
code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
assert not any(cell["outputs"] or cell["execution_count"] for cell in code), "outputs are stripped"
space = {"__name__": "__main__"}
for cell in code:
    exec(compile("".join(cell["source"]), cell["id"], "exec"), space)


def key(row, axes):
    """Entry, axes and coefficient, numbers as numbers."""
    words = [row.get(name) for name in axes]
    numbers = [float(x) if isinstance(x, (int, float)) or str(x).replace(".", "").isdigit() else x or None for x in words]
    return tuple(None if isinstance(x, float) and math.isnan(x) else x for x in [row["entry"], *numbers, float(row["lambda"])])


table = space["table"]
axes = [name for name in table.columns if name not in ("entry", "lambda", "variance", "v22_bias")]
found = {key(row, axes): row for row in table.to_dict("records")}
compared = 0
with open(os.path.join(sys.argv[1], "analysis/grid.csv"), newline="") as file:
    for row in csv.DictReader(file):
        if row["role"] == "gradient" and math.isfinite(float(row["v22_bias"])):
            mine = found[key(row, axes)]
            for name in ("variance", "v22_bias"):
                assert math.isclose(mine[name], float(row[name]), rel_tol=1e-9), (row, mine)
            compared += 1
assert compared == len(found), (compared, len(found))
print(f"{compared} settings agree with grid.csv")
