// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/transport.hpp>

#include <memory>
#include <vector>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// The ranks of an exchange, and whether it is a pair. `receive` of a pair has room for the partner only.
struct exchange_members {
  rank_group ranks;
  bool pair = false;

  static exchange_members all(int size) { return {rank_group{0, size, 1}, false}; }
  static exchange_members pair_of(int a, int b) {
    int const first = a < b ? a : b, distance = a < b ? b - a : a - b;
    return {rank_group{first, distance == 0 ? 1 : 2, distance == 0 ? 1 : distance}, true};
  }
  [[nodiscard]] std::vector<int> roster() const {
    std::vector<int> all;
    for (int i = 0; i < ranks.count; ++i) all.push_back(ranks.rank(i));
    return all;
  }
};

/// Delivered messages in this rank's own buffers. There is a slot per member; for a pair there are the sent
/// and the received message. `State` has rank.
template <class State>
class slotted_arrival {
 public:
  slotted_arrival(std::shared_ptr<State> state, wires w, exchange_members const& m)
      : state_(std::move(state)), memory_(std::move(w)), pair_(m.pair), roster_(m.roster()) {}

  [[nodiscard]] std::span<int const> roster() const { return roster_; }
  [[nodiscard]] std::span<std::byte const> message(int k) const {
    if (pair_) {
      bool const own = roster_[static_cast<std::size_t>(k)] == state_->rank;
      return own ? memory_.send.bytes() : memory_.receive.bytes();
    }
    std::size_t const slot = memory_.receive.size() / roster_.size();
    return memory_.receive.bytes().subspan(static_cast<std::size_t>(k) * slot, slot);
  }
  void done() {}
  result<wires> reclaim(deadline) && { return std::move(memory_); }

 private:
  std::shared_ptr<State> state_;
  wires memory_;
  bool pair_;
  std::vector<int> roster_;
};

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
