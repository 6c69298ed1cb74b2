// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/hash.hpp>
#include <diloco/core/lanes.hpp>
#include <diloco/state/layout.hpp>

#include <cstdint>

namespace diloco {
inline namespace v0 {

/// 64-bit digest of n floats' bits. Eight independent chains of 32-bit words, so that the host vectorizes it; every
/// element enters with its position, so a permutation shows.
inline std::uint64_t digest_of(float const* DILOCO_RESTRICT p, std::size_t n, std::uint64_t seed = 0) {
  constexpr std::size_t width = 8;
  std::uint64_t chain[width];
  for (std::size_t i = 0; i < width; ++i) chain[i] = seed + i;
  std::size_t const whole = n / width * width;
  for (std::size_t base = 0; base < whole; base += width) {
    for (std::size_t i = 0; i < width; ++i) chain[i] = mix64(chain[i], bits_of(p[base + i]));
  }
  hash64 h;
  for (std::uint64_t c : chain) h.add(c);
  for (std::size_t i = whole; i < n; ++i) h.add(static_cast<std::uint64_t>(bits_of(p[i])));
  return h.value();
}

}  // namespace v0
}  // namespace diloco
