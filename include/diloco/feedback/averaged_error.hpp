// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/feedback.hpp>
#include <diloco/core/field.hpp>
#include <diloco/core/fma.hpp>

#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// LoCo's averaged error (Xie et al. 2024): x = Δ + e, e ← β·e + (1 − β)(x − own decoded bytes). e is stored
/// as 8-bit integers with a scale per block. Its two buffers take 2 B/param, where exact feedback takes 8.
/// e is an estimate of the expected error, not the exact residual, so it does not telescope. Each
/// `reset_every`-th round begins with e = 0. If `reset_every` is 0, no round does.
struct averaged_error {
  float beta = 0.8f;
  std::uint32_t reset_every = 1024;

  static constexpr std::string_view name = "averaged_error";
  static constexpr feedback_traits traits{.residual_bits = 8};
  struct step {
    float remembered, beta, fresh;  // 1 and β (0 and 0 in a reset round); 1 − β
    [[nodiscard]] DILOCO_HD float want(float delta, float e) const { return fma(remembered, e, delta); }
    [[nodiscard]] DILOCO_HD float keep(float wanted, float sent, float e) const {
      return fma(fresh, wanted - sent, product(beta, e));
    }
  };
  [[nodiscard]] constexpr step at(std::uint64_t round) const {
    bool const reset = reset_every != 0 && round % reset_every == 0;
    return {reset ? 0.0f : 1.0f, reset ? 0.0f : beta, 1.0f - beta};
  }

  [[nodiscard]] constexpr averaged_error owner() const { return *this; }

  template <class F>
  constexpr void fields(F&& f) const {
    f("beta", beta, below_one);
    f("reset_every", reset_every, non_negative);
  }
  friend bool operator==(averaged_error const&, averaged_error const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
