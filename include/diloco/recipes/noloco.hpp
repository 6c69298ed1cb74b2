// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/optimizer/adam.hpp>
#include <diloco/optimizer/noloco.hpp>
#include <diloco/recipe.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace recipes {

/// NoLoCo (Kolehmainen et al. 2025, arXiv 2506.10911): pairs that are drawn anew in each round, no barrier.
/// Signs are those of the authors' code; the printed formula is inconsistent.
[[nodiscard]] inline auto noloco() {
  return recipe<>{}
      .with_inner(adam{})
      .with_outer(diloco::noloco{.lr = 0.7f, .momentum = 0.5f, .consensus = 0.7f})
      .with_feedback(no_feedback{})
      .with_exchange(gossip{})
      .with_schedule(every(50))
      .with_clip_norm(1.0f);
}

}  // namespace recipes
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
