// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/recipe.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace recipes {

/// DiLoCo (Douillard et al. 2023, arXiv 2311.08105): AdamW inside, Nesterov outside, f32 messages, every 500
/// steps. Numbers are the paper's for C4; its learning rate also warms up over 1,000 steps.
[[nodiscard]] inline auto diloco() {
  return recipe<>{}
      .with_inner(adamw{.lr = 4e-4f, .weight_decay = 0.1f})
      .with_outer(nesterov{.lr = 0.7f, .momentum = 0.9f})
      .with_feedback(no_feedback{})
      .with_schedule(every(500))
      .with_clip_norm(1.0f);
}

}  // namespace recipes
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
