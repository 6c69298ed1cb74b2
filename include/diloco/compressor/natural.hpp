// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/compressor.hpp>
#include <diloco/core/field.hpp>
#include <diloco/core/fma.hpp>
#include <diloco/core/pack.hpp>

#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// How natural compression picks one of the two powers of two around x. nearest: the nearer one, ties up.
/// stochastic: at random, with mean x.
enum class natural_rounding { nearest, stochastic };

/// Natural compression (Horváth et al. 2019): x becomes a power of two. A plane of 8-bit exponents and a
/// plane of signs take 9 bits; there is no scale. Exponent 0 means +0.
/// Nearest rounding has an NMSE of about 3.7e-2 on any data. Stochastic rounding has 8.2e-2 on Gaussian data
/// and at most 1/8 on any.
template <natural_rounding Rounding = natural_rounding::nearest>
struct natural {
  std::uint64_t seed = 0;  ///< used by stochastic rounding only

  static constexpr std::string_view name =
      Rounding == natural_rounding::nearest ? "natural" : "natural_stochastic";
  static constexpr int block = 256;
  static constexpr compressor_traits traits{};
  static constexpr float largest = 0x1p127f;
  static constexpr float smallest = smallest_block_magnitude;
  static constexpr std::size_t side_bytes = 0;
  DILOCO_HD static constexpr std::size_t code_bytes(std::size_t n) {
    return packed_bytes<8>(n) + packed_bytes<1>(n);
  }

  template <lanes L>
  DILOCO_HD void encode(L l, lane_block<L, block> const& x, block_info info, wire_block out) const {
    std::uint8_t exponent[lane_elements<L, block>];
    if constexpr (Rounding == natural_rounding::nearest) {
      for (int i = 0; i < x.size; ++i) exponent[i] = rounded(x.v[i], 0x400000u, info);
    } else {
      float u[lane_elements<L, block>];
      draw_centred(u, info.element + static_cast<std::uint64_t>(first_element<L, block>(l)), info.stream,
                   seed);
      // Rounds up with probability mantissa/2²³: (u + ½)·2²³ added to the mantissa carries into the exponent.
      for (int i = 0; i < x.size; ++i) {
        exponent[i] = rounded(
            x.v[i], static_cast<std::uint32_t>(static_cast<std::int32_t>((u[i] + 0.5f) * 8388608.0f)), info);
      }
    }
    pack<8, block>(l, info.count, out.code, [&](int i) { return static_cast<std::uint32_t>(exponent[i]); });
    pack<1, block>(l, info.count, out.code + packed_bytes<8>(static_cast<std::size_t>(info.count)),
                   [&](int i) { return exponent[i] != 0 && x.v[i] < 0.0f ? 1u : 0u; });
  }
  template <lanes L, class Sink>
  DILOCO_HD void decode(L l, int count, wire_block_view in, Sink&& sink) const {
    std::uint8_t exponent[lane_elements<L, block>] = {};
    unpack<8, block>(l, count, in.code,
                     [&](int i, std::uint32_t top) { exponent[i] = static_cast<std::uint8_t>(top >> 24); });
    unpack<1, block>(
        l, count, in.code + packed_bytes<8>(static_cast<std::size_t>(count)), [&](int i, std::uint32_t top) {
          // No encoder writes 255. It reads as +0.
          bool const zero = exponent[i] == 0 || exponent[i] == 255;
          sink(i, float_of(zero ? 0u : static_cast<std::uint32_t>(exponent[i]) << 23 | (top & 0x80000000u)));
        });
  }
  template <class F>
  constexpr void fields(F&& f) const {
    f("seed", seed, range{0, 9007199254740992.0});
  }
  friend bool operator==(natural const&, natural const&) = default;

 private:
  DILOCO_HD static std::uint8_t rounded(float x, std::uint32_t added, block_info info) {
    std::uint32_t const a = magnitude_bits(x);
    // Subnormal numbers are sent as zero, because their exponent field does not give their power of two.
    return static_cast<std::uint8_t>(
        a < 0x00800000u || info.amax < smallest_block_magnitude ? 0u : (a + added) >> 23);
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
