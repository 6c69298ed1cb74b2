// SPDX-License-Identifier: Apache-2.0
// A rank that makes one round more, or one step less, is named in that round. Finite contributions never give
// an infinite state.
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <cfenv>
#include <cmath>
#include <stdexcept>

using namespace diloco;

namespace {

using by_calendar = toy::trainer_of<plain_sgd, plain_sgd, f32, threads>;

/// The errors of both ranks when rank 0 does `odd` after three of five steps.
template <class Odd>
std::vector<std::string> hear(Odd&& odd) {
  return toy::on_each_rank(2, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m({40});
    by_calendar t(
        {.exchange = {}, .transport = std::move(transport), .schedule = every(5), .deadline_seconds = 20},
        m.parameters());
    std::string heard;
    for (long step = 0; step < 10 && heard.empty(); ++step) {
      if (rank == 0 && step == 3) heard = toy::sentence(toy::outcome_of(odd(t)));
      if (heard == "no error") heard.clear();
      if (heard.empty()) {
        if (auto const r = t.try_step(m.gradients(rank, step)); !r) heard = r.error().message;
      }
    }
    return heard;
  });
}

}  // namespace

TEST_CASE("out of step: a sync that the others do not make is named in its own round") {
  auto const heard = hear([](by_calendar& t) { return t.try_sync(); });
  CHECK(heard[0] ==
        "diloco: round 0: rank 1 came to this round by its schedule after 5 steps, this rank by a call of "
        "sync or launch "
        "after 3; all ranks must make the same calls");
  CHECK(heard[1] ==
        "diloco: round 0: rank 0 came to this round by a call of sync or launch after 3 steps, this rank by "
        "its schedule "
        "after 5; all ranks must make the same calls");
}

TEST_CASE("out of step: a sync by all ranks is none, also in the middle of an interval") {
  auto const fine = toy::on_each_rank(2, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m({40});
    by_calendar t({.exchange = {}, .transport = std::move(transport), .schedule = every(5)}, m.parameters());
    for (long step = 0; step < 7; ++step) t.step(m.gradients(rank, step));
    if (rank == 1) t.step(m.gradients(rank, 7));  // in rounds that the caller starts, step counts may differ
    t.sync();
    return t.rounds() == 2;
  });
  CHECK(fine[0]);
  CHECK(fine[1]);
}

TEST_CASE("out of step: a floating-point mode that changes after construction is named in the next round") {
  auto const heard = toy::on_each_rank(2, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m({40});
    by_calendar t(
        {.exchange = {}, .transport = std::move(transport), .schedule = every(2), .deadline_seconds = 20},
        m.parameters());
    std::string all;
    for (long step = 0; step < 4; ++step) {
      if (step == 2 && rank == 1) std::fesetround(FE_UPWARD);
      if (auto const r = t.try_step(m.gradients(rank, step)); !r) all = r.error().message;
    }
    std::fesetround(FE_TONEAREST);
    return all;
  });
  CHECK(heard[0] ==
        "diloco: round 1: rank 1 rounds upward, this rank rounds to nearest; something changed the "
        "floating-point mode "
        "after construction, so set the same on all ranks");
  CHECK(heard[1].starts_with("diloco: round 1: rank 0 rounds to nearest, this rank rounds upward;"));
}

namespace {
/// A combine rule whose result exceeds the mean of the contributions.
struct all_times {
  float factor = 1.0f;
  static constexpr std::string_view name = "all_times";
  static constexpr combine_traits traits{};
  bool coefficients(std::span<double const>, std::span<float> out) const {
    for (float& c : out) c = factor;
    return true;
  }
  template <class F>
  constexpr void fields(F&& f) const {
    f("factor", factor, range{-10, 10});
  }
  friend bool operator==(all_times const&, all_times const&) = default;
};

/// A schedule that throws once.
struct throwing_schedule {
  std::uint64_t at = 3;
  static constexpr std::string_view name = "throwing";
  static constexpr schedule_traits traits{};
  [[nodiscard]] static int fragments() { return 1; }
  static constexpr fragment_cut cut{};
  [[nodiscard]] static double rounds_per_step() { return 0; }
  [[nodiscard]] action_list after(std::uint64_t steps) const {
    if (steps == at) throw std::runtime_error("no calendar");
    return {};
  }
  [[nodiscard]] std::string describe() const { return "throws"; }
  friend bool operator==(throwing_schedule const&, throwing_schedule const&) = default;
};
}  // namespace

TEST_CASE(
    "out of step: coefficients that are no mean are refused, and a schedule that throws ends the run by its "
    "text") {
  toy::model m({40});
  DiLoCo t(recipe<>{}.with_combine(all_times{2.0f}).with_transport(alone{}).with_schedule(manual{}),
           m.parameters());
  t.step(m.gradients(0, 0));
  auto const r = t.try_sync();
  REQUIRE_FALSE(r);
  CHECK(r.error().message ==
        "diloco: round 0: the coefficients of all_times add up to 2 in magnitude, and 1 is the most; put a "
        "larger factor "
        "into the outer learning rate");
  CHECK(t.rounds() == 0);

  DiLoCo u(recipe<>{}.with_transport(alone{}).with_schedule(throwing_schedule{}), m.parameters());
  u.step(m.gradients(0, 0));
  u.step(m.gradients(0, 1));
  auto const third = u.try_step(m.gradients(0, 2));
  REQUIRE_FALSE(third);
  CHECK(third.error().message == "diloco: the schedule: in round 0, step 3: no calendar");
  CHECK(u.try_step(m.gradients(0, 3)).error().message.find("cannot go on since: ") != std::string::npos);
}

TEST_CASE("out of step: a gradient that stays too large when it is clipped is refused as well") {
  toy::model m({40});
  DiLoCo t(recipe<>{}.with_clip_norm(1e30f).with_transport(alone{}).with_schedule(manual{}), m.parameters());
  auto& g = m.gradients(0, 0);
  g[0][3] = 1e25f;
  auto const r = t.try_step(g);
  REQUIRE_FALSE(r);
  CHECK(r.error().message.find("the largest that adamw bears") != std::string::npos);
}

namespace {
/// Three ranks. One moves θ by `big` in every round. Every state is checked after each round.
template <class Outer, class Compressor = absmax<8>, class Feedback = error_feedback>
void check_finite(Outer outer, float big) {
  CAPTURE(std::string(Outer::name));
  CAPTURE(big);
  auto const bad = toy::on_each_rank(3, [&](threads transport) {
    int const rank = transport.rank();
    std::vector<float> theta(300);
    DiLoCo<external, Outer, Compressor, threads, Feedback, weighted_mean, gather, manual> t(
        {.outer = outer, .transport = std::move(transport)}, std::vector<tensor>{{"w", {300}, theta.data()}});
    int wrong = 0, dropped = 0;
    for (int round = 0; round < 40; ++round) {
      float const to = theta[5] - (rank == 1 ? big : 1e-3f);
      theta[5] = std::fmax(-0x1.fffffep127f, to);
      theta[6] = round % 2 == 0 ? 1.0f : 2.0f;  // something moves, even if theta[5] absorbs the change
      t.after_step();
      auto const r = t.try_sync();
      if (!r) {
        ++dropped;
        wrong += r.error().what == cause::not_finite && r.error().message.find("rank ") != std::string::npos
                     ? 0
                     : 1;
        auto const anchor = t.cell("w", "anchor");
        for (std::size_t i = 0; i < 300; ++i) theta[i] = anchor[i];  // the documented recovery
      }
      for (std::string_view column :
           {"anchor", "outer.momentum", "outer.m", "outer.v", "outer.u", "outer.D", "outer.sum"}) {
        if (auto const cell = t.try_cell("w", column)) {
          for (float x : *cell) wrong += std::isfinite(x) ? 0 : 1;
        }
      }
    }
    // One rank's numbers must not end the run: smaller ones succeed.
    theta[7] = 1.0f;
    t.after_step();
    auto const last = t.try_sync();
    wrong += last || std::fabs(t.cell("w", "anchor")[5]) > std::fmin(outer.largest(), 1e38f) ? 0 : 1;
    return std::pair(wrong, dropped);
  });
  for (auto const& [wrong, dropped] : bad) CHECK(wrong == 0);
  CHECK(bad[0].second == bad[2].second);
}
}  // namespace

TEST_CASE("finite in, finite state: every outer optimizer, at every magnitude") {
  for (float big : {1e18f, 1e21f, 1e37f, 1.6e38f}) {
    check_finite(nesterov{}, big);
    check_finite(heavy_ball{}, big);
    check_finite(delayed_nesterov{}, big);
    check_finite(bmuf{}, big);
    check_finite(slowmo{}, big);
    check_finite(fedadam{}, big);
    check_finite(fedyogi{}, big);
    check_finite(fedadagrad{}, big);
    check_finite(plain_sgd{.lr = 1.0f}, big);
    check_finite(lookahead{}, big);
    check_finite(sign_sgd{}, big);
  }
  check_finite<fedadam, absmax<8>, ef21>({}, 1e18f);
  check_finite<fedadam, top_k<64>>({}, 1e21f);
}
