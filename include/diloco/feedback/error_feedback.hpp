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

/// What the compressor loses is lost.
struct no_feedback {
  static constexpr std::string_view name = "no_feedback";
  static constexpr feedback_traits traits{.stateful = false};
  [[nodiscard]] DILOCO_HD float want(float delta, float) const { return delta; }
  [[nodiscard]] DILOCO_HD float keep(float, float, float) const { return 0.0f; }
  [[nodiscard]] constexpr no_feedback at(std::uint64_t) const { return {}; }
  [[nodiscard]] constexpr no_feedback owner() const { return {}; }
  friend bool operator==(no_feedback const&, no_feedback const&) = default;
};

/// Error feedback against what was agreed (PyTorch's PowerSGD hook): x = Δ + decay·e, e ← x − ĝ, where ĝ is
/// the decoded mean. The mean of all residuals is what the mean still lacks, so the second quantization of
/// scatter–gather is in it and its owner keeps nothing. What the workers disagree on stays in each residual
/// for ever: it cancels where wires add up (random_k, low_rank of a common factor), so only linear
/// compressors are accepted; others were seen to diverge (absmax<4>, three workers, 1000 rounds: 26 times the
/// mean). Say decay < 1, or the residuals grow with the rounds: each differs from their mean by 1/(1 − decay)
/// of what its worker says otherwise in each.
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
