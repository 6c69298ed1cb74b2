// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/buffer.hpp>
#include <diloco/core/error.hpp>
#include <diloco/core/text.hpp>

#include <chrono>
#include <concepts>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

using deadline = std::chrono::steady_clock::time_point;

inline deadline deadline_after(double seconds) {
  using clock = std::chrono::steady_clock;
  return clock::now() + std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(seconds));
}

/// Names an exchange. Both sides must use the same tag.
struct exchange_tag {
  std::uint64_t round = 0;
  std::uint32_t phase = 0;
  std::uint32_t fragment = 0;
  friend bool operator==(exchange_tag, exchange_tag) = default;
  /// "round 3", or "round 3 of fragment 1".
  [[nodiscard]] std::string text() const {
    return say(
        {"round ", round, fragment == 0 ? "" : " of fragment ", fragment == 0 ? piece("") : piece(fragment)});
  }
};

/// The buffers of one rank for one exchange. The exchange owns them until it is over. all_gather sends all of
/// `send` to all ranks. all_to_all cuts `send` into size() equal slots and sends slot r to rank r.
/// `receive` holds one slot per rank. It is empty if the transport reads its peers' memory in place
/// (`receives_in_place`).
struct wires {
  buffer send;
  buffer receive;
};

/// Delivered messages in roster order. The roster is the same on every rank. `done` says that this rank has
/// read them; it never blocks.
/// `reclaim` waits until all ranks have read what this rank sent. Then it returns this rank's buffers.
template <class A>
concept arrival = std::movable<A> && requires(A a, A const& c, int k, deadline d) {
  { c.roster() } -> std::same_as<std::span<int const>>;
  { c.message(k) } -> std::same_as<std::span<std::byte const>>;  // from rank roster()[k]
  a.done();
  { std::move(a).reclaim(d) } -> std::same_as<result<wires>>;
};

/// An exchange in flight: move-only, owns its buffers. `wait` blocks until all messages have arrived, or
/// returns the error.
template <class P>
concept pending = std::movable<P> && !std::copyable<P> && requires(P p, deadline d) {
  requires arrival<std::remove_cvref_t<decltype(*p.wait(d))>>;
};

/// What a transport may do besides. Every transport states them, so that a misspelled one does not compile.
struct transport_traits {
  /// Where the buffers of messages lie. `on_device`: where such an executor keeps its columns.
  /// `anywhere`: the transport never reads the bytes of messages.
  enum class place : std::uint8_t { on_host, on_device, anywhere } wires = place::on_host;
  /// Messages move only in its calls. Then its pending exchange has `progress()`, which never waits, and the
  /// trainer calls it in each step while a round is under way.
  bool needs_progress = false;
  /// Has `after(where)`, which makes the next exchange wait, without the host, for what was enqueued on that
  /// executor. So an arrival implies that this work has run. If `after` does nothing, an arrival implies
  /// nothing of the kind, and messages are read on that same executor only.
  bool follows_executor = false;
};

/// Calls are collective and must come in the same order on every rank. Only `wait` blocks.
template <class T>
concept transport = std::movable<T> && requires(T t, wires w, exchange_tag tag) {
  { T::name } -> std::convertible_to<std::string_view>;
  { T::receives_in_place } -> std::convertible_to<bool>;
  { T::traits } -> std::same_as<transport_traits const&>;
  { t.rank() } -> std::same_as<int>;
  { t.size() } -> std::same_as<int>;
  { t.all_gather(std::move(w), tag) } -> pending;
  { t.all_to_all(std::move(w), tag) } -> std::same_as<decltype(t.all_gather(std::move(w), tag))>;
};

/// Can also pair ranks. `exchange(wires, partner, tag)` sends all of `send` to one other rank, which makes
/// the same call with this rank as partner. `receive` holds one slot, or is empty as above.
/// The arrival's roster is {lower rank, higher rank}, or {rank} if the partner is the rank itself. The roster
/// may be read until `done`.
/// Only these two ranks wait for each other. So calls of any two ranks come in the same order, and other
/// calls in any order.
template <class T>
concept pairing_transport = transport<T> && requires(T t, wires w, int partner, exchange_tag tag) {
  { t.exchange(std::move(w), partner, tag) } -> std::same_as<decltype(t.all_gather(std::move(w), tag))>;
};

/// Every `stride`-th rank, `count` of them, from rank `first` on.
struct rank_group {
  int first = 0, count = 0, stride = 1;
  [[nodiscard]] constexpr int rank(int place) const { return first + place * stride; }
  [[nodiscard]] constexpr int place_of(int rank) const { return (rank - first) / stride; }
  friend bool operator==(rank_group const&, rank_group const&) = default;
};

/// Can also exchange within a group that this rank is in. `send` and `receive` then have one slot per member,
/// and the arrival's roster is the group. The roster may be read until `done`.
/// Only its members wait for each other. So calls of any two ranks come in the same order, and other calls
/// in any order.
template <class T>
concept grouping_transport = transport<T> && requires(T t, wires w, rank_group g, exchange_tag tag) {
  { t.all_gather(std::move(w), g, tag) } -> std::same_as<decltype(t.all_gather(std::move(w), tag))>;
  { t.all_to_all(std::move(w), g, tag) } -> std::same_as<decltype(t.all_gather(std::move(w), tag))>;
};

template <class T>
inline constexpr bool sends_from_device = T::traits.wires == transport_traits::place::on_device;
template <class T>
inline constexpr bool wires_lie_with_columns = T::traits.wires != transport_traits::place::on_host;

template <class T>
using pending_of = decltype(std::declval<T&>().all_gather(std::declval<wires>(), exchange_tag{}));
template <class T>
using arrival_of = std::remove_cvref_t<decltype(*std::declval<pending_of<T>&>().wait(deadline{}))>;

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
