// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/optimizer.hpp>

#include <concepts>
#include <string_view>
#include <type_traits>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Traits of a signal: `static constexpr signal_traits traits{.of_gradient = true};`
struct signal_traits {
  /// It is made of the gradient of one step. Then there is no inner optimizer and no anchor, each step is a
  /// round, and the outer optimizer steps θ.
  bool of_gradient = false;
};

/// What a worker says in a round. A signal of the gradient has `slots`, at most one, and `at()`: a function
/// (float g, float& slot…) that returns what is said, compressed and averaged.
template <class S>
concept signal = std::copyable<S> && std::is_trivially_copyable_v<S> && requires {
  { S::name } -> std::convertible_to<std::string_view>;
  { S::traits } -> std::same_as<signal_traits const&>;
};

template <class S>
inline constexpr bool says_gradient = S::traits.of_gradient;

/// Number of state columns. They are part of the round: what an aborted round wrote to them is dropped.
template <class S>
inline constexpr std::size_t signal_slots = [] {
  if constexpr (says_gradient<S>)
    return std::size_t{S::slots.size()};
  else
    return std::size_t{0};
}();

namespace detail {
template <class S>
struct said {
  struct type {};
};
template <class S>
requires(says_gradient<S>) struct said<S> {
  using type = std::remove_cvref_t<decltype(std::declval<S const&>().at())>;
};
}  // namespace detail

/// The function that `at()` returns; an empty struct for the pseudo-gradient.
template <class S>
using signal_step = typename detail::said<S>::type;

template <class S>
concept gradient_signal = signal<S> && says_gradient<S> && signal_slots<S>
<= 1 && (signal_slots<S> == 0 ? std::is_invocable_r_v<float, signal_step<S> const&, float>
                              : std::is_invocable_r_v<float, signal_step<S> const&, float, float&>);

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
