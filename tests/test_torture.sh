#!/bin/bash
# test_torture.sh - kills, full disks and damaged files, the reduced loops; `make torture` runs the full ones.
. "$(dirname "$0")/lib.sh"
torture=$top/tests/torture
seed=${SEED:-2022}

# A driver that ends early has printed no "not ok".
torture() {
  /usr/bin/python3 "$torture/$1" --metavar "$metavar" --seed "$seed" "${@:2}" || [ $? = 1 ] || echo "not ok $1 ran to its end"
}
torture kills.py --kills 12 --replicates 4000 --minutes "${TORTURE_MINUTES:-1}"
torture kills.py --verb train --kills 3 --replicates 300 --minutes "${TORTURE_MINUTES:-1}"
torture diskfull.py --sizes 4
torture mutants.py --mutants 40
