// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/optimizer/fedopt.hpp>
#include <diloco/optimizer/sgd.hpp>
#include <diloco/recipe.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace recipes {

/// Local SGD, and FedAvg (McMahan et al. 2017, arXiv 1602.05629) where steps count tokens: θ becomes the
/// mean.
[[nodiscard]] inline auto local_sgd(long inner_steps) {
  return recipe<>{}
      .with_inner(plain_sgd{})
      .with_outer(plain_sgd{.lr = 1.0f})
      .with_feedback(no_feedback{})
      .with_schedule(every(inner_steps));
}

/// Adaptive federated optimization (Reddi et al. 2021, arXiv 2003.00295), without bias correction, as the
/// authors: fedadam{}, fedyogi{} or fedadagrad{} outside.
template <class Outer>
[[nodiscard]] auto fedopt(Outer outer, long inner_steps) {
  return recipe<>{}
      .with_inner(plain_sgd{})
      .with_outer(outer)
      .with_feedback(no_feedback{})
      .with_schedule(every(inner_steps));
}

}  // namespace recipes
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
