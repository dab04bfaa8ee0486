"""What the torture drivers share: running metavar, finding its processes, and an opinion of their own on a run directory.

A driver prints one "ok NAME" or "not ok NAME" per check and ends with exit code 1 if any failed.
"""
import argparse
import concurrent.futures
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
import zlib

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TIMEOUT = 120  # seconds after which a command counts as hanging

# Each estimator that the store treats differently, in units of milliseconds.
JOB = """\
name: torture
seed: 11
lifetime_length: {length}
task: {{name: bandit, arms: 6, batch: 4, cutoff: 2}}
block: 50
eta:
  points:
    - [0.5, 1]
    - [1.5, 2]
unit: {unit}
estimators:
  - {{name: backprop, truncation: [2, {length}], replicates: {replicates}, store: moments}}
  - {{name: es, replicates: {replicates}}}
"""

# The same number of rows in as many cells: curves, in units of updates. Where lifetimes go on, commits keep their states too.
TRAIN_JOB = """\
name: torture
seed: 11
lifetime_length: {length}
task: {{name: bandit, arms: 6, batch: 4, cutoff: 2}}
train: {{updates: {updates}, learning_rate: 0.1, optimizer: adam, {more}}}
eta:
  points:
    - [0.5, 1]
    - [1.5, 2]
unit: {unit}
estimators:
  - {{name: backprop, weighted: false, replicates: 40}}
  - {{name: es, replicates: 40}}
"""

failures = 0


def report(name, faults):
    """faults: a list of strings, empty if all is well."""
    global failures
    failures += bool(faults)
    print(("not ok " if faults else "ok ") + name)
    for fault in faults[:20]:
        print("#   " + fault.rstrip().replace("\n", "\n#   "))
    sys.stdout.flush()


def arguments(**counts):
    """Options of a driver: the binary, the seed, how many, for how long."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--metavar", default=os.environ.get("METAVAR", TOP + "/build/metavar"))
    parser.add_argument("--seed", type=int, help="of the random choices; timing stays what it is")
    parser.add_argument("--minutes", type=float, default=30, help="end after this time, whatever is left")
    for name, count in counts.items():
        parser.add_argument("--" + name, type=type(count), default=count)
    args = parser.parse_args()
    args.metavar = os.path.abspath(args.metavar)
    if args.seed is None:
        args.seed = random.randrange(1 << 32)
    print("# %s --seed %d" % (os.path.basename(sys.argv[0]), args.seed))
    args.end = time.monotonic() + 60 * args.minutes
    return args


class Scratch:
    """A temporary directory, with one job file in it, for `metavar VERB`."""

    def __init__(self, length, unit, replicates, verb="run", carried=True):
        self.verb = verb
        self.path = tempfile.mkdtemp(prefix="metavar-torture-")
        self.job = self.path + "/job.yaml"
        with open(self.job, "w") as out:
            more = "lifetimes: carried" if carried else "evaluate_every: 7"
            job = TRAIN_JOB if verb == "train" else JOB
            out.write(job.format(length=length, unit=unit, replicates=replicates, updates=replicates - 1, more=more))
        self.total = 2 * 2 * replicates

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


class Process:
    """`metavar ARGUMENTS`, under mpirun if ranks > 0; all its processes carry a mark in their environment."""

    def __init__(self, metavar, *arguments, ranks=0, **environment):
        self.mark = uuid.uuid4().hex
        command = [metavar, *arguments]
        if ranks:
            command = ["mpirun", "-q", "-np", str(ranks), *command]
        self.errors = tempfile.TemporaryFile("w+", errors="replace")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env={
                **os.environ,
                "TORTURE_MARK": self.mark,
                "METAVAR_COMMIT_SECONDS": "0",
                "METAVAR_ROOM_SECONDS": "0",
                "OMPI_ALLOW_RUN_AS_ROOT": "1",
                "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                "OMPI_MCA_rmaps_base_oversubscribe": "1",
                "OMPI_MCA_mpi_yield_when_idle": "1",
                **environment,
            },
        )

    def members(self):
        """{pid: rank, None for the launcher} of all living processes."""
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/environ" % pid, "rb") as file:
                    environment = file.read()
                with open("/proc/%s/stat" % pid) as file:
                    state = file.read().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if self.mark.encode() in environment and state not in "ZX":
                rank = re.search(rb"\0OMPI_COMM_WORLD_RANK=(\d+)\0", environment)
                found[int(pid)] = int(rank[1]) if rank else None
        return found

    def wait(self, timeout=TIMEOUT):
        """(exit code or None if it hangs, stdout, stderr); whatever is left is killed then."""
        try:
            out = self.process.communicate(timeout=timeout)[0].decode(errors="replace")
            code = self.process.returncode
        except subprocess.TimeoutExpired:
            for pid in self.members():
                os.kill(pid, signal.SIGKILL)
            out, code = self.process.communicate()[0].decode(errors="replace"), None
        self.errors.seek(0)
        return code, out, self.errors.read()

    def orphans(self, patience=10):
        """Processes that are still there after that many seconds; killed."""
        end = time.monotonic() + patience
        while self.members() and time.monotonic() < end:
            time.sleep(0.02)
        left = self.members()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return len(left)


def parallel(function, items):
    """map on all cores; the work is in child processes."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(function, items)


def metavar(binary, *arguments, timeout=TIMEOUT, **options):
    return Process(binary, *arguments, **options).wait(timeout)


def digest_of(out):
    found = re.search(r"^digest ([0-9a-f]{32})$", out, re.M)
    return found[1] if found else None


def manifest(run):
    """Lines of RUN/manifest.jsonl whose checksum is right, parsed."""
    try:
        with open(run + "/manifest.jsonl", "rb") as file:
            text = file.read()
    except FileNotFoundError:
        return []
    lines = []
    for line in text.split(b"\n"):
        body, key, crc = line.rpartition(b',"crc":"')
        if key and crc == b'%08x"}' % zlib.crc32(body):
            lines.append(json.loads(line))
    return lines


def files_of(run, lines):
    """{shard: its bytes} of the lines."""
    content = {}
    for line in lines:
        with open(run + "/shards/" + line["shard"], "rb") as file:
            content[line["shard"]] = file.read()
    return content


def coverage_faults(lines, total):
    """Faults unless the lines hold every sample once."""
    units = sorted(tuple(unit) for line in lines for unit in line["units"])
    faults = ["%s and %s overlap" % (a, b) for a, b in zip(units, units[1:]) if a[0] == b[0] and a[1] + a[2] > b[1]]
    done = sum(count for _, _, count in units)
    return faults + ["%d samples are listed, wanted %d" % (done, total)] * (done != total)


class Run:
    """A run directory under torture: what it has committed so far may never be lost."""

    def __init__(self, scratch, name, args, digest):
        self.scratch, self.args, self.digest = scratch, args, digest
        self.path = "%s/%s" % (scratch.path, name)
        self.lines, self.content, self.faults = [], {}, []

    def start(self, ranks, **environment):
        return Process(self.args.metavar, self.scratch.verb, self.scratch.job, "-o", self.path, "-q", ranks=ranks, **environment)

    def look(self, errors=""):
        """After an attempt has ended."""
        lines = manifest(self.path)
        if lines[: len(self.lines)] != self.lines:
            self.faults.append("committed lines are gone: %d before, %d now" % (len(self.lines), len(lines)))
        try:
            content = files_of(self.path, lines)
        except OSError as error:
            self.faults.append("a listed shard is gone: %s" % error)
            return
        self.faults += ["%s has changed" % name for name in self.content if content.get(name) != self.content[name]]
        if "/shards/" in errors and "ignored" in errors:
            self.faults.append("a committed shard was not accepted: " + errors)
        self.lines, self.content = lines, content

    def finish(self, ranks):
        """Nothing disturbs this attempt."""
        code, out, errors = self.start(ranks).wait()
        self.look(errors)
        self.check(code, out, errors)

    def check(self, code, out, errors):
        """The attempt has ended by itself."""
        if code != 0 or digest_of(out) != self.digest:
            self.faults.append("exit code %s, digest %s, wanted %s\n%s" % (code, digest_of(out), self.digest, errors))
        if not self.faults:
            self.faults += coverage_faults(self.lines, self.scratch.total)

