// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/buffer.hpp>
#include <diloco/core/error.hpp>
#include <diloco/core/text.hpp>

#include <cuda_runtime.h>

#include <concepts>
#include <string>
#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

inline void check_cuda(cudaError_t code, std::string_view call) {
  if (code == cudaSuccess) return;
  // Clears the error. Otherwise the next launch of any caller would report it again.
  static_cast<void>(cudaGetLastError());
  raise({cause::device, 0, 0, say({"diloco: cuda: ", call, " failed: ", cudaGetErrorString(code)})});
}

/// Checks a call that allocates memory. The error names the bytes asked for and the bytes free.
inline void check_memory(cudaError_t code, std::string_view call, std::size_t bytes) {
  if (code != cudaErrorMemoryAllocation) return check_cuda(code, call);
  static_cast<void>(cudaGetLastError());
  std::size_t free = 0, total = 0;
  cudaMemGetInfo(&free, &total);
  raise(
      {cause::device, 0, 0,
       say({"diloco: cuda: ", call, ": no memory for ", bytes, " bytes, of ", total, " on the device ", free,
            " are free; state_on_host keeps the anchor, the residual and the outer state on the host"})});
}

}  // namespace detail

/// Where an executor's columns come from. `allocate(bytes, stream)` returns a buffer that is at least
/// 256-byte aligned and frees itself. Neither allocating nor freeing may wait for the device.
template <class M>
concept device_memory = std::copyable<M> && requires(M const& m, std::size_t n, cudaStream_t stream) {
  { m.allocate(n, stream) } -> std::same_as<buffer>;
};

/// Allocates from the device's current memory pool, in the order of the stream. The stream must outlive the
/// buffers. A process that allocates and frees much memory sets the pool's release threshold.
struct stream_ordered {
  [[nodiscard]] buffer allocate(std::size_t bytes, cudaStream_t stream) const {
    void* data = nullptr;
    detail::check_memory(cudaMallocAsync(&data, bytes, stream), "cudaMallocAsync", bytes);
    return {static_cast<std::byte*>(data), bytes, release, stream};
  }
  friend bool operator==(stream_ordered const&, stream_ordered const&) = default;

 private:
  static void release(std::byte* data, std::size_t, void* stream) noexcept {
    cudaFreeAsync(data, static_cast<cudaStream_t>(stream));
  }
};

/// cudaMalloc and cudaFree, for a device without pools. cudaFree waits for the device, here when a trainer
/// ends.
struct plain_device_memory {
  [[nodiscard]] buffer allocate(std::size_t bytes, cudaStream_t) const {
    void* data = nullptr;
    detail::check_memory(cudaMalloc(&data, bytes), "cudaMalloc", bytes);
    return {static_cast<std::byte*>(data), bytes, release};
  }
  friend bool operator==(plain_device_memory const&, plain_device_memory const&) = default;

 private:
  static void release(std::byte* data, std::size_t, void*) noexcept { cudaFree(data); }
};

/// The caller's resource, such as RMM's: `void* allocate(bytes, stream)` and `deallocate(pointer, bytes,
/// stream)`. The resource must outlive the buffers allocated from it.
template <class Resource>
struct memory_of {
  Resource* resource = nullptr;

  [[nodiscard]] buffer allocate(std::size_t bytes, cudaStream_t stream) const {
    if (resource == nullptr)
      raise({cause::bad_setting, 0, 0,
             "diloco: cuda: memory_of has no resource; give it the address of yours"});
    auto* const data = static_cast<std::byte*>(resource->allocate(bytes, stream));
    // A buffer's context is a single pointer, so resource and stream go into an allocated struct.
    return {data, bytes, release, new origin{resource, stream}};
  }
  friend bool operator==(memory_of const&, memory_of const&) = default;

 private:
  struct origin {
    Resource* resource;
    cudaStream_t stream;
  };
  static void release(std::byte* data, std::size_t bytes, void* context) noexcept {
    auto* const from = static_cast<origin*>(context);
    from->resource->deallocate(data, bytes, from->stream);
    delete from;
  }
};
template <class Resource>
memory_of(Resource*) -> memory_of<Resource>;

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
