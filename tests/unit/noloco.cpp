// SPDX-License-Identifier: Apache-2.0
// NoLoCo's outer step on single numbers.
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <cmath>

using namespace diloco;

namespace {

// By hand, 20 + K·w as Nesterov, and 4 for the mean anchor that it reads.
static_assert(apply_outer_bytes<f32, noloco>(2) == 20 + 2 * 4 + 4);
static_assert(apply_outer_bytes<absmax<4>, noloco>(1) == 24 + wire_bytes_per_parameter<absmax<4>>);

double number(std::uint64_t seed, int i) {
  return static_cast<double>(toy::number(seed, static_cast<std::uint64_t>(i)));
}

}  // namespace

TEST_CASE("noloco: m = alpha m - beta g + gamma (mean - p), p = p + m, for twenty steps, against double") {
  for (noloco const o : {noloco{}, noloco{.lr = 0.3f, .momentum = 0.9f, .consensus = 0.0f},
                         noloco{.lr = 1.0f, .momentum = 0.0f, .consensus = 1.0f}}) {
    double const a = static_cast<double>(o.momentum), b = static_cast<double>(o.lr),
                 c = static_cast<double>(o.consensus);
    float p = 0.8f, m = 0.0f;
    double p_exact = static_cast<double>(p), m_exact = 0;
    for (int t = 0; t < 20; ++t) {
      double const g = number(1, t), mean = number(2, t);
      o.at({static_cast<std::uint64_t>(t) + 1, 1.0f})(p, static_cast<float>(g), static_cast<float>(mean), m);
      m_exact = a * m_exact - b * g + c * (mean - p_exact);
      p_exact += m_exact;
      CHECK(std::abs(static_cast<double>(m) - m_exact) < 2e-6);
      CHECK(std::abs(static_cast<double>(p) - p_exact) < 2e-6);
    }
  }
}

TEST_CASE("noloco: descends along g, and goes towards the mean anchor") {
  float p = 1, m = 0;
  noloco{.lr = 0.5f, .momentum = 0, .consensus = 0}.at({})(p, 1.0f, 5.0f, m);
  CHECK(p == 0.5f);
  CHECK(m == -0.5f);
  p = 1, m = 0;
  noloco{.lr = 0, .momentum = 0, .consensus = 0.25f}.at({})(p, 1.0f, 5.0f, m);
  CHECK(p == 2.0f);
  // With a rate of 0 and equal anchors nothing moves.
  p = 1, m = 0;
  noloco{}.at({1, 0.0f})(p, 1.0f, 1.0f, m);
  CHECK(p == 1.0f);
}

TEST_CASE("noloco: its numbers have ranges, and the consensus one that depends on the momentum") {
  CHECK(field_error("outer", noloco{}) == "");
  CHECK(field_error("outer", noloco{.consensus = 0}) == "");
  CHECK(field_error("outer", noloco{.lr = -1}) ==
        "diloco: outer noloco: lr = -1 must be a number not below 0");
  CHECK(field_error("outer", noloco{.momentum = 1}) ==
        "diloco: outer noloco: momentum = 1 must be in [0, 1)");
  CHECK(field_error("outer", noloco{.consensus = -1}) ==
        "diloco: outer noloco: consensus = -1 must be a number not below 0");
  CHECK(field_error("outer", noloco{.momentum = 0.5f, .consensus = 2.75f}) == "");
  CHECK(field_error("outer", noloco{.momentum = 0.5f, .consensus = 3}) ==
        "diloco: outer noloco: consensus must be below 2·(1 + momentum), from where on each exchange moves a "
        "pair "
        "further apart");
  CHECK(fingerprint(noloco{}) != fingerprint(noloco{.consensus = 0.5f}));
  CHECK(fingerprint(gossip{}) != fingerprint(gossip{1}));
}

TEST_CASE("noloco: the bound of the consensus is where a pair begins to move apart") {
  auto const apart_after = [](float consensus) {
    noloco const o{.momentum = 0.5f, .consensus = consensus};
    float p = 1, q = -1, m = 0, n = 0;
    for (int t = 0; t < 400; ++t) {
      float const mean = 0.5f * p + 0.5f * q;
      o.at({})(p, 0.0f, mean, m);
      o.at({})(q, 0.0f, mean, n);
    }
    return std::abs(p - q);
  };
  CHECK(apart_after(0.7f) < 1e-6f);
  CHECK(apart_after(2.9f) < 1e-6f);
  CHECK(apart_after(3.1f) > 1e3f);
}
