// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>
#include <diloco/core/fma.hpp>

#include <cstdint>

namespace diloco {
inline namespace v0 {

// Conversions in integer arithmetic without branches: a loop of them vectorizes on any compiler, which `_Float16` does
// only with F16C flags and CUDA's host `__half` not at all (7 GB/s), and host and device give the same bits.

/// binary32 → bfloat16, round to nearest even; finite input only (NaN payloads may round to Inf).
DILOCO_HD inline std::uint16_t bf16_from_float(float x) {
  std::uint32_t const u = bits_of(x);
  return static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

DILOCO_HD inline float float_from_bf16(std::uint16_t b) { return float_of(static_cast<std::uint32_t>(b) << 16); }

/// binary32 → binary16, round to nearest even, subnormals kept; |x| ≤ 65504 only.
DILOCO_HD inline std::uint16_t f16_from_float(float x) {
  std::uint32_t const u = bits_of(x);
  std::uint32_t const sign = (u >> 16) & 0x8000u;
  std::uint32_t const a = u & 0x7fffffffu;
  // Normal result: move the exponent bias from 127 to 15 and round the 13 bits that drop off.
  std::uint32_t const normal = (a - 0x38000000u + 0xfffu + ((a >> 13) & 1u)) >> 13;
  // Below 2⁻¹⁴: adding 0.5 puts the unit 2⁻²⁴ in the last place, so the FPU rounds to nearest even.
  std::uint32_t const small = bits_of(float_of(a) + 0.5f) - 0x3f000000u;
  return static_cast<std::uint16_t>(sign | (a < 0x38800000u ? small : normal));
}

DILOCO_HD inline float float_from_f16(std::uint16_t h) {
  std::uint32_t const sign = (static_cast<std::uint32_t>(h) & 0x8000u) << 16;
  std::uint32_t const a = h & 0x7fffu;
  // Exponent 31 becomes 255 (Inf and NaN stay what they are).
  std::uint32_t const normal = (a << 13) + (a >= 0x7c00u ? 0x70000000u : 0x38000000u);
  // Subnormal: a·2⁻²⁴, exact; built as (0.5 + a·2⁻²⁴) − 0.5.
  std::uint32_t const small = bits_of(float_of(a + 0x3f000000u) - 0.5f);
  return float_of(sign | (a < 0x0400u ? small : normal));
}

}  // namespace v0
}  // namespace diloco
