// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/compressor/detail/pick.hpp>
#include <diloco/compressor/detail/scaled_codes.hpp>
#include <diloco/core/text.hpp>

#include <string_view>

namespace diloco {
inline namespace v0 {
namespace detail {

/// The numbers of dynamic8 at amax = 1.
struct dynamic8_format {
  static constexpr int bits = 8;
  static constexpr float levels = 1.0f;
  /// The number of a code, 0 … 255, at amax = 1: code − 127 = ±(2^d + cell), 0 is 0 and 128 is 1.
  DILOCO_HD static float value(std::uint32_t top) {
    int const signed_index = static_cast<int>(top >> 24) - 127;
    std::uint32_t const index = static_cast<std::uint32_t>(signed_index < 0 ? -signed_index : signed_index);
    float const k = static_cast<float>(index);
    // (cell + ½)/2^d, exact: k/2^d = 1 + cell/2^d.
    float const width = float_of((254u << 23) - (bits_of(k) & 0x7f800000u));
    float const within = fma(k, width, fma(0.5f, width, -1.0f));
    // The exponent's bias is −1 in its last three bits.
    float const largest = pick<0, 8>((bits_of(k) + (1u << 23)) << 6, [](int d) { return power_of_ten<false>(d); });
    float const magnitude = product(fma(0.9f, within, 0.1f), largest);
    std::uint32_t const sign = static_cast<std::uint32_t>(signed_index) & 0x80000000u;
    float const y = select(at_least(index, 128), 1.0f, select(at_least(index, 1), magnitude, 0.0f));
    return float_of(bits_of(y) | sign);
  }

  /// 10^(d − 6), the largest number of decade d, or its reciprocal. There is no decade 7.
  template <bool Reciprocal>
  DILOCO_HD static constexpr float power_of_ten(int d) {
    constexpr float up[8] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f, 1e1f};
    constexpr float down[8] = {1e6f, 1e5f, 1e4f, 1e3f, 1e2f, 1e1f, 1.0f, 1e-1f};
    return Reciprocal ? down[d] : up[d];
  }
  /// Between the last number of decade d − 1 and the first of d lies the threshold; 0 counts as a decade before the first.
  DILOCO_HD static std::uint32_t code(float x, float scale) {
    float const t = product(x, scale);
    float const a = std::fabs(t);
    std::uint32_t const negative = bits_of(t) >> 31;
    // How many of 2.75e-7, 10^(d−6)·(1 + 0.9/2^d) for d = 0 … 5, and 0.996484375 are reached.
    std::uint32_t decades = a >= 2.75e-7f ? 1u : 0u;
    decades += a >= 1.9e-6f ? 1u : 0u;
    decades += a >= 1.45e-5f ? 1u : 0u;
    decades += a >= 1.225e-4f ? 1u : 0u;
    decades += a >= 1.1125e-3f ? 1u : 0u;
    decades += a >= 1.05625e-2f ? 1u : 0u;
    decades += a >= 1.028125e-1f ? 1u : 0u;
    std::uint32_t const one = t >= 0.996484375f ? 1u : 0u, some = at_least(decades, 1);
    std::uint32_t const decade = decades - some;
    std::uint32_t const cells = 1u << decade;
    float const width = float_of((127u + decade) << 23) * (1.0f / 0.9f);
    float const up = pick<0, 8>(decade << 29, [](int d) { return power_of_ten<true>(d); });
    float const within = product(fma(a, up, -0.1f), width);
    // Truncation is floor here; what lies past an end of the decade goes to its last cell.
    auto const cell = static_cast<std::int32_t>(within);
    std::int32_t const last = static_cast<std::int32_t>(cells) - 1;
    std::int32_t const kept = cell < 0 ? 0 : cell > last ? last : cell;
    std::uint32_t const index =
        ((cells + static_cast<std::uint32_t>(kept)) & (0u - some)) + one;  // 1 follows the last cell
    // In the top bits and shifted down, because g++ would pack each term to bytes by itself.
    std::uint32_t const minus = 0u - negative;
    return ((127u << 24) + ((index << 24) ^ minus) - minus) >> 24;
  }
};

}  // namespace detail

/// The dynamic 8-bit map (Dettmers et al. 2022): decade d = 0 … 6 of [10⁻⁷, 1] in 2^d equal cells with their midpoints as
/// numbers, both signs, 0 and 1; 256 numbers in rising order, the nearest wins. Scaled by the block's largest magnitude.
/// Errors stay small relative to each element over six decades, which states and residuals want: NMSE 1.2e-4 on Gaussian data,
/// 1.3e-4 on heavy tails.
template <int Block = 256>
struct dynamic8 : detail::scaled_codes<detail::dynamic8_format, Block> {
  static constexpr auto label = join(std::string_view("dynamic8/"), unsigned(Block));
  static constexpr std::string_view name = label.view();
  friend bool operator==(dynamic8 const&, dynamic8 const&) { return true; }
};

}  // namespace v0
}  // namespace diloco
