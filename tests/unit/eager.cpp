// SPDX-License-Identifier: Apache-2.0
// Eager updates (arXiv 2502.12996): the outer steps of each worker against the paper's formula, what brings replicas
// together, what an idle or refused worker leaves behind, and resume.
#include "support/toy.hpp"

#include <doctest/doctest.h>
#include <diloco/snapshot.hpp>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>

using namespace diloco;

namespace {

std::vector<std::size_t> const sizes{300, 7, 260};

template <class C, class Schedule, class Outer = nesterov>
using trainer_of = DiLoCo<plain_sgd, Outer, C, threads, error_feedback, weighted_mean, gather, Schedule>;

/// One value of θ, anchor and momentum of one worker, by the paper's equations in double.
struct worker {
  double theta, anchor, momentum = 0, last = 0;
};

template <class Trainer>
float cell(Trainer const& t, std::string_view column, std::size_t i) {
  return t.cell("t0", column)[i];
}

}  // namespace

TEST_CASE("eager: each worker takes the outer steps of the paper") {
  constexpr int ranks = 3, rounds = 5;
  constexpr long h = 2;
  constexpr double eta = 0.7, mu = 0.9, lr = 0.01;
  std::vector<std::vector<std::array<float, 2>>> seen(ranks);
  run_threads(ranks, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    DiLoCo<plain_sgd, nesterov, f32, threads, no_feedback, weighted_mean, gather, eager> t(
        {.inner = {.lr = 0.01f},
         .outer = {.lr = 0.7f, .momentum = 0.9f},
         .transport = std::move(transport),
         .schedule = eager(h)},
        m.parameters());
    auto& mine = seen[static_cast<std::size_t>(rank)];
    mine.push_back({cell(t, "anchor", 5), 0});
    for (long step = 1; step <= rounds * h; ++step) {
      t.step(m.gradients(rank, step));
      if (step % h == 0) mine.push_back({cell(t, "anchor", 5), cell(t, "theta", 5)});
    }
  });
  std::vector<worker> all;
  for (int r = 0; r < ranks; ++r) {
    double const start = static_cast<double>(seen[static_cast<std::size_t>(r)][0][0]);
    all.push_back({start, start});
  }
  std::vector<double> before(ranks, 0.0);  // Δ of the round before
  for (int k = 1; k <= rounds; ++k) {
    std::vector<double> now;
    for (int r = 0; r < ranks; ++r) {
      worker& w = all[static_cast<std::size_t>(r)];
      toy::model m(sizes);
      for (long s = 1; s <= h; ++s)
        w.theta -= lr * static_cast<double>(m.gradients(r, (k - 1) * h + s)[0][5]);
      now.push_back(w.anchor - w.theta);
    }
    double mean = 0;
    for (double d : before) mean += d / ranks;
    for (int r = 0; r < ranks; ++r) {
      auto const i = static_cast<std::size_t>(r);
      worker& w = all[i];
      double const g = mean + (now[i] - before[i]) / ranks;
      w.momentum = mu * w.momentum + g;
      w.anchor -= eta * (mu * w.momentum + g);
      w.theta = w.anchor;
      auto const got = seen[i][static_cast<std::size_t>(k)];
      CHECK(static_cast<double>(got[0]) == doctest::Approx(w.anchor).epsilon(1e-6));
      CHECK(got[1] == got[0]);  // θ is the anchor
    }
    before = now;
  }
  CHECK(seen[0].back()[0] != seen[1].back()[0]);
}

TEST_CASE("eager: of one worker it is every(H), bit for bit") {
  auto const trained = [](auto schedule) {
    return toy::on_each_rank(1, [&](threads transport) {
      toy::model m(sizes);
      trainer_of<absmax<4>, decltype(schedule)> t({.transport = std::move(transport), .schedule = schedule},
                                                  m.parameters());
      for (long step = 1; step <= 13; ++step) t.step(m.gradients(0, step));
      t.sync();  // lands the last round, which commits its residual
      return toy::state_of(t, m);
    });
  };
  CHECK(trained(eager(3)) == trained(every(3)));
}

namespace {

/// How far the replicas' anchors of t0 are apart, and how far one moved.
struct spread {
  double apart = 0, moved = 0;
};

spread spread_of(std::vector<std::vector<float>> const& anchors) {
  spread s;
  toy::model start(sizes);
  for (std::size_t i = 0; i < sizes[0]; ++i) {
    for (auto const& other : anchors)
      s.apart = std::fmax(s.apart, std::fabs(static_cast<double>(anchors[0][i]) - other[i]));
    s.moved = std::fmax(s.moved, std::fabs(static_cast<double>(anchors[0][i]) - start[0][i]));
  }
  return s;
}

/// Anchors of t0 after `steps` steps and a sync. `act(rank, step, trainer, model)` takes one step. The outer
/// optimizer has no momentum, which would keep a trace of a worker's own steps.
template <class Act>
std::vector<std::vector<float>> synced(int ranks, long steps, Act const& act) {
  return toy::on_each_rank(ranks, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    trainer_of<absmax<8>, eager, plain_sgd> t(
        {.outer = {.lr = 0.8f}, .transport = std::move(transport), .schedule = eager(4)}, m.parameters());
    for (long step = 1; step <= steps; ++step) act(rank, step, t, m);
    t.sync();
    auto const cells = t.cell("t0", "anchor");
    CHECK(std::equal(cells.begin(), cells.end(), m[0].begin()));
    return std::vector<float>(cells.begin(), cells.end());
  });
}

}  // namespace

TEST_CASE("eager: sync makes the replicas equal, but for rounding") {
  for (long const steps : {1, 4, 10, 12, 13}) {  // before the first round, at a boundary, between two
    CAPTURE(steps);
    auto const s = spread_of(synced(3, steps, [](int rank, long step, auto& t, auto& m) {
      t.step(m.gradients(rank, step), {.tokens = 1.0 + rank});  // unequal weights
    }));
    CHECK(s.moved > 1e-4);
    CHECK(s.apart < 1e-6);
  }
}

TEST_CASE("eager: an idle worker counts nothing early, and what it says later is heard by all") {
  auto const s = spread_of(synced(3, 22, [](int rank, long step, auto& t, auto& m) {
    bool const idle = (rank == 1 && step > 4 && step <= 12) || (step > 12 && step <= 16);
    if (idle)
      t.skip_step();
    else
      t.step(m.gradients(rank, step));
  }));
  CHECK(s.moved > 1e-4);
  CHECK(s.apart < 1e-6);
}

TEST_CASE("eager: a round that is refused leaves replicas together, and what was said in it is lost") {
  std::vector<std::string> told(3);
  auto const s = spread_of(synced(3, 16, [&](int rank, long step, auto& t, auto& m) {
    if (step == 8 && rank == 2) m[0][3] = std::numeric_limits<float>::infinity();
    auto const done = t.try_step(m.gradients(rank, step));
    CHECK(done.has_value() == (step != 12));  // the round of step 8 lands after step 12
    if (!done) told[static_cast<std::size_t>(rank)] = toy::sentence(toy::outcome_of(done));
    CHECK(std::isfinite(m[0][3]));  // θ is the anchor again
  }));
  for (std::string const& each : told) CHECK(each == told[0]);
  CHECK(told[0].find("rank 2: the pseudo-gradient of 't0' is not finite") != std::string::npos);
  CHECK(s.moved > 1e-4);
  CHECK(s.apart < 1e-6);
}

TEST_CASE("eager: the largest values with unequal weights do not overflow after the vote") {
  int refused = 0;
  for (float const size : {4e37f, 5.3e37f, 6e37f}) {
    auto const errors = toy::on_each_rank(3, [&](threads transport) {
      int const rank = transport.rank();
      toy::model m(sizes);
      trainer_of<absmax<8>, eager, plain_sgd> t(
          {.outer = {.lr = 0.8f}, .transport = std::move(transport), .schedule = eager(1)}, m.parameters());
      int dropped = 0;
      for (long step = 1; step <= 12; ++step) {
        m[0][3] = t.cell("t0", "anchor")[3] + ((step + rank) % 2 == 0 ? size : -size);
        bool const all = step % 3 == rank;
        dropped += t.try_step(m.gradients(rank, step), {.tokens = all ? 1e6 : 1e-3}) ? 0 : 1;
        CHECK(std::isfinite(m[0][3]));
        CHECK(std::isfinite(t.cell("t0", "anchor")[3]));
      }
      return dropped;
    });
    refused += errors[0];
    CHECK((size < 5e37f ? errors[0] == 0 : true));
  }
  CHECK(refused > 0);  // the last is beyond what the outer optimizer bears
}

TEST_CASE("eager: what goes wrong in a setting is said") {
  auto const said = [](int ranks, auto exchange, at_sync inner) {
    return toy::on_each_rank(ranks, [&](threads transport) {
      toy::model m(sizes);
      using trainer =
          DiLoCo<sgd, nesterov, absmax<8>, threads, error_feedback, weighted_mean, decltype(exchange), eager>;
      return toy::sentence(toy::outcome_of(
          trainer::make({.exchange = exchange, .transport = std::move(transport), .inner_at_sync = inner},
                        m.parameters())));
    })[0];
  };
  CHECK(said(3, automatic{}, at_sync::keep) ==
        "diloco: schedule eager: is eager, so each rank must hear every message as it was sent, and exchange "
        "automatic "
        "takes scatter_gather for 3 ranks; say .exchange = diloco::gather{}");
  CHECK(said(2, automatic{}, at_sync::average) ==
        "diloco: schedule eager: is eager and averages no inner state; say at_sync::keep or at_sync::reset");
  CHECK(said(2, automatic{}, at_sync::keep) == "no error");
}

TEST_CASE("eager: a snapshot with the round under way continues bit for bit") {
  std::string folder = std::filesystem::temp_directory_path().string() + "/diloco-XXXXXX";
  REQUIRE(mkdtemp(folder.data()) != nullptr);
  auto const run = [&](long from, long to, bool resumes) {
    return toy::on_each_rank(2, [&](threads transport) {
      int const rank = transport.rank();
      toy::model m(sizes);
      trainer_of<absmax<4>, eager> t({.transport = std::move(transport), .schedule = eager(3)},
                                     m.parameters());
      if (resumes) CHECK(resume(t, folder).steps == static_cast<std::uint64_t>(from));
      for (long step = from + 1; step <= to; ++step) {
        t.step(m.gradients(rank, step));
        if (!resumes && step == 8) save(t, folder);
      }
      t.sync();
      return toy::state_of(t, m);
    });
  };
  auto const whole = run(0, 14, false);
  CHECK(run(8, 14, true) == whole);
  CHECK(whole[0] != whole[1]);
  std::filesystem::remove_all(folder);
}

TEST_CASE("eager: a flight of the caller's own, and what describe says") {
  toy::on_each_rank(2, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    trainer_of<absmax<8>, eager> t({.transport = std::move(transport), .schedule = eager(4)}, m.parameters());
    CHECK(t.describe().find("eager, every 4, landed 4 later, own steps at once") != std::string::npos);
    t.step(m.gradients(rank, 1));
    auto f = t.launch();
    t.step(m.gradients(rank, 2));
    t.step(m.gradients(rank, 3));
    auto const due = t.try_step(m.gradients(rank, 4));
    CHECK(toy::sentence(toy::outcome_of(due)) ==
          "diloco: step: a round is due after this step, and round 0 is under way; land it first");
    t.land(std::move(f));
    t.step(m.gradients(rank, 4));
    CHECK(t.rounds() == 1);
    auto const early = t.try_launch();
    CHECK(toy::sentence(toy::outcome_of(early)) ==
          "diloco: launch: round 1 was launched by the schedule, which lands it; call sync() on all ranks to "
          "land it now");
    t.sync();
    CHECK(t.rounds() == 2);
    return true;
  });
}
