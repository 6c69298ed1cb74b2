// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>
#include <diloco/core/fma.hpp>

#include <cstdint>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

// Conversions in integer arithmetic without branches. A loop of them vectorizes on any compiler, and host and
// device give the same bits. `_Float16` vectorizes only with F16C flags, and CUDA's host `__half` not at all
// (7 GB/s).

/// binary32 → bfloat16, rounded to nearest even. Finite input only: NaN payloads may round to Inf.
DILOCO_HD inline std::uint16_t bf16_from_float(float x) {
  std::uint32_t const u = bits_of(x);
  return static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

DILOCO_HD inline float float_from_bf16(std::uint16_t b) {
  return float_of(static_cast<std::uint32_t>(b) << 16);
}

/// An element of a bfloat16 tensor, with the layout of __nv_bfloat16, at::BFloat16 and std::bfloat16_t.
struct bfloat16 {
  std::uint16_t bits = 0;
};
/// Rounds a finite number. A number that would become Inf becomes the largest bfloat16.
DILOCO_HD inline bfloat16 nearest_bf16(float x) {
  std::uint32_t const bits = bf16_from_float(x);
  return {static_cast<std::uint16_t>(bits - ((bits & 0x7fffu) == 0x7f80u ? 1u : 0u))};
}
DILOCO_HD inline float as_float(float x) { return x; }
DILOCO_HD inline float as_float(bfloat16 x) { return float_from_bf16(x.bits); }

/// binary32 → binary16, rounded to nearest even, with subnormals. Only for |x| ≤ 65504.
DILOCO_HD inline std::uint16_t f16_from_float(float x) {
  std::uint32_t const u = bits_of(x);
  std::uint32_t const e = u & 0x7f800000u, exponent = e > 0x38800000u ? e : 0x38800000u;
  // The last place of the sum is that of binary16 at this exponent, 13 places above the float's. So the FPU
  // rounds, subnormals too. The lowest bits of the second number turn the count of units into the code.
  std::uint32_t const lowest =
      (13u << 23) + (0x10000u - (0x38800000u >> 13) % 0x10000u) + ((u >> 16) & 0x8000u);
  return static_cast<std::uint16_t>(
      bits_of(float_of(u & 0x7fffffffu) + float_of(exponent + (exponent >> 13) + lowest)));
}

/// binary16 → binary32 for finite numbers.
DILOCO_HD inline float float_from_finite_f16(std::uint16_t h) {
  std::uint32_t const sign = (static_cast<std::uint32_t>(h) & 0x8000u) << 16;
  std::uint32_t const a = (h & 0x7fffu) << 13, normal = a + 0x38000000u;
  // The smaller one is right. Below the smallest normal number that is `small`, a·2⁻²⁴, which has no leading
  // 1.
  std::uint32_t const small = bits_of(float_of(a + 0x38800000u) - 0x1p-14f);
  return float_of(sign | (normal < small ? normal : small));
}

/// binary16 → binary32 for any code: exponent 31 becomes 255, so Inf and NaN stay what they are.
DILOCO_HD inline float float_from_f16(std::uint16_t h) {
  return float_of(bits_of(float_from_finite_f16(h)) | ((h & 0x7c00u) == 0x7c00u ? 0x7f800000u : 0u));
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
