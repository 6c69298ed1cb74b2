// SPDX-License-Identifier: Apache-2.0
// Every shipped policy satisfies its concept and is a value. Every kernel can be passed to a device.
#include <diloco/diloco.hpp>

#if defined(DILOCO_HAS_MPI)
#include <diloco/transport/mpi.hpp>
#endif
#if defined(DILOCO_HAS_OMP)
#include <diloco/executor/omp.hpp>
#endif
#if defined(DILOCO_HAS_TBB)
#include <diloco/executor/tbb.hpp>
#endif

namespace {

using namespace diloco;

template <class... Ts>
struct types {};

/// A policy: named, regular, and numbers that can be copied to a device byte by byte.
template <class P>
concept value = std::regular<P> && std::is_trivially_copyable_v<P> && detail::has_name<P>;

using element_optimizers =
    types<adamw, lion, nesterov, plain_sgd, sgd, adam, signum, sign_sgd, heavy_ball, fedadam, fedyogi,
          fedadagrad, slowmo, bmuf, lookahead, delayed_nesterov, schedule_free_adamw>;
using compressors = types<f32, f16, bf16, absmax<8>, absmax<4>, absmax<8, 32>, absmax<4, 64>, absmax<4, 4096>,
                          sign<256>, sign<512>, absmax<2>, min_max<4>, e4m3<>, e5m2<>, e2m1<>, e3m0<>, mxfp8,
                          mxfp6, mxfp4, nvfp4, lloyd_max<3>, dynamic8<>, scaled_f16<>, natural<>, qsgd<4>,
                          hadamard<32, absmax<4, 128>>, sign<256, sign_scale::two_means>>;

template <class... Os>
constexpr bool all_optimizers(types<Os...>) {
  return ((value<Os> && element_optimizer<Os> && replicated<Os> && has_fields<Os> &&
           !external_optimizer<Os>)&&...);
}
template <class... Cs>
constexpr bool all_compressors(types<Cs...>) {
  // A policy with numbers must list them, because ranks compare them.
  return ((value<Cs> && block_compressor<Cs> && (std::is_empty_v<Cs> || has_fields<Cs>)) && ...);
}
using staged_compressors =
    types<top_k<64>, dct_top_k<32>, top_k<128, kept_as::f16>, random_k<64>, statistical<4>, statistical<16>,
          statistical<256, buckets::symmetric>, low_rank<1>, low_rank<4>, low_rank<4, factors::common>>;
template <class... Cs>
constexpr bool all_staged(types<Cs...>) {
  return ((value<Cs> && staged_compressor<Cs> && !block_compressor<Cs> &&
           (std::is_empty_v<Cs> || has_fields<Cs>)) &&
          ...);
}
static_assert(all_staged(staged_compressors{}));
static_assert(all_optimizers(element_optimizers{}));
static_assert(all_compressors(compressors{}));

static_assert(value<external> && external_optimizer<external> && !element_optimizer<external> &&
              !replicated<external>);
static_assert(value<error_feedback> && feedback<error_feedback> && has_fields<error_feedback>);
static_assert(value<no_feedback> && feedback<no_feedback>);
static_assert(value<averaged_error> && feedback<averaged_error> && has_fields<averaged_error>);
static_assert(value<mean_error_feedback> && feedback<mean_error_feedback> && has_fields<mean_error_feedback>);
static_assert(value<ef21> && feedback<ef21>);
static_assert(std::is_same_v<owner_feedback<ef21>, error_feedback> &&
              std::is_same_v<owner_feedback<mean_error_feedback>, no_feedback> &&
              std::is_same_v<owner_feedback<averaged_error>, averaged_error>);
static_assert(value<weighted_mean> && linear_combine<weighted_mean>);
static_assert(value<gather> && value<scatter_gather> && value<automatic> && value<gossip> &&
              has_fields<gossip>);
static_assert(pairing_exchange<gossip> && !pairing_exchange<gather> && !pairing_exchange<automatic>);
static_assert(gossip{1} != gossip{} && gossip{}.legs(1).pairs() && gossip{}.legs(64).pairs());
static_assert(value<noloco> && anchored_optimizer<noloco> && !element_optimizer<noloco> &&
              replicated<noloco> && has_fields<noloco> && has_validation_error<noloco>);
static_assert(noloco{.consensus = 0} != noloco{} && noloco{.lr = 0.5f} != noloco{});
static_assert(value<every> && schedule<every> && has_fields<every>);
static_assert(value<manual> && schedule<manual>);

// Equality compares every number.
static_assert(nesterov{.lr = 0.5f} != nesterov{} && nesterov{.momentum = 0.5f} != nesterov{} &&
              nesterov{} == nesterov{});
static_assert(adamw{.eps = 1e-6f} != adamw{} && sgd{.nesterov = true} != sgd{} &&
              lion{.beta2 = 0.5f} != lion{});
static_assert(bmuf{.nesterov = true} != bmuf{} && delayed_nesterov{.period = 5} != delayed_nesterov{} &&
              schedule_free_adamw{.warmup = 1} != schedule_free_adamw{} && sgd{.dampening = 0.5f} != sgd{});
static_assert(has_validation_error<sgd> && has_validation_error<delayed_nesterov> && !has_validation_error<nesterov>);
static_assert(every(7) != every(8) && error_feedback{.decay = 0.5f} != error_feedback{});

static_assert(linear_wires<random_k<64>> && linear_wires<f32> && !linear_wires<absmax<4>> &&
              !linear_wires<low_rank<1>> && linear_wires<low_rank<1, factors::common>>);
static_assert(agrees_on_memory<low_rank<1, factors::common>> && !agrees_on_memory<low_rank<1>> &&
              !agrees_on_memory<top_k<64>> && !agrees_on_memory<absmax<4>>);

// Which compressors are lossless.
static_assert(f32::traits.lossless && !f16::traits.lossless && !bf16::traits.lossless &&
              !absmax<8>::traits.lossless && !sign<>::traits.lossless);
static_assert(error_feedback::traits.stateful && !no_feedback::traits.stateful &&
              averaged_error::traits.residual_bits == 8 && mean_error_feedback::traits.mean_residual &&
              ef21::traits.shared_estimate);

// describe() and the contract print these names. Templates include their numbers.
static_assert(absmax<4, 128>::name == "absmax4/128" && absmax<8>::name == "absmax8/256" &&
              sign<512>::name == "sign/512");
static_assert(low_rank<4>::name == "low_rank4" && low_rank<16, factors::common>::name == "low_rank16/common");
static_assert(adamw::name == "adamw" && nesterov::slots == std::array<std::string_view, 1>{"momentum"});

// Automatic selects gather where it sends no more than scatter–gather.
static_assert(automatic{}.legs(1) == gather{}.legs(1) && automatic{}.legs(2) == gather{}.legs(2));
static_assert(automatic{}.legs(3) == scatter_gather{}.legs(3) &&
              automatic{}.legs(64) == scatter_gather{}.legs(64));
static_assert(gather{}.legs(64).count == 1 && scatter_gather{}.legs(2).count == 2);

// Mechanism.
static_assert(executor<cpp> && transport<alone> && transport<threads>);
static_assert(transport<counted<alone>> && transport<counted<threads>> &&
              transport<counted<counted<threads>>>);
static_assert(pairing_transport<alone> && pairing_transport<threads> &&
              pairing_transport<counted<counted<threads>>>);
static_assert(alone::receives_in_place && threads::receives_in_place);
static_assert(!std::copyable<threads>, "a rank has one owner");
#if defined(DILOCO_HAS_MPI)
static_assert(transport<mpi> && pairing_transport<counted<mpi>> && !mpi::receives_in_place);
#endif
#if defined(DILOCO_HAS_OMP)
static_assert(executor<omp>);
#endif
#if defined(DILOCO_HAS_TBB)
static_assert(executor<diloco::tbb>);
#endif

// Each probe handles the events that it declares.
static_assert(hears<counters, inner_stepped> && hears<counters, round_landed> &&
              hears<counters, round_aborted>);
static_assert(!hears<silent, inner_stepped> && !hears<silent, round_launched> &&
              !hears<silent, round_landed>);
static_assert(!hears<jsonl, inner_stepped> && hears<jsonl, round_landed> &&
              !hears<chain<silent, jsonl>, inner_stepped>);
static_assert(hears<chain<silent, counters>, inner_stepped>);

// Kernels are copied to a device as bytes.
template <class O>
using step_of = std::remove_const_t<decltype(std::declval<O const&>().at(step_context{}))>;
template <class O>
constexpr bool optimizer_kernels_are_bytes = std::is_trivially_copyable_v<step_of<O>>&&
    std::is_trivially_copyable_v<inner_step_kernel<step_of<O>, slot_count<O>>>;
template <class C, class O>
constexpr bool round_kernels_are_bytes = std::is_trivially_copyable_v<encode_kernel<C, error_feedback>>&&
    std::is_trivially_copyable_v<encode_kernel<C, no_feedback>>&& std::is_trivially_copyable_v<
        combine_shard_kernel<C, error_feedback>>&& std::is_trivially_copyable_v<received_wires<C>>&&
        std::is_trivially_copyable_v<apply_outer_kernel<C, step_of<O>, slot_count<O>>>;
template <class... Cs, class... Os>
constexpr bool all_kernels(types<Cs...>, types<Os...>) {
  return (optimizer_kernels_are_bytes<Os> && ...) && (round_kernels_are_bytes<Cs, nesterov> && ...) &&
         (round_kernels_are_bytes<f32, Os> && ...);
}
static_assert(all_kernels(compressors{}, element_optimizers{}));
static_assert(std::is_trivially_copyable_v<apply_outer_kernel<f32, noloco::step, 1, false, true>>);
static_assert(std::is_trivially_copyable_v<find_non_finite_kernel<gradient_rows>> &&
              std::is_trivially_copyable_v<norm_partials_kernel> &&
              std::is_trivially_copyable_v<clip_factor_kernel> &&
              std::is_trivially_copyable_v<write_planes_kernel> &&
              std::is_trivially_copyable_v<average_planes_kernel> &&
              std::is_trivially_copyable_v<copy_to_anchor_kernel>);
static_assert(std::is_trivially_copyable_v<tile> && std::is_trivially_copyable_v<message_header> &&
              sizeof(message_header) == 128);

// A flight has one owner, and so has a trainer.
using trainer = DiLoCo<adamw, nesterov, absmax<4>, threads>;
static_assert(std::movable<trainer::flight> && !std::copyable<trainer::flight> &&
              !std::default_initializable<trainer::flight>);
static_assert(std::movable<trainer> && !std::copyable<trainer>);
static_assert(std::movable<buffer> && !std::copyable<buffer>);

}  // namespace
