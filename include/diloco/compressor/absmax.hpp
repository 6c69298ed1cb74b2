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
  static_assert(
      Block > 0 && Block * Bits % 256 == 0,
      "diloco: absmax: Block is a multiple of 32 at 8 bits and of 64 at 4, so that 32 lanes hold whole bytes");

  static constexpr auto label =
      join(std::string_view("absmax"), unsigned(Bits), std::string_view("/"), unsigned(Block));
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
    auto* DILOCO_RESTRICT code = reinterpret_cast<std::uint8_t*>(out.code) + first_element<L, Block>(l) * Bits / 8;
    int const mine = owned_bytes(l, info.count);
    if constexpr (Bits == 8) {
      for_first<L, lane_bytes<L>>(mine, [&](int i) { code[i] = quantize(x.v[i], scale); });
    } else {
      std::uint8_t q[lane_elements<L, Block>];
      for (int i = 0; i < x.size; ++i) q[i] = quantize(x.v[i], scale);
      for_first<L, lane_bytes<L>>(
          mine, [&](int i) { code[i] = static_cast<std::uint8_t>((q[2 * i] & 15u) | (q[2 * i + 1] << 4)); });
    }
  }

  template <lanes L, class Sink>
  DILOCO_HD void decode(L l, int count, wire_block_view in, Sink&& sink) const {
    float const amax = *reinterpret_cast<float const*>(in.side);
    auto const* DILOCO_RESTRICT code =
        reinterpret_cast<std::uint8_t const*>(in.code) + first_element<L, Block>(l) * Bits / 8;
    if (Bits == 4 && count == Block) {
      for (int w = 0; w < lane_elements<L, Block> / run<L>; ++w) {
        std::uint32_t const c = reinterpret_cast<word<L> const*>(code)[w];
        DILOCO_ONE_VECTOR
        for (int i = 0; i < run<L>; ++i) sink(w * run<L> + i, value(static_cast<int>(c << (28 - 4 * i)) >> 28, amax));
      }
      return;
    }
    int const mine = owned_bytes(l, count);
    for_first<L, lane_bytes<L>>(mine, [&](int i) {
      if constexpr (Bits == 8) {
        sink(i, value(static_cast<std::int8_t>(code[i]), amax));
      } else {
        sink(2 * i, value(static_cast<int>((code[i] & 15u) ^ 8u) - 8, amax));
        sink(2 * i + 1, value(static_cast<int>((code[i] >> 4) ^ 8u) - 8, amax));
      }
    });
  }
  friend bool operator==(absmax const&, absmax const&) { return true; }

 private:
  template <lanes L>
  static constexpr int lane_bytes = lane_elements<L, Block>* Bits / 8;
  template <lanes L>
  DILOCO_HD static constexpr int owned_bytes(L l, int count) {
    return (owned_elements<L, Block>(l, count) * Bits + 7) / 8;
  }
  /// 1.5·2²³ puts the unit in the last place of the sum: the FPU's own rounding is rne(x·scale), and the low bits of the
  /// sum are the two's complement code.
  DILOCO_HD static std::uint8_t quantize(float x, float scale) {
    return static_cast<std::uint8_t>(bits_of(fma(x, scale, 12582912.0f)));
  }
  /// Elements whose codes one machine word holds.
  template <lanes L>
  static constexpr int run = lane_elements<L, Block> < 8 ? lane_elements<L, Block> : 8;
  template <lanes L>
  using word =
      std::conditional_t<run<L> == 2, std::uint8_t, std::conditional_t<run<L> == 4, std::uint16_t, std::uint32_t>>;
  DILOCO_HD static float value(int q, float amax) { return product(static_cast<float>(q) * unit, amax); }
};

}  // namespace v0
}  // namespace diloco
