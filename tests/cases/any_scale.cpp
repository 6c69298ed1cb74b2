// SPDX-License-Identifier: Apache-2.0
// Gradients times a power of two. An optimizer that by definition does not depend on their scale must not do
// so in float32 either.
#include "support/whole_tensor.hpp"

#include <doctest/doctest.h>

#if DILOCO_HAS_EIGEN
#include <diloco/linear_algebra/eigen.hpp>
#endif

#include <algorithm>
#include <cmath>

namespace {

using namespace diloco;

std::vector<float> noise(std::size_t n, std::uint32_t seed, float scale = 1.0f) {
  std::vector<float> x(n);
  for (float& each : x)
    each = scale * (static_cast<float>((seed = seed * 1664525u + 1013904223u) >> 8) * 0x1p-24f - 0.5f);
  return x;
}

/// The result of five steps from 0.5, with gradients times `scale`.
template <class O>
std::vector<float> led_to(O const& o, std::size_t rows, std::size_t columns, float scale) {
  support::whole_tensor<O> t(rows, columns, std::vector<float>(rows * columns, 0.5f));
  for (std::uint32_t s = 1; s <= 5; ++s) t.step(o, noise(rows * columns, s, scale));
  return t.p;
}

double distance(std::vector<float> const& a, std::vector<float> const& b) {
  double apart = 0, moved = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    apart = std::max(apart, std::fabs(double(a[i]) - double(b[i])));
    moved = std::max(moved, std::fabs(double(a[i]) - 0.5));
  }
  return moved > 0 ? apart / moved : 1;
}

}  // namespace

#if DILOCO_HAS_EIGEN
TEST_CASE("case: muon steps alike at any scale of the gradients") {
  struct shape {
    std::size_t rows, columns;
  };
  for (shape s : {shape{16, 24}, shape{70, 64}, shape{1, 9}, shape{9, 1}}) {
    for (muon_average average : {muon_average::lerp, muon_average::sum}) {
      muon<eigen> const o{.lr = 0.1f, .scaling = muon_scaling::spectral, .average = average};
      auto const usual = led_to(o, s.rows, s.columns, 1.0f);
      for (int e : {-100, -70, -50, -20, 20, 70, 100, 120}) {
        CAPTURE(e);
        CHECK(led_to(o, s.rows, s.columns, std::ldexp(1.0f, e)) == usual);
      }
      for (int e : {-125, -120, 124}) {  // a few bits of the momentum are below 2⁻¹⁴⁹
        CAPTURE(e);
        CHECK(distance(led_to(o, s.rows, s.columns, std::ldexp(1.0f, e)), usual) < 2e-5);
      }
    }
  }
  CHECK(led_to(muon<eigen>{}, 8, 8, 0.0f) == std::vector<float>(64, 0.5f));
}

TEST_CASE("case: muon hears one loud tile among quiet ones, and the other way round") {
  muon<eigen> const o{.lr = 1.0f};
  std::size_t const rows = 64, columns = 200;  // four tiles
  auto g = noise(rows * columns, 3);
  for (std::size_t i = 4096; i < 8192; ++i) g[i] *= 0x1p-30f;
  auto const after = [&](float scale) {
    support::whole_tensor<muon<eigen>> t(rows, columns, std::vector<float>(rows * columns, 0.0f));
    auto scaled = g;
    for (float& x : scaled) x *= scale;
    t.step(o, scaled);
    return t.p;
  };
  CHECK(after(0x1p80f) == after(1.0f));
  CHECK(after(0x1p-80f) == after(1.0f));
}

TEST_CASE("case: soap's bases do not depend on the scale of the gradients") {
  soap<eigen> const o{.lr = 0.1f, .eps = 1e-35f, .weight_decay = 0.0f, .frequency = 2};
  auto const usual = led_to(o, 12, 20, 1.0f);
  for (int e : {-45, -20, 20, 40}) {
    CAPTURE(e);
    CHECK(distance(led_to(o, 12, 20, std::ldexp(1.0f, e)), usual) < 1e-4);
  }
}

TEST_CASE("case: eigenvectors and QR of any scale, and none of what is not finite") {
  std::size_t const n = 9;
  auto const g = noise(n * n, 5);
  std::vector<float> s(n * n), q(n * n), usual(n * n), turned(n * n), usually_turned(n * n);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j)
      for (std::size_t k = 0; k < n; ++k) s[i * n + j] += g[i * n + k] * g[j * n + k];
  eigen const algebra;
  cpp const where;
  algebra.eigenvectors(where, n, s.data(), usual.data());
  algebra.orthonormalize(where, n, s.data(), usually_turned.data());
  for (int e : {-115, -60, 60, 120}) {
    CAPTURE(e);
    auto scaled = s;
    for (float& x : scaled) x = std::ldexp(x, e);
    algebra.eigenvectors(where, n, scaled.data(), q.data());
    algebra.orthonormalize(where, n, scaled.data(), turned.data());
    CHECK(q == usual);
    CHECK(turned == usually_turned);
  }
  auto denormal = s;
  for (float& x : denormal) x = std::ldexp(x, -140);
  algebra.orthonormalize(where, n, denormal.data(), turned.data());
  CHECK(std::all_of(turned.begin(), turned.end(), [](float x) { return std::isfinite(x); }));
  s[10] = std::numeric_limits<float>::quiet_NaN();
  algebra.eigenvectors(where, n, s.data(), q.data());
  algebra.orthonormalize(where, n, s.data(), turned.data());
  CHECK(std::all_of(q.begin(), q.end(), [](float x) { return std::isnan(x); }));
  CHECK(std::all_of(turned.begin(), turned.end(), [](float x) { return std::isnan(x); }));
}
#endif

TEST_CASE("case: adafactor steps alike between its guards") {
  for (std::size_t columns : {std::size_t{30}, std::size_t{1}}) {
    adafactor const o{.lr = 0.1f};
    auto const usual = led_to(o, 20, columns, 1.0f);
    for (int e : {-8, 20, 45}) {
      CAPTURE(e);
      CHECK(led_to(o, 20, columns, std::ldexp(1.0f, e)) == usual);
    }
  }
}

TEST_CASE("case: low_rank finds a matrix of its rank at any scale of the pseudo-gradient") {
  std::size_t const rows = 64, columns = 80;
  auto const u = noise(rows, 1), v = noise(columns, 2);
  auto const left_out = [&](float scale) {
    std::vector<float> x(rows * columns, 0.0f);
    DiLoCo trainer(recipe<>{}
                       .with_inner(external{})
                       .with_outer(plain_sgd{.lr = 1.0f})
                       .with_compressor(low_rank<2>{})
                       .with_feedback(no_feedback{})
                       .with_transport(alone{})
                       .with_schedule(manual{}),
                   std::vector<tensor>{{"x", {rows, columns}, x.data()}});
    double worst = 0;
    for (int round = 0; round < 4; ++round) {
      auto const before = x;
      double most = 0, apart = 0;
      std::vector<float> said(x.size());
      for (std::size_t i = 0; i < x.size(); ++i) said[i] = scale * u[i / columns] * v[i % columns];
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = before[i] + said[i];
      auto const wanted = x;
      trainer.after_step();
      trainer.sync();
      for (std::size_t i = 0; i < x.size(); ++i) {
        apart = std::max(apart, std::fabs(double(x[i]) - double(wanted[i])));
        most = std::max(most, std::fabs(double(said[i])));
      }
      worst = std::max(worst, apart / most);
    }
    return worst;
  };
  for (int e : {0, -30, -50, -70, -100, 30}) {
    CAPTURE(e);
    CHECK(left_out(std::ldexp(1.0f, e)) < 1e-5);
  }
}
