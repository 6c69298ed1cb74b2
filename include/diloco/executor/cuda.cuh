// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/executor.hpp>
#include <diloco/executor/cuda_memory.cuh>
#include <diloco/executor/warp.cuh>

#include <thrust/system/cuda/execution_policy.h>

#include <cuda_runtime.h>

#include <cstring>
#include <string_view>
#include <utility>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// How a kernel's warps are grouped: warps per thread block, and blocks whose registers must fit a
/// multiprocessor at once.
struct launch_shape {
  int warps, blocks_per_multiprocessor;
};

/// The launch shape of a kernel type. Specialize it for a kernel that you measured. With 24 warps and 16
/// bytes of three arrays in flight in each lane, a multiprocessor has 36 KB in flight. That is about what an
/// H200's 4.8 TB/s need at a latency of one microsecond.
template <class Kernel>
inline constexpr launch_shape shape_of_launch{8, 3};

namespace detail {

/// One warp computes one tile; warps stride over the grid.
template <class Kernel, int Warps, int Blocks>
__global__ void __launch_bounds__(Warps * 32, Blocks) run_tiles(Kernel kernel, std::size_t tiles) {
  std::size_t const warps = static_cast<std::size_t>(gridDim.x) * Warps;
  for (std::size_t t = static_cast<std::size_t>(blockIdx.x) * Warps + threadIdx.x / 32; t < tiles;
       t += warps) {
    kernel(warp{}, t);
  }
}

inline void release_pinned(std::byte* data, std::size_t, void*) noexcept { cudaFreeHost(data); }

}  // namespace detail

/// A point in a stream's work. It can be moved but not copied.
class cuda_mark {
 public:
  explicit cuda_mark(cudaStream_t stream) {
    detail::check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreate");
    detail::check_cuda(cudaEventRecord(event_, stream), "cudaEventRecord");
  }
  cuda_mark(cuda_mark&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  cuda_mark& operator=(cuda_mark&& other) noexcept {
    std::swap(event_, other.event_);
    return *this;
  }
  ~cuda_mark() {
    if (event_ != nullptr) cudaEventDestroy(event_);
  }
  [[nodiscard]] cudaEvent_t event() const { return event_; }
  /// Whether the work before this point has completed. Never waits.
  [[nodiscard]] bool reached() const {
    cudaError_t const code = cudaEventQuery(event_);
    if (code != cudaErrorNotReady) detail::check_cuda(code, "cudaEventQuery");
    return code == cudaSuccess;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

/// A CUDA stream. The name is not `cuda`, because that is libcu++'s namespace. The stream is the caller's and
/// must outlive the trainer. Columns lie in device memory from `memory`. Messages of host transports, and
/// data that the host reads, lie in pinned memory.
/// All calls enqueue on the stream, except two. `allocate_wire` may wait for the device, and `wait` waits for
/// the stream. Nothing here synchronizes the device. It uses the current device, and all streams may be
/// captured in a graph.
template <device_memory Memory = stream_ordered>
struct cuda_executor {
  cudaStream_t stream = nullptr;
  [[no_unique_address]] Memory memory = {};

  static constexpr std::string_view name = "cuda";
  static constexpr bool columns_on_host = false;
  static constexpr executor_traits traits{};

  [[nodiscard]] buffer allocate(std::size_t bytes) const {
    buffer b = memory.allocate(bytes, stream);
    detail::check_cuda(cudaMemsetAsync(b.data(), 0, bytes, stream), "cudaMemsetAsync");
    return b;
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
    constexpr launch_shape shape = shape_of_launch<Kernel>;
    constexpr std::size_t most = 0x7fffffff, warps = shape.warps;
    std::size_t const groups = (n + warps - 1) / warps;
    auto const grid = static_cast<unsigned>(groups < most ? groups : most);
    detail::run_tiles<Kernel, shape.warps, shape.blocks_per_multiprocessor>
        <<<grid, shape.warps * 32, 0, stream>>>(kernel, n);
    detail::check_cuda(cudaGetLastError(), "launching a sweep");
  }
  /// Either side may also be pinned host memory.
  void copy_to_host(void* to, void const* from, std::size_t bytes) const { copy(to, from, bytes); }
  void copy_from_host(void* to, void const* from, std::size_t bytes) const { copy(to, from, bytes); }
  void wait() const {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    detail::check_cuda(cudaStreamIsCapturing(stream, &status), "cudaStreamIsCapturing");
    if (status != cudaStreamCaptureStatusNone) {
      raise({cause::wrong_state, 0, 0,
             "diloco: cuda: this call waits for the stream, which is being captured in a graph; capture "
             "steps only, with "
             "DILOCO_CHECKS at light or none and the gradients of the step before"});
    }
    detail::check_cuda(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  }

  /// Policy for the caller's own flat maps and reductions, in the order of this stream:
  /// thrust::transform(where.policy(), …).
  [[nodiscard]] auto policy() const { return thrust::cuda::par_nosync.on(stream); }
  /// `mark` records this point of the stream. `after` makes this stream wait for another stream's mark. Both
  /// enqueue.
  [[nodiscard]] cuda_mark mark() const { return cuda_mark(stream); }
  void after(cuda_mark const& m) const {
    detail::check_cuda(cudaStreamWaitEvent(stream, m.event(), 0), "cudaStreamWaitEvent");
  }
  friend bool operator==(cuda_executor const&, cuda_executor const&) = default;

 private:
  void copy(void* to, void const* from, std::size_t bytes) const {
    detail::check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream), "cudaMemcpyAsync");
  }
};

using cuda_stream = cuda_executor<>;

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
