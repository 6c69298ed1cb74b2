// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>

#include <concepts>
#include <span>
#include <string_view>
#include <type_traits>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Traits of a combine rule: `static constexpr combine_traits traits{.sees_each = true};`
struct combine_traits {
  bool sees_each = false;  ///< needs every contribution at once (block_combine)
};

/// Combines all contributors with one coefficient each: g = Σ c_k · decode(wire_k) in roster order. Returns
/// false where the weights leave nothing to combine; the round is then dropped on all ranks. So is a round
/// whose coefficients have magnitudes that add up to more than 1.001.
template <class C>
concept linear_combine = std::copyable<C> &&
    requires(C const& c, std::span<double const> weights, std::span<float> out) {
  { C::name } -> std::convertible_to<std::string_view>;
  { C::traits } -> std::same_as<combine_traits const&>;
  { c.coefficients(weights, out) } -> std::same_as<bool>;
};

/// Contributions that a rule can see at once.
inline constexpr int max_seen_contributors = 32;

/// A rule that sees every contribution: `block(v, n, size, g)` makes g[i] of v[0][i] … v[n−1][i], for i below
/// `size`. The contributions are decoded, finite, in roster order, and may be overwritten. Those with the
/// coefficient 0 are left out; other coefficients do not count. Called on host and device.
template <class C>
concept block_combine = linear_combine<C> &&
                        C::traits.sees_each&& std::is_trivially_copyable_v<C>&& requires(C const& c,
                                                                                         float* const* v,
                                                                                         float* g) {
  c.block(v, 1, 1, g);
};
template <class C>
inline constexpr bool sees_each = C::traits.sees_each;

/// Also weights each element by the inner slot `weighs_by` plus `prior`. That slot is then sent next to the
/// pseudo-gradient.
template <class C>
concept elementwise_combine = linear_combine<C> && requires(C const& c) {
  { C::weighs_by } -> std::convertible_to<std::string_view>;
  { c.prior } -> std::convertible_to<float>;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
