// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/optimizer.hpp>
#include <diloco/core/field.hpp>
#include <diloco/optimizer/detail/largest.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Lookahead's slow weights (Zhang et al. 2019, algorithm 1): p ← p − α·Δ, which is (1−α)·p + α·θ. It is for
/// one worker and H = 5 or 6. With more workers p moves towards their mean. 12 B/param; replicated.
struct lookahead {
  float alpha = 0.5f;

  static constexpr std::string_view name = "lookahead";
  static constexpr optimizer_traits traits{.replicated = true};
  static constexpr std::array<std::string_view, 0> slots{};

  struct step {
    float alpha;
    DILOCO_HD void operator()(float& p, float g) const { p = fma(-alpha, g, p); }
  };
  [[nodiscard]] constexpr step at(step_context c) const { return {alpha * c.lr_scale}; }

  [[nodiscard]] constexpr float largest() const { return detail::float_within(detail::largest_move(alpha)); }

  template <class F>
  constexpr void fields(F&& f) const {
    f("alpha", alpha, zero_to_one);
  }
  friend bool operator==(lookahead const&, lookahead const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
