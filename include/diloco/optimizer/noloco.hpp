// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/optimizer.hpp>
#include <diloco/core/field.hpp>
#include <diloco/optimizer/detail/largest.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// NoLoCo's outer step (Kolehmainen et al. 2025, as in its code), for pairs that gossip: m ← α·m − β·g +
/// γ·(φ̄ − φ), φ ← φ + m. φ is this worker's anchor; g and φ̄ are the means of the pair's pseudo-gradients
/// and anchors.
/// The last term holds replicas together that never all meet. β is inside the momentum, which is a
/// displacement. Where all anchors are equal it is `heavy_ball` up to rounding.
/// The anchor is sent too: 4 B/param more in the message, and one column more. 24 B/param; replicated.
struct noloco {
  float lr = 0.7f;         ///< β
  float momentum = 0.5f;   ///< α
  float consensus = 0.7f;  ///< γ

  static constexpr std::string_view name = "noloco";
  static constexpr optimizer_traits traits{.replicated = true, .wants_mean_anchor = true};
  static constexpr std::array<std::string_view, 1> slots{"momentum"};

  struct step {
    float lr, alpha, gamma;
    DILOCO_HD void operator()(float& p, float g, float mean_anchor, float& m) const {
      m = fma(alpha, m, fma(gamma, mean_anchor - p, product(-lr, g)));
      p = p + m;
    }
  };
  [[nodiscard]] constexpr step at(step_context c) const { return {lr * c.lr_scale, momentum, consensus}; }

  /// The bound holds for anchors that are no larger than it. The anchors of a pair may differ by twice the
  /// bound.
  [[nodiscard]] constexpr float largest() const {
    double const taken = 2 * static_cast<double>(consensus) + static_cast<double>(lr);
    double const room = detail::largest_to_sum(momentum, 1.0f) * detail::but_roundings;
    return detail::float_within(taken > 0 ? room / taken : unbounded / 2);
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("lr", lr, non_negative);
    f("momentum", momentum, below_one);
    f("consensus", consensus, non_negative);
  }
  /// The difference d of a pair follows v ← α·v − γ·d, d ← d + v.
  [[nodiscard]] constexpr std::string_view validation_error() const {
    return consensus < 2 * (1 + momentum) ? ""
                                          : "consensus must be below 2·(1 + momentum), from where on each "
                                            "exchange moves a pair further apart";
  }
  friend bool operator==(noloco const&, noloco const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
