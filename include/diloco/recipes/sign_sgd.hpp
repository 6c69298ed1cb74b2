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

/// signSGD with majority vote (Bernstein et al. 2018, arXiv 1810.05291), 1 bit per parameter. Ties and zeros
/// move nothing; reference codes count a zero, and some a tie, as a vote.
[[nodiscard]] inline auto sign_sgd_majority() {
  return recipe<>{}
      .with_signal(gradient{})
      .with_inner(none{})
      .with_outer(plain_sgd{.lr = 1e-3f})
      .with_compressor(sign<256, sign_scale::vote>{})
      .with_feedback(no_feedback{})
      .with_combine(majority{})
      .with_exchange(gather{})
      .with_schedule(every(1));
}

/// Signum: the same vote over each worker's momentum.
[[nodiscard]] inline auto signum_majority() {
  return sign_sgd_majority().with_signal(momentum{.beta = 0.9f});
}

/// EF-signSGD (Karimireddy et al. 2019, arXiv 1901.09847): signs times the mean magnitude of a block, and the
/// error is sent later. The authors scale by the mean of a tensor and feed back lr·g; with a constant lr that
/// is the same.
[[nodiscard]] inline auto ef_sign_sgd() {
  return recipe<>{}
      .with_signal(gradient{})
      .with_inner(none{})
      .with_outer(plain_sgd{.lr = 1e-2f})
      .with_compressor(sign<>{})
      .with_schedule(every(1));
}

}  // namespace recipes
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
