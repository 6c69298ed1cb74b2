// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/recipe.hpp>
#include <diloco/schedule/eager.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace recipes {

/// Eager updates (Kale, Douillard and Donchev 2025, arXiv 2502.12996): a round takes the next H steps, and
/// own steps count at once. The paper states no outer learning rate that we could verify; 0.4 is that of
/// Streaming DiLoCo.
[[nodiscard]] inline auto eager_diloco() {
  return recipe<>{}
      .with_inner(adamw{.lr = 4e-4f, .weight_decay = 0.1f})
      .with_outer(nesterov{.lr = 0.4f, .momentum = 0.9f})
      .with_feedback(no_feedback{})
      .with_exchange(gather{})
      .with_schedule(eager(100))
      .with_clip_norm(1.0f);
}

}  // namespace recipes
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
