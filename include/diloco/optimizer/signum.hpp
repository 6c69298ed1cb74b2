// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/optimizer.hpp>
#include <diloco/core/field.hpp>
#include <diloco/optimizer/detail/largest.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// signSGD (Bernstein et al. 2018, algorithm 1): p ← p − lr·sign(g), sign(0) = 0. As outer optimizer it is
/// the signed outer step. After a majority vote it is the receiver's half of signSGD. 12 B/param; replicated.
struct sign_sgd {
  float lr = 1e-3f;

  static constexpr std::string_view name = "sign_sgd";
  static constexpr optimizer_traits traits{.replicated = true};
  static constexpr std::array<std::string_view, 0> slots{};

  struct step {
    float lr;
    DILOCO_HD void operator()(float& p, float g) const { p = fma(-lr, sign_of(g), p); }
  };
  [[nodiscard]] constexpr step at(step_context c) const { return {lr * c.lr_scale}; }

  [[nodiscard]] constexpr float largest() const {
    return static_cast<double>(lr) <= detail::half_of_floats ? static_cast<float>(unbounded) : 0.0f;
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("lr", lr, non_negative);
  }
  friend bool operator==(sign_sgd const&, sign_sgd const&) = default;
};

/// Signum (Bernstein et al. 2018, algorithm 2), the sign of the averaged gradient: m ← β·m + (1−β)·g, p ← p −
/// lr·sign(m), sign(0) = 0. The decay p ← (1−lr·wd)·p comes before the update. 20 B/param; replicated.
struct signum {
  float lr = 1e-3f, beta = 0.9f, weight_decay = 0.0f;

  static constexpr std::string_view name = "signum";
  static constexpr optimizer_traits traits{.replicated = true};
  static constexpr std::array<std::string_view, 1> slots{"m"};

  struct step {
    float lr, keep, beta;
    DILOCO_HD void operator()(float& p, float g, float& m) const {
      m = fma(beta, m, (1.0f - beta) * g);
      p = fma(-lr, sign_of(m), keep * p);
    }
  };
  [[nodiscard]] step at(step_context c) const {
    float const rate = lr * c.lr_scale;
    return {rate, fma(-rate, weight_decay, 1.0f), beta};
  }

  [[nodiscard]] constexpr float largest() const { return detail::largest_of_mean(lr); }

  template <class F>
  constexpr void fields(F&& f) const {
    f("lr", lr, non_negative);
    f("beta", beta, below_one);
    f("weight_decay", weight_decay, non_negative);
  }
  friend bool operator==(signum const&, signum const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
