#!/usr/bin/env bash
# Everything that wants a GPU, in one run of under nine minutes: builds, tests, sanitizes, measures; tables and logs in
# FOLDER, at most eight files.
#   bench/gpu.sh run FOLDER [MODEL]   MODEL: a Hugging Face folder or GGUF file, for figures of a real one
#   bench/gpu.sh pack [FILE]          for a machine with a GPU and neither compiler nor network: what `run` needs beside
#                                     the source tree, as one file (build/dslad-gpu.tar.gz). Laid there in another
#                                     checkout of the same commit, `run` unpacks it where nothing is built. Wheels of
#                                     flash-linear-attention (and fla-core) in build/wheels are used where there are any.
# A build that is there already is used as it is. Without a device `run` says so and ends with 77.
#
# Not in the pack: the C library (that machine's must be as new as the packer's); CUDA's own libraries, which are large and
# lie where CUDA is or in a Python wheel's folder (nvidia/*/lib); dslad-model, whose libarchive brings 30 MB of ICU, so that
# MODEL needs a build; the source tree, of which tests read tests/golden (DSLAD_SOURCE_DIR: another tree than this one).
# shellcheck disable=SC2317 # steps are functions that `step` is given by name
set -uo pipefail

usage() {
  sed -n '4,8s/^# *//p' "$0" >&2
  exit 2
}
case "${1:-} $#" in
  'run 2' | 'run 3') mkdir -p "$2" && out="$(realpath "$2")" || exit ;;
  'pack 1' | 'pack 2') out="$(realpath -m "${2:-$(dirname "$0")/../build/dslad-gpu.tar.gz}")" ;;
  *) usage ;;
esac
model="${3:+$(realpath "$3")}"
cd "$(dirname "$0")/.." || exit
build="${DSLAD_BUILD:-build/release}"
pack=build/dslad-gpu.tar.gz
unpacked=build/gpu
programs="backends_test cuda_engine_test device_bench device_kernels_bench"
started=$SECONDS
MOST_SECONDS=530
failed=0

# needed FILE...: the libraries that these load, by name and path; of one that is not here the path is "not".
needed() { ldd "$@" | awk '$2 == "=>" { print $1, $3 }' | sort -u; }

# GCC's own libraries lie apart: a machine's may be newer, and are taken then. What is expected on the other machine stands
# in the file `expected`.
pack() {
  local folder name path
  folder="$(mktemp -d)" || return
  # shellcheck disable=SC2064 # the folder of now
  trap "rm -rf '$folder'" EXIT
  mkdir -p "$folder/bin" "$folder/lib/gcc" "$(dirname "$out")"
  { git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null || echo unknown; } >"$folder/commit"
  for name in $programs; do
    strip -o "$folder/bin/$name" "$build/bin/$name" || return
  done
  strip -o "$folder/lib/libdslad-cuda.so" "$build/lib/libdslad-cuda.so" || return
  while read -r name path; do
    [ "$path" != not ] || {
      echo "gpu.sh: $name is not here" >&2
      return 1
    }
    case "$name" in
      libcublas* | libcudart* | libcuda.*) echo "$name" >>"$folder/expected" ;;
      libc.so.* | libm.so.* | libdl.so.* | libpthread.so.* | librt.so.*) ;;
      libstdc++.so.* | libgcc_s.so.*) cp -L "$path" "$folder/lib/gcc/$name" || return ;;
      *) cp -L "$path" "$folder/lib/$name" || return ;;
    esac
  done < <(needed "$build/lib/libdslad-cuda.so" "$folder"/bin/*)
  tar -C "$folder" --owner=0 --group=0 -cf - . | gzip -n >"$out" || return
  printf '%s: %d KiB, commit %s\n' "$out" $(($(stat -c %s "$out") / 1024)) "$(cat "$folder/commit")"
}

# step LOG SECONDS FUNCTION [ARGUMENT...]: its output and its status go to the log LOG, which several steps may share. What
# failed, or had no time left, is told, and the rest goes on.
step() {
  local log="$out/$1.log" limit="$2" left=$((MOST_SECONDS - (SECONDS - started))) begun=$SECONDS status=0
  shift 2
  [ "$limit" -lt "$left" ] || limit="$left"
  printf '== %s (%d s in)\n' "$*" $((SECONDS - started)) | tee -a "$log"
  if [ "$limit" -gt 0 ]; then
    timeout -k 5 "$limit" bash -c '"$@"' - "$@" >>"$log" 2>&1 || status=$?
    printf '== %s: status %d after %d s of %d\n' "$*" "$status" $((SECONDS - begun)) "$limit" >>"$log"
  else
    status=124
    printf '== %s: no time left\n' "$*" | tee -a "$log"
  fi
  [ "$status" -eq 0 ] || {
    failed=1
    printf '   FAILED (status %d), %s ends with:\n' "$status" "${log##*/}"
    tail -n 15 "$log" | sed 's/^/   | /'
  }
}

build() {
  # shellcheck disable=SC2086 # several targets
  cmake --preset release -DDSLAD_CUDA=ON -DDSLAD_TESTS=ON -DDSLAD_BENCH=ON &&
    cmake --build --preset release --parallel "$(nproc)" --target dslad_cuda $programs dslad-model
}

# ours PROGRAM ARGUMENT...: with the pack's libraries before the machine's. Python is started without
# them: its own libraries may want newer ones.
ours() {
  local program="$1"
  shift
  env LD_LIBRARY_PATH="$libraries" "$bin/$program" "$@"
}

# Where CUDA's libraries are, if the loader does not know: a folder that has `expected`'s.
cuda_folder() {
  local name folder
  while read -r name; do
    for folder in /usr/local/cuda*/lib64 /usr/local/cuda*/targets/*/lib \
      $(python3 -c 'import glob, nvidia; print(*(lib for path in nvidia.__path__ for lib in glob.glob(path + "/*/lib")))' 2>/dev/null); do
      [ ! -e "$folder/$name" ] || echo "$folder"
    done
  done <"$1" | head -n 1
}

unpack() {
  local folder
  rm -rf "$unpacked"
  mkdir -p "$unpacked" && tar -C "$unpacked" -xzf "$pack" || return
  bin="$unpacked/bin"
  export DSLAD_CUDA_MODULE="$PWD/$unpacked/lib/libdslad-cuda.so"
  libraries="$PWD/$unpacked/lib${libraries:+:$libraries}"
  ours device_bench --help >/dev/null 2>&1 || libraries="$PWD/$unpacked/lib/gcc:$libraries"
  if LD_LIBRARY_PATH="$libraries" needed "$DSLAD_CUDA_MODULE" | grep -q ' not$'; then
    folder="$(cuda_folder "$unpacked/expected")"
    libraries+="${folder:+:$folder}"
  fi
  ours device_bench --help >/dev/null
}

# Each test of the operations or of the engine, on the GPU alone, and none skipped.
tests() {
  local said
  said="$(ours "$1" --gtest_filter='*/Gpu' 2>&1)" || {
    echo "$said"
    return 1
  }
  echo "$said"
  ! grep -q SKIPPED <<<"$said"
}

# Some of them under compute-sanitizer, where it is installed.
sanitize() {
  command -v compute-sanitizer || {
    echo "skipped: compute-sanitizer is not installed"
    return 0
  }
  LD_LIBRARY_PATH="$libraries" compute-sanitizer --tool "$1" --error-exitcode 9 "$bin/$2" --gtest_filter="$3"
}

# Wheels that lie beside the pack are Python's too: unpacked, as Triton reads its kernels' source.
peers() {
  local wheel
  for wheel in build/wheels/*.whl; do
    [ ! -e "$wheel" ] || python3 -m zipfile -e "$wheel" build/gpu-site || return
  done
  PYTHONPATH="build/gpu-site${PYTHONPATH:+:$PYTHONPATH}" python3 -B bench/device_peers.py "$@"
}
real_model() {
  local device
  [ -x "$bin/dslad-model" ] || {
    echo "skipped: dslad-model is not in the pack"
    return 0
  }
  for device in cpu cuda:0; do
    echo "$device"
    ours dslad-model bench "$model" --device "$device" --prompt-tokens 512,4096 --batch 1,32 --context 2048 || return
  done
}

if [ "$1" = pack ]; then
  pack
  exit
fi

bin="$build/bin"
libraries="${LD_LIBRARY_PATH:-}"
export bin libraries model programs DSLAD_SOURCE_DIR="${DSLAD_SOURCE_DIR:-$PWD}"
export -f build ours tests sanitize peers real_model

nvidia-smi >"$out/device.log" 2>&1 || {
  echo "skipped: no CUDA device (nvidia-smi: $(tail -n 1 "$out/device.log"))"
  exit 77
}
git log -1 --format='%H %cd' >>"$out/device.log" 2>/dev/null
if [ ! -x "$bin/cuda_engine_test" ] || [ ! -e "$build/lib/libdslad-cuda.so" ]; then
  if [ -e "$pack" ]; then
    unpack || exit
    printf 'packed from %s, libraries in %s\n' "$(cat "$unpacked/commit")" "$libraries" | tee -a "$out/device.log"
  else
    step build 300 build
  fi
fi
# Each may take so many seconds at most; what is left of all is the sanitizers'.
rm -f "$out"/{tests,measure,peers,model,sanitize}.log
step tests 60 tests backends_test
step tests 60 tests cuda_engine_test
step measure 40 ours device_kernels_bench --json
step peers 40 peers --ours "$out/measure.log"
step measure 100 ours device_bench --json --model 8B --documents 16384
step measure 100 ours device_bench --json --model 7B --context 4096 --documents 16384
step measure 30 ours device_bench --json --model 7B --parts jobs --jobs 8 --documents 1024 --answer 64
step peers 70 peers --hybrid --ours "$out/measure.log"
step measure 70 ours device_bench --json --model 8B --parts prompt,jobs --jobs 8 --documents 32768
[ -z "$model" ] || step model 50 real_model
for tool in memcheck racecheck; do
  step sanitize 90 sanitize "$tool" backends_test '*/Gpu:-*LongSequences*'
  step sanitize 90 sanitize "$tool" cuda_engine_test '*Company*/Gpu:*Variant*/Gpu'
done
cat "$out/measure.log" "$out/peers.log" 2>/dev/null
printf '== done in %d s\n' $((SECONDS - started))
exit "$failed"
