// SPDX-License-Identifier: Apache-2.0
// Compares the 256 numbers of both dynamic maps with their definition, and the nearest number with a search
// in double.
#include <diloco/core/dynamic_map.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

using namespace diloco;

namespace {

/// 0, 1, and the midpoints of equal cells in seven decades. With a sign: 2^d cells and both signs. Without:
/// 2^(d+1) cells.
std::vector<double> numbers_of(bool with_sign) {
  std::vector<double> all{0.0, 1.0};
  for (int d = 0; d < 7; ++d) {
    int const cells = 1 << (with_sign ? d : d + 1);
    for (int c = 0; c < cells; ++c) {
      double const x = (0.1 + 0.9 * (c + 0.5) / cells) * std::pow(10.0, d - 6);
      all.push_back(x);
      if (with_sign) all.push_back(-x);
    }
  }
  std::sort(all.begin(), all.end());
  return all;
}

template <class Map>
double value(std::uint32_t code) {
  return double(Map::value(code << 24 | 0xabcdefu));  // the low bits are noise
}

/// Index of the nearest number; the lower one half way.
std::uint32_t nearest(std::vector<double> const& all, double x) {
  auto const above = std::size_t(std::lower_bound(all.begin(), all.end(), x) - all.begin());
  if (above == 0) return 0;
  if (above == all.size()) return std::uint32_t(above - 1);
  return std::uint32_t(all[above] - x < x - all[above - 1] ? above : above - 1);
}

}  // namespace

TEST_CASE_TEMPLATE("dynamic maps: 256 numbers, rising, as constructed", Map, dynamic_map<true>,
                   dynamic_map<false>) {
  bool const with_sign = Map::zero != 0;
  auto const expected = numbers_of(with_sign);
  REQUIRE(expected.size() == 256);
  for (std::uint32_t c = 0; c < 256; ++c) {
    CAPTURE(c);
    CHECK(std::fabs(value<Map>(c) - expected[c]) <= 3e-7 * std::fabs(expected[c]));
    if (c > 0) CHECK(value<Map>(c) > value<Map>(c - 1));
  }
  CHECK(bits_of(Map::value(Map::zero << 24)) == 0u);
  CHECK(value<Map>(255) == 1.0);
  CHECK(value<Map>(with_sign ? 128 : 1) / (with_sign ? 5.5e-7 : 3.25e-7) ==
        doctest::Approx(1.0).epsilon(1e-6));
}

TEST_CASE_TEMPLATE("dynamic maps: every number has its own code, at any scale", Map, dynamic_map<true>,
                   dynamic_map<false>) {
  for (std::uint32_t c = 0; c < 256; ++c) {
    CAPTURE(c);
    CHECK(Map::code(Map::value(c << 24), 1.0f) == c);
    CHECK(Map::code(Map::value(c << 24) * 0x1p-90f, 0x1p90f) == c);
    CHECK(Map::code(product(Map::value(c << 24), 3.3e-20f), 1.0f / 3.3e-20f) == c);
  }
}

TEST_CASE_TEMPLATE("dynamic maps: the nearest wins", Map, dynamic_map<true>, dynamic_map<false>) {
  auto const all = numbers_of(Map::zero != 0);
  for (std::uint32_t c = 0; c + 1 < 256; ++c) {
    CAPTURE(c);
    double const low = all[c], high = all[c + 1], half_way = (low + high) / 2;
    double const width = 2e-6 * std::max(std::fabs(low), std::fabs(high));  // 16 roundings of the larger
    CHECK(Map::code(float(half_way - width), 1.0f) == c);
    CHECK(Map::code(float(half_way + width), 1.0f) == c + 1);
    std::uint32_t const tie = Map::code(float(half_way), 1.0f);
    CHECK((tie == c || tie == c + 1));
  }
  // Sweeps ten decades of floats in steps of 97 millionths.
  std::size_t far = 0;
  for (std::uint32_t b = bits_of(1e-10f); b <= bits_of(1.0f); b += 811) {
    for (double sign : {1.0, -1.0}) {
      if (sign < 0 && Map::zero == 0) continue;
      double const x = sign * double(float_of(b));
      std::uint32_t const code = Map::code(float(x), 1.0f);
      REQUIRE(code < 256);
      double const best = std::fabs(all[nearest(all, x)] - x);
      if (std::fabs(all[code] - x) > best + 1e-6 * std::fabs(x)) ++far;
    }
  }
  CHECK(far == 0);
}

TEST_CASE_TEMPLATE("dynamic maps: a whole block gives the bits of its elements one by one", Map,
                   dynamic_map<true>, dynamic_map<false>) {
  std::vector<float> all;
  for (std::uint32_t c = 0; c < 256; ++c) {
    // Around every number and around every midpoint to the next.
    float const y = Map::value(c << 24), half_way = (y + Map::value((c < 255 ? c + 1 : c) << 24)) / 2;
    for (std::uint32_t near = 0; near < 64; ++near) {
      all.push_back(float_of(bits_of(y) + near - 32));
      all.push_back(float_of(bits_of(half_way) + near - 32));
    }
  }
  for (std::uint32_t b = 0; b < 0xffffff00u - 65537; b += 65537) all.push_back(float_of(b));
  all.resize(all.size() / 256 * 256);
  std::size_t wrong = 0;
  for (float scale : {1.0f, 0.37f, 0x1p-60f, 0x1p60f}) {
    for (std::size_t begin = 0; begin < all.size(); begin += 256) {
      std::byte code[256];
      Map::template encode<256>(solo{}, 256, all.data() + begin, scale, Map::zero, code);
      for (std::size_t i = 0; i < 256; ++i)
        wrong += std::uint32_t(code[i]) != (Map::code(all[begin + i], scale) ^ Map::zero) ? 1 : 0;
    }
    std::byte every[256];
    for (int c = 0; c < 256; ++c) every[c] = std::byte(c);
    Map::template decode<256>(solo{}, 256, every, scale, 0, [&](int i, float y) {
      wrong += bits_of(y) != bits_of(product(Map::value(std::uint32_t(i) << 24), scale)) ? 1 : 0;
    });
  }
  CHECK(wrong == 0);
}

TEST_CASE("dynamic maps: what lies outside gets the last code of its side") {
  float const largest = std::numeric_limits<float>::max();
  for (float x : {1.0f, 1.5f, 100.0f, largest}) {
    CAPTURE(x);
    CHECK(dynamic_map<true>::code(x, 1.0f) == 255);
    CHECK(dynamic_map<true>::code(-x, 1.0f) == 0);
    CHECK(dynamic_map<false>::code(x, 1.0f) == 255);
  }
  for (float x : {0.0f, 1e-7f, std::numeric_limits<float>::denorm_min()}) {
    CHECK(dynamic_map<true>::code(x, 1.0f) == 127);
    CHECK(dynamic_map<true>::code(-x, 1.0f) == 127);
    CHECK(dynamic_map<false>::code(x, 1.0f) == 0);
  }
  float const none = std::numeric_limits<float>::quiet_NaN();
  for (float x : {none, -none}) {
    CHECK(dynamic_map<true>::code(x, 1.0f) == 127);
    CHECK(dynamic_map<false>::code(x, 1.0f) == 0);
  }
  CHECK(dynamic_map<false>::code(-1.0f, 1.0f) == 0);
}
