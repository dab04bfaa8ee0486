#!/usr/bin/env python3
"""Runs on a file system that is too small for them, of many sizes.

Such a run ends with exit code 74 and one message that names path and bytes. When there is room, the same command
completes it to the digest of an undisturbed run, and accepts every shard that was committed before.
"""
import os
import random
import re
import subprocess
import sys

import common
from common import Run, Scratch, report

PAGE = 4096


def mount(path, size, *options):
    command = ["mount", "-t", "tmpfs", "-o", ",".join(["size=%d" % size, "nr_inodes=1000", *options]), "torture", path]
    return subprocess.run(command, capture_output=True, text=True)


def sizes(count, whole, choice):
    """Bytes, all different: hardly anything; too small for the shards; around what results.h5 needs on top."""
    ranges = [(1, 16), (16, whole // PAGE), (16, whole // PAGE), (whole // PAGE, 3 * whole // PAGE + 400)]
    found = []
    while len(found) < count:
        pages = choice.randint(*ranges[len(found) % 4])
        if pages * PAGE not in found:
            found.append(pages * PAGE)
    return found


def one_size(scratch, args, digest, size):
    """The exit code on the full disk."""
    folder = "%s/%d" % (scratch.path, size)
    os.makedirs(folder, exist_ok=True)
    mount(folder, size)
    run = Run(scratch, "%d/run" % size, args, digest)
    code, out, errors = run.start(0).wait()
    run.look(errors)
    if code == 0:
        run.check(code, out, errors)
    elif code != 74:
        run.faults.append("exit code %s\n%s" % (code, errors))
    elif run.path not in errors or not re.search(r"\d (bytes|MB)", errors):
        run.faults.append("does not name path and bytes:\n" + errors)
    listed = len(run.lines)
    mount(folder, 64 << 20, "remount")
    run.finish(0)
    subprocess.run(["umount", folder])
    report("%d bytes: exit code %s, %d shards kept" % (size, code, listed), run.faults)
    return code


def main():
    if os.environ.get("TORTURE_MOUNTS") != "own":  # mounts of our own, which end with us
        os.environ["TORTURE_MOUNTS"] = "own"
        unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
        if subprocess.run([*unshare, "mount", "-t", "tmpfs", "torture", "/mnt"], capture_output=True).returncode:
            print("skipped: disk full: cannot mount a tmpfs here (needs root or user namespaces)")
            return
        os.execvp(unshare[0], [*unshare, "/usr/bin/python3", *sys.argv])
    args = common.arguments(sizes=50)
    with Scratch(length=4, unit=50, replicates=500) as scratch:
        whole = Run(scratch, "whole", args, None)
        code, out, errors = whole.start(0).wait()
        whole.look(errors)
        report("undisturbed run", [] if code == 0 else [errors])
        need = sum(len(content) for content in whole.content.values())
        codes = []
        for size in [*sizes(args.sizes - 1, need, random.Random(args.seed)), 8 * need]:
            codes.append(one_size(scratch, args, common.digest_of(out), size))
        report("%d sizes: some too small, some not" % len(codes), [] if set(codes) == {0, 74} else [str(codes)])
    raise SystemExit(common.failures > 0)


main()
