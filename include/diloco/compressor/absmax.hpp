// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/compressor.hpp>
#include <diloco/core/fma.hpp>
#include <diloco/core/text.hpp>

#include <string_view>

namespace diloco {
inline namespace v0 {

/// Symmetric integers scaled by the block's largest magnitude: q = rne(x·L/amax) in ±L, L = 2^(Bits−1) − 1, decoded as
/// (q/L)·amax. The wire carries amax itself, so the largest element returns exactly. Two's complement codes, element 0
/// in the low nibble. absmax<8>: NMSE 4.9e-5 on Gaussian data; absmax<4, 128>: 1.4e-2 (Dettmers et al. 2022; SDP4Bit).
template <int Bits, int Block = 256>
struct absmax {
  static_assert(Bits == 8 || Bits == 4, "diloco: absmax: Bits is 8 or 4");
  static_assert(Block >= 32 && Block % 32 == 0, "diloco: absmax: Block is a multiple of 32");

  static constexpr auto label = join(std::string_view("absmax"), unsigned(Bits), std::string_view("/"), unsigned(Block));
  static constexpr std::string_view name = label.view();
  static constexpr int block = Block;
  static constexpr bool lossless = false;
  static constexpr float largest = 3.4028235e38f;
  static constexpr std::size_t side_bytes = sizeof(float);
  DILOCO_HD static constexpr std::size_t code_bytes(std::size_t n) { return (n * Bits + 7) / 8; }

  static constexpr float levels = Bits == 8 ? 127.0f : 7.0f;
  static constexpr float unit = 1.0f / levels;
  static_assert(levels * unit == 1.0f, "the largest element must decode to amax exactly");

  template <lanes L>
  DILOCO_HD void encode(L l, fragment<L, Block> const& x, block_info info, wire_block out) const {
    bool const zero = info.amax < smallest_block_magnitude;
    if (L::rank() == 0) *reinterpret_cast<float*>(out.side) = zero ? 0.0f : info.amax;
    float const scale = zero ? 0.0f : levels / info.amax;
    std::uint8_t q[fragment<L, Block>::size];
    for (int i = 0; i < x.size; ++i) q[i] = quantize(x.v[i], scale);
    auto* DILOCO_RESTRICT code = reinterpret_cast<std::uint8_t*>(out.code) + first_byte(l);
    int const bytes = info.count == Block ? x.size * Bits / 8 : bytes_of_lane(l, info.count);
    if (info.count == Block) {
      for (int i = 0; i < x.size * Bits / 8; ++i) code[i] = pack(q, i);
    } else {
      for (int i = 0; i < x.size * Bits / 8; ++i) {
        if (i < bytes) code[i] = pack(q, i);
      }
    }
  }

  template <lanes L>
  DILOCO_HD fragment<L, Block> decode(L l, int count, wire_block_view in) const {
    float const amax = *reinterpret_cast<float const*>(in.side);
    auto const* DILOCO_RESTRICT code = reinterpret_cast<std::uint8_t const*>(in.code) + first_byte(l);
    fragment<L, Block> y;
    if (count == Block) {
      for (int i = 0; i < y.size * Bits / 8; ++i) unpack(code[i], i, amax, y.v);
    } else {
      int const bytes = bytes_of_lane(l, count);
      for (int i = 0; i < y.size * Bits / 8; ++i) unpack(i < bytes ? code[i] : std::uint8_t{0}, i, amax, y.v);
    }
    return y;
  }
  friend bool operator==(absmax const&, absmax const&) { return true; }

 private:
  template <lanes L>
  DILOCO_HD static constexpr int first_byte(L l) {
    return first_element<L, Block>(l) * Bits / 8;
  }
  template <lanes L>
  DILOCO_HD static constexpr int bytes_of_lane(L l, int count) {
    return static_cast<int>(code_bytes(static_cast<std::size_t>(count))) - first_byte(l);
  }
  /// 1.5·2²³ puts the unit in the last place of the sum: the FPU's own rounding is rne(x·scale), and the low bits of the
  /// sum are the two's complement code.
  DILOCO_HD static std::uint8_t quantize(float x, float scale) {
    return static_cast<std::uint8_t>(bits_of(fma(x, scale, 12582912.0f)));
  }
  DILOCO_HD static std::uint8_t pack(std::uint8_t const* q, int i) {
    if constexpr (Bits == 8) return q[i];
    else return static_cast<std::uint8_t>((q[2 * i] & 15u) | ((q[2 * i + 1] & 15u) << 4));
  }
  DILOCO_HD static void unpack(std::uint8_t c, int i, float amax, float* y) {
    if constexpr (Bits == 8) {
      y[i] = value(static_cast<std::int8_t>(c), amax);
    } else {
      y[2 * i] = value(static_cast<int>((c & 15u) ^ 8u) - 8, amax);
      y[2 * i + 1] = value(static_cast<int>((c >> 4) ^ 8u) - 8, amax);
    }
  }
  DILOCO_HD static float value(int q, float amax) { return static_cast<float>(q) * unit * amax; }
};

}  // namespace v0
}  // namespace diloco
