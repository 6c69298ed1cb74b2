// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/executor.hpp>

#include <thrust/for_each.h>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/system/cpp/execution_policy.h>

#include <cstring>
#include <new>
#include <string_view>

#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#endif

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// A column of 4 MiB or more starts at a huge page and asks for huge pages. Seven streams of 4 KiB pages
/// would miss the TLB.
inline constexpr std::size_t huge_page = std::size_t{2} << 20;
inline std::align_val_t host_alignment(std::size_t bytes) {
  return std::align_val_t{bytes < 2 * huge_page ? std::size_t{64} : huge_page};
}

inline std::byte* allocate_host(std::size_t bytes) {
  auto* data = static_cast<std::byte*>(::operator new(bytes, host_alignment(bytes)));
#if defined(MADV_HUGEPAGE)
  // `madvise` is best effort; without it the memory still works.
  if (bytes >= 2 * huge_page)
    static_cast<void>(::madvise(data, bytes / huge_page * huge_page, MADV_HUGEPAGE));
#endif
  std::memset(data, 0, bytes);
  return data;
}

inline void release_host(std::byte* data, std::size_t bytes, void*) noexcept {
  ::operator delete(data, host_alignment(bytes));
}

template <class Kernel>
struct call_solo {
  Kernel kernel;
  // The kernel is copied and inlined as a whole, so that its scalars stay in registers. A store through a
  // float* might change them in memory, which stops g++ from vectorizing (sweep B under OpenMP took 51
  // instead of 12 ms).
  [[gnu::flatten]] void operator()(std::size_t tile) const {
    Kernel const local = kernel;
    local(solo{}, tile);
  }
};

/// Runs the sweeps through Thrust on one of its host systems, named by `System::policy()`.
template <class System>
struct host_executor {
  static constexpr bool columns_on_host = true;
  static constexpr executor_traits traits{};

  [[nodiscard]] buffer allocate(std::size_t bytes) const {
    return {allocate_host(bytes), bytes, release_host};
  }
  [[nodiscard]] buffer allocate_wire(std::size_t bytes) const { return allocate(bytes); }

  template <class Kernel>
  void for_each(std::size_t n, Kernel const& kernel) const {
    thrust::for_each_n(System::policy(), thrust::counting_iterator<std::size_t>(0), n,
                       call_solo<Kernel>{kernel});
  }
  void wait() const {}
};

}  // namespace detail

/// Uses the caller's thread only.
struct cpp : detail::host_executor<cpp> {
  static constexpr std::string_view name = "cpp";
  static auto policy() { return thrust::cpp::par; }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
