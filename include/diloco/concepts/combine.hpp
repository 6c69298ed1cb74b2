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
  bool sees_each = false;     ///< needs every contribution at once (block_combine)
  bool proportional = false;  ///< coefficients are proportional to weights; exchanges with groups need that
};

/// `coefficients(weights, out)` writes one c_k per contributor, with Σ|c_k| ≤ 1. It returns false if
/// nothing can be combined. Then, or if Σ|c_k| > 1.001, the round is dropped on all ranks. The result is g
/// = Σ c_k · decode(message_k), in roster order.
template <class C>
concept linear_combine = std::copyable<C> &&
    requires(C const& c, std::span<double const> weights, std::span<float> out) {
  { C::name } -> std::convertible_to<std::string_view>;
  { C::traits } -> std::same_as<combine_traits const&>;
  { c.coefficients(weights, out) } -> std::same_as<bool>;
};

/// Most contributors of a block_combine rule; with more ranks, construction fails.
inline constexpr int max_seen_contributors = 32;

/// A rule that sees every contribution. `block(v, n, size, g)` computes g[i] from v[0][i] … v[n−1][i], for
/// i < `size`. Inputs are decoded, finite and in roster order; `block` may overwrite them. Contributions
/// with coefficient 0 are excluded; other coefficients are ignored. Called on host and device.
template <class C>
concept block_combine = linear_combine<C> &&
                        C::traits.sees_each&& std::is_trivially_copyable_v<C>&& requires(C const& c,
                                                                                         float* const* v,
                                                                                         float* g) {
  c.block(v, 1, 1, g);
};
template <class C>
inline constexpr bool sees_each = C::traits.sees_each;

/// Also weights each element by the inner slot `weighs_by` + `prior`. The slot is sent as a float32 plane
/// after the payload.
template <class C>
concept elementwise_combine = linear_combine<C> && requires(C const& c) {
  { C::weighs_by } -> std::convertible_to<std::string_view>;
  { c.prior } -> std::convertible_to<float>;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
