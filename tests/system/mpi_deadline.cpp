// SPDX-License-Identifier: Apache-2.0
// A rank sleeps past the deadline. The others get an error in time, no rank hangs, and the program still ends
// with MPI_Finalize. It is a separate program, because the communicator is lost with the round.
#include "support/toy.hpp"

#include <doctest/doctest.h>
#include <diloco/transport/mpi.hpp>

#include <chrono>
#include <thread>

using namespace diloco;

TEST_CASE("mpi: a rank that is late costs the others one deadline") {
  int rank = 0, size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  constexpr double limit = 1.0, margin = 5.0;  // seconds; oversubscribed ranks wait long for a core
  int const late = size - 1;

  toy::model m({5, 700, 256});
  toy::trainer_of<adamw, nesterov, absmax<8>, mpi> t(
      {.exchange = {}, .transport = mpi(MPI_COMM_WORLD), .schedule = every(1000), .deadline_seconds = limit},
      m.parameters());
  t.step(m.gradients(rank, 0));
  auto const anchor = t.digest();
  if (size == 1) {
    CHECK(t.try_sync().has_value());  // a world of one waits for no rank
    return;
  }
  MPI_Barrier(MPI_COMM_WORLD);
  if (rank == late) {
    std::this_thread::sleep_for(std::chrono::duration<double>(2 * limit));
    // The peers' messages have arrived, and so have their votes to give up the round.
    auto const start = std::chrono::steady_clock::now();
    auto const landed = t.try_sync();
    CHECK(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < limit + margin);
    CHECK(toy::sentence(toy::outcome_of(landed)) ==
          "diloco: round 0: rank 0 refused the round, because a message did not arrive there before the "
          "deadline; the round is dropped on every rank and nothing was changed");
    CHECK(t.rounds() == 0);
    CHECK(t.digest() == anchor);
    return;
  }
  auto const start = std::chrono::steady_clock::now();
  auto const landed = t.try_sync();
  double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  REQUIRE_FALSE(landed);
  CHECK(
      landed.error().message.starts_with(say({"diloco: mpi: round 0 phase 0: rank ", late,
                                              " did not arrive before the deadline; all_gather waited 1"})));
  CHECK(landed.error().message.ends_with(" s of 1 s"));
  CHECK(landed.error().what == cause::timeout);
  CHECK(landed.error().rank == rank);
  CHECK(seconds >= limit);
  CHECK(seconds < limit + margin);
  CHECK(t.rounds() == 0);
  CHECK(t.digest() == anchor);
  CHECK(toy::sentence(toy::outcome_of(t.try_step(m.gradients(rank, 1)))) ==
        "diloco: this trainer cannot go on since: " + landed.error().message);
}
