// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The one place where the version stands; CMake and pkg-config read it from here.
#define DILOCO_VERSION_MAJOR 0
#define DILOCO_VERSION_MINOR 1
#define DILOCO_VERSION_PATCH 0
#define DILOCO_VERSION (DILOCO_VERSION_MAJOR * 10000 + DILOCO_VERSION_MINOR * 100 + DILOCO_VERSION_PATCH)
