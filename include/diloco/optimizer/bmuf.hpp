// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/optimizer.hpp>
#include <diloco/core/field.hpp>
#include <diloco/optimizer/detail/largest.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Blockwise model-update filtering (Chen & Huo 2016): D ← η·D + ζ·Δ, Φ ← Φ − D, with ζ inside the buffer. p
/// is always the start of the next block, and Δ is measured from it. In the classical form p is the filtered
/// model Φ.
/// With `nesterov` p is Φ − η·D, so p ← p − (ζ·Δ + η·D). The model to keep at the end is then Φ = p + η·D.
/// The paper's η is 1 − 1/K, which makes one Δ move Φ by K·ζ in all. 20 B/param; replicated.
struct bmuf {
  float block_lr = 1.0f, momentum = 0.5f;  // ζ, η
  bool nesterov = false;

  static constexpr std::string_view name = "bmuf";
  static constexpr optimizer_traits traits{.replicated = true};
  static constexpr std::array<std::string_view, 1> slots{"D"};

  struct step {
    float zeta, eta, look_ahead, share;
    DILOCO_HD void operator()(float& p, float g, float& d) const {
      d = fma(eta, d, zeta * g);
      p = p - fma(look_ahead, d, share * g);
    }
  };
  [[nodiscard]] constexpr step at(step_context c) const {
    float const zeta = block_lr * c.lr_scale;
    return {zeta, momentum, nesterov ? momentum : 1.0f, nesterov ? zeta : 0.0f};
  }

  /// D is a displacement, at most half the largest float.
  [[nodiscard]] constexpr float largest() const {
    double const room = detail::largest_to_sum(momentum, 1.0f) * detail::but_roundings;
    return detail::float_within(block_lr > 0.0f ? room / static_cast<double>(block_lr) : unbounded);
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("block_lr", block_lr, non_negative);
    f("momentum", momentum, below_one);
    f("nesterov", nesterov, zero_to_one);
  }
  friend bool operator==(bmuf const&, bmuf const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
