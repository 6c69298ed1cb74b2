// SPDX-License-Identifier: Apache-2.0
// Streaming DiLoCo: when fragments are launched and landed, what it is equal to, and what it refuses.
#include "support/thread_lanes.hpp"
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

using namespace diloco;

namespace {

std::vector<std::size_t> const sizes{300, 7, 700, 256, 5000, 9, 900, 64};

/// "+0" for a launch of fragment 0, "-0" for its landing, of the steps 1 to n.
std::string calendar(streaming const& s, std::uint64_t n) {
  std::string all;
  for (std::uint64_t t = 1; t <= n; ++t) {
    for (action const& a : s.after(t)) {
      all += say({all.empty() ? "" : " ", t, a.what == action::launch ? "+" : "-", a.fragment});
      if (a.what == action::land) CHECK(a.mix == s.mix);
    }
  }
  return all;
}

template <class Result>
std::string said(Result const& r) {
  return toy::sentence(toy::outcome_of(r));
}

/// State of every rank after `steps` steps of a schedule.
template <class C, class F, class Schedule>
std::vector<toy::bits> trained(int ranks, Schedule schedule, long steps, pattern exchange = pattern::gather) {
  return toy::on_each_rank(ranks, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    DiLoCo<adamw, nesterov, C, threads, F, weighted_mean, toy::chosen, Schedule> t(
        {.exchange = {exchange}, .transport = std::move(transport), .schedule = schedule}, m.parameters());
    for (long step = 1; step <= steps; ++step) t.step(m.gradients(rank, step));
    auto state = toy::state_of(t, m);
    state["digest"] = {static_cast<std::uint32_t>(t.digest()), static_cast<std::uint32_t>(t.rounds())};
    return state;
  });
}

template <class C, class F>
void check_one_fragment() {
  for (pattern const exchange : toy::patterns) {
    CAPTURE(C::name);
    auto const one = streaming{.inner_steps = 5, .parts = 1, .delay = 0, .mix = 0};
    CHECK(trained<C, F>(3, one, 17, exchange) == trained<C, F>(3, every(5), 17, exchange));
  }
}

}  // namespace

TEST_CASE("streaming: the calendar of the paper") {
  streaming const s{.inner_steps = 8, .parts = 4, .delay = 3, .mix = 0.5f};
  CHECK(calendar(s, 16) == "2+0 4+1 5-0 6+2 7-1 8+3 9-2 10+0 11-3 12+1 13-0 14+2 15-1 16+3");
  // A delay of several spacings: up to three fragments are under way. A landing comes before a launch.
  CHECK(calendar({.inner_steps = 6, .parts = 3, .delay = 4, .mix = 0}, 12) ==
        "2+0 4+1 6-0 6+2 8-1 8+0 10-2 10+1 12-0 12+2");
  CHECK(calendar({.inner_steps = 4, .parts = 2, .delay = 0, .mix = 0}, 8) ==
        "2+0 2-0 4+1 4-1 6+0 6-0 8+1 8-1");
  CHECK(calendar(delayed(4, 3), 12) == "4+0 7-0 8+0 11-0 12+0");
  // Every fragment once in H steps, for every H, F and τ.
  for (int parts = 1; parts <= 6; ++parts) {
    for (long h = parts; h <= 4 * parts; h += parts) {
      for (long delay = 0; delay < h; ++delay) {
        streaming const any{.inner_steps = h, .parts = parts, .delay = delay, .mix = 0};
        std::vector<long> launched(static_cast<std::size_t>(parts), -1);
        long launches = 0;
        for (long t = 1; t <= 5 * h; ++t) {
          for (action const& a : any.after(static_cast<std::uint64_t>(t))) {
            long& at = launched[static_cast<std::size_t>(a.fragment)];
            if (a.what == action::land) {
              CHECK(t == at + delay);
            } else {
              CHECK((at < 0 || t == at + h));
              at = t;
              ++launches;
            }
          }
        }
        CHECK(launches == 5 * parts);
        CHECK(static_cast<double>(launches) ==
              doctest::Approx(any.rounds_per_step() * static_cast<double>(5 * h)));
      }
    }
  }
}

TEST_CASE("streaming: one fragment without delay is every(H), bit for bit") {
  check_one_fragment<f32, error_feedback>();
  check_one_fragment<absmax<4>, error_feedback>();
  check_one_fragment<absmax<8>, averaged_error>();
  check_one_fragment<absmax<8>, ef21>();
  check_one_fragment<low_rank<2, factors::common>, error_feedback>();
}

TEST_CASE("streaming: anchors and outer state are equal on all ranks while rounds are under way") {
  for (pattern const exchange : toy::patterns) {
    auto const states = trained<absmax<4>, error_feedback>(
        3, streaming{.inner_steps = 6, .parts = 3, .delay = 4, .mix = 0.5f}, 40, exchange);
    std::size_t compared = 0;
    for (auto const& [cell, bits] : states[0]) {
      if (cell.find(" anchor") == cell.npos && cell.find(" outer") == cell.npos && cell != "digest") continue;
      ++compared;
      CHECK(states[1].at(cell) == bits);
      CHECK(states[2].at(cell) == bits);
    }
    CHECK(compared == 2 * sizes.size() + 1);
    CHECK(states[0] != states[1]);  // θ keeps half of each rank's own steps
  }
}

TEST_CASE("streaming: Δ is that of the launch, the anchor is never mixed, and θ is mixed at the landing") {
  // Plain SGD of rate 1 and outer SGD of rate 1: the anchor becomes the mean of θ at the launch.
  toy::on_each_rank(2, [&](threads transport) {
    int const rank = transport.rank();
    std::vector<float> a(64), b(64), ga(64, rank == 0 ? 1.0f : 3.0f), gb(64, rank == 0 ? 2.0f : -2.0f);
    std::vector<tensor> const list{{"a", {64}, a.data()}, {"b", {64}, b.data()}};
    DiLoCo<plain_sgd, plain_sgd, f32, threads, no_feedback, weighted_mean, automatic, streaming> t(
        {.inner = {.lr = 1},
         .outer = {.lr = 1},
         .transport = std::move(transport),
         .schedule = {.inner_steps = 4, .parts = 2, .delay = 1, .mix = 0.25f}},
        list);
    std::vector<std::span<float const>> const g{ga, gb};
    auto const take = [&](int steps) {
      for (int i = 0; i < steps; ++i) t.step(g);
    };
    take(2);  // a is launched at -2·ga
    CHECK(t.cell("a", "anchor")[0] == 0);
    take(1);  // and lands: the mean of -2 and -6
    CHECK(t.cell("a", "anchor")[0] == -4);
    CHECK(a[0] == 0.25f * (-3 * ga[0]) + 0.75f * -4);
    CHECK(b[0] == -3 * gb[0]);
    take(2);  // b is launched at -4·gb and lands one step later
    CHECK(t.cell("b", "anchor")[0] == 0);
    CHECK(b[0] == 0.25f * (-5 * gb[0]));
    CHECK(t.cell("a", "anchor")[0] == -4);
    return 0;
  });
}

TEST_CASE("streaming: after a sync every rank holds the anchor, whatever was under way") {
  for (long steps = 1; steps <= 16; ++steps) {
    CAPTURE(steps);
    auto const states = toy::on_each_rank(2, [&](threads transport) {
      int const rank = transport.rank();
      toy::model m(sizes);
      DiLoCo<adamw, nesterov, absmax<8>, threads, error_feedback, weighted_mean, automatic, streaming> t(
          {.transport = std::move(transport),
           .schedule = {.inner_steps = 8, .parts = 4, .delay = 3, .mix = 0.5f}},
          m.parameters());
      for (long step = 1; step <= steps; ++step) t.step(m.gradients(rank, step));
      t.sync();
      for (tensor const& p : m.parameters()) {
        auto const anchor = t.cell(p.name, "anchor");
        CHECK(std::vector<float>(p.data, p.data + p.size()) ==
              std::vector<float>(anchor.begin(), anchor.end()));
      }
      return t.digest();
    });
    CHECK(states[0] == states[1]);
  }
}

TEST_CASE("streaming: sync at any step leaves the anchor with all workers, and the schedule goes on") {
  for (streaming const s : {streaming{.inner_steps = 4, .parts = 2, .delay = 1},
                            {.inner_steps = 6, .parts = 3, .delay = 5, .mix = 0.5f},
                            {.inner_steps = 6, .parts = 3, .delay = 0},
                            delayed(4, 2)}) {
    for (long at = 1; at <= 12; ++at) {
      CAPTURE(s.describe());
      CAPTURE(at);
      auto const states = toy::on_each_rank(2, [&](threads transport) {
        int const rank = transport.rank();
        toy::model m(sizes);
        DiLoCo<adamw, nesterov, absmax<8>, threads, error_feedback, weighted_mean, automatic, streaming> t(
            {.transport = std::move(transport), .schedule = s}, m.parameters());
        for (long step = 1; step <= 20; ++step) {
          CHECK(said(t.try_step(m.gradients(rank, step))) == "no error");
          if (step != at) continue;
          bool const one_round_now = s.parts == 1 && s.delay == 0 && step % s.inner_steps == 0;
          if (!one_round_now) CHECK(said(t.try_sync()) == "no error");
          for (tensor const& p : m.parameters()) {
            auto const anchor = t.cell(p.name, "anchor");
            CHECK(std::equal(anchor.begin(), anchor.end(), p.data));
          }
        }
        return t.digest();
      });
      CHECK(states[0] == states[1]);
    }
  }
}

TEST_CASE("streaming: sync fails where it cannot bring a worker to the anchor") {
  std::vector<float> a(64), b(64), g(64, 0.1f);
  std::vector<tensor> const list{{"a", {64}, a.data()}, {"b", {64}, b.data()}};
  DiLoCo t(recipe<>{}
               .with_inner(plain_sgd{.lr = 1})
               .with_transport(alone{})
               .with_schedule(streaming{.inner_steps = 4, .parts = 2, .delay = 1, .mix = 0.5f}),
           list);
  std::vector<std::span<float const>> const gradients{g, g};
  t.step(gradients);
  t.step(gradients);  // launches a
  t.skip_step();      // lands a, of which half the steps stay
  t.skip_step();      // launches b
  CHECK(said(t.try_sync()).find("round 1 of fragment 0: the workers' weights (tokens) add up to 0") !=
        std::string::npos);
}

TEST_CASE("streaming: a framework whose steps a landing discarded is not taken for one that stands still") {
  std::vector<float> x(64);
  DiLoCo t(recipe<>{}.with_inner(external{}).with_transport(alone{}).with_schedule(delayed(4, 2)),
           std::vector<tensor>{{"x", {64}, x.data()}});
  for (int k = 1; k <= 10; ++k) {
    bool const skips = k == 7 || k == 8;
    for (float& v : x) v += skips ? 0 : 1;
    CHECK(said(skips ? t.try_skip_step() : t.try_after_step()) == "no error");
  }
  CHECK(t.rounds() == 2);
}

TEST_CASE("streaming: what is sent at once is a fragment, and describe says so") {
  auto const sent = [](auto schedule) {
    return toy::on_each_rank(2, [&](threads transport) {
      std::vector<std::vector<float>> values(4, std::vector<float>(4096));
      std::vector<tensor> list;
      for (auto& v : values) list.push_back({say({"t", list.size()}), {v.size()}, v.data()});
      DiLoCo<adamw, nesterov, f32, threads, no_feedback, weighted_mean, gather, decltype(schedule)> t(
          {.transport = std::move(transport), .schedule = schedule}, list);
      return t.describe();
    })[0];
  };
  // 4 × 16,384 B of payload; a header of 128 B and a vote of 256 B for each message.
  CHECK(sent(every(100)).find("every 100 · sends 65.9 kB at once, 659 B per step") != std::string::npos);
  CHECK(sent(streaming{})
            .find("streaming 4 fragments, every 100, landed 1 later, mix 0 · sends 16.8 kB at "
                  "once, 671 B per step") != std::string::npos);
  CHECK(sent(manual{}).find("manual · sends 65.9 kB at once ·") != std::string::npos);
}

TEST_CASE("streaming: fragments that do not divide, delays and mixes that cannot be") {
  toy::model m(sizes);
  auto const make = [&](streaming s) {
    return said(DiLoCo<adamw, nesterov, f32, alone, no_feedback, weighted_mean, automatic, streaming>::make(
        {.transport = alone{}, .schedule = s}, m.parameters()));
  };
  CHECK(make({}) == "no error");
  CHECK(
      make({.inner_steps = 30}) ==
      "diloco: schedule streaming: inner_steps = 30 must be a multiple of fragments = 4, so that rounds are "
      "evenly spread");
  CHECK(make({.parts = 0}) == "diloco: schedule streaming: fragments = 0 must be in [1, 32]");
  CHECK(make({.parts = 33}) == "diloco: schedule streaming: fragments = 33 must be in [1, 32]");
  CHECK(make({.inner_steps = 90, .parts = 9}) ==
        "diloco: schedule: 9 fragments of 8 tensors that are trained; a fragment is at least one of them");
  CHECK(make({.inner_steps = 0}) ==
        "diloco: schedule streaming: inner_steps = 0 must be a number not below 1");
  CHECK(make({.delay = 100}) ==
        "diloco: schedule streaming: delay = 100 must be below inner_steps = 100, because a fragment lands "
        "before its next round");
  CHECK(make({.delay = -1}) == "diloco: schedule streaming: delay = -1 must be a number not below 0");
  CHECK(make({.delay = 0}) == "no error");
  CHECK(
      make({.delay = 0, .mix = 0.5f}) ==
      "diloco: schedule streaming: mix = 0.5 keeps steps that are taken during a flight, and with delay = 0 "
      "there are none; say mix = 0");
  CHECK(make({.mix = 1.5f}) == "diloco: schedule streaming: mix = 1.5 must be in [0, 1]");
  CHECK(make({.mix = std::nanf("")}) == "diloco: schedule streaming: mix = nan must be in [0, 1]");
}
