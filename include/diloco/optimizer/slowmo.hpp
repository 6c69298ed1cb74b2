// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/optimizer.hpp>
#include <diloco/core/field.hpp>
#include <diloco/optimizer/detail/largest.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Slow momentum (Wang et al. 2019, algorithm 1): u ← β·u + Δ/γ, p ← p − α·γ·u. u is in units of gradients,
/// so a change of the inner rate γ rescales it. heavy_ball stores displacements instead.
/// γ is the inner rate that produced this Δ, `inner_lr`·`inner_lr_scale`. The engine gives inner_lr_scale 1,
/// that is a constant γ. Then this is heavy_ball{α, β} up to rounding.
/// The engine refuses it beside a `rate` that is not constant. γ = 0 moves nothing and adds nothing to u.
/// 20 B/param; replicated.
struct slowmo {
  float lr = 1.0f, momentum = 0.5f, inner_lr = 1.0f;  // α, β, γ

  static constexpr std::string_view name = "slowmo";
  static constexpr optimizer_traits traits{.replicated = true, .wants_constant_inner_rate = true};
  static constexpr std::array<std::string_view, 1> slots{"u"};

  struct step {
    float rate, beta, per_inner_lr;
    DILOCO_HD void operator()(float& p, float g, float& u) const {
      u = fma(beta, u, per_inner_lr * g);
      p = fma(-rate, u, p);
    }
  };
  [[nodiscard]] constexpr step at(step_context c) const {
    float const gamma = inner_lr * c.inner_lr_scale;
    return {lr * c.lr_scale * gamma, momentum, gamma > 0.0f ? 1.0f / gamma : 0.0f};
  }

  /// u is at most largest()/(γ·(1−β)).
  [[nodiscard]] constexpr float largest() const {
    double const gamma = static_cast<double>(inner_lr);
    return detail::float_within(detail::largest_to_sum(momentum, lr * inner_lr) * gamma *
                                detail::but_roundings);
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("lr", lr, non_negative);
    f("momentum", momentum, below_one);
    f("inner_lr", inner_lr, positive);
  }
  friend bool operator==(slowmo const&, slowmo const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
