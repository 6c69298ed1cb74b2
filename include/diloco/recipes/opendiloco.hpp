// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/compressor/half.hpp>
#include <diloco/recipe.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace recipes {

/// OpenDiLoCo (Jaghouar et al. 2024, arXiv 2407.07852): DiLoCo with messages in half precision. The authors
/// sum in 16 bits on the way; here each message is decoded and the sum is taken in float32.
[[nodiscard]] inline auto opendiloco() {
  return recipe<>{}
      .with_inner(adamw{.lr = 4e-4f, .beta2 = 0.95f, .weight_decay = 0.1f})
      .with_outer(nesterov{.lr = 0.7f, .momentum = 0.9f})
      .with_compressor(f16{})
      .with_feedback(no_feedback{})
      .with_schedule(every(500))
      .with_clip_norm(1.0f);
}

}  // namespace recipes
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
