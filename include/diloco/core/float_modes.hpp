// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/fma.hpp>

#include <cstdint>
#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// The floating-point modes of a thread, as bits; 0 is the default of IEEE 754. Each mode changes bits of θ̄,
/// so all ranks must have the same modes.
enum float_mode : std::uint32_t {
  rounds_upward = 1,
  rounds_downward = 2,
  rounds_to_zero = 3,      ///< the two bits together
  flushes_results = 4,     ///< subnormal results become zero (FTZ)
  flushes_operands = 8,    ///< subnormal operands count as zero (DAZ)
  rounds_fma_twice = 16,   ///< the C library's fmaf is not fused
  reassociates_sums = 32,  ///< compiled with -fassociative-math, which clang does not show in a macro
};

/// Operands of the probe. They lie in memory so that no compiler computes the results in advance.
struct float_mode_operands {
  float one = 1.0f, minus_one = -1.0f;
  float three_quarters = 0x0.cp-23f, one_quarter = 0x0.4p-23f;  // of the step from 1 to the next float
  float smallest_normal = 0x1p-126f, half = 0.5f;
  float subnormal = 0x1p-127f, four = 4.0f;
  float square = 1.0f + 0x1p-12f, less = -(1.0f + 0x1p-11f);
  float large = 0x1p24f;
};

/// Modes of the calling thread. It takes 12 operations. Results are compared as bits, because modes change
/// comparisons too.
DILOCO_HD inline std::uint32_t float_modes_of(float_mode_operands const volatile& x) {
  std::uint32_t modes = 0;
  bool const up = bits_of(x.one + x.three_quarters) != bits_of(1.0f);
  bool const up_early = bits_of(x.one + x.one_quarter) != bits_of(1.0f);
  bool const down_early = bits_of(x.minus_one - x.one_quarter) != bits_of(-1.0f);
  if (up_early) modes |= rounds_upward;
  if (!up) modes |= down_early ? rounds_downward : rounds_to_zero;
  if (bits_of(x.smallest_normal * x.half) == 0) modes |= flushes_results;
  if (bits_of(x.subnormal * x.four) == 0) modes |= flushes_operands;
  float const square = x.square, less = x.less, large = x.large, one = x.one;
  // The product is 1 + 2⁻¹¹ + 2⁻²⁴. Rounding it first loses or doubles the last term.
  if (bits_of(diloco::fma(square, square, less)) != bits_of(0x1p-24f)) modes |= rounds_fma_twice;
  // In every rounding mode large + one is 2²⁴ or 2²⁴ + 2.
  if (bits_of((large + one) - large) == bits_of(1.0f)) modes |= reassociates_sums;
  return modes;
}

/// Modes of the calling thread, with the probe's operands.
[[gnu::noinline]] inline std::uint32_t float_modes_here() {
  float_mode_operands const volatile x{};
  return float_modes_of(x);
}

[[nodiscard]] constexpr std::string_view rounding_name(std::uint32_t modes) {
  switch (modes & 3u) {
    case 0:
      return "to nearest";
    case 1:
      return "upward";
    case 2:
      return "downward";
    default:
      return "toward zero";
  }
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
