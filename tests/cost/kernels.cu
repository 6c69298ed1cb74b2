// SPDX-License-Identifier: Apache-2.0
// Every kernel of this issue's policies, instantiated for the device: check_ptxas.py reads their stack and spills.
#include <diloco/diloco.hpp>
#include <diloco/executor/cuda.cuh>

namespace {

using namespace diloco;

template <class Optimizer>
void inner_kernels() {
  using step = std::remove_const_t<decltype(std::declval<Optimizer const&>().at(step_context{}))>;
  cuda_stream{}.for_each(1, inner_step_kernel<step, slot_count<Optimizer>>{});
}

template <class Compressor, class Outer>
void outer_kernel() {
  using step = std::remove_const_t<decltype(std::declval<Outer const&>().at(step_context{}))>;
  cuda_stream{}.for_each(1, apply_outer_kernel<Compressor, step, slot_count<Outer>>{});
}

template <class Compressor>
void round_kernels() {
  cuda_stream{}.for_each(1, encode_kernel<Compressor, error_feedback>{});
  cuda_stream{}.for_each(1, encode_kernel<Compressor, no_feedback>{});
  cuda_stream{}.for_each(1, combine_shard_kernel<Compressor, error_feedback>{});
  outer_kernel<Compressor, nesterov>();
  outer_kernel<Compressor, adamw>();
}

}  // namespace

void every_kernel() {
  inner_kernels<adamw>();
  inner_kernels<sgd>();
  inner_kernels<plain_sgd>();
  inner_kernels<nesterov>();
  inner_kernels<lion>();
  round_kernels<f32>();
  round_kernels<f16>();
  round_kernels<bf16>();
  round_kernels<absmax<8>>();
  round_kernels<absmax<4>>();
  round_kernels<sign<>>();
  cuda_stream{}.for_each(1, find_non_finite_kernel{});
  cuda_stream{}.for_each(1, copy_to_anchor_kernel{});
}

int main() {
  every_kernel();
  return 0;
}
