// SPDX-License-Identifier: Apache-2.0
// Normal numbers from a counter. Checks the functions they consist of against libm in double, their moments
// and tails, and their bits.
#include <doctest/doctest.h>
#include <diloco/core/normal.hpp>
#include "../support/pinned.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

using namespace diloco;

namespace {
std::vector<float> many(std::size_t n, draw who = {}, std::uint64_t seed = 1) {
  std::vector<float> all(n);
  for (std::size_t i = 0; i < n; i += 8) {
    float z[8];
    draw_normal(z, i, who, seed);
    for (std::size_t k = 0; k < 8; ++k) all[i + k] = z[k];
  }
  return all;
}
}  // namespace

TEST_CASE("normal: the logarithm and the directions are those of libm") {
  double worst = 0;
  for (std::uint32_t bits = 0x33000000u; bits < 0x3f800000u; bits += 977) {
    double const want = std::log(static_cast<double>(float_of(bits)));
    worst = std::max(worst, std::abs(static_cast<double>(detail::natural_log(float_of(bits))) - want) /
                                std::max(1.0, std::abs(want)));
  }
  CHECK(worst < 2e-7);
  worst = 0;
  for (std::uint64_t turn = 0; turn < std::uint64_t{1} << 32; turn += 65519) {
    auto const t = static_cast<std::uint32_t>(turn);
    detail::direction const d = detail::direction_of(t);
    double const angle = static_cast<double>(t) * 0x1p-32 * 6.283185307179586;
    worst = std::max({worst, std::abs(static_cast<double>(d.cosine) - std::cos(angle)),
                      std::abs(static_cast<double>(d.sine) - std::sin(angle))});
  }
  CHECK(worst < 2e-7);
  for (std::uint32_t quarter = 0; quarter < 4; ++quarter) {
    detail::direction const d = detail::direction_of(quarter << 30);
    CHECK(d.cosine == (quarter == 0 ? 1.0f : quarter == 2 ? -1.0f : 0.0f));
    CHECK(d.sine == (quarter == 1 ? 1.0f : quarter == 3 ? -1.0f : 0.0f));
  }
}

TEST_CASE("normal: moments and shares beyond 1, 2 and 4 are those of the density") {
  std::size_t const n = 1 << 22;
  auto const z = many(n);
  double m[5] = {};
  std::size_t beyond[3] = {};
  double lagged = 0;
  for (std::size_t i = 0; i < n; ++i) {
    double const x = static_cast<double>(z[i]);
    double power = 1;
    for (double& sum : m) {
      sum += power / static_cast<double>(n);
      power *= x;
    }
    for (int k = 0; k < 3; ++k) beyond[k] += std::abs(x) > (k == 0 ? 1 : k == 1 ? 2 : 4);
    if (i > 0) lagged += x * static_cast<double>(z[i - 1]) / static_cast<double>(n);
  }
  double const deviation = 1 / std::sqrt(static_cast<double>(n));  // 4.9e-4
  CHECK(std::abs(m[1]) < 4 * deviation);
  CHECK(std::abs(m[2] - 1) < 4 * std::sqrt(2.0) * deviation);
  CHECK(std::abs(m[3]) < 4 * std::sqrt(15.0) * deviation);
  CHECK(std::abs(m[4] - 3) < 4 * std::sqrt(96.0) * deviation);
  CHECK(std::abs(lagged) < 4 * deviation);
  for (int k = 0; k < 3; ++k) {
    double const share = std::erfc((k == 0 ? 1 : k == 1 ? 2 : 4) / std::sqrt(2.0));
    double const expected = share * static_cast<double>(n);
    CHECK(std::abs(static_cast<double>(beyond[k]) - expected) < 4 * std::sqrt(expected));
  }
}

TEST_CASE(
    "normal: other places, rounds, ranks, phases and seeds draw other numbers; the same ones the same, in "
    "any order") {
  auto const z = many(64);
  CHECK(many(64) == z);
  CHECK(many(64, {1, 0, 0}) != z);
  CHECK(many(64, {0, 1, 0}) != z);
  CHECK(many(64, {0, 0, 1}) != z);
  CHECK(many(64, {}, 2) != z);
  float at_once[64];
  draw_normal(at_once, 0, {}, 1);
  for (std::size_t i = 0; i < 64; ++i) CHECK(at_once[i] == z[i]);
  auto const some = many(4096);
  CHECK(pinned_digest(some) == 12659294357011361477ull);
}
