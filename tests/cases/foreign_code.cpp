// SPDX-License-Identifier: Apache-2.0
// Probes and transports that throw at every call. The trainer continues or reports why it cannot, and rounds
// stay equal. Skipped steps have a limit.
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <stdexcept>

using namespace diloco;

namespace {

template <class Result>
std::string said(Result const& r) {
  return toy::sentence(toy::outcome_of(r));
}

/// Throws once, at a chosen event.
template <class Event>
struct failing_probe {
  int at;
  bool fails;
  int heard = 0;
  void operator()(Event const&) {
    if (heard++ == at && fails) throw std::runtime_error("No space left on device");
  }
};

/// Two ranks take six steps, and each second one ends a round. Rank 1's probe throws once.
template <class Event>
void check_probe(int at) {
  CAPTURE(at);
  struct seen {
    std::uint64_t steps, rounds, digest;
    int thrown = 0;
    std::string error;
  };
  auto const all = toy::on_each_rank(2, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m({300});
    DiLoCo t(recipe<>{}
                 .with_inner(plain_sgd{.lr = 0.1f})
                 .with_transport(std::move(transport))
                 .with_schedule(every(2))
                 .with_probe(failing_probe<Event>{at, rank == 1})
                 .with_deadline_seconds(20),
             m.parameters());
    seen s{};
    for (long step = 0; step < 6; ++step) {
      try {
        if (auto const r = t.try_step(m.gradients(rank, step)); !r) s.error = r.error().message;
      } catch (std::runtime_error const& e) {
        s.thrown += std::string_view(e.what()) == "No space left on device" ? 1 : 100;
      }
    }
    s.steps = t.steps();
    s.rounds = t.rounds();
    s.digest = t.digest();
    return s;
  });
  CHECK(all[0].thrown == 0);
  CHECK(all[1].thrown == 1);
  for (seen const& s : all) {
    CHECK(s.error.empty());
    CHECK(s.steps == 6);
    CHECK(s.rounds == 3);
    CHECK(s.digest == all[0].digest);
  }
}

/// The call in which a caller's adaptor throws.
enum class place { all_gather, all_to_all, wait, roster, wire, done, reclaim };

struct fuse {
  place where;
  int calls_left;
  void burn(place here) {
    if (here == where && calls_left-- == 0) throw std::runtime_error("connection reset by peer");
  }
};

struct flaky {
  using inner = threads;
  static constexpr std::string_view name = "flaky";
  static constexpr bool receives_in_place = inner::receives_in_place;
  static constexpr transport_traits traits = inner::traits;
  inner transport;
  fuse* burning;

  [[nodiscard]] int rank() const { return transport.rank(); }
  [[nodiscard]] int size() const { return transport.size(); }
  struct arrival {
    arrival_of<inner> a;
    fuse* burning;
    [[nodiscard]] std::span<int const> roster() const {
      burning->burn(place::roster);
      return a.roster();
    }
    [[nodiscard]] std::span<std::byte const> message(int k) const {
      burning->burn(place::wire);
      return a.message(k);
    }
    void done() {
      burning->burn(place::done);
      a.done();
    }
    result<wires> reclaim(deadline d) && {
      burning->burn(place::reclaim);
      return std::move(a).reclaim(d);
    }
  };
  struct pending {
    pending_of<inner> p;
    fuse* burning;
    result<arrival> wait(deadline d) {
      burning->burn(place::wait);
      auto r = p.wait(d);
      if (!r) return std::move(r).error();
      return arrival{std::move(*r), burning};
    }
  };
  [[nodiscard]] pending all_gather(wires w, exchange_tag tag) {
    burning->burn(place::all_gather);
    return {transport.all_gather(std::move(w), tag), burning};
  }
  [[nodiscard]] pending all_to_all(wires w, exchange_tag tag) {
    burning->burn(place::all_to_all);
    return {transport.all_to_all(std::move(w), tag), burning};
  }
};

/// Rank 1's transport throws in its n-th such call after construction. Steps continue until an error comes
/// twice.
void check_transport(place where, int call, pattern exchange) {
  CAPTURE(static_cast<int>(where));
  CAPTURE(call);
  CAPTURE(static_cast<int>(exchange));
  struct seen {
    std::uint64_t rounds = 0, digest = 0;
    std::string first, second;
  };
  auto const all = toy::on_each_rank(2, [&](threads transport) {
    int const rank = transport.rank();
    fuse burning{where, 1 << 30};
    toy::model m({300, 5000});
    DiLoCo<plain_sgd, nesterov, absmax<8>, flaky, error_feedback, weighted_mean, toy::chosen> t(
        {.exchange = {exchange},
         .transport = flaky{std::move(transport), &burning},
         .schedule = every(1),
         .deadline_seconds = 1},
        m.parameters());
    if (rank == 1) burning.calls_left = call;
    seen s;
    for (long step = 0; step < 7; ++step) {
      auto const r = t.try_step(m.gradients(rank, step));
      if (r) continue;
      (s.first.empty() ? s.first : s.second) = r.error().message;
    }
    s.rounds = t.rounds();
    s.digest = t.digest();
    return s;
  });
  if (all[1].first.empty()) return;  // there is no such call
  CHECK(all[1].first.find("connection reset by peer") != std::string::npos);
  CHECK(all[1].second.find("this trainer cannot go on since: ") != std::string::npos);
  CHECK_FALSE(all[0].first.empty());
  // A rank that cannot read the last messages of a round is alone with that, because no vote follows them
  // yet.
  bool const read_alone = where == place::wait || where == place::roster || where == place::wire;
  if (!read_alone) {
    CHECK(all[0].rounds == all[1].rounds);
    CHECK(all[0].digest == all[1].digest);
  }
}

}  // namespace

TEST_CASE("foreign code: a probe that throws interrupts nothing") {
  for (int at : {0, 1, 2}) {
    check_probe<inner_stepped>(at);
    check_probe<round_launched>(at);
    check_probe<round_landed>(at);
  }
}

TEST_CASE("foreign code: an error and a probe that throws at it are told together") {
  toy::model m({300});
  DiLoCo t(recipe<>{}.with_transport(alone{}).with_schedule(manual{}).with_probe(
               failing_probe<round_aborted>{0, true}),
           m.parameters());
  t.step(m.gradients(0, 0));
  m[0][7] = NAN;
  std::string const heard = said(t.try_sync());
  CHECK(heard.find("the pseudo-gradient of 't0' is not finite") != std::string::npos);
  CHECK(heard.find("; and the probe threw: No space left on device") != std::string::npos);
}

TEST_CASE("foreign code: every probe of a chain hears, also behind one that throws") {
  toy::model m({300});
  DiLoCo t(recipe<>{}.with_transport(alone{}).with_schedule(every(1)).with_probe(
               chain(failing_probe<round_landed>{0, true}, counters{})),
           m.parameters());
  CHECK_THROWS_AS(t.step(m.gradients(0, 0)), std::runtime_error);
  t.step(m.gradients(0, 1));
  CHECK(std::get<1>(t.probe().probes).rounds == 2);
}

TEST_CASE("foreign code: a transport that throws ends its trainer with its sentence, at every call") {
  for (pattern exchange : toy::patterns) {
    for (place where : {place::all_gather, place::all_to_all, place::wait, place::roster, place::wire,
                        place::done, place::reclaim}) {
      for (int call : {0, 1, 3}) check_transport(where, call, exchange);
    }
  }
}

TEST_CASE("skipping ends: so many in a row and no more") {
  toy::model m({300});
  DiLoCo t(recipe<>{}.with_transport(alone{}).with_schedule(manual{}).with_max_skipped_steps(3),
           m.parameters());
  auto& bad = m.gradients(0, 0);
  bad[0][5] = NAN;
  std::string const sentence =
      "diloco: step: 3 steps in a row were skipped, as many as max_skipped_steps allows, and this one would "
      "be "
      "skipped, too "
      "(diloco: step: the gradient of 't0' holds a value that is not finite); load an earlier state, lower "
      "the "
      "learning rate "
      "or the loss scale, or raise max_skipped_steps";
  for (int again = 0; again < 2; ++again) {
    for (int k = 0; k < 3; ++k) CHECK(said(t.try_step(bad, {.skip_not_finite = true})) == "no error");
    CHECK(t.skipped());
    CHECK(said(t.try_step(bad, {.skip_not_finite = true})) == sentence);
    CHECK(said(t.try_skip_step()).find("(skip_step was called)") != std::string::npos);
    t.step(m.gradients(0, 1));  // a step that is taken restarts the count
    CHECK_FALSE(t.skipped());
    bad[0][5] = NAN;
  }
  CHECK(t.steps() == 8);
}
