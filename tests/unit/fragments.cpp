// SPDX-License-Identifier: Apache-2.0
// Several fragments: each runs as if it were alone, several rounds can be under way, and what is out of order is
// refused.
#include "support/thread_lanes.hpp"
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <map>

using namespace diloco;

namespace {

std::vector<std::size_t> const sizes{300, 7, 700, 256, 5000, 9, 900, 64};

template <class C, class F, class Schedule = manual>
using trainer = DiLoCo<adamw, nesterov, C, threads, F, weighted_mean, toy::chosen, Schedule>;

template <class Result>
std::string said(Result const& r) {
  return toy::sentence(toy::outcome_of(r));
}

/// The tensors of each fragment, as the layout cuts them.
std::vector<std::vector<std::size_t>> cut(int fragments) {
  toy::model m(sizes);
  auto const l = layout::of(m.parameters(), 256, false, 0, 1, {}, static_cast<std::size_t>(fragments));
  std::vector<std::vector<std::size_t>> all(static_cast<std::size_t>(fragments));
  for (std::size_t r = 0; r < l->rows().size(); ++r) all[l->rows()[r].fragment].push_back(r);
  return all;
}

/// State of these tensors after 9 steps, in which the rounds of fragment f come after every f + 2 of them.
/// `alone`: these tensors are all that there is, in one fragment.
template <class C, class F>
std::vector<toy::bits> run(int fragments, std::vector<std::size_t> const& tensors, int which,
                           pattern exchange, bool alone) {
  return toy::on_each_rank(3, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    std::vector<tensor> mine;
    for (std::size_t r = 0; r < sizes.size(); ++r) {
      bool const listed = std::find(tensors.begin(), tensors.end(), r) != tensors.end();
      if (!alone || listed) mine.push_back(m.parameters()[r]);
    }
    trainer<C, F> t({.exchange = {exchange},
                     .transport = std::move(transport),
                     .schedule = manual(alone ? 1 : fragments)},
                    mine);
    for (int step = 1; step <= 9; ++step) {
      auto const& all = m.gradients(rank, step);
      std::vector<std::span<float const>> gradients;
      for (tensor const& p : mine) gradients.emplace_back(all[static_cast<std::size_t>(p.name[1] - '0')]);
      t.step(gradients);
      for (int f = 0; f < fragments; ++f) {
        if (step % (f + 2) != 0 || (alone && f != which)) continue;
        t.land(t.launch(alone ? 0 : f));
      }
    }
    toy::bits all = toy::state_of(t, m), those;
    for (auto& [name, cell] : all) {
      for (std::size_t r : tensors) {
        if (name.starts_with("t" + std::to_string(r) + " ")) those.emplace(name, std::move(cell));
      }
    }
    return those;
  });
}

template <class C, class F>
void check_alone() {
  int const fragments = 3;
  auto const parts = cut(fragments);
  for (pattern const exchange : toy::patterns) {
    for (int f = 0; f < fragments; ++f) {
      auto const& tensors = parts[static_cast<std::size_t>(f)];
      CAPTURE(f);
      CAPTURE(C::name);
      CAPTURE(F::name);
      auto const together = run<C, F>(fragments, tensors, f, exchange, false);
      auto const alone = run<C, F>(fragments, tensors, f, exchange, true);
      REQUIRE(together[0].size() >= tensors.size() * 4);
      CHECK(together == alone);
    }
  }
}

/// Two rounds of four fragments each: one after another, or all launched before the first of them lands.
template <class C, class F>
std::vector<toy::bits> flown(pattern exchange, bool at_once) {
  return toy::on_each_rank(3, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    trainer<C, F> t({.exchange = {exchange}, .transport = std::move(transport), .schedule = manual(4)},
                    m.parameters());
    for (int round = 0; round < 2; ++round) {
      t.step(m.gradients(rank, round));
      std::vector<flight> open;
      for (int f = 3; f >= 0; --f) {
        open.push_back(t.launch(f));
        if (at_once) continue;
        t.land(std::move(open.back()));
      }
      for (flight& f : open) {
        if (at_once) t.land(std::move(f));
      }
    }
    REQUIRE(t.rounds() == 8);
    auto state = toy::state_of(t, m);
    state["digest"] = {static_cast<std::uint32_t>(t.digest())};
    return state;
  });
}

template <class C, class F>
void check_at_once() {
  for (pattern const exchange : toy::patterns) {
    CAPTURE(C::name);
    CHECK(flown<C, F>(exchange, true) == flown<C, F>(exchange, false));
  }
}

/// Launches fragment f at step 4·i + f and lands it two steps later, half mixed.
struct in_turn {
  static constexpr std::string_view name = "in_turn";
  static constexpr schedule_traits traits{};
  [[nodiscard]] static constexpr int fragments() { return 3; }
  static constexpr fragment_cut cut{};
  [[nodiscard]] static constexpr double rounds_per_step() { return 0.75; }
  [[nodiscard]] static action_list after(std::uint64_t steps) {
    action_list all;
    if (steps > 2 && (steps - 2) % 4 < 3) all.add({action::land, static_cast<int>((steps - 2) % 4), 0.5f});
    if (steps % 4 < 3) all.add({action::launch, static_cast<int>(steps % 4)});
    return all;
  }
  [[nodiscard]] static std::string describe() { return "in turn"; }
};

/// That schedule, whose first landing is one of a fragment that was never launched.
struct lands_first : in_turn {
  [[nodiscard]] static action_list after(std::uint64_t steps) {
    return steps == 2 ? action_list{{action::land, 1}} : action_list{};
  }
};

template <class Schedule>
using toy_trainer =
    DiLoCo<adamw, nesterov, absmax<8>, alone, error_feedback, weighted_mean, toy::chosen, Schedule>;

}  // namespace

TEST_CASE("fragments: the model is cut into runs of whole tensors of about equal size") {
  // 7236 elements: the sixth tensor ends at 6272, the fifth is most of the model.
  CHECK(cut(1) == std::vector<std::vector<std::size_t>>{{0, 1, 2, 3, 4, 5, 6, 7}});
  CHECK(cut(2) == std::vector<std::vector<std::size_t>>{{0, 1, 2, 3}, {4, 5, 6, 7}});
  CHECK(cut(8).back() == std::vector<std::size_t>{7});
  for (int n = 1; n <= 8; ++n) {
    for (auto const& part : cut(n)) CHECK(!part.empty());
  }
}

TEST_CASE("fragments: each runs as if it were alone, bit for bit") {
  check_alone<f32, error_feedback>();
  check_alone<absmax<4>, error_feedback>();
  check_alone<absmax<8>, averaged_error>();
  check_alone<absmax<8>, ef21>();
  check_alone<top_k<8>, error_feedback>();
}

TEST_CASE("fragments: rounds that are under way at once do not touch each other") {
  check_at_once<absmax<4>, error_feedback>();
  check_at_once<absmax<8>, averaged_error>();
  check_at_once<low_rank<2>, error_feedback>();
  check_at_once<low_rank<2, factors::common>, error_feedback>();
  check_at_once<qsgd<4>, error_feedback>();
}

TEST_CASE("fragments: a schedule's actions are the calls by hand") {
  auto const trained = [](auto schedule, bool by_hand) {
    return toy::on_each_rank(2, [&](threads transport) {
      int const rank = transport.rank();
      toy::model m(sizes);
      DiLoCo<adamw, nesterov, absmax<8>, threads, error_feedback, weighted_mean, toy::chosen,
             decltype(schedule)>
          t({.transport = std::move(transport), .schedule = schedule}, m.parameters());
      std::optional<flight> open[3];
      for (int step = 1; step <= 23; ++step) {
        t.step(m.gradients(rank, step));
        if (!by_hand) continue;
        for (action const& a : in_turn::after(static_cast<std::uint64_t>(step))) {
          if (a.what == action::launch)
            open[a.fragment].emplace(t.launch(a.fragment));
          else if (open[a.fragment])
            t.land(*std::exchange(open[a.fragment], std::nullopt), {.mix = a.mix});
        }
      }
      for (auto& f : open) {
        if (f) t.land(std::move(*f), {.mix = 0.5f});
      }
      return std::pair{toy::state_of(t, m), t.rounds()};
    });
  };
  auto const scheduled = trained(in_turn{}, false), by_hand = trained(manual(3), true);
  CHECK(scheduled[0].second > 10);
  CHECK(by_hand[0].second > scheduled[0].second);  // and the flights that are left
}

TEST_CASE("fragments: what is out of order is refused, and nothing is half-applied") {
  toy::model m(sizes);
  toy_trainer<manual> t({.transport = alone{}, .schedule = manual(3)}, m.parameters());
  CHECK(t.describe().find("manual, 3 fragments") != std::string::npos);
  t.step(m.gradients(0, 0));
  CHECK(said(t.try_launch(3)) == "diloco: launch: there is no fragment 3 among 3");
  CHECK(said(t.try_launch(-1)) == "diloco: launch: there is no fragment -1 among 3");
  auto second = t.launch(2), first = t.launch(0);
  CHECK(said(t.try_launch(2)) == "diloco: launch: round 0 of fragment 2 is under way; land it first");
  auto const before = toy::state_of(t, m);
  CHECK(said(t.try_land(std::move(first))) ==
        "diloco: land: round 0 of fragment 2 was launched before round 0 of fragment 0; land it first");
  CHECK(said(t.try_adopt()) == "diloco: adopt: round 0 of fragment 0 is under way; land it first");
  CHECK(said(t.try_reset_feedback()) ==
        "diloco: reset_feedback: round 0 of fragment 0 is under way; land it first");
  CHECK(toy::state_of(t, m) == before);
  CHECK(said(t.try_land(std::move(second))) == "no error");
  CHECK(said(t.try_land(std::move(first))) == "no error");
  CHECK(t.rounds() == 2);
  t.step(m.gradients(0, 1));
  CHECK(said(t.try_sync()) == "no error");
  CHECK(t.rounds() == 5);

  toy::model one({5}), few({5, 6});
  CHECK(said(toy_trainer<manual>::make({.transport = alone{}, .schedule = manual(2)}, one.parameters())) ==
        "diloco: schedule: 2 fragments of 1 tensors that are trained; a fragment is at least one of them");
  CHECK(said(toy_trainer<manual>::make({.transport = alone{}, .schedule = manual(0)}, few.parameters())) ==
        "diloco: schedule manual: fragments = 0 must be in [1, 32]");
  CHECK(said(toy_trainer<manual>::make(
            {.transport = alone{}, .schedule = manual(2), .inner_at_sync = at_sync::reset},
            few.parameters())) ==
        "diloco: schedule: 2 fragments with an inner state that is reset or averaged in each round; say one "
        "fragment");
  toy_trainer<lands_first> wrong({.transport = alone{}, .schedule = lands_first{}}, m.parameters());
  CHECK(said(wrong.try_step(m.gradients(0, 0))) == "no error");
  auto const r = wrong.try_step(m.gradients(0, 1));
  CHECK(said(r) == "diloco: land: round 0 of fragment 1 was not launched");
  CHECK(r.step_taken());
}

TEST_CASE("fragments: one that is dropped ends the run, one that aborts leaves the others alone") {
  toy::model m(sizes);
  toy_trainer<manual> t({.transport = alone{}, .schedule = manual(3)}, m.parameters());
  t.step(m.gradients(0, 0));
  auto healthy = t.launch(0);
  m[4][17] = std::numeric_limits<float>::quiet_NaN();
  auto sick = t.launch(1);
  auto const before = toy::state_of(t, m);
  auto const of = [](toy::bits const& all, std::string const& tensor) {
    toy::bits some;
    for (auto const& [name, cell] : all) {
      if (name.starts_with(tensor + " ") && !name.ends_with("theta")) some.emplace(name, cell);
    }
    return some;
  };
  CHECK(said(t.try_land(std::move(healthy))) == "no error");
  std::string const sentence = said(t.try_land(std::move(sick)));
  CHECK(sentence.starts_with(
      "diloco: round 0 of fragment 1: rank 0: the pseudo-gradient of 't4' is not finite"));
  CHECK(of(toy::state_of(t, m), "t4") == of(before, "t4"));
  CHECK(of(toy::state_of(t, m), "t0") != of(before, "t0"));
  CHECK(t.rounds() == 1);
  { auto const dropped = t.launch(2); }
  CHECK(
      said(t.try_launch(0)) ==
      "diloco: this trainer cannot go on: the flight of round 0 of fragment 2 was dropped before it landed");
}

TEST_CASE("fragments: a transport carries what the trainer says it sends") {
  for (pattern const exchange : toy::patterns) {
    toy::on_each_rank(3, [&](threads inner) {
      int const rank = inner.rank();
      counted<threads> transport(std::move(inner));
      auto const counts = transport.counts();
      toy::model m(sizes);
      DiLoCo<adamw, nesterov, absmax<8>, counted<threads>, error_feedback, weighted_mean, toy::chosen, manual>
          t({.exchange = {exchange}, .transport = std::move(transport), .schedule = manual(3)},
            m.parameters());
      t.step(m.gradients(rank, 0));
      auto const before = counts->sent_bytes.load();
      t.sync();
      CHECK(counts->sent_bytes.load() - before == t.wire_bytes_per_round());
      return 0;
    });
  }
}

TEST_CASE("fragments: after the run ended, an open flight is refused, and its peers hear it") {
  auto const seen = toy::on_each_rank(2, [](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    trainer<absmax<8>, error_feedback> t(
        {.transport = std::move(transport), .schedule = manual(3), .deadline_seconds = 5}, m.parameters());
    t.step(m.gradients(rank, 0));
    std::optional<flight> first(t.launch(0));
    auto second = t.launch(1);
    auto const before = t.digest();
    if (rank == 1) first.reset();  // dropped: rank 1's run is over
    std::string const one = first ? said(t.try_land(std::move(*first))) : std::string("dropped");
    std::string const two = said(t.try_land(std::move(second)));
    return std::tuple{one, two, t.digest() == before, t.rounds(), said(t.try_step(m.gradients(rank, 1)))};
  });
  CHECK(
      std::get<1>(seen[1]) ==
      "diloco: this trainer cannot go on: the flight of round 0 of fragment 0 was dropped before it landed");
  for (auto const& [one, two, unchanged, rounds, after] : seen) {
    CHECK(one != "no error");
    CHECK(two != "no error");
    CHECK(after != "no error");
    CHECK(unchanged);
    CHECK(rounds == 0);
  }
}

namespace {
/// What a test says, at each step.
struct scripted {
  int parts = 3;
  std::map<std::uint64_t, action_list> const* script = nullptr;
  static constexpr std::string_view name = "scripted";
  static constexpr schedule_traits traits{};
  static constexpr fragment_cut cut{};
  [[nodiscard]] int fragments() const { return parts; }
  [[nodiscard]] static double rounds_per_step() { return 0; }
  [[nodiscard]] action_list after(std::uint64_t steps) const {
    auto const at = script->find(steps);
    return at == script->end() ? action_list{} : at->second;
  }
  [[nodiscard]] static std::string describe() { return "scripted"; }
  template <class F>
  constexpr void fields(F&& f) const {
    f("parts", parts, range{1, 32});
  }
};
}  // namespace

TEST_CASE(
    "fragments: actions that cannot be are refused after their step, and nothing is read past the end") {
  for (action const bad : {action{action::launch, 7}, action{action::land, -1}}) {
    std::map<std::uint64_t, action_list> const script{{2, {bad}}};
    toy::model m(sizes);
    toy_trainer<scripted> t({.transport = alone{}, .schedule = {3, &script}}, m.parameters());
    t.step(m.gradients(0, 0));
    auto const r = t.try_step(m.gradients(0, 1));
    CHECK(said(r) == "diloco: schedule: there is no fragment " + std::to_string(bad.fragment) + " among 3");
    CHECK(r.step_taken());
    CHECK(said(t.try_step(m.gradients(0, 2))) == "no error");
  }
  std::map<std::uint64_t, action_list> const script{
      {1, {{action::launch, 0}, {action::land, 0, std::numeric_limits<float>::quiet_NaN()}}}};
  toy::model m(sizes);
  toy_trainer<scripted> t({.transport = alone{}, .schedule = {3, &script}}, m.parameters());
  CHECK(said(t.try_step(m.gradients(0, 0))) == "diloco: schedule: mix = nan must be in [0, 1]");
  CHECK(t.rounds() == 0);

  std::map<std::uint64_t, action_list> const both{{1, {{action::land_and_launch, 0}}}};
  toy_trainer<scripted> of_both({.transport = alone{}, .schedule = {3, &both}}, m.parameters());
  CHECK(said(of_both.try_step(m.gradients(0, 0))) ==
        "diloco: schedule: has a land_and_launch action, and its traits do not say .eager");
}

TEST_CASE("fragments: a round that is dropped does not keep the others from theirs") {
  std::map<std::uint64_t, action_list> script;
  for (std::uint64_t step = 1; step <= 40; ++step) {
    if (step > 2) script[step].add({action::land, static_cast<int>((step - 2) % 3)});
    script[step].add({action::launch, static_cast<int>(step % 3)});
  }
  toy::model m(sizes);
  toy_trainer<scripted> t({.transport = alone{}, .schedule = {3, &script}}, m.parameters());
  int errors = 0;
  for (long step = 1; step <= 40; ++step) {
    if (step == 9) m[0][3] = std::numeric_limits<float>::quiet_NaN();
    if (step == 10) m[0][3] = t.cell("t0", "anchor")[3];
    auto const r = t.try_step(m.gradients(0, step));
    if (step == 9) continue;  // the gradient was taken, and θ is NaN
    errors += r ? 0 : 1;
    if (!r) CHECK(said(r).starts_with("diloco: round 2 of fragment 0: rank 0: the pseudo-gradient"));
  }
  CHECK(errors <= 1);
  CHECK(t.rounds() >= 36);
  CHECK(said(t.try_launch(2)).find(" was launched by the schedule, which lands it") != std::string::npos);
  CHECK(said(t.try_sync()) == "no error");  // lands what the schedule launched, and makes a round of each
  CHECK(said(t.try_adopt()) == "no error");
}

TEST_CASE("fragments: a round that nobody stepped before is idle, whatever happens in flight") {
  std::map<std::uint64_t, action_list> const script{{2, {{action::launch, 1}}}, {4, {{action::land, 1}}}};
  toy::model m(sizes);
  toy_trainer<scripted> t({.transport = alone{}, .schedule = {3, &script}}, m.parameters());
  t.skip_step();
  t.skip_step();
  t.step(m.gradients(0, 0));
  CHECK(said(t.try_step(m.gradients(0, 1))) == "no error");
  CHECK(t.rounds() == 0);
}

TEST_CASE("fragments: sync refuses before it sends anything") {
  toy::model m(sizes);
  toy_trainer<manual> t({.transport = alone{}, .schedule = manual(2)}, m.parameters());
  t.step(m.gradients(0, 0));
  auto open = t.launch(1);
  CHECK(said(t.try_sync()) == "diloco: sync: round 0 of fragment 1 is under way; land it first");
  CHECK(said(t.try_land(std::move(open))) == "no error");
  t.step(m.gradients(0, 1));
  CHECK(said(t.try_sync()) == "no error");
  CHECK(t.rounds() == 3);
}

TEST_CASE("fragments: parts of columns are aligned for lanes that load words of 16 bytes") {
  auto const digest = [](auto executor, int fragments) {
    toy::model m({300, 7, 300, 256});
    DiLoCo<adamw, nesterov, absmax<8>, alone, error_feedback, weighted_mean, toy::chosen, manual,
           decltype(executor)>
        t({.exchange = {pattern::scatter_gather}, .transport = alone{}, .schedule = manual(fragments)},
          m.parameters());
    t.step(m.gradients(0, 0));
    t.sync();
    return toy::state_of(t, m);
  };
  auto const one = digest(cpp{}, 1);
  CHECK(digest(lane_threads{}, 2) == one);
  CHECK(digest(cpp{}, 3) == one);
}
