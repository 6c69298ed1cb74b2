// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/error.hpp>
#include <diloco/core/field.hpp>

#include <string>
#include <string_view>
#include <utility>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Dynamic loss scaling (Micikevicius et al. 2018), with the numbers of PyTorch's GradScaler. Multiply the
/// loss by `scale`. Give the step `{.grad_scale = s.grad_scale(), .skip_not_finite = true}`. Tell `update`
/// whether the step was skipped.
/// Each worker may have its own scale, because gradients are unscaled before any other use.
/// A scale that would fall below `least` is an error, as in fairseq (1e-4) and DeepSpeed (1). At that point
/// the scale is not the reason that gradients overflow.
struct loss_scale {
  float scale = 65536.0f;
  float growth = 2.0f, backoff = 0.5f;
  long growth_interval = 2000;  ///< the scale grows after this many steps without a skip
  long steps_since = 0;         ///< steps since the last change
  float least = 0x1p-14f;       ///< lower bound, 30 halvings below the default start

  static constexpr std::string_view name = "loss_scale";
  [[nodiscard]] constexpr float grad_scale() const { return 1.0f / scale; }
  /// The scale and its inverse stay normal numbers, so powers of two unscale exactly. An error changes
  /// nothing. It is an error if a number is outside its range, because a scale could then grow when it must
  /// shrink, or never move. It is an error to skip a step where the scale cannot shrink.
  [[nodiscard]] result<> try_update(bool skipped) {
    if (std::string invalid = field_error("rate", *this); !invalid.empty())
      return error{cause::bad_setting, 0, 0, std::move(invalid)};
    float const next = skipped                              ? scale * backoff
                       : steps_since + 1 >= growth_interval ? scale * growth
                                                            : scale;
    if (skipped && next < least) {
      return error{
          cause::not_finite, 0, 0,
          say({"diloco: rate loss_scale: gradients are not finite at a scale of ", scale,
               ", and the next one is below least = ", least,
               "; look for what makes them so, such as a learning rate that is too high, or lower least"})};
    }
    steps_since = skipped || steps_since + 1 >= growth_interval ? 0 : steps_since + 1;
    if (next <= 0x1p120f) scale = next;
    return {};
  }
  void update(bool skipped) { try_update(skipped).value(); }

  template <class F>
  constexpr void fields(F&& f) const {
    f("least", least, range{0x1p-120, 0x1p120});
    f("scale", scale, range{static_cast<double>(least), 0x1p120});
    f("growth", growth, range{1, 0x1p20});
    f("backoff", backoff, range{0, 1, true, true});
    f("growth_interval", growth_interval, range{1, unbounded});
    f("steps_since", steps_since, non_negative);
  }
  friend bool operator==(loss_scale const&, loss_scale const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
