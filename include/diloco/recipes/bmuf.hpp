// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/optimizer/bmuf.hpp>
#include <diloco/optimizer/sgd.hpp>
#include <diloco/recipe.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace recipes {

/// Blockwise model-update filtering (Chen and Huo 2016) for so many workers: the momentum of blocks is 1 −
/// 1/K.
[[nodiscard]] inline auto bmuf(int workers, long inner_steps) {
  return recipe<>{}
      .with_inner(plain_sgd{})
      .with_outer(diloco::bmuf{.block_lr = 1.0f, .momentum = 1.0f - 1.0f / static_cast<float>(workers)})
      .with_feedback(no_feedback{})
      .with_schedule(every(inner_steps));
}

}  // namespace recipes
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
