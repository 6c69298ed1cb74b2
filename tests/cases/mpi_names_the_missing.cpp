// SPDX-License-Identifier: Apache-2.0
// A missed deadline over MPI names the missing rank. A rank in another exchange is named before the deadline.
// Each case makes its own transports, because the communicator is lost with the exchange.
#include "support/mpi_world.hpp"
#include "support/toy.hpp"

#include <doctest/doctest.h>
#include <diloco/transport/mpi.hpp>
#include <diloco/transport/with/counted.hpp>

#include <algorithm>
#include <chrono>
#include <thread>

using namespace diloco;

namespace {

constexpr double limit = 0.25, margin = 4.0;  // seconds; oversubscribed ranks wait long for a core

wires slots(std::size_t bytes = 48) {
  auto const n = static_cast<std::size_t>(world_size());
  return {cpp{}.allocate_wire(bytes * n), cpp{}.allocate_wire(bytes * n)};
}
wires slot(std::size_t bytes = 48) {
  return {cpp{}.allocate_wire(bytes), cpp{}.allocate_wire(bytes * static_cast<std::size_t>(world_size()))};
}
void sleep_for(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

/// The result of an exchange, and the time it took.
struct outcome {
  std::optional<error> failed;
  double seconds = 0;
};
outcome end_of(mpi::pending p, double seconds) {
  auto const start = std::chrono::steady_clock::now();
  auto const arrived = p.wait(deadline_after(seconds));
  outcome o;
  o.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!arrived) o.failed = arrived.error();
  return o;
}
mpi::pending start(mpi& t, int operation, exchange_tag tag, std::size_t bytes = 48) {
  if (operation == 0) return t.all_gather(slot(bytes), tag);
  if (operation == 1) return t.all_to_all(slots(bytes), tag);
  return t.exchange(slot(bytes), t.rank() ^ 1, tag);
}
constexpr char const* names[] = {"all_gather", "all_to_all", "exchange"};

}  // namespace

TEST_CASE("mpi: who is missing is named, with operation, round, elapsed time and deadline") {
  int const rank = world_rank(), size = world_size();
  if (size == 1) return;
  for (int const operation : {0, 1, 2}) {
    for (std::size_t const bytes :
         {std::size_t{48}, std::size_t{1} << 20}) {  // sent eagerly, and by rendezvous
      CAPTURE(operation);
      CAPTURE(bytes);
      if (operation == 1 && bytes > 48) continue;
      mpi t(MPI_COMM_WORLD);
      MPI_Barrier(MPI_COMM_WORLD);
      if (rank == size - 1 || (rank == 1 && operation < 2)) {  // these come when the others have given up
        sleep_for(2 * limit);
        auto const late = end_of(start(t, operation, {7, 1}, bytes), limit);
        CHECK(late.seconds < limit + margin);
        if (late.failed) CHECK(late.failed->what == cause::timeout);
      } else {
        auto const seen = end_of(start(t, operation, {7, 1}, bytes), limit);
        int const partner = rank ^ 1;
        if (operation == 2 && partner != size - 1) {
          CHECK_FALSE(seen.failed);
        } else {
          REQUIRE(seen.failed);
          std::string const missing = operation < 2 && size == 4 ? "ranks 1 and 3" : say({"rank ", size - 1});
          CHECK(seen.failed->message.starts_with(
              say({"diloco: mpi: round 7 phase 1: ", missing, " did not arrive before the deadline; ",
                   names[operation], " waited 0."})));
          CHECK(seen.failed->message.ends_with(" s of 0.25 s"));
          CHECK(seen.failed->what == cause::timeout);
          CHECK(seen.failed->rank == rank);
          CHECK(seen.failed->round == 7);
          CHECK(seen.seconds >= limit);
          CHECK(seen.seconds < limit + margin);
        }
      }
      MPI_Barrier(MPI_COMM_WORLD);
    }
  }
}

TEST_CASE("mpi: a rank in another round, phase, operation or size is named before the deadline") {
  int const rank = world_rank(), size = world_size(), odd = size - 1;
  if (size == 1) return;
  struct change {
    exchange_tag tag;
    int operation;
    std::size_t bytes;
  };
  change const usual{{7, 1}, 0, 48};
  for (change const& other :
       {change{{8, 1}, 0, 48}, change{{6, 1}, 0, 48}, change{{0, 1}, 0, 48}, change{{7, 0}, 0, 48},
        change{{7, 11}, 0, 48}, change{{7, 1}, 1, 48}, change{{7, 1}, 2, 48},
        change{{std::uint64_t{1} << 20, 1}, 0, 48}, change{{9, 1}, 0, 96}, change{{7, 1}, 0, 32},
        change{{7, 1}, 0, 64}, change{{7, 1}, 0, 1 << 20}}) {
    CAPTURE(other.tag.round);
    CAPTURE(other.tag.phase);
    CAPTURE(other.operation);
    CAPTURE(other.bytes);
    mpi t(MPI_COMM_WORLD);
    change const& mine = rank == odd ? other : usual;
    change const& theirs = rank == odd ? usual : other;
    auto const seen = end_of(start(t, mine.operation, mine.tag, mine.bytes), other.operation == 2 ? 0.5 : 20);
    auto const text = [&](change const& c) {
      return say({names[c.operation], " of round ", c.tag.round, " phase ", c.tag.phase});
    };
    bool const partner_of_odd = rank == odd || rank == (odd ^ 1);
    // it waits for the odd rank, whose message went to another exchange
    if (other.operation == 2 && !partner_of_odd) {
      REQUIRE(seen.failed);
    } else if (other.bytes != usual.bytes && other.tag == usual.tag) {
      REQUIRE(seen.failed);
      CHECK(seen.failed->message.starts_with(say({"diloco: mpi: round 7 phase 1: rank "})));
      CHECK(seen.failed->message.ends_with(
          say({" sent ", theirs.bytes, " bytes and rank ", rank, " waits for ", mine.bytes,
               " in all_gather; every rank must make the same calls in the same order"})));
      if (rank != odd) CHECK(seen.failed->message.find(say({": rank ", odd, " sent"})) != std::string::npos);
    } else {
      REQUIRE(seen.failed);
      CHECK(seen.failed->message.starts_with(
          say({"diloco: mpi: round ", mine.tag.round, " phase ", mine.tag.phase, ": rank "})));
      if (rank != odd)
        CHECK(seen.failed->message.find(say({": rank ", odd, " is in "})) != std::string::npos);
      CHECK(
          seen.failed->message.ends_with(say({" is in ", text(theirs), " and rank ", rank, " in ", text(mine),
                                              "; every rank must make the same calls in the same order"})));
    }
    CHECK(seen.failed->what ==
          (other.operation == 2 && !partner_of_odd ? cause::timeout : cause::disagreement));
    CHECK(seen.failed->rank == rank);
    MPI_Barrier(MPI_COMM_WORLD);
  }
}

TEST_CASE("mpi: exchanges may be waited for in any order, dropped, moved, and are over after a failure") {
  int const rank = world_rank(), size = world_size();
  {
    mpi t(MPI_COMM_WORLD);
    auto a = t.all_gather(slot(), {0, 0});
    auto b = t.all_to_all(slots(), {0, 1});
    auto c = t.exchange(slot(), rank, {0, 2});
    CHECK(c.wait(deadline_after(20)));
    CHECK(b.wait(deadline_after(20)));
    a = t.all_gather(slot(), {0, 3});  // the first is dropped in flight
    CHECK(a.wait(deadline_after(20)));
    CHECK_THROWS_WITH_AS(
        (void)t.exchange(slot(), size, {3, 0}),
        say({"diloco: mpi: round 3: there is no rank ", size, " in a world of ", size}).c_str(), exception);
    CHECK_THROWS_WITH_AS((void)t.exchange(slot(), -1, {3, 0}),
                         say({"diloco: mpi: round 3: there is no rank -1 in a world of ", size}).c_str(),
                         exception);
    counted watched(std::move(t));
    CHECK_THROWS_AS((void)watched.exchange(slot(), size, {3, 0}), exception);
    CHECK_THROWS_AS((void)watched.all_gather({cpp{}.allocate_wire(20), {}}, {3, 0}), exception);
    CHECK_THROWS_WITH_AS(
        (void)watched.all_gather({cpp{}.allocate_wire(48), cpp{}.allocate_wire(32)}, {3, 1}),
        say({"diloco: mpi: round 3 phase 1: the buffer to receive in has 32 bytes and needs ", 48 * size})
            .c_str(),
        exception);
    CHECK(watched.operations() == 0);  // a refused exchange is not counted
    CHECK(watched.sent_bytes() == 0);
    CHECK(watched.all_gather(slot(), {4, 0}).wait(deadline_after(20)));
    CHECK(watched.operations() == 1);
  }
  MPI_Barrier(MPI_COMM_WORLD);
}

TEST_CASE("mpi: rounds far beyond the bits of a tag") {
  mpi t(MPI_COMM_WORLD);
  for (std::uint64_t const round : {std::uint64_t{1} << 24, (std::uint64_t{1} << 25) - 1,
                                    std::uint64_t{1} << 25, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
    CHECK(t.all_gather(slot(), {round, 0}).wait(deadline_after(20)));
  }
  detail::mpi_tags tags(MPI_COMM_WORLD);
  for (std::uint64_t const most : {std::uint64_t{512}, tags.rounds}) {
    tags.rounds = most;
    for (std::uint64_t const near : {std::uint64_t{0}, std::uint64_t{5}, most - 1, most, 7 * most + 3}) {
      for (std::uint64_t const ahead : {0u, 1u, 100u}) {
        auto const other = detail::mpi_exchange{detail::mpi_exchange::scatter, {near + ahead, 11}};
        CHECK(tags.unpack(tags.pack(other), near).text() == other.text());
        auto const back = detail::mpi_exchange{detail::mpi_exchange::pair, {near - std::min(near, ahead), 2}};
        CHECK(tags.unpack(tags.pack(back), near).text() == back.text());
      }
    }
  }
}
