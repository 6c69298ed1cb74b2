// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>

#include <cmath>
#include <cstdint>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// a·b + c, rounded once. Replicated code writes every multiply-add with it, because two ranks must end with
/// the same bits. Whether a compiler contracts `a * b + c` by itself depends on flags, compiler and backend.
/// Write `diloco::fma` outside this namespace: the C library's `fma` works in double.
DILOCO_HD inline float fma(float a, float b, float c) { return ::fmaf(a, b, c); }

/// a·b, rounded here. The compiler may contract a bare product with the next addition, and the bits would
/// then depend on flags.
DILOCO_HD inline float product(float a, float b) { return fma(a, b, 0.0f); }

/// Converts a float to its bits, and back. `std::bit_cast` is a host function to nvcc, which would compile it
/// to a trap.
DILOCO_HD constexpr std::uint32_t bits_of(float x) { return __builtin_bit_cast(std::uint32_t, x); }
DILOCO_HD constexpr float float_of(std::uint32_t bits) { return __builtin_bit_cast(float, bits); }

/// x, or +0 for Inf and NaN. Decoders use it for bytes that no encoder wrote.
DILOCO_HD constexpr float finite_or_zero(float x) {
  return (bits_of(x) & 0x7f800000u) == 0x7f800000u ? 0.0f : x;
}

/// −1, 0 or 1. It is NaN for NaN and Inf, so that a step by signs does not hide them. Every compiler
/// vectorizes comparisons that are added up. x·0 is ±0 for a finite x and changes no sign, even where it is
/// contracted.
DILOCO_HD constexpr float sign_of(float x) {
  return x * 0.0f + (static_cast<float>(x > 0.0f) - static_cast<float>(x < 0.0f));
}

/// 1 where a ≥ b, else 0, for a and b below 2³¹, such as the bits of magnitudes. It uses arithmetic, because
/// g++ turns a chain of comparisons into branches and then vectorizes nothing. That costs 6.7 instead of 1.5
/// ns per element (lloyd_max<4>, sweep A).
DILOCO_HD constexpr std::uint32_t at_least(std::uint32_t a, std::uint32_t b) { return (b - 1u - a) >> 31; }

/// `yes` where bit is 1, `no` where it is 0. It uses arithmetic for the same reason as at_least.
DILOCO_HD constexpr float select(std::uint32_t bit, float yes, float no) {
  return float_of(bits_of(no) ^ ((0u - bit) & (bits_of(yes) ^ bits_of(no))));
}

/// baseⁿ by repeated squaring in double. It only multiplies, so the bits do not depend on the libm.
constexpr double integer_power(double base, unsigned long long n) {
  double result = 1;
  for (; n != 0; n >>= 1, base = base * base) {
    if ((n & 1) != 0) result = result * base;
  }
  return result;
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
