#!/bin/bash
# test_digest.sh - results.h5 is the same bits for 1, 2, 3 and 4 ranks, without mpirun, for unit sizes, instruction sets and compilers.
. "$(dirname "$0")/lib.sh"
job=$top/tests/digest.yaml

# digest_of NAME COMMAND...: runs the job into $scratch/NAME, prints the digest of its results
digest_of() {
  local run=$scratch/$1
  shift
  "$@" run "$job" -o "$run" --quiet >"$run.out" 2>"$run.err" || { cat "$run.out" "$run.err"; return 1; }
  "$metavar" status "$run" --digest | grep -i digest | awk '{print $NF}'
}

expected=$(digest_of plain "$metavar")
check "one rank without mpirun finishes with a digest" [ ${#expected} -eq 32 ]
same() {
  local got
  got=$(digest_of "$@")
  [ "$got" = "$expected" ] || { echo "$1: $got, expected $expected"; return 1; }
}
for np in 1 2 3 4; do
  check "$np ranks: same digest" same "np$np" mpirun -np $np "$metavar"
done
with_unit() { # a unit size is no part of the result
  sed "s/^block: 50/block: 50\nunit: $1/" "$job" >"$scratch/unit$1.yaml"
  (job=$scratch/unit$1.yaml; same "unit$1" mpirun -np 2 "$metavar")
}
check "unit size 50: same digest" with_unit 50
check "unit size 1: same digest" with_unit 1
for isa in scalar x86_64 x86_64_v3 x86_64_v4; do
  if "$metavar" list kernels | grep -qw $isa; then
    check "kernel $isa: same digest" same "isa$isa" env METAVAR_ISA=$isa "$metavar"
  fi
done
if [ -x "$top/build-clang/metavar" ]; then
  check "clang build: same digest" same clang "$top/build-clang/metavar"
  check "clang build, 2 ranks: same digest" same clang2 mpirun -np 2 "$top/build-clang/metavar"
else
  echo "not ok clang build is there"
fi

portable() { # NAME KERNEL WORDS: tests/digest_NAME.yaml with one rank, three ranks, another kernel asked for, clang
  job=$top/tests/digest_$1.yaml
  expected=$(digest_of "$1" "$metavar")
  check "$1: one rank finishes with a digest" [ ${#expected} -eq 32 ]
  check "$1: 3 ranks, same digest" same "${1}3" mpirun -np 3 "$metavar"
  check "$1: $3, same digest" same "${1}_isa" env METAVAR_ISA="$2" "$metavar"
  check "$1: clang build, same digest" same "${1}c" "$top/build-clang/metavar"
}
portable gumbel scalar "scalar kernel"
check "verbatim and resolved job are kept" test -s "$scratch/np2/job.yaml" -a -s "$scratch/np2/resolved.yaml"
check "xarray opens every group with named dimensions" /usr/bin/python3 "$top/tests/check_xarray.py" "$scratch/np2/results.h5"

# networks
portable maze x86_64 "the vector kernel is not taken"
check "maze: the kernels of OpenBLAS are recorded" grep -q '"kernel": "scalar+' "$scratch/maze/attempts/001.json"
other_core() { # ranks with other kernels of OpenBLAS are refused
  mpirun -np 1 -x OPENBLAS_CORETYPE=Prescott "$metavar" run "$job" -o "$scratch/mixed" --quiet : \
    -np 1 "$metavar" run "$job" -o "$scratch/mixed" --quiet 2>&1 | grep -q 'set OPENBLAS_CORETYPE'
}
check "maze: mixed kernels of OpenBLAS are refused" other_core
check_core() { # digests of networks are for one kind of OpenBLAS's kernels; with another they are skipped, not wrong
  local out
  out=$(OPENBLAS_CORETYPE=Prescott "$metavar" check) && grep -q '^skip  *bits of backprop on maze' <<<"$out" && grep -q ', 0 failed, [0-9]* skipped$' <<<"$out"
}
check "check: networks are skipped with other kernels of OpenBLAS" check_core
golden_core() { ! OPENBLAS_CORETYPE=Prescott "$metavar" check --golden >"$scratch/golden" 2>&1 && grep -q OPENBLAS_CORETYPE "$scratch/golden"; }
check "check --golden: records no other digests of networks" golden_core
