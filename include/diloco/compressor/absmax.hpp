// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/compressor/detail/scaled_codes.hpp>
#include <diloco/core/text.hpp>

#include <string_view>

namespace diloco {
inline namespace v0 {
namespace detail {

template <int Bits>
struct integer {
  static_assert(Bits == 8 || Bits == 4 || Bits == 2, "diloco: absmax: Bits is 8, 4 or 2");
  static constexpr int bits = Bits;
  static constexpr float levels = static_cast<float>((1 << (Bits - 1)) - 1);
  /// 1.5·2²³ puts the unit in the last place of the sum: the FPU's own rounding is rne(x·scale), and the low bits of the
  /// sum are the two's complement code.
  DILOCO_HD static std::uint32_t code(float x, float scale) {
    return bits_of(fma(x, scale, 12582912.0f)) & ((1u << Bits) - 1u);
  }
  DILOCO_HD static float value(std::uint32_t top) {
    return static_cast<float>(static_cast<std::int32_t>(top) >> (32 - Bits));
  }
};

}  // namespace detail

/// Symmetric integers scaled by the block's largest magnitude: q = rne(x·L/amax) in ±L, L = 2^(Bits−1) − 1, decoded as
/// (q/L)·amax, in two's complement. NMSE on Gaussian data: absmax<8> 4.9e-5; absmax<4, 128> 1.4e-2; absmax<2, 128>, ternary,
/// 0.59 (Dettmers et al. 2022; SDP4Bit).
template <int Bits, int Block = 256>
struct absmax : detail::scaled_codes<detail::integer<Bits>, Block> {
  static constexpr auto label =
      join(std::string_view("absmax"), unsigned(Bits), std::string_view("/"), unsigned(Block));
  static constexpr std::string_view name = label.view();
  friend bool operator==(absmax const&, absmax const&) { return true; }
};

}  // namespace v0
}  // namespace diloco
