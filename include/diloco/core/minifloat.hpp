// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/fma.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Floats of 1 sign, `Exponent` and `Mantissa` bits. All codes are numbers. They round to nearest even and
/// keep subnormals. There are no branches, so loops vectorize. The bits are exact on host and device alike.
template <int Exponent, int Mantissa, int Bias, std::uint32_t LargestCode>
struct minifloat {
  static constexpr int bits = 1 + Exponent + Mantissa;
  static constexpr std::uint32_t largest_code = LargestCode;

  /// |x| above the largest number becomes the largest. −0 and numbers that round to it become +0. Finite x
  /// only.
  DILOCO_HD static constexpr std::uint32_t narrow(float x) {
    std::uint32_t const u = bits_of(x) & 0x7fffffffu, a = u < bits_of(largest) ? u : bits_of(largest);
    std::uint32_t const e = a & 0x7f800000u, exponent = e > smallest_normal ? e : smallest_normal;
    std::uint32_t const lowest = x < -half_unit ? offset + (1u << (bits - 1)) : offset;
    // The last place of the sum is the format's at this exponent, so the FPU rounds, subnormals too. The
    // lowest bits of the second number turn the count of units into the code.
    // The sum comes last, because g++ would pack later terms to bytes one by one (e4m3, sweep A: 0.7 instead
    // of 0.57 ns per element).
    float const sum = float_of(a) + float_of(exponent + (exponent >> dropped) + lowest);
    return bits_of(sum) & ((1u << bits) - 1u);
  }
  /// The number of the code in the top bits. The lower bits are ignored.
  DILOCO_HD static constexpr float widen_top(std::uint32_t top) {
    std::uint32_t const magnitude = (top >> (8 - Exponent)) & (((1u << (bits - 1)) - 1u) << dropped);
    std::uint32_t const normal = magnitude + rebias;
    // The smaller one is right. Below the smallest normal number that is `small`, which has no leading 1.
    std::uint32_t const small = bits_of(float_of(magnitude + smallest_normal) - float_of(smallest_normal));
    return float_of((normal < small ? normal : small) | (top & 0x80000000u));
  }
  DILOCO_HD static constexpr float widen(std::uint32_t code) { return widen_top(code << (32 - bits)); }
  static constexpr float largest = float_of((LargestCode << (23 - Mantissa)) + ((127u - Bias) << 23));

 private:
  static constexpr int dropped = 23 - Mantissa;
  static constexpr std::uint32_t rebias = (127u - Bias) << 23;
  static constexpr std::uint32_t smallest_normal = (128u - Bias) << 23;
  static constexpr std::uint32_t offset =
      (std::uint32_t{dropped} << 23) + ((0u - (smallest_normal >> dropped)) & 0xffu);
  static constexpr float half_unit = float_of((127u - Bias - Mantissa) << 23);
};

/// OCP formats. The codes of Inf and NaN are never written.
using float_e4m3 = minifloat<4, 3, 7, 0x7e>;   ///< largest 448
using float_e5m2 = minifloat<5, 2, 15, 0x7b>;  ///< largest 57344
using float_e2m3 = minifloat<2, 3, 1, 0x1f>;   ///< largest 7.5
using float_e3m2 = minifloat<3, 2, 3, 0x1f>;   ///< largest 28
using float_e2m1 = minifloat<2, 1, 1, 0x7>;    ///< largest 6

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
