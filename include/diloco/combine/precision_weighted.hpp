// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/combine/weighted_mean.hpp>
#include <diloco/core/field.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Weights each element of each worker's pseudo-gradient by that worker's certainty: Σ wᵢ·(hᵢ + prior)·Δᵢ / Σ
/// wᵢ·(hᵢ + prior). hᵢ + prior is ivon's precision, up to a factor (Shen et al. 2024).
/// Workers send (h + prior)·Δ, compressed and with feedback in those units, and h itself as float32. That is
/// 4 B/param more in the message, and one column more.
/// `prior` is ivon's h0 + weight_decay, because ivon's slot is h − h0. Construction refuses any other value.
/// Tensors whose group has no h are averaged by tokens alone.
struct precision_weighted {
  float prior = 1.0001f;

  static constexpr std::string_view name = "precision_weighted";
  static constexpr combine_traits traits{.proportional = true};
  static constexpr std::string_view weighs_by = "h_minus_h0";

  bool coefficients(std::span<double const> weights, std::span<float> out) const {
    return weighted_mean{}.coefficients(weights, out);
  }
  template <class F>
  constexpr void fields(F&& f) const {
    f("prior", prior, positive);
  }
  friend bool operator==(precision_weighted const&, precision_weighted const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
