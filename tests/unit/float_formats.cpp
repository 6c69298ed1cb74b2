// SPDX-License-Identifier: Apache-2.0
// binary16 and bfloat16 in both directions. Widening covers every code. Narrowing covers every value at,
// between and next to two codes.
// The reference rounds in double. Where the compiler has _Float16, its conversions are a second reference.
#include <diloco/compressor/half.hpp>
#include <diloco/core/float_formats.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

using namespace diloco;

namespace {

constexpr std::uint32_t codes = 65536;

/// A small float: `fraction` stored bits and the exponent bias. Both widths add up to 15.
struct format {
  int fraction, bias;
  [[nodiscard]] std::uint32_t infinity() const { return 0x7fffu >> fraction << fraction; }
};
constexpr format binary16{10, 15}, brain16{7, 127};

/// The value of a finite code, in double.
double value_of(format f, std::uint32_t code) {
  std::uint32_t const exponent = (code & 0x7fffu) >> f.fraction, digits = code & ((1u << f.fraction) - 1);
  double const magnitude = exponent == 0 ? std::ldexp(digits, 1 - f.bias - f.fraction)
                                         : std::ldexp(digits + (1u << f.fraction),
                                                      static_cast<int>(exponent) - f.bias - f.fraction);
  return (code & 0x8000u) != 0 ? -magnitude : magnitude;
}

bool is_finite(format f, std::uint32_t code) { return (code & 0x7fffu) < f.infinity(); }

/// Checks widening and narrowing of every code. Failures are counted, so that one CHECK covers 65,536 codes.
template <class Widen, class Narrow>
void check_every_code(format f, Widen widen, Narrow narrow) {
  int wrong_value = 0, wrong_special = 0, wrong_return = 0;
  for (std::uint32_t code = 0; code < codes; ++code) {
    float const x = widen(static_cast<std::uint16_t>(code));
    if (!is_finite(f, code)) {
      bool const is_nan = (code & 0x7fffu) != f.infinity();
      wrong_special +=
          is_nan ? !std::isnan(x) : !(std::isinf(x) && std::signbit(x) == ((code & 0x8000u) != 0));
      continue;
    }
    wrong_value += bits_of(x) != bits_of(static_cast<float>(value_of(f, code)));
    wrong_return += narrow(x) != code;
  }
  CHECK(wrong_value == 0);
  CHECK(wrong_special == 0);
  CHECK(wrong_return == 0);
}

/// Checks five points between each code and the next: just above the first, just below the middle, and just
/// above it; just below the second; and the middle itself, which goes to the even code.
template <class Narrow>
void check_every_gap(format f, Narrow narrow) {
  constexpr float up = std::numeric_limits<float>::infinity();
  int wrong = 0, ties = 0;
  for (std::uint32_t sign : {0u, 0x8000u}) {
    for (std::uint32_t code = 0; code + 1 < f.infinity(); ++code) {
      std::uint32_t const low = sign | code, high = low + 1;
      auto const a = static_cast<float>(value_of(f, low)), b = static_cast<float>(value_of(f, high));
      auto const middle = static_cast<float>((value_of(f, low) + value_of(f, high)) / 2);
      float const away = sign == 0 ? up : -up;
      wrong += narrow(std::nextafter(a, away)) != low;
      wrong += narrow(std::nextafter(middle, a)) != low;
      wrong += narrow(middle) != ((low & 1u) == 0 ? low : high);
      wrong += narrow(std::nextafter(middle, away)) != high;
      wrong += narrow(std::nextafter(b, a)) != high;
      ++ties;
    }
  }
  CHECK(wrong == 0);
  CHECK(ties == static_cast<int>(2 * (f.infinity() - 1)));
}

}  // namespace

TEST_CASE("binary16: every code, both ways") { check_every_code(binary16, float_from_f16, f16_from_float); }
TEST_CASE("bfloat16: every code, both ways") { check_every_code(brain16, float_from_bf16, bf16_from_float); }
TEST_CASE("binary16: nearest, ties to even, between any two codes") {
  check_every_gap(binary16, f16_from_float);
}
TEST_CASE("bfloat16: nearest, ties to even, between any two codes") {
  check_every_gap(brain16, bf16_from_float);
}

TEST_CASE("the ends of the formats") {
  CHECK(f16_from_float(f16::largest) == 0x7bff);
  CHECK(f16_from_float(-f16::largest) == 0xfbff);
  CHECK(float_from_f16(0x7bff) == 65504.0f);
  CHECK(bf16_from_float(bf16::largest) == 0x7f7f);
  CHECK(bits_of(bf16::largest) == bits_of(float_from_bf16(0x7f7f)));
  CHECK(f16_from_float(0x1p-24f) == 1);
  CHECK(f16_from_float(0x1p-25f) == 0);  // a tie with zero goes to zero
  CHECK(f16_from_float(std::nextafter(0x1p-25f, 1.0f)) == 1);
  CHECK(f16_from_float(std::nextafter(0x1p-14f, 0.0f)) ==
        0x0400);  // the largest subnormal's neighbour rounds up to 2⁻¹⁴
  CHECK(f16_from_float(std::numeric_limits<float>::denorm_min()) == 0);
  CHECK(f16_from_float(-0.0f) == 0x8000);
  CHECK(bf16_from_float(-0.0f) == 0x8000);
}

#if defined(__FLT16_MANT_DIG__)
TEST_CASE("binary16: as the compiler's own _Float16") {
  int wrong = 0, compared = 0;
  for (std::uint32_t code = 0; code < codes; ++code) {
    auto const native = __builtin_bit_cast(_Float16, static_cast<std::uint16_t>(code));
    if (!is_finite(binary16, code)) continue;
    wrong += bits_of(static_cast<float>(native)) != bits_of(float_from_f16(static_cast<std::uint16_t>(code)));
  }
  // Floats of every exponent that binary16 can represent, 509 bit patterns apart: 1.2 million of them.
  for (std::uint32_t u = 0; u <= bits_of(f16::largest); u += 509, ++compared) {
    auto const native = __builtin_bit_cast(std::uint16_t, static_cast<_Float16>(float_of(u)));
    wrong += native != f16_from_float(float_of(u));
    wrong += (native | 0x8000u) != f16_from_float(-float_of(u));
  }
  CHECK(wrong == 0);
  CHECK(compared > 1'000'000);
}
#endif
