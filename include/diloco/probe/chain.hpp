// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/probe.hpp>
#include <diloco/core/config.hpp>

#include <exception>
#include <tuple>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Calls several probes in order. Each probe gets the events that it accepts, even if an earlier probe threw.
/// The first exception is rethrown at the end.
template <class... Probes>
struct chain {
  std::tuple<Probes...> probes;

  explicit chain(Probes... p) : probes(std::move(p)...) {}
  template <class Event>
  requires(hears<Probes, Event> || ...) void operator()(Event const& event) {
#if DILOCO_EXCEPTIONS
    std::exception_ptr thrown;
    auto const offer = [&](auto& p) {
      if constexpr (hears<decltype(p), Event>) {
        try {
          p(event);
        } catch (...) {
          if (thrown == nullptr) thrown = std::current_exception();
        }
      }
    };
    std::apply([&](Probes&... p) { (offer(p), ...); }, probes);
    if (thrown != nullptr) std::rethrow_exception(thrown);
#else
    auto const offer = [&]([[maybe_unused]] auto& p) {
      if constexpr (hears<decltype(p), Event>) p(event);
    };
    std::apply([&](Probes&... p) { (offer(p), ...); }, probes);
#endif
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
