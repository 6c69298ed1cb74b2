// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/signal.hpp>
#include <diloco/core/field.hpp>
#include <diloco/core/fma.hpp>

#include <array>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// The gradient itself, clipped and scaled as for a step: data-parallel training, with compression if the
/// recipe has any. No column of its own.
struct gradient {
  static constexpr std::string_view name = "gradient";
  static constexpr signal_traits traits{.of_gradient = true};
  static constexpr std::array<std::string_view, 0> slots{};
  struct step {
    DILOCO_HD float operator()(float g) const { return g; }
  };
  [[nodiscard]] constexpr step at() const { return {}; }
  friend bool operator==(gradient const&, gradient const&) = default;
};

/// m ← β·m + g, and m is said: momentum before compression, each worker its own. 8 B/param.
/// Lin et al. 2018 (arXiv 1712.01887, momentum correction) and DeMo send parts of it.
struct momentum {
  float beta = 0.9f;

  static constexpr std::string_view name = "momentum";
  static constexpr signal_traits traits{.of_gradient = true};
  static constexpr std::array<std::string_view, 1> slots{"m"};
  struct step {
    float beta;
    DILOCO_HD float operator()(float g, float& m) const { return m = fma(beta, m, g); }
  };
  [[nodiscard]] constexpr step at() const { return {beta}; }

  template <class F>
  constexpr void fields(F&& f) const {
    f("beta", beta, below_one);
  }
  friend bool operator==(momentum const&, momentum const&) = default;
};

/// u = sign(β1·m + (1 − β1)·g) is said, then m ← β2·m + (1 − β2)·g: Distributed Lion (Liu et al. 2024, arXiv
/// 2404.00438), in its variant that averages u. Each worker keeps its own m. sign(0) = 0. 8 B/param.
/// The outer optimizer has the learning rate: `plain_sgd`, without momentum.
struct lion_update {
  float beta1 = 0.9f, beta2 = 0.99f;

  static constexpr std::string_view name = "lion_update";
  static constexpr signal_traits traits{.of_gradient = true};
  static constexpr std::array<std::string_view, 1> slots{"m"};
  struct step {
    float beta1, beta2;
    DILOCO_HD float operator()(float g, float& m) const {
      float const u = fma(beta1, m, (1.0f - beta1) * g);
      m = fma(beta2, m, (1.0f - beta2) * g);
      return sign_of(u);
    }
  };
  [[nodiscard]] constexpr step at() const { return {beta1, beta2}; }

  template <class F>
  constexpr void fields(F&& f) const {
    f("beta1", beta1, below_one);
    f("beta2", beta2, below_one);
  }
  friend bool operator==(lion_update const&, lion_update const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
