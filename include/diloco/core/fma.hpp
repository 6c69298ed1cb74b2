// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>

#include <cmath>
#include <cstdint>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// a·b + c, rounded once. Replicated code spells every multiply-add with it, because whether a compiler
/// contracts `a * b + c` by itself depends on flags, compiler and backend, and two ranks must end with the
/// same bits. Write `diloco::fma` outside this namespace: the C library's `fma` works in double.
DILOCO_HD inline float fma(float a, float b, float c) { return ::fmaf(a, b, c); }

/// a·b rounded here: a bare product may be contracted into whatever is added to it next, and the bits would
/// then depend on flags.
DILOCO_HD inline float product(float a, float b) { return fma(a, b, 0.0f); }

/// The bits of a float, and back. `std::bit_cast` is a host function to nvcc, which would compile it to a
/// trap.
DILOCO_HD constexpr std::uint32_t bits_of(float x) { return __builtin_bit_cast(std::uint32_t, x); }
DILOCO_HD constexpr float float_of(std::uint32_t bits) { return __builtin_bit_cast(float, bits); }

/// x, or +0 for Inf and NaN: what a decoder makes of bytes that no encoder wrote.
DILOCO_HD constexpr float finite_or_zero(float x) {
  return (bits_of(x) & 0x7f800000u) == 0x7f800000u ? 0.0f : x;
}

/// −1, 0 or 1; NaN for NaN and Inf, so that a step by signs does not hide them. Every compiler vectorizes
/// comparisons that are added up. x·0 is ±0 for a finite x and changes no sign, also where it is contracted.
DILOCO_HD constexpr float sign_of(float x) {
  return x * 0.0f + (static_cast<float>(x > 0.0f) - static_cast<float>(x < 0.0f));
}

/// 1 where a ≥ b, else 0, for a and b below 2³¹, such as the bits of magnitudes. In arithmetic, because g++
/// threads a chain of comparisons into branches and then vectorizes nothing (lloyd_max<4>, sweep A: 6.7 ns
/// per element for 1.5).
DILOCO_HD constexpr std::uint32_t at_least(std::uint32_t a, std::uint32_t b) { return (b - 1u - a) >> 31; }

/// `yes` where bit is 1, `no` where it is 0, in arithmetic likewise.
DILOCO_HD constexpr float select(std::uint32_t bit, float yes, float no) {
  return float_of(bits_of(no) ^ ((0u - bit) & (bits_of(yes) ^ bits_of(no))));
}

/// baseⁿ by repeated squaring in double: multiplications only, so every libm gives the same bits.
constexpr double integer_power(double base, unsigned long long n) {
  double result = 1;
  for (; n != 0; n >>= 1, base = base * base) {
    if ((n & 1) != 0) result = result * base;
  }
  return result;
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
