#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what the presets demo and test need. Quick and silent about it when nothing is missing.
#
#   sh cmake/setup.sh            what `cmake --workflow --preset demo` and `--preset test` need
#   sh cmake/setup.sh --dev      also clang-format and clang-tidy (preset tidy)
#   sh cmake/setup.sh --peers    also PyTorch, for bench/peers
set -eu

commands='g++:g++ ninja:ninja-build cmake:cmake clang++:clang python3:python3 pkg-config:pkg-config
          mpicxx:libopenmpi-dev mpirun:openmpi-bin gnuplot:gnuplot-nox c++filt:binutils'
headers='doctest/doctest.h:doctest-dev benchmark/benchmark.h:libbenchmark-dev tbb/parallel_for.h:libtbb-dev
         eigen3/Eigen/Core:libeigen3-dev thrust/version.h:libthrust-dev CLI/CLI.hpp:libcli11-dev
         nlohmann/json.hpp:nlohmann-json3-dev'
modules=''
for option in "$@"; do
  case $option in
    --dev) commands="$commands clang-format:clang-format clang-tidy:clang-tidy" ;;
    --peers) modules='numpy:python3-numpy torch:python3-torch' ;;
    *) echo "setup.sh: unknown option $option; there are --dev and --peers" >&2; exit 1 ;;
  esac
done

# Packages whose command, header or Python module is not there, one per line. Asking the tools and not the package
# manager lets a machine without apt, or with its own doctest, pass. All headers are asked for in one preprocessor run.
missing() {
  for pair in $commands; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || echo "${pair#*:}"
  done
  if command -v g++ >/dev/null 2>&1; then
    for pair in $headers; do
      printf '#if !__has_include(<%s>)\nmissing %s\n#endif\n' "${pair%%:*}" "${pair#*:}"
    done | g++ -std=c++20 -E -P -x c++ - | sed -n 's/^missing *//p' | tr -d ' '
  else
    for pair in $headers; do echo "${pair#*:}"; done
  fi
  if command -v clang++ >/dev/null 2>&1; then # clang brings its own omp.h; g++ has one built in
    printf '#include <omp.h>\n' | clang++ -fopenmp -fsyntax-only -x c++ - 2>/dev/null || echo libomp-dev
    # The runtimes of its sanitizers and of libFuzzer are a package of their own, which Debian's clang does not ask for.
    scratch=$(mktemp)
    printf 'extern "C" int LLVMFuzzerTestOneInput(unsigned char const*, unsigned long) { return 0; }' |
      clang++ -fsanitize=fuzzer,address,undefined -x c++ -o "$scratch" - 2>/dev/null || echo libclang-rt-dev
    rm -f "$scratch"
  else
    echo libomp-dev libclang-rt-dev
  fi
  for pair in $modules; do # Debian's own interpreter: that is where its packages go
    /usr/bin/python3 -c "import importlib.util as u, sys; sys.exit(u.find_spec('${pair%%:*}') is None)" 2>/dev/null ||
      echo "${pair#*:}"
  done
}

# What is installed but too old, as sentences.
too_old() {
  at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }
  version=$(cmake --version | sed -n 's/^cmake version //p')
  at_least "$version" 3.25 || echo "cmake is $version, and 3.25 is needed (https://apt.kitware.com has newer ones)"
  version=$(g++ -dumpfullversion -dumpversion)
  at_least "$version" 12 || echo "g++ is $version, and 12 is needed"
}

stop() {
  echo "setup.sh: $1" >&2
  echo "setup.sh: missing: $(echo $wanted)" >&2 # unquoted: newlines become spaces
  exit 1
}

wanted=$(missing)
if [ -n "$wanted" ]; then
  command -v apt-get >/dev/null 2>&1 || stop 'there is no apt-get here; install these by hand (Debian names)'
  if [ "$(id -u)" -eq 0 ]; then root=''
  elif command -v sudo >/dev/null 2>&1; then root='sudo'
  else stop 'neither root nor sudo; ask somebody who is to install these'
  fi
  echo "setup.sh: installing" $wanted
  $root apt-get update -q || stop 'apt-get update failed'
  # shellcheck disable=SC2086
  $root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $wanted ||
    stop 'apt-get could not install all of these'
  wanted=$(missing)
  [ -z "$wanted" ] || stop 'installed, and still not found'
fi

old=$(too_old)
if [ -n "$old" ]; then
  echo "setup.sh: $old" >&2
  exit 1
fi
