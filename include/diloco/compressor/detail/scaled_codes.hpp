// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/compressor.hpp>
#include <diloco/core/fma.hpp>
#include <diloco/core/pack.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// The largest scale that an encoder writes. Damaged codes can double it, and twice this scale is still
/// finite.
inline constexpr float largest_scale = 3.4028235e38f / 2;

/// Reads a scale from a message. A value that no encoder writes (negative, too large, Inf, NaN) reads as 0.
/// So a hostile or damaged message decodes to finite numbers, never to NaN.
DILOCO_HD inline float scale_on_wire(std::byte const* side) {
  float const s = *reinterpret_cast<float const*>(side);
  return bits_of(s) <= bits_of(largest_scale) ? s : 0.0f;
}

/// Codes of a fixed set of numbers in [−L, L], scaled by the block's largest magnitude. The code is
/// nearest(x·L/amax) and decodes to (number/L)·amax. The message carries amax itself, so the largest element
/// returns exactly. A `Format` has:
///   static constexpr int bits; static constexpr float levels (L);
///   code(float x, float scale) → code of x·scale in the low bits;
///   value(std::uint32_t top) → number of the code in the top bits, in units of `step` if the format has one.
/// `step` is a power of two.
template <class Format, int Block>
struct scaled_codes {
  static constexpr int bits = Format::bits;
  static constexpr int block = Block;
  static constexpr compressor_traits traits{};
  static constexpr float largest = largest_scale;
  static constexpr float smallest = smallest_block_magnitude;
  static constexpr std::size_t side_bytes = sizeof(float);
  DILOCO_HD static constexpr std::size_t code_bytes(std::size_t n) { return packed_bytes<bits>(n); }
  static_assert(
      Block > 0 && Block * bits % 256 == 0,
      "diloco: compressor: Block must be a multiple of 256 over the bits of a code, so that each of 32 lanes "
      "holds whole bytes");

  /// The unit of `value`: 1 if the format does not define one.
  static constexpr float step = [] {
    if constexpr (requires { Format::step; })
      return Format::step;
    else
      return 1.0f;
  }();
  static constexpr float unit = step / Format::levels;
  static_assert(Format::levels / step * unit == 1.0f, "the largest element must decode to amax exactly");

  /// Whether the format codes a whole block by itself, as dynamic_map does.
  static constexpr bool by_block = requires(solo l, float const* x, std::byte* out) {
    Format::template encode<Block>(l, 0, x, 1.0f, 0u, out);
  };

  template <lanes L>
  DILOCO_HD void encode(L l, lane_block<L, Block> const& x, block_info info, wire_block out) const {
    bool const zero = info.amax < smallest_block_magnitude;
    if (L::rank() == 0) *reinterpret_cast<float*>(out.side) = zero ? 0.0f : info.amax;
    float const scale = zero ? 0.0f : Format::levels / info.amax;
    if constexpr (by_block)
      Format::template encode<Block>(l, info.count, x.v, scale, 0, out.code);
    else
      pack<bits, Block>(l, info.count, out.code, [&](int i) { return Format::code(x.v[i], scale); });
  }
  template <lanes L, class Sink>
  DILOCO_HD void decode(L l, int count, wire_block_view in, Sink&& sink) const {
    float const amax = scale_on_wire(in.side);
    if constexpr (by_block)
      Format::template decode<Block>(l, count, in.code, amax, 0, static_cast<Sink&&>(sink));
    else
      unpack<bits, Block>(l, count, in.code, [&](int i, std::uint32_t top) {
        sink(i, product(Format::value(top) * unit, amax));
      });
  }
};

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
