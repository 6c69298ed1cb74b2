// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/fma.hpp>
#include <diloco/core/octet.hpp>
#include <diloco/core/pack.hpp>
#include <diloco/core/pick.hpp>

#include <cmath>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// The dynamic 8-bit map (Dettmers et al. 2022): 256 numbers in rising order. The code of a number is its
/// place.
/// Signed: 0, 1, and for d = 0 … 6 the midpoints of 2^d equal cells of [10^(d−7), 10^(d−6)], with both signs.
/// Codes −127 … 128 are stored + 127. The least nonzero magnitude is 5.5e-7. The least number is −0.99297,
/// not −1.
/// Unsigned, for numbers that are never negative: 0, 1, and the midpoints of 2^(d+1) cells. The least nonzero
/// magnitude is 3.25e-7.
/// The numbers are those of bitsandbytes' create_dynamic_map, to within a few units in the last place of its
/// float32 arithmetic.
template <bool Signed>
struct dynamic_map {
  /// The code of 0.
  static constexpr std::uint32_t zero = Signed ? 127 : 0;

  /// The number of the code in the top 8 bits. The lower bits are ignored.
  DILOCO_HD static float value(std::uint32_t top) {
    int const place = static_cast<int>(top >> 24) - (Signed ? 127 : -1);
    std::uint32_t const index = static_cast<std::uint32_t>(Signed && place < 0 ? -place : place);
    float const k = static_cast<float>(index);
    // index = 2^e + cell, where the decade is d = e − first. (cell + ½)/2^e is exact: k/2^e = 1 + cell/2^e.
    float const width = float_of((254u << 23) - (bits_of(k) & 0x7f800000u));
    float const within = fma(k, width, fma(0.5f, width, -1.0f));
    // In its last three bits the exponent's bias is −1.
    std::uint32_t const to_decade = (1u - first) << 23;
    float const largest =
        detail::pick<0, 8>((bits_of(k) + to_decade) << 6, [](int d) { return power<false>(d); });
    float const magnitude = product(fma(0.9f, within, 0.1f), largest);
    float const y = select(at_least(index, 1u << first), magnitude, 0.0f);
    return Signed ? float_of(bits_of(y) | (static_cast<std::uint32_t>(place) & 0x80000000u)) : y;
  }

  /// The code of the number nearest to x·scale, in the low 8 bits; the bits above are 0. Half way between two
  /// numbers, to within rounding, either may be chosen. A value outside [−1, 1] gets the last code of its
  /// side. NaN gets the code of 0, and so does x < 0 if unsigned.
  DILOCO_HD static std::uint32_t code(float x, float scale) {
    float const t = product(x, scale);
    float const a = Signed ? std::fabs(t) : t;
    std::uint32_t decades = a >= reach(0) ? 1u : 0u;
    decades += a >= reach(1) ? 1u : 0u;
    decades += a >= reach(2) ? 1u : 0u;
    decades += a >= reach(3) ? 1u : 0u;
    decades += a >= reach(4) ? 1u : 0u;
    decades += a >= reach(5) ? 1u : 0u;
    decades += a >= reach(6) ? 1u : 0u;
    std::uint32_t const one = t >= reach(7) ? 1u : 0u, some = at_least(decades, 1);
    std::uint32_t const decade = decades - some;
    std::uint32_t const cells = (1u << first) << decade;
    float const width = float_of(((127u + first) + decade) << 23) * (1.0f / 0.9f);
    float const up = detail::pick<0, 8>(decade << 29, [](int d) { return power<true>(d); });
    float const within = product(fma(a, up, -0.1f), width);
    // A value past an end of the decade goes to the cell at that end. A NaN goes to cell 0. So truncation
    // equals floor.
    float const last = static_cast<float>(cells - 1u);
    float const inside = within > 0.0f ? within : 0.0f;
    auto const kept = static_cast<std::int32_t>(inside < last ? inside : last);
    std::uint32_t const index = ((cells - first + static_cast<std::uint32_t>(kept)) & (0u - some)) + one;
    std::uint32_t const minus = Signed ? 0u - (bits_of(t) >> 31) : 0u;
    // The code is built in the top bits and shifted down. Otherwise g++ packs each term to bytes on its own.
    return ((zero << 24) + ((index << 24) ^ minus) - minus) >> 24;
  }

  /// Writes the codes of x[i]·scale, each ^ flip, for this lane's elements of a block.
  template <int Block, lanes L>
  DILOCO_HD static void encode(L l, int count, float const* x, float scale, std::uint32_t flip,
                               std::byte* out) {
#if DILOCO_AVX2
    if constexpr (L::width == 1 && Block % 32 == 0) {
      if (count == Block) return encode_eights(x, Block, scale, flip, reinterpret_cast<std::uint8_t*>(out));
    }
#endif
    pack<8, Block>(l, count, out, [&](int i) { return code(x[i], scale) ^ flip; });
  }
  /// Calls sink(i, y) for each of those codes, where y is the number of the code ^ flip, times scale.
  template <int Block, lanes L, class Sink>
  DILOCO_HD static void decode(L l, int count, std::byte const* in, float scale, std::uint32_t flip,
                               Sink&& sink) {
#if DILOCO_AVX2
    if constexpr (L::width == 1 && Block % 32 == 0) {
      if (count == Block) {
        // In runs of 32, so that the sink's loads and stores mix with arithmetic (sweep A, 2^24 parameters:
        // 1.11 instead of 1.31 ns).
        for (int begin = 0; begin < Block; begin += 32) {
          float y[32];
          decode_eights(reinterpret_cast<std::uint8_t const*>(in) + begin, 32, scale, flip, y);
          for (int i = 0; i < 32; ++i) sink(begin + i, y[i]);
        }
        return;
      }
    }
#endif
    unpack<8, Block>(l, count, in,
                     [&](int i, std::uint32_t top) { sink(i, product(value(top ^ flip << 24), scale)); });
  }

 private:
#if DILOCO_AVX2
  // The same numbers, eight at a time. A table lookup then takes one instruction instead of seven. For
  // dynamic8, sweep A takes 1.0 instead of 2.1 ns per element, sweep B with two messages 0.8 instead of 1.6.

  static void decode_eights(std::uint8_t const* code, int count, float scale, std::uint32_t flip, float* y) {
    using namespace octets;
    // A loop of its own, because g++ builds a vector of eight bytes one by one.
    for (int i = 0; i < count; ++i)
      y[i] = static_cast<float>(static_cast<int>(code[i] ^ flip) - (Signed ? 127 : -1));
    for (int i = 0; i < count; i += 8) {
      floats8 const place = load8(y + i), middle = float_of(bits_of(place) & 0x7fffffffu) + 0.5f;
      words8 const exponent = bits_of(middle) >> 23;
      // Decade 7 is the number 1. The number 0 comes before decade 0, and its exponent ends in the same three
      // bits. There middle·width is about 1/256, so the magnitude is negative and becomes 0.
      floats8 const width = pick8(exponent, [](int k) {
        return 1.0f / static_cast<float>(1 << (static_cast<int>(first) + decade_at(k)));
      });
      floats8 const largest = pick8(exponent, [](int k) { return power<false>(decade_at(k)); });
      floats8 const within = fma(middle, width, all8(-1.0f));
      floats8 const magnitude = greater(fma(all8(0.9f), within, all8(0.1f)) * largest, all8(0.0f));
      words8 const sign = bits_of(place) & 0x80000000u;
      store8(y + i, fma(float_of(bits_of(magnitude) | sign), all8(scale), all8(0.0f)));
    }
  }
  /// The decade whose exponent ends in these three bits.
  static constexpr int decade_at(int exponent) { return (exponent + 1 - static_cast<int>(first)) & 7; }

  static void encode_eights(float const* x, int count, float scale, std::uint32_t flip, std::uint8_t* out) {
    for (int i = 0; i < count; i += 32) {
      octets::store_bytes(out + i, codes(x + i, scale) ^ flip, codes(x + i + 8, scale) ^ flip,
                          codes(x + i + 16, scale) ^ flip, codes(x + i + 24, scale) ^ flip);
    }
  }
  static octets::words8 codes(float const* x, float scale) {
    using namespace octets;
    floats8 const t = load8(x) * scale, size = Signed ? float_of(bits_of(t) & 0x7fffffffu) : t;
    floats8 const a = lesser(greater(size, all8(1e-7f)), all8(1.0f));
    // The bits of a float are a logarithm in units of 2⁻²³ octaves. At this slope a decade is 1.018. So the
    // last place of a sum near 2²³ is the number of decades that a reaches, or one less. The margin is a
    // quarter everywhere.
    words8 const guess = bits_of(fma(floats_of(bits_of(a)), all8(0.3065f * 0x1p-23f), all8(0x1p23f)));
    words8 const decades =
        guess - minus_at_least(a, pick8(guess, [](int d) { return d < 7 ? reach(d) : 2.0f; }));
    floats8 const up = pick8(decades, [](int d) { return d == 0 ? 0.0f : power<true>(d - 1); });
    floats8 const width = pick8(decades, [](int d) {
      return d == 0 ? 0.0f : static_cast<float>(1 << first << (d - 1)) * (1.0f / 0.9f);
    });
    floats8 const last =
        pick8(decades, [](int d) { return d == 0 ? 0.0f : static_cast<float>((1 << first << (d - 1)) - 1); });
    words8 const base =
        pick8(decades, [](int d) { return d == 0 ? 0 : (1 << first << (d - 1)) - static_cast<int>(first); });
    floats8 const within = fma(a, up, all8(-0.1f)) * width;
    words8 const kept = truncated(greater(lesser(within, last), all8(0.0f)));
    words8 const index = base + kept - minus_at_least(t, all8(reach(7)));
    return (Signed ? negated_as(index, bits_of(t)) : index) + zero;
  }
#endif

  /// log₂ of the number of cells of decade 0.
  static constexpr std::uint32_t first = Signed ? 0 : 1;

  /// 10^(d − 6), the largest number of decade d, or its reciprocal. Decade 7 has only the number 1, as its
  /// first midpoint.
  template <bool Reciprocal>
  DILOCO_HD static constexpr float power(int d) {
    constexpr float up[8] = {1e-6f, 1e-5f, 1e-4f, 1e-3f,
                             1e-2f, 1e-1f, 1.0f,  Signed ? 9.6603775f : 9.8272553f};
    constexpr float down[8] = {1e6f, 1e5f, 1e4f, 1e3f, 1e2f, 1e1f, 1.0f, 1e-1f};
    return Reciprocal ? down[d] : up[d];
  }
  /// The threshold half way between the last number of decade d − 1 and the first of d. The number 0 comes
  /// before all decades, and 1 after them. If signed, the threshold is 10^(d−7)·(1 + 0.9/2^(d−1)).
  DILOCO_HD static constexpr float reach(int d) {
    constexpr float both[8] = {2.75e-7f,   1.9e-6f,     1.45e-5f,     1.225e-4f,
                               1.1125e-3f, 1.05625e-2f, 1.028125e-1f, 0.996484375f};
    constexpr float one_sign[8] = {1.625e-7f,   1.45e-6f,     1.225e-5f,     1.1125e-4f,
                                   1.05625e-3f, 1.028125e-2f, 1.0140625e-1f, 0.9982421875f};
    return Signed ? both[d] : one_sign[d];
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
