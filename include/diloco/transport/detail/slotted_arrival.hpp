// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/transport.hpp>

#include <memory>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

inline constexpr int with_everybody = -1;

/// Delivered messages in this rank's own buffers. There is a slot per rank; for a pair there are the sent and
/// the received message. `State` has rank, size and roster_with(partner).
template <class State>
class slotted_arrival {
 public:
  slotted_arrival(std::shared_ptr<State> state, wires w, int partner)
      : state_(std::move(state)), memory_(std::move(w)), partner_(partner) {}

  [[nodiscard]] std::span<int const> roster() const { return state_->roster_with(partner_); }
  [[nodiscard]] std::span<std::byte const> message(int k) const {
    if (partner_ != with_everybody) {
      bool const own = roster()[static_cast<std::size_t>(k)] == state_->rank;
      return own ? memory_.send.bytes() : memory_.receive.bytes();
    }
    std::size_t const slot = memory_.receive.size() / static_cast<std::size_t>(state_->size);
    return memory_.receive.bytes().subspan(static_cast<std::size_t>(k) * slot, slot);
  }
  void done() {}
  result<wires> reclaim(deadline) && { return std::move(memory_); }

 private:
  std::shared_ptr<State> state_;
  wires memory_;
  int partner_;
};

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
