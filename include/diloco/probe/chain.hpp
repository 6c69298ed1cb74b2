// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/probe.hpp>

#include <tuple>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Several probes as one, in order; each hears the events it can be called with.
template <class... Probes>
struct chain {
  std::tuple<Probes...> probes;

  explicit chain(Probes... p) : probes(std::move(p)...) {}
  template <class Event>
  requires(hears<Probes, Event> || ...) void operator()(Event const& event) {
    std::apply([&](Probes&... p) { (offer(p, event), ...); }, probes);
  }

 private:
  template <class Probe, class Event>
  static void offer([[maybe_unused]] Probe& p, [[maybe_unused]] Event const& event) {
    if constexpr (hears<Probe, Event>) p(event);
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
