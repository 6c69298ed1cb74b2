// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/optimizer.hpp>
#include <diloco/core/field.hpp>
#include <diloco/optimizer/adam.hpp>
#include <diloco/optimizer/detail/largest.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2), on PyTorch's trajectory. The
/// decay comes first. The bias corrections are folded into two numbers per step. One sweep, 28 B/param;
/// replicated (sqrt and division round correctly).
struct adamw {
  float lr = 1e-3f, beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f, weight_decay = 0.01f;

  static constexpr std::string_view name = "adamw";
  static constexpr optimizer_traits traits{.replicated = true};
  static constexpr std::array<std::string_view, 2> slots{"m", "v"};

  struct step {
    float keep;
    detail::adam_moments moments;
    DILOCO_HD void operator()(float& p, float g, float& m, float& v) const {
      p = fma(-moments.step_size, moments(g, m, v), keep * p);
    }
  };
  [[nodiscard]] step at(step_context c) const {
    double const rate = static_cast<double>(lr) * static_cast<double>(c.lr_scale);
    return {static_cast<float>(std::fma(-rate, static_cast<double>(weight_decay), 1.0)),
            detail::adam_moments_at(*this, rate, c.step)};
  }

  [[nodiscard]] constexpr float largest() const {
    return detail::float_within(detail::largest_over(eps, lr));
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

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
