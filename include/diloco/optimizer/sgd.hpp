// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/optimizer.hpp>
#include <diloco/core/field.hpp>
#include <diloco/optimizer/detail/largest.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// SGD without state: p ← p − lr·(g + wd·p). It saves the traffic of a momentum column. 12 B/param;
/// replicated.
/// With lr = 1 as inner optimizer the pseudo-gradient is the gradient, except for the rounding of θ̄ − g to
/// θ's last place. That is data-parallel training.
struct plain_sgd {
  float lr = 1e-2f, weight_decay = 0.0f;

  static constexpr std::string_view name = "plain_sgd";
  static constexpr optimizer_traits traits{.replicated = true};
  static constexpr std::array<std::string_view, 0> slots{};

  struct step {
    float lr, weight_decay;
    DILOCO_HD void operator()(float& p, float g) const { p = fma(-lr, fma(weight_decay, p, g), p); }
  };
  [[nodiscard]] constexpr step at(step_context c) const { return {lr * c.lr_scale, weight_decay}; }

  [[nodiscard]] constexpr float largest() const {
    return detail::largest_beside_decay(detail::largest_move(lr), weight_decay);
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("lr", lr, non_negative);
    f("weight_decay", weight_decay, non_negative);
  }
  friend bool operator==(plain_sgd const&, plain_sgd const&) = default;
};

/// SGD on the trajectory of PyTorch's `torch.optim.SGD`: m ← μ·m + (1−dampening)·g, at the first step m ← g,
/// with lr outside the buffer. `nesterov` steps along g + μ·m instead of m. As in PyTorch, it needs a
/// momentum and no dampening. 20 B/param; replicated.
struct sgd {
  float lr = 1e-2f, momentum = 0.0f, dampening = 0.0f;
  bool nesterov = false;
  float weight_decay = 0.0f;

  static constexpr std::string_view name = "sgd";
  static constexpr optimizer_traits traits{.replicated = true, .scales_momentum = true};
  static constexpr std::array<std::string_view, 1> slots{"momentum"};

  struct step {
    float lr, mu, gain, weight_decay, look_ahead, gradient_share;
    DILOCO_HD void operator()(float& p, float g, float& m) const {
      float const d = fma(weight_decay, p, g);
      m = fma(mu, m, gain * d);
      p = fma(-lr, fma(look_ahead, m, gradient_share * d), p);
    }
  };
  [[nodiscard]] constexpr step at(step_context c) const {
    float const mu = momentum * c.momentum_scale;
    return {
        lr * c.lr_scale,       mu, c.step == 1 ? 1.0f : 1.0f - dampening, weight_decay, nesterov ? mu : 1.0f,
        nesterov ? 1.0f : 0.0f};
  }

  /// m is at most (1−dampening)·|g + wd·p|/(1−μ), and the first m at most |g + wd·p|.
  [[nodiscard]] constexpr float largest() const {
    double const gain = 1.0 - static_cast<double>(dampening), most = detail::largest_move(lr);
    double const summed = detail::largest_to_sum(momentum, lr);
    if (gain == 1.0) return detail::largest_beside_decay(summed, weight_decay);
    double const damped = gain > 0 ? summed / gain : unbounded;
    return detail::largest_beside_decay((damped < most ? damped : most) * detail::but_roundings,
                                        weight_decay);
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("lr", lr, non_negative);
    f("momentum", momentum, below_one);
    f("dampening", dampening, zero_to_one);
    f("nesterov", nesterov, zero_to_one);
    f("weight_decay", weight_decay, non_negative);
  }
  [[nodiscard]] constexpr std::string_view validation_error() const {
    if (momentum > 0.0f && !(nesterov && dampening > 0.0f)) return {};
    if (nesterov)
      return "nesterov needs a momentum above 0 and a dampening of 0; set both, or nesterov = false";
    return dampening > 0.0f ? "dampening does nothing without a momentum above 0; set one, or dampening = 0"
                            : "";
  }
  friend bool operator==(sgd const&, sgd const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
