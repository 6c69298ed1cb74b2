#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# On a machine with a GPU, in less than ten minutes: builds what it needs, runs the short tests and the sanitizer over them, and
# times the benches. Writes into a folder: the tests' reports, one JSON per bench, and a table of all figures.
#
#   sh bench/device.sh OUT [PYTHON]      PYTHON: an interpreter with a CUDA build of PyTorch, for the comparison
#   sh bench/device.sh --build           builds only, for a machine that has the device and no compiler (sm_90 without a device)
#   DILOCO_DEVICE_PROGRAMS=build/cuda    there: those programs, in place of configuring and building
set -eu

[ $# -ge 1 ] || { echo "usage: sh bench/device.sh OUT [PYTHON], or --build" >&2; exit 1; }
here=$(cd "$(dirname "$0")/.." && pwd)
tests='round laws_wire laws_staged laws_optimizer system_rounds whole_tensor'
benches='sweep round thrust_by_parts'
build() { # folder for reports
  (cd "$here" && cmake --preset cuda >"$1/configure.txt")
  targets='diloco_peer_cuda'
  for t in $tests; do targets="$targets cuda.$t"; done
  for b in $benches; do targets="$targets bench_cuda_$b"; done
  # shellcheck disable=SC2086
  cmake --build "$here/build/cuda" --target $targets >"$1/build.txt"
}
if [ "$1" = --build ]; then
  mkdir -p "$here/build"
  build "$here/build"
  exit 0
fi
nvidia-smi >/dev/null 2>&1 || { echo "device.sh: no CUDA device here (nvidia-smi finds none), so nothing was measured" >&2; exit 77; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
python=${2:-}

start=$(date +%s)
# Seconds for the next program: what it may take, and no more than is left of nine and a half minutes.
allowed() {
  left=$((570 - $(date +%s) + start))
  [ $left -gt 1 ] || left=1
  [ "$1" -lt $left ] && echo "$1" || echo $left
}

programs=${DILOCO_DEVICE_PROGRAMS:-}
if [ -z "$programs" ]; then
  build "$out"
  programs=$here/build/cuda
fi
find_program() { find "$programs" -name "$1" -type f -perm -u+x | head -n 1; }

nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.mem,clocks.max.sm --format=csv >"$out/device.csv"
date -u '+%Y-%m-%d %H:%M UTC' >"$out/date.txt"
failed=0
report() { # name, status
  echo "$1: $([ "$2" -eq 0 ] && echo passed || { [ "$2" -eq 77 ] && echo skipped || echo "FAILED ($2)"; })" | tee -a "$out/tests.txt"
  [ "$2" -eq 0 ] || failed=1
}
: >"$out/tests.txt"
for t in $tests; do
  status=0
  timeout "$(allowed 60)" "$(find_program "cuda.$t")" >"$out/cuda.$t.txt" 2>&1 || status=$?
  report "cuda.$t" $status
done
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null || true)
if [ -n "$sanitizer" ]; then
  sanitize() { # tool, test, seconds
    status=0
    timeout "$(allowed "$3")" "$sanitizer" --tool "$1" --error-exitcode 1 "$(find_program "cuda.$2")" >"$out/$1.$2.txt" 2>&1 || status=$?
    report "$1 $2" $status
  }
  for t in round laws_wire; do
    sanitize memcheck $t 60
    sanitize initcheck $t 60
  done
  sanitize synccheck round 30
  sanitize racecheck round 30 # of shared memory only, which no kernel has yet
else
  echo "compute-sanitizer: not found, not run" | tee -a "$out/tests.txt"
fi

for b in $benches; do
  status=0
  timeout "$(allowed 120)" "$(find_program "bench_cuda_$b")" --benchmark_out="$out/$b.json" --benchmark_out_format=json >"$out/$b.txt" 2>&1 ||
    status=$?
  report "bench_cuda_$b" $status
done
if [ -n "$python" ]; then
  status=0
  timeout "$(allowed 120)" "$python" "$here/bench/peers/run.py" --device cuda --peer "$(find_program diloco_peer_cuda)" --python "$python" \
    --alternations 3 --json "$out/peers.json" >"$out/peers.md" 2>"$out/peers.txt" || status=$?
  report peers $status
fi
python3 "$here/bench/report.py" --device "$out" >"$out/gpu.md"
echo "device.sh: the table is $out/gpu.md"
exit $failed
