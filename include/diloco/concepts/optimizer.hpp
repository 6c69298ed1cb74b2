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

/// What a step may depend on, besides its element.
struct step_context {
  std::uint64_t step = 1;  ///< counts from 1: inner steps for an inner optimizer, rounds for an outer one
  float lr_scale = 1.0f;   ///< factor of the learning-rate schedule
  float momentum_scale = 1.0f;  ///< factor of the momentum, for optimizers with `scales_momentum`
  float inner_lr_scale = 1.0f;  ///< of an outer optimizer: factor of the inner rate that made this Δ
};

/// An optimizer as a value with a name. Its `slots` are the state columns that it needs.
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
// These are plain traits. nvcc 13.0 crashes on a requires-expression over the pack and mishandles an alias or
// a variable template here.
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

/// `at(context)` gives a pure function of one element: `(p, g, slots…)`. All state is in the columns and none
/// in the object.
template <class O>
concept element_optimizer = optimizer<O> && requires(O const& o, step_context c) {
  { O::slots.size() } -> std::convertible_to<std::size_t>;
  o.at(c);
} && std::is_trivially_copyable_v<decltype(std::declval<O const&>().at(step_context{}))> &&
    detail::steps_with<decltype(std::declval<O const&>().at(step_context{})),
                       std::make_index_sequence<O::slots.size()>>::value;

/// Traits of an optimizer: `static constexpr optimizer_traits traits{.replicated = true};`. The outer role
/// requires them. An inner optimizer may omit them.
struct optimizer_traits {
  /// Promises the same bits on every rank, compiler and backend. So every multiply-add is spelled
  /// `diloco::fma`, and the step uses no transcendental function and no `rsqrt`. The law suites check it.
  bool replicated = false;
  /// The step is `(p, g, mean_anchor, slots…)`. The anchor is then sent next to the pseudo-gradient. Its mean
  /// uses the same coefficients as g.
  bool wants_mean_anchor = false;
  /// The step divides by the inner rate. A round does not know about a schedule of that rate.
  bool wants_constant_inner_rate = false;
  bool scales_momentum = false;  ///< follows step_context::momentum_scale
  bool prior = false;            ///< has prior(), which it adds to a slot that a combine rule weighs by
  bool memory = false;           ///< of whole tensors: has memory_elements(rows, columns)
  bool shapes = false;           ///< of whole tensors: cannot step all of them; has shape_error(shape)
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
inline constexpr bool has_prior = traits_of<O>.prior;
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

/// `[[nodiscard]] constexpr float largest() const` is the magnitude of g up to which all state stays finite
/// forever. Take any sequence of steps, each with |g| ≤ largest() and |p| ≤ half the largest float before it.
/// All slots and p must be finite after each step.
/// A step that squares or sums p itself (L2 decay, noloco) may need |p| ≤ largest(). The optimizer's comment
/// says so.
template <class O>
concept states_largest = requires(O const& o) {
  { o.largest() } -> std::same_as<float>;
};

namespace detail {
template <class O>
concept outer_steps = anchored_optimizer<O> ||(!wants_mean_anchor<O> && element_optimizer<O>);
}  // namespace detail

/// May take the outer step if it is replicated.
template <class O>
concept outer_optimizer = detail::outer_steps<O> && states_largest<O>;

/// One tensor, for an optimizer that needs more than one element: row-major, first extent × the rest. Its
/// pointers lie in the memory of the executor's columns.
template <std::size_t Slots>
struct tensor_step {
  std::size_t rows = 0, columns = 0;          ///< a vector has columns = 1
  float* p = nullptr;                         ///< (rows, columns)
  float const* g = nullptr;                   ///< (rows, columns)
  float const* grad_scale = nullptr;          ///< (1) multiplies every gradient
  float* slots[Slots == 0 ? 1 : Slots] = {};  ///< (rows, columns) each; zeros initially
  float* memory = nullptr;   ///< memory_elements(rows, columns); zeros initially; kept between steps
  float* scratch = nullptr;  ///< scratch_elements(rows, columns); any content; 64-byte aligned
  step_context context = {};
  /// first step since slots and memory were zeros; a tensor may lack gradients in some steps
  bool first = false;
};

/// Needs a whole tensor at a time. `step(where, tensor)` enqueues kernels on the executor and never waits.
///   static constexpr std::array<std::string_view, N> slots{…};
///     state columns, as above
///   static constexpr std::size_t scratch_elements(std::size_t rows, std::size_t columns);
///     floats, shared by all tensors
/// Its traits say which of these members it has, too:
///   .memory: static constexpr std::size_t memory_elements(std::size_t rows, std::size_t columns);
///     floats that each tensor owns
///   .shapes: static constexpr std::string_view shape_error(std::span<std::size_t const> shape);
///     empty, or the reason why it cannot step a tensor of this shape
template <class O>
concept tensor_optimizer = optimizer<O> &&
    requires(O const& o, std::size_t n, detail::executor_archetype where) {
  { O::slots.size() } -> std::convertible_to<std::size_t>;
  { O::scratch_elements(n, n) } -> std::same_as<std::size_t>;
  o.step(where, tensor_step<O::slots.size()>{});
};

namespace detail {
template <class O>
concept has_tensor_memory = requires(std::size_t n) {
  { O::memory_elements(n, n) } -> std::same_as<std::size_t>;
};
template <class O>
concept has_shape_error = requires(std::span<std::size_t const> shape) {
  { O::shape_error(shape) } -> std::convertible_to<std::string_view>;
};
/// Whether an optimizer of whole tensors has the members that its traits name, and no others of them.
template <class O>
inline constexpr bool tensor_traits_fit =
    traits_of<O>.memory == has_tensor_memory<O>&& traits_of<O>.shapes == has_shape_error<O>;
}  // namespace detail

template <tensor_optimizer O>
constexpr std::size_t memory_elements_of([[maybe_unused]] std::size_t rows,
                                         [[maybe_unused]] std::size_t columns) {
  if constexpr (traits_of<O>.memory)
    return O::memory_elements(rows, columns);
  else
    return 0;
}
/// Empty if the optimizer can step a tensor of that shape. Otherwise the reason, for example "needs a
/// matrix".
template <tensor_optimizer O>
constexpr std::string_view shape_error_of([[maybe_unused]] std::span<std::size_t const> shape) {
  if constexpr (traits_of<O>.shapes)
    return O::shape_error(shape);
  else
    return {};
}

/// The framework steps its own parameters. The trainer only counts the steps (`after_step`).
template <class O>
concept external_optimizer = optimizer<O> && O::steps_outside;

/// Nobody steps between rounds: each round steps θ by the gradients.
template <class O>
concept absent_optimizer = optimizer<O> && O::steps_nothing;

/// Keeps no state and takes no inner step here.
template <class O>
concept stepless_optimizer = external_optimizer<O> || absent_optimizer<O>;

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
