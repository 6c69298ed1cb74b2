// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>

#include <bit>
#include <cstdint>
#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Mixes one word into a hash: multiply, rotate, multiply. The constants are xxHash64's primes.
DILOCO_HD constexpr std::uint64_t mix64(std::uint64_t h, std::uint64_t word) {
  h ^= word * 0xC2B2AE3D27D4EB4Full;
  h = (h << 31) | (h >> 33);
  return h * 0x9E3779B185EBCA87ull;
}

/// Sequential 64-bit hash of words and texts. It detects mistakes, not attackers.
class hash64 {
 public:
  constexpr void add(std::uint64_t word) { state_ = mix64(state_, word); }
  constexpr void add(std::string_view text) {
    add(static_cast<std::uint64_t>(text.size()));
    for (char c : text) add(static_cast<std::uint64_t>(static_cast<unsigned char>(c)));
  }
  [[nodiscard]] constexpr std::uint64_t value() const { return mix64(state_, state_ >> 29); }

 private:
  std::uint64_t state_ = 0x27D4EB2F165667C5ull;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
