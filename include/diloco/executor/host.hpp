// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/executor.hpp>

#include <thrust/for_each.h>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/system/cpp/execution_policy.h>

#include <cstring>
#include <new>
#include <string_view>

namespace diloco {
inline namespace v0 {
namespace detail {

inline constexpr std::size_t buffer_alignment = 64;

inline void release_host(std::byte* data, std::size_t, void*) noexcept {
  ::operator delete(data, std::align_val_t{buffer_alignment});
}

template <class Kernel>
struct call_solo {
  Kernel kernel;
  void operator()(std::size_t tile) const { kernel(solo{}, tile); }
};

/// The sweeps through Thrust on one of its host systems; `System::policy()` names which.
template <class System>
struct host_executor {
  static constexpr bool columns_on_host = true;

  [[nodiscard]] buffer allocate(std::size_t bytes) const {
    auto* data = static_cast<std::byte*>(::operator new(bytes, std::align_val_t{buffer_alignment}));
    std::memset(data, 0, bytes);
    return {data, bytes, release_host};
  }
  [[nodiscard]] buffer allocate_wire(std::size_t bytes) const { return allocate(bytes); }

  template <class Kernel>
  void for_each(std::size_t n, Kernel const& kernel) const {
    thrust::for_each_n(System::policy(), thrust::counting_iterator<std::size_t>(0), n, call_solo<Kernel>{kernel});
  }
  void wait() const {}
};

}  // namespace detail

/// One thread: the caller's.
struct cpp : detail::host_executor<cpp> {
  static constexpr std::string_view name = "cpp";
  static auto policy() { return thrust::cpp::par; }
};

}  // namespace v0
}  // namespace diloco
