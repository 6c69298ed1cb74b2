// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/combine.hpp>
#include <diloco/concepts/compressor.hpp>
#include <diloco/concepts/exchange.hpp>
#include <diloco/concepts/feedback.hpp>
#include <diloco/concepts/optimizer.hpp>
#include <diloco/concepts/staged.hpp>
#include <diloco/concepts/transport.hpp>

// What an exchange asks of the other policies.

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// In a pair exchange only two ranks know each mean, so no state is the same on all ranks.
template <class Exchange, class Transport, class Compressor, class Feedback>
consteval bool explain_pairs() {
  if constexpr (pairing_exchange<Exchange>) {
    static_assert(
        pairing_transport<Transport>,
        "diloco: transport: cannot pair ranks, which this exchange does; add exchange(wires, int partner, "
        "exchange_tag), which returns what all_gather returns");
    static_assert(
        !keeps_estimate<Feedback> && !mean_residual<Feedback>,
        "diloco: feedback: keeps what all ranks must hear (a common column, a residual against everybody's "
        "mean), and this exchange lets two hear each other; say error_feedback");
    static_assert(
        !agrees_on_memory<Compressor>,
        "diloco: compressor: remembers what all ranks agree on, and this exchange lets two hear each other; "
        "take one without a common memory, such as low_rank<R>");
  }
  return true;
}

/// A residual against the mean of what all said.
template <class Feedback, class Compressor, class Exchange>
consteval bool explain_mean_residual() {
  if constexpr (feedback<Feedback> && mean_residual<Feedback>) {
    static_assert(linear_wires<Compressor>,
                  "diloco: feedback: a residual against the mean needs a compressor whose wires add up, such "
                  "as random_k or low_rank<R, factors::common>; with any other, what the workers disagree on "
                  "piles up in it");
    if constexpr (exchange_policy<Exchange>)
      static_assert(linear_wires<second_compressor<Exchange, Compressor>>,
                    "diloco: feedback: a residual against the mean does not know what a second compressor "
                    "loses; say error_feedback");
  }
  return true;
}

/// Groups of ranks combine what they say before others hear it.
template <class Exchange, class Transport, class Combine>
consteval bool explain_exchange_groups() {
  if constexpr (grouping_exchange<Exchange>) {
    static_assert(grouping_transport<Transport>,
                  "diloco: transport: cannot exchange within groups of ranks, which this exchange does; add "
                  "all_gather and "
                  "all_to_all that take (wires, rank_group, exchange_tag)");
    if constexpr (linear_combine<Combine>) {
      static_assert(
          !sees_each<Combine>,
          "diloco: combine: needs individual contributions of all ranks, and here groups combine first; say "
          ".exchange = diloco::gather{}");
      static_assert(sees_each<Combine> || Combine::traits.proportional,
                    "diloco: combine: groups are weighed like ranks, and this rule does not say that its "
                    "coefficients are .proportional to weights; say .exchange = diloco::gather{}");
    }
  }
  return true;
}

/// A message that counts before its round: it must be a contribution by itself, and anchors differ.
template <class Schedule, class Exchange, class Compressor, class Feedback, class Combine, class Outer>
consteval bool explain_eager() {
  if constexpr (Schedule::traits.eager) {
    if constexpr (exchange_policy<Exchange>)
      static_assert(!pairing_exchange<Exchange> && !grouping_exchange<Exchange> && !recodes<Exchange>,
                    "diloco: schedule: is eager, so each rank must hear every message as it was sent; say "
                    ".exchange = diloco::gather{}");
    static_assert(
        block_compressor<Compressor>,
        "diloco: schedule: is eager and reads messages of two rounds together; take a compressor of "
        "blocks, such as diloco::absmax<4>");
    static_assert(!keeps_estimate<Feedback> && !mean_residual<Feedback>,
                  "diloco: schedule: is eager, so anchors differ between ranks, and this feedback keeps what "
                  "must be equal on all; say error_feedback");
    if constexpr (linear_combine<Combine>)
      static_assert(!sees_each<Combine> && !elementwise_combine<Combine>,
                    "diloco: schedule: is eager and counts a message before the others came; say "
                    ".combine = diloco::weighted_mean{}");
    static_assert(!wants_mean_anchor<Outer>,
                  "diloco: schedule: is eager and averages no anchors, and this outer optimizer wants their "
                  "mean; say diloco::nesterov{}");
  }
  return true;
}

/// The legs that combine may have a compressor of their own.
template <class Exchange, class Compressor>
consteval bool explain_legs() {
  if constexpr (exchange_policy<Exchange>) {
    if constexpr (recodes<Exchange>) {
      using Back = second_compressor<Exchange, Compressor>;
      static_assert(block_compressor<Compressor> && block_compressor<Back>,
                    "diloco: exchange: combines with a second compressor, and both must work on blocks; say "
                    "diloco::scatter_gather{} for a staged compressor");
      if constexpr (block_compressor<Compressor> && block_compressor<Back>)
        static_assert(Compressor::block == Back::block,
                      "diloco: exchange: the second compressor must have the first one's block size; take "
                      "two of one block size");
    }
  }
  return true;
}

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
