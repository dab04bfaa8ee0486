#!/bin/bash
# test_pictures.sh - plot, report and the notebook on a small run: whole files, the same bytes again, nothing that a run says becomes
# HTML, clear words about what is missing.
. "$(dirname "$0")/lib.sh"
py=/usr/bin/python3
cat >"$scratch/job.yaml" <<'Y'
# </pre><script src="http://example.com/x.js"></script><img src=x onerror=alert(1)> "quotes" & ampersands
name: a.b-c_d
seed: 3
lifetime_length: 4
task: {name: tree_bandit}
block: 50
eta: {points: [[0.4, -0.3], [1, 0], [0.4, 0.5]]}
estimators:
  - {name: backprop, label: nan, truncation: [2, 4], meta_discount: [0.5, 1], hessian: [pathwise, dice], replicates: 3000, lifetimes_per_task: 2}
  - {name: es, truncation: [2, 4], replicates: 3000, lifetimes_per_task: 2, perturbations_per_lifetime: 2}
  - {name: reference, truncation: [2, 4], replicates: 3000, store: moments}
Y
run=$scratch/run
check "a small run" "$metavar" run "$scratch/job.yaml" -o "$run" -q
check "its tables" "$metavar" analyze "$run" --bootstrap 200
tables=$run/analysis

code() { # WANTED PATTERN COMMAND...: exit code, and what stderr must say if anything
  local wanted=$1 pattern=$2
  shift 2
  timeout -k 9 900 "$@" >"$scratch/out" 2>"$scratch/err"
  local got=$?
  [ $got = "$wanted" ] && { [ -z "$pattern" ] || grep -qE "$pattern" "$scratch/err"; } && ! grep -q Traceback "$scratch/err" && return
  echo "exit code $got, wanted $wanted and '$pattern': $*"
  cat "$scratch/err"
  return 1
}
whole() { # every path printed is a whole file, and a picture is no blank sheet
  $py - "$scratch/out" <<'PY'
import csv, sys
import matplotlib.image as image
names = open(sys.argv[1]).read().split()
assert names
for name in names:
    content = open(name, "rb").read()
    if name.endswith("pdf"):
        assert content.startswith(b"%PDF") and content.rstrip().endswith(b"%%EOF"), name
    elif name.endswith("png"):
        picture = image.imread(name)
        assert 300 < picture.shape[0] < 6000 and picture[..., :3].std() > 0.01, name
    else:
        assert len(list(csv.DictReader(open(name)))) > 2, name
PY
}
same() { # what is in the second folder is in the first one
  local file
  for file in "$2"/*; do cmp "$1/${file##*/}" "$file" || return 1; done
}
pictures="frontier frontier_cosine bias_sources variance_anatomy mse_budget gradient_field tails"
all_drawn() {
  local name
  for name in $pictures; do grep -q "/$name.pdf" "$scratch/out" || { echo "$name is not drawn"; cat "$scratch/err"; return 1; }; done
}

check "plot draws" code 0 "" "$metavar" plot "$run" -o "$scratch/one"
check "all pictures" all_drawn
check "whole files" whole
check "plot again" code 0 "" "$metavar" plot "$run" -o "$scratch/two" --only mse_budget --only gradient_field
check "draws the same bytes" same "$scratch/one" "$scratch/two"
check "one picture" code 0 "" "$metavar" plot "$run" -o "$scratch/three" --only tails
check "is one" test "$(ls "$scratch/three" | tr '\n' ' ')" = "tails.csv tails.pdf tails.png "
check "no such picture" code 2 "no picture 'nonsense'; there are frontier" "$metavar" plot "$run" --only nonsense
check "no tables" code 65 "run .metavar analyze. on the run first" "$metavar" plot "$scratch"

for verb in plot report; do
  check "$verb of no run" code 65 "there is no such run directory" "$metavar" $verb "$scratch/nowhere"
done
check "results.h5 names its run" code 0 "" "$metavar" plot "$run/results.h5" --only tails -o "$scratch/three"
check "no such surface" code 65 "there is no such run directory" "$metavar" plot "$run" --surface "$scratch/nowhere"
check "no surface" code 65 "has no return surface" "$metavar" plot "$run" --surface "$run"

# Whatever the number of windows, the budget picture has the best of every entry.
every_entry() {
  PYTHONPATH="$top/analysis" $py - <<'PY'
from pictures.mse_budget import MOST, choose
found = {f"a{k}": [{"entry": "a", "budget": 1, "mse": 1 + k}] for k in range(30)}
found |= {f"b{k}": [{"entry": "b", "budget": 1, "mse": 99 + k}] for k in range(3)}
chosen = choose(found)
assert len(chosen) == MOST and "b0" in chosen and "b1" not in chosen and "a0" in chosen, chosen
PY
}
check "no entry is missing from the budget picture" every_entry

# The field is drawn against the reference that biases are against, also where this run has one of the same name.
sed '/name: backprop/d; /name: es/d; s/^seed: 3/seed: 4/' "$scratch/job.yaml" >"$scratch/other.yaml"
check "another reference" "$metavar" run "$scratch/other.yaml" -o "$scratch/other" -q
check "tables against it" "$metavar" analyze "$run" --bootstrap 200 --reference "$scratch/other" -o "$scratch/against"
check "its field" code 0 "" "$metavar" plot "$run" --tables "$scratch/against" --only gradient_field
other_reference() {
  $py - "$scratch/against" <<'PY'
import csv, sys
rows = {name: list(csv.DictReader(open(f"{sys.argv[1]}/{name}.csv"))) for name in ("cells", "gradient_field")}
biased = next(row for row in rows["cells"] if row["role"] == "gradient" and row["bias_0"] != "nan")
truth = float(biased["mean_0"]) - float(biased["bias_0"])
drawn = next(row for row in rows["gradient_field"] if row["setting"] == "reference" and row["point"] == biased["point"])
assert abs(float(drawn["mean_0"]) - truth) < 1e-15, (drawn, truth)
PY
}
check "is against it" other_reference

mkdir "$scratch/few"
cp "$tables/grid.csv" "$tables/summary.json" "$scratch/few"
check "few tables" code 65 "left out tails: cells.csv is missing" "$metavar" plot "$run" --tables "$scratch/few" --only frontier --only tails
check "the others are drawn" test -s "$scratch/few/frontier.pdf"

# A package that is missing is named, with what to install.
mkdir "$scratch/broken"
echo "raise ImportError(\"No module named 'matplotlib'\")" >"$scratch/broken/matplotlib.py"
for verb in plot report; do
  check "$verb without matplotlib" code 1 "$verb needs the Python packages matplotlib and numpy .*apt install python3-matplotlib" \
    env PYTHONPATH="$scratch/broken" "$metavar" $verb "$run"
done

# One meta-parameter: mean and deviation of one sample as curves, in the place of arrows.
one_parameter() {
  $py - "$tables" "$scratch/line" <<'PY'
import csv, os, sys
os.mkdir(sys.argv[2])
rows = list(csv.DictReader(open(sys.argv[1] + "/cells.csv")))
for row in rows:
    for name in [name for name in row if name.endswith("_1")]:
        del row[name]
    row["eta_0"] = row["point"]
with open(sys.argv[2] + "/cells.csv", "w", newline="") as file:
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
PY
  cp "$tables/summary.json" "$scratch/line"
  code 0 "" "$metavar" plot "$run" --tables "$scratch/line" --only gradient_line && whole || return 1
  $py - "$scratch/line" <<'PY'
import csv, sys
rows = {name: list(csv.DictReader(open(f"{sys.argv[1]}/{name}.csv"))) for name in ("cells", "gradient_line")}
drawn = next(row for row in rows["gradient_line"] if row["setting"].startswith("es"))
cell = next(row for row in rows["cells"] if row["entry"] == "es" and row["truncation"] == drawn["setting"].split("=")[1] and row["point"] == drawn["point"])
assert float(drawn["mean_0"]) == float(cell["mean_0"]) and abs(float(drawn["sd"]) ** 2 / float(cell["variance"]) - 1) < 1e-12, (drawn, cell)
PY
}
check "one meta-parameter" one_parameter
check "no arrows then" code 65 "left out gradient_field: drawn for two meta-parameters" "$metavar" plot "$run" --tables "$scratch/line" --only gradient_field

# The report: one file, from a run whose job file and hosts are out to break it.
sed -i 's/"hosts": "/&<script>alert(1)<\/script>,/' "$run/attempts/001.json"
check "report" code 0 "" "$metavar" report "$run" -o "$scratch/one.html"
check "report again" code 0 "" "$metavar" report "$run" -o "$scratch/two.html"
check "is the same bytes" cmp "$scratch/one.html" "$scratch/two.html"
harmless() {
  $py - "$scratch/one.html" "$scratch/job.yaml" $pictures <<'PY'
import html, re, sys
from html.parser import HTMLParser

VOID = {"meta", "img", "br"}
ALLOWED = set("html head meta title style body header h1 h2 h3 nav a section p ul li b dl dt dd div table thead tbody tr th td figure img"
              " figcaption details summary pre".split())


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.text, self.ids, self.links = [], [], [], []

    def handle_starttag(self, tag, attributes):
        assert tag in ALLOWED, tag
        for name, value in attributes:
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href"):
                assert value.startswith(("data:image/png;base64,", "data:text/csv;base64,", "data:application/gzip;base64,", "#")), value[:80]
                self.links.append(value)
            if name == "id":
                self.ids.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.text.append(data)


source = open(sys.argv[1], encoding="utf-8").read()
page = Page()
page.feed(source)
page.close()
assert not page.open, page.open
text = "".join(page.text)
assert open(sys.argv[2], encoding="utf-8").read() in text, "the job file is shown as it is"
assert "<script>alert(1)</script> × 1" in text, "hosts are shown as they are"
assert not re.search(r"url\(|@import", source.split("</style>")[0])
assert "default-src 'none'" in html.unescape(source.split("</head>")[0])
for name in sys.argv[3:]:
    assert name in page.ids, name
for link in page.links:
    assert not link.startswith("#") or link[1:] in page.ids, link
PY
}
check "nothing of it is run or loaded; all of it is there" harmless
check "no report without tables" code 65 "run .metavar analyze. on the run first" "$metavar" report "$scratch" -o "$scratch/none.html"
check "no report without grid.csv" code 65 "grid.csv is missing; run .metavar analyze. first" "$metavar" report "$run" --tables "$scratch/one"

check "the notebook" $py "$top/tests/check_notebook.py" "$run"
