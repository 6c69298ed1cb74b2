// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/fma.hpp>

namespace diloco {
inline namespace v0 {

/// Floats of 1 sign, `Exponent` and `Mantissa` bits, all codes numbers: round to nearest even, subnormals kept. Without
/// branches, so that loops vectorize; exact on host and device alike.
template <int Exponent, int Mantissa, int Bias, std::uint32_t LargestCode>
struct minifloat {
  static constexpr int bits = 1 + Exponent + Mantissa;
  static constexpr std::uint32_t largest_code = LargestCode;

  /// |x| above the largest number becomes the largest; −0 becomes +0. Finite x only.
  DILOCO_HD static constexpr std::uint32_t narrow(float x) {
    std::uint32_t const u = bits_of(x), a = u & 0x7fffffffu;
    std::uint32_t const normal = (a - rebias + half_below + ((a >> dropped) & 1u)) >> dropped;
    // Below the smallest normal number a float's own rounding does it: the sum's last place is the unit.
    std::uint32_t const small = bits_of(float_of(a) + float_of(unit_in_last_place)) - unit_in_last_place;
    std::uint32_t const rounded = a < smallest_normal ? small : normal;
    std::uint32_t const code = rounded < largest_code ? rounded : largest_code;
    return code | (code != 0 ? u >> 31 << (bits - 1) : 0u);
  }
  /// The number of a code that stands in the low bits.
  DILOCO_HD static constexpr float widen(std::uint32_t code) {
    std::uint32_t const magnitude = code & ((1u << (bits - 1)) - 1u);
    std::uint32_t const sign = code >> (bits - 1) << 31;
    float const normal = float_of((magnitude << dropped) + rebias);
    float const small = float_of((magnitude << dropped) + smallest_normal) - float_of(smallest_normal);
    return float_of(bits_of(magnitude < (1u << Mantissa) ? small : normal) | sign);
  }
  static constexpr float largest = float_of((LargestCode << (23 - Mantissa)) + ((127u - Bias) << 23));

 private:
  static constexpr int dropped = 23 - Mantissa;
  static constexpr std::uint32_t rebias = (127u - Bias) << 23;
  static constexpr std::uint32_t smallest_normal = (128u - Bias) << 23;
  static constexpr std::uint32_t half_below = (1u << (dropped - 1)) - 1u;
  static constexpr std::uint32_t unit_in_last_place = (127u + 24u - Bias - Mantissa) << 23;
};

/// OCP formats; the codes of Inf and NaN are never written.
using float_e4m3 = minifloat<4, 3, 7, 0x7e>;   ///< largest 448
using float_e5m2 = minifloat<5, 2, 15, 0x7b>;  ///< largest 57344
using float_e2m3 = minifloat<2, 3, 1, 0x1f>;   ///< largest 7.5
using float_e3m2 = minifloat<3, 2, 3, 0x1f>;   ///< largest 28
using float_e2m1 = minifloat<2, 1, 1, 0x7>;    ///< largest 6

}  // namespace v0
}  // namespace diloco
