// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>

#include <cstddef>
#include <cstdint>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Events. A probe is any type with `operator()` for some of these events. Events without such a call are not
/// constructed, so a silent probe compiles to nothing.
/// A probe is called only after the state change is complete. If it throws, nothing breaks: the interrupted
/// call finishes its work and then rethrows.
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
  double wait_seconds;  ///< time blocked on the transport
  double total_weight;  ///< Σ weights of the contributors
};
struct round_aborted {
  std::uint64_t round;
  int cause;
};

/// The trainer spells out `if constexpr (hears<Probe, event>) probe(event{…})` at each place. An inlined
/// helper that does nothing still changed stack slots and branches.
template <class Probe, class Event>
concept hears = requires(Probe& p, Event const& e) {
  p(e);
};
template <class Probe>
inline constexpr bool hears_anything = hears<Probe, inner_stepped> || hears<Probe, round_launched> ||
                                       hears<Probe, round_landed> || hears<Probe, round_aborted>;

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
