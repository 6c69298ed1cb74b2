// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/transport/detail/thread_exchange.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

DILOCO_CORE thread_exchange::thread_exchange(int size)
    : size_(size),
      taken_(as_index(size)),
      left_(as_index(size)),
      slots_(under_way + under_way_in_part * as_index(size)) {
  for (std::size_t i = 0; i < slots_.size(); ++i)
    slots_[i].set_members({0, i < under_way ? size : 2, 1}, i >= under_way);
}

DILOCO_CORE bool thread_exchange::take(int rank) {
  std::lock_guard const lock(mutex_);
  bool const before = taken_[as_index(rank)] != 0;
  taken_[as_index(rank)] = true;
  return !before;
}

DILOCO_CORE void thread_exchange::leave(int rank) {
  std::lock_guard const lock(mutex_);
  left_[as_index(rank)] = true;
  changed_.notify_all();
}

DILOCO_CORE thread_place thread_exchange::post(std::uint64_t ticket, int rank,
                                               std::span<std::byte const> bytes, exchange_tag tag, bool cut) {
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

DILOCO_CORE thread_place thread_exchange::post_among(rank_group members, bool pair, int rank,
                                                     std::span<std::byte const> bytes, exchange_tag tag,
                                                     bool cut) {
  std::lock_guard const lock(mutex_);
  slot *found = nullptr, *free = nullptr;
  for (std::size_t i = under_way; i < slots_.size(); ++i) {
    slot& s = slots_[i];
    if (s.count == 0 && free == nullptr) free = &s;
    if (s.count == 0 || !s.is_of(members, pair) || s.present[s.place_of(rank)]) continue;
    if (found == nullptr || s.ticket < found->ticket) found = &s;
  }
  if (found == nullptr) {
    if (free == nullptr) {
      fail(slots_[0], say({"rank ", rank, " started more exchanges than can be under way"}));
      return {0, ~std::uint64_t{1}};
    }
    found = free;
    found->set_members(members, pair);
    found->start(next_in_part_++, tag, cut, bytes.size());
  }
  add(*found, rank, bytes, tag, cut);
  return {static_cast<std::size_t>(found - slots_.data()), found->ticket};
}

DILOCO_CORE result<> thread_exchange::wait(thread_place p, int rank, deadline d) {
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

DILOCO_CORE std::span<std::byte const> thread_exchange::message(thread_place p, int k, int reader) const {
  slot const& s = slots_[p.slot];
  std::span<std::byte const> const all = s.posted[as_index(k)];
  if (!s.cut) return all;
  std::size_t const share = all.size() / s.roster.size();
  return all.subspan(s.place_of(reader) * share, share);
}

DILOCO_CORE void thread_exchange::read(thread_place p, int rank) {
  std::lock_guard const lock(mutex_);
  finish_reader(slots_[p.slot], rank);
}

DILOCO_CORE result<> thread_exchange::wait_until_read(thread_place p, int rank, deadline d) {
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

DILOCO_CORE void thread_exchange::adopt(thread_place p, int rank, wires w) {
  std::lock_guard const lock(mutex_);
  if (slot& s = slots_[p.slot]; s.ticket == p.ticket && s.readers > 0)
    s.adopted[s.place_of(rank)] = std::move(w);
}

DILOCO_CORE void thread_exchange::drop(thread_place p, int rank, wires w) {
  std::lock_guard const lock(mutex_);
  slot& s = slots_[p.slot];
  if (s.ticket != p.ticket) return;
  s.adopted[s.place_of(rank)] = std::move(w);
  if (s.complete())
    finish_reader(s, rank);
  else
    fail(s, say({"rank ", rank, " dropped its flight before it landed"}));
}

DILOCO_CORE void thread_exchange::add(slot& s, int rank, std::span<std::byte const> bytes, exchange_tag tag,
                                      bool cut) {
  // An exchange that failed for some ranks must not become complete for those that come late.
  if (!fault_of(s).why.empty()) return;
  if (s.tag != tag || s.cut != cut || s.bytes != bytes.size()) {
    return fail(s, say({"rank ", rank, " started another exchange (", tag.text(), ", ", bytes.size(),
                        " bytes) than the ranks before it (", s.tag.text(), ", ", s.bytes,
                        " bytes); all ranks must launch, land and sync in "
                        "the same order"}));
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

DILOCO_CORE void thread_exchange::fail(slot& s, std::string why) {
  if (fault_of(s).why.empty()) fault_of(s).why = std::move(why);
  changed_.notify_all();
}

DILOCO_CORE void thread_exchange::finish_reader(slot& s, int rank) {
  s.reading[s.place_of(rank)] = false;
  if (--s.readers > 0) return;
  s.count = 0;
  s.present.assign(s.present.size(), false);
  changed_.notify_all();
}

DILOCO_CORE std::vector<int> thread_exchange::missing(slot const& s) {
  std::vector<int> ranks;
  for (int rank : s.members()) {
    if (!s.present[s.place_of(rank)]) ranks.push_back(rank);
  }
  return ranks;
}

DILOCO_CORE int thread_exchange::missing_for_good(slot const& s) const {
  for (int rank : s.members()) {
    if (left_[as_index(rank)] && !s.present[s.place_of(rank)]) return rank;
  }
  return -1;
}

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
