// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/access.hpp>

#include <cstring>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

// Codes of 1, 2, 4 or 8 bits, one per element, with element 0 in the least significant bits. A lane's
// elements fill whole bytes, so lanes never share a byte. The loops are written so that g++ vectorizes them
// on the host.

template <int Bits>
concept packable = Bits == 1 || Bits == 2 || Bits == 4 || Bits == 8;

template <int Bits>
DILOCO_HD constexpr std::size_t packed_bytes(std::size_t n) {
  return (n * Bits + 7) / 8;
}

/// Other widths are split into two planes: 3 bits into 2 and 1, 6 bits into 4 and 2. The second plane of a
/// full block is aligned where Block is a power of two. That of a shorter last block is read by bytes.
template <int Bits>
inline constexpr int low_plane = Bits == 6   ? 4
                                 : Bits == 3 ? 2
                                             : Bits;

template <int Bits>
DILOCO_HD constexpr std::size_t planes_bytes(std::size_t n) {
  constexpr int low = low_plane<Bits>;
  return packed_bytes<low>(n) + (low < Bits ? packed_bytes<Bits - low>(n) : 0);
}

namespace detail {

/// Packs the 8/Bits codes at `q`, one per byte, into one byte. On the host it works on whole words, which
/// vectorize. A byte-wise form makes g++ shuffle.
template <int Bits, bool Words>
requires packable<Bits> DILOCO_HD inline std::uint8_t pack_byte(std::uint8_t const* q) {
  if constexpr (Bits == 8) {
    return q[0];
  } else if constexpr (!Words || Bits == 4) {
    std::uint32_t byte = 0;
    for (int i = 0; i < 8 / Bits; ++i) byte |= static_cast<std::uint32_t>(q[i]) << (Bits * i);
    return static_cast<std::uint8_t>(byte);
  } else if constexpr (Bits == 2) {
    std::uint32_t w;
    std::memcpy(&w, q, sizeof w);
    w |= w >> 6;
    return static_cast<std::uint8_t>(w | (w >> 12));
  } else {
    std::uint64_t w;
    std::memcpy(&w, q, sizeof w);
    w |= w >> 7;
    w |= w >> 14;
    return static_cast<std::uint8_t>(w | (w >> 28));
  }
}

/// Number of elements whose codes one machine word holds. It is a power of two that divides the lane's
/// elements. So every lane's words are aligned, even where Block/32 is not a power of two.
template <lanes L, int Block, int Bits>
inline constexpr int word_elements = (lane_elements<L, Block> & -lane_elements<L, Block>) < 32 / Bits
                                         ? (lane_elements<L, Block> & -lane_elements<L, Block>)
                                         : 32 / Bits;
template <int Bytes>
using word_of_bytes = std::conditional_t<Bytes == 1, std::uint8_t,
                                         std::conditional_t<Bytes == 2, std::uint16_t, std::uint32_t>>;

/// The codes of this lane's elements in a full block, read word by word.
template <lanes L, int Bits, int Block>
struct words {
  static constexpr int low = low_plane<Bits>, high = Bits - low, run = word_elements<L, Block, low>;
  std::byte const *low_codes, *high_codes;

  DILOCO_HD words(L l, std::byte const* in)
      : low_codes(in + first_element<L, Block>(l) * low / 8),
        high_codes(in + Block * low / 8 + first_element<L, Block>(l) * high / 8) {}
  /// Calls sink(i, top) for the elements of word w.
  template <class Sink>
  DILOCO_HD void each(int w, Sink&& sink) const {
    std::uint32_t const c = reinterpret_cast<word_of_bytes<run * low / 8> const*>(low_codes)[w];
    if constexpr (high == 0) {
      DILOCO_ONE_VECTOR
      for (int i = 0; i < run; ++i) sink(w * run + i, c << (32 - low - low * i));
    } else {
      std::uint32_t const h = reinterpret_cast<word_of_bytes<run * high / 8> const*>(high_codes)[w];
      DILOCO_ONE_VECTOR
      for (int i = 0; i < run; ++i) {
        std::uint32_t const above = (h << (32 - high - high * i)) & ~(0xffffffffu >> high);
        sink(w * run + i, above | c << (32 - low - low * i) >> high);
      }
    }
  }
};

}  // namespace detail

/// Writes code_of(i) of this lane's elements. `count` elements of the block take exactly packed_bytes(count)
/// bytes.
template <int Bits, int Block, lanes L, class CodeOf>
requires packable<Bits> DILOCO_HD inline void pack(L l, int count, std::byte* out, CodeOf&& code_of) {
  constexpr int n = lane_elements<L, Block>;
  static_assert(n * Bits % 8 == 0, "diloco: a lane's codes must fill whole bytes");
  auto* DILOCO_RESTRICT code = reinterpret_cast<std::uint8_t*>(out) + first_element<L, Block>(l) * Bits / 8;
  int const mine =
      static_cast<int>(packed_bytes<Bits>(static_cast<std::size_t>(owned_elements<L, Block>(l, count))));
  if constexpr (Bits == 8) {
    write_lane<L, n>(
        code, mine, [&](int i) { return static_cast<std::uint8_t>(code_of(i)); }, count == Block);
  } else {
    std::uint8_t q[n];
    for (int i = 0; i < n; ++i) q[i] = static_cast<std::uint8_t>(code_of(i));
    write_lane<L, n * Bits / 8>(
        code, mine, [&](int j) { return detail::pack_byte<Bits, L::width == 1>(q + j * 8 / Bits); },
        count == Block);
  }
}

/// Calls sink(i, top) for this lane's elements. The code stands in the top `Bits` bits of `top`; the lower
/// bits are undefined. In a shorter last block a byte may hold codes past `count`, and the sink gets them
/// too.
template <int Bits, int Block, lanes L, class Sink>
requires packable<Bits> DILOCO_HD inline void unpack(L l, int count, std::byte const* in, Sink&& sink) {
  constexpr int n = lane_elements<L, Block>;
  if (Bits == 8 || count != Block) {
    auto const* DILOCO_RESTRICT code =
        reinterpret_cast<std::uint8_t const*>(in) + first_element<L, Block>(l) * Bits / 8;
    int const mine =
        static_cast<int>(packed_bytes<Bits>(static_cast<std::size_t>(owned_elements<L, Block>(l, count))));
    read_lane<L, n * Bits / 8>(
        code, mine,
        [&](int j, std::uint8_t byte) {
          std::uint32_t const c = byte;
          for (int i = 0; i < 8 / Bits; ++i) sink(8 / Bits * j + i, c << (32 - Bits - Bits * i));
        },
        count == Block);
  } else {
    detail::words<L, Bits, Block> const words(l, in);
    for (int w = 0; w < n / words.run; ++w) words.each(w, sink);
  }
}

/// Packs codes of any width from an array with one code per byte. unpack_planes does the reverse.
template <int Bits, int Block, lanes L>
DILOCO_HD inline void pack_planes(L l, int count, std::byte* out,
                                  std::uint8_t const (&q)[lane_elements<L, Block>]) {
  constexpr int low = low_plane<Bits>;
  pack<low, Block>(l, count, out, [&](int i) { return q[i] & ((1u << low) - 1u); });
  if constexpr (low < Bits) {
    pack<Bits - low, Block>(l, count, out + packed_bytes<low>(static_cast<std::size_t>(count)),
                            [&](int i) { return static_cast<std::uint32_t>(q[i]) >> low; });
  }
}

template <int Bits, int Block, lanes L>
DILOCO_HD inline void unpack_planes(L l, int count, std::byte const* in,
                                    std::uint8_t (&q)[lane_elements<L, Block>]) {
  constexpr int low = low_plane<Bits>;
  unpack<low, Block>(l, count, in,
                     [&](int i, std::uint32_t top) { q[i] = static_cast<std::uint8_t>(top >> (32 - low)); });
  if constexpr (low < Bits) {
    unpack<Bits - low, Block>(l, count, in + packed_bytes<low>(static_cast<std::size_t>(count)),
                              [&](int i, std::uint32_t top) {
                                q[i] = static_cast<std::uint8_t>(q[i] | (top >> (32 - Bits + low) << low));
                              });
  }
}

/// Unpacks codes of any width in groups of `Group` elements. sink_of(g) returns the sink for this lane's part
/// of the g-th of its groups.
template <int Bits, int Block, int Group, lanes L, class SinkOf>
DILOCO_HD inline void unpack_groups(L l, int count, std::byte const* in, SinkOf&& sink_of) {
  constexpr int n = lane_elements<L, Block>, size = n < Group ? n : Group;
  if (Bits == 8 && count == Block) {
    auto const* DILOCO_RESTRICT code = reinterpret_cast<std::uint8_t const*>(in) + first_element<L, Block>(l);
    for (int g = 0; g < n / size; ++g) {
      auto const sink = sink_of(g);
      read_lane<L, size>(code + g * size, size, [&](int i, std::uint8_t c) {
        sink(g * size + i, static_cast<std::uint32_t>(c) << 24);
      });
    }
  } else if (count != Block) {
    std::uint8_t q[n] = {};
    unpack_planes<Bits, Block>(l, count, in, q);
    for (int g = 0; g < n / size; ++g) {
      auto const sink = sink_of(g);
      for (int i = g * size; i < (g + 1) * size; ++i)
        sink(i, static_cast<std::uint32_t>(q[i]) << (32 - Bits));
    }
  } else if constexpr (Bits != 8) {
    detail::words<L, Bits, Block> const words(l, in);
    for (int g = 0; g < n / size; ++g) {
      auto const sink = sink_of(g);
      for (int w = 0; w < size / words.run; ++w) words.each(g * (size / words.run) + w, sink);
    }
  }
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
