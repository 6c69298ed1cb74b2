#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# pkg_config.sh COMPILER PREFIX PROGRAM: a consumer with no CMake at all.
set -eu
PKG_CONFIG_PATH=$(dirname "$(find "$2" -name diloco.pc)")
export PKG_CONFIG_PATH
# shellcheck disable=SC2046
"$1" "$(dirname "$0")/main.cpp" -o "$3" $(pkg-config --cflags --libs diloco)
"$3"
