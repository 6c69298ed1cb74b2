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

/// Everybody sends everything to everybody and decodes K messages: one quantization, traffic that grows with
/// K.
struct gather {
  static constexpr std::string_view name = "gather";
  static constexpr same_compressor second{};
  [[nodiscard]] constexpr leg_list legs(int) const { return {name, 1, {leg{operation::all_gather}}}; }
  friend bool operator==(gather const&, gather const&) = default;
};

/// Each rank combines 1/K of the parameters, encodes the result once and sends it to everybody: two
/// quantizations, each with its residual, and traffic that does not grow with K.
struct scatter_gather {
  static constexpr std::string_view name = "scatter_gather";
  static constexpr same_compressor second{};
  [[nodiscard]] constexpr leg_list legs(int) const {
    return {name, 2, {leg{operation::all_to_all}, leg{operation::all_gather, true}}};
  }
  friend bool operator==(scatter_gather const&, scatter_gather const&) = default;
};

/// scatter_gather whose owners encode with a compressor of their own, for any number of ranks:
/// `.compressor = absmax<8>{}, .exchange = scatter_gather_by<absmax<4>>{}`. Both work on blocks, of one size.
/// SDP4Bit (arXiv 2410.15526) and BytePS-Compress choose the two directions apart. With f32 it sends one
/// quantized message and gives the bits of gather.
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
    if constexpr (has_fields<Second>) second.fields(f);
  }
  friend bool operator==(scatter_gather_by const&, scatter_gather_by const&) = default;
};
template <class Second>
scatter_gather_by(Second) -> scatter_gather_by<Second>;

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

/// In each round every rank meets one other, drawn anew, and nobody waits for more than that one: one wire
/// sent, one quantization, whatever the number of ranks. Of an odd number one is left with itself. Anchors
/// differ between ranks; the outer optimizer must hold them together (`noloco`).
struct gossip {
  std::uint32_t seed = 0;

  static constexpr std::string_view name = "gossip";
  static constexpr same_compressor second{};
  [[nodiscard]] constexpr leg_list legs(int) const { return {name, 1, {leg{operation::pair}}}; }

  /// Each rank draws a number; in the order of these numbers the first meets the second, the third the
  /// fourth, and so on: a uniformly random matching, known to all without a word. Host only; 2·ranks draws
  /// and no memory.
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
