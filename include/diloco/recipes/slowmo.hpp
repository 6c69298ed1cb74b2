// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/optimizer/sgd.hpp>
#include <diloco/optimizer/slowmo.hpp>
#include <diloco/recipe.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace recipes {

/// SlowMo (Wang et al. 2020, arXiv 1910.00643): a slow momentum over averages of local SGD, whose own
/// momentum is averaged as well. `inner_lr` of the outer optimizer must follow the inner learning rate.
[[nodiscard]] inline auto slowmo(float inner_lr, long inner_steps) {
  auto r = recipe<>{}
               .with_inner(sgd{.lr = inner_lr, .momentum = 0.9f})
               .with_outer(diloco::slowmo{.lr = 1.0f, .momentum = 0.5f, .inner_lr = inner_lr})
               .with_feedback(no_feedback{})
               .with_schedule(every(inner_steps));
  r.inner_at_sync = at_sync::average;
  return r;
}

}  // namespace recipes
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
