// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/combine.hpp>
#include <diloco/concepts/compressor.hpp>
#include <diloco/concepts/exchange.hpp>
#include <diloco/concepts/executor.hpp>
#include <diloco/concepts/explain_exchange.hpp>
#include <diloco/concepts/feedback.hpp>
#include <diloco/concepts/groups.hpp>
#include <diloco/concepts/learning_rate.hpp>
#include <diloco/concepts/optimizer.hpp>
#include <diloco/concepts/schedule.hpp>
#include <diloco/concepts/signal.hpp>
#include <diloco/concepts/staged.hpp>
#include <diloco/concepts/transport.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

template <class P>
concept has_name = requires {
  { P::name } -> std::convertible_to<std::string_view>;
};
template <class O>
concept has_slots = requires {
  O::slots.size();
};
template <class O>
concept has_at = requires(O const& o, step_context c) {
  o.at(c);
};

template <class O>
consteval bool explain_inner();

template <class O, std::size_t... Index>
consteval bool explain_groups(std::index_sequence<Index...>) {
  static_assert((!stepless_optimizer<group_optimizer_of<O, Index>> && ...),
                "diloco: inner: external or none cannot be one group of several; step those tensors yourself "
                "and freeze them");
  static_assert((!grouped_optimizer<group_optimizer_of<O, Index>> && ...),
                "diloco: inner: groups within groups; list all of them in one");
  return (explain_inner<group_optimizer_of<O, Index>>() && ...);
}

template <class O>
consteval bool explain_inner() {
  static_assert(std::copyable<O>, "diloco: inner: cannot be copied; a policy is a value of named numbers");
  static_assert(has_name<O>, "diloco: inner: has no name; add static constexpr std::string_view name");
  if constexpr (requires(O const& o) { o.prior(); })
    static_assert(has_prior<O>, "diloco: inner: has prior(), and its traits do not say .prior");
  if constexpr (tensor_optimizer<O>) {
    static_assert(
        tensor_traits_fit<O>,
        "diloco: inner: its traits and its members differ; .memory stands for memory_elements, .shapes "
        "for shape_error");
  }
  if constexpr (grouped_optimizer<O>) {
    return explain_groups<O>(std::make_index_sequence<group_count_of<O>>{});
  } else if constexpr (has_name<O> && !stepless_optimizer<O> && !freezing_optimizer<O> &&
                       !tensor_optimizer<O> && !sampling_optimizer<O>) {
    static_assert(
        !wants_mean_anchor<O>,
        "diloco: inner: wants the mean of the anchors, which only a round has; it is an outer optimizer");
    static_assert(has_slots<O>,
                  "diloco: inner: does not say which state it keeps; add static constexpr "
                  "std::array<std::string_view, N> slots");
    if constexpr (has_slots<O>) {
      static_assert(
          has_at<O>,
          "diloco: inner: has no step; add auto at(step_context) const, which returns a callable (float& p, "
          "float g, float& slot…)");
      if constexpr (has_at<O> && !wants_mean_anchor<O>) {
        static_assert(
            element_optimizer<O>,
            "diloco: inner: its step is not callable as (float& p, float g, float& slot…) with one float& "
            "for each of its slots, or is not trivially copyable");
      }
    }
  }
  return optimizer<O>;
}

template <class O>
consteval bool explain_outer() {
  static_assert(
      wants_mean_anchor<O> || outer_steps<O>,
      "diloco: outer: is not an element optimizer; it needs name, slots and at(step_context) returning a "
      "callable (float& p, float g, float& slot…)");
  static_assert(
      !wants_mean_anchor<O> || outer_steps<O>,
      "diloco: outer: wants the mean anchor, and its step does not take it; it needs name, slots and "
      "at(step_context) returning a callable (float& p, float g, float mean_anchor, float& slot…)");
  if constexpr (outer_steps<O>) {
    static_assert(
        states_largest<O>,
        "diloco: outer: does not say up to which magnitude of g its state stays finite; add [[nodiscard]] "
        "constexpr float largest() const, and see docs/how-to/own_optimizer.md");
    static_assert(
        replicated<O>,
        "diloco: outer: is not declared replicated; every rank repeats this step, so spell its multiply-adds "
        "with diloco::fma and state static constexpr diloco::optimizer_traits traits{.replicated = true}");
  }
  return true;
}

/// Explains why a schedule of the inner rate is refused. Neither the round nor a framework that steps by
/// itself knows about a rate that changes.
template <class Inner, class Outer, class Rate>
consteval bool explain_rates() {
  constexpr bool wants = traits_of<Outer>.wants_constant_inner_rate;
  constexpr bool constant = Rate::traits.constant;
  static_assert(constant || !external_optimizer<Inner>,
                "diloco: rate: the inner optimizer is external, so the framework sets its own learning rate "
                "and this one "
                "would do nothing; leave .rate out");
  static_assert(
      !wants || constant,
      "diloco: outer: slow momentum divides by the inner rate, and a rate that changes is not known to the "
      "round; say constant_rate, or heavy_ball for a momentum of displacements");
  return true;
}

/// With weights per element, the residual holds weighted numbers, and a mean of Δ does not. The two must not
/// be mixed.
template <class Combine, class Feedback>
consteval bool explain_weights() {
  static_assert(
      !elementwise_combine<Combine> || (!keeps_estimate<Feedback> && !mean_residual<Feedback>),
      "diloco: combine: weighs elements, and the feedback keeps a mean of what all said in other units; say "
      "error_feedback");
  return true;
}

/// A rule that sees each contribution takes the place of a sum.
template <class Combine, class Compressor, class Exchange, class Feedback>
consteval bool explain_combine() {
  static_assert(linear_combine<Combine>,
                "diloco: combine: needs name, traits and bool coefficients(std::span<double const> weights, "
                "std::span<float> out) const");
  if constexpr (linear_combine<Combine>) {
    if constexpr (sees_each<Combine>) {
      static_assert(
          block_combine<Combine>,
          "diloco: combine: sees each contribution and does not say what it makes of them; add void "
          "block(float* const* v, int n, int size, float* g) const");
      static_assert(
          !pairing_exchange<Exchange>,
          "diloco: combine: needs individual contributions of all ranks, and here two meet; say .exchange "
          "= diloco::gather{}");
      static_assert(
          !staged_compressor<Compressor>,
          "diloco: combine: needs individual contributions block by block, and this compressor adds up "
          "whole tensors; take one of blocks, such as absmax<4>");
      static_assert(!keeps_estimate<Feedback> && !mean_residual<Feedback>,
                    "diloco: combine: makes no mean, and the feedback keeps a mean of what all said; say "
                    "error_feedback");
    }
  }
  return true;
}

template <class C>
consteval bool explain_staged() {
  static_assert(orders_stages<C>(), "diloco: compressor: has no stage, or a fused one that is not the first");
  static_assert(
      encodes_stages<C>,
      "diloco: compressor: cannot encode; add template <int Stage, lanes L> void encode(L, slice const&, "
      "std::size_t chunk) const");
  static_assert(detail::has_what_its_traits_say<C>,
                "diloco: compressor: its traits and its members differ; .scratch stands for scratch_bytes, "
                ".memory for "
                "memory_elements, .agrees for agree, .constants for constant_elements and write_constants");
  if constexpr (encodes_stages<C>) {
    static_assert(
        decodes_chunks<C>,
        "diloco: compressor: cannot be decoded; add template <lanes L> void decode(L, slice_view const&, "
        "std::size_t chunk, float c, float* g) const");
  }
  return true;
}

template <class C>
consteval bool explain_compressor() {
  constexpr bool lacks_smallest = states_wire<C> && !states_smallest<C>;
  static_assert(
      compressor<C> || lacks_smallest,
      "diloco: compressor: does not state its wire; add static constexpr name, block, traits, largest, "
      "side_bytes and code_bytes(n)");
  static_assert(
      !lacks_smallest,
      "diloco: compressor: does not state the smallest magnitude that it carries; add static constexpr float "
      "smallest, the least amax of a block that keeps its relative error");
  if constexpr (states_stages<C>) {
    return explain_staged<C>();
  } else if constexpr (compressor<C>) {
    static_assert(encodes_blocks<C>,
                  "diloco: compressor: cannot encode; add template <lanes L> void encode(L, lane_block<L, "
                  "block> const&, "
                  "block_info, wire_block) const");
    if constexpr (encodes_blocks<C>) {
      static_assert(
          decodes_blocks<C>,
          "diloco: compressor: cannot be decoded; add template <lanes L, class Sink> void decode(L, int "
          "count, wire_block_view, Sink&&) const");
    }
  }
  return true;
}

template <class T>
consteval bool explain_transport() {
  static_assert(has_name<T>,
                "diloco: transport: is not named in the recipe; there is no default world: say .transport = "
                "diloco::alone{} for a world of one");
  if constexpr (has_name<T>) {
    static_assert(transport<T>,
                  "diloco: transport: needs rank(), size(), receives_in_place, traits, and all_gather and "
                  "all_to_all that take (wires, exchange_tag) and return a pending exchange");
  }
  return true;
}

template <bool HasOtherView>
consteval bool explain_show() {
  static_assert(
      HasOtherView,
      "diloco: show_mean, show_sample: this inner optimizer is evaluated where it is trained, so the tensors "
      "show the model already; leave the calls out (ivon and schedule_free_adamw need them)");
  return HasOtherView;
}

/// Says who takes the inner step. `step` and `after_step` evaluate these when they are called.
template <bool Inside>
consteval bool explain_inside() {
  static_assert(Inside,
                "diloco: step: the inner optimizer is external, so the framework takes the step itself; call "
                "after_step()");
  return Inside;
}
template <bool Inside>
consteval bool explain_outside() {
  static_assert(!Inside,
                "diloco: after_step: this trainer takes the inner step itself; call step(gradients), or say "
                ".inner = diloco::external{}");
  return true;
}

template <class E>
inline constexpr bool keeps_on_host = false;
template <executor E>
inline constexpr bool keeps_on_host<E> = E::columns_on_host;

/// A signal of the gradient takes the place of inner steps and of the anchor.
template <class Signal, class Inner, class Outer, class Exchange, class Rate>
consteval bool explain_signal() {
  static_assert(signal<Signal>, "diloco: signal: needs name and static constexpr signal_traits traits");
  if constexpr (signal<Signal>) {
    if constexpr (says_gradient<Signal>) {
      static_assert(
          gradient_signal<Signal>,
          "diloco: signal: is made of the gradient; it needs slots, at most one, and at() that returns "
          "a callable float (float g, float& slot…)");
      static_assert(
          absent_optimizer<Inner>,
          "diloco: signal: is made of the gradient, and an inner optimizer would use that up first; "
          "say .inner = diloco::none{}");
      static_assert(
          !wants_mean_anchor<Outer>,
          "diloco: outer: wants the mean anchor, and with a signal of the gradient there is no anchor");
      static_assert(
          !pairing_exchange<Exchange>,
          "diloco: exchange: lets ranks meet in pairs, and a signal of the gradient keeps θ equal on "
          "all ranks; say diloco::automatic{}");
      static_assert(
          Rate::traits.constant,
          "diloco: rate: is that of inner steps, and with a signal of the gradient there are none; let "
          "the outer optimizer's at(step_context) follow the step");
    } else {
      static_assert(!absent_optimizer<Inner>,
                    "diloco: inner: is none, and the pseudo-gradient is what inner steps did; say .signal = "
                    "diloco::gradient{}");
    }
  }
  return true;
}

/// One static assertion per role. The first one that fails is the first line of the compiler's output.
template <class Inner, class Outer, class Compressor, class Transport, class Feedback, class Combine,
          class Exchange, class Schedule, class Executor, class Rate, class Signal>
struct explained {
  static_assert(explain_transport<Transport>());
  static_assert(explain_inner<Inner>());
  static_assert(explain_outer<Outer>());
  static_assert(explain_compressor<Compressor>());
  static_assert(feedback<Feedback>,
                "diloco: feedback: needs name, traits, owner() and at(round), which returns a value with "
                "float want(float delta, float residual) const and float keep(float wanted, float sent, "
                "float residual) const");
  static_assert(explain_mean_residual<Feedback, Compressor, Exchange>());
  static_assert(explain_combine<Combine, Compressor, Exchange, Feedback>());
  static_assert(
      exchange_policy<Exchange>,
      "diloco: exchange: is none; say diloco::gather{}, diloco::scatter_gather{} or diloco::automatic{}; one "
      "of your own needs name, legs(ranks) and static constexpr same_compressor second{}");
  static_assert(explain_legs<Exchange, Compressor>());
  static_assert(explain_exchange_groups<Exchange, Transport, Combine>());
  static_assert(explain_pairs<Exchange, Transport, Compressor, Feedback>());
  static_assert(explain_weights<Combine, Feedback>());
  static_assert(schedule<Schedule>,
                "diloco: schedule: needs name, traits, int fragments() const, fragment_cut cut, double "
                "rounds_per_step() const, "
                "action_list after(std::uint64_t steps) const and describe()");
  static_assert(explain_eager<Schedule, Exchange, Compressor, Feedback, Combine, Outer>());
  static_assert(learning_rate<Rate>,
                "diloco: rate: needs name, traits and float factor(std::uint64_t step) const");
  static_assert(explain_rates<Inner, Outer, Rate>());
  static_assert(explain_signal<Signal, Inner, Outer, Exchange, Rate>());
  static_assert(executor<Executor>,
                "diloco: executor: needs name, columns_on_host, traits, allocate(bytes), "
                "allocate_wire(bytes), for_each(n, kernel) and wait()");
  static_assert(!sends_from_device<Transport> || !keeps_on_host<Executor>,
                "diloco: transport: sends from memory of the device, and this executor keeps its wires on "
                "the host; say "
                ".executor = diloco::cuda_stream{}, or take a transport of the host such as diloco::mpi");
};

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
