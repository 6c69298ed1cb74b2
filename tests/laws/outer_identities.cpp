// SPDX-License-Identifier: Apache-2.0
// Identities between outer optimizers of different names. They reveal a wrong sign, a rate in the wrong place
// or a missing correction.
// All run in rounds of one trainer type, which uses the optimizer named at run time. With powers of two as
// rates, both sides round in the same way and must agree to the bit.
#include "support.hpp"
#include "support/one_of.hpp"

#include <algorithm>
#include <functional>

namespace {

using namespace diloco;
using laws::numbers;

using outer = support::one_of<nesterov, plain_sgd, heavy_ball, slowmo, bmuf, lookahead, delayed_nesterov,
                              fedadam, sign_sgd>;

using trainer_type = laws::trainer_of<external, outer, f32, threads>;
using anchors = std::vector<std::vector<float>>;  // after each round

constexpr std::size_t length = 300;
constexpr int workers = 2, rounds = 7;

/// θ̄ after each round. Worker r moves its parameters by push(r, round, element).
anchors anchors_of(outer const& by, std::function<float(int, int, std::size_t)> const& push,
                   int how_many = rounds) {
  anchors seen;
  run_threads(workers, [&](threads transport) {
    int const rank = transport.rank();
    std::vector<float> theta = numbers(31).many(length);
    trainer_type trainer({.outer = by, .transport = std::move(transport)}, laws::one_tensor(theta));
    for (int round = 0; round < how_many; ++round) {
      for (std::size_t i = 0; i < length; ++i) theta[i] -= push(rank, round, i);
      trainer.skip_step(1.0);  // counts even if nothing moves
      trainer.sync();
      if (rank == 0) seen.push_back(theta);
    }
  });
  return seen;
}

float noise(int worker, int round, std::size_t i) {
  static anchors const pushes = [] {
    anchors all;
    for (std::uint64_t k = 0; k < workers * rounds; ++k) all.push_back(numbers(200 + k).many(length, 0.01f));
    return all;
  }();
  return pushes[static_cast<std::size_t>(worker * rounds + round)][i];
}

/// Largest distance between two runs over all rounds.
double distance(anchors const& a, anchors const& b) {
  double worst = 0;
  for (std::size_t round = 0; round < a.size(); ++round) {
    for (std::size_t i = 0; i < length; ++i)
      worst = std::max(worst, std::fabs(double(a[round][i]) - double(b[round][i])));
  }
  return worst;
}

TEST_CASE("a momentum that is not used, and a rate that is: these runs differ from one another") {
  auto const reference = anchors_of({nesterov{.lr = 0.5f, .momentum = 0.75f}}, noise);
  CHECK(distance(reference, anchors_of({heavy_ball{.lr = 0.5f, .momentum = 0.75f}}, noise)) > 1e-3);
  CHECK(distance(reference, anchors_of({plain_sgd{.lr = 0.5f, .weight_decay = 0.0f}}, noise)) > 1e-3);
}

TEST_CASE("SlowMo at a constant inner rate is averaging with momentum, whatever the inner rate") {
  auto const fed_avg_m = anchors_of({heavy_ball{.lr = 1.0f, .momentum = 0.75f}}, noise);
  CHECK(anchors_of({slowmo{.lr = 1.0f, .momentum = 0.75f, .inner_lr = 0.03125f}}, noise) == fed_avg_m);
  CHECK(distance(anchors_of({slowmo{.lr = 1.0f, .momentum = 0.75f, .inner_lr = 0.3f}}, noise), fed_avg_m) <
        1e-6);
  CHECK(anchors_of({slowmo{.lr = 0.5f, .momentum = 0.75f, .inner_lr = 4.0f}}, noise) ==
        anchors_of({heavy_ball{.lr = 0.5f, .momentum = 0.75f}}, noise));
}

TEST_CASE(
    "BMUF is averaging with momentum, its Nesterov variant Nesterov's, with the rate inside the buffer") {
  auto const heavy = anchors_of({heavy_ball{.lr = 0.5f, .momentum = 0.75f}}, noise);
  CHECK(anchors_of({bmuf{.block_lr = 0.5f, .momentum = 0.75f}}, noise) == heavy);
  CHECK(distance(anchors_of({bmuf{.block_lr = 0.7f, .momentum = 0.75f}}, noise),
                 anchors_of({heavy_ball{.lr = 0.7f, .momentum = 0.75f}}, noise)) < 1e-6);
  CHECK(anchors_of({bmuf{.block_lr = 0.5f, .momentum = 0.75f, .nesterov = true}}, noise) ==
        anchors_of({nesterov{.lr = 0.5f, .momentum = 0.75f}}, noise));
}

TEST_CASE("Lookahead is SGD on Δ: the anchor goes the share α towards the mean of the workers") {
  auto const seen = anchors_of({lookahead{.alpha = 0.3f}}, noise);
  CHECK(seen == anchors_of({plain_sgd{.lr = 0.3f, .weight_decay = 0.0f}}, noise));
  auto before = numbers(31).many(length);
  for (int round = 0; round < rounds; ++round) {
    auto const& after = seen[static_cast<std::size_t>(round)];
    double worst = 0;
    for (std::size_t i = 0; i < length; ++i) {
      double const mean = double(before[i]) - (double(noise(0, round, i)) + double(noise(1, round, i))) / 2;
      worst = std::max(worst, std::fabs(0.7 * double(before[i]) + 0.3 * mean - double(after[i])));
    }
    CHECK(worst < 5e-7);  // |θ̄| < 4; each round rounds θ, Δ, their mean and the step once
    before = after;
  }
}

TEST_CASE("FedAdam that remembers nothing, with a τ far below Δ, takes signs") {
  auto const pushed = [](int, int round, std::size_t i) {
    return i % 3 == 0 ? 0.0f : noise(0, round, i) + (noise(0, round, i) > 0 ? 0.01f : -0.01f);
  };
  auto const signs = anchors_of({sign_sgd{.lr = 0.125f}}, pushed);
  auto const fed = [&](float tau) {
    return anchors_of({fedadam{.lr = 0.125f, .beta1 = 0, .beta2 = 0, .tau = tau}}, pushed);
  };
  CHECK(distance(fed(1e-9f), signs) < rounds * 2e-7 * 0.125 + rounds * 2.4e-7);
  double const at_3 = distance(fed(1e-3f), signs), at_4 = distance(fed(1e-4f), signs);
  CHECK(at_3 > 8 * at_4);  // the distance decreases with τ, to first order
  CHECK(at_4 > 1e-4);
}

TEST_CASE("one Δ displaces the anchor by η/(1−μ) in all; heavy ball is one round behind Nesterov") {
  auto const once = [](int, int round, std::size_t) { return round == 0 ? 0.5f : 0.0f; };
  constexpr int many = 120;  // 0.9¹²⁰ is 3e-6
  auto const start = numbers(31).many(length);
  auto const moved = [&](outer const& by) {
    std::vector<double> by_round;
    for (auto const& anchor : anchors_of(by, once, many))
      by_round.push_back(double(start[7]) - double(anchor[7]));
    return by_round;
  };
  auto const ahead = moved({nesterov{.lr = 0.2f, .momentum = 0.9f}});
  auto const behind = moved({heavy_ball{.lr = 0.2f, .momentum = 0.9f}});
  CHECK(ahead.back() == doctest::Approx(0.5 * 0.2 / (1 - 0.9)).epsilon(3e-5));
  CHECK(behind.back() == doctest::Approx(0.5 * 0.2 / (1 - 0.9)).epsilon(3e-5));
  CHECK(behind[0] == doctest::Approx(0.5 * 0.2).epsilon(1e-5));
  for (std::size_t t = 0; t + 1 < many; ++t) CHECK(behind[t + 1] == doctest::Approx(ahead[t]).epsilon(3e-5));
  // BMUF with the paper's momentum 1 − 1/K: one Δ counts K times, as if it had not been averaged.
  CHECK(moved({bmuf{.block_lr = 1.0f, .momentum = 0.75f}}).back() == doctest::Approx(0.5 * 4).epsilon(1e-5));
}

TEST_CASE("delayed Nesterov with a buffer of one is Nesterov, whatever the activation") {
  auto const reference = anchors_of({nesterov{.lr = 0.7f, .momentum = 0.9f}}, noise);
  for (float c : {0.0f, 0.3f, 1.0f}) {
    CHECK(anchors_of({delayed_nesterov{.lr = 0.7f, .momentum = 0.9f, .period = 1, .activation = c}}, noise) ==
          reference);
  }
}

TEST_CASE(
    "delayed Nesterov over N rounds of which the last alone says something, N times as loud, is Nesterov") {
  constexpr int period = 4;
  auto const rarely = [](int worker, int round, std::size_t i) {
    return round % period == period - 1 ? period * noise(worker, round / period, i) : 0.0f;
  };
  auto const delayed =
      anchors_of({delayed_nesterov{.lr = 0.7f, .momentum = 0.9f, .period = period}}, rarely, 3 * period);
  auto const reference = anchors_of({nesterov{.lr = 0.7f, .momentum = 0.9f}}, noise, 3);
  for (std::size_t k = 0; k < 3; ++k)
    CHECK(distance({delayed[k * period + period - 1]}, {reference[k]}) <
          2e-6);  // Δ is rounded at 4 times the size
}

}  // namespace
