// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/transport/detail/late.hpp>
#include <diloco/transport/detail/thread_claim.hpp>

#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// The shared state of `threads`: slots. All members of an exchange fill its slot, then all read it, then
/// it is free again. The first slots serve the exchanges of all ranks. The others serve pairs and groups,
/// whose members search for each other's slot.
/// One mutex guards them, so an exchange completes or fails for all its members. The constructor allocates
/// all memory, except that a slot grows for its first group.
class thread_exchange {
 public:
  // Open exchanges of one rank, one for each flight and more: with all, and with some.
  static constexpr std::size_t under_way = 64, under_way_in_part = 40;

  explicit thread_exchange(int size);

  [[nodiscard]] int size() const { return size_; }
  [[nodiscard]] std::span<int const> roster(thread_place p) const { return slots_[p.slot].members(); }

  bool take(int rank);

  void leave(int rank);

  thread_place post(std::uint64_t ticket, int rank, std::span<std::byte const> bytes, exchange_tag tag,
                    bool cut);

  /// Of a pair or a group: joins the oldest exchange of these ranks that this rank has not joined. If there
  /// is none, it begins a new one.
  thread_place post_among(rank_group members, bool pair, int rank, std::span<std::byte const> bytes,
                          exchange_tag tag, bool cut);

  result<> wait(thread_place p, int rank, deadline d);

  /// The message of the k-th rank of the roster: all of it, or the reader's share.
  [[nodiscard]] std::span<std::byte const> message(thread_place p, int k, int reader) const;

  void read(thread_place p, int rank);

  /// Waits until no rank reads this exchange any more. The slot may serve a later exchange by then, which
  /// means the same.
  result<> wait_until_read(thread_place p, int rank, deadline d);

  /// Takes over buffers that a rank gives up while peers may still read them. They live until the slot is
  /// used again.
  void adopt(thread_place p, int rank, wires w);

  /// Ends a flight that is destroyed before it landed. This breaks an incomplete exchange; of a complete one
  /// it reads nothing.
  void drop(thread_place p, int rank, wires w);

 private:
  struct fault {
    std::string why;
    bool timed_out = false;
  };
  struct slot {
    std::uint64_t ticket = ~std::uint64_t{0};
    exchange_tag tag;
    bool cut = false, pair = false;
    std::size_t bytes = 0;
    int count = 0, readers = 0;
    std::vector<int> roster;                         // (members) ascending
    std::vector<std::span<std::byte const>> posted;  // (members)
    std::vector<char> present, reading;
    std::vector<wires> adopted;
    fault broken;  // of a pair or a group; the exchanges of all ranks share broken_

    [[nodiscard]] std::span<int const> members() const { return roster; }
    [[nodiscard]] std::string_view operation() const {
      return pair ? "exchange" : cut ? "all_to_all" : "all_gather";
    }
    /// The ranks other than `rank` that have not called done.
    [[nodiscard]] std::vector<int> readers_other_than(int rank) const {
      std::vector<int> ranks;
      for (int r : members()) {
        if (r != rank && reading[place_of(r)]) ranks.push_back(r);
      }
      return ranks;
    }
    [[nodiscard]] bool serves(std::uint64_t number) const { return ticket == number && count != 0; }
    [[nodiscard]] bool complete() const { return count != 0 && as_index(count) == members().size(); }
    [[nodiscard]] bool is_of(rank_group g, bool is_pair) const {
      return pair == is_pair && as_index(g.count) == roster.size() && g.rank(0) == roster.front() &&
             g.rank(g.count - 1) == roster.back();
    }
    void set_members(rank_group g, bool is_pair) {
      pair = is_pair;
      roster.clear();
      for (int i = 0; i < g.count; ++i) roster.push_back(g.rank(i));
      posted.assign(roster.size(), {});
      present.assign(roster.size(), 0);
      reading.assign(roster.size(), 0);
      adopted.resize(roster.size());
    }
    [[nodiscard]] std::size_t place_of(int rank) const {
      std::size_t place = 0;
      while (roster[place] != rank) ++place;
      return place;
    }
    void start(std::uint64_t number, exchange_tag t, bool is_cut, std::size_t size) {
      ticket = number;
      tag = t;
      cut = is_cut;
      bytes = size;
    }
  };

  static std::size_t as_index(int i) { return static_cast<std::size_t>(i); }
  [[nodiscard]] bool is_of_all(slot const& s) const { return &s < slots_.data() + under_way; }
  fault& fault_of(slot& s) { return is_of_all(s) ? broken_ : s.broken; }

  void add(slot& s, int rank, std::span<std::byte const> bytes, exchange_tag tag, bool cut);
  void fail(slot& s, std::string why);
  void finish_reader(slot& s, int rank);
  [[nodiscard]] static std::vector<int> missing(slot const& s);
  [[nodiscard]] int missing_for_good(slot const& s) const;

  int size_;
  std::vector<char> taken_, left_;
  std::vector<slot> slots_;
  std::uint64_t next_in_part_ = 0;
  fault broken_;  // for the exchanges of all ranks
  std::mutex mutex_;
  std::condition_variable changed_;
};

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

#if DILOCO_HEADER_ONLY
#include <diloco/transport/detail/thread_exchange_definitions.hpp>
#endif
