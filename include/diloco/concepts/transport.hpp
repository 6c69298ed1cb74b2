// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/buffer.hpp>
#include <diloco/core/error.hpp>

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

/// Names an exchange: both sides must mean the same one.
struct exchange_tag {
  std::uint64_t round = 0;
  std::uint32_t phase = 0;
  friend bool operator==(exchange_tag, exchange_tag) = default;
};

/// What one rank hands over: it owns the memory until the exchange is over. all_gather sends the whole of
/// `send` to everybody; all_to_all cuts it into size() equal slots and sends slot r to rank r. `receive`
/// holds one slot per rank, or is empty where the transport reads its peers in place (`receives_in_place`).
struct wires {
  buffer send;
  buffer receive;
};

/// Delivered wires, in roster order; the roster is the same on every rank. `done` says that this rank has
/// read them and never blocks; `reclaim` waits until everybody has read what this rank sent, and gives its
/// buffers back.
template <class A>
concept arrival = std::movable<A> && requires(A a, A const& c, int k, deadline d) {
  { c.roster() } -> std::same_as<std::span<int const>>;
  { c.wire(k) } -> std::same_as<std::span<std::byte const>>;  // from rank roster()[k]
  a.done();
  { std::move(a).reclaim(d) } -> std::same_as<result<wires>>;
};

/// An exchange under way: move-only, owns its buffers; `wait` blocks until everything is here, or gives the
/// error.
template <class P>
concept pending = std::movable<P> && !std::copyable<P> && requires(P p, deadline d) {
  requires arrival<std::remove_cvref_t<decltype(*p.wait(d))>>;
};

/// Calls are collective and must come in the same order on every rank. Nothing blocks but `wait`.
template <class T>
concept transport = std::movable<T> && requires(T t, wires w, exchange_tag tag) {
  { T::name } -> std::convertible_to<std::string_view>;
  { T::receives_in_place } -> std::convertible_to<bool>;
  { t.rank() } -> std::same_as<int>;
  { t.size() } -> std::same_as<int>;
  { t.all_gather(std::move(w), tag) } -> pending;
  { t.all_to_all(std::move(w), tag) } -> std::same_as<decltype(t.all_gather(std::move(w), tag))>;
};

/// Can pair as well: `exchange(wires, partner, tag)` sends the whole of `send` to one other rank, which calls
/// it with this one as partner. The arrival's roster is {lower rank, higher rank}, or {rank} where the
/// partner is the rank itself. Only these two wait for each other, so calls come in the same order between
/// any two ranks and in no order otherwise. `receive` holds one slot, or is empty likewise. A roster may be
/// asked until `done`.
template <class T>
concept pairing_transport = transport<T> && requires(T t, wires w, int partner, exchange_tag tag) {
  { t.exchange(std::move(w), partner, tag) } -> std::same_as<decltype(t.all_gather(std::move(w), tag))>;
};

/// An exchange policy that has ranks meet in pairs: `partner(round, rank, size)` is its own inverse, a pure
/// function, and the same on every rank.
template <class X>
concept pairing_exchange = requires(X const& x, std::uint64_t round, int rank) {
  { x.partner(round, rank, rank) } -> std::same_as<int>;
};

/// Optional: a transport that sends from memory of the device, where such an executor keeps its columns, says
/// wires_on_device, and one that never looks at wires wires_anywhere; `after(where)` then has its next
/// exchange wait for what was enqueued on that executor, without the host: an arrival implies that what
/// `after` saw has run. Where `after` does nothing it does not, and wires are only read on that same
/// executor.
template <class T>
inline constexpr bool sends_from_device = requires {
  requires T::wires_on_device;
};
template <class T>
inline constexpr bool wires_lie_with_columns = sends_from_device<T> || requires {
  requires T::wires_anywhere;
};

template <class T>
using pending_of = decltype(std::declval<T&>().all_gather(std::declval<wires>(), exchange_tag{}));
template <class T>
using arrival_of = std::remove_cvref_t<decltype(*std::declval<pending_of<T>&>().wait(deadline{}))>;

/// Bytes that one rank puts on the network in an exchange: nobody sends to itself.
constexpr std::size_t all_gather_sent_bytes(int size, std::size_t slot) {
  return static_cast<std::size_t>(size - 1) * slot;
}
constexpr std::size_t all_to_all_sent_bytes(int size, std::size_t send) {
  return send / static_cast<std::size_t>(size) * static_cast<std::size_t>(size - 1);
}
constexpr std::size_t exchange_sent_bytes(int rank, int partner, std::size_t slot) {
  return rank == partner ? 0 : slot;
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
