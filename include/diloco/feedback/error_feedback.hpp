// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/feedback.hpp>
#include <diloco/core/field.hpp>
#include <diloco/core/fma.hpp>

#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Exact error feedback (Seide et al. 2014; Karimireddy et al. 2019): x = Δ + decay·e, e ← x − own decoded
/// bytes. With decay = 1 it telescopes: Σ sent + e = Σ Δ. The outer learning rate never touches e.
struct error_feedback {
  float decay = 1.0f;

  static constexpr std::string_view name = "error_feedback";
  static constexpr feedback_traits traits{};
  struct step {
    float decay;
    [[nodiscard]] DILOCO_HD float want(float delta, float e) const { return fma(decay, e, delta); }
    [[nodiscard]] DILOCO_HD float keep(float wanted, float sent, float) const { return wanted - sent; }
  };
  [[nodiscard]] constexpr step at(std::uint64_t) const { return {decay}; }
  [[nodiscard]] constexpr error_feedback owner() const { return *this; }

  template <class F>
  constexpr void fields(F&& f) const {
    f("decay", decay, zero_to_one);
  }
  friend bool operator==(error_feedback const&, error_feedback const&) = default;
};

/// The error of the compressor is lost.
struct no_feedback {
  static constexpr std::string_view name = "no_feedback";
  static constexpr feedback_traits traits{.stateful = false};
  [[nodiscard]] DILOCO_HD float want(float delta, float) const { return delta; }
  [[nodiscard]] DILOCO_HD float keep(float, float, float) const { return 0.0f; }
  [[nodiscard]] constexpr no_feedback at(std::uint64_t) const { return {}; }
  [[nodiscard]] constexpr no_feedback owner() const { return {}; }
  friend bool operator==(no_feedback const&, no_feedback const&) = default;
};

/// Error feedback against the decoded mean ĝ (PyTorch's PowerSGD hook): x = Δ + decay·e, e ← x − ĝ. The mean
/// of all residuals is what the mean still lacks. This includes the second quantization of scatter–gather, so
/// its owner keeps no residual.
/// The workers' disagreement stays in each residual for ever. It cancels where messages add up (random_k,
/// low_rank of a common factor), so only linear compressors are accepted. Others were seen to diverge
/// (absmax<4>, three workers, 1000 rounds: 26 times the mean).
/// Choose decay < 1, or the residuals grow with the rounds. Each residual differs from the mean residual by
/// 1/(1 − decay) of its worker's deviation per round.
struct mean_error_feedback {
  float decay = 1.0f;

  static constexpr std::string_view name = "mean_error_feedback";
  static constexpr feedback_traits traits{.mean_residual = true};
  struct step {
    float decay;
    [[nodiscard]] DILOCO_HD float want(float delta, float e) const { return fma(decay, e, delta); }
    [[nodiscard]] DILOCO_HD float keep(float wanted, float, float) const { return wanted; }
  };
  [[nodiscard]] constexpr step at(std::uint64_t) const { return {decay}; }
  [[nodiscard]] constexpr no_feedback owner() const { return {}; }

  template <class F>
  constexpr void fields(F&& f) const {
    f("decay", decay, zero_to_one);
  }
  friend bool operator==(mean_error_feedback const&, mean_error_feedback const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
