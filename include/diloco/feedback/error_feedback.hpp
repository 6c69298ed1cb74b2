// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/feedback.hpp>
#include <diloco/core/config.hpp>
#include <diloco/core/field.hpp>
#include <diloco/core/fma.hpp>

#include <string_view>

namespace diloco {
inline namespace v0 {

/// Exact error feedback (Seide et al. 2014; Karimireddy et al. 2019): x = Δ + decay·e, e ← x − own decoded bytes. With
/// decay = 1 it telescopes: Σ sent + e = Σ Δ. The outer learning rate never touches e.
struct error_feedback {
  float decay = 1.0f;

  static constexpr std::string_view name = "error_feedback";
  static constexpr bool remembers = true;
  [[nodiscard]] DILOCO_HD float want(float delta, float residual) const { return fma(decay, residual, delta); }
  [[nodiscard]] DILOCO_HD float keep(float wanted, float sent) const { return wanted - sent; }

  template <class F>
  constexpr void fields(F&& f) const {
    f("decay", decay, zero_to_one);
  }
  friend bool operator==(error_feedback const&, error_feedback const&) = default;
};

/// What the compressor loses is lost.
struct no_feedback {
  static constexpr std::string_view name = "no_feedback";
  static constexpr bool remembers = false;
  [[nodiscard]] DILOCO_HD float want(float delta, float) const { return delta; }
  [[nodiscard]] DILOCO_HD float keep(float, float) const { return 0.0f; }
  friend bool operator==(no_feedback const&, no_feedback const&) = default;
};

}  // namespace v0
}  // namespace diloco
