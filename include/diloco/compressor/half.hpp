// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/compressor.hpp>
#include <diloco/core/access.hpp>
#include <diloco/core/float_formats.hpp>

#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// One 16-bit float per element and no side information. `Format` converts one number in each direction.
template <class Format>
struct sixteen_bit {
  static constexpr int block = 256;
  static constexpr compressor_traits traits{};
  static constexpr std::size_t side_bytes = 0;
  DILOCO_HD static constexpr std::size_t code_bytes(std::size_t n) { return 2 * n; }

  template <lanes L>
  DILOCO_HD void encode(L l, lane_block<L, block> const& x, block_info info, wire_block out) const {
    auto* DILOCO_RESTRICT code = reinterpret_cast<std::uint16_t*>(out.code) + first_element<L, block>(l);
    int const mine = owned_elements<L, block>(l, info.count);
    write_lane<L, lane_elements<L, block>>(code, mine, [&](int i) { return Format::narrow(x.v[i]); });
  }
  template <lanes L, class Sink>
  DILOCO_HD void decode(L l, int count, wire_block_view in, Sink&& sink) const {
    auto const* DILOCO_RESTRICT code =
        reinterpret_cast<std::uint16_t const*>(in.code) + first_element<L, block>(l);
    int const mine = owned_elements<L, block>(l, count);
    read_lane<L, lane_elements<L, block>>(code, mine,
                                          [&](int i, std::uint16_t h) { sink(i, Format::widen(h)); });
  }
};

struct binary16 {
  DILOCO_HD static std::uint16_t narrow(float x) { return f16_from_float(x + 0.0f); }
  // Tests in sixteen bits, because a vector then holds twice as many.
  DILOCO_HD static float widen(std::uint16_t h) {
    return float_from_finite_f16((h & 0x7fffu) < 0x7c00u ? h : std::uint16_t{0});
  }
};
struct bfloat16 {
  DILOCO_HD static std::uint16_t narrow(float x) { return bf16_from_float(x + 0.0f); }
  DILOCO_HD static float widen(std::uint16_t h) { return finite_or_zero(float_from_bf16(h)); }
};

}  // namespace detail

/// IEEE binary16, rounded to nearest even, 16 bits. Magnitudes above 65504 are an error. Below 6e-5 the step
/// is a fixed 6e-8.
struct f16 : detail::sixteen_bit<detail::binary16> {
  static constexpr std::string_view name = "f16";
  static constexpr float largest = 65504.0f;
  static constexpr float smallest = 0x1p-14f;  // smaller numbers are subnormal
  friend bool operator==(f16 const&, f16 const&) { return true; }
};

/// bfloat16, rounded to nearest even, 16 bits. It has the range of f32 (NMSE 2.8e-6).
struct bf16 : detail::sixteen_bit<detail::bfloat16> {
  static constexpr std::string_view name = "bf16";
  static constexpr float largest = 3.3895314e38f;
  static constexpr float smallest = 0x1p-126f;
  friend bool operator==(bf16 const&, bf16 const&) { return true; }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
