// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/transport/detail/late.hpp>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// A rank's place in an exchange: the slot, and a number that tells the exchange from others in the same
/// slot.
struct thread_place {
  std::size_t slot;
  std::uint64_t ticket;
};

/// The shared state of `threads`: slots. All members of an exchange fill its slot, then all read it, then it
/// is free again. The first slots serve the exchanges of all ranks. The others serve pairs, whose members
/// search for each other's slot.
/// One mutex guards them, so an exchange completes or fails for all its members. All memory is allocated in
/// the constructor.
class thread_exchange {
 public:
  // Open exchanges of one rank: with all, one for each flight and two more; with each partner.
  static constexpr std::size_t under_way = 64, under_way_in_pairs = 8;

  explicit thread_exchange(int size)
      : size_(size),
        taken_(as_index(size)),
        left_(as_index(size)),
        slots_(under_way + under_way_in_pairs * as_index(size)) {
    for (int rank = 0; rank < size; ++rank) roster_.push_back(rank);
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      slot& s = slots_[i];
      s.roster = i < under_way ? roster_ : std::vector<int>(2);
      s.pair = i >= under_way;
      s.posted.resize(s.roster.size());
      s.present.resize(s.roster.size());
      s.reading.resize(s.roster.size());
      s.adopted.resize(s.roster.size());
    }
  }

  [[nodiscard]] int size() const { return size_; }
  [[nodiscard]] std::span<int const> roster(thread_place p) const { return slots_[p.slot].members(); }

  bool take(int rank) {
    std::lock_guard const lock(mutex_);
    bool const before = taken_[as_index(rank)] != 0;
    taken_[as_index(rank)] = true;
    return !before;
  }

  void leave(int rank) {
    std::lock_guard const lock(mutex_);
    left_[as_index(rank)] = true;
    changed_.notify_all();
  }

  thread_place post(std::uint64_t ticket, int rank, std::span<std::byte const> bytes, exchange_tag tag,
                    bool cut) {
    std::lock_guard const lock(mutex_);
    slot* found = &slots_[ticket % under_way];
    // A flight may stay open over more exchanges than there are slots, so a later one may be anywhere.
    for (std::size_t i = 0; i < under_way && !found->serves(ticket); ++i) {
      slot& other = slots_[i];
      if (other.serves(ticket) || (found->count != 0 && other.count == 0)) found = &other;
    }
    if (found->count == 0) {
      found->start(ticket, tag, cut, bytes.size());
    } else if (found->ticket != ticket) {
      fail(*found, say({"rank ", rank, " started more exchanges than can be under way"}));
      return {ticket % under_way, ticket};
    }
    add(*found, rank, bytes, tag, cut);
    return {static_cast<std::size_t>(found - slots_.data()), ticket};
  }

  /// For a pair: joins the oldest exchange that the partner began and this rank has not joined. If there is
  /// none, it begins a new one.
  thread_place post_to(int partner, int rank, std::span<std::byte const> bytes, exchange_tag tag) {
    std::lock_guard const lock(mutex_);
    slot *found = nullptr, *free = nullptr;
    for (std::size_t i = under_way; i < slots_.size(); ++i) {
      slot& s = slots_[i];
      if (s.count == 0 && free == nullptr) free = &s;
      if (s.count == 0 || !s.is_of(rank, partner) || s.present[s.place_of(rank)]) continue;
      if (found == nullptr || s.ticket < found->ticket) found = &s;
    }
    if (found == nullptr) {
      if (free == nullptr) {
        fail(slots_[0], say({"rank ", rank, " started more exchanges than can be under way"}));
        return {0, ~std::uint64_t{1}};
      }
      found = free;
      found->roster = {rank < partner ? rank : partner, rank < partner ? partner : rank};
      found->alone = rank == partner;
      found->start(next_of_pairs_++, tag, false, bytes.size());
    }
    add(*found, rank, bytes, tag, false);
    return {static_cast<std::size_t>(found - slots_.data()), found->ticket};
  }

  result<> wait(thread_place p, int rank, deadline d) {
    deadline const since = std::chrono::steady_clock::now();
    std::unique_lock lock(mutex_);
    slot& s = slots_[p.slot];
    fault& broken = fault_of(s);
    // Complete takes precedence over broken. If one rank got the messages, every rank gets them, however late
    // it asks.
    auto const complete = [&] { return s.ticket == p.ticket && s.complete(); };
    auto const settled = [&] { return complete() || !broken.why.empty() || missing_for_good(s) >= 0; };
    bool const in_time = changed_.wait_until(lock, d, settled);
    if (complete()) return {};
    if (broken.why.empty() && !in_time) {
      broken.timed_out = true;
      fail(s, names_of(missing(s)) + " did not arrive before the deadline" + waited(s.operation(), since, d));
    } else if (broken.why.empty()) {
      fail(s, say({"rank ", missing_for_good(s), " left before its part of the exchange"}));
    }
    return error{broken.timed_out ? cause::timeout : cause::peer_lost, rank, static_cast<long>(s.tag.round),
                 say({"diloco: threads: ", s.tag.text(), ": ", broken.why})};
  }

  /// The message of the k-th rank of the roster: all of it, or the reader's share.
  [[nodiscard]] std::span<std::byte const> message(thread_place p, int k, int reader) const {
    slot const& s = slots_[p.slot];
    std::span<std::byte const> const all = s.posted[as_index(k)];
    if (!s.cut) return all;
    std::size_t const share = all.size() / as_index(size_);
    return all.subspan(as_index(reader) * share, share);
  }

  void read(thread_place p, int rank) {
    std::lock_guard const lock(mutex_);
    finish_reader(slots_[p.slot], rank);
  }

  /// Waits until no rank reads this exchange any more. The slot may serve a later exchange by then, which
  /// means the same.
  result<> wait_until_read(thread_place p, int rank, deadline d) {
    deadline const since = std::chrono::steady_clock::now();
    std::unique_lock lock(mutex_);
    slot& s = slots_[p.slot];
    auto const free = [&] { return s.ticket != p.ticket || s.readers == 0; };
    if (changed_.wait_until(lock, d, free)) return {};
    auto const readers = s.readers_other_than(rank);
    return error{cause::timeout, rank, static_cast<long>(s.tag.round),
                 say({"diloco: threads: ", s.tag.text(), ": ", names_of(readers),
                      readers.size() == 1 ? " still reads" : " still read", " this rank's part of it",
                      waited(s.operation(), since, d)})};
  }

  /// Takes over buffers that a rank gives up while peers may still read them. They live until the slot is
  /// used again.
  void adopt(thread_place p, int rank, wires w) {
    std::lock_guard const lock(mutex_);
    if (slot& s = slots_[p.slot]; s.ticket == p.ticket && s.readers > 0)
      s.adopted[s.place_of(rank)] = std::move(w);
  }

  /// Ends a flight that is destroyed before it landed. This breaks an incomplete exchange; of a complete one
  /// it reads nothing.
  void drop(thread_place p, int rank, wires w) {
    std::lock_guard const lock(mutex_);
    slot& s = slots_[p.slot];
    if (s.ticket != p.ticket) return;
    s.adopted[s.place_of(rank)] = std::move(w);
    if (s.complete())
      finish_reader(s, rank);
    else
      fail(s, say({"rank ", rank, " dropped its flight before it landed"}));
  }

 private:
  struct fault {
    std::string why;
    bool timed_out = false;
  };
  struct slot {
    std::uint64_t ticket = ~std::uint64_t{0};
    exchange_tag tag;
    bool cut = false, pair = false, alone = false;  // alone: a pair of one rank
    std::size_t bytes = 0;
    int count = 0, readers = 0;
    std::vector<int> roster;                         // (members)
    std::vector<std::span<std::byte const>> posted;  // (members)
    std::vector<char> present, reading;
    std::vector<wires> adopted;
    fault broken;  // for a pair; the exchanges of all ranks share broken_

    [[nodiscard]] std::span<int const> members() const { return {roster.data(), alone ? 1 : roster.size()}; }
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
    [[nodiscard]] bool is_of(int a, int b) const {
      return roster[0] == (a < b ? a : b) && roster[1] == (a < b ? b : a);
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

  void add(slot& s, int rank, std::span<std::byte const> bytes, exchange_tag tag, bool cut) {
    // An exchange that failed for some ranks must not become complete for those that come late.
    if (!fault_of(s).why.empty()) return;
    if (s.tag != tag || s.cut != cut || s.bytes != bytes.size()) {
      return fail(s, say({"rank ", rank, " started another exchange (", tag.text(), ", ", bytes.size(),
                          " bytes) than its peers (", s.tag.text(), ", ", s.bytes, " bytes)"}));
    }
    std::size_t const place = s.place_of(rank);
    s.posted[place] = bytes;
    s.present[place] = true;
    s.adopted[place] = {};
    s.count += 1;
    if (!s.complete()) return;
    s.readers = s.count;
    s.reading = s.present;
    changed_.notify_all();
  }
  void fail(slot& s, std::string why) {
    if (fault_of(s).why.empty()) fault_of(s).why = std::move(why);
    changed_.notify_all();
  }
  void finish_reader(slot& s, int rank) {
    s.reading[s.place_of(rank)] = false;
    if (--s.readers > 0) return;
    s.count = 0;
    s.present.assign(s.present.size(), false);
    changed_.notify_all();
  }
  [[nodiscard]] static std::vector<int> missing(slot const& s) {
    std::vector<int> ranks;
    for (int rank : s.members()) {
      if (!s.present[s.place_of(rank)]) ranks.push_back(rank);
    }
    return ranks;
  }
  [[nodiscard]] int missing_for_good(slot const& s) const {
    for (int rank : s.members()) {
      if (left_[as_index(rank)] && !s.present[s.place_of(rank)]) return rank;
    }
    return -1;
  }

  int size_;
  std::vector<int> roster_;
  std::vector<char> taken_, left_;
  std::vector<slot> slots_;
  std::uint64_t next_of_pairs_ = 0;
  fault broken_;  // for the exchanges of all ranks
  std::mutex mutex_;
  std::condition_variable changed_;
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
