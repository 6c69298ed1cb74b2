// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/buffer.hpp>
#include <diloco/core/lanes.hpp>

#include <concepts>
#include <cstddef>
#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

namespace detail {
struct kernel_archetype {
  template <lanes L>
  DILOCO_HD void operator()(L, std::size_t) const {}
};
}  // namespace detail

/// What an executor may do besides. Every executor states them.
struct executor_traits {
  /// Has allocate_column(name, bytes) and only_for_rounds(name): it places columns by their names.
  bool places_columns = false;
};

/// Runs the sweeps. A kernel is a trivially copyable value, called as `kernel(lanes, tile)` for each tile in
/// any order. The executor chooses the lanes.
template <class E>
concept executor = std::copyable<E> && requires(E const& e, std::size_t n, detail::kernel_archetype k) {
  { E::name } -> std::convertible_to<std::string_view>;
  {
    E::columns_on_host
    }
    -> std::convertible_to<bool>;  // if not, copy_to_host and copy_from_host(to, from, bytes) enqueue copies
  { E::traits } -> std::same_as<executor_traits const&>;
  { e.allocate(n) } -> std::same_as<buffer>;       // 64-byte aligned, zeroed, visible to the sweeps
  { e.allocate_wire(n) } -> std::same_as<buffer>;  // the same, and readable by the host
  e.for_each(n, k);                                // enqueues
  e.wait();                                        // waits for everything that was enqueued
};

namespace detail {
/// An executor for use in the concepts' requires-expressions. Nothing runs on it.
struct executor_archetype {
  static constexpr std::string_view name = "archetype";
  static constexpr bool columns_on_host = true;
  static constexpr executor_traits traits{};
  buffer allocate(std::size_t) const { return {}; }
  buffer allocate_wire(std::size_t) const { return {}; }
  template <class Kernel>
  void for_each(std::size_t, Kernel const&) const {}
  void wait() const {}
};
static_assert(executor<executor_archetype>);
}  // namespace detail

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
