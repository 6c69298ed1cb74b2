// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/lanes.hpp>

#include <cstddef>
#include <cstdint>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Checksum of 32-bit words and their positions: two sums modulo 2³². The order of the words does not matter,
/// so any split over lanes and threads gives the same value. Each word enters both sums by a bijection, so a
/// change of bits within one word always shows.
/// The second bijection mixes word and position as MurmurHash3's finalizer does. The same bits flipped in
/// several words (a bad data line) pass with a chance below 2⁻²⁰. It finds accidents, not attackers.
struct checksum {
  std::uint32_t sum = 0, mixed = 0;

  DILOCO_HD constexpr void add(std::uint32_t word, std::uint32_t position) {
    sum += word * (position * 0x3C6EF372u + 1u);
    std::uint32_t x = word ^ (position * 0x85EBCA6Bu + 0x27D4EB2Fu);
    x ^= x >> 16;
    x *= 0x7FEB352Du;
    x ^= x >> 15;
    x *= 0x846CA68Bu;
    mixed += x ^ x >> 16;
  }
  DILOCO_HD constexpr void add(checksum const& other) {
    sum += other.sum;
    mixed += other.mixed;
  }
  [[nodiscard]] DILOCO_HD constexpr std::uint64_t value() const {
    return static_cast<std::uint64_t>(mixed) << 32 | sum;
  }
};

/// Sums over n words from p; the first word is at `position`. Each lane takes every width-th word.
template <lanes L>
DILOCO_HD inline checksum checksum_of(L, std::uint32_t const* DILOCO_RESTRICT p, std::uint32_t n,
                                      std::uint32_t position) {
  checksum c;
  for (auto i = static_cast<std::uint32_t>(L::rank()); i < n; i += static_cast<std::uint32_t>(L::width))
    c.add(p[i], position + i);
  return {L::sum(c.sum), L::sum(c.mixed)};
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
