// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/compressor/detail/zero_groups.hpp>
#include <diloco/concepts/compressor.hpp>
#include <diloco/core/fma.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

// Sums over a block are integers in units of amax·2⁻²² (or amax²·2⁻²²). They are exact in any order, so every
// number of lanes gets the same bits. The error is within 2⁻²³ of amax for each element. 512 · 2²² stays
// below 2³².

inline constexpr int largest_summed_block = 512;

/// x ∈ [0, 1] in units of 2⁻²². Adding 2²³ puts the unit in the last place.
DILOCO_HD inline std::uint32_t fixed_point(float x, float scale) {
  return bits_of(fma(x, scale, 8388608.0f)) - 0x4B000000u;
}

/// The mean of `count` numbers from their sum, and the root mean square from the sum of their squares.
DILOCO_HD inline float mean_of(std::uint32_t sum, std::uint32_t count, float amax) {
  return static_cast<float>(sum) / static_cast<float>(count == 0 ? 1u : count) * (amax * 0x1p-22f);
}
DILOCO_HD inline float root_mean_of(std::uint32_t sum, std::uint32_t count, float amax) {
  float const rms =
      std::sqrt(static_cast<float>(sum) / static_cast<float>(count == 0 ? 1u : count)) * (amax * 0x1p-11f);
  // Above 2¹²⁶ the reciprocal is subnormal and rounds t up past 1.
  return rms < amax ? rms : amax;
}
/// (x/amax)² in units of 2⁻²², given 1/amax.
DILOCO_HD inline std::uint32_t fixed_square(float x, float inverse) {
  float const t = product(x, inverse);
  return fixed_point(product(t, t), 4194304.0f);
}

/// Mean of |x| over the block, or 0 where amax is below smallest_block_magnitude. Where there is a mean,
/// `least` becomes the bits of this lane's least |x|, padding included. A `least` of 0 says that the lane may
/// hold a zero.
template <int Block, lanes L>
DILOCO_HD inline float mean_magnitude(L, lane_block<L, Block> const& x, block_info info,
                                      std::uint32_t& least) {
  static_assert(Block <= largest_summed_block);
  if (info.amax < smallest_block_magnitude) return 0.0f;
  float const scale = 4194304.0f / info.amax;
  std::uint32_t sum = 0, lowest = least;
  for (int i = 0; i < x.size; ++i) {
    float const magnitude = std::fabs(x.v[i]);
    sum += fixed_point(magnitude, scale);
    lowest = lesser(lowest, bits_of(magnitude));
  }
  least = lowest;
  return mean_of(L::sum(sum), static_cast<std::uint32_t>(info.count), info.amax);
}

/// Root mean square of x over the block. `least` is as in mean_magnitude, but of (x/amax)².
template <int Block, lanes L>
DILOCO_HD inline float root_mean_square(L, lane_block<L, Block> const& x, block_info info,
                                        std::uint32_t& least) {
  static_assert(Block <= largest_summed_block);
  if (info.amax < smallest_block_magnitude) return 0.0f;
  float const scale = 1.0f / info.amax;
  std::uint32_t sum = 0, lowest = least;
  for (int i = 0; i < x.size; ++i) {
    float const t = product(x.v[i], scale), square = product(t, t);
    sum += fixed_point(square, 4194304.0f);
    lowest = lesser(lowest, bits_of(square));
  }
  least = lowest;
  return root_mean_of(L::sum(sum), static_cast<std::uint32_t>(info.count), info.amax);
}

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
