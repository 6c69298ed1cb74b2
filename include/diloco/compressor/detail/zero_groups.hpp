// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/compressor.hpp>
#include <diloco/core/fma.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

// How codes without a number 0 keep an exact 0. A block is eight equal groups. In a group that holds an exact
// 0, the code of least magnitude of one sign reads as 0. The chosen sign is the one whose magnitudes have the
// smaller sum.
// Two bits per group tell the choice. They stand in the lower half of the scale's float, and the float's sign
// bit marks their presence. The scale then has the precision of bfloat16, 2^-9 relative.
// A block without an exact 0 has the sign bit clear and its full scale.

inline constexpr std::uint32_t no_zero = 0, negative_reads_0 = 1, positive_reads_0 = 2;

/// Which code reads as 0 in each group of a block: two bits per group, group 0 lowest. All lanes hold the
/// same word.
template <int Block, lanes L>
struct zero_groups {
  static constexpr int group = Block / 8, elements = lane_elements<L, Block>;
  static constexpr int size = elements < group ? elements : group;  // elements of one group in this lane
  static constexpr int groups = elements / size;                    // groups that this lane takes part in
  static constexpr int sharing = group / size;                      // lanes that share a group
  static_assert(L::width == 1 || groups == 1, "diloco: a lane of many may not hold several groups");
  std::uint32_t word;
  // Weights and numbers of the elements that do not decode to 0: positive, then negative.
  std::uint32_t sum[2] = {}, count[2] = {};

  DILOCO_HD explicit zero_groups(std::uint32_t w) : word(w) {}
  /// weight(|x|) is the weight of an element in the choice of the sign. It is an integer, and 0 for 0. Sums
  /// of Block weights are below 2³². One pass computes plain sums, which vectorize.
  template <class Weight>
  DILOCO_HD zero_groups(L l, lane_block<L, Block> const& x, int elements_there, Weight&& weight) {
    int const mine = owned_elements<L, Block>(l, elements_there);
    std::uint32_t here = 0;
    for (int g = 0; g < groups; ++g) {
      std::uint32_t above = 0, below = 0, positive = 0, negative = 0;
      for (int i = g * size; i < (g + 1) * size; ++i) {
        float const v = x.v[i];
        above += weight(v > 0.0f ? v : 0.0f);
        below += weight(v < 0.0f ? -v : 0.0f);
        positive += v > 0.0f ? 1u : 0u;
        negative += v < 0.0f ? 1u : 0u;
      }
      int const left = mine - g * size, there = left < 0 ? 0 : left < size ? left : size;
      double lead = static_cast<double>(above) - static_cast<double>(below);  // exact in any order
      for (int mask = 1; mask < sharing; mask *= 2) lead += L::partner(lead, mask);
      std::uint32_t const zeros =
          L::template max_of<sharing>(static_cast<std::uint32_t>(there) - positive - negative);
      std::uint32_t const reads_0 = zeros == 0 ? no_zero : lead > 0 ? negative_reads_0 : positive_reads_0;
      sum[0] += reads_0 == positive_reads_0 ? 0u : above;
      count[0] += reads_0 == positive_reads_0 ? 0u : positive;
      sum[1] += reads_0 == negative_reads_0 ? 0u : below;
      count[1] += reads_0 == negative_reads_0 ? 0u : negative;
      if (first_element<L, Block>(l) % group == 0) here |= reads_0 << (2 * (first(l) + g));
    }
    word = L::sum(here);
    for (int k = 0; k < 2; ++k) {
      sum[k] = L::sum(sum[k]);
      count[k] = L::sum(count[k]);
    }
  }
  DILOCO_HD static int first(L l) { return first_element<L, Block>(l) / group; }
  /// The two bits of the g-th group that this lane takes part in.
  DILOCO_HD std::uint32_t of(L l, int g) const { return word >> (2 * (first(l) + g)) & 3u; }
  /// Calls f(i, negative) for this lane's elements. `negative` is 1 where the element gets the code of a
  /// negative number.
  template <class F>
  DILOCO_HD void each(L l, lane_block<L, Block> const& x, F&& f) const {
    for (int g = 0; g < groups; ++g) {
      std::uint32_t const zero_is_negative = of(l, g) == negative_reads_0 ? 1u : 0u;
      for (int i = g * size; i < (g + 1) * size; ++i)
        f(i, (x.v[i] < 0.0f ? 1u : 0u) | ((x.v[i] == 0.0f ? 1u : 0u) & zero_is_negative));
    }
  }
};

/// Packs a scale and the word of zero_groups into 32 bits. The scale is rounded to nearest even, but not
/// beyond `most`.
DILOCO_HD inline std::uint32_t beside_zeros(float scale, std::uint32_t word, float most) {
  std::uint32_t const u = bits_of(scale), near = (u + 0x7fffu + (u >> 16 & 1u)) & 0xffff0000u,
                      last = bits_of(most) & 0xffff0000u;
  return 0x80000000u | word | (near < last ? near : last);
}
DILOCO_HD inline bool stands_beside_zeros(std::byte const* side) {
  return (bits_of(*reinterpret_cast<float const*>(side)) >> 31) != 0;
}
/// A scale that no encoder writes reads as 0.
DILOCO_HD inline float scale_beside_zeros(std::byte const* side, float most) {
  std::uint32_t const u = bits_of(*reinterpret_cast<float const*>(side)) & 0x7fff0000u;
  return u <= bits_of(most) ? float_of(u) : 0.0f;
}
DILOCO_HD inline std::uint32_t word_of_zeros(std::byte const* side) {
  return bits_of(*reinterpret_cast<float const*>(side)) & 0xffffu;
}

/// Whether any lane saw a magnitude of 0, given the bits of each lane's least magnitude. Padding counts as 0,
/// so the shorter last block of a tensor also answers true.
template <lanes L>
DILOCO_HD inline bool may_hold_zero(L, std::uint32_t least) {
  return L::max(least == 0 ? 1u : 0u) != 0;
}
DILOCO_HD inline std::uint32_t lesser(std::uint32_t a, std::uint32_t b) { return a < b ? a : b; }

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
