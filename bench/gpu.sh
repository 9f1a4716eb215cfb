#!/usr/bin/env bash
# Everything that wants a GPU, in one run of under nine minutes: builds, tests, sanitizes, measures; tables and logs in
# FOLDER, at most eight files. A build that is there already is used as it is.
#   bench/gpu.sh FOLDER [MODEL]     MODEL: a Hugging Face folder or GGUF file, for figures of a real one
# Without a device it says so and ends with 77.
set -uo pipefail

out="${1:?usage: gpu.sh FOLDER [MODEL]}"
model="${2:-}"
cd "$(dirname "$0")/.." || exit
mkdir -p "$out"
bin=build/release/bin
started=$SECONDS
MOST_SECONDS=530
failed=0

# step NAME SECONDS FUNCTION: its output in the log NAME; what failed, or had no time left, is told, and the rest goes on.
step() {
  local name="$1" left=$((MOST_SECONDS - (SECONDS - started))) status=0
  local limit=$(($2 < left ? $2 : left))
  printf '== %s (%d s in)\n' "$name" $((SECONDS - started))
  [ "$limit" -gt 0 ] || {
    failed=1
    printf '   FAILED: no time left\n'
    return
  }
  timeout "$limit" bash -c "$3" >"$out/$name.log" 2>&1 || status=$?
  [ "$status" -eq 0 ] || {
    failed=1
    printf '   FAILED (status %d), %s.log ends with:\n' "$status" "$name"
    tail -n 15 "$out/$name.log" | sed 's/^/   | /'
  }
}

build() {
  cmake --preset release -DDSLAD_CUDA=ON -DDSLAD_TESTS=ON -DDSLAD_BENCH=ON &&
    cmake --build --preset release --parallel "$(nproc)" --target dslad_cuda backends_test cuda_engine_test \
      device_bench device_kernels_bench dslad-model
}

# Each test of the operations and of the engine, on the GPU alone, and none skipped; then some under compute-sanitizer,
# where it is installed.
tests() {
  local said program
  for program in backends_test cuda_engine_test; do
    said="$("$bin/$program" --gtest_filter='*/Gpu')" || {
      echo "$said"
      return 1
    }
    echo "$said"
    ! grep -q SKIPPED <<<"$said" || return
  done
}
sanitize() {
  local tool
  command -v compute-sanitizer || {
    echo "skipped: compute-sanitizer is not installed"
    return 0
  }
  for tool in memcheck racecheck; do
    compute-sanitizer --tool "$tool" --error-exitcode 9 \
      "$bin/backends_test" --gtest_filter='*/Gpu:-*LongSequences*' || return
    compute-sanitizer --tool "$tool" --error-exitcode 9 \
      "$bin/cuda_engine_test" --gtest_filter='*Company*/Gpu:*Variant*/Gpu' || return
  done
}
measure() {
  "$bin/device_kernels_bench" && bench/device_peers.py &&
    "$bin/device_bench" --model 8B && "$bin/device_bench" --model 7B --context 4096 --documents 16384
}
real_model() {
  local device
  for device in cpu cuda:0; do
    echo "$device"
    "$bin/dslad-model" bench "$model" --device "$device" --prompt-tokens 512,4096 --batch 1,32 --context 2048 || return
  done
}

export bin model
export -f build tests sanitize measure real_model

nvidia-smi >"$out/device.log" 2>&1 || {
  echo "skipped: no CUDA device (nvidia-smi: $(tail -n 1 "$out/device.log"))"
  exit 77
}
git log -1 --format='%H %cd' >>"$out/device.log" 2>/dev/null
if [ ! -x "$bin/cuda_engine_test" ] || [ ! -e build/release/lib/libdslad-cuda.so ]; then
  step build 300 build
fi
step tests 120 tests
step measure 240 measure
[ -z "$model" ] || step model 60 real_model
step sanitize 300 sanitize
cat "$out/measure.log" 2>/dev/null
printf '== done in %d s\n' $((SECONDS - started))
exit "$failed"
