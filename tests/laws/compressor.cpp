// SPDX-License-Identifier: Apache-2.0
// Every block compressor × every law. A new compressor adds its bounds and one line at the end.
#include "support.hpp"

#include <cstring>
#include <limits>

namespace {

using namespace diloco;
using laws::numbers;

/// Largest |x − decode(encode(x))| for one element of a block, and the digest of the wire of a fixed input.
template <class C>
struct promise;
template <>
struct promise<f32> {
  static double error(double, double) { return 0; }
  static constexpr std::uint64_t digest = 13729512229534212007ull;
};
template <>
struct promise<f16> {
  // Half a unit in the last place: 2⁻¹¹ relative, 2⁻²⁵ where binary16 is subnormal.
  static double error(double x, double) { return std::max(std::fabs(x) * 0x1p-11, 0x1p-25); }
  static constexpr std::uint64_t digest = 1296108367836292068ull;
};
template <>
struct promise<bf16> {
  static double error(double x, double) { return std::fabs(x) * 0x1p-8; }
  static constexpr std::uint64_t digest = 6174242644149995717ull;
};
template <int Bits, int Block>
struct promise<absmax<Bits, Block>> {
  // Half a step of amax/L, and a few roundings of the scale.
  static double error(double, double amax) { return amax / (2.0 * (Bits == 8 ? 127 : 7)) * 1.00001; }
  static constexpr std::uint64_t digest = Bits == 8 ? (Block == 256 ? 12597922221080265039ull : 4444573655676946571ull)
                                                    : (Block == 256 ? 6100464659477518290ull : 12920399614631091824ull);
};
template <int Block>
struct promise<sign<Block>> {
  static double error(double, double amax) { return amax; }
  static constexpr std::uint64_t digest = Block == 256 ? 6496070535484641760ull : 16243668606115894512ull;
};

template <class C>
struct coded {
  std::vector<std::byte> code, side;
};

template <class C>
coded<C> encode(C const& c, float const* x, int count) {
  fragment<solo, C::block> f{};
  float amax = 0;
  for (int i = 0; i < count; ++i) {
    f.v[i] = x[i];
    amax = std::max(amax, std::fabs(x[i]));
  }
  // The canary behind the code must survive.
  std::size_t const bytes = C::code_bytes(static_cast<std::size_t>(count));
  coded<C> w{std::vector<std::byte>(bytes + 8, std::byte{0xA5}),
             std::vector<std::byte>(C::side_bytes + 8, std::byte{0xA5})};
  c.encode(solo{}, f, block_info{count, amax}, wire_block{w.code.data(), w.side.data()});
  for (int i = 0; i < 8; ++i) REQUIRE(w.code[bytes + std::size_t(i)] == std::byte{0xA5});
  for (int i = 0; i < 8; ++i) REQUIRE(w.side[C::side_bytes + std::size_t(i)] == std::byte{0xA5});
  return w;
}

template <class C>
std::vector<float> decode(C const& c, coded<C> const& w, int count) {
  std::vector<float> y(C::block + 8, -77.0f);
  c.decode(solo{}, count, wire_block_view{w.code.data(), w.side.data()},
           [&](int i, float v) { y[static_cast<std::size_t>(i)] = v; });
  y.resize(static_cast<std::size_t>(count));
  return y;
}

std::vector<int> lengths(int block) { return {1, 2, 7, 8, 9, 31, 33, block - 1, block}; }

TEST_CASE_TEMPLATE_DEFINE("compressor laws", C, compressor_laws) {
  C const c{};

  SUBCASE("zero becomes +0") {
    for (int n : lengths(C::block)) {
      std::vector<float> x(static_cast<std::size_t>(n), 0.0f);
      x[0] = -0.0f;
      auto const y = decode(c, encode(c, x.data(), n), n);
      // A lossless wire keeps even the sign of zero.
      for (std::size_t i = 0; i < y.size(); ++i) CHECK(bits_of(y[i]) == (C::lossless ? bits_of(x[i]) : 0u));
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
    for (int n : lengths(C::block)) {
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
TEST_CASE_TEMPLATE_INVOKE(compressor_laws, f32, f16, bf16, absmax<8>, absmax<4>, absmax<8, 64>, absmax<4, 128>, sign<>,
                          sign<512>);

TEST_CASE_TEMPLATE_DEFINE("wires of whole tensors", C, wire_laws) {
  auto const n = static_cast<std::size_t>(C::block);
  for (std::size_t length :
       {std::size_t{1}, n - 1, n, n + 1, 4096 - n, std::size_t{4096}, std::size_t{4097}, std::size_t{20000}}) {
    laws::on_each_executor([&](auto executor) {
      using executor_type = decltype(executor);
      CAPTURE(length);
      std::vector<float> theta = numbers(15).many(length);
      auto const parameters = laws::one_tensor(theta);
      laws::trainer_of<external, plain_sgd, C, alone, executor_type> trainer(
          {.outer = {.lr = 1.0f, .weight_decay = 0.0f}, .executor = executor}, parameters);
      std::vector<float> const start = theta;
      auto const delta = numbers(16).many(length, 1e-2f);
      for (std::size_t i = 0; i < length; ++i) theta[i] -= delta[i];
      std::vector<float> const moved = theta;
      trainer.after_step();
      trainer.sync();

      SUBCASE("the round moves every element by its decoded block") {
        for (std::size_t begin = 0; begin < length; begin += n) {
          int const count = static_cast<int>(std::min(n, length - begin));
          std::vector<float> x;
          for (std::size_t i = begin; i < begin + std::size_t(count); ++i) x.push_back(start[i] - moved[i]);
          auto const y = decode(C{}, encode(C{}, x.data(), count), count);
          for (std::size_t i = 0; i < y.size(); ++i)
            REQUIRE(theta[begin + i] == diloco::fma(-1.0f, y[i], start[begin + i]));
        }
      }
      SUBCASE("the residual is what the wire lost, bit for bit") {
        auto const residual = trainer.cell("w", "residual");
        REQUIRE(residual.size() == (C::lossless ? 0 : length));
        for (std::size_t begin = 0; begin < residual.size(); begin += n) {
          int const count = static_cast<int>(std::min(n, length - begin));
          std::vector<float> x;
          for (std::size_t i = begin; i < begin + std::size_t(count); ++i) x.push_back(start[i] - moved[i]);
          auto const y = decode(C{}, encode(C{}, x.data(), count), count);
          for (std::size_t i = 0; i < y.size(); ++i) REQUIRE(residual[begin + i] == x[i] - y[i]);
        }
      }
    });
  }
}
TEST_CASE_TEMPLATE_INVOKE(wire_laws, f32, f16, bf16, absmax<8>, absmax<4>, absmax<8, 64>, absmax<4, 128>, sign<>,
                          sign<512>);

TEST_CASE_TEMPLATE_DEFINE("what is not finite is reported, never sent", C, report_laws) {
  float const inf = std::numeric_limits<float>::infinity();
  for (float bad : {inf, -inf, std::numeric_limits<float>::quiet_NaN()}) {
    for (std::size_t where : {std::size_t{0}, std::size_t{300}, std::size_t{999}}) {
      std::vector<float> theta = numbers(17).many(1000), other = numbers(18).many(10);
      std::vector<tensor> const parameters{{"good", {10}, other.data()}, {"spoiled", {10, 100}, theta.data()}};
      laws::trainer_of<external, nesterov, C, alone> trainer({}, parameters);
      auto const digest = trainer.digest();
      float const kept = std::exchange(theta[where], bad);
      trainer.after_step();
      auto const refused = trainer.try_sync();
      REQUIRE(!refused);
      CHECK(refused.error().what == cause::not_finite);
      CHECK(refused.error().message.find("'spoiled'") != std::string::npos);
      CHECK(trainer.digest() == digest);
      CHECK(trainer.rounds() == 0);
      for (float e : trainer.cell("spoiled", "residual")) REQUIRE(e == 0.0f);
      theta[where] = kept;
      CHECK(trainer.try_sync());
    }
  }
}
TEST_CASE_TEMPLATE_INVOKE(report_laws, f32, f16, bf16, absmax<8>, absmax<4>, sign<>);

template <class C>
double relative_squared_error() {
  std::size_t const n = std::size_t{1} << 18;
  std::vector<float> const x = [&] {
    // Sum of twelve uniforms: Gaussian to well under the 3 % that is asked for here.
    numbers source(19);
    std::vector<float> v(n);
    for (float& each : v) {
      float sum = 0;
      for (int k = 0; k < 12; ++k) sum += source.next();
      each = 0.5e-3f * sum;
    }
    return v;
  }();
  double lost = 0, all = 0;
  for (std::size_t begin = 0; begin < n; begin += std::size_t(C::block)) {
    auto const y = decode(C{}, encode(C{}, &x[begin], C::block), C::block);
    for (std::size_t i = 0; i < y.size(); ++i) {
      double const d = double(x[begin + i]) - double(y[i]);
      lost += d * d;
      all += double(x[begin + i]) * double(x[begin + i]);
    }
  }
  return lost / all;
}

TEST_CASE("quality on Gaussian data is that of the literature") {
  // algorithms table 14.1; 1 − 2/π is exact for the sign with mean |x|.
  CHECK(relative_squared_error<absmax<8>>() == doctest::Approx(4.86e-5).epsilon(0.03));
  CHECK(relative_squared_error<absmax<4, 128>>() == doctest::Approx(1.38e-2).epsilon(0.03));
  CHECK(relative_squared_error<sign<>>() == doctest::Approx(1 - 2 / 3.14159265358979).epsilon(0.01));
  CHECK(relative_squared_error<bf16>() == doctest::Approx(2.763e-6).epsilon(0.03));
}

}  // namespace
