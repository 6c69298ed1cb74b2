// SPDX-License-Identifier: Apache-2.0
// A round in flight: only one at a time, landed once, and only by its owner.
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <barrier>
#include <limits>

using namespace diloco;

namespace {

using trainer = toy::trainer_of<adamw, nesterov, absmax<8>, alone>;
trainer::recipe_type recipe_in_order() {
  return {.exchange = {}, .transport = alone{}, .schedule = every(1000)};
}

template <class Result>
std::string said(Result const& r) {
  return toy::sentence(toy::outcome_of(r));
}

}  // namespace

TEST_CASE("flight: a second launch is refused, and the first lands") {
  toy::model m({5, 300});
  trainer t(recipe_in_order(), m.parameters());
  t.step(m.gradients(0, 0));
  auto flight = t.launch();
  CHECK(flight.round() == 0);
  auto const second = t.try_launch();
  REQUIRE_FALSE(second);
  CHECK(second.error().message == "diloco: launch: round 0 is under way; land it first");
  CHECK(second.error().what == cause::wrong_state);
  CHECK(said(t.try_sync()) == "diloco: sync: round 0 is under way; land it first");
  CHECK(said(t.try_land(std::move(flight))) == "no error");
  CHECK(t.rounds() == 1);
}

TEST_CASE("flight: steps between launch and land belong to the next round") {
  toy::model m({5, 300}), twin({5, 300});
  trainer t(recipe_in_order(), m.parameters()), u(recipe_in_order(), twin.parameters());
  t.step(m.gradients(0, 0));
  u.step(twin.gradients(0, 0));
  auto flight = t.launch();
  t.step(m.gradients(0, 1));
  t.land(std::move(flight));
  u.sync();
  CHECK(t.digest() == u.digest());  // the launched state is what landed
}

TEST_CASE("flight: a mixed landing keeps a share of the steps taken meanwhile; the anchor is never mixed") {
  toy::model m({300}), twin({300});
  trainer t(recipe_in_order(), m.parameters()), u(recipe_in_order(), twin.parameters());
  t.step(m.gradients(0, 0));
  u.step(twin.gradients(0, 0));
  auto flight = t.launch();
  auto other = u.launch();
  t.step(m.gradients(0, 1));
  std::vector<float> const before = m[0];
  t.land(std::move(flight), {.mix = 0.25f});
  u.land(std::move(other));
  CHECK(t.digest() == u.digest());
  auto const anchor = t.cell("t0", "anchor");
  int wrong = 0;
  for (std::size_t i = 0; i < 300; ++i)
    wrong += m[0][i] != diloco::fma(0.25f, before[i] - anchor[i], anchor[i]);
  CHECK(wrong == 0);
}

TEST_CASE("flight: landed twice, landed by the wrong trainer, landed late") {
  toy::model m({5, 300}), other_model({5, 300});
  trainer t(recipe_in_order(), m.parameters()), other(recipe_in_order(), other_model.parameters());
  t.step(m.gradients(0, 0));
  auto flight = t.launch();
  auto owner = std::move(flight);
  CHECK(said(t.try_land(std::move(flight))) == "diloco: land: this flight was handed over before");
  CHECK(said(other.try_land(std::move(owner))) == "diloco: land: this flight is another trainer's");
  CHECK(t.rounds() == 0);
  CHECK(other.rounds() == 0);

  toy::model n({5, 300});
  trainer u(recipe_in_order(), n.parameters());
  u.step(n.gradients(0, 0));
  auto first = u.launch();
  u.land(std::move(first));
  CHECK(said(u.try_land(std::move(first))) == "diloco: land: this flight was handed over before");
  other.step(other_model.gradients(0, 0));
  auto stale = other.launch();
  u.step(n.gradients(0, 1));
  auto current = u.launch();
  CHECK(said(u.try_land(std::move(stale))) == "diloco: land: this flight is another trainer's");
  CHECK(said(u.try_land(std::move(current))) == "no error");
  CHECK(u.rounds() == 2);
}

TEST_CASE("flight: assigned over, it is the newer one") {
  toy::model m({300}), n({300});
  trainer t(recipe_in_order(), m.parameters()), u(recipe_in_order(), n.parameters());
  t.step(m.gradients(0, 0));
  u.step(n.gradients(0, 0));
  u.sync();
  u.step(n.gradients(0, 1));
  auto flight = t.launch();
  flight = u.launch();
  CHECK(flight.round() == 1);
  CHECK(said(u.try_land(std::move(flight))) == "no error");
}

TEST_CASE("flight: outlives its trainer, and its trainer may move") {
  toy::model m({5, 300});
  std::optional<trainer::flight> left_over;
  {
    trainer t(recipe_in_order(), m.parameters());
    t.step(m.gradients(0, 0));
    left_over.emplace(t.launch());
  }
  left_over.reset();  // it owned its messages all the time

  toy::model n({5, 300});
  trainer first(recipe_in_order(), n.parameters());
  first.step(n.gradients(0, 0));
  auto flight = first.launch();
  trainer second = std::move(first);
  CHECK(said(second.try_land(std::move(flight))) == "no error");
  CHECK(second.rounds() == 1);
}

TEST_CASE("flight: dropped before the others came, it breaks the round for every rank, whenever they ask") {
  for (pattern const exchange : toy::patterns) {
    std::barrier all(3);
    auto const seen = toy::on_each_rank(3, [&](threads transport) {
      int const rank = transport.rank();
      toy::model m({5, 700, 256});
      toy::trainer_of<adamw, nesterov, absmax<8>, threads> t(
          {.exchange = {exchange}, .transport = std::move(transport), .schedule = every(1000)},
          m.parameters());
      auto const anchor = t.digest();
      t.step(m.gradients(rank, 0));
      // Rank 0 launches before the drop and rank 2 after it. Neither may land what the other cannot.
      toy::outcome landed;
      if (rank == 0) {
        auto flight = t.launch();
        all.arrive_and_wait();
        all.arrive_and_wait();
        landed = toy::outcome_of(t.try_land(std::move(flight)));
      } else if (rank == 1) {
        all.arrive_and_wait();
        { auto const dropped = t.launch(); }
        all.arrive_and_wait();
      } else {
        all.arrive_and_wait();
        all.arrive_and_wait();
        landed = toy::outcome_of(t.try_sync());
      }
      return std::tuple{landed, t.digest() == anchor && t.rounds() == 0,
                        said(t.try_step(m.gradients(rank, 1)))};
    });
    for (std::size_t rank : {std::size_t{0}, std::size_t{2}}) {
      auto const& [landed, unchanged, after] = seen[rank];
      REQUIRE(landed);
      CHECK(landed->message == "diloco: threads: round 0: rank 1 dropped its flight before it landed");
      CHECK(landed->what == cause::peer_lost);
      CHECK(landed->rank == static_cast<int>(rank));
      CHECK(unchanged);
      CHECK(after == "diloco: this trainer cannot go on since: " + landed->message);
    }
    CHECK(std::get<1>(seen[1]));
  }
}

TEST_CASE("flight: a trainer that lost its flight says so, and changes nothing more") {
  toy::model m({5, 300});
  trainer t(recipe_in_order(), m.parameters());
  t.step(m.gradients(0, 0));
  { auto const lost = t.launch(); }
  auto const before = toy::state_of(t, m);
  std::string const sentence =
      "diloco: this trainer cannot go on: the flight of round 0 was dropped before it landed";
  CHECK(said(t.try_step(m.gradients(0, 1))) == sentence);
  CHECK(said(t.try_sync()) == sentence);
  CHECK(toy::state_of(t, m) == before);
}

TEST_CASE("flight: a step whose round could not start is refused before it is taken") {
  toy::model m({5, 300});
  trainer t({.exchange = {}, .transport = alone{}, .schedule = every(2)}, m.parameters());
  t.step(m.gradients(0, 0));
  auto flight = t.launch();
  auto const before = toy::state_of(t, m);
  CHECK(said(t.try_step(m.gradients(0, 1))) ==
        "diloco: step: a round is due after this step, and round 0 is under way; land it first");
  CHECK(toy::state_of(t, m) == before);
  CHECK(t.steps() == 1);
  t.land(std::move(flight));
  t.step(m.gradients(0, 1));
  CHECK(t.rounds() == 2);
}

TEST_CASE("flights: one that is moved to itself stays") {
  std::vector<float> x(8), g(8, 0.1f);
  DiLoCo t(recipe<>{}.with_transport(alone{}).with_schedule(manual{}),
           std::vector<tensor>{{"x", {8}, x.data()}});
  t.step(std::vector<std::span<float const>>{g});
  auto f = t.launch();
  auto& same = f;
  f = std::move(same);
  CHECK(t.try_land(std::move(f)));
  CHECK(t.rounds() == 1);
}

TEST_CASE("flights: a weight that no sum can hold is refused before the step") {
  std::vector<float> x(8), g(8, 0.1f);
  DiLoCo t(recipe<>{}.with_transport(alone{}).with_schedule(manual{}),
           std::vector<tensor>{{"x", {8}, x.data()}});
  t.step(std::vector<std::span<float const>>{g}, {.tokens = 9e29});
  auto const refused = t.try_step(std::vector<std::span<float const>>{g}, {.tokens = 2e29});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message ==
        "diloco: step: tokens = 2e+29 bring the weight of the next round to 1.1e+30, and 1e30 is the most");
  CHECK(t.steps() == 1);
  t.sync();
}

TEST_CASE("skip_step: counts towards H on the rank that skips, and moves nothing") {
  auto const seen = toy::on_each_rank(2, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m({300});
    toy::trainer_of<adamw, nesterov, f32, threads> t(
        {.exchange = {}, .transport = std::move(transport), .schedule = every(2)}, m.parameters());
    t.step(m.gradients(rank, 0));
    auto const before = toy::state_of(t, m);
    if (rank == 1) {
      std::vector<std::vector<float>> const spoiled{
          std::vector<float>(300, std::numeric_limits<float>::infinity())};
      CHECK_FALSE(t.try_step(spoiled));
      CHECK(toy::state_of(t, m) == before);
      t.skip_step();
    } else {
      t.step(m.gradients(rank, 1));
    }
    return std::tuple{t.rounds(), t.steps(), t.digest()};
  });
  CHECK(seen[0] == seen[1]);
  CHECK(std::get<0>(seen[0]) == 1);
}

TEST_CASE("flights: after one that was dropped a later one does not mix with the rounds of the others") {
  auto const said = toy::on_each_rank(3, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m({300, 300});
    DiLoCo t(recipe<>{}.with_transport(std::move(transport)).with_schedule(manual(2)), m.parameters());
    t.step(m.gradients(rank, 1));
    std::optional<flight> first(t.launch(0));
    flight second = t.launch(1);
    if (rank == 1) {
      first.reset();
      return toy::sentence(toy::outcome_of(t.try_land(std::move(second))));
    }
    std::string const text = toy::sentence(toy::outcome_of(t.try_land(std::move(*first))));
    static_cast<void>(t.try_land(std::move(second)));
    return text;
  });
  CHECK(said[1].find("was dropped before it landed") != std::string::npos);
  for (std::size_t rank : {0u, 2u}) {
    CAPTURE(said[rank]);
    CHECK(said[rank].find("started another exchange") == std::string::npos);
    CHECK(said[rank].find("rank 1") != std::string::npos);
  }
}
