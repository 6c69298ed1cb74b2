// SPDX-License-Identifier: Apache-2.0
// On what a suite runs its sweeps: compiled for the host on cpp (laws::on_each_executor: on every host
// executor), compiled by nvcc on a device (forked_lanes.hpp: on what stands in for one). The seam between
// laws/, golden/, system/ and tests/cuda, which includes their sources.
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

/// Calls a kernel once, with all lanes that own a block there: for what is asked of a policy and not of a
/// sweep.
template <class Kernel>
void call(Kernel const& kernel) {
#if DILOCO_TEST_ON_DEVICE
  main_executor{}.for_each(1, kernel);
#else
  kernel(diloco::solo{}, 0);
#endif
}

}  // namespace support
