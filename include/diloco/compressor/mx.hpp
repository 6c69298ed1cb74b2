// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/compressor.hpp>
#include <diloco/core/minifloat.hpp>
#include <diloco/core/pack.hpp>
#include <diloco/core/text.hpp>

#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// Bits of the largest magnitude of each group of `Group` elements that this lane takes part in. On the host
/// a lane holds whole groups. On the device a group spans several lanes.
template <int Group, int Block, lanes L>
struct group_magnitudes {
  static constexpr int elements = lane_elements<L, Block>;
  static constexpr int size = elements < Group ? elements : Group;  // elements of one group in this lane
  static constexpr int groups = elements / size;                    // groups that this lane takes part in
  static_assert(L::width == 1 || groups == 1, "diloco: a lane of many may not hold several groups");
  std::uint32_t of[groups];

  DILOCO_HD explicit group_magnitudes(lane_block<L, Block> const& x) {
    for (int g = 0; g < groups; ++g) {
      std::uint32_t most = 0;
      auto const hear = [&](int i) { most = larger(most, magnitude_bits(x.v[g * size + i])); };
      if constexpr (size > 16) {
        for (int i = 0; i < size; ++i) hear(i);
      } else {
        // g++ unrolls a loop this short and turns it into a transposition of all groups (nvfp4, sweep A: 0.98
        // instead of 0.69 ns).
        DILOCO_ONE_VECTOR
        for (int i = 0; i < size; ++i) hear(i);
      }
      of[g] = L::template max_of<Group / size>(most);
    }
  }
  /// The first group that this lane takes part in, and whether this lane writes that group's scale.
  DILOCO_HD static int first(L l) { return first_element<L, Block>(l) / Group; }
  DILOCO_HD static bool leads(L l) { return first_element<L, Block>(l) % Group == 0; }
};

/// 32 elements share a power of two, 2^(byte − 127). Byte 0 says that all 32 are +0. A byte so large that no
/// encoder writes it reads the same (255, OCP's NaN, among them).
template <class Float, int LargestExponent>
struct microscaled {
  static constexpr int block = 256, group = 32, bits = Float::bits;
  static constexpr compressor_traits traits{};
  static constexpr float largest = 3.4028235e38f / 2;  // rounding may raise a number of the largest group
  static constexpr float smallest = smallest_block_magnitude;
  static constexpr std::size_t side_bytes = block / group;
  DILOCO_HD static constexpr std::size_t code_bytes(std::size_t n) { return planes_bytes<bits>(n); }

  template <lanes L>
  DILOCO_HD void encode(L l, lane_block<L, block> const& x, block_info info, wire_block out) const {
    using magnitudes = group_magnitudes<group, block, L>;
    magnitudes const m(x);
    float inverse[magnitudes::groups];
    for (int g = 0; g < magnitudes::groups; ++g) {
      std::uint32_t const exponent = m.of[g] >> 23;
      bool const zero = exponent <= LargestExponent || info.amax < smallest_block_magnitude;
      std::uint32_t const byte = zero ? 0u : exponent - LargestExponent;
      inverse[g] = zero ? 0.0f : float_of((254u - byte) << 23);
      if (magnitudes::leads(l)) out.side[magnitudes::first(l) + g] = static_cast<std::byte>(byte);
    }
    if (bits == 8 && L::width == 1 && info.count == block) {
      narrow(l, x, inverse, reinterpret_cast<std::uint8_t*>(out.code) + first_element<L, block>(l));
      return;
    }
    std::uint8_t q[lane_elements<L, block>];
    narrow(l, x, inverse, q);
    pack_planes<bits, block>(l, info.count, out.code, q);
  }

  template <lanes L, class Sink>
  DILOCO_HD void decode(L l, int count, wire_block_view in, Sink&& sink) const {
    using magnitudes = group_magnitudes<group, block, L>;
    float scale[magnitudes::groups];
    for (int g = 0; g < magnitudes::groups; ++g) {
      auto const byte = static_cast<std::uint32_t>(in.side[magnitudes::first(l) + g]);
      scale[g] = float_of(byte > 253u - LargestExponent ? 0u : byte << 23);
    }
    unpack_groups<bits, block, group>(l, count, in.code, [&](int g) {
      return [&sink, unit = scale[g]](int i, std::uint32_t top) {
        sink(i, product(Float::widen_top(top), unit));
      };
    });
  }

 private:
  template <lanes L>
  DILOCO_HD static void narrow(L, lane_block<L, block> const& x, float const* inverse,
                               std::uint8_t* DILOCO_RESTRICT q) {
    using magnitudes = group_magnitudes<group, block, L>;
    for (int g = 0; g < magnitudes::groups; ++g) {
      for (int i = g * magnitudes::size; i < (g + 1) * magnitudes::size; ++i)
        q[i] = static_cast<std::uint8_t>(Float::narrow(product(x.v[i], inverse[g])));
    }
  }
};

}  // namespace detail

/// OCP Microscaling (MX v1.0): a group of 32 has one E8M0 power of two, 2^(⌊log₂ amax⌋ − emax). Elements are
/// rounded to nearest even and saturate. A block of 256 holds eight groups. A shorter last block still
/// carries eight scales.
/// mxfp8: E4M3, 8.25 bits, NMSE 8.5e-4 on Gaussian data.
struct mxfp8 : detail::microscaled<float_e4m3, 8> {
  static constexpr std::string_view name = "mxfp8";
  friend bool operator==(mxfp8 const&, mxfp8 const&) { return true; }
};
/// mxfp6: E2M3 in a plane of 4 and a plane of 2 bits, 6.25 bits, NMSE 8.0e-4.
struct mxfp6 : detail::microscaled<float_e2m3, 2> {
  static constexpr std::string_view name = "mxfp6";
  friend bool operator==(mxfp6 const&, mxfp6 const&) { return true; }
};
/// mxfp4: E2M1, 4.25 bits, NMSE 1.3e-2. That is worse than e2m1 with an fp32 scale (1.0e-2), because the
/// scale rounds down and elements above 6 times the scale saturate.
struct mxfp4 : detail::microscaled<float_e2m1, 2> {
  static constexpr std::string_view name = "mxfp4";
  friend bool operator==(mxfp4 const&, mxfp4 const&) { return true; }
};

/// NVIDIA's NVFP4: a group of 16 E2M1 elements has an E4M3 scale, relative to an fp32 scale amax/(448·6).
/// NMSE is 9.1e-3, the steadiest of the 4-bit formats on heavy tails.
/// The fp32 scale belongs to the block, not to the tensor, because a tensor's scale would need a sweep of its
/// own. This takes 4.5625 bits at Block 512 instead of 4.5.
struct nvfp4 {
  static constexpr std::string_view name = "nvfp4";
  static constexpr int block = 512, group = 16, bits = 4;
  static constexpr compressor_traits traits{};
  static constexpr float largest = 3.4028235e38f / 2;
  static constexpr float smallest = smallest_block_magnitude;
  static constexpr std::size_t side_bytes = sizeof(float) + block / group;
  DILOCO_HD static constexpr std::size_t code_bytes(std::size_t n) { return packed_bytes<4>(n); }
  friend bool operator==(nvfp4 const&, nvfp4 const&) { return true; }

  template <lanes L>
  DILOCO_HD void encode(L l, lane_block<L, block> const& x, block_info info, wire_block out) const {
    using magnitudes = detail::group_magnitudes<group, block, L>;
    magnitudes const m(x);
    bool const zero = info.amax < smallest_block_magnitude;
    float const unit = zero ? 0.0f : info.amax * (1.0f / 2688.0f), inverse_unit = zero ? 0.0f : 1.0f / unit;
    if (L::rank() == 0) *reinterpret_cast<float*>(out.side) = unit;
    float inverse[magnitudes::groups], rest[magnitudes::groups], steps[magnitudes::groups];
    std::uint8_t scale[magnitudes::groups];
    for (int g = 0; g < magnitudes::groups; ++g) {
      std::uint32_t const code = float_e4m3::narrow(product(float_of(m.of[g]) * (1.0f / 6.0f), inverse_unit));
      float const step = product(float_e4m3::widen(code), unit);
      steps[g] = step;
      inverse[g] = code == 0 ? 0.0f : 1.0f / step;
      rest[g] = code == 0 ? 0.0f : product(fma(-step, inverse[g], 1.0f), inverse[g]);
      scale[g] = static_cast<std::uint8_t>(code);
    }
    for (int g = 0; g < magnitudes::groups; ++g) {
      if (magnitudes::leads(l)) out.side[4 + magnitudes::first(l) + g] = static_cast<std::byte>(scale[g]);
    }
    // This loop is separate from the codes, because a group of bytes fills only half a vector.
    float y[lane_elements<L, block>];
    for (int g = 0; g < magnitudes::groups; ++g) {
      std::uint32_t const some = scale[g] == 0 ? 0u : 0xffffffffu;
      DILOCO_ONE_VECTOR
      for (int i = g * magnitudes::size; i < (g + 1) * magnitudes::size; ++i)
        y[i] = float_of(bits_of(quotient(x.v[i], steps[g], inverse[g], rest[g])) & some);
    }
    std::uint8_t q[lane_elements<L, block>];
    for (int i = 0; i < x.size; ++i) q[i] = static_cast<std::uint8_t>(float_e2m1::narrow(y[i]));
    pack_planes<4, block>(l, info.count, out.code, q);
  }

  /// x/step, which the next rounding to a few bits treats as the exact quotient. Where the quotient is
  /// inexact, its last bit is odd. A float product with the reciprocal put 234 of 262,144 quotients near a
  /// tie of E2M1 (3.5 → 3) on the wrong side.
  DILOCO_HD static float quotient(float x, float step, float inverse, float rest) {
    float const near = fma(x, inverse, product(x, rest)), left = fma(-near, step, x);
    std::uint32_t const down =
        static_cast<std::uint32_t>(static_cast<std::int32_t>(bits_of(left) ^ bits_of(near)) >> 31);
    return left != 0.0f ? float_of((bits_of(near) + down) | 1u) : near;
  }

  template <lanes L, class Sink>
  DILOCO_HD void decode(L l, int count, wire_block_view in, Sink&& sink) const {
    using magnitudes = detail::group_magnitudes<group, block, L>;
    std::uint32_t const bits_of_unit = bits_of(*reinterpret_cast<float const*>(in.side));
    // A value that no encoder writes reads as 0. The largest amax divided by 2688 is below 2¹¹⁶.
    float const unit = bits_of_unit < 0x79800000u ? float_of(bits_of_unit) : 0.0f;
    float scale[magnitudes::groups];
    for (int g = 0; g < magnitudes::groups; ++g) {
      auto const code = static_cast<std::uint32_t>(in.side[4 + magnitudes::first(l) + g]);
      scale[g] = product(float_e4m3::widen(code & 0x7fu), unit);
    }
    unpack_groups<bits, block, group>(l, count, in.code, [&](int g) {
      return [&sink, u = scale[g]](int i, std::uint32_t top) {
        sink(i, product(float_e2m1::widen_top(top), u));
      };
    });
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
