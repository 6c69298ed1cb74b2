// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/compressor.hpp>
#include <diloco/concepts/feedback.hpp>
#include <diloco/concepts/optimizer.hpp>

namespace diloco {
inline namespace v0 {

// The ledger: bytes of memory that one parameter must move in each sweep. Benches divide by these, `describe` prints
// them. w is the wire's bytes per parameter.

template <compressor C>
inline constexpr double wire_bytes_per_parameter = wire_bits<C> / 8;

/// A residual is carried where something can be lost and the feedback wants it back.
template <compressor C, feedback F>
inline constexpr bool carries_residual = F::remembers && !C::lossless;

/// Inner step: p and every slot read and written, g read.
template <element_optimizer O>
inline constexpr double inner_step_bytes = 4.0 * (2 + 1 + 2 * static_cast<double>(slot_count<O>));

/// Sweep A: θ̄ and θ read, the residual read and written, the wire written.
template <compressor C, feedback F>
inline constexpr double encode_bytes = 8.0 + (carries_residual<C, F> ? 8.0 : 0.0) + wire_bytes_per_parameter<C>;

/// Sweep B: `wires` wires read, θ̄ and every slot read and written, θ written.
template <compressor C, element_optimizer Outer>
constexpr double apply_outer_bytes(double wires) {
  return 12.0 + 8.0 * static_cast<double>(slot_count<Outer>) + wires * wire_bytes_per_parameter<C>;
}

/// The owner's part of scatter–gather, per parameter of the whole model: each of the 1/K shards reads K wires, carries
/// its own residual and writes one wire.
template <compressor C, feedback F>
constexpr double combine_bytes(int ranks) {
  return wire_bytes_per_parameter<C> +
         ((carries_residual<C, F> ? 8.0 : 0.0) + wire_bytes_per_parameter<C>) / static_cast<double>(ranks);
}

}  // namespace v0
}  // namespace diloco
