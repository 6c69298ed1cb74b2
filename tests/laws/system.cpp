// SPDX-License-Identifier: Apache-2.0
// Laws of the whole round, for every compressor and host executor, over `alone` and over threads.
#include "support.hpp"
#include "support/pattern.hpp"
#include "support/toy.hpp"

#include <algorithm>
#include <functional>

namespace {

using namespace diloco;
using laws::numbers;

template <class C, class E>
struct with {
  using compressor = C;
  using executor = E;
};

constexpr std::size_t length = 5000;

/// An exchange chosen at run time, so that one instantiation serves both patterns.
struct chosen {
  pattern which = pattern::gather;
  static constexpr std::string_view name = "chosen";
  static constexpr same_compressor second{};
  [[nodiscard]] leg_list legs(int ranks) const { return legs_of(which, ranks); }
};

using push_function = std::function<std::vector<float>(int worker, int round)>;

/// K workers, `rounds` rounds. Worker r moves its parameters by pushes(r, round). Returns every worker's
/// anchor.
template <class C, class E>
std::vector<std::vector<float>> anchors_of(int workers, int rounds, push_function const& push,
                                           pattern exchange) {
  std::vector<std::vector<float>> anchors(static_cast<std::size_t>(workers));
  run_threads(workers, [&](threads transport) {
    int const rank = transport.rank();
    std::vector<float> theta = numbers(21).many(length);
    auto const parameters = laws::one_tensor(theta);
    laws::trainer_of<external, nesterov, C, threads, E, manual, chosen> trainer(
        {.exchange = {exchange}, .transport = std::move(transport)}, parameters);
    for (int round = 0; round < rounds; ++round) {
      auto const delta = push(rank, round);
      for (std::size_t i = 0; i < length; ++i) theta[i] -= delta[i];
      trainer.after_step();
      trainer.sync();
    }
    auto const anchor = trainer.cell("w", "anchor");
    anchors[static_cast<std::size_t>(rank)].assign(anchor.begin(), anchor.end());
  });
  return anchors;
}

std::vector<float> push_of(int worker, int round) {
  return numbers(static_cast<std::uint64_t>(100 + 10 * worker + round)).many(length, 0.01f);
}

TEST_CASE_TEMPLATE_DEFINE("laws of the round", P, round_laws) {
  using C = typename P::compressor;
  using E = typename P::executor;

  SUBCASE("K identical workers are one worker") {
    auto const same = [](int, int round) { return push_of(0, round); };
    auto const alone_anchor = anchors_of<C, E>(1, 3, same, pattern::gather)[0];
    // With two or four equal contributors, the mean is exactly the single contribution. It uses gather, so
    // that nothing is quantized a second time.
    CHECK(anchors_of<C, E>(2, 3, same, pattern::gather)[1] == alone_anchor);
    CHECK(anchors_of<C, E>(4, 3, same, pattern::gather)[3] == alone_anchor);
    if (C::traits.lossless) CHECK(anchors_of<C, E>(4, 3, same, pattern::scatter_gather)[2] == alone_anchor);
  }
  SUBCASE("after every round all anchors are bitwise equal") {
    for (int workers : {2, 3, 4}) {
      for (pattern exchange : {pattern::gather, pattern::scatter_gather}) {
        auto const anchors = anchors_of<C, E>(workers, 3, push_of, exchange);
        for (auto const& a : anchors) CHECK(a == anchors[0]);
      }
    }
  }
  SUBCASE("permuting the ranks changes nothing but rounding in roster order") {
    auto const exchange = pattern::gather;
    auto const forward = anchors_of<C, E>(2, 2, push_of, exchange);
    CHECK(anchors_of<C, E>(
              2, 2, [](int r, int t) { return push_of(1 - r, t); }, exchange) == forward);
    auto const three = anchors_of<C, E>(3, 2, push_of, exchange)[0];
    auto const turned = anchors_of<C, E>(
        3, 2, [](int r, int t) { return push_of((r + 1) % 3, t); }, exchange)[0];
    for (std::size_t i = 0; i < length; ++i) REQUIRE(std::fabs(three[i] - turned[i]) < 1e-6f);
  }
  SUBCASE("error feedback telescopes: what was sent and what is kept add up to what was meant") {
    std::vector<float> theta = numbers(22).many(length);
    std::vector<double> const start(theta.begin(), theta.end());
    auto const parameters = laws::one_tensor(theta);
    laws::trainer_of<external, plain_sgd, C, alone, E> trainer({.outer = {.lr = 1.0f, .weight_decay = 0.0f}},
                                                               parameters);
    std::vector<double> meant(length, 0.0);
    for (int round = 0; round < 20; ++round) {
      auto const delta = push_of(7, round);
      for (std::size_t i = 0; i < length; ++i) {
        float const before = theta[i];
        theta[i] -= delta[i];
        meant[i] += double(before) - double(theta[i]);
      }
      trainer.after_step();
      trainer.sync();
    }
    auto const residual = toy::cell_or_none(trainer, "w", "residual");
    for (std::size_t i = 0; i < length; ++i) {
      double const sent = start[i] - double(theta[i]);
      double const kept = residual.empty() ? 0.0 : double(residual[i]);
      // 20 rounds. Each rounds |θ̄| < 4 once.
      REQUIRE(std::fabs(sent + kept - meant[i]) < 20 * 2.4e-7);
    }
  }
}
#define DILOCO_EACH_COMPRESSOR(E) \
  with<f32, E>, with<f16, E>, with<bf16, E>, with<absmax<8>, E>, with<absmax<4>, E>, with<sign<>, E>
TEST_CASE_TEMPLATE_INVOKE(round_laws, DILOCO_EACH_COMPRESSOR(laws::main_executor));
#if DILOCO_HAS_OMP
TEST_CASE_TEMPLATE_INVOKE(round_laws, with<absmax<8>, omp>, with<f32, omp>);
#endif
#if DILOCO_HAS_TBB
TEST_CASE_TEMPLATE_INVOKE(round_laws, with<absmax<8>, diloco::tbb>, with<f32, diloco::tbb>);
#endif

TEST_CASE("one worker, exact wire, outer sgd(1): the round is the identity") {
  std::vector<float> theta = numbers(23).many(length);
  auto const parameters = laws::one_tensor(theta);
  laws::trainer_of<external, plain_sgd, f32, alone> trainer({.outer = {.lr = 1.0f, .weight_decay = 0.0f}},
                                                            parameters);
  // θ̄ − θ is exact while they are within a factor of two of each other (Sterbenz).
  for (float& x : theta) x *= 0.75f;
  auto const before = theta;
  trainer.after_step();
  trainer.sync();
  CHECK(theta == before);
  CHECK(std::equal(theta.begin(), theta.end(), trainer.cell("w", "anchor").begin()));
}

TEST_CASE("H = 1, inner sgd(1): the round is data-parallel SGD with any outer optimizer") {
  constexpr int workers = 4, rounds = 30;
  std::vector<std::vector<float>> theta(workers);
  run_threads(workers, [&](threads transport) {
    auto const rank = static_cast<std::size_t>(transport.rank());
    theta[rank] = numbers(24).many(length);
    auto const parameters = laws::one_tensor(theta[rank]);
    laws::trainer_of<plain_sgd, sgd, f32, threads, laws::main_executor, every> trainer(
        {.inner = {.lr = 1.0f, .weight_decay = 0.0f},
         .outer = {.lr = 0.1f, .momentum = 0.9f, .nesterov = false, .weight_decay = 0.0f},
         .transport = std::move(transport),
         .schedule = every(1)},
        parameters);
    for (int t = 0; t < rounds; ++t)
      trainer.step(std::vector<std::span<float const>>{push_of(static_cast<int>(rank), t)});
  });
  auto const first = numbers(24).many(length);
  std::vector<double> p(first.begin(), first.end()), momentum(length, 0.0);
  for (int t = 0; t < rounds; ++t) {
    std::vector<double> mean(length, 0.0);
    for (int r = 0; r < workers; ++r) {
      auto const g = push_of(r, t);
      for (std::size_t i = 0; i < length; ++i) mean[i] += double(g[i]) / workers;
    }
    for (std::size_t i = 0; i < length; ++i) {
      momentum[i] = 0.9 * momentum[i] + mean[i];
      p[i] -= 0.1 * momentum[i];
    }
  }
  // Each gradient passes through θ̄ − (θ̄ − g), which rounds it to the last place of |θ̄| < 4: 2.4e-7.
  for (std::size_t i = 0; i < length; ++i) REQUIRE(std::fabs(double(theta[0][i]) - p[i]) < 5e-6);
}

TEST_CASE("one pseudo-gradient displaces the anchor by η/(1−μ) in all under Nesterov") {
  std::vector<float> theta(10, 1.0f);
  auto const parameters = laws::one_tensor(theta);
  laws::trainer_of<external, nesterov, f32, alone> trainer({.outer = {.lr = 0.7f, .momentum = 0.9f}},
                                                           parameters);
  theta.assign(10, 1.0f - 0.01f);
  for (int round = 0; round < 400; ++round) {
    trainer.skip_step(1.0);  // counts even if nothing moves
    trainer.sync();
  }
  CHECK(1.0 - double(theta[3]) == doctest::Approx(0.01 * 0.7 / (1 - 0.9)).epsilon(1e-4));
}

TEST_CASE("the mean is weighted by tokens, in the same operation") {
  std::vector<float> const weights{100.0f, 300.0f, 600.0f};
  std::vector<float> result;
  run_threads(3, [&](threads transport) {
    auto const rank = static_cast<std::size_t>(transport.rank());
    std::vector<float> theta(length, 1.0f);
    auto const parameters = laws::one_tensor(theta);
    laws::trainer_of<external, plain_sgd, f32, threads> trainer(
        {.outer = {.lr = 1.0f, .weight_decay = 0.0f}, .transport = std::move(transport)}, parameters);
    for (float& x : theta) x -= 0.125f * static_cast<float>(rank + 1);
    trainer.after_step(double(weights[rank]));
    trainer.sync();
    if (rank == 0) result = theta;
  });
  for (float x : result)
    CHECK(double(x) == doctest::Approx(1 - 0.125 * (0.1 * 1 + 0.3 * 2 + 0.6 * 3)).epsilon(1e-6));
}

}  // namespace
