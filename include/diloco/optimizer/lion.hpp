// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/optimizer.hpp>
#include <diloco/core/field.hpp>
#include <diloco/optimizer/detail/largest.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Lion (Chen et al. 2023, algorithm 2): the step is the sign of an interpolated momentum, with sign(0) = 0.
/// The decay comes before the update. There is no bias correction. 20 B/param; replicated.
struct lion {
  float lr = 1e-4f, beta1 = 0.9f, beta2 = 0.99f, weight_decay = 0.0f;

  static constexpr std::string_view name = "lion";
  static constexpr optimizer_traits traits{.replicated = true};
  static constexpr std::array<std::string_view, 1> slots{"m"};

  struct step {
    float lr, keep, beta1, beta2;
    DILOCO_HD void operator()(float& p, float g, float& m) const {
      float const u = fma(beta1, m, (1.0f - beta1) * g);
      p = fma(-lr, sign_of(u), keep * p);
      m = fma(beta2, m, (1.0f - beta2) * g);
    }
  };
  [[nodiscard]] step at(step_context c) const {
    float const rate = lr * c.lr_scale;
    return {rate, fma(-rate, weight_decay, 1.0f), beta1, beta2};
  }

  [[nodiscard]] constexpr float largest() const { return detail::largest_of_mean(lr); }

  template <class F>
  constexpr void fields(F&& f) const {
    f("lr", lr, non_negative);
    f("beta1", beta1, below_one);
    f("beta2", beta2, below_one);
    f("weight_decay", weight_decay, non_negative);
  }
  friend bool operator==(lion const&, lion const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
