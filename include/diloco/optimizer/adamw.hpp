// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/optimizer.hpp>
#include <diloco/core/field.hpp>

namespace diloco {
inline namespace v0 {

/// Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2), on PyTorch's trajectory: decay first, bias
/// corrections folded into two numbers per step. One sweep, 28 B/param; replicated (sqrt and division round correctly).
struct adamw {
  float lr = 1e-3f, beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f, weight_decay = 0.01f;

  static constexpr std::string_view name = "adamw";
  static constexpr std::array<std::string_view, 2> slots{"m", "v"};

  struct step {
    float keep, step_size, root_correction, beta1, beta2, eps;
    DILOCO_HD void operator()(float& p, float g, float& m, float& v) const {
      m = fma(1.0f - beta1, g - m, m);
      v = fma((1.0f - beta2) * g, g, beta2 * v);
      float const denominator = fma(std::sqrt(v), root_correction, eps);
      p = fma(-step_size, m / denominator, keep * p);
    }
  };

  [[nodiscard]] step at(step_context c) const {
    double const rate = static_cast<double>(lr) * static_cast<double>(c.lr_scale);
    double const correction1 = std::fma(-integer_power(static_cast<double>(beta1), c.step), 1.0, 1.0);
    double const correction2 = std::fma(-integer_power(static_cast<double>(beta2), c.step), 1.0, 1.0);
    return {static_cast<float>(std::fma(-rate, static_cast<double>(weight_decay), 1.0)),
            static_cast<float>(rate / correction1),
            static_cast<float>(1.0 / std::sqrt(correction2)),
            beta1,
            beta2,
            eps};
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("lr", lr, non_negative);
    f("beta1", beta1, below_one);
    f("beta2", beta2, below_one);
    f("eps", eps, positive);
    f("weight_decay", weight_decay, non_negative);
  }
  friend bool operator==(adamw const&, adamw const&) = default;
};

template <>
inline constexpr bool enable_replicated<adamw> = true;

}  // namespace v0
}  // namespace diloco
