// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/fma.hpp>
#include <diloco/core/rng.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

namespace detail {

/// ln x of a positive normal number, with an error of 2e-7, absolute or relative. It is Σ 2·sᵏ/k over odd k
/// with s = (m − 1)/(m + 1), m ∈ [1/√2, √2). The first omitted term is below 7e-10.
/// It uses explicit fma and one division, so the bits are the same everywhere. Each libm has its own.
DILOCO_HD inline float natural_log(float x) {
  std::uint32_t const shifted = bits_of(x) - 0x3f3504f3u;  // gives the exponent of x·√2
  auto const exponent = static_cast<float>(static_cast<std::int32_t>(shifted) >> 23);
  float const m = float_of((shifted & 0x7fffffu) + 0x3f3504f3u);
  float const s = (m - 1.0f) / (m + 1.0f), t = product(s, s);
  float sum = fma(t, 2.0f / 9, 2.0f / 7);
  sum = fma(t, sum, 2.0f / 5);
  sum = fma(t, sum, 2.0f / 3);
  sum = fma(t, sum, 2.0f);
  return fma(exponent, 0.693147180f, product(s, sum));
}

struct direction {
  float cosine, sine;
};
/// Cosine and sine of the angle 2π·turn/2³², to 1e-7. It uses Taylor's series to x¹⁰ within ±π/4 of the
/// nearest axis, then a rotation by quarter turns.
DILOCO_HD inline direction direction_of(std::uint32_t turn) {
  std::uint32_t const quarter = (turn + 0x20000000u) >> 30;
  float const x =
      product(static_cast<float>(static_cast<std::int32_t>(turn - (quarter << 30))), 1.46291808e-9f);
  float const t = product(x, x);
  float c = fma(t, -2.75573192e-7f, 2.48015873e-5f), s = fma(t, 2.75573192e-6f, -1.98412698e-4f);
  c = fma(t, c, -1.38888889e-3f);
  c = fma(t, c, 4.16666667e-2f);
  c = fma(t, c, -0.5f);
  c = fma(t, c, 1.0f);
  s = fma(t, s, 8.33333333e-3f);
  s = fma(t, s, -1.66666667e-1f);
  s = fma(product(t, s), x, x);
  std::uint32_t const odd = quarter & 1u;
  std::uint32_t const cosine = bits_of(select(odd, s, c)) ^ (((quarter + 1u) & 2u) << 30);
  std::uint32_t const sine = bits_of(select(odd, c, s)) ^ ((quarter & 2u) << 30);
  return {float_of(cosine), float_of(sine)};
}

}  // namespace detail

/// Fills z with standard normal numbers for the elements from `element` on, four per generator call (Box &
/// Muller 1958). It is a pure function of element, `who` and seed, with the same bits on host and device. |z|
/// < 5.8. `element` is a multiple of N (of 4 for larger N).
template <int N>
DILOCO_HD inline void draw_normal(float (&z)[N], std::uint64_t element, draw const& stream,
                                  std::uint64_t seed) {
  static_assert(N % 4 == 0, "diloco: normal numbers are drawn in fours");
  for (int call = 0; call < N / 4; ++call) {
    std::uint64_t const group = element / 4 + static_cast<std::uint64_t>(call);
    random_words const words = philox(static_cast<std::uint32_t>(group),
                                      static_cast<std::uint32_t>(group >> 32) ^ stream.phase << 24,
                                      static_cast<std::uint32_t>(stream.round), stream.rank, seed);
    for (int pair = 0; pair < 2; ++pair) {
      // The midpoints of 2²³ equal parts of (0, 1).
      float const u = product(static_cast<float>(2 * (words.v[2 * pair] >> 9) + 1), 0x1p-24f);
      float const length = std::sqrt(product(-2.0f, detail::natural_log(u)));
      detail::direction const d = detail::direction_of(words.v[2 * pair + 1]);
      z[call * 4 + 2 * pair] = product(length, d.cosine);
      z[call * 4 + 2 * pair + 1] = product(length, d.sine);
    }
  }
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
