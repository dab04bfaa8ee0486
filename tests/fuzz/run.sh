#!/bin/bash
# run.sh [SECONDS [TARGET]] - builds the fuzz targets with clang's libFuzzer and sanitizers and runs each for SECONDS (default 600).
# A finding ends it with a non-zero exit code and leaves its input in build-fuzz/.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-600} build=build-fuzz flags="-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"
make -s -j"$(nproc)" BUILD=$build CC=clang OPT=-O1 "SAN=$flags" $build/libmetavar.a
libs=$(make -s print-libs)
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1:max_allocation_size_mb=2048
export LSAN_OPTIONS=suppressions=$PWD/tests/memory/lsan.supp:print_suppressions=0
for target in tests/fuzz/fuzz_${2:-*}.c; do
  name=$(basename "$target" .c) corpus=$build/corpus.$(basename "$target" .c)
  clang -std=gnu17 -g -O1 -Iinclude -fsanitize=fuzzer,address,undefined -fno-omit-frame-pointer "$target" $build/libmetavar.a $libs -o "$build/$name"
  mkdir -p "$corpus"
  [ "$name" = fuzz_job ] && cp jobs/*.yaml tests/*.yaml "$corpus"/
  # its messages go nowhere (-close_fd_mask): they say what is wrong with every input
  FUZZ_SEEDS=$corpus "$build/$name" -max_total_time="$seconds" -max_len=200000 -timeout=60 -rss_limit_mb=4096 -malloc_limit_mb=100000 \
    -close_fd_mask=3 -print_final_stats=1 -artifact_prefix=$build/ "$corpus"
done
echo "no finding in $seconds s for each target"
