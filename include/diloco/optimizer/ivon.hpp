// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/groups.hpp>
#include <diloco/core/field.hpp>
#include <diloco/optimizer/detail/largest.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Improved variational online Newton (Shen et al. 2024, algorithm 1). θ is the mean of a Gaussian over
/// models, with precision ess·(h + d) in each element. Gradients are taken at samples of it. The caller's
/// copy is therefore a sample, new after every step.
/// θ itself is a float32 copy (4 B/param). Rounds, snapshots and the column `theta` use it.
/// `trainer.show_mean()` writes θ to the caller's copy, for an evaluation or before the tensors are stored.
/// With n = caller's copy − θ, one sample a step:
///   f = g·n·(h + d)·ess,  m ← β₁·m + (1 − β₁)·g,
///   h ← β₂·h + (1 − β₂)·f + ½·(1 − β₂)²·(h − f)²/(h + d), which keeps h + d > 0
///   θ ← θ − lr·(h₀ + d)·clip((m/(1 − β₁ᵗ) + d·θ)/(h + d), ±clip_radius)
/// d is the weight decay, ess the effective number of training examples. Noise is counter-based by `seed`,
/// step, rank and element. Samples in bfloat16 tensors are rounded to nearest.
/// One sweep, 36 B/param. It is not replicated, because each rank has its own samples.
struct ivon {
  float lr = 0.1f;
  float ess = 1.0f;  ///< effective sample size: number of examples in the data set
  float beta1 = 0.9f, beta2 = 0.99999f, weight_decay = 1e-4f;
  float h0 = 1.0f;  ///< h at the start
  float clip_radius = static_cast<float>(unbounded);
  bool rescale_lr = true;  ///< whether to apply the factor h₀ + d
  std::uint32_t seed = 0;

  static constexpr std::string_view name = "ivon";
  static constexpr bool samples = true;
  static constexpr optimizer_traits traits{.prior = true};
  static constexpr std::array<std::string_view, 2> slots{"m", "h_minus_h0"};

  struct step {
    std::uint32_t seed;
    float rate, correction, ess, beta1, keep, keep2, decay, h0, clip_radius;
    DILOCO_HD void operator()(float& p, float g, float seen, float& m, float& h) const {
      float const before = h + h0, precision = before + decay;
      float const f = product(product(g, seen - p), product(precision, ess));
      float const off = before - f;
      m = fma(beta1, m, product(1.0f - beta1, g));
      // β₂·h + (1 − β₂)·f equals h − (1 − β₂)·(h − f). The slot stores h − h₀, which starts at zero.
      h = fma(-keep, off, h) + product(keep2, product(off, off)) / precision;
      float const direction = fma(decay, p, product(m, correction)) / (h + h0 + decay);
      float const longest = direction > clip_radius ? clip_radius : direction;
      p = fma(-rate, longest < -clip_radius ? -clip_radius : longest, p);
    }
    /// Standard deviation of a sample.
    [[nodiscard]] DILOCO_HD float deviation(float, float h) const {
      return 1.0f / std::sqrt(product(ess, h + h0 + decay));
    }
  };
  [[nodiscard]] step at(step_context c) const {
    double const gone = 1.0 - static_cast<double>(beta2);
    double const rate = static_cast<double>(lr) * static_cast<double>(c.lr_scale);
    double const start = static_cast<double>(h0) + static_cast<double>(weight_decay);
    double const correction = std::fma(-integer_power(static_cast<double>(beta1), c.step), 1.0, 1.0);
    return {seed,
            static_cast<float>(rescale_lr ? rate * start : rate),
            static_cast<float>(1.0 / correction),
            ess,
            beta1,
            static_cast<float>(gone),
            static_cast<float>(0.5 * gone * gone),
            weight_decay,
            h0,
            clip_radius};
  }

  /// The part of the precision h + d that the slot does not store. precision_weighted must add the same
  /// number.
  [[nodiscard]] constexpr float prior() const { return h0 + weight_decay; }

  /// h + d grows to about g²·ess·z², where the normal z is below 8. Its square must be a finite float.
  [[nodiscard]] float largest() const {
    double const by_ess = 0x1p26 / std::sqrt(static_cast<double>(ess));
    return prior() <= 0x1p60f ? detail::float_within(by_ess < 0x1p63 ? by_ess : 0x1p63) : 0.0f;
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("lr", lr, non_negative);
    f("ess", ess, positive);
    f("beta1", beta1, below_one);
    f("beta2", beta2, below_one);
    f("weight_decay", weight_decay, non_negative);
    f("h0", h0, positive);
    f("clip_radius", clip_radius, positive);
    f("rescale_lr", rescale_lr, zero_to_one);
    f("seed", seed, range{0, 4294967295.0});
  }
  friend bool operator==(ivon const&, ivon const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
