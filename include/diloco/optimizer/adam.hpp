// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/optimizer.hpp>
#include <diloco/core/field.hpp>
#include <diloco/optimizer/detail/largest.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

namespace detail {
/// Adam's moments, shared by `adam` and `adamw`. Both bias corrections are folded into two numbers.
struct adam_moments {
  float step_size, root_correction, beta1, beta2, eps;

  /// Updates the moments with g and returns m̂/(√v̂ + eps) up to the factor `step_size`.
  DILOCO_HD float operator()(float g, float& m, float& v) const {
    m = fma(1.0f - beta1, g - m, m);
    v = fma((1.0f - beta2) * g, g, beta2 * v);
    return m / fma(std::sqrt(v), root_correction, eps);
  }
};

/// 1/√(1 − βⁿ), the correction of √v at step n.
inline float root_correction_at(float beta, std::uint64_t n) {
  return static_cast<float>(1.0 /
                            std::sqrt(std::fma(-integer_power(static_cast<double>(beta), n), 1.0, 1.0)));
}

/// The moments of an Adam `o` at step n, with `rate` = lr·lr_scale.
template <class Adam>
adam_moments adam_moments_at(Adam const& o, double rate, std::uint64_t n) {
  double const correction = std::fma(-integer_power(static_cast<double>(o.beta1), n), 1.0, 1.0);
  return {static_cast<float>(rate / correction), root_correction_at(o.beta2, n), o.beta1, o.beta2, o.eps};
}
}  // namespace detail

/// Adam (Kingma & Ba 2015, algorithm 1) on the trajectory of PyTorch's `torch.optim.Adam`. Weight decay is
/// the L2 term g + wd·p, which passes through the moments; `adamw` has the decoupled one. One sweep, 28
/// B/param; replicated.
struct adam {
  float lr = 1e-3f, beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f, weight_decay = 0.0f;

  static constexpr std::string_view name = "adam";
  static constexpr optimizer_traits traits{.replicated = true};
  static constexpr std::array<std::string_view, 2> slots{"m", "v"};

  struct step {
    float weight_decay;
    detail::adam_moments moments;
    DILOCO_HD void operator()(float& p, float g, float& m, float& v) const {
      p = fma(-moments.step_size, moments(fma(weight_decay, p, g), m, v), p);
    }
  };
  [[nodiscard]] step at(step_context c) const {
    double const rate = static_cast<double>(lr) * static_cast<double>(c.lr_scale);
    return {weight_decay, detail::adam_moments_at(*this, rate, c.step)};
  }

  /// The decay is part of the squared gradient. The bound holds for anchors that are no larger than it.
  [[nodiscard]] constexpr float largest() const {
    return detail::float_within(detail::largest_over(eps, lr) / (1.0 + static_cast<double>(weight_decay)));
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("lr", lr, non_negative);
    f("beta1", beta1, below_one);
    f("beta2", beta2, below_one);
    f("eps", eps, positive);
    f("weight_decay", weight_decay, non_negative);
  }
  friend bool operator==(adam const&, adam const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
