// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/error.hpp>

#include <type_traits>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

struct step_options {
  float lr_scale = 1.0f;    ///< scales the inner learning rate in this step, on top of the recipe's `rate`
  float grad_scale = 1.0f;  ///< multiplies every gradient, before it is clipped: loss scaling, accumulation
  double tokens = 1.0;      ///< what this step adds to the worker's weight in the next mean
  bool skip_not_finite = false;  ///< a gradient that is not finite makes this a skipped step, and no error
};

/// What became of a step and of the round that was due after it. A step that was refused changed nothing.
/// Where only the round failed, the step stands and is counted: do not take it again.
class [[nodiscard]] step_result {
 public:
  step_result() = default;
  /// The step was refused.
  step_result(diloco::error refused) : failure_(std::move(refused)) {}
  /// The step was taken, and `round` is what became of the round, if one was due.
  static step_result taken(result<> round) {
    if (round) return {};
    diloco::error failed = std::move(round).error();
    failed.step_taken = true;
    return step_result(std::move(failed));
  }

  [[nodiscard]] bool step_taken() const noexcept { return has_value() || failure_.error().step_taken; }
  [[nodiscard]] bool round_failed() const noexcept { return !has_value() && failure_.error().step_taken; }
  /// Whether all went well.
  [[nodiscard]] bool has_value() const noexcept { return failure_.has_value(); }
  explicit operator bool() const noexcept { return has_value(); }
  /// Of the step, or of the round: its `step_taken` says which.
  [[nodiscard]] diloco::error const& error() const { return failure_.error(); }
  void value() const {
    if (!has_value()) raise(error());
  }
  operator result<>() const { return failure_; }

 private:
  result<> failure_;
};

/// A list of parameters, and neither tokens nor step_options.
template <class P>
concept no_options = !std::is_convertible_v<P const&, double> && !std::is_same_v<P, step_options>;

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
