// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/compressor/statistical.hpp>
#include <diloco/recipe.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace recipes {

/// INTELLECT-1 (Jaghouar et al. 2024, arXiv 2412.01152): DiLoCo in 8 bits, every 100 steps. The authors
/// encode again at each hop of a ring. Here each shard is encoded by its senders and once more by its owner.
[[nodiscard]] inline auto intellect_1() {
  return recipe<>{}
      .with_inner(adamw{.lr = 7.5e-5f})
      .with_outer(nesterov{.lr = 0.7f, .momentum = 0.9f})
      .with_compressor(statistical<256>{})
      .with_feedback(no_feedback{})
      .with_exchange(scatter_gather{})
      .with_schedule(every(100))
      .with_clip_norm(1.0f);
}

}  // namespace recipes
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
