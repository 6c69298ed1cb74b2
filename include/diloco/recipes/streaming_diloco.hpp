// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/compressor/fp4.hpp>
#include <diloco/recipe.hpp>
#include <diloco/schedule/streaming.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace recipes {

/// Streaming DiLoCo (Douillard et al. 2025, arXiv 2501.18512): fragments in turn, at 4 bits, applied one step
/// late. The authors take three layers per fragment; set `.schedule.parts` for your model. They tuned mix =
/// 0.5 for two workers; with more, 0 is the safer choice. They publish no rule for the scale of E3M0; this
/// one is ours.
[[nodiscard]] inline auto streaming_diloco() {
  return recipe<>{}
      .with_inner(adamw{.lr = 4e-4f, .weight_decay = 0.1f})
      .with_outer(nesterov{.lr = 0.4f, .momentum = 0.9f})
      .with_compressor(e3m0<128>{})
      .with_feedback(no_feedback{})
      .with_schedule(streaming{.inner_steps = 100, .parts = 4, .delay = 1, .mix = 0.5f, .cut = strided})
      .with_clip_norm(1.0f);
}

}  // namespace recipes
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
