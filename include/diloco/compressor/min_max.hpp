// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/compressor.hpp>
#include <diloco/core/fma.hpp>
#include <diloco/core/pack.hpp>
#include <diloco/core/text.hpp>

#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Asymmetric integers: 2^Bits evenly spaced numbers from the block's least to its greatest element, rounded
/// to nearest even. Every code is used: NMSE 9.9e-3 at 4 bits and Block 128 (absmax 1.4e-2). A lopsided block
/// causes a bias.
/// A block that holds an exact 0 has a code for it. Then z codes divide the range below 0 evenly, and the
/// other codes the range above.
template <int Bits, int Block = 128>
struct min_max {
  static_assert(Bits == 8 || Bits == 4 || Bits == 2, "diloco: min_max: Bits is 8, 4 or 2");
  static_assert(
      Block > 0 && Block * Bits % 256 == 0,
      "diloco: compressor: Block must be a multiple of 256 over the bits of a code, so that each of 32 lanes "
      "holds whole bytes");

  static constexpr auto label =
      join(std::string_view("min_max"), unsigned(Bits), std::string_view("/"), unsigned(Block));
  static constexpr std::string_view name = label.view();
  static constexpr int block = Block;
  static constexpr compressor_traits traits{};
  static constexpr float largest = 3.4028235e38f / 4;  // the difference of two such numbers is finite
  static constexpr float smallest = smallest_block_magnitude;
  static constexpr std::size_t side_bytes = 2 * sizeof(float);
  DILOCO_HD static constexpr std::size_t code_bytes(std::size_t n) { return packed_bytes<Bits>(n); }

  template <lanes L>
  DILOCO_HD void encode(L l, lane_block<L, Block> const& x, block_info info, wire_block out) const {
    std::int32_t most = INT32_MIN,
                 least = INT32_MAX;  // padding of a shorter last block does not count
    std::uint32_t nearest_0 = 1;
    int const mine = owned_elements<L, Block>(l, info.count);
    for (int i = 0; i < x.size; ++i) {
      std::int32_t const k = ordered(x.v[i]), up = i < mine ? k : INT32_MIN, down = i < mine ? k : INT32_MAX;
      most = most > up ? most : up;
      least = least < down ? least : down;
      std::uint32_t const a = i < mine ? magnitude_bits(x.v[i]) : 1u;
      nearest_0 = nearest_0 < a ? nearest_0 : a;
    }
    bool const zero = info.amax < smallest_block_magnitude;
    float const high = zero ? 0.0f : number_of(L::max(unsigned_of(most)));
    float const low = zero ? 0.0f : number_of(~L::max(~unsigned_of(least)));
    if (!zero && L::max(nearest_0 == 0 ? 1u : 0u) != 0)
      return encode_around_zero(l, x, info.count, low, high, out);
    if (L::rank() == 0) {
      reinterpret_cast<float*>(out.side)[0] = low;
      reinterpret_cast<float*>(out.side)[1] = high;
    }
    float const scale = high - low < smallest_block_magnitude ? 0.0f : levels / (high - low);
    pack<Bits, Block>(l, info.count, out.code, [&](int i) {
      // Adding 2²³ puts the unit in the last place. Two roundings can put the greatest element above its
      // code; this sum rounds the excess off.
      return bits_of(product(x.v[i] - low, scale) + 8388608.0f) & ((1u << Bits) - 1u);
    });
  }
  template <lanes L, class Sink>
  DILOCO_HD void decode(L l, int count, wire_block_view in, Sink&& sink) const {
    float const low = bound(in.side), high = bound(in.side + sizeof(float));
    if (low > high) return decode_around_zero(l, count, high, low, in, sink);
    float const unit = product(high - low, 1.0f / levels);
    unpack<Bits, Block>(l, count, in.code, [&](int i, std::uint32_t top) {
      auto const q = static_cast<float>(static_cast<int>(top >> (32 - Bits)));
      // The greatest element returns exactly. The comparison is of floats, because g++ would compare bytes
      // and widen the results.
      sink(i, q - (levels - 1.0f) > 0.0f ? high : fma(q, unit, low));
    });
  }
  friend bool operator==(min_max const&, min_max const&) { return true; }

 private:
  /// Steps below and above 0 in a block with an exact 0. Its message has the greatest element before the
  /// least, which marks such a block.
  struct sides {
    float zero;          ///< the code of 0
    float below, above;  ///< distance from one code to the next
    DILOCO_HD sides(float low, float high) {
      // The steps are as equal as whole numbers of codes allow. A side that has elements gets at least one
      // code.
      float const width = high - low, inverse = width < smallest_block_magnitude ? 0.0f : 1.0f / width;
      float const share = product(product(-low, inverse), levels) + 12582912.0f;
      zero = share - 12582912.0f;
      float const first = low < 0.0f ? 1.0f : 0.0f, last = high > 0.0f ? levels - 1.0f : levels;
      zero = zero < first ? first : zero > last ? last : zero;
      below = zero > 0.0f ? -low / zero : 0.0f;
      above = zero < levels ? high / (levels - zero) : 0.0f;
    }
  };
  template <lanes L>
  DILOCO_RARE DILOCO_HD static void encode_around_zero(L l, lane_block<L, Block> const& x, int count,
                                                       float low, float high, wire_block out) {
    if (L::rank() == 0) {
      reinterpret_cast<float*>(out.side)[0] = high;
      reinterpret_cast<float*>(out.side)[1] = low;
    }
    sides const s(low, high);
    float const below = s.below < smallest_block_magnitude ? 0.0f : 1.0f / s.below;
    float const above = s.above < smallest_block_magnitude ? 0.0f : 1.0f / s.above;
    pack<Bits, Block>(l, count, out.code, [&](int i) {
      // Adding 1.5·2²³ rounds to an integer. The code of 0 is then added as an integer.
      float const steps = product(x.v[i], x.v[i] < 0.0f ? below : above) + 12582912.0f;
      return (bits_of(steps) + static_cast<std::uint32_t>(static_cast<int>(s.zero))) & ((1u << Bits) - 1u);
    });
  }
  template <lanes L, class Sink>
  DILOCO_HD static void decode_around_zero(L l, int count, float low, float high, wire_block_view in,
                                           Sink& sink) {
    sides const s(low, high);
    unpack<Bits, Block>(l, count, in.code, [&](int i, std::uint32_t top) {
      float const q = static_cast<float>(static_cast<int>(top >> (32 - Bits))) - s.zero;
      sink(i, product(q, q < 0.0f ? s.below : s.above));
    });
  }
  static constexpr float levels = static_cast<float>((1 << Bits) - 1);
  /// Three conversions. `ordered` gives integers that order as the floats do, with −0 below +0. `unsigned_of`
  /// makes them unsigned. `number_of` converts back, where −0 becomes +0.
  DILOCO_HD static std::int32_t ordered(float x) {
    auto const s = static_cast<std::int32_t>(bits_of(x));
    return s ^ static_cast<std::int32_t>(static_cast<std::uint32_t>(s >> 31) >> 1);
  }
  DILOCO_HD static std::uint32_t unsigned_of(std::int32_t k) {
    return static_cast<std::uint32_t>(k) ^ 0x80000000u;
  }
  DILOCO_HD static float number_of(std::uint32_t k) {
    return float_of(k ^ (k >> 31 != 0 ? 0x80000000u : 0xffffffffu)) + 0.0f;
  }
  /// A bound that no encoder writes reads as 0.
  DILOCO_HD static float bound(std::byte const* side) {
    float const b = *reinterpret_cast<float const*>(side);
    return magnitude_bits(b) <= bits_of(largest) ? b : 0.0f;
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
