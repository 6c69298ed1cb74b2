// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/probe.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Counts events and bytes. Read it through `trainer.probe()`.
struct counters {
  std::uint64_t inner_steps = 0, rounds = 0, aborted_rounds = 0;
  std::uint64_t sent_bytes = 0;
  double wait_seconds = 0;

  void operator()(inner_stepped const&) { ++inner_steps; }
  void operator()(round_landed const& e) {
    ++rounds;
    sent_bytes += e.sent_bytes;
    wait_seconds += e.wait_seconds;
  }
  void operator()(round_aborted const&) { ++aborted_rounds; }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
