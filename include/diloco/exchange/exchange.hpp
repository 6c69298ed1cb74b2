// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/exchange.hpp>
#include <diloco/core/field.hpp>
#include <diloco/core/rng.hpp>
#include <diloco/core/text.hpp>

#include <cstdint>
#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Each rank sends its whole contribution to K − 1 others and decodes K messages. Quantizes once. Traffic
/// grows with K.
struct gather {
  static constexpr std::string_view name = "gather";
  static constexpr same_compressor second{};
  [[nodiscard]] constexpr leg_list legs(int) const { return {name, 1, {leg{operation::all_gather}}}; }
  friend bool operator==(gather const&, gather const&) = default;
};

/// Each rank combines 1/K of the parameters, encodes the result and sends it to all. Quantizes twice, each
/// with its residual. A rank sends fewer than two messages for any K.
struct scatter_gather {
  static constexpr std::string_view name = "scatter_gather";
  static constexpr same_compressor second{};
  [[nodiscard]] constexpr leg_list legs(int) const {
    return {name, 2, {leg{operation::all_to_all}, leg{operation::all_gather, content::combined}}};
  }
  friend bool operator==(scatter_gather const&, scatter_gather const&) = default;
};

/// scatter_gather with a second compressor for the combined shards. Example: `.compressor = absmax<8>{},
/// .exchange = scatter_gather_by<absmax<4>>{}`. Both must be block compressors with the same block size. As
/// in SDP4Bit (arXiv 2410.15526) and BytePS-Compress. With `f32` as second, values are quantized once, and
/// results equal those of gather bit for bit.
template <class Second>
struct scatter_gather_by {
  Second second{};

  static constexpr auto label = join("scatter_gather, back by ", std::string_view(Second::name));
  static constexpr std::string_view name = label.view();
  [[nodiscard]] constexpr leg_list legs(int ranks) const {
    leg_list all = scatter_gather{}.legs(ranks);
    all.name = name;
    return all;
  }
  template <class F>
  constexpr void fields(F&& f) const {
    fields_of_member("second", second, f);
  }
  [[nodiscard]] std::string validation_error() const { return error_of_members(second); }
  friend bool operator==(scatter_gather_by const&, scatter_gather_by const&) = default;
};
template <class Second>
scatter_gather_by(Second) -> scatter_gather_by<Second>;

/// For clusters whose ranks talk fast within a group and slowly between groups: `.exchange =
/// two_level<>{.group = 8}`. Group g is the ranks from g·group on, which is how launchers number the
/// processes of a machine. Within its group each rank combines one shard of `group` and encodes it, with
/// `Second` or like the first leg. It sends it across groups, to the ranks with its place, and forwards
/// what came from there within its group. Two quantizations, each with its residual. Between groups each
/// rank sends 1/group of what a gather of one rank per group would send, and its vote.
/// Memory of messages: every rank reads one message of each group, cut into shards.
/// With one group it is scatter_gather. With groups of one it is gather, unless it has a second compressor.
template <class Second = same_compressor>
struct two_level {
  int group = 8;
  Second second{};

  static constexpr auto label = [] {
    if constexpr (std::is_same_v<Second, same_compressor>)
      return join("two_level");
    else
      return join("two_level, across by ", std::string_view(Second::name));
  }();
  static constexpr std::string_view name = label.view();
  [[nodiscard]] constexpr leg_list legs(int ranks) const {
    leg_list all{name,
                 3,
                 {leg{operation::all_to_all, content::own, span_of_leg::group},
                  leg{operation::all_gather, content::combined, span_of_leg::across},
                  leg{operation::all_gather, content::forwarded, span_of_leg::group}},
                 group};
    if (group == ranks) all = scatter_gather{}.legs(ranks);
    if (group == 1 && std::is_same_v<Second, same_compressor>) all = gather{}.legs(ranks);
    all.name = name;
    return all;
  }
  template <class F>
  constexpr void fields(F&& f) const {
    f("group", group, range{1, unbounded});
    fields_of_member("second", second, f);
  }
  [[nodiscard]] std::string validation_error() const { return error_of_members(second); }
  friend bool operator==(two_level const&, two_level const&) = default;
};
two_level(int)->two_level<>;
template <class Second>
two_level(int, Second) -> two_level<Second>;

/// Gather up to two ranks, where it sends no more than scatter–gather and quantizes once; scatter–gather
/// above.
struct automatic {
  static constexpr std::string_view name = "automatic";
  static constexpr same_compressor second{};
  [[nodiscard]] constexpr leg_list legs(int ranks) const {
    return ranks <= 2 ? gather{}.legs(ranks) : scatter_gather{}.legs(ranks);
  }
  friend bool operator==(automatic const&, automatic const&) = default;
};

/// In each round, ranks form random pairs. Each rank sends one message, to its partner, and waits only for
/// it. Quantizes once. With an odd number of ranks, one has no partner. Anchors differ between ranks; the
/// outer optimizer must pull them together (`noloco`).
struct gossip {
  std::uint32_t seed = 0;

  static constexpr std::string_view name = "gossip";
  static constexpr same_compressor second{};
  [[nodiscard]] constexpr leg_list legs(int) const { return {name, 1, {leg{operation::pair}}}; }

  /// Every rank computes the same random number for each rank and sorts ranks by it. Neighbours 1–2, 3–4, …
  /// are partners. The matching is uniformly random and needs no communication. Host only. Cost: 2·ranks +
  /// 1 draws, no allocation.
  [[nodiscard]] constexpr int partner(std::uint64_t round, int rank, int ranks) const {
    place const mine = place_of(round, rank);
    int before = 0;
    for (int r = 0; r < ranks; ++r) before += place_of(round, r) < mine ? 1 : 0;
    bool const seeks_next = before % 2 == 0;
    place nearest = mine;
    for (int r = 0; r < ranks; ++r) {
      place const other = place_of(round, r);
      if (seeks_next ? mine < other && (nearest.rank == rank || other < nearest)
                     : other < mine && (nearest.rank == rank || nearest < other))
        nearest = other;
    }
    return nearest.rank;
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("seed", seed, range{0, 4294967295.0});
  }
  friend bool operator==(gossip const&, gossip const&) = default;

 private:
  struct place {
    std::uint64_t number;
    int rank;
    friend constexpr bool operator<(place const& a, place const& b) {
      return a.number != b.number ? a.number < b.number : a.rank < b.rank;
    }
  };
  [[nodiscard]] constexpr place place_of(std::uint64_t round, int rank) const {
    constexpr std::uint64_t own_stream = 0x676f7373ull << 32;  // no compressor draws under this key
    random_words const w = philox(static_cast<std::uint32_t>(round), static_cast<std::uint32_t>(round >> 32),
                                  static_cast<std::uint32_t>(rank), 0, own_stream | seed);
    return {std::uint64_t{w.v[0]} << 32 | w.v[1], rank};
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
