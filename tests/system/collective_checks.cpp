// SPDX-License-Identifier: Apache-2.0
// With DILOCO_CHECKS=3, digests of the anchor are compared after every round. So an outer optimizer that
// falsely promises to be replicated is found in the first round that differs, with the first differing row.
#define DILOCO_CHECKS 3
#include "support/toy.hpp"

#include <doctest/doctest.h>

namespace {

thread_local int this_worker = 0;

/// Plain SGD whose learning rate depends on the worker from some round on. This is hidden state and a broken
/// promise.
struct astray {
  float lr = 0.5f;
  int worker = -1;
  long from_round = 0;

  static constexpr std::string_view name = "astray";
  static constexpr std::array<std::string_view, 0> slots{};
  static constexpr diloco::optimizer_traits traits{.replicated = true};
  struct step {
    float lr;
    DILOCO_HD void operator()(float& p, float g) const { p = diloco::fma(-lr, g, p); }
  };
  [[nodiscard]] step at(diloco::step_context c) const {
    bool const now =
        this_worker == worker && static_cast<long>(c.step) > from_round;  // rounds count from 1 here
    return {now ? lr * 1.0000001f : lr};
  }
  [[nodiscard]] constexpr float largest() const { return 0x1p126f; }  // a step moves p by half of it

  template <class F>
  constexpr void fields(F&& f) const {
    f("lr", lr, diloco::non_negative);
  }
};

}  // namespace

using namespace diloco;

namespace {

struct report {
  std::vector<std::string> rounds;  // error of each round
  toy::outcome last;
  std::uint64_t operations = 0;
};

std::vector<report> run(pattern exchange, astray outer) {
  return toy::on_each_rank(3, [&](threads transport) {
    this_worker = transport.rank();
    toy::model m({300, 700, 5});
    counted watched(std::move(transport));
    auto const counts = watched.counts();
    toy::trainer_of<external, astray, f32, counted<threads>> t(
        {.outer = outer, .exchange = {exchange}, .transport = std::move(watched), .schedule = every(1000)},
        m.parameters());
    report r;
    for (int round = 0; round < 4; ++round) {
      for (std::size_t i = 0; i < 700; ++i)
        m[1][i] -= 0.25f * toy::number(9, i);  // t1 only: the other rows stay equal
      auto counted_step = t.try_after_step();
      auto const done = counted_step ? t.try_sync() : std::move(counted_step);
      r.rounds.push_back(toy::sentence(toy::outcome_of(done)));
      if (!done && !r.last) r.last = toy::outcome_of(done);
    }
    r.operations = counts->operations;
    return r;
  });
}

}  // namespace

TEST_CASE("collective checks: an honest outer optimizer passes, at one digest exchange a round") {
  for (pattern const exchange : toy::patterns) {
    for (report const& r : run(exchange, astray{})) {
      for (std::string const& said : r.rounds) CHECK(said == "no error");
      CHECK(r.operations == 3 + 4 * (exchange == pattern::gather ? 3u : 4u));  // 3: the contract
    }
  }
}

TEST_CASE("collective checks: of ranks that pair no anchors are compared, for they differ") {
  auto const seen = toy::on_each_rank(3, [&](threads transport) {
    auto const rank = static_cast<std::uint64_t>(transport.rank());
    toy::model m({300});
    counted watched(std::move(transport));
    auto const counts = watched.counts();
    DiLoCo<external, noloco, f32, counted<threads>, error_feedback, weighted_mean, gossip, every> t(
        {.exchange = {}, .transport = std::move(watched), .schedule = every(1)}, m.parameters());
    for (int round = 0; round < 4; ++round) {
      for (std::size_t i = 0; i < 300; ++i) m[0][i] -= 0.25f * toy::number(9 + rank, i);
      t.after_step();
    }
    return std::pair{std::uint64_t{counts->operations}, t.digest()};
  });
  std::uint64_t all = 0;
  for (auto const& [operations, digest] : seen) all += operations;
  CHECK(all == 3 * (3 + 4) + 4 * 2);  // the contract and the rounds; in each round also the votes of one pair
  CHECK((seen[0].second != seen[1].second || seen[0].second != seen[2].second));
}

TEST_CASE("collective checks: round, rank and row of the first difference") {
  for (pattern const exchange : toy::patterns) {
    for (report const& r : run(exchange, astray{.worker = 2, .from_round = 2})) {
      std::string const sentence =
          "diloco: after round 2 rank 2 and rank 0 hold different anchors of 't1'; an outer optimizer or "
          "compressor is not replicated";
      CHECK(r.rounds[0] == "no error");
      CHECK(r.rounds[1] == "no error");
      CHECK(r.rounds[2] == sentence);
      CHECK(r.rounds[3] == "diloco: this trainer cannot go on since: " + sentence);
      REQUIRE(r.last);
      CHECK(r.last->what == cause::disagreement);
    }
    for (report const& r : run(exchange, astray{.worker = 0, .from_round = 0})) {
      CHECK(r.rounds[0] ==
            "diloco: after round 0 rank 1 and rank 0 hold different anchors of 't1'; an outer optimizer or "
            "compressor is not replicated");
    }
  }
}
