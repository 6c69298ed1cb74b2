// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>

#include <concepts>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Traits of a feedback policy: `static constexpr feedback_traits traits{.residual_bits = 8};`
struct feedback_traits {
  bool stateful = true;    ///< e is a state column; with a lossless compressor the trainer drops it
  int residual_bits = 32;  ///< 8: e is stored as 8-bit integers with one scale per block
  /// All ranks subtract the decoded mean from e once the round is committed.
  bool mean_residual = false;
  /// All ranks add the decoded mean to a shared estimate, a column that is the same on all ranks. They step
  /// by that column.
  bool shared_estimate = false;
};

/// Keeps the part of the signal that a worker could not send. In round t, with s = at(t), x = s.want(Δ, e) is
/// compressed to y. Then e ← s.keep(x, y, e), which is linear in each of the three.
/// `owner()` is the feedback of a shard's owner under scatter–gather. The owner encodes the combined
/// contributions.
template <class F>
concept feedback = std::copyable<F> && std::is_trivially_copyable_v<F> && requires(F const& f, float a) {
  { F::name } -> std::convertible_to<std::string_view>;
  { F::traits } -> std::same_as<feedback_traits const&>;
  { f.at(std::uint64_t{}).want(a, a) } -> std::same_as<float>;
  { f.at(std::uint64_t{}).keep(a, a, a) } -> std::same_as<float>;
  f.owner().at(std::uint64_t{});
};

template <class F>
using feedback_step = std::remove_cvref_t<decltype(std::declval<F const&>().at(std::uint64_t{}))>;
template <class F>
using owner_feedback = std::remove_cvref_t<decltype(std::declval<F const&>().owner())>;

template <class F>
inline constexpr int residual_bits = F::traits.residual_bits;
template <class F>
inline constexpr bool mean_residual = F::traits.mean_residual;
template <class F>
inline constexpr bool keeps_estimate = F::traits.shared_estimate;

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
