// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/executor.hpp>
#include <diloco/core/error.hpp>

#include <cuda_runtime.h>

#include <cstring>
#include <string>

namespace diloco {
inline namespace v0 {

/// The 32 lanes of a warp own one block together. Reductions are of integers, so their order does not matter.
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

namespace detail {

inline constexpr int warps_per_group = 8;

/// One warp per tile, striding over the grid.
template <class Kernel>
__global__ void __launch_bounds__(warps_per_group * 32, 3) run_tiles(Kernel kernel, std::size_t tiles) {
  std::size_t const warps = static_cast<std::size_t>(gridDim.x) * warps_per_group;
  for (std::size_t t = static_cast<std::size_t>(blockIdx.x) * warps_per_group + threadIdx.x / 32; t < tiles;
       t += warps) {
    kernel(warp{}, t);
  }
}

inline void check_cuda(cudaError_t code, char const* call) {
  if (code == cudaSuccess) return;
  raise({cause::transport, 0, 0, std::string("diloco: cuda: ") + call + " failed: " + cudaGetErrorString(code)});
}

inline void release_device(std::byte* data, std::size_t, void*) noexcept { cudaFree(data); }
inline void release_pinned(std::byte* data, std::size_t, void*) noexcept { cudaFreeHost(data); }

}  // namespace detail

/// A CUDA stream (named so, because `cuda` is libcu++'s namespace). Columns lie in device memory; wires and tables of pointers in pinned memory that both sides see.
/// `for_each` enqueues on the stream; `wait` synchronizes the stream, never the device.
struct cuda_stream {
  cudaStream_t stream = nullptr;

  static constexpr std::string_view name = "cuda";
  static constexpr bool columns_on_host = false;

  [[nodiscard]] buffer allocate(std::size_t bytes) const {
    void* data = nullptr;
    detail::check_cuda(cudaMalloc(&data, bytes), "cudaMalloc");
    detail::check_cuda(cudaMemsetAsync(data, 0, bytes, stream), "cudaMemsetAsync");
    return {static_cast<std::byte*>(data), bytes, detail::release_device};
  }
  [[nodiscard]] buffer allocate_wire(std::size_t bytes) const {
    void* data = nullptr;
    detail::check_cuda(cudaMallocHost(&data, bytes), "cudaMallocHost");
    std::memset(data, 0, bytes);
    return {static_cast<std::byte*>(data), bytes, detail::release_pinned};
  }
  template <class Kernel>
  void for_each(std::size_t n, Kernel const& kernel) const {
    if (n == 0) return;
    std::size_t const groups = (n + detail::warps_per_group - 1) / detail::warps_per_group;
    auto const grid = static_cast<unsigned>(groups < 65535 ? groups : 65535);
    detail::run_tiles<<<grid, detail::warps_per_group * 32, 0, stream>>>(kernel, n);
    detail::check_cuda(cudaGetLastError(), "launching a sweep");
  }
  void copy_to_host(void* to, void const* from, std::size_t bytes) const {
    detail::check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream), "cudaMemcpyAsync");
  }
  void wait() const { detail::check_cuda(cudaStreamSynchronize(stream), "cudaStreamSynchronize"); }
};

}  // namespace v0
}  // namespace diloco
