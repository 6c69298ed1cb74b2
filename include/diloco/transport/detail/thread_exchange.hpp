// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/transport.hpp>
#include <diloco/core/text.hpp>

#include <array>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace diloco {
inline namespace v0 {
namespace detail {

/// The meeting place of `threads`: a ring of exchanges, each filled by all ranks, then read by all, then free again. Under
/// one mutex, so an exchange completes or fails for everybody, never for some.
class thread_exchange {
 public:
  explicit thread_exchange(int size) : size_(size), taken_(as_index(size)), left_(as_index(size)) {
    for (int rank = 0; rank < size; ++rank) roster_.push_back(rank);
    for (slot& s : ring_) {
      s.posted.resize(as_index(size));
      s.present.resize(as_index(size));
      s.adopted.resize(as_index(size));
    }
  }

  [[nodiscard]] int size() const { return size_; }
  [[nodiscard]] std::span<int const> roster() const { return roster_; }

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

  void post(std::uint64_t ticket, int rank, std::span<std::byte const> bytes, exchange_tag tag, bool cut) {
    std::lock_guard const lock(mutex_);
    slot& s = at(ticket);
    if (s.ticket != ticket || s.count == 0) {
      if (s.count != 0) return fail(say({"rank ", rank, " started more exchanges than can be under way"}));
      s.ticket = ticket;
      s.tag = tag;
      s.cut = cut;
      s.bytes = bytes.size();
    }
    // What was given up for some must not become complete for those who come late.
    if (!broken_.empty()) return;
    if (s.tag != tag || s.cut != cut || s.bytes != bytes.size()) {
      return fail(say({"rank ", rank, " started another exchange (round ", tag.round, ", ", bytes.size(),
                       " bytes) than its peers (round ", s.tag.round, ", ", s.bytes, " bytes)"}));
    }
    s.posted[as_index(rank)] = bytes;
    s.present[as_index(rank)] = true;
    s.adopted[as_index(rank)] = {};
    if (++s.count == size_) {
      s.readers = size_;
      changed_.notify_all();
    }
  }

  result<> wait(std::uint64_t ticket, int rank, deadline d) {
    std::unique_lock lock(mutex_);
    slot& s = at(ticket);
    // Complete comes before broken: what one rank got, every rank gets, however late it asks.
    auto const complete = [&] { return s.ticket == ticket && s.count == size_; };
    auto const settled = [&] { return complete() || !broken_.empty() || missing_for_good(s) >= 0; };
    bool const in_time = changed_.wait_until(lock, d, settled);
    if (complete()) return {};
    if (broken_.empty() && !in_time) {
      timed_out_ = true;
      fail(say({"rank ", first_missing(s), " did not arrive before the deadline"}));
    } else if (broken_.empty()) {
      fail(say({"rank ", missing_for_good(s), " left before its part of the exchange"}));
    }
    return error{timed_out_ ? cause::timeout : cause::peer_lost, rank, static_cast<long>(s.tag.round),
                 say({"diloco: threads: round ", s.tag.round, ": ", broken_})};
  }

  /// What rank `k` posted: all of it, or the reader's cut.
  [[nodiscard]] std::span<std::byte const> wire(std::uint64_t ticket, int k, int reader) const {
    slot const& s = ring_[ticket % ring_.size()];
    std::span<std::byte const> const all = s.posted[as_index(k)];
    if (!s.cut) return all;
    std::size_t const share = all.size() / as_index(size_);
    return all.subspan(as_index(reader) * share, share);
  }

  void read(std::uint64_t ticket) {
    std::lock_guard const lock(mutex_);
    finish_reader(at(ticket));
  }

  /// Until nobody reads this exchange any more. The slot may by then serve a later one, which is just as good.
  result<> wait_until_read(std::uint64_t ticket, int rank, deadline d) {
    std::unique_lock lock(mutex_);
    slot& s = at(ticket);
    auto const free = [&] { return s.ticket != ticket || s.readers == 0; };
    if (changed_.wait_until(lock, d, free)) return {};
    return error{cause::timeout, rank, static_cast<long>(s.tag.round),
                 say({"diloco: threads: round ", s.tag.round, ": a peer still reads this rank's part of it"})};
  }

  /// A rank forgets buffers that peers may still read: they live until the slot is used again.
  void adopt(std::uint64_t ticket, int rank, wires w) {
    std::lock_guard const lock(mutex_);
    if (slot& s = at(ticket); s.ticket == ticket && s.readers > 0) s.adopted[as_index(rank)] = std::move(w);
  }

  /// A flight destroyed before it landed breaks an exchange that was not complete, and reads nothing of one that was.
  void drop(std::uint64_t ticket, int rank, wires w) {
    std::lock_guard const lock(mutex_);
    slot& s = at(ticket);
    if (s.ticket != ticket) return;
    s.adopted[as_index(rank)] = std::move(w);
    if (s.count == size_)
      finish_reader(s);
    else
      fail(say({"rank ", rank, " dropped its flight before it landed"}));
  }

 private:
  struct slot {
    std::uint64_t ticket = ~std::uint64_t{0};
    exchange_tag tag;
    bool cut = false;
    std::size_t bytes = 0;
    int count = 0, readers = 0;
    std::vector<std::span<std::byte const>> posted;  // (size)
    std::vector<char> present;                       // (size)
    std::vector<wires> adopted;                      // (size)
  };

  static std::size_t as_index(int i) { return static_cast<std::size_t>(i); }
  slot& at(std::uint64_t ticket) { return ring_[ticket % ring_.size()]; }

  void fail(std::string why) {
    if (broken_.empty()) broken_ = std::move(why);
    changed_.notify_all();
  }
  void finish_reader(slot& s) {
    if (--s.readers > 0) return;
    s.count = 0;
    s.present.assign(s.present.size(), false);
    changed_.notify_all();
  }
  [[nodiscard]] int first_missing(slot const& s) const {
    for (int rank = 0; rank < size_; ++rank) {
      if (!s.present[as_index(rank)]) return rank;
    }
    return -1;
  }
  [[nodiscard]] int missing_for_good(slot const& s) const {
    for (int rank = 0; rank < size_; ++rank) {
      if (left_[as_index(rank)] && !s.present[as_index(rank)]) return rank;
    }
    return -1;
  }

  int size_;
  std::vector<int> roster_;
  std::vector<char> taken_, left_;
  std::array<slot, 8> ring_;
  std::string broken_;
  bool timed_out_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
};

/// One rank's part in one exchange, with the memory it handed over. Moving it leaves `world` empty.
struct thread_claim {
  std::shared_ptr<thread_exchange> world;
  int rank;
  std::uint64_t ticket;
  wires memory;
};

}  // namespace detail
}  // namespace v0
}  // namespace diloco
