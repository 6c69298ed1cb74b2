// SPDX-License-Identifier: Apache-2.0
// Every kernel of the library, instantiated for the device. check_ptxas.py reads their stack use and spills.
#include <diloco/diloco.hpp>
#include <diloco/executor/cuda.cuh>
#include <diloco/linear_algebra/cublas.cuh>

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

/// Kernels of many optimizers, in both roles.
template <class... Optimizers>
void optimizer_kernels() {
  (inner_kernels<Optimizers>(), ...);
  (outer_kernel<f32, Optimizers>(), ...);
}

/// Kernels of many compressors: the encoder and the decoder, each in a sweep.
template <class Compressor>
void codec_kernels() {
  cuda_stream{}.for_each(1, encode_kernel<Compressor, error_feedback>{});
  outer_kernel<Compressor, nesterov>();
}

template <class Compressor>
void round_kernels() {
  cuda_stream{}.for_each(1, encode_kernel<Compressor, error_feedback>{});
  cuda_stream{}.for_each(1, encode_kernel<Compressor, no_feedback>{});
  cuda_stream{}.for_each(1, combine_shard_kernel<Compressor, error_feedback>{});
  outer_kernel<Compressor, nesterov>();
  outer_kernel<Compressor, adamw>();
}

/// An 8-bit residual, and an estimate.
template <class Compressor>
void feedback_kernels() {
  cuda_stream{}.for_each(1, encode_kernel<Compressor, averaged_error>{});
  cuda_stream{}.for_each(1, encode_kernel<Compressor, ef21>{});
}

/// Every stage of an encoding, from θ and from received messages, and the decoder in sweep B.
template <class Compressor, class Feedback>
void staged_kernels() {
  constexpr int padding = padding_of<Compressor>;
  using keep = keeper<feedback_step<Feedback>, residual_bits<Feedback>, padding>;
  stage_work<Compressor> const work{};
  run_stages(cuda_stream{}, work, stage_extent{1, 0, 1}, local_delta<Feedback, padding>{}, keep{}, nullptr,
             Compressor::largest);
  run_stages(cuda_stream{}, work, stage_extent{1, 0, 1}, combined_delta<Compressor, Feedback, padding>{},
             keep{}, nullptr, Compressor::largest);
  outer_kernel<Compressor, nesterov>();
  if constexpr (agrees_on_memory<Compressor>) cuda_stream{}.for_each(1, agree_kernel<Compressor>{});
}

/// For the kernels of `soap` itself. cuBLAS has no eigenvectors, and their source does not matter here.
struct spectral : cublas {
  template <class E>
  void eigenvectors(E const&, std::size_t, float const*, float*) const {}
  template <class E>
  void orthonormalize(E const&, std::size_t, float const*, float*) const {}
};

template <class Optimizer>
void tensor_kernels() {
  Optimizer{}.step(cuda_stream{}, tensor_step<Optimizer::slots.size()>{1, 1});
}

}  // namespace

void every_kernel() {
  inner_kernels<adamw>();
  inner_kernels<sgd>();
  inner_kernels<plain_sgd>();
  inner_kernels<nesterov>();
  inner_kernels<lion>();
  optimizer_kernels<adam, signum, sign_sgd, heavy_ball, fedadam, fedyogi, fedadagrad, slowmo, bmuf, lookahead,
                    delayed_nesterov, schedule_free_adamw>();
  cuda_stream{}.for_each(1, sampling_step_kernel<ivon::step, 2>{});
  cuda_stream{}.for_each(1, encode_kernel<absmax<8>, error_feedback, true>{});
  cuda_stream{}.for_each(1, combine_shard_kernel<absmax<8>, error_feedback, void, absmax<4>>{});
  cuda_stream{}.for_each(1, apply_outer_kernel<absmax<8>, nesterov::step, 1, true>{});
  cuda_stream{}.for_each(1, apply_outer_kernel<f32, noloco::step, 1, false, true>{});
  cuda_stream{}.for_each(1, apply_outer_kernel<absmax<4>, noloco::step, 1, false, true>{});
  tensor_kernels<muon<cublas>>();
  tensor_kernels<adafactor>();
  tensor_kernels<soap<spectral>>();
  tensor_kernels<adamw8bit<>>();
  round_kernels<f32>();
  round_kernels<f16>();
  round_kernels<bf16>();
  round_kernels<absmax<8>>();
  round_kernels<absmax<4>>();
  round_kernels<sign<>>();
  codec_kernels<scaled_f16<>>();
  codec_kernels<absmax<2>>();
  codec_kernels<min_max<4>>();
  codec_kernels<e4m3<>>();
  codec_kernels<e5m2<>>();
  codec_kernels<e2m1<>>();
  codec_kernels<e3m0<>>();
  codec_kernels<mxfp8>();
  codec_kernels<mxfp6>();
  codec_kernels<mxfp4>();
  codec_kernels<nvfp4>();
  codec_kernels<lloyd_max<2>>();
  codec_kernels<lloyd_max<3>>();
  codec_kernels<lloyd_max<4>>();
  codec_kernels<dynamic8<>>();
  codec_kernels<sign<256, sign_scale::rms>>();
  codec_kernels<sign<256, sign_scale::two_means>>();
  codec_kernels<natural<>>();
  codec_kernels<natural<natural_rounding::stochastic>>();
  codec_kernels<qsgd<4>>();
  codec_kernels<qsgd<8, 128, qsgd_norm::l2>>();
  codec_kernels<hadamard<32, absmax<4, 128>>>();
  feedback_kernels<absmax<4>>();
  staged_kernels<top_k<64>, error_feedback>();
  staged_kernels<top_k<64, kept_as::f16>, averaged_error>();
  staged_kernels<dct_top_k<32>, error_feedback>();
  staged_kernels<random_k<64>, mean_error_feedback>();
  staged_kernels<statistical<4>, error_feedback>();
  staged_kernels<statistical<16>, error_feedback>();
  staged_kernels<statistical<256>, error_feedback>();
  staged_kernels<low_rank<4>, error_feedback>();
  staged_kernels<low_rank<4, factors::common>, mean_error_feedback>();
  cuda_stream{}.for_each(1, zero_kernel{});
  cuda_stream{}.for_each(1, find_non_finite_kernel<gradient_rows>{});
  cuda_stream{}.for_each(1, find_non_finite_kernel<theta_rows>{});
  cuda_stream{}.for_each(1, adopt_kernel{});
  cuda_stream{}.for_each(1, show_kernel{});
  cuda_stream{}.for_each(1, widen_kernel{});
  cuda_stream{}.for_each(1, norm_partials_kernel{});
  cuda_stream{}.for_each(1, sum_partials_kernel{});
  cuda_stream{}.for_each(1, clip_factor_kernel{});
  cuda_stream{}.for_each(1, plain_factor_kernel{});
  cuda_stream{}.for_each(1, write_planes_kernel{});
  cuda_stream{}.for_each(1, average_planes_kernel{});
  cuda_stream{}.for_each(1, copy_to_anchor_kernel{});
  cuda_stream{}.for_each(1, write_headers_kernel{});
  cuda_stream{}.for_each(1, collect_headers_kernel{});
  cuda_stream{}.for_each(1, checksum_kernel{});
  cuda_stream{}.for_each(1, digest_kernel{});
}

int main() {
  every_kernel();
  return 0;
}
