// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>

#include <concepts>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// What a feedback policy says of itself: `static constexpr feedback_traits traits{.residual_bits = 8};`
struct feedback_traits {
  bool stateful = true;    ///< e is a column of the state; a lossless compressor makes the engine drop it
  int residual_bits = 32;  ///< 8: e is stored as 8-bit integers with a scale per block
  /// What all ranks decoded of the mean is subtracted from e once the round stands.
  bool mean_residual = false;
  /// All ranks add what was decoded to one more column, the same on all of them, and step by it.
  bool common = false;
};

/// What a worker failed to say before. In round t, with s = at(t): x = s.want(Δ, e) is compressed to y, then
/// e ← s.keep(x, y, e), which is linear in each of its three. `owner()`: the feedback of a shard's owner
/// under scatter–gather, which encodes the combined contributions.
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
inline constexpr bool keeps_common = F::traits.common;

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
