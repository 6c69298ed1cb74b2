// SPDX-License-Identifier: Apache-2.0
// A learning-rate schedule as a policy of your own. It wraps any optimizer and is one. So the same schedule
// works in the inner role (DiLoCo) and in the outer role (data-parallel, where a round is a step).
#pragma once

#include <diloco/concepts/optimizer.hpp>

#include <algorithm>

namespace gpt {

// The factor rises linearly over `ramp` steps, then falls linearly to `final_share` at step `steps`.
template <class Optimizer>
struct scheduled {
  Optimizer optimizer;
  int ramp = 1, steps = 1;
  float final_share = 1.0f;

  static constexpr std::string_view name = Optimizer::name;
  static constexpr auto slots = Optimizer::slots;
  static constexpr diloco::optimizer_traits traits = Optimizer::traits;

  float factor(std::uint64_t step) const {
    float const rise = static_cast<float>(step) / static_cast<float>(ramp);
    float const done = static_cast<float>(step) / static_cast<float>(steps);
    return std::min(rise, 1.0f) * (1.0f - std::min(done, 1.0f) * (1.0f - final_share));
  }
  auto at(diloco::step_context c) const {
    c.lr_scale *= factor(c.step);
    return optimizer.at(c);
  }
  [[nodiscard]] constexpr float largest() const { return optimizer.largest(); }  // the factor is at most 1
  template <class F>
  constexpr void fields(F&& f) const {
    optimizer.fields(f);
    f("ramp", ramp, diloco::range{1, 1e9});
    f("steps", steps, diloco::range{1, 1e9});
    f("final_share", final_share, diloco::zero_to_one);
  }
  friend bool operator==(scheduled const&, scheduled const&) = default;
};

}  // namespace gpt
