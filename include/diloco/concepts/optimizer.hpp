// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/executor.hpp>
#include <diloco/core/config.hpp>
#include <diloco/core/fma.hpp>

#include <array>
#include <concepts>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

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
// Plain traits: nvcc 13.0 crashes on a requires-expression over the pack, and loses an alias or a variable
// template here.
template <class Step, class Slots>
struct steps_with;
template <class Step, std::size_t... Index>
struct steps_with<Step, std::index_sequence<Index...>>
    : std::is_invocable<Step const&, float&, float, typename one_slot<Index>::type...> {};
template <class Step, class Slots>
struct steps_with_anchor;
template <class Step, std::size_t... Index>
struct steps_with_anchor<Step, std::index_sequence<Index...>>
    : std::is_invocable<Step const&, float&, float, float, typename one_slot<Index>::type...> {};
}  // namespace detail

/// `at(context)` gives a pure function of one element: `(p, g, slots…)`. All state is in the table, none in
/// the object.
template <class O>
concept element_optimizer = optimizer<O> && requires(O const& o, step_context c) {
  { O::slots.size() } -> std::convertible_to<std::size_t>;
  o.at(c);
} && std::is_trivially_copyable_v<decltype(std::declval<O const&>().at(step_context{}))> &&
    detail::steps_with<decltype(std::declval<O const&>().at(step_context{})),
                       std::make_index_sequence<O::slots.size()>>::value;

/// What an optimizer says of itself: `static constexpr optimizer_traits traits{.replicated = true};`. The
/// outer role wants it; an inner optimizer may go without.
struct optimizer_traits {
  /// A promise that the step gives the same bits on every rank, compiler and backend: every multiply-add
  /// spelled `diloco::fma`, no transcendental function, no `rsqrt`. The law suites check it.
  bool replicated = false;
  /// The step is `(p, g, mean_anchor, slots…)`. The anchor then travels beside the pseudo-gradient, and its
  /// mean has the coefficients that g has.
  bool wants_mean_anchor = false;
  /// The step divides by the inner rate, and a round is not told of a schedule of it.
  bool wants_constant_inner_rate = false;
};
template <class O>
concept states_optimizer_traits = requires {
  { O::traits } -> std::same_as<optimizer_traits const&>;
};
template <class O>
inline constexpr optimizer_traits traits_of = [] {
  if constexpr (states_optimizer_traits<O>)
    return O::traits;
  else
    return optimizer_traits{};
}();
template <class O>
inline constexpr bool wants_mean_anchor = traits_of<O>.wants_mean_anchor;
template <class O>
concept replicated = traits_of<O>
.replicated;

template <class O>
concept anchored_optimizer = optimizer<O> && wants_mean_anchor<O> && requires(O const& o, step_context c) {
  { O::slots.size() } -> std::convertible_to<std::size_t>;
  o.at(c);
} && std::is_trivially_copyable_v<decltype(std::declval<O const&>().at(step_context{}))> &&
    detail::steps_with_anchor<decltype(std::declval<O const&>().at(step_context{})),
                              std::make_index_sequence<O::slots.size()>>::value;

/// `[[nodiscard]] constexpr float largest() const`: up to which magnitude of g all state stays finite, for
/// ever. For every sequence of steps with |g| ≤ largest() and |p| ≤ half the largest float before each, all
/// slots and p are finite after it. Where a step squares or adds up p itself (L2 decay, noloco), |p| ≤
/// largest() may be needed; the optimizer's comment says so.
template <class O>
concept states_largest = requires(O const& o) {
  { o.largest() } -> std::same_as<float>;
};

namespace detail {
template <class O>
concept outer_steps = anchored_optimizer<O> ||(!wants_mean_anchor<O> && element_optimizer<O>);
}  // namespace detail

/// What may take the outer step, if it is replicated.
template <class O>
concept outer_optimizer = detail::outer_steps<O> && states_largest<O>;

/// One tensor as an optimizer finds it that needs more than an element: row-major, first extent × the rest.
/// Everything but the table itself lies where the executor's columns lie.
template <std::size_t Slots>
struct tensor_step {
  std::size_t rows = 0, columns = 0;          ///< a vector has columns = 1
  float* p = nullptr;                         ///< (rows, columns)
  float const* g = nullptr;                   ///< (rows, columns)
  float const* grad_scale = nullptr;          ///< (1) multiplies every gradient
  float* slots[Slots == 0 ? 1 : Slots] = {};  ///< (rows, columns) each; zeros at first
  float* memory = nullptr;   ///< memory_elements(rows, columns); zeros at first; kept between steps
  float* scratch = nullptr;  ///< scratch_elements(rows, columns); any content; 64-byte aligned
  step_context context = {};
  bool first = false;  ///< since slots and memory were zeros; a tensor may have no gradient for some steps
};

/// Needs a whole tensor at a time: `step(where, tensor)` enqueues kernels on the executor and never waits.
///   static constexpr std::array<std::string_view, N> slots{…};                              columns of
/// state, as above
///   static constexpr std::size_t scratch_elements(std::size_t rows, std::size_t columns);   floats, shared
/// by all tensors Optional: `memory_elements` likewise, floats of each tensor's own; and
///   static constexpr std::string_view complaint_about(std::span<std::size_t const> shape);  empty, or why it
/// cannot step it
template <class O>
concept tensor_optimizer = optimizer<O> &&
    requires(O const& o, std::size_t n, detail::executor_archetype where) {
  { O::slots.size() } -> std::convertible_to<std::size_t>;
  { O::scratch_elements(n, n) } -> std::same_as<std::size_t>;
  o.step(where, tensor_step<O::slots.size()>{});
};

template <tensor_optimizer O>
constexpr std::size_t memory_elements_of([[maybe_unused]] std::size_t rows,
                                         [[maybe_unused]] std::size_t columns) {
  if constexpr (requires { O::memory_elements(rows, columns); })
    return O::memory_elements(rows, columns);
  else
    return 0;
}
/// Empty where this optimizer can step a tensor of that shape, otherwise why not: "needs a matrix".
template <tensor_optimizer O>
constexpr std::string_view shape_complaint_of([[maybe_unused]] std::span<std::size_t const> shape) {
  if constexpr (requires { O::complaint_about(shape); })
    return O::complaint_about(shape);
  else
    return {};
}

/// The framework steps its own parameters and only counts here (`after_step`).
template <class O>
concept external_optimizer = optimizer<O> && O::steps_outside;

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
