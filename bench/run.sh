#!/usr/bin/env bash
# Runs the benchmarks in the folder given, or those named after it. Each prints the limit beside what it reached; only
# ratios within one run mean anything on a machine that others share.
#   bench/run.sh build/release/bin [gemm attention sequence_attention dsla sequence_dsla delta engine enqueue]
set -euo pipefail

bin="${1:?usage: run.sh BIN [NAME...]}"
shift
names=("$@")
[ ${#names[@]} -gt 0 ] || names=(gemm attention sequence_attention dsla sequence_dsla delta training distil engine enqueue)

for name in "${names[@]}"; do
  program="$bin/${name}_bench"
  [ -x "$program" ] || {
    echo "run.sh: there is no benchmark '$name' in $bin" >&2
    exit 2
  }
  printf '\n== %s\n' "$name"
  "$program"
done
