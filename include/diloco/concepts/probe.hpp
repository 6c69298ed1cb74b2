// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>

#include <cstddef>
#include <cstdint>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Events. A probe that throws breaks nothing: it is called when what it hears of stands, the call that it
/// interrupts does everything else, and then throws what the probe threw. A probe is any type with
/// `operator()` for the events it cares for; one that it cannot be called with is not even constructed, so a
/// silent probe compiles to nothing.
struct inner_stepped {
  std::uint64_t step;
};
struct round_launched {
  std::uint64_t round, step;
  double weight;  ///< tokens since the last round
};
struct round_landed {
  std::uint64_t round, step;
  std::size_t sent_bytes;
  double wait_seconds;  ///< blocked on the transport
  double total_weight;  ///< Σ weights of the contributors
};
struct round_aborted {
  std::uint64_t round;
  int cause;
};

/// The engine says `if constexpr (hears<Probe, event>) probe(event{…})`, spelled out at each place: an
/// inlined helper that does nothing still moved stack slots and branches.
template <class Probe, class Event>
concept hears = requires(Probe& p, Event const& e) {
  p(e);
};
template <class Probe>
inline constexpr bool hears_anything = hears<Probe, inner_stepped> || hears<Probe, round_launched> ||
                                       hears<Probe, round_landed> || hears<Probe, round_aborted>;

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
