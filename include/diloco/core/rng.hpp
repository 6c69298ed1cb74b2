// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>

#include <cstdint>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// The 128 bits that one call of a counter-based generator returns.
struct random_words {
  std::uint32_t v[4];
};

/// Philox4x32-10 (Salmon et al., SC 2011): a bijection of the counter that the key selects. It is a pure
/// function, so host and device draw the same numbers in any order. A round that is encoded again draws the
/// same numbers again.
DILOCO_HD constexpr random_words philox(std::uint32_t c0, std::uint32_t c1, std::uint32_t c2,
                                        std::uint32_t c3, std::uint64_t key) {
  auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    std::uint64_t const p = 0xD2511F53ull * c0, q = 0xCD9E8D57ull * c2;
    c0 = static_cast<std::uint32_t>(q >> 32) ^ c1 ^ k0;
    c1 = static_cast<std::uint32_t>(q);
    c2 = static_cast<std::uint32_t>(p >> 32) ^ c3 ^ k1;
    c3 = static_cast<std::uint32_t>(p);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

/// An RNG stream. Numbers of different rounds, ranks and phases of a round are independent.
struct draw {
  std::uint64_t round = 0;
  std::uint32_t rank = 0;
  std::uint32_t phase = 0;
};

/// Draws sixteen random bits for each of the elements from `element` on, eight elements per generator call.
/// `element` is a multiple of N (of 8 for larger N).
template <int N>
DILOCO_HD inline void draw_sixteen(std::uint32_t (&u)[N], std::uint64_t element, draw const& stream,
                                   std::uint64_t seed) {
  static_assert(N == 1 || N == 2 || N == 4 || N % 8 == 0, "diloco: draws come in eights");
  constexpr int per_call = N < 8 ? N : 8;
  for (int call = 0; call < N / per_call; ++call) {
    std::uint64_t const at = element + static_cast<std::uint64_t>(call) * per_call, group = at / 8;
    random_words const words = philox(static_cast<std::uint32_t>(group),
                                      static_cast<std::uint32_t>(group >> 32) ^ stream.phase << 24,
                                      static_cast<std::uint32_t>(stream.round), stream.rank, seed);
    int const first = static_cast<int>(at % 8);
    for (int i = 0; i < per_call; ++i) {
      int const k = N < 8 ? first + i : i;
      // The word is selected and not indexed. An array that is indexed by a lane's place is put on the
      // device's stack.
      std::uint32_t const lower = k < 2 ? words.v[0] : words.v[1], upper = k < 6 ? words.v[2] : words.v[3];
      u[call * per_call + i] = ((k < 4 ? lower : upper) >> (k % 2 * 16)) & 0xffffu;
    }
  }
}

/// draw_sixteen as numbers of the open interval (−½, ½), multiples of 2⁻¹⁷.
template <int N>
DILOCO_HD inline void draw_centred(float (&u)[N], std::uint64_t element, draw const& stream,
                                   std::uint64_t seed) {
  std::uint32_t bits[N];
  draw_sixteen(bits, element, stream, seed);
  for (int i = 0; i < N; ++i)
    u[i] = static_cast<float>(static_cast<std::int32_t>(2 * bits[i]) - 65535) * 0x1p-17f;
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
