// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>
#include <diloco/core/fma.hpp>

#include <array>
#include <concepts>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>

namespace diloco {
inline namespace v0 {

/// What a step may depend on besides its element.
struct step_context {
  std::uint64_t step = 1;  ///< counts from 1: inner steps for an inner optimizer, rounds for an outer one
  float lr_scale = 1.0f;   ///< the learning-rate schedule's factor
};

/// The recipe of an optimizer: a named value whose `slots` are the columns of state it needs.
template <class O>
concept optimizer = std::copyable<O> && requires {
  { O::name } -> std::convertible_to<std::string_view>;
};

/// Number of state columns of an element optimizer.
template <class O>
inline constexpr std::size_t slot_count = O::slots.size();

namespace detail {
template <std::size_t>
struct one_slot {
  using type = float&;
};
// Plain traits: nvcc 13.0 crashes on a requires-expression over the pack, and loses an alias or a variable template here.
template <class Step, class Slots>
struct steps_with;
template <class Step, std::size_t... I>
struct steps_with<Step, std::index_sequence<I...>>
    : std::is_invocable<Step const&, float&, float, typename one_slot<I>::type...> {};
}  // namespace detail

/// `at(context)` gives a pure function of one element: `(p, g, slots…)`. All state is in the table, none in the object.
template <class O>
concept element_optimizer = optimizer<O> && requires(O const& o, step_context c) {
  { O::slots.size() } -> std::convertible_to<std::size_t>;
  o.at(c);
} && std::is_trivially_copyable_v<decltype(std::declval<O const&>().at(step_context{}))> &&
    detail::steps_with<decltype(std::declval<O const&>().at(step_context{})),
                       std::make_index_sequence<O::slots.size()>>::value;

/// The framework steps its own parameters and only counts here (`after_step`).
template <class O>
concept external_optimizer = optimizer<O> && O::steps_outside;

/// A promise that the step gives the same bits on every rank, compiler and backend: every multiply-add spelled
/// `diloco::fma`, no transcendental function, no `rsqrt`. Opt in by specialization; the law suites check it.
template <class P>
inline constexpr bool enable_replicated = false;

template <class P>
concept replicated = enable_replicated<P>;

}  // namespace v0
}  // namespace diloco
