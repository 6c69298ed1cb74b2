// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/optimizer.hpp>
#include <diloco/core/field.hpp>
#include <diloco/optimizer/detail/largest.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Polyak's momentum: m ← μ·m + g, p ← p − lr·m. As outer optimizer it is FedAvgM (Hsu et al. 2019). With lr
/// 1 and momentum 0 it is plain averaging. One g moves p by lr/(1−μ) in all, as under `nesterov`, but one
/// step later. 20 B/param; replicated.
struct heavy_ball {
  float lr = 0.7f, momentum = 0.9f;

  static constexpr std::string_view name = "heavy_ball";
  static constexpr optimizer_traits traits{.replicated = true, .scales_momentum = true};
  static constexpr std::array<std::string_view, 1> slots{"momentum"};

  struct step {
    float lr, mu;
    DILOCO_HD void operator()(float& p, float g, float& m) const {
      m = fma(mu, m, g);
      p = fma(-lr, m, p);
    }
  };
  [[nodiscard]] constexpr step at(step_context c) const {
    return {lr * c.lr_scale, momentum * c.momentum_scale};
  }

  /// m is at most largest()/(1−μ).
  [[nodiscard]] constexpr float largest() const {
    return detail::float_within(detail::largest_to_sum(momentum, lr));
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("lr", lr, non_negative);
    f("momentum", momentum, below_one);
  }
  friend bool operator==(heavy_ball const&, heavy_ball const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
