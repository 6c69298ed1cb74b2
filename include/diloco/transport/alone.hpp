// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/transport.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// A world of one rank, which must be named explicitly. Nothing is sent, but the round still happens (DiLoCo
/// with K = 1).
struct alone {
  static constexpr std::string_view name = "alone";
  static constexpr bool receives_in_place = true;
  static constexpr transport_traits traits{.wires = transport_traits::place::anywhere,
                                           .follows_executor = true};
  [[nodiscard]] static int rank() { return 0; }
  [[nodiscard]] static int size() { return 1; }

  class arrival {
   public:
    explicit arrival(wires w) : wires_(std::move(w)) {}
    [[nodiscard]] static std::span<int const> roster() { return {&only_rank, 1}; }
    [[nodiscard]] std::span<std::byte const> message(int) const { return wires_.send.bytes(); }
    void done() {}
    result<wires> reclaim(deadline) && { return std::move(wires_); }

   private:
    static constexpr int only_rank = 0;
    wires wires_;
  };

  class pending {
   public:
    explicit pending(wires w) : wires_(std::move(w)) {}
    result<arrival> wait(deadline) { return arrival(std::move(wires_)); }

   private:
    wires wires_;
  };

  template <class E>
  static void after(E const&) {}  // a message is only read on the same executor
  [[nodiscard]] static pending all_gather(wires w, exchange_tag) { return pending(std::move(w)); }
  [[nodiscard]] static pending all_to_all(wires w, exchange_tag) { return pending(std::move(w)); }
  [[nodiscard]] static pending all_gather(wires w, rank_group, exchange_tag) { return pending(std::move(w)); }
  [[nodiscard]] static pending all_to_all(wires w, rank_group, exchange_tag) { return pending(std::move(w)); }
  [[nodiscard]] static pending exchange(wires w, int, exchange_tag) { return pending(std::move(w)); }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
