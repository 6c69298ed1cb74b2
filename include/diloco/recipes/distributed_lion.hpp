// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/combine/robust.hpp>
#include <diloco/compressor/sign.hpp>
#include <diloco/optimizer/none.hpp>
#include <diloco/optimizer/sgd.hpp>
#include <diloco/recipe.hpp>
#include <diloco/signal/gradient.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace recipes {

/// Distributed Lion by majority vote (Liu et al. 2024, arXiv 2404.00438): each worker has its own momentum
/// and sends the sign of its update. Weight decay as in Lion. In the authors' code zeros and ties vote −1;
/// here they move nothing.
[[nodiscard]] inline auto distributed_lion() {
  return recipe<>{}
      .with_signal(lion_update{.beta1 = 0.9f, .beta2 = 0.99f})
      .with_inner(none{})
      .with_outer(plain_sgd{.lr = 1e-4f, .weight_decay = 0.1f})
      .with_compressor(sign<256, sign_scale::vote>{})
      .with_feedback(no_feedback{})
      .with_combine(majority{})
      .with_exchange(gather{})
      .with_schedule(every(1));
}

/// The same with the mean of the votes. Conflicting votes shorten the step, so it wants a larger learning
/// rate.
[[nodiscard]] inline auto distributed_lion_average() {
  return distributed_lion().with_combine(weighted_mean{});
}

}  // namespace recipes
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
