#!/usr/bin/env python3
"""Bytes flipped, cut off, zeroed, ... in every file of a run that was stopped.

Going on with such a run either ends with the digest of an undisturbed one, or is refused with exit code 65, 73 or 78
and a message. `status` looks at it too. Nothing crashes or hangs, and a refusal changes no file.
"""
import os
import random
import shutil
import tempfile
import time

import common
from common import Scratch, report

REFUSED = (65, 73, 78)
HANGS = 60  # seconds


def flip(data, at, choice):
    return data[:at] + bytes([data[at] ^ 1 << choice.randrange(8)]) + data[at + 1 :]


def replace(data, at, choice):
    likely = b"\0\n 0,:-[]{}\"\x7f\xff"  # to mean something
    return data[:at] + bytes([choice.choice([*likely, *range(256)])]) + data[at + 1 :]


def truncate(data, at, choice):
    return data[:at]


def zero(data, at, choice):
    count = choice.choice((1, 8, 64, 512, 4096))
    return data[:at] + bytes(len(data[at : at + count])) + data[at + count :]


def delete(data, at, choice):
    return data[:at] + data[at + choice.choice((1, 2, 8, 64)) :]


def repeat(data, at, choice):
    count = choice.choice((1, 2, 8, 64, 1000))
    return data[: at + count] + data[at:]


def scatter(data, at, choice):
    for _ in range(8):
        data = flip(data, choice.randrange(len(data)), choice)
    return data


CHANGES = [flip, flip, flip, replace, replace, truncate, truncate, zero, delete, repeat, scatter]


def tree(folder):
    """{name: bytes} of all files, but not of the lock, which says who held it last."""
    found = {}
    for where, _, names in os.walk(folder):
        for name in names:
            if name != "run.lock":
                with open(os.path.join(where, name), "rb") as file:
                    found[os.path.relpath(os.path.join(where, name), folder)] = file.read()
    return found


def plan(files, count, choice):
    """(file, change, offset, bytes) of every mutant: a fifth for each kind of file, offsets in equal strata of it, so
    that every region has its share."""
    shards = [name for name in sorted(files) if name.startswith("shards/")]
    mutants = []
    for kind, names in enumerate([shards, ["manifest.jsonl"], ["resolved.yaml"], ["job.yaml"], ["checksums.xxh128"]]):
        share = (count + 4 - kind) // 5
        for k in range(share):
            data = files[names[k % len(names)]]
            at = int((k + choice.random()) / share * len(data))
            change = choice.choice(CHANGES)
            changed = change(data, at, choice)
            if changed == data:
                change, changed = flip, flip(data, at, choice)
            mutants.append((names[k % len(names)], change.__name__, at, changed))
    return mutants


def one(args, scratch, files, digest, mutant):
    """(what became of it, faults)"""
    name, change, at, changed = mutant
    run = tempfile.mkdtemp(dir=scratch.path) + "/run"
    shutil.copytree(scratch.path + "/stopped", run)
    with open(run + "/" + name, "wb") as file:
        file.write(changed)
    before, faults = tree(run), []
    code, _, errors = common.metavar(args.metavar, "status", run, timeout=HANGS)
    if code not in (0, 65) or (code == 65 and not errors):
        faults.append("status: exit code %s\n%s" % (code, errors))
    code, out, errors = common.metavar(args.metavar, "run", scratch.job, "-o", run, "-q", timeout=HANGS)
    after = tree(run)
    if code == 0 and common.digest_of(out) == digest:
        fate = "completed"
        told = "ignored" in errors or "checksums.xxh128" in errors
        if not told and name != "checksums.xxh128" and not (name == "manifest.jsonl" and harmless(files[name], changed)):
            faults.append("not told")
        if name.endswith(".yaml") and after[name] != files[name]:
            faults.append("not mended")
    elif code in REFUSED and run in errors and after == before:
        fate = "refused"
    else:
        fate = "FAULT"
        touched = [n for n, data in after.items() if before.get(n) != data]
        faults.append(
            "exit code %s, digest %s, wanted %s; changed: %s\n%s" % (code, common.digest_of(out), digest, touched, errors)
        )
    shutil.rmtree(run)
    return fate, ["%s, %s at %d of %d: %s" % (name, change, at, len(files[name]), fault) for fault in faults]


def harmless(old, new):
    """A manifest that lost whole lines or its last newline, or has lines twice, says nothing false."""
    return set(new.split(b"\n")) <= set(old.split(b"\n"))


def main():
    args = common.arguments(mutants=2000)
    with Scratch(length=4, unit=50, replicates=100) as scratch:
        run = [args.metavar, "run", scratch.job, "-q", "-o"]
        code, out, errors = common.metavar(*run, scratch.path + "/whole")
        digest = common.digest_of(out)
        report("undisturbed run", [] if code == 0 and digest else [errors])
        code = common.metavar(*run, scratch.path + "/stopped", METAVAR_KILL_AT="manifest.synced:6")[0]
        report("stopped run", [] if code == -9 else ["exit code %s" % code])
        files = tree(scratch.path + "/stopped")
        mutants = plan(files, args.mutants, random.Random(args.seed))

        def in_time(mutant):
            return one(args, scratch, files, digest, mutant) if time.monotonic() < args.end else ("not tried", ["no time left"])

        fates, faults = {}, []
        for mutant, (fate, found) in zip(mutants, common.parallel(in_time, mutants)):
            kind = mutant[0].split("/")[0], fate
            fates[kind] = fates.get(kind, 0) + 1
            faults += found
        for (kind, fate), count in sorted(fates.items()):
            print("# %-14s %-9s %d" % (kind, fate, count))
        report("%d mutants" % len(mutants), faults)
    raise SystemExit(common.failures > 0)


main()
