// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/hash.hpp>
#include <diloco/core/lanes.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

/// 64-bit digest of the bits of floats, for expected values in tests. The library's own digest may change,
/// but this one must not. It uses eight chains over i ≡ 0 … 7 (mod 8) and then the rest.
inline std::uint64_t pinned_digest(std::vector<float> const& v) {
  constexpr std::size_t width = 8;
  std::uint64_t chain[width] = {0, 1, 2, 3, 4, 5, 6, 7};
  std::size_t const whole = v.size() / width * width;
  for (std::size_t i = 0; i < whole; ++i)
    chain[i % width] = diloco::mix64(chain[i % width], diloco::bits_of(v[i]));
  diloco::hash64 h;
  for (std::uint64_t c : chain) h.add(c);
  for (std::size_t i = whole; i < v.size(); ++i) h.add(std::uint64_t{diloco::bits_of(v[i])});
  return h.value();
}
