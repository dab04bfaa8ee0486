#!/bin/bash
# test_valgrind.sh - runs of two ranks, and reading commands, under valgrind: no error, nothing lost. `make test-memory`.
. "$(dirname "$0")/../lib.sh"
cd "$top" || exit 1
cat >"$scratch/job.yaml" <<'YAML'
name: valgrind
seed: 3
lifetime_length: 6
task: {name: bandit, arms: 5, batch: 3, cutoff: 2}
block: 20
eta: {points: [[0.5, 1.5]]}
estimators:
  - {name: backprop, truncation: [2, 6], hessian: [pathwise, dice], replicates: 50, store: moments}
  - {name: es, truncation: [2, 6], replicates: 50}
  - {name: fd, replicates: 30}
  - {name: reference, truncation: [2, 6], replicates: 60}
YAML
valgrind=(valgrind -q --keep-debuginfo=yes --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite
  --suppressions=/usr/share/openmpi/openmpi-valgrind.supp --suppressions=tests/memory/valgrind.supp)
check "a run of two ranks" env METAVAR_ISA=x86_64 mpirun -np 2 "${valgrind[@]}" build/metavar run "$scratch/job.yaml" -o "$scratch/run" -q
digest() { build/metavar status "$1" --digest | grep '^digest'; }
build/metavar run "$scratch/job.yaml" -o "$scratch/plain" -q >/dev/null
check "the same digest as without" [ "$(digest "$scratch/run")" = "$(digest "$scratch/plain")" ]
check "going on with it" mpirun -np 2 "${valgrind[@]}" build/metavar run "$scratch/job.yaml" -o "$scratch/run" -q
for verb in status verify analyze; do
  check "$verb" "${valgrind[@]}" --trace-children=yes build/metavar $verb "$scratch/run"
done
