// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/compressor/absmax.hpp>
#include <diloco/feedback/averaged_error.hpp>
#include <diloco/optimizer/none.hpp>
#include <diloco/recipe.hpp>
#include <diloco/signal/gradient.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace recipes {

/// LoCo (Xie et al. 2024, arXiv 2407.04480): 4-bit gradients whose averaged error is kept in 8 bits and is
/// reset every 1,024 steps. The authors' integers reach from −8 to 7 and saturate the largest; these reach
/// from −7 to 7. Their two levels are `two_level`, their untouched vectors are not.
template <class Optimizer>
[[nodiscard]] auto loco(Optimizer optimizer) {
  return recipe<>{}
      .with_signal(gradient{})
      .with_inner(none{})
      .with_outer(optimizer)
      .with_compressor(absmax<4, 128>{})
      .with_feedback(averaged_error{.beta = 0.8f})
      .with_exchange(scatter_gather{})
      .with_schedule(every(1));
}

}  // namespace recipes
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
