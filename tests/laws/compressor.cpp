// SPDX-License-Identifier: Apache-2.0
// Runs every law on every block compressor. A new compressor adds its promise and its name to codec.hpp.
#include "codec.hpp"

#include <algorithm>

namespace {

using namespace laws;

TEST_CASE_TEMPLATE_DEFINE("compressor laws", C, compressor_laws) {
  C const c{};

  SUBCASE("zero becomes +0") {
    for (int n : lengths(C::block)) {
      std::vector<float> x(static_cast<std::size_t>(n), 0.0f);
      x[0] = -0.0f;
      auto const y = decode(c, encode(c, x.data(), n), n);
      // A lossless message keeps even the sign of zero.
      for (std::size_t i = 0; i < y.size(); ++i)
        CHECK(bits_of(y[i]) == (C::traits.lossless ? bits_of(x[i]) : 0u));
    }
  }
  SUBCASE("the error stays within its bound, for whole blocks and tails") {
    numbers source(11);
    for (int n : lengths(C::block)) {
      for (float scale : {1e-3f, 1.0f, 3e4f, 1e-7f}) {
        auto const x = source.many(static_cast<std::size_t>(n), scale / 3);
        float amax = 0;
        for (float v : x) amax = std::max(amax, std::fabs(v));
        auto const y = decode(c, encode(c, x.data(), n), n);
        for (std::size_t i = 0; i < x.size(); ++i) {
          CAPTURE(n);
          CHECK(std::fabs(double(x[i]) - double(y[i])) <= promise<C>::error(double(x[i]), double(amax)));
        }
      }
    }
  }
  SUBCASE("decode then encode gives the same bytes") {
    numbers source(12);
    // A `return` would hide the following subcases from doctest.
    for (int n : promise<C>::canonical ? lengths(C::block) : std::vector<int>{}) {
      auto const x = source.many(static_cast<std::size_t>(n), 0.01f);
      auto const once = encode(c, x.data(), n);
      auto const y = decode(c, once, n);
      auto const twice = encode(c, y.data(), n);
      CHECK(once.code == twice.code);
      CHECK(once.side == twice.side);
    }
  }
  SUBCASE("denormal, tiny and huge blocks decode to finite numbers within the bound or to zero") {
    for (float scale : {1e-45f, 1e-40f, 1e-38f, 0x1p-101f, 0x1p-99f, 1e-20f, C::largest / 4}) {
      auto x = numbers(13).many(C::block, scale / 3);
      x[5] = scale;
      float amax = 0;
      for (float v : x) amax = std::max(amax, std::fabs(v));
      auto const y = decode(c, encode(c, x.data(), C::block), C::block);
      for (std::size_t i = 0; i < x.size(); ++i) {
        REQUIRE(std::isfinite(y[i]));
        bool const dropped = y[i] == 0.0f && amax < smallest_block_magnitude;
        CHECK((dropped || std::fabs(double(x[i]) - double(y[i])) <=
                              std::max(promise<C>::error(double(x[i]), double(amax)), 0x1p-133)));
      }
    }
  }
  SUBCASE("one byte layout for every compiler and backend") {
    auto const x = numbers(14).many(static_cast<std::size_t>(C::block), 0.02f);
    auto const w = encode(c, x.data(), C::block);
    hash64 h;
    h.add(std::string_view(reinterpret_cast<char const*>(w.code.data()), w.code.size()));
    h.add(std::string_view(reinterpret_cast<char const*>(w.side.data()), w.side.size()));
    CHECK(h.value() == promise<C>::digest);
  }
}
TEST_CASE_TEMPLATE_APPLY(compressor_laws, block_compressors);

TEST_CASE_TEMPLATE_DEFINE("any bytes decode to finite numbers", C, hostile_laws) {
  // Decodes hostile or damaged messages. Every result must be a finite number, small enough for the sum over
  // all contributors.
  std::uint64_t state = 1;
  for (int trial = 0; trial < 2000; ++trial) {
    int const count = trial % 3 == 0 ? C::block : 1 + trial % C::block;
    coded<C> w{std::vector<std::byte>(C::code_bytes(static_cast<std::size_t>(count)) + 8),
               std::vector<std::byte>(C::side_bytes + 8)};
    auto const fill = [&](std::vector<std::byte>& bytes) {
      for (std::byte& b : bytes) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        // All ones, all zeros and the top of the exponent range appear more often than by chance.
        auto const r = static_cast<unsigned>(state >> 40);
        b = std::byte(trial % 4 == 0 ? 0xff : trial % 4 == 1 && r % 8 < 3 ? 0x7f : r & 0xff);
      }
    };
    fill(w.code);
    fill(w.side);
    for (float y : decode(C{}, w, count)) REQUIRE(std::isfinite(y));
  }
}
TEST_CASE_TEMPLATE_APPLY(hostile_laws, block_compressors);
using vote = sign<256, sign_scale::vote>;
TEST_CASE_TEMPLATE_INVOKE(hostile_laws, vote);

TEST_CASE("a vote is ±1; beside a 0 one sign waits, in that group of 32 alone") {
  std::vector<float> x{3.0f, -0.5f, 2.0f, 1e-30f, -1e-30f};
  x.resize(256, 1.0f);
  x[40] = -1.0f;
  auto const vote_of = [&] { return decode(vote{}, encode(vote{}, x.data(), 256), 256); };
  auto y = vote_of();
  for (std::size_t i = 0; i < y.size(); ++i) CHECK(y[i] == (x[i] < 0 ? -1.0f : 1.0f));
  x[2] = 0.0f;
  y = vote_of();
  for (std::size_t i = 0; i < y.size(); ++i) CHECK(y[i] == (x[i] > 0 ? 1.0f : i < 32 ? 0.0f : -1.0f));
  CHECK(wire_bits<vote> == 1.0625);
}

TEST_CASE("what is drawn is unbiased, repeats for the same round and differs for another") {
  using stochastic = qsgd<2, 128>;
  std::vector<float> const x = numbers(20).many(128);
  float amax = 0;
  for (float v : x) amax = std::max(amax, std::fabs(v));
  auto const sent = [&](std::uint64_t round, std::uint64_t seed) {
    return encode(stochastic{.seed = seed}, x.data(), 128, 256, {round, 1, 0});
  };
  CHECK(sent(7, 3).code == sent(7, 3).code);
  CHECK(sent(7, 3).code != sent(8, 3).code);
  CHECK(sent(7, 3).code != sent(7, 4).code);
  std::vector<double> mean(128);
  int const rounds = 4000;
  for (int r = 0; r < rounds; ++r) {
    auto const y = decode(stochastic{}, sent(static_cast<std::uint64_t>(r), 3), 128);
    for (std::size_t i = 0; i < 128; ++i) mean[i] += double(y[i]) / rounds;
  }
  // One draw deviates by at most amax/2. The bound is five standard deviations of the mean.
  for (std::size_t i = 0; i < 128; ++i)
    CHECK(std::fabs(mean[i] - double(x[i])) < 2.5 * double(amax) / std::sqrt(rounds));
}

template <class C>
double relative_squared_error(std::vector<float> const& x) {
  double lost = 0, all = 0;
  auto const n = static_cast<std::size_t>(C::block);
  for (std::size_t begin = 0; begin + n <= x.size(); begin += n) {
    auto const y = decode(C{}, encode(C{}, x.data() + begin, C::block, begin), C::block);
    for (std::size_t i = 0; i < n; ++i) {
      double const d = double(x[begin + i]) - double(y[i]);
      lost += d * d;
      all += double(x[begin + i]) * double(x[begin + i]);
    }
  }
  return lost / all;
}

/// Gaussian or Laplace numbers. Inverting a low-discrepancy sequence in random order would be too smooth for
/// block maxima. So this applies Box and Muller's transform to the linear congruence, in double. All libms
/// agree to 3 %.
std::vector<float> drawn(bool laplace) {
  numbers source(19);
  std::vector<float> v(std::size_t{1} << 18);
  for (float& each : v) {
    double const u = (double(source.next()) + 1) / 2 + 1e-9, t = double(source.next());
    double const size = laplace ? -std::log(u) : std::sqrt(-2 * std::log(u)) * std::cos(3.14159265358979 * t);
    each = static_cast<float>(1e-3 * (laplace && t < 0 ? -size : size));
  }
  return v;
}

TEST_CASE("quality is that of the literature, within 3 %") {
  std::vector<float> const gauss = drawn(false), laplace = drawn(true);
  auto const expect = [&]<class C>(C, double on_gauss, double on_laplace) {
    CAPTURE(std::string(C::name));
    CHECK(relative_squared_error<C>(gauss) == doctest::Approx(on_gauss).epsilon(0.03));
    CHECK(relative_squared_error<C>(laplace) == doctest::Approx(on_laplace).epsilon(0.03));
  };
  expect(f16{}, 4.326e-8, 4.301e-8);
  expect(bf16{}, 2.763e-6, 2.752e-6);
  expect(absmax<8>{}, 4.860e-5, 1.008e-4);
  expect(absmax<4, 64>{}, 1.160e-2, 1.974e-2);
  expect(absmax<4, 128>{}, 1.380e-2, 2.561e-2);
  expect(absmax<2, 128>{}, 5.885e-1, 6.145e-1);
  expect(min_max<4>{}, 9.948e-3, 1.694e-2);
  expect(min_max<2>{}, 2.510e-1, 4.416e-1);
  expect(dynamic8<>{}, 1.175e-4, 1.687e-4);
  expect(e4m3<>{}, 6.813e-4, 6.491e-4);
  expect(e5m2<>{}, 2.711e-3, 2.578e-3);
  expect(mxfp8{}, 8.502e-4, 9.971e-4);
  expect(mxfp6{}, 8.034e-4, 9.353e-4);
  expect(mxfp4{}, 1.311e-2, 1.602e-2);
  expect(nvfp4{}, 9.053e-3, 8.588e-3);
  expect(e3m0<>{}, 3.709e-2, 3.423e-2);
  expect(hadamard<32, absmax<4, 128>>{}, 1.381e-2, 1.388e-2);
  expect(lloyd_max<2, 512>{}, 1.172e-1, 1.898e-1);
  expect(sign<512>{}, 3.632e-1, 4.986e-1);
  expect(natural<>{}, 3.776e-2, 3.819e-2);
  expect(natural<natural_rounding::stochastic>{}, 8.175e-2, 8.217e-2);
  expect(qsgd<8, 128, qsgd_norm::l2>{}, 1.321e-3, 1.323e-3);
  expect(qsgd<4, 128, qsgd_norm::l2>{}, 4.345e-1, 4.012e-1);
  expect(qsgd<4>{}, 2.766e-2, 5.177e-2);
  expect(qsgd<2>{}, 1.267, 1.725);
  // Exact for Gaussian data: 1 − 2/π, 2 − 2·√(2/π), and the optima of Lloyd and Max.
  CHECK(relative_squared_error<sign<>>(gauss) == doctest::Approx(0.36338).epsilon(0.01));
  CHECK(relative_squared_error<sign<512, sign_scale::rms>>(gauss) == doctest::Approx(0.40423).epsilon(0.01));
  CHECK(relative_squared_error<sign<512, sign_scale::two_means>>(gauss) ==
        doctest::Approx(0.36338).epsilon(0.01));
  CHECK(relative_squared_error<lloyd_max<1>>(gauss) == doctest::Approx(0.36338).epsilon(0.01));
  CHECK(relative_squared_error<lloyd_max<2>>(gauss) == doctest::Approx(0.11748).epsilon(0.015));
  CHECK(relative_squared_error<lloyd_max<3>>(gauss) == doctest::Approx(0.03455).epsilon(0.02));
  CHECK(relative_squared_error<lloyd_max<4>>(gauss) == doctest::Approx(0.00950).epsilon(0.02));
}

}  // namespace
