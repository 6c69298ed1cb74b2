// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/compressor.hpp>
#include <diloco/concepts/feedback.hpp>
#include <diloco/concepts/optimizer.hpp>
#include <diloco/concepts/staged.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

// The traffic ledger: bytes of memory that each sweep must move per parameter. Benches divide by these, and
// `describe` prints them. w is the message's bytes per parameter.

template <compressor C>
inline constexpr double wire_bytes_per_parameter = wire_bits<C> / 8;

/// A residual is kept where the compressor loses something and the feedback uses it.
template <compressor C, feedback F>
inline constexpr bool carries_residual = F::traits.stateful && !C::traits.lossless;

/// The residual is read once and written once.
template <compressor C, feedback F>
inline constexpr double residual_traffic = carries_residual<C, F> ? 2.0 * residual_bits<F> / 8 : 0.0;

/// Additional traffic of a staged compressor. It reads x again for each stage over chunks, or `rereads`
/// times. A residual that waits for the last stage is moved twice. A workbench is needed where the residual
/// cannot serve as one.
template <compressor C, feedback F>
inline constexpr double stages_traffic = [] {
  if constexpr (states_stages<C>) {
    double sum = carries_residual<C, F> && residual_bits<F> == 32 ? 0.0 : 8.0;
    if constexpr (C::traits.rereads >= 0) {
      sum += 4.0 * C::traits.rereads;
    } else {
      for (stage s : C::stages) sum += s == stage::chunks ? 4.0 : 0.0;
    }
    return sum + (one_fused_stage<C> ? 0.0 : 8.0);
  } else {
    return 0.0;
  }
}();

/// Inner step: reads g; reads and writes p and every slot.
template <element_optimizer O>
inline constexpr double inner_step_bytes = 4.0 * (2 + 1 + 2 * static_cast<double>(slot_count<O>));

/// Sweep A: reads θ̄ and θ, reads and writes the residual, and writes the message.
template <compressor C, feedback F>
inline constexpr double encode_bytes =
    8.0 + residual_traffic<C, F> + stages_traffic<C, F> + wire_bytes_per_parameter<C>;

/// Sweep B: reads `wires` messages, reads and writes θ̄ and every slot, and writes θ.
/// Staged compressors also write and read the sum. The shared estimate or the mean residual is read and
/// written. The mean anchor is read where the step wants it.
template <compressor C, outer_optimizer Outer, class F = void>
constexpr double apply_outer_bytes(double wires) {
  double bytes = 12.0 + 8.0 * static_cast<double>(slot_count<Outer>) + wires * wire_bytes_per_parameter<C>;
  if constexpr (states_stages<C>) bytes += 8.0;
  if constexpr (wants_mean_anchor<Outer>) bytes += 4.0;
  if constexpr (feedback<F>) {
    if constexpr (carries_residual<C, F> && (keeps_estimate<F> || mean_residual<F>)) bytes += 8.0;
  }
  return bytes;
}

/// The owner's part of scatter–gather, per parameter of the whole model. Each of the 1/K shards reads K
/// messages, reads and writes its own residual and writes one message, encoded by `Back`.
template <compressor C, feedback F, compressor Back = C>
constexpr double combine_bytes(int ranks) {
  using owner = owner_feedback<F>;
  return wire_bytes_per_parameter<C> +
         (residual_traffic<Back, owner> + stages_traffic<Back, owner> + wire_bytes_per_parameter<Back>) /
             static_cast<double>(ranks);
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
