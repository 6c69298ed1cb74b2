// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/optimizer.hpp>

#include <span>
#include <string>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// The group of an inner optimizer that a tensor belongs to. `first` is the first group that wants it.
/// `second` is another group that wants it too, if there is one.
struct group_choice {
  static constexpr int none = -1;
  int first = none, second = none;
};

/// Several optimizers, each for some of the tensors. Names and shapes select the tensors once, at
/// construction.
template <class O>
concept grouped_optimizer = optimizer<O> &&
    requires(O const& o, std::string_view name, std::span<std::size_t const> shape) {
  { O::group_count } -> std::convertible_to<std::size_t>;
  o.template optimizer_of<0>();
  { o.choose(name, shape) } -> std::same_as<group_choice>;
};

/// Tensors that are not trained. Their gradients are not read, and no round sends them.
template <class O>
concept freezing_optimizer = optimizer<O> && O::freezes;

/// Wants gradients at samples of θ. The caller's tensors hold a sample, and θ is a float32 copy.
/// `at(context)` gives a step (p, g, shown, slots…). The step has `float deviation(slots…) const`, the
/// deviation of the next sample, and its `seed`.
template <class O>
concept sampling_optimizer = optimizer<O> && O::samples && requires(O const& o, step_context c) {
  { O::slots.size() } -> std::convertible_to<std::size_t>;
  { o.at(c).seed } -> std::convertible_to<std::uint32_t>;
};

/// Trains at another point than the one to evaluate. `evaluation_point()` gives a callable that computes the
/// latter from p and its first slot, also on a device. `show_mean()` writes it into the caller's tensors.
template <class O>
concept viewed_optimizer = element_optimizer<O> && requires(O const& o, float x) {
  { o.evaluation_point()(x, x) } -> std::same_as<float>;
} && O::slots.size() != 0;

/// A single optimizer counts as one group of all tensors.
template <class O>
inline constexpr std::size_t group_count_of = [] {
  if constexpr (grouped_optimizer<O>)
    return std::size_t{O::group_count};
  else
    return std::size_t{1};
}();
template <std::size_t Index, class O>
constexpr auto const& group_optimizer(O const& o) {
  if constexpr (grouped_optimizer<O>)
    return o.template optimizer_of<Index>();
  else
    return o;
}
template <class O, std::size_t Index>
using group_optimizer_of = std::remove_cvref_t<decltype(group_optimizer<Index>(std::declval<O const&>()))>;

/// Calls f(optimizer, std::integral_constant<std::size_t, I>) for each group in order.
template <class O, class F>
constexpr void for_each_group(O const& o, F&& f) {
  [&]<std::size_t... Index>(std::index_sequence<Index...>) {
    (f(group_optimizer<Index>(o), std::integral_constant<std::size_t, Index>{}), ...);
  }
  (std::make_index_sequence<group_count_of<O>>{});
}

/// Whether the optimizer keeps state besides its slots.
template <class O>
inline constexpr bool keeps_memory = traits_of<O>.memory;

/// Number of state columns of one group.
template <class O>
inline constexpr std::size_t slot_count_of = [] {
  if constexpr (stepless_optimizer<O> || freezing_optimizer<O>)
    return std::size_t{0};
  else
    return std::size_t{O::slots.size()};
}();

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
