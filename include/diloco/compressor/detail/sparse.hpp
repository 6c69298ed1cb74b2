// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/lanes.hpp>

#include <cstddef>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// How many of n elements are kept. A full chunk keeps K of `Chunk`. A shorter one keeps the same share,
/// rounded up.
template <int K, int Chunk>
DILOCO_HD constexpr int kept_of(std::size_t n) {
  return static_cast<int>((n * K + Chunk - 1) / Chunk);
}

/// Elements per group. The selection looks at each group's largest magnitude first. At 64 of 4096, three
/// groups of four hold no element that is kept.
inline constexpr int sparse_group = 16;

/// Bits T that at least k of n numbers reach, while fewer than k reach any larger T. Or any T that exactly k
/// numbers reach.
/// Bisects from `low`, which is 0 or which at least k numbers reach. count(T) returns how many numbers reach
/// T.
template <class Count>
DILOCO_HD inline std::uint32_t kth_largest(std::uint32_t low, int k, Count&& count) {
  std::uint32_t high = 0x7f800000u;
  while (high - low > 1) {
    std::uint32_t const middle = low + (high - low) / 2;
    auto const reached = static_cast<int>(count(middle));
    if (reached >= k)
      low = middle;
    else
      high = middle;
    if (reached == k) break;
  }
  return low;
}

/// Counts how many of the n magnitudes reach `threshold`. It skips groups whose largest magnitude does not
/// reach it.
template <lanes L>
DILOCO_HD inline std::uint32_t count_reaching(L, float const* DILOCO_RESTRICT x, int n,
                                              std::uint32_t const* DILOCO_RESTRICT largest,
                                              std::uint32_t threshold) {
  std::uint32_t reached = 0;
  for (int g = L::rank(); g * sparse_group < n; g += L::width) {
    if (largest[g] < threshold) continue;
    int const from = g * sparse_group, size = n - from < sparse_group ? n - from : sparse_group;
    if (size == sparse_group) {
      DILOCO_ONE_VECTOR
      for (int i = 0; i < sparse_group; ++i) reached += at_least(magnitude_bits(x[from + i]), threshold);
    } else {
      for (int i = 0; i < size; ++i) reached += at_least(magnitude_bits(x[from + i]), threshold);
    }
  }
  return L::sum(reached);
}

/// Working memory to select K elements of a chunk: one word for each group, and room for the candidates.
template <int K, int Chunk>
struct selection {
  static constexpr int room = 4 * K < Chunk ? 4 * K : Chunk;
  std::uint32_t largest[Chunk / sparse_group];
  std::uint32_t candidate[room];
};

/// Calls f(i, magnitude) for this lane's elements of the groups that reach `threshold`. The groups of a lane
/// are consecutive.
template <lanes L, class F>
DILOCO_HD inline void visit_groups(L, float const* DILOCO_RESTRICT x, int n, std::uint32_t const* largest,
                                   std::uint32_t threshold, F&& f) {
  int const groups = (n + sparse_group - 1) / sparse_group, run = (groups + L::width - 1) / L::width;
  int const begin = run * L::rank(), end = begin + run < groups ? begin + run : groups;
  for (int g = begin; g < end; ++g) {
    if (largest[g] < threshold) continue;
    for (int i = g * sparse_group; i < (g + 1) * sparse_group && i < n; ++i) f(i, magnitude_bits(x[i]));
  }
}

/// The k-th largest of n magnitudes, by the rule of kth_largest. The k-th largest group maximum is a lower
/// bound and costs a sixteenth of the work. On ordinary data few more than k elements reach it.
/// The rest of the search runs among those (3.6 → 1.3 ns per element at 64 of 4096).
template <int K, int Chunk, lanes L>
DILOCO_HD inline std::uint32_t kth_magnitude(L l, float const* DILOCO_RESTRICT x, int n, int k,
                                             selection<K, Chunk>& w) {
  int const groups = (n + sparse_group - 1) / sparse_group;
  std::uint32_t const bound = kth_largest(0, k, [&](std::uint32_t threshold) {
    std::uint32_t reached = 0;
    for (int g = L::rank(); g < groups; g += L::width) reached += at_least(w.largest[g], threshold);
    return L::sum(reached);
  });
  std::uint32_t const some = count_reaching(l, x, n, w.largest, bound);
  if (some > static_cast<std::uint32_t>(w.room))
    return kth_largest(
        bound, k, [&](std::uint32_t threshold) { return count_reaching(l, x, n, w.largest, threshold); });
  std::uint32_t mine = 0;
  if constexpr (L::width > 1)
    visit_groups(l, x, n, w.largest, bound, [&](int, std::uint32_t a) { mine += at_least(a, bound); });
  std::uint32_t position = L::before(mine);
  visit_groups(l, x, n, w.largest, bound, [&](int, std::uint32_t a) {
    if (a >= bound) w.candidate[position++] = a;
  });
  L::sync();
  return kth_largest(bound, k, [&](std::uint32_t threshold) {
    std::uint32_t reached = 0;
    for (int i = L::rank(); i < static_cast<int>(some); i += L::width)
      reached += at_least(w.candidate[i], threshold);
    return L::sum(reached);
  });
}

/// Calls take(p, i), p = 0 … k − 1, for the k elements of largest magnitude in rising order of i. Among equal
/// magnitudes the first ones are taken.
template <int K, int Chunk, lanes L, class Take>
DILOCO_HD inline void select_largest(L l, float const* DILOCO_RESTRICT x, int n, int k,
                                     selection<K, Chunk>& w, Take&& take) {
  for (int g = L::rank(); g * sparse_group < n; g += L::width) {
    int const from = g * sparse_group, size = n - from < sparse_group ? n - from : sparse_group;
    std::uint32_t most = 0;
    if (size == sparse_group) {
      DILOCO_ONE_VECTOR
      for (int i = 0; i < sparse_group; ++i) most = larger(most, magnitude_bits(x[from + i]));
    } else {
      for (int i = 0; i < size; ++i) most = larger(most, magnitude_bits(x[from + i]));
    }
    w.largest[g] = most;
  }
  L::sync();
  std::uint32_t const threshold = kth_magnitude(l, x, n, k, w);
  std::uint32_t const above = count_reaching(l, x, n, w.largest, threshold + 1);
  // How many elements equal to the threshold are taken.
  std::uint32_t const wanted = static_cast<std::uint32_t>(k) - above;
  std::uint32_t larger_here = 0, equal_here = 0;
  if constexpr (L::width > 1) {
    visit_groups(l, x, n, w.largest, threshold, [&](int, std::uint32_t a) {
      larger_here += a > threshold ? 1u : 0u;
      equal_here += a == threshold ? 1u : 0u;
    });
  }
  std::uint32_t seen = L::before(equal_here);
  std::uint32_t position = L::before(larger_here) + (seen < wanted ? seen : wanted);
  visit_groups(l, x, n, w.largest, threshold, [&](int i, std::uint32_t a) {
    if (a < threshold || (a == threshold && seen++ >= wanted)) return;
    take(static_cast<int>(position++), i);
  });
}

/// Indices have 12 bits. Two indices take three bytes, with the first index in the low bits.
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

/// With k = 1, this value in the free upper half of the second byte marks an empty list.
inline constexpr std::byte nothing_said{0xf0};

/// Ends a list after the first `said` of k indices. The rest are zeros, which do not rise. An empty list
/// starts with two indices that do not rise; with k = 1, nothing_said marks it.
DILOCO_HD inline void end_indices(std::uint16_t* index, int said, int k) {
  for (int p = said; p < k; ++p) index[p] = said == 0 && p < 2 ? 1 : 0;
}
/// Number of leading indices that rise and stay below n, provided that only zeros follow them. Any other list
/// counts as empty.
template <lanes L>
DILOCO_HD inline int rising_indices(L, std::byte const* in, int k, int n) {
  if (k == 1) return index_at(in, 0) < n && static_cast<unsigned>(in[1]) >> 4 == 0 ? 1 : 0;
  std::uint32_t left = 0;  // indices from the first one that does not rise to the end
  for (int p = L::rank(); p < k; p += L::width) {
    if (p > 0 && index_at(in, p) <= index_at(in, p - 1))
      left = larger(left, static_cast<std::uint32_t>(k - p));
  }
  int const said = k - static_cast<int>(L::max(left));
  std::uint32_t bad = 0;
  for (int p = L::rank(); p < k; p += L::width)
    bad |= p < said ? (index_at(in, p) >= n ? 1u : 0u) : static_cast<std::uint32_t>(index_at(in, p));
  return L::max(bad) == 0 ? said : 0;
}

/// Whether all k indices rise and stay below n. A chunk that fails this check decodes to nothing. Otherwise
/// the result would depend on the order in which lanes write.
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
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
