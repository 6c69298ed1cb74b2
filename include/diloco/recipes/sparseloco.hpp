// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/compressor/top_k.hpp>
#include <diloco/optimizer/sgd.hpp>
#include <diloco/recipe.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace recipes {

/// SparseLoCo (Sarfi et al. 2025, arXiv 2508.15706): 64 of 4,096 elements in 2 bits; error feedback with a
/// decay takes the place of outer momentum. The authors cut matrices into tiles of 64 × 64, here chunks are
/// cut from the flat tensor. They divide each element by the number of those who sent it, here by the number
/// of workers.
[[nodiscard]] inline auto sparseloco() {
  return recipe<>{}
      .with_inner(adamw{.lr = 1e-3f, .weight_decay = 0.1f})
      .with_outer(plain_sgd{.lr = 1.0f})
      .with_compressor(top_k<64>{})
      .with_feedback(error_feedback{.decay = 0.95f})
      .with_exchange(gather{})
      .with_schedule(every(15))
      .with_clip_norm(1.0f);
}

}  // namespace recipes
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
