// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/optimizer.hpp>
#include <diloco/core/field.hpp>
#include <diloco/optimizer/detail/largest.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

namespace detail {
/// The step that the three optimizers below share once v is known (Reddi et al. 2021, algorithm 2).
struct fedopt_move {
  float lr, beta1, tau;
  DILOCO_HD void operator()(float& p, float g, float& m, float v) const {
    m = fma(beta1, m, (1.0f - beta1) * g);
    p = fma(-lr, m / (std::sqrt(v) + tau), p);
  }
};
}  // namespace detail

// The FedOpt family (Reddi et al. 2021, algorithm 2): m ← β₁·m + (1−β₁)·Δ, p ← p − lr·m/(√v + τ), without
// bias correction. Its members differ in v. v starts at 0 (in the paper at τ² or above).
// |Δ| is about inner rate × H. A τ near it adapts little. A τ far below it makes the first steps nearly
// signs.

/// v ← β₂·v + (1−β₂)·Δ². 28 B/param; replicated.
struct fedadam {
  float lr = 1e-2f, beta1 = 0.9f, beta2 = 0.99f, tau = 1e-3f;

  static constexpr std::string_view name = "fedadam";
  static constexpr optimizer_traits traits{.replicated = true};
  static constexpr std::array<std::string_view, 2> slots{"m", "v"};

  struct step {
    detail::fedopt_move move;
    float beta2;
    DILOCO_HD void operator()(float& p, float g, float& m, float& v) const {
      v = fma((1.0f - beta2) * g, g, beta2 * v);
      move(p, g, m, v);
    }
  };
  [[nodiscard]] constexpr step at(step_context c) const { return {{lr * c.lr_scale, beta1, tau}, beta2}; }

  /// v is at most Δ².
  [[nodiscard]] constexpr float largest() const {
    return detail::float_within(detail::largest_over(tau, lr));
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("lr", lr, non_negative);
    f("beta1", beta1, below_one);
    f("beta2", beta2, below_one);
    f("tau", tau, positive);
  }
  friend bool operator==(fedadam const&, fedadam const&) = default;
};

/// v ← v − (1−β₂)·Δ²·sign(v − Δ²). After a large Δ, v shrinks by steps of the later Δ², not by a share of
/// itself. 28 B/param; replicated.
struct fedyogi {
  float lr = 1e-2f, beta1 = 0.9f, beta2 = 0.99f, tau = 1e-3f;

  static constexpr std::string_view name = "fedyogi";
  static constexpr optimizer_traits traits{.replicated = true};
  static constexpr std::array<std::string_view, 2> slots{"m", "v"};

  struct step {
    detail::fedopt_move move;
    float beta2;
    DILOCO_HD void operator()(float& p, float g, float& m, float& v) const {
      float const square = product(g, g);
      v = fma((beta2 - 1.0f) * sign_of(v - square), square, v);
      move(p, g, m, v);
    }
  };
  [[nodiscard]] constexpr step at(step_context c) const { return {{lr * c.lr_scale, beta1, tau}, beta2}; }

  /// v is at most 2·Δ².
  [[nodiscard]] constexpr float largest() const {
    return detail::float_within(detail::largest_over(tau, lr));
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("lr", lr, non_negative);
    f("beta1", beta1, below_one);
    f("beta2", beta2, below_one);
    f("tau", tau, positive);
  }
  friend bool operator==(fedyogi const&, fedyogi const&) = default;
};

/// v ← v + Δ². 28 B/param, which include m also where β₁ = 0; replicated.
struct fedadagrad {
  float lr = 1e-2f, beta1 = 0.0f, tau = 1e-3f;

  static constexpr std::string_view name = "fedadagrad";
  static constexpr optimizer_traits traits{.replicated = true};
  static constexpr std::array<std::string_view, 2> slots{"m", "v"};

  struct step {
    detail::fedopt_move move;
    DILOCO_HD void operator()(float& p, float g, float& m, float& v) const {
      v = fma(g, g, v);
      move(p, g, m, v);
    }
  };
  [[nodiscard]] constexpr step at(step_context c) const { return {{lr * c.lr_scale, beta1, tau}}; }

  /// 2⁵¹: a float32 sum of squares stops growing at 2²⁵ times its largest term, here at 2¹²⁷. This holds for
  /// any number of rounds.
  [[nodiscard]] constexpr float largest() const {
    double const most = detail::largest_over(tau, lr);
    return detail::float_within(most < 0x1p51 ? most : 0x1p51);
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("lr", lr, non_negative);
    f("beta1", beta1, below_one);
    f("tau", tau, positive);
  }
  friend bool operator==(fedadagrad const&, fedadagrad const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
