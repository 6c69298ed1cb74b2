// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/fma.hpp>
#include <diloco/core/pick.hpp>

#include <cmath>

namespace diloco {
inline namespace v0 {

/// The dynamic 8-bit map (Dettmers et al. 2022): 256 numbers in rising order, whose code is their place.
///   Signed: 0, 1, and for d = 0 … 6 the midpoints of 2^d equal cells of [10^(d−7), 10^(d−6)], both signs; codes −127 … 128
///   are stored + 127. The least magnitude is 5.5e-7, and −1 is −0.99297.
///   Unsigned, for what is never negative: 0, 1, and the midpoints of 2^(d+1) cells; the least is 3.25e-7.
/// Those of bitsandbytes' create_dynamic_map to within a few units in the last place of its float32 arithmetic.
template <bool Signed>
struct dynamic_map {
  /// The code of 0.
  static constexpr std::uint32_t zero = Signed ? 127 : 0;

  /// The number of the code in the top 8 bits; what is below is noise.
  DILOCO_HD static float value(std::uint32_t top) {
    int const place = static_cast<int>(top >> 24) - (Signed ? 127 : -1);
    std::uint32_t const index = static_cast<std::uint32_t>(Signed && place < 0 ? -place : place);
    float const k = static_cast<float>(index);
    // index = 2^e + cell, where decade d = e − first; (cell + ½)/2^e is exact: k/2^e = 1 + cell/2^e.
    float const width = float_of((254u << 23) - (bits_of(k) & 0x7f800000u));
    float const within = fma(k, width, fma(0.5f, width, -1.0f));
    // The exponent's bias is −1 in its last three bits.
    std::uint32_t const to_decade = (1u - first) << 23;
    float const largest = detail::pick<0, 8>((bits_of(k) + to_decade) << 6, [](int d) { return power<false>(d); });
    float const magnitude = product(fma(0.9f, within, 0.1f), largest);
    float const y = select(at_least(index, 128u << first), 1.0f, select(at_least(index, 1u << first), magnitude, 0.0f));
    return Signed ? float_of(bits_of(y) | (static_cast<std::uint32_t>(place) & 0x80000000u)) : y;
  }

  /// The code of the number nearest to x·scale, in the low 8 bits and nothing above; half way, to within rounding, either.
  /// What lies outside of [−1, 1] gets the last code of its side; NaN, and x < 0 where there is no sign, that of 0.
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
    // What lies past an end of the decade goes to its last cell; below, 0 also takes NaN. Truncation is floor then.
    float const last = static_cast<float>(cells - 1u);
    float const inside = within > 0.0f ? within : 0.0f;
    auto const kept = static_cast<std::int32_t>(inside < last ? inside : last);
    std::uint32_t const index = ((cells - first + static_cast<std::uint32_t>(kept)) & (0u - some)) + one;
    std::uint32_t const minus = Signed ? 0u - (bits_of(t) >> 31) : 0u;
    // In the top bits and shifted down, because g++ would pack each term to bytes by itself.
    return ((zero << 24) + ((index << 24) ^ minus) - minus) >> 24;
  }

 private:
  /// log₂ of the cells of decade 0.
  static constexpr std::uint32_t first = Signed ? 0 : 1;

  /// 10^(d − 6), the largest number of decade d, or its reciprocal. There is no decade 7.
  template <bool Reciprocal>
  DILOCO_HD static constexpr float power(int d) {
    constexpr float up[8] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f, 1e1f};
    constexpr float down[8] = {1e6f, 1e5f, 1e4f, 1e3f, 1e2f, 1e1f, 1.0f, 1e-1f};
    return Reciprocal ? down[d] : up[d];
  }
  /// Half way between the last number of decade d − 1 and the first of d, where 0 is before and 1 after all of them:
  /// 10^(d−7)·(1 + 0.9/2^(d−1)) if signed.
  DILOCO_HD static constexpr float reach(int d) {
    constexpr float both[8] = {2.75e-7f,   1.9e-6f,     1.45e-5f,     1.225e-4f,
                               1.1125e-3f, 1.05625e-2f, 1.028125e-1f, 0.996484375f};
    constexpr float one_sign[8] = {1.625e-7f,   1.45e-6f,     1.225e-5f,     1.1125e-4f,
                                   1.05625e-3f, 1.028125e-2f, 1.0140625e-1f, 0.9982421875f};
    return Signed ? both[d] : one_sign[d];
  }
};

}  // namespace v0
}  // namespace diloco
