// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/recipe.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace recipes {

/// SNOO (2025, arXiv 2510.15830): Nesterov over every tenth point of one worker's own path. Over `alone` it
/// sends nothing.
[[nodiscard]] inline auto snoo() {
  return recipe<>{}
      .with_outer(nesterov{.lr = 0.7f, .momentum = 0.9f})
      .with_feedback(no_feedback{})
      .with_schedule(every(10));
}

}  // namespace recipes
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
