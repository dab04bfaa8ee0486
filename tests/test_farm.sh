#!/bin/bash
# Runs the farm's test program with 1 to 4 ranks, and once without a launcher. Usage: tests/test_farm.sh [BUILD]
set -u
program=${1:-build}/tests/test_farm
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
failed=0
timeout 60 "$program" || { echo "not ok farm without a launcher (exit code $?)"; failed=1; }
for ranks in 1 2 3 4; do
  timeout 60 mpirun -np $ranks "$program" || { echo "not ok farm with $ranks ranks (exit code $?)"; failed=1; }
done
exit $failed
