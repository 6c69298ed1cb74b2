// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/error.hpp>
#include <diloco/core/field.hpp>

#include <string>
#include <string_view>
#include <utility>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Dynamic loss scaling (Micikevicius et al. 2018), with the numbers of PyTorch's GradScaler: multiply the loss by `scale`, give
/// the step `{.grad_scale = s.grad_scale(), .skip_not_finite = true}`, and tell `update` whether it was skipped. Each worker's
/// scale is its own affair: gradients are unscaled before anything else sees them.
struct loss_scale {
  float scale = 65536.0f;
  float growth = 2.0f, backoff = 0.5f;
  long growth_interval = 2000;  ///< steps in a row that were not skipped, after which the scale grows
  long steps_since = 0;         ///< since it changed last

  static constexpr std::string_view name = "loss_scale";
  [[nodiscard]] constexpr float grad_scale() const { return 1.0f / scale; }
  /// The scale stays a normal number whose inverse is one, so that powers of two unscale exactly.
  /// Errors: a number outside its range, on which a scale would grow when it must shrink, or never move.
  void update(bool skipped) {
    if (std::string complaint = field_complaint("rate", *this); !complaint.empty())
      raise({cause::bad_setting, 0, 0, std::move(complaint)});
    if (skipped || ++steps_since == growth_interval) {
      float const next = scale * (skipped ? backoff : growth);
      if (next >= 0x1p-120f && next <= 0x1p120f) scale = next;
      steps_since = 0;
    }
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("scale", scale, range{0x1p-120, 0x1p120});
    f("growth", growth, range{1, 0x1p20});
    f("backoff", backoff, range{0, 1, true});
    f("growth_interval", growth_interval, range{1, unbounded});
    f("steps_since", steps_since, non_negative);
  }
  friend bool operator==(loss_scale const&, loss_scale const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
