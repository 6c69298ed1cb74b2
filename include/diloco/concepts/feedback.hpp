// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>

#include <concepts>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// What a worker failed to say before. In round t, with s = at(t): x = s.want(Δ, e) is compressed to y, then
/// e ← s.keep(x, y, e), which is linear in each of its three. `stateful` = e is a column of the state; a
/// lossless compressor makes the engine drop it. Optional members:
///   residual_bits = 8     e is stored as 8-bit integers with a scale per block; 32 where it is not said
///   mean_residual = true  what everybody decoded of the mean is subtracted from e once the round stands
///   common = true         everybody adds what was decoded to one more column, the same on all ranks, and
/// steps by that
///   owner()               what the owner of a shard does under scatter–gather, where it is not the same
template <class F>
concept feedback = std::copyable<F> && std::is_trivially_copyable_v<F> && requires(F const& f, float a) {
  { F::name } -> std::convertible_to<std::string_view>;
  { F::stateful } -> std::convertible_to<bool>;
  { f.at(std::uint64_t{}).want(a, a) } -> std::same_as<float>;
  { f.at(std::uint64_t{}).keep(a, a, a) } -> std::same_as<float>;
};

template <class F>
using feedback_step = std::remove_cvref_t<decltype(std::declval<F const&>().at(std::uint64_t{}))>;

template <class F>
inline constexpr int residual_bits = [] {
  if constexpr (requires { F::residual_bits; })
    return F::residual_bits;
  else
    return 32;
}();

template <class F>
inline constexpr bool mean_residual = [] {
  if constexpr (requires { F::mean_residual; })
    return F::mean_residual;
  else
    return false;
}();

template <class F>
inline constexpr bool keeps_common = [] {
  if constexpr (requires { F::common; })
    return F::common;
  else
    return false;
}();

/// What the owner of a shard carries between its rounds.
template <class F>
constexpr auto owner_of(F const& f) {
  if constexpr (requires { f.owner(); })
    return f.owner();
  else
    return f;
}
template <class F>
using owner_feedback = decltype(owner_of(std::declval<F const&>()));

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
