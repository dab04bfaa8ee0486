#!/usr/bin/env python3
"""Kill -9 at every named point of the commit protocol, then of random processes at random moments.

A run (of `metavar run`, or with --verb train) that was killed is run again with another number of ranks until it is done. Then its digest has to be that of an
undisturbed run, and its manifest has to list every sample once. After every kill, whatever was listed before is still
listed, the same bytes, and accepted by the run that goes on. No process survives its launcher.
"""
import os
import random
import signal
import time

import common
from common import Run, Scratch, report


def points(args):
    train = args.verb == "train"
    with Scratch(length=4, unit=50, replicates=150, verb=args.verb) as scratch:
        run = [args.metavar, args.verb, scratch.job, "-o"]
        code, out, errors = common.metavar(*run, scratch.path + "/whole", "-q")
        digest = common.digest_of(out)
        report("undisturbed run without mpirun", [] if code == 0 and digest else [errors])
        names = common.metavar(*run, scratch.path + "/list", METAVAR_KILL_AT="list")[1].split()
        report("the kill points have names", [] if len(names) > 30 else ["%d names" % len(names)])
        names = [n for n in names if not n.startswith("rounds.")]  # of a stopping rule: test_rounds.sh
        names = [n for n in names if train or not n.startswith("carried.")]
        code = common.metavar(*run, scratch.path + "/wrong", METAVAR_KILL_AT="nonsense")[0]
        report("a wrong name is refused", [] if code == 2 and not os.path.exists(scratch.path + "/wrong") else [str(code)])
        # The first time that a point is passed; for those of a commit also in the middle of the run.
        often = [p + ":5" for p in names if p.startswith(("shard.", "manifest.", "carried.")) and not p.endswith(".made")]

        def faults_at(point):
            tortured = Run(scratch, point, args, digest)
            if point.startswith("earlier."):  # passed when a run is extended
                common.metavar(*run, tortured.path, "-q", "--set", "train.updates=75" if train else "estimators.1.replicates=75")
                tortured.look()
            code, _, errors = tortured.start(0, METAVAR_KILL_AT=point).wait()
            if code != -signal.SIGKILL:
                tortured.faults.append("was not reached: exit code %s\n%s" % (code, errors))
            tortured.look(errors)
            tortured.finish(0)
            return tortured.faults

        for point, faults in zip(names + often, common.parallel(faults_at, names + often)):
            report("killed at " + point, faults)


def kill_one(process, choice):
    """A victim among the launcher, rank 0, any rank. Its name, None if all is over."""
    members = process.members()
    ranks = sorted((rank, pid) for pid, rank in members.items() if rank is not None)
    launcher = process.process.pid
    kind = choice.choice(["launcher", "rank 0", "any rank", "any rank"])
    index = choice.randrange(1 << 16)
    if kind == "launcher" or not ranks:
        victim, name = launcher, "launcher"
    else:
        rank, victim = ranks[0] if kind == "rank 0" else ranks[index % len(ranks)]
        name = "rank %d of %d" % (rank, len(ranks))
    if process.process.poll() is not None:
        return None
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:
        return None
    return name


def kills(args):
    choice = random.Random(args.seed)
    train = args.verb == "train"
    length, unit = (20, 20) if train else (400, 400)
    with Scratch(length, unit, args.replicates, args.verb, carried=args.seed % 2 > 0) as scratch:
        start = time.monotonic()
        code, out, errors = common.metavar(
            args.metavar, args.verb, scratch.job, "-o", scratch.path + "/whole", "-q", ranks=2
        )
        whole, digest = time.monotonic() - start, common.digest_of(out)
        report("undisturbed run with 2 ranks, %.1f s" % whole, [] if code == 0 and digest else [errors])
        killed = jobs = 0
        while killed < args.kills and time.monotonic() < args.end:
            jobs += 1
            tortured, victims, done = Run(scratch, "job%d" % jobs, args, digest), [], False
            while not done and killed < args.kills:
                process = tortured.start(choice.randint(1, 4))
                time.sleep(choice.uniform(0, 0.7 * whole))
                victim = kill_one(process, choice)
                code, out, errors = process.wait()
                done = code == 0
                left = process.orphans()
                if left:
                    tortured.faults.append("%d orphans after killing %s" % (left, victim))
                tortured.look(errors)
                if victim:
                    killed += 1
                    victims.append(victim)
                elif not done:
                    tortured.faults.append("exit code %s without a kill\n%s" % (code, errors))
                    break
            if done:
                tortured.check(code, out, errors)
            elif not tortured.faults:
                tortured.finish(choice.randint(1, 4))
            report("job %d: killed %d times (%s)" % (jobs, len(victims), ", ".join(victims)), tortured.faults)
        report("%d kills" % killed, [] if killed >= args.kills else ["out of time: wanted %d" % args.kills])


def main():
    args = common.arguments(kills=300, replicates=12000, verb="run")
    points(args)
    kills(args)
    raise SystemExit(common.failures > 0)


main()
