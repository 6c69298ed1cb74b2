// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/combine.hpp>

#include <cstddef>
#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Σ wᵢ Δᵢ / Σ wᵢ over the contributors of this attempt. The weights (tokens) are sent with the
/// contributions. The coefficients are first normalized in double. So K = 2 or 4 equal contributions give
/// exactly that contribution.
struct weighted_mean {
  static constexpr std::string_view name = "weighted_mean";
  static constexpr combine_traits traits{.proportional = true};

  bool coefficients(std::span<double const> weights, std::span<float> out) const {
    double total = 0;
    for (double w : weights) total += w;
    if (!(total > 0)) return false;
    for (std::size_t k = 0; k < weights.size(); ++k) out[k] = static_cast<float>(weights[k] / total);
    return true;
  }
  friend bool operator==(weighted_mean const&, weighted_mean const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
