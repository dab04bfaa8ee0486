#!/bin/bash
# test_surroundings.sh - what the caller may do to a process: close its standard streams, limit its files, leave a launcher's
# variables behind, kill a reading command.
. "$(dirname "$0")/lib.sh"
cd "$scratch" || exit 1
cat >job.yaml <<'Y'
name: tiny
seed: 7
lifetime_length: 4
task: {name: tree_bandit}
unit: 20
eta: {points: [[0.4, -0.3], [1, 0]]}
estimators:
  - {name: es, replicates: 777}
Y
no_part() { ! find . -name '*.part' | grep .; }
check "undisturbed" code 0 "$metavar" run job.yaml -o run -q

# Descriptors 0 to 2 free: the files of the run must not get them.
METAVAR_COMMIT_SECONDS=0 "$metavar" run job.yaml -o closed -p 0.0001 <&- >&- 2>&-
check "closed streams: exit code 74" test $? = 74
check "closed streams: no message in the manifest" code 0 "$metavar" verify closed --samples 1
check "closed streams: no damage" grep -q '; 0 damaged;' out
check "closed streams: same digest" same "$(digest closed)" "$(digest run)"

limited() { # KIB SECONDS: the run must not write larger files; time from commit to commit
  code 74 env METAVAR_COMMIT_SECONDS="$2" bash -c "ulimit -f $1 && exec \"$metavar\" run job.yaml -o limit -q"
}
check "a shard beyond ulimit -f" limited 8 10 # one shard of everything
check "says which" says 'limit/shards/000001.h5: cannot be written: File too large'
check "results.h5 beyond ulimit -f" limited $(($(stat -c %s run/results.h5) / 2048)) 0
check "says which" says 'limit/results.h5.*: cannot be written: File too large; it needs [0-9]* bytes.*run the same command again'
check "no temporary file stays" no_part
check "without limit it goes on" code 0 "$metavar" run job.yaml -o limit -q
check "to the same bits" same "$(digest limit)" "$(digest run)"

# results.h5 is whole, but its checksum cannot be written.
check "no time" code 75 "$metavar" run job.yaml -o way -q --max-time 0s
mkdir way/checksums.xxh128.part
check "a folder in the way of the checksums" code 74 "$metavar" run job.yaml -o way -q
rmdir way/checksums.xxh128.part
check "no temporary file stays" no_part
check "without it the run goes on" code 0 "$metavar" run job.yaml -o way -q

for name in OMPI_COMM_WORLD_RANK PMIX_RANK PMI_RANK; do
  check "$name=1 without a launcher: refused" code 1 env $name=1 "$metavar" run job.yaml -o stray -q
  check "says why" says "unset .*$name"
done
check "and nothing is made" test ! -e stray

# A reading command that is killed leaves nothing behind.
"$metavar" run job.yaml -o long -q --set lifetime_length=100000 --set estimators.es.replicates=100000 >/dev/null 2>&1 &
long=$!
for _ in {1..100}; do [ -e long/attempts/001.json ] && break; sleep 0.05; done
"$metavar" status long --watch --interval 0.1 >watched &
watcher=$!
for _ in {1..100}; do [ -s watched ] && break; sleep 0.05; done
child=$(pgrep -P $watcher)
kill -KILL $watcher
wait $watcher 2>/dev/null
gone() { # by SIGKILL: perhaps nobody has collected it
  for _ in {1..40}; do
    case $(ps -o stat= -p "$1") in '' | Z*) return ;; esac
    sleep 0.05
  done
  return 1
}
check "status --watch is killed: its child ends" gone "${child:-0}"
kill -KILL $long
wait $long 2>/dev/null
exit 0
