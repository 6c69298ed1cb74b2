// SPDX-License-Identifier: Apache-2.0
// A transport fails while one rank waits. This covers each exchange of
// a round, rounds that are dropped for another reason, and every cause.
// That rank's run is over, and it says so. The others learn it at once or in their next round. Nobody writes
// to buffers that were lost with the failed exchange.
#include "support/altering.hpp"
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

using namespace diloco;

namespace {

struct seen {
  std::string first, next;
  std::uint64_t digest = 0;
};

template <class Exchange>
std::vector<seen> run(int ranks, altering::failure fails, bool bad_theta, Exchange exchange = {}) {
  return toy::on_each_rank(ranks, [&](threads end) {
    toy::model m({300, 40});
    int const rank = end.rank();
    DiLoCo<sgd, nesterov, absmax<4>, altering, error_feedback, weighted_mean, Exchange, manual> t(
        {.exchange = exchange, .transport = altering(std::move(end)), .schedule = manual{}}, m.parameters());
    t.step(m.gradients(rank, 0));
    t.sync();
    t.step(m.gradients(rank, 1));
    if (bad_theta && rank == 0) m[0][7] = std::numeric_limits<float>::quiet_NaN();
    if (rank == 1) t.transport().fails = fails;
    seen s;
    s.first = toy::sentence(toy::outcome_of(t.try_sync()));
    t.transport().fails.reset();
    s.digest = t.digest();
    if (bad_theta && rank == 0) m[0][7] = 0.0f;
    auto const stepped = t.try_step(m.gradients(rank, 2));
    s.next = toy::sentence(stepped ? toy::outcome_of(t.try_sync()) : toy::outcome_of(stepped));
    return s;
  });
}

template <class Exchange>
void check(int ranks, std::vector<std::uint32_t> const& phases, Exchange exchange = {}) {
  CAPTURE(std::string(Exchange::name));
  for (std::uint32_t phase : phases) {
    for (cause what : {cause::transport, cause::corrupted, cause::wrong_state, cause::not_finite}) {
      for (bool bad_theta : {false, true}) {
        for (bool throws : {false, true}) {
          CAPTURE(phase);
          CAPTURE(static_cast<int>(what));
          CAPTURE(bad_theta);
          CAPTURE(throws);
          auto const all = run<Exchange>(ranks, {phase, what, throws}, bad_theta, exchange);
          CHECK(all[1].first.find("the cable was cut") != std::string::npos);
          CHECK(all[1].next == "diloco: this trainer cannot go on since: " + all[1].first);
          for (int rank = 0; rank < ranks; ++rank) {
            seen const& s = all[static_cast<std::size_t>(rank)];
            CAPTURE(rank);
            CHECK(s.next != "no error");  // rank 1 is gone
            // Nobody else is blamed, but rank 0 where θ is bad there.
            if (auto const at = s.first.find("because of rank "); at != std::string::npos)
              CHECK((s.first.substr(at + 16, 1) == "1" || (bad_theta && s.first.substr(at + 16, 1) == "0")));
            if (s.first == "no error")
              CHECK(phase == 3);  // a rank that gives up while it waits for votes may be the only one
            else if (!pairing_exchange<Exchange>)
              CHECK(s.digest == all[1].digest);
          }
        }
      }
    }
  }
}

TEST_CASE("gather: a wait that fails") { check<gather>(3, {0, 3}); }
TEST_CASE("scatter-gather: a wait that fails") { check<scatter_gather>(3, {0, 1, 3}); }
TEST_CASE("two levels: a wait that fails") { check(4, {0, 1, 2, 3}, two_level<>{2}); }
TEST_CASE("gossip: a wait that fails") { check<gossip>(2, {0, 3}); }

TEST_CASE("the others hear why a rank gave up, and not that it dropped a flight") {
  for (int trial = 0; trial < 20; ++trial) {
    auto const all = run<gather>(3, {0, cause::transport, false}, false);
    for (int rank : {0, 2}) {
      CHECK(
          all[static_cast<std::size_t>(rank)].first ==
          "diloco: round 1: rank 1 refused the round, because its transport or executor failed; the round is "
          "dropped on every rank and nothing was changed");
    }
  }
}

TEST_CASE("eager: a wait that fails, while the next round is to be launched") {
  for (std::uint32_t phase : {0u, 3u}) {
    for (bool bad_theta : {false, true}) {
      for (bool throws : {false, true}) {
        CAPTURE(phase);
        CAPTURE(bad_theta);
        CAPTURE(throws);
        auto const all = toy::on_each_rank(3, [&](threads end) {
          toy::model m({300, 40});
          int const rank = end.rank();
          DiLoCo<plain_sgd, nesterov, absmax<4>, altering, error_feedback, weighted_mean, gather, eager> t(
              {.transport = altering(std::move(end)), .schedule = eager(1)}, m.parameters());
          for (int step = 0; step < 3; ++step) t.step(m.gradients(rank, step));
          if (bad_theta && rank == 0) m[0][7] = std::numeric_limits<float>::quiet_NaN();
          if (rank == 1) t.transport().fails = altering::failure{phase, cause::transport, throws};
          std::vector<std::string> said;
          for (int step = 3; step < 6; ++step) {
            said.push_back(toy::sentence(toy::outcome_of(t.try_step(m.gradients(rank, step)))));
            t.transport().fails.reset();  // an exchange keeps the failure that it started with
          }
          for (float const x : t.cell("t0", "anchor")) CHECK(std::isfinite(x));
          return said;
        });
        // The message of the round that begins in the first step is waited for in the second.
        std::size_t const at = phase == 0 ? 1 : 0;
        CHECK(all[1][at].find("the cable was cut") != std::string::npos);
        CHECK(all[1][at + 1] == "diloco: this trainer cannot go on since: " + all[1][at]);
        for (std::size_t rank : {0u, 2u}) {
          CAPTURE(rank);
          if (at == 1) CHECK(all[rank][0] == "no error");
          if (phase == 0) CHECK(all[rank][at] != "no error");
          CHECK(all[rank][at + 1] != "no error");  // rank 1 is gone
        }
      }
    }
  }
}

}  // namespace
