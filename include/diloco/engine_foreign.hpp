// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/engine.hpp>

// Members of DiLoCo that call code which may throw: transports, executors, allocators, probes.

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Runs what may throw in the middle. An exception then ends the run.
DILOCO_ENGINE
template <class F>
auto DILOCO_CLASS::guard(std::string_view call, F&& f) {
  return guarded(
      [&](cause what, std::string_view text) {
        return broken_by(fail(what, say({call, ": in round ", rounds_, ", step ", steps_, ": ", text})));
      },
      f);
}

/// Ends the run: every later call is refused with this sentence.
DILOCO_ENGINE
error DILOCO_CLASS::broken_by(error e) {
  broken_ = std::make_unique<error>(e);
  return e;
}

/// Calls the transport, which may be the caller's own.
DILOCO_ENGINE
template <class F>
auto DILOCO_CLASS::ask(std::string_view call, F&& f) {
  return guarded(
      [&](cause what, std::string_view text) {
        if (what != cause::foreign)
          return error{what, recipe_.transport.rank(), static_cast<long>(rounds_), std::string(text)};
        return fail(cause::transport, say({"round ", rounds_, ": the transport ", Transport::name,
                                           " threw in ", call, ": ", text}));
      },
      f);
}

/// A probe hears of what has happened, and cannot undo it: what it throws waits for `told`.
DILOCO_ENGINE
template <class Event>
void DILOCO_CLASS::tell(Event const& event) {
#if DILOCO_EXCEPTIONS
  try {
    recipe_.probe(event);
  } catch (...) {
    if (!probe_threw_) probe_threw_ = std::current_exception();
  }
#else
  recipe_.probe(event);
#endif
}

/// The end of a public call: throws what a probe threw, once everything stands. Where there is an error, it
/// says both.
DILOCO_ENGINE
template <class R>
R DILOCO_CLASS::told(R r) {
#if DILOCO_EXCEPTIONS
  if constexpr (hears_anything<Probe>) {
    if (probe_threw_ == nullptr) return r;
    auto const thrown = std::exchange(probe_threw_, nullptr);
    if (r) std::rethrow_exception(thrown);
    error e = r.error();
    e.message += "; and the probe threw: " + text_of(thrown);
    return e;
  }
#endif
  return r;
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
