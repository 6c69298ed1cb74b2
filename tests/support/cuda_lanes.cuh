// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/executor/cuda.cuh>

#include <cstring>
#include <new>

namespace support {

/// A device for suites that keep their tensors in host memory and read columns in place. All memory is
/// pinned, so kernels use the same pointers. cuda_suite_main.cpp makes `new` allocate it.
/// A kernel runs on the calling thread's own stream and has ended when `for_each` returns, as on a host
/// executor. The suites need this: they read, overwrite and free right after a step.
/// tests/cuda/round*.cu covers what only streams show: order, copies and device memory.
struct device_lanes {
  static constexpr std::string_view name = "device_lanes";
  static constexpr bool columns_on_host = true;
  static constexpr diloco::executor_traits traits{};

  [[nodiscard]] diloco::buffer allocate(std::size_t bytes) const {
    auto* const data = static_cast<std::byte*>(::operator new(bytes, alignment));
    std::memset(data, 0, bytes);
    return {data, bytes, [](std::byte* p, std::size_t, void*) noexcept { ::operator delete(p, alignment); }};
  }
  [[nodiscard]] diloco::buffer allocate_wire(std::size_t bytes) const { return allocate(bytes); }

  template <class Kernel>
  void for_each(std::size_t n, Kernel const& kernel) const {
    diloco::cuda_stream const own{.stream = cudaStreamPerThread};
    own.for_each(n, kernel);
    own.wait();
  }
  void wait() const {}

 private:
  static constexpr std::align_val_t alignment{256};
};
static_assert(diloco::executor<device_lanes>);

}  // namespace support
