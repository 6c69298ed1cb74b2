// SPDX-License-Identifier: Apache-2.0
// threads: misuse of a world, and workers that leave, stay away or come late. No rank hangs, and no rank
// lands what another cannot.
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <thread>

using namespace diloco;

namespace {

using trainer = toy::trainer_of<adamw, nesterov, absmax<8>, threads>;
using clock_type = std::chrono::steady_clock;

double seconds_since(clock_type::time_point start) {
  return std::chrono::duration<double>(clock_type::now() - start).count();
}

trainer make(threads t, pattern exchange, toy::model& m, double deadline_seconds = 60) {
  return {{.exchange = {exchange},
           .transport = std::move(t),
           .schedule = every(1000),
           .deadline_seconds = deadline_seconds},
          m.parameters()};
}

/// One worker's last results.
struct report {
  toy::outcome landed;
  std::string after;       // error of the next call
  double seconds = 0;      // from the launch to the answer
  bool unchanged = false;  // anchor and rounds
};

report try_a_round(trainer& t, toy::model& m, int rank) {
  auto const anchor = t.digest();
  auto const rounds = t.rounds();
  t.step(m.gradients(rank, 1));
  auto const start = clock_type::now();
  report r;
  r.landed = toy::outcome_of(t.try_sync());
  r.seconds = seconds_since(start);
  r.unchanged = t.digest() == anchor && t.rounds() == rounds;
  r.after = toy::sentence(toy::outcome_of(t.try_step(m.gradients(rank, 2))));
  return r;
}

constexpr double margin = 2.0;  // a woken thread may wait that long for a core on a busy machine

}  // namespace

TEST_CASE("threads_world: misuse") {
  CHECK_THROWS_WITH_AS(threads_world(0), "diloco: threads_world: 0 workers; there must be at least 1",
                       exception);
  CHECK_THROWS_WITH_AS(threads_world(-3), "diloco: threads_world: -3 workers; there must be at least 1",
                       exception);
  threads_world world(2);
  CHECK(world.size() == 2);
  CHECK_THROWS_WITH_AS((void)world.transport(2), "diloco: threads_world: there is no rank 2 in a world of 2",
                       exception);
  CHECK_THROWS_WITH_AS((void)world.transport(-1),
                       "diloco: threads_world: there is no rank -1 in a world of 2", exception);
  threads const one = world.transport(1);
  CHECK(one.rank() == 1);
  CHECK(one.size() == 2);
  CHECK_THROWS_WITH_AS((void)world.transport(1), "diloco: threads_world: rank 1 was taken before", exception);
}

TEST_CASE("threads: the world may go before its transports") {
  std::optional<threads> first, second;
  {
    threads_world world(2);
    first.emplace(world.transport(0));
    second.emplace(world.transport(1));
  }
  auto const wire = [](unsigned char value) {
    wires w{cpp{}.allocate_wire(16), {}};
    w.send.data()[0] = static_cast<std::byte>(value);
    return w;
  };
  auto a = first->all_gather(wire(7), {5, 0});
  auto b = second->all_gather(wire(8), {5, 0});
  auto const arrived = a.wait(deadline_after(60));
  REQUIRE(arrived);
  CHECK(arrived->message(0)[0] == std::byte{7});
  CHECK(arrived->message(1)[0] == std::byte{8});
}

TEST_CASE("run_threads: rethrows the first exception, after all have ended") {
  int ended = 0;
  CHECK_THROWS_WITH_AS(
      run_threads(2,
                  [&](threads t) {
                    if (t.rank() == 0) throw std::runtime_error("worker 0 has a reason");
                    toy::model m({8});
                    ended += !trainer::make({.transport = std::move(t)}, m.parameters()).has_value();
                  }),
      "worker 0 has a reason", std::runtime_error);
  CHECK(ended == 1);
}

TEST_CASE(
    "run_threads: a worker that throws has left at once, wherever its transport lives and whatever it "
    "holds") {
  // 0: the caller keeps the transport. 1: also an exchange. 2: also an arrival that was not read.
  for (int const holds : {0, 1, 2}) {
    CAPTURE(holds);
    std::vector<std::optional<threads>> ends(3);  // outlive the workers
    std::vector<std::optional<threads::pending>> begun(3);
    std::vector<std::optional<threads::arrival>> held(3);
    std::vector<std::string> seen(3);
    auto const message = [] { return wires{cpp{}.allocate_wire(16), {}}; };
    auto const start = clock_type::now();
    CHECK_THROWS_WITH_AS(
        run_threads(3,
                    [&](threads t) {
                      auto const r = static_cast<std::size_t>(t.rank());
                      ends[r].emplace(std::move(t));
                      auto first = ends[r]->all_gather(message(), {0, 0});
                      if (r == 1 && holds == 1) begun[r].emplace(std::move(first));
                      if (r == 1 && holds == 1) throw std::runtime_error("worker 1 has a reason");
                      auto arrived = first.wait(deadline_after(60));
                      REQUIRE(arrived);
                      if (r == 1 && holds == 2) held[r].emplace(std::move(*arrived));
                      if (r == 1) throw std::runtime_error("worker 1 has a reason");
                      auto const next = ends[r]->all_gather(message(), {1, 0}).wait(deadline_after(60));
                      REQUIRE(!next);
                      CHECK(next.error().what == cause::peer_lost);
                      seen[r] = next.error().message;
                    }),
        "worker 1 has a reason", std::runtime_error);
    CHECK(seconds_since(start) < margin);
    for (std::size_t const r : {std::size_t{0}, std::size_t{2}}) {
      CHECK(seen[r] == "diloco: threads: round 1: rank 1 left before its part of the exchange");
    }
  }
}

TEST_CASE("threads: all ranks that are missing are named") {
  threads_world world(4);
  auto zero = world.transport(0), two = world.transport(2);
  auto a = zero.all_gather({cpp{}.allocate_wire(16), {}}, {3, 0});
  auto b = two.all_gather({cpp{}.allocate_wire(16), {}}, {3, 0});
  auto const missed = a.wait(deadline_after(0.05));
  REQUIRE(!missed);
  CHECK(missed.error().message.starts_with(
      "diloco: threads: round 3: ranks 1 and 3 did not arrive before the deadline; all_gather waited 0."));
  CHECK(b.wait(deadline_after(60)).error().message == missed.error().message);
}

TEST_CASE("threads: a worker that leaves is named to the others at once") {
  for (pattern const exchange : toy::patterns) {
    auto const seen = toy::on_each_rank(3, [&](threads transport) {
      int const rank = transport.rank();
      toy::model m({5, 700, 256});
      auto t = make(std::move(transport), exchange, m);
      t.step(m.gradients(rank, 0));
      t.sync();
      return rank == 1 ? report{} : try_a_round(t, m, rank);
    });
    for (std::size_t const rank : {std::size_t{0}, std::size_t{2}}) {
      REQUIRE(seen[rank].landed);
      CHECK(seen[rank].landed->message ==
            "diloco: threads: round 1: rank 1 left before its part of the exchange");
      CHECK(seen[rank].landed->what == cause::peer_lost);
      CHECK(seen[rank].landed->round == 1);
      CHECK(seen[rank].unchanged);
      CHECK(seen[rank].seconds < margin);
      CHECK(seen[rank].after == "diloco: this trainer cannot go on since: " + seen[rank].landed->message);
    }
  }
}

TEST_CASE(
    "threads: a worker that never comes costs one deadline, on every rank, and then it is too late for it") {
  constexpr double limit = 0.5;  // seconds; constructing the trainers must fit into it too
  for (pattern const exchange : toy::patterns) {
    std::barrier others_gave_up(3);
    auto const seen = toy::on_each_rank(3, [&](threads transport) {
      int const rank = transport.rank();
      toy::model m({5, 700, 256});
      auto t = make(std::move(transport), exchange, m, limit);
      if (rank == 2) {
        others_gave_up.arrive_and_wait();
        return try_a_round(t, m, rank);
      }
      auto const r = try_a_round(t, m, rank);
      others_gave_up.arrive_and_wait();
      return r;
    });
    for (std::size_t rank = 0; rank < 3; ++rank) {
      CAPTURE(rank);
      REQUIRE(seen[rank].landed);
      CHECK(seen[rank].landed->message.starts_with(
          say({"diloco: threads: round 0: rank 2 did not arrive before the deadline; ",
               exchange == pattern::gather ? "all_gather" : "all_to_all", " waited "})));
      CHECK(seen[rank].landed->message.ends_with(" s of 0.5 s"));
      CHECK(seen[rank].landed->what == cause::timeout);
      CHECK(seen[rank].unchanged);
      CHECK(seen[rank].seconds < limit + margin);
      CHECK(seen[rank].after == "diloco: this trainer cannot go on since: " + seen[rank].landed->message);
    }
    CHECK(std::max(seen[0].seconds, seen[1].seconds) >= limit);
  }
}

TEST_CASE("threads: a worker that never makes its trainer costs one deadline at construction") {
  constexpr double limit = 0.5;  // seconds; constructing the trainers must fit into it too
  std::barrier others_gave_up(3);
  auto const start = clock_type::now();
  auto const seen = toy::on_each_rank(3, [&](threads transport) {
    toy::model m({300});
    if (transport.rank() == 1) {
      others_gave_up.arrive_and_wait();
      return toy::outcome{};
    }
    auto const made =
        trainer::make({.transport = std::move(transport), .deadline_seconds = limit}, m.parameters());
    others_gave_up.arrive_and_wait();
    return toy::outcome_of(made);
  });
  for (std::size_t const rank : {std::size_t{0}, std::size_t{2}}) {
    CHECK(toy::sentence(seen[rank])
              .starts_with(
                  "diloco: threads: round 0: rank 1 did not arrive before the deadline; all_gather waited "));
  }
  CHECK(seconds_since(start) < limit + margin);
}

TEST_CASE("threads: ranks in different rounds are told apart") {
  auto const seen = toy::on_each_rank(2, [](threads transport) {
    auto const rank = static_cast<std::uint64_t>(transport.rank());
    auto pending = transport.all_gather({cpp{}.allocate_wire(16), {}}, {rank, 0});
    auto const arrived = pending.wait(deadline_after(60));
    return arrived ? std::string("no error") : arrived.error().message;
  });
  for (std::string const& said : seen) {
    bool const expected =
        said.find("started another exchange (round 1, 16 bytes) than the ranks before it (round 0, 16 bytes)") !=
            std::string::npos ||
        said.find("started another exchange (round 0, 16 bytes) than the ranks before it (round 1, 16 bytes)") !=
            std::string::npos;
    CHECK(expected);
  }
}

TEST_CASE("threads: a slow reader holds back who wants its buffers again") {
  std::barrier waited(2);
  auto const seen = toy::on_each_rank(2, [&](threads transport) {
    auto pending = transport.all_gather({cpp{}.allocate_wire(16), {}}, {0, 0});
    auto arrived = pending.wait(deadline_after(60));
    if (!arrived) return toy::outcome_of(arrived);
    if (transport.rank() == 1) waited.arrive_and_wait();
    arrived->done();
    auto const back = std::move(*arrived).reclaim(deadline_after(0.5));
    if (transport.rank() == 0) waited.arrive_and_wait();
    return toy::outcome_of(back);
  });
  CHECK(toy::sentence(seen[0]).starts_with(
      "diloco: threads: round 0: rank 1 still reads this rank's part of it; all_gather waited "));
  CHECK(seen[0]->what == cause::timeout);
  CHECK(toy::sentence(seen[1]) == "no error");
}

TEST_CASE("threads: a rank that lands a deadline later than the others: nobody commits, and all are told") {
  std::barrier gave_up(2);
  auto const seen = toy::on_each_rank(2, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m({700});
    auto t = make(std::move(transport), pattern::gather, m, 0.5);
    t.step(m.gradients(rank, 0));
    auto const before = t.digest();
    auto flight = t.launch();
    if (rank == 1) gave_up.arrive_and_wait();
    auto const landed = t.try_land(std::move(flight));
    if (rank == 0) gave_up.arrive_and_wait();
    return std::tuple{toy::sentence(toy::outcome_of(landed)), t.digest() == before, t.rounds()};
  });
  for (auto const& [said, unchanged, rounds] : seen) {
    CHECK(said.starts_with(
        "diloco: threads: round 0: rank 1 did not arrive before the deadline; all_gather waited "));
    CHECK(unchanged);
    CHECK(rounds == 0);
  }
}
