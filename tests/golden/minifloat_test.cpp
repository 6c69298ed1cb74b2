// SPDX-License-Identifier: Apache-2.0
// Small floats, bit for bit, compared with ml_dtypes: the number of every code, and the code of every number,
// of every middle and of its neighbours. make_float_goldens.py lists the inputs of the fixture.
#include "fixture.hpp"

#include <doctest/doctest.h>
#include <diloco/compressor/mx.hpp>
#include <diloco/core/float_formats.hpp>
#include <diloco/core/minifloat.hpp>

#include <cmath>

namespace {

using diloco::bits_of;
using diloco::float_of;

template <class Float>
void check_values(golden::fixture const& f, std::string const& format) {
  auto const& values = f[format + ".values"];
  CHECK(values.size() == std::size_t{1} << Float::bits);
  for (std::uint32_t code = 0; code < values.size(); ++code) {
    // The codes of Inf and NaN are numbers here. No encoder writes them.
    if (!std::isfinite(values[code])) continue;
    CAPTURE(code);
    CHECK(bits_of(Float::widen(code)) == bits_of(values[code]));
  }
}

/// `minus_zero` is the code that the library never writes.
template <class Narrow>
void check_codes(golden::fixture const& f, std::string const& format, std::uint32_t minus_zero,
                 Narrow narrow) {
  auto const &inputs = f[format + ".inputs"], &codes = f[format + ".codes"];
  REQUIRE(inputs.size() == codes.size());
  CHECK(inputs.size() >= 100);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    std::uint32_t const expected = bits_of(codes[i]);
    CAPTURE(inputs[i]);
    CHECK(narrow(inputs[i]) == (expected == minus_zero ? 0u : expected));
  }
}

template <class Float>
void check_format(std::string const& format) {
  golden::fixture const f("minifloats");
  check_values<Float>(f, format);
  check_codes(f, format, 1u << (Float::bits - 1), Float::narrow);
}

/// What group g of a block decodes to if all its elements are 1 under the scales `bytes`.
template <class Microscaled>
std::vector<float> ones_scaled_by(std::vector<std::byte> const& bytes) {
  auto const ones = [] {
    diloco::lane_block<diloco::solo, Microscaled::block> x;
    for (float& v : x.v) v = 1.0f;
    std::vector<std::byte> code(Microscaled::code_bytes(Microscaled::block)), side(Microscaled::side_bytes);
    Microscaled{}.encode(diloco::solo{}, x, diloco::block_info{Microscaled::block, 1.0f},
                         {code.data(), side.data()});
    return std::pair(code, side[0]);
  }();
  std::vector<float> decoded(Microscaled::side_bytes);
  Microscaled{}.decode(diloco::solo{}, Microscaled::block, {ones.first.data(), bytes.data()},
                       [&](int i, float y) { decoded[std::size_t(i / Microscaled::group)] = y; });
  // An element stores 1 as a power of two, which its scale cancels.
  float const unit = float_of(static_cast<std::uint32_t>(ones.second) << 23);
  for (float& y : decoded) y *= unit;
  return decoded;
}

/// Decodes E8M0 scales from a message. Code 0 means that all elements are zero; in OCP it is 2⁻¹²⁷.
/// A scale that would take an element beyond the largest float comes from no encoder. It also reads as 0.
template <class Microscaled>
void check_scales(int largest) {
  golden::fixture const f("minifloats");
  auto const& values = f["e8m0.values"];
  REQUIRE(values.size() == 255);
  for (int first = 0; first + int(Microscaled::side_bytes) <= 255; ++first) {
    std::vector<std::byte> bytes;
    for (std::size_t g = 0; g < Microscaled::side_bytes; ++g) bytes.push_back(std::byte(first + int(g)));
    auto const decoded = ones_scaled_by<Microscaled>(bytes);
    for (std::size_t g = 0; g < bytes.size(); ++g) {
      int const byte = first + int(g);
      CAPTURE(byte);
      CHECK(decoded[g] == (byte == 0 || byte > largest ? 0.0f : values[std::size_t(byte)]));
    }
  }
}

}  // namespace

TEST_CASE("golden: small floats have the numbers of ml_dtypes and round as it does; a -0 of its is our +0") {
  check_format<diloco::float_e4m3>("e4m3");
  check_format<diloco::float_e5m2>("e5m2");
  check_format<diloco::float_e2m3>("e2m3");
  check_format<diloco::float_e3m2>("e3m2");
  check_format<diloco::float_e2m1>("e2m1");
}

TEST_CASE("golden: bfloat16 rounds as ml_dtypes does, denormals too") {
  // -0 is kept here.
  check_codes(golden::fixture("minifloats"), "bfloat16", 0x10000u, diloco::bf16_from_float);
}

TEST_CASE("golden: the scales of mx formats are ml_dtypes' float8_e8m0fnu") {
  check_scales<diloco::mxfp8>(253 - 8);
  check_scales<diloco::mxfp6>(253 - 2);
  check_scales<diloco::mxfp4>(253 - 2);
}
