// SPDX-License-Identifier: Apache-2.0
// main of a suite that runs on a device (support/cuda_lanes.cuh). Every `new` returns pinned memory.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "support/arena_new.hpp"

#include <cuda_runtime_api.h>

#include <cstdio>

namespace {

constexpr std::size_t arena_bytes = std::size_t{512} << 20;

bool done(cudaError_t code, char const* call) {
  if (code != cudaSuccess) std::printf("%s failed: %s\n", call, cudaGetErrorString(code));
  return code == cudaSuccess;
}

/// Our own memory, pinned, and not the driver's, because statics are destroyed after the driver is gone. It
/// is never freed.
support::arena* pinned_arena() {
  int same_pointers = 0;
  void* const memory = std::aligned_alloc(support::arena::largest_alignment, arena_bytes);
  if (!done(cudaDeviceGetAttribute(&same_pointers, cudaDevAttrCanUseHostPointerForRegisteredMem, 0),
            "cudaDeviceGetAttribute") ||
      !done(cudaHostRegister(memory, arena_bytes, cudaHostRegisterMapped | cudaHostRegisterPortable),
            "cudaHostRegister"))
    return nullptr;
  if (same_pointers == 0) {
    std::puts("kernels do not reach pinned memory by the host's pointers on this device");
    return nullptr;
  }
  static support::arena all(static_cast<std::byte*>(memory), arena_bytes);
  return &all;
}

}  // namespace

/// 77 is CTest's SKIP_RETURN_CODE. Without a GPU, the machine has compiled and linked everything, but it
/// cannot run it.
int main(int argc, char** argv) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("no CUDA device here");
    return 77;
  }
  support::arena_in_use = pinned_arena();
  if (support::arena_in_use == nullptr) return 1;
  int const result = doctest::Context(argc, argv).run();
  if (std::size_t const refused = support::arena_in_use->refused(); refused != 0) {
    std::printf("%zu allocations found no room in %zu MiB of pinned memory\n", refused, arena_bytes >> 20);
    return 1;
  }
  return result;
}
