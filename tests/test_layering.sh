#!/bin/bash
# test_layering.sh - the rules of the house (src/README.md): who may include what, and what a plug-in exports.
. "$(dirname "$0")/lib.sh"
cd "$top" || exit 1

includers() { grep -lE "#include *[<\"]$1" -r src include analysis | sort | tr '\n' ' '; }
is() { [ "$1" = "$2" ] || { echo "found: $1; expected: $2"; return 1; }; }
check "mpi.h in comm_mpi.c alone" is "$(includers mpi.h)" "src/comm_mpi.c "
check "hdf5 in the two store rooms alone" is "$(includers hdf5)" "src/store_read.c src/store_write.c "
check "libyaml in config files alone (and its version number)" is "$(includers yaml.h | tr ' ' '\n' | grep -v '^src/config' | tr -d '\n')" "src/version.c"

# only NAME... : every #include of the files matches one of the patterns
only() {
  local files=$1 allowed=$2 bad
  bad=$(grep -HE '#include' $files | grep -vE "$allowed")
  [ -z "$bad" ] || { echo "$bad"; return 1; }
}
check "tasks include only task, math, choose and their own rooms" only "src/tasks/*.c" 'metavar/(task|math|choose|softmax|actor_critic|nn|maze|num|field)\.h"'
check "estimators include only window, estimator and what they build on" only "src/estimators/*.c" 'metavar/(mode|correction|window|estimator|shaping|unroll|stream|arena|num|field|math)\.h"'
check "the farm knows no units" only "src/farm.c src/helper.c" '<[a-z/]+\.h>|metavar/(farm|comm|clock|memory)\.h"|"helper\.h"'
nothing() { ! grep -nE "$@"; }
check "tasks and estimators allocate nothing, print nothing" nothing '\b(malloc|calloc|realloc|printf|fopen)\b *\(' src/tasks/*.c src/estimators/*.c src/lifetime.c src/unroll*.c
check "estimators never call a task's step" nothing -- '->(step|step_jvp|init|instance) *\(' src/estimators/*.c
check "no libm in a sample" nothing '#include <(math|complex|tgmath)\.h>' src/tasks/*.c src/estimators/*.c src/lifetime.c src/unroll*.c

exports_one() { # every object of a task or estimator exports exactly one symbol, that is const data
  local o n
  for o in build/kernel/*/tasks/*.o build/kernel/*/estimators/*.o; do
    n=$(nm --defined-only -g "$o" | wc -l)
    [ "$n" -eq 1 ] || { echo "$o exports $n symbols"; return 1; }
    size -A "$o" | awk '($1 == ".data" || $1 == ".bss") && $2 > 0 {bad = 1} END {exit !bad}' && { echo "$o has writable data"; return 1; }
  done
  return 0
}
check "a task or estimator exports one symbol and has no mutable statics" exports_one
no_libm() { # symbols of libm used by the real kernels
  local bad
  bad=$(nm -u build/kernel/{scalar,x86_64,x86_64_v3,x86_64_v4}/{tasks,estimators}/*.o build/kernel/*64*/{lifetime,unroll,unroll_back}.o | grep -E ' U (exp|log|sin|cos|tanh|pow|log1p|expm1|fma)f?$')
  [ -z "$bad" ] || { echo "$bad"; return 1; }
}
check "kernels link against no libm function" no_libm
long() { awk 'FNR == 1 {n[FILENAME] = 0} {n[FILENAME]++} END {for (f in n) if (n[f] > 500) {print f, n[f]; bad = 1} exit bad}' "$@"; }
check "no source file over 500 lines" long $(git ls-files 'src/*.c' 'include/*.h' 'analysis/*.c')
check "sources are formatted (clang-format)" clang-format --dry-run --Werror $(git ls-files 'src/*.c' 'include/*.h' 'analysis/*.c' 'tests/*.c' 'tests/*.h' | grep -v golden.h)
