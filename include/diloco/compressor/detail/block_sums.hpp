// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/compressor.hpp>
#include <diloco/core/fma.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

// Sums over a block in units of amax·2⁻²² (or amax²·2⁻²²), as integers: exact in any order, so every number of lanes gets
// the same bits, and within 2⁻²³ of amax for each element. 512 · 2²² stays below 2³².

inline constexpr int largest_summed_block = 512;

/// x ∈ [0, 1] in units of 2⁻²²: 2²³ puts the unit in the last place.
DILOCO_HD inline std::uint32_t fixed_point(float x, float scale) {
  return bits_of(fma(x, scale, 8388608.0f)) - 0x4B000000u;
}

/// Mean of |x| over the block; 0 where amax is below smallest_block_magnitude.
template <int Block, lanes L>
DILOCO_HD inline float mean_magnitude(L, fragment<L, Block> const& x, block_info info) {
  static_assert(Block <= largest_summed_block);
  if (info.amax < smallest_block_magnitude) return 0.0f;
  float const scale = 4194304.0f / info.amax;
  std::uint32_t sum = 0;
  for (int i = 0; i < x.size; ++i) sum += fixed_point(std::fabs(x.v[i]), scale);
  return static_cast<float>(L::sum(sum)) / static_cast<float>(info.count) * (info.amax * 0x1p-22f);
}

/// Root of the mean of x² over the block.
template <int Block, lanes L>
DILOCO_HD inline float root_mean_square(L, fragment<L, Block> const& x, block_info info) {
  static_assert(Block <= largest_summed_block);
  if (info.amax < smallest_block_magnitude) return 0.0f;
  float const scale = 1.0f / info.amax;
  std::uint32_t sum = 0;
  for (int i = 0; i < x.size; ++i) {
    float const t = product(x.v[i], scale);
    sum += fixed_point(product(t, t), 4194304.0f);
  }
  float const rms =
      std::sqrt(static_cast<float>(L::sum(sum)) / static_cast<float>(info.count)) * (info.amax * 0x1p-11f);
  // Above 2¹²⁶ the reciprocal is subnormal and rounds t up past 1.
  return rms < info.amax ? rms : info.amax;
}

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
