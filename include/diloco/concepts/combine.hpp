// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>

#include <concepts>
#include <span>
#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Combines all contributors with one coefficient each: g = Σ c_k · decode(wire_k) in roster order. Returns
/// false where the weights leave nothing to combine.
/// Rules that need every contribution at once (trimmed mean, median) would be another concept and need the
/// gather exchange.
template <class C>
concept linear_combine = std::copyable<C> &&
    requires(C const& c, std::span<double const> weights, std::span<float> out) {
  { C::name } -> std::convertible_to<std::string_view>;
  { c.coefficients(weights, out) } -> std::same_as<bool>;
};

/// Also weights each element by the inner slot `weighs_by` plus `prior`. That slot is then sent next to the
/// pseudo-gradient.
template <class C>
concept elementwise_combine = linear_combine<C> && requires(C const& c) {
  { C::weighs_by } -> std::convertible_to<std::string_view>;
  { c.prior } -> std::convertible_to<float>;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
