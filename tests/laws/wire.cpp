// SPDX-License-Identifier: Apache-2.0
// Compressors inside a round: whole tensors of any length, residuals, and values that must never be sent.
#include "codec.hpp"
#include "support/toy.hpp"

#include <algorithm>

namespace {

using namespace laws;

/// Compressors without and with a residual, and with group scales, run on each executor. The executors' loops
/// are the same for the others.
template <class C>
inline constexpr bool on_all_executors =
    std::is_same_v<C, f32> || std::is_same_v<C, absmax<4>> || std::is_same_v<C, nvfp4>;

TEST_CASE_TEMPLATE_DEFINE("wires of whole tensors", C, wire_laws) {
  auto const on_executors = [](auto&& f) {
    if constexpr (on_all_executors<C>)
      laws::on_each_executor(f);
    else
      f(laws::main_executor{});
  };
  auto const n = static_cast<std::size_t>(C::block);
  for (std::size_t length : {std::size_t{1}, n - 1, n, n + 1, 4096 - n, std::size_t{4096}, std::size_t{4097},
                             std::size_t{20000}}) {
    on_executors([&](auto executor) {
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
        auto const residual = toy::cell_or_none(trainer, "w", "residual");
        REQUIRE(residual.size() == (C::traits.lossless ? 0 : length));
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
// One of each kind of wire format: without and with a scale, with two, with planes, with group scales,
// rotated.
using rotated = hadamard<32, absmax<4, 128>>;
TEST_CASE_TEMPLATE_INVOKE(wire_laws, f32, f16, bf16, absmax<8>, absmax<4>, absmax<8, 64>, sign<>,
                          lloyd_max<3>, mxfp6, nvfp4, min_max<4>, natural<>, rotated);

TEST_CASE_TEMPLATE_DEFINE("what is not finite is reported, never sent", C, report_laws) {
  float const inf = std::numeric_limits<float>::infinity();
  for (float bad : {inf, -inf, std::numeric_limits<float>::quiet_NaN()}) {
    for (std::size_t where : {std::size_t{0}, std::size_t{300}, std::size_t{999}}) {
      std::vector<float> theta = numbers(17).many(1000), other = numbers(18).many(10);
      std::vector<tensor> const parameters{{"good", {10}, other.data()},
                                           {"spoiled", {10, 100}, theta.data()}};
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
      for (float e : toy::cell_or_none(trainer, "spoiled", "residual")) REQUIRE(e == 0.0f);
      theta[where] = kept;
      CHECK(trainer.try_sync());
    }
  }
}
TEST_CASE_TEMPLATE_INVOKE(report_laws, f32, f16, bf16, absmax<8>, absmax<4>, sign<>);

}  // namespace
