// SPDX-License-Identifier: Apache-2.0
// What each feedback policy promises, with block and staged compressors, over gather and scatter–gather.
#include "support.hpp"
#include "support/toy.hpp"

#include <algorithm>

namespace {

using namespace laws;
using namespace diloco;

/// K workers with equal weights. The caller gives Δ of worker k in round r. θ̄ starts at 0 and moves by −ĝ.
template <class C, class F, class Exchange>
struct world {
  using trainer_type =
      DiLoCo<external, plain_sgd, C, threads, F, weighted_mean, Exchange, manual, main_executor, silent>;
  static constexpr std::size_t n = 5000;

  struct worker {
    std::vector<std::vector<float>> sent;  // ĝ of each round
    std::vector<float> residual, common;
    std::vector<std::uint64_t> digests;
    std::string description;
  };

  template <class Delta>
  static std::vector<worker> run(int workers, int rounds, F feedback, Delta&& delta) {
    std::vector<worker> all(static_cast<std::size_t>(workers));
    run_threads(workers, [&](threads transport) {
      int const rank = transport.rank();
      worker& w = all[static_cast<std::size_t>(rank)];
      std::vector<float> theta(n);
      trainer_type trainer({.outer = {.lr = 1.0f, .weight_decay = 0.0f},
                            .feedback = feedback,
                            .transport = std::move(transport)},
                           std::vector<tensor>{{"w", {50, 100}, theta.data()}});
      w.description = trainer.describe();
      for (int round = 0; round < rounds; ++round) {
        std::vector<float> const before = theta;
        for (std::size_t i = 0; i < n; ++i) theta[i] -= delta(rank, round, i);
        trainer.after_step();
        trainer.sync();
        w.sent.emplace_back(n);
        for (std::size_t i = 0; i < n; ++i) w.sent.back()[i] = before[i] - theta[i];
        w.digests.push_back(trainer.digest());
      }
      auto const e = toy::cell_or_none(trainer, "w", "residual"),
                 h = toy::cell_or_none(trainer, "w", "estimate");
      w.residual.assign(e.begin(), e.end());
      w.common.assign(h.begin(), h.end());
    });
    for (worker const& w : all) CHECK(w.digests == all[0].digests);
    return all;
  }
};

float delta_of(int rank, int round, std::size_t i) {
  float const common = std::sin(0.37f * static_cast<float>(i)),
              own = std::cos(float(rank + 1) * 0.11f * static_cast<float>(i));
  return 1e-2f * (common + 0.5f * own + 0.1f * std::sin(static_cast<float>(round)));
}

template <class C, class X>
struct both {
  using compressor = C;
  using exchange = X;
};
using nibbles = absmax<4, 256>;
using gathered_blocks = both<nibbles, gather>;
using scattered_blocks = both<nibbles, scatter_gather>;
using gathered_signs = both<sign<>, gather>;
using gathered_top = both<top_k<256>, gather>;
using scattered_top = both<top_k<256>, scatter_gather>;
using gathered_halves = both<top_k<256, kept_as::f16>, gather>;
using gathered_random = both<random_k<512>, gather>;
using scattered_random = both<random_k<512>, scatter_gather>;
using gathered_table = both<statistical<16>, gather>;
using scattered_table = both<statistical<4>, scatter_gather>;
using gathered_rank = both<low_rank<2>, gather>;
using scattered_rank = both<low_rank<2>, scatter_gather>;
using gathered_common = both<low_rank<2, factors::common>, gather>;
using scattered_common = both<low_rank<2, factors::common>, scatter_gather>;

/// The mean residual of one element over all workers: what the workers still have to send.
template <class Worker>
double owed(std::vector<Worker> const& all, std::size_t i) {
  double e = 0;
  for (auto const& w : all) e += double(w.residual[i]) / double(all.size());
  return e;
}

TEST_CASE_TEMPLATE_DEFINE("error feedback telescopes: what arrived and what is owed is what was given", B,
                          telescopes) {
  using C = typename B::compressor;
  constexpr bool gathers = std::is_same_v<typename B::exchange, gather>;
  int const workers = 3, rounds = 12;
  auto const check = [&](auto feedback, bool owner_owes_nothing) {
    auto const all =
        world<C, decltype(feedback), typename B::exchange>::run(workers, rounds, feedback, delta_of);
    double worst = 0, given_at_most = 0;
    for (std::size_t i = 0; i < 5000; ++i) {
      double given = 0, arrived = 0;
      for (int r = 0; r < rounds; ++r) {
        for (int k = 0; k < workers; ++k) given += double(delta_of(k, r, i)) / workers;
        arrived += double(all[0].sent[std::size_t(r)][i]);
      }
      worst = std::max(worst, std::fabs(given - arrived - owed(all, i)));
      given_at_most = std::max(given_at_most, std::fabs(given));
    }
    // Under scatter–gather the owners keep residuals too, unless the mean residual covers them.
    if (gathers || owner_owes_nothing) CHECK(worst < 1e-5 * given_at_most);
    if (!gathers && !owner_owes_nothing) CHECK(worst > 1e-5 * given_at_most);
  };
  check(error_feedback{}, linear_wires<C>);  // with linear messages the owner forwards their mean exactly
  if constexpr (linear_wires<C>) check(mean_error_feedback{.decay = 1.0f}, true);
}
TEST_CASE_TEMPLATE_INVOKE(telescopes, gathered_blocks, scattered_blocks, gathered_signs, gathered_top,
                          scattered_top, gathered_halves, gathered_random, scattered_random, gathered_table,
                          scattered_table, gathered_rank, scattered_rank, gathered_common, scattered_common);

TEST_CASE_TEMPLATE_DEFINE(
    "a residual against the mean stays bounded where wires add up, whatever the workers disagree on", B,
    bounded) {
  using W = world<typename B::compressor, mean_error_feedback, typename B::exchange>;
  auto const constant = [](int rank, int, std::size_t i) { return delta_of(rank, 0, i); };
  int const workers = 3, rounds = 1000;
  auto const all = W::run(workers, rounds, {.decay = 0.95f}, constant);
  // In units of the mean: the largest ĝ of the last rounds, and the distance of their mean from it.
  double of = 0, apart = 0;
  std::vector<double> largest(100);
  for (std::size_t i = 0; i < W::n; ++i) {
    double given = 0, arrived = 0;
    for (int k = 0; k < workers; ++k) given += double(constant(k, 0, i)) / workers;
    for (std::size_t r = 0; r < largest.size(); ++r) {
      auto const g = double(all[0].sent[std::size_t(rounds) - 1 - r][i]);
      arrived += g / double(largest.size());
      largest[r] += g * g;
    }
    apart += std::pow(given - arrived, 2);
    of += given * given;
  }
  double const most = std::sqrt(*std::max_element(largest.begin(), largest.end()) / of);
  CHECK(most < 4);
  CHECK(std::sqrt(apart / of) < 0.35);
  // Each residual differs from their mean by 1/(1 − decay) of that worker's deviation from the mean.
  for (std::size_t i = 0; i < W::n; i += 7) {
    double given = 0;
    for (int k = 0; k < workers; ++k) given += double(constant(k, 0, i)) / workers;
    for (int k = 0; k < workers; ++k) {
      double const more = double(all[std::size_t(k)].residual[i]) - owed(all, i);
      REQUIRE(more == doctest::Approx((double(constant(k, 0, i)) - given) * 20).epsilon(1e-3).scale(1e-2));
    }
  }
}
TEST_CASE_TEMPLATE_INVOKE(bounded, gathered_random, scattered_random, gathered_common, scattered_common);

TEST_CASE_TEMPLATE_DEFINE("ef21 reaches a constant mean, and everybody keeps the same", B, reaches) {
  auto const constant = [](int rank, int, std::size_t i) { return delta_of(rank, 0, i); };
  using W = world<typename B::compressor, ef21, typename B::exchange>;
  auto const all = W::run(3, 60, {}, constant);
  auto const distance = [&](int round) {
    double lost = 0, of = 0;
    for (std::size_t i = 0; i < W::n; ++i) {
      double mean = 0;
      for (int k = 0; k < 3; ++k) mean += double(constant(k, 0, i)) / 3;
      lost += std::pow(mean - double(all[0].sent[std::size_t(round)][i]), 2);
      of += mean * mean;
    }
    return std::sqrt(lost / of);
  };
  CHECK(distance(59) < 0.02);
  CHECK(distance(59) < 0.5 * distance(0));
  for (auto const& w : all) CHECK(w.common == all[0].common);
  if constexpr (std::is_same_v<typename B::exchange, gather>) {
    for (std::size_t i = 0; i < W::n; ++i)
      REQUIRE(double(all[0].common[i]) == doctest::Approx(owed(all, i)).epsilon(1e-4).scale(1e-2));
  }
}
TEST_CASE_TEMPLATE_INVOKE(reaches, gathered_blocks, scattered_blocks, gathered_top, scattered_top,
                          gathered_table);

TEST_CASE_TEMPLATE_DEFINE("error feedback: the mean of what arrived becomes the mean of what was given", B,
                          arrives) {
  using W = world<typename B::compressor, error_feedback, typename B::exchange>;
  auto const constant = [](int rank, int, std::size_t i) { return delta_of(rank, 0, i); };
  int const rounds = 250;
  auto const all = W::run(3, rounds, {}, constant);
  double lost = 0, of = 0;
  for (std::size_t i = 0; i < W::n; ++i) {
    double given = 0, arrived = 0;
    for (int k = 0; k < 3; ++k) given += double(constant(k, 0, i)) / 3;
    for (auto const& sent : all[0].sent) arrived += double(sent[i]) / rounds;
    lost += std::pow(given - arrived, 2);
    of += given * given;
  }
  // The residuals after 250 rounds, over all workers and both times, divided by 250. No element is forgotten.
  CHECK(std::sqrt(lost / of) < 0.25);
}
TEST_CASE_TEMPLATE_INVOKE(arrives, gathered_blocks, scattered_blocks, gathered_signs, gathered_top,
                          scattered_top, gathered_table, scattered_table, gathered_rank, scattered_rank,
                          gathered_common, scattered_common);

TEST_CASE("averaged error: what is sent next follows its recursion, within the 8 bits that it is stored in") {
  averaged_error const feedback{.beta = 0.75f, .reset_every = 4};
  using W = world<nibbles, averaged_error, gather>;
  auto const all = W::run(1, 9, feedback, delta_of);
  CHECK(all[0].residual.empty());  // stored in 8 bits, not as floats
  // The same in double, from the sent values. With one worker these are the decoded values.
  std::vector<double> e(W::n);
  double remembered = 0;
  for (int r = 0; r < 9; ++r) {
    bool const reset = r % 4 == 0;
    double largest = 0, worst = 0, kept = 0;
    for (std::size_t i = 0; i < W::n; ++i) {
      double const x = double(delta_of(0, r, i)) + (reset ? 0 : e[i]),
                   sent = double(all[0].sent[std::size_t(r)][i]);
      largest = std::max(largest, std::fabs(x));
      worst = std::max(worst, std::fabs(x - sent));
      e[i] = (reset ? 0 : 0.75 * e[i]) + 0.25 * (x - sent);
      kept = std::max(kept, std::fabs(e[i]));
    }
    // e is stored to half a step of 8 bits, and x is sent to half a step of 4 bits. With another e, x − sent
    // would be larger.
    CHECK(worst <= largest / 14 * 1.001 + remembered / 127);
    remembered = kept;
  }
  // In a reset round no residual is added, as in a first round.
  auto const once = W::run(1, 1, feedback, [](int, int, std::size_t i) { return delta_of(0, 4, i); });
  double apart = 0;
  for (std::size_t i = 0; i < W::n; ++i)
    apart = std::max(apart, std::fabs(double(once[0].sent[0][i]) - double(all[0].sent[4][i])));
  CHECK(apart < 1e-7);
}

TEST_CASE("averaged error loses less than no feedback where the error has a mean") {
  auto const constant = [](int, int, std::size_t i) { return delta_of(0, 0, i); };
  auto const drift = [&](auto feedback) {
    using F = decltype(feedback);
    auto const all = world<absmax<2, 256>, F, gather>::run(1, 40, feedback, constant);
    double lost = 0;
    for (std::size_t i = 0; i < 5000; ++i) {
      double sum = 0;
      for (auto const& sent : all[0].sent) sum += double(sent[i]) - double(constant(0, 0, i));
      lost += sum * sum;
    }
    return std::sqrt(lost);
  };
  double const none = drift(no_feedback{}), averaged = drift(averaged_error{.beta = 0.5f}),
               exact = drift(error_feedback{});
  CHECK(averaged < 0.5 * none);
  CHECK(exact < 0.5 * none);
}

TEST_CASE("reset_feedback forgets what was not said, and not while a round is under way") {
  std::vector<float> theta(1000);
  laws::trainer_of<external, plain_sgd, sign<>, alone> trainer({}, laws::one_tensor(theta));
  for (std::size_t i = 0; i < theta.size(); ++i) theta[i] = delta_of(0, 0, i);
  trainer.after_step();
  auto flight = trainer.launch();
  auto const refused = trainer.try_reset_feedback();
  REQUIRE(!refused);
  CHECK(refused.error().message == "diloco: reset_feedback: round 0 is under way; land it first");
  trainer.land(std::move(flight));
  auto const size = [&] {
    float most = 0;
    for (float e : trainer.cell("w", "residual")) most = std::max(most, std::fabs(e));
    return most;
  };
  CHECK(size() > 1e-4f);
  trainer.reset_feedback();
  CHECK(size() == 0.0f);
}

TEST_CASE("feedback says what it costs") {
  auto const state = [](auto feedback, auto compressor) {
    using W = world<decltype(compressor), decltype(feedback), gather>;
    auto const text = W::run(1, 1, feedback, delta_of)[0].description;
    auto const from = text.find("state ") + 6;
    return text.substr(from, text.find(" B/param") - from);
  };
  // θ̄ and the policy's state. An 8-bit residual pads 5000 elements to whole blocks: 5120.
  CHECK(state(no_feedback{}, nibbles{}) == "4");
  CHECK(state(error_feedback{}, nibbles{}) == "12");
  CHECK(state(averaged_error{}, nibbles{}) == "6.18");
  CHECK(state(ef21{}, nibbles{}) == "16");
}

}  // namespace
