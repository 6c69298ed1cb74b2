// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/compressor/detail/integer.hpp>
#include <diloco/compressor/detail/scaled_codes.hpp>
#include <diloco/core/text.hpp>

#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Symmetric integers, scaled by the block's largest magnitude: q = rne(x·L/amax) in ±L, L = 2^(Bits−1) − 1.
/// A code decodes to (q/L)·amax. Codes are in two's complement.
/// NMSE on Gaussian data: absmax<8> 4.9e-5; absmax<4, 128> 1.4e-2; ternary absmax<2, 128> 0.59 (Dettmers et
/// al. 2022; SDP4Bit).
template <int Bits, int Block = 256>
struct absmax : detail::scaled_codes<detail::integer<Bits>, Block> {
  static constexpr auto label =
      join(std::string_view("absmax"), unsigned(Bits), std::string_view("/"), unsigned(Block));
  static constexpr std::string_view name = label.view();
  friend bool operator==(absmax const&, absmax const&) { return true; }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
