// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/lanes.hpp>

#include <cuda_runtime.h>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// The 32 lanes of a warp own one block together. Reductions are over integers, so their order does not
/// matter.
struct warp {
  static constexpr int width = 32;
  DILOCO_HD static int rank() {
#if DILOCO_ON_DEVICE
    return static_cast<int>(threadIdx.x % 32);
#else
    return 0;
#endif
  }
  DILOCO_HD static std::uint32_t max(std::uint32_t x) {
#if DILOCO_ON_DEVICE
    return __reduce_max_sync(0xffffffffu, x);
#else
    return x;
#endif
  }
  DILOCO_HD static std::uint32_t sum(std::uint32_t x) {
#if DILOCO_ON_DEVICE
    return __reduce_add_sync(0xffffffffu, x);
#else
    return x;
#endif
  }
  DILOCO_HD static std::uint32_t before([[maybe_unused]] std::uint32_t x) {
#if DILOCO_ON_DEVICE
    std::uint32_t sum = x;
    for (unsigned step = 1; step < 32; step *= 2) {
      std::uint32_t const lower = __shfl_up_sync(0xffffffffu, sum, step);
      if (threadIdx.x % 32 >= step) sum += lower;
    }
    return sum - x;
#else
    return 0;
#endif
  }
  template <int Lanes>
  DILOCO_HD static std::uint32_t max_of(std::uint32_t x) {
#if DILOCO_ON_DEVICE
    for (int mask = 1; mask < Lanes; mask *= 2) {
      std::uint32_t const other = __shfl_xor_sync(0xffffffffu, x, mask);
      x = x > other ? x : other;
    }
#endif
    return x;
  }
  template <class T>
  DILOCO_HD static T partner(T x, [[maybe_unused]] int mask) {
#if DILOCO_ON_DEVICE
    return __shfl_xor_sync(0xffffffffu, x, mask);
#else
    return x;
#endif
  }
  DILOCO_HD static void atomic_min([[maybe_unused]] std::uint32_t* p, [[maybe_unused]] std::uint32_t x) {
#if DILOCO_ON_DEVICE
    atomicMin_system(p, x);
#endif
  }
  DILOCO_HD static void atomic_add([[maybe_unused]] std::uint32_t* p, [[maybe_unused]] std::uint32_t x) {
#if DILOCO_ON_DEVICE
    atomicAdd(p, x);
#endif
  }
  DILOCO_HD static void sync() {
#if DILOCO_ON_DEVICE
    __syncwarp();
#endif
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
