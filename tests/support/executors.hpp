// SPDX-License-Identifier: Apache-2.0
// The executors that a suite runs its sweeps on. Compiled for the host: cpp (laws::on_each_executor: every
// host executor). Compiled by nvcc: a device (forked_lanes.hpp: a fake device).
// laws/, golden/ and system/ get their executors here, and tests/cuda includes their sources.
#pragma once

#include <diloco/diloco.hpp>

#if defined(__CUDACC__)
#define DILOCO_TEST_ON_DEVICE 1
#include "support/cuda_lanes.cuh"
#elif defined(DILOCO_TEST_FORKED)
#define DILOCO_TEST_ON_DEVICE 1
#include "support/forked_lanes.hpp"
#else
#define DILOCO_TEST_ON_DEVICE 0
#endif

namespace support {

#if defined(__CUDACC__)
using main_executor = device_lanes;
#elif defined(DILOCO_TEST_FORKED)
using main_executor = forked_lanes;
#else
using main_executor = diloco::cpp;
#endif

/// Calls a kernel once, with all lanes that own a block there. For tests of a policy rather than of a sweep.
template <class Kernel>
void call(Kernel const& kernel) {
#if DILOCO_TEST_ON_DEVICE
  main_executor{}.for_each(1, kernel);
#else
  kernel(diloco::solo{}, 0);
#endif
}

}  // namespace support
