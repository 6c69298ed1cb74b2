// SPDX-License-Identifier: Apache-2.0
// A contribution of weight 0 was not sent. The sender's residual, and every copy of an estimate of it, stays.
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <cmath>

using namespace diloco;

namespace {

constexpr std::size_t elements = 1000;
float slope(std::size_t i) { return 0.05f + 0.95f * static_cast<float>(i * 37 % elements) / elements; }

template <class Compressor, class Feedback, class Exchange>
struct world {
  using trainer = DiLoCo<external, plain_sgd, Compressor, threads, Feedback, weighted_mean, Exchange, manual>;
  struct seen {
    int residuals_touched = 0, rounds_failed = 0;
    float largest_residual = 0;
    std::vector<float> anchor, last_move;
  };

  /// Rank 0 sends 0, and rank 1 sends `slope` in rounds in which it is not idle.
  template <class Idle>
  static seen run(int rounds, Idle&& idle) {
    return toy::on_each_rank(2, [&](threads transport) {
      int const rank = transport.rank();
      std::vector<float> theta(elements), before;
      trainer t({.outer = {.lr = 1.0f}, .transport = std::move(transport)},
                std::vector<tensor>{{"w", {50, 20}, theta.data()}});
      seen s;
      for (int round = 0; round < rounds; ++round) {
        bool const rests = rank == 1 && idle(round);
        std::vector<float> const start(theta);
        auto const now = t.try_cell("w", "residual");
        if (now) before.assign(now->begin(), now->end());
        if (rank == 1 && !rests) {
          for (std::size_t i = 0; i < elements; ++i) theta[i] -= slope(i);
        }
        if (rests)
          t.skip_step();
        else if (rank == 0)
          t.skip_step(1.0);  // counts, but θ stands still
        else
          t.after_step();
        if (!t.try_sync()) ++s.rounds_failed;
        if (auto const after = t.try_cell("w", "residual"); after && rests) {
          for (std::size_t i = 0; i < elements; ++i)
            s.residuals_touched += bits_of((*after)[i]) != bits_of(before[i]) ? 1 : 0;
        }
        s.last_move.assign(elements, 0.0f);
        for (std::size_t i = 0; i < elements; ++i) s.last_move[i] = start[i] - theta[i];
      }
      if (auto const e = t.try_cell("w", "residual")) {
        for (float x : *e) s.largest_residual = std::fmax(s.largest_residual, std::fabs(x));
      }
      auto const a = t.cell("w", "anchor");
      s.anchor.assign(a.begin(), a.end());
      return s;
    })[1];
  }
};

auto const each_second = [](int round) { return round % 2 == 1; };
auto const never = [](int) { return false; };

/// Rounds in which rank 1 is idle leave no trace.
template <class Compressor, class Feedback = error_feedback>
void check_idle() {
  CAPTURE(std::string(Compressor::name));
  CAPTURE(std::string(Feedback::name));
  using gathered = world<Compressor, Feedback, gather>;
  auto const rests = gathered::run(60, each_second), works = gathered::run(30, never);
  CHECK(rests.rounds_failed == 0);
  CHECK(rests.residuals_touched == 0);
  CHECK(rests.anchor == works.anchor);
}

/// If an owner quantizes once more, or the round draws, the error is one residual, however many rounds there
/// are.
template <class Compressor, class Feedback, class Exchange>
void check_bounded(double bound) {
  CAPTURE(std::string(Compressor::name));
  for (int rounds : {40, 160}) {
    auto const s = world<Compressor, Feedback, Exchange>::run(rounds, each_second);
    CHECK(s.rounds_failed == 0);
    CHECK(s.residuals_touched == 0);
    double worst = 0;
    for (std::size_t i = 0; i < elements; ++i) {
      double const meant = -0.25 * rounds * static_cast<double>(slope(i));
      worst = std::fmax(worst, std::fabs(static_cast<double>(s.anchor[i]) - meant));
    }
    CHECK(worst < bound);
  }
}

}  // namespace

TEST_CASE("idle worker: what is owed waits, for every kind of lossy compressor and exchange") {
  check_idle<f16>();
  check_idle<absmax<2, 128>>();
  check_idle<absmax<4>>();
  check_idle<sign<256>>();
  check_idle<e3m0<128>>();
  check_idle<min_max<2, 128>>();
  check_idle<lloyd_max<2>>();
  check_idle<hadamard<32, absmax<4, 128>>>();
  check_idle<top_k<256>>();
  check_idle<statistical<16>>();
  check_idle<low_rank<2>>();
  check_idle<absmax<4>, averaged_error>();
  // without a residual there is no estimate, and the mean is the same as without ef21
  check_idle<f32, ef21>();
  check_bounded<absmax<4>, error_feedback, scatter_gather>(3);
  check_bounded<sign<256>, error_feedback, scatter_gather>(6);
  check_bounded<top_k<256>, error_feedback, scatter_gather>(30);
  check_bounded<low_rank<2, factors::common>, error_feedback, gather>(16);
  // Against the mean, the workers' disagreement stays in each residual: half of everything that one of them
  // sent.
  check_bounded<random_k<512>, mean_error_feedback, gather>(60);
}

TEST_CASE("idle worker: an estimate that two sides keep is still one after a skipped round") {
  auto const check = [](auto seen) {
    CHECK(seen.rounds_failed == 0);
    CHECK(seen.residuals_touched == 0);
    double worst = 0;  // each round moves by the mean of both workers again
    for (std::size_t i = 0; i < elements; ++i)
      worst = std::fmax(
          worst, std::fabs(static_cast<double>(seen.last_move[i]) - 0.5 * static_cast<double>(slope(i))));
    CHECK(worst < 1e-3);
  };
  auto const once = [](int round) { return round == 3; };
  check(world<absmax<4>, ef21, gather>::run(40, once));
  check(world<absmax<4>, ef21, scatter_gather>::run(40, once));
  check(world<top_k<1024>, ef21, gather>::run(60, once));
}
