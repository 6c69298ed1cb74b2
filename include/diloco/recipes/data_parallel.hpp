// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/compressor/half.hpp>
#include <diloco/optimizer/none.hpp>
#include <diloco/recipe.hpp>
#include <diloco/signal/gradient.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace recipes {

/// Data-parallel training, the mean of gradients in each step, as PyTorch's DDP without a hook. `optimizer`
/// steps θ.
template <class Optimizer>
[[nodiscard]] auto data_parallel(Optimizer optimizer) {
  return recipe<>{}
      .with_signal(gradient{})
      .with_inner(none{})
      .with_outer(optimizer)
      .with_feedback(no_feedback{})
      .with_schedule(every(1));
}

/// PyTorch's fp16_compress_hook and bf16_compress_hook. They divide by K and sum in 16 bits, which loses
/// numbers below about 3e-8·K in half precision. Here messages have 16 bits, and the mean is taken in
/// float32.
template <class Optimizer>
[[nodiscard]] auto fp16_hook(Optimizer optimizer) {
  return data_parallel(optimizer).with_compressor(f16{});
}
template <class Optimizer>
[[nodiscard]] auto bf16_hook(Optimizer optimizer) {
  return data_parallel(optimizer).with_compressor(bf16{});
}

}  // namespace recipes
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
