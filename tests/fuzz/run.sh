#!/bin/bash
# run.sh [SECONDS] - builds the fuzz targets with clang's libFuzzer and sanitizers and runs each for SECONDS (default 600).
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-600} build=build-fuzz flags="-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined"
make -s -j"$(nproc)" BUILD=$build CC=clang OPT=-O1 "SAN=$flags" $build/libmetavar.a
libs=$(make -s print-libs)
for target in tests/fuzz/fuzz_*.c; do
  name=$(basename "$target" .c)
  clang -std=gnu17 -g -O1 -Iinclude -fsanitize=fuzzer,address,undefined "$target" $build/libmetavar.a $libs -o $build/"$name"
  mkdir -p $build/corpus."$name"
  cp jobs/*.yaml tests/*.yaml $build/corpus."$name"/
  ASAN_OPTIONS=detect_leaks=1 LSAN_OPTIONS=suppressions=$PWD/tests/lsan.supp:print_suppressions=0 \
    $build/"$name" -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=4096 -print_final_stats=1 -artifact_prefix=$build/ $build/corpus."$name"
done
echo "no finding in $seconds s for each target"
