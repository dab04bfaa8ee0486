#!/bin/bash
# Runs the farm's test program with 1 to 4 ranks, and once without a launcher.
. "$(dirname "$0")/lib.sh"
program=$(dirname "$metavar")/tests/test_farm
failed=0
timeout -k 9 60 "$program" || { echo "not ok farm without a launcher (exit code $?)"; failed=1; }
for ranks in 1 2 3 4; do
  timeout -k 9 60 mpirun -np $ranks "$program" || { echo "not ok farm with $ranks ranks (exit code $?)"; failed=1; }
done
# A rank stopped for ever, for a while; the only worker stopped, so that rank 0 computes after all; rank 0 stopped.
for how in "3 -1" "3 1.5" "2 -1 alone" "2 1.5 alone" "4 -1"; do
  set -- $how
  timeout -k 9 60 mpirun -np $1 "$program" "${@:2}" 2>/dev/null || { echo "not ok farm of $1 with a stopped rank (exit code $?)"; failed=1; }
done
# Without the copy that the receiver of shared memory can make alone, as between hosts.
OMPI_MCA_btl_vader_single_copy_mechanism=none timeout -k 9 60 mpirun -np 5 "$program" crowd 2>/dev/null ||
  { echo "not ok farm of ranks stopped in the middle of large results (exit code $?)"; failed=1; }
timeout -k 9 60 mpirun -np 3 "$program" orphans 2>/dev/null
[ $? = 75 ] || { echo "not ok farm whose rank 0 is stopped"; failed=1; }
exit $failed
