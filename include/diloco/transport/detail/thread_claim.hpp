// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/transport.hpp>

#include <cstdint>
#include <memory>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

class thread_exchange;

/// A rank's place in an exchange: the slot, and a number that tells the exchange from others in the same
/// slot.
struct thread_place {
  std::size_t slot;
  std::uint64_t ticket;
};

/// One rank's part in one exchange, with the memory that it handed over. A move leaves `world` empty.
struct thread_claim {
  std::shared_ptr<thread_exchange> world;
  int rank;
  thread_place place;
  wires memory;
};

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
