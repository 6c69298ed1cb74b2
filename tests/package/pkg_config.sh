#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# pkg_config.sh COMPILER PREFIX PROGRAM [FOLDER OF THRUST]: a consumer with no CMake at all.
set -eu
PKG_CONFIG_PATH=$(dirname "$(find "$2" -name diloco.pc)")
export PKG_CONFIG_PATH
flags=$(pkg-config --cflags --libs diloco)
case "$flags" in
  *-std=* | *cuda* | *-march=*) echo "pkg-config forces more than diloco needs: $flags" && exit 1 ;;
esac
for dialect in -std=c++20 -std=gnu++20; do
  # shellcheck disable=SC2086
  "$1" "$dialect" -march=native "$(dirname "$0")/main.cpp" -o "$3" $flags ${4:+-isystem "$4"}
done
"$3"
