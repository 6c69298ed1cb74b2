// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/lanes.hpp>

#include <cstddef>

namespace diloco {
inline namespace v0 {
namespace detail {

/// Elements kept of n, where K of `Chunk` are: the same share of a shorter chunk, rounded up.
template <int K, int Chunk>
DILOCO_HD constexpr int kept_of(std::size_t n) {
  return static_cast<int>((n * K + Chunk - 1) / Chunk);
}

/// Bits T such that at least k of the n magnitudes reach T, and no larger T has that many; or any T that exactly k reach. By
/// bisection: a dozen counts over L1 on ordinary data, 31 at most.
template <lanes L>
DILOCO_HD inline std::uint32_t kth_magnitude(L, float const* DILOCO_RESTRICT x, int n, int k) {
  std::uint32_t low = 0, high = 0x7f800000u;
  while (high - low > 1) {
    std::uint32_t const middle = low + (high - low) / 2;
    std::uint32_t reached = 0;
    for (int i = L::rank(); i < n; i += L::width) reached += magnitude_bits(x[i]) >= middle ? 1u : 0u;
    auto const count = static_cast<int>(L::sum(reached));
    if (count >= k)
      low = middle;
    else
      high = middle;
    if (count == k) break;
  }
  return low;
}

/// emit(p, i) for the k elements of largest magnitude in rising order of i, p = 0 … k − 1; of equals, the first.
template <lanes L, class Emit>
DILOCO_HD inline void select_largest(L l, float const* DILOCO_RESTRICT x, int n, int k, Emit&& emit) {
  std::uint32_t const threshold = kth_magnitude(l, x, n, k);
  int const run = (n + L::width - 1) / L::width, begin = run * L::rank();  // each lane's elements in a row
  int const end = begin + run < n ? begin + run : n;
  std::uint32_t above = 0, equal = 0;
  for (int i = begin; i < end; ++i) {
    above += magnitude_bits(x[i]) > threshold ? 1u : 0u;
    equal += magnitude_bits(x[i]) == threshold ? 1u : 0u;
  }
  std::uint32_t const wanted = static_cast<std::uint32_t>(k) - L::sum(above);  // of those equal to the threshold
  std::uint32_t seen = L::before(equal);
  std::uint32_t position = L::before(above) + (seen < wanted ? seen : wanted);
  constexpr int group = 16;  // passed over where none is chosen: one of four at 64 of 4096
  for (int from = begin; from < end; from += group) {
    int const to = from + group < end ? from + group : end;
    std::uint32_t any = 0;
    if (to - from == group) {
      for (int i = 0; i < group; ++i) any |= magnitude_bits(x[from + i]) >= threshold ? 1u : 0u;
      if (any == 0) continue;
    }
    for (int i = from; i < to; ++i) {
      std::uint32_t const a = magnitude_bits(x[i]);
      if (a < threshold || (a == threshold && seen++ >= wanted)) continue;
      emit(static_cast<int>(position++), i);
    }
  }
}

/// Indices of 12 bits, two in three bytes, the first in the low bits.
DILOCO_HD constexpr std::size_t index_bytes(int k) { return (static_cast<std::size_t>(k) * 3 + 1) / 2; }

template <lanes L>
DILOCO_HD inline void pack_indices(L, std::byte* out, std::uint16_t const* index, int k) {
  auto* const bytes = reinterpret_cast<std::uint8_t*>(out);
  for (int m = L::rank(); 2 * m < k; m += L::width) {
    unsigned const a = index[2 * m], b = 2 * m + 1 < k ? index[2 * m + 1] : 0u;
    bytes[3 * m] = static_cast<std::uint8_t>(a);
    bytes[3 * m + 1] = static_cast<std::uint8_t>(a >> 8 | (b & 15u) << 4);
    if (2 * m + 1 < k) bytes[3 * m + 2] = static_cast<std::uint8_t>(b >> 4);
  }
}
DILOCO_HD inline int index_at(std::byte const* in, int p) {
  auto const* const b = reinterpret_cast<std::uint8_t const*>(in) + p / 2 * 3;
  return p % 2 == 0 ? b[0] | (b[1] & 15) << 8 : b[1] >> 4 | b[2] << 4;
}

/// Whether k indices rise and stay below n. One that does not makes the chunk say nothing: what it names would depend on
/// the order in which lanes write.
template <lanes L>
DILOCO_HD inline bool indices_rise(L, std::byte const* in, int k, int n) {
  std::uint32_t bad = 0;
  for (int p = L::rank(); p < k; p += L::width) {
    int const here = index_at(in, p);
    bad |= here >= n || (p > 0 && here <= index_at(in, p - 1)) ? 1u : 0u;
  }
  return L::max(bad) == 0;
}

}  // namespace detail
}  // namespace v0
}  // namespace diloco
