#!/bin/bash
# store.sh - what storing costs beside computing, commits and results.h5, for the long study (bench_store.c). Appends to
# results/store.csv. Two minutes on a calm machine.
set -u
cd "$(dirname "$0")/../.." || exit 1
mkdir -p runs
scratch=$(mktemp -d runs/bench.XXXXXX) # on a disk, not in memory
trap 'rm -rf "$scratch"' EXIT
echo "store.sh: what storing costs beside computing (4000 replicates of each cell of the long study), samples and moments"
"${BUILD:-build}/bench/bench_store" jobs/v22_bandit_long.yaml "$scratch" tests/bench/results/store.csv
