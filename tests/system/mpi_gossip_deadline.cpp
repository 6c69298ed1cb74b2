// SPDX-License-Identifier: Apache-2.0
// A rank sleeps past the deadline. Only its partner of the round is affected. It is a separate program,
// because the communicator is lost with the round.
#include "support/toy.hpp"

#include <doctest/doctest.h>
#include <diloco/transport/mpi.hpp>

#include <chrono>
#include <thread>

using namespace diloco;

TEST_CASE("mpi pairs: a rank that is late costs its partner one deadline, and the others nothing") {
  int rank = 0, size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  constexpr double limit = 1.0, margin = 5.0;  // seconds; oversubscribed ranks wait long for a core
  int const late = size - 1;

  toy::model m({5, 700, 256});
  DiLoCo<adamw, noloco, absmax<8>, mpi, error_feedback, weighted_mean, gossip, every> t(
      {.exchange = {}, .transport = mpi(MPI_COMM_WORLD), .schedule = every(1000), .deadline_seconds = limit},
      m.parameters());
  int const partner = gossip{}.partner(0, rank, size);
  CHECK((partner == rank) == (size == 1));
  t.step(m.gradients(rank, 0));
  auto const anchor = t.digest();
  MPI_Barrier(MPI_COMM_WORLD);
  auto const start = std::chrono::steady_clock::now();
  auto const seconds = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  if (rank == late && size > 1) {
    std::this_thread::sleep_for(std::chrono::duration<double>(2 * limit));
    auto const landed = t.try_sync();
    std::string const said = toy::sentence(toy::outcome_of(landed));
    CAPTURE(said);  // the partner gave up: it refuses, or no longer accepts this rank's part
    CHECK((said.find("refused the round, because a message did not arrive there before the deadline") !=
               std::string::npos ||
           said.find("did not take the part of rank") != std::string::npos));
    CHECK(seconds() < 3 * limit + margin);
    CHECK(t.rounds() == 0);
    CHECK(t.digest() == anchor);
    return;
  }
  auto const landed = t.try_sync();
  if (partner != late || size == 1) {
    CHECK(landed.has_value());
    CHECK(t.rounds() == 1);
    return;
  }
  CHECK(seconds() >= limit);
  CHECK(seconds() < limit + margin);
  REQUIRE_FALSE(landed);
  CHECK(landed.error().message.starts_with(say({"diloco: mpi: round 0 phase 0: rank ", late,
                                                " did not arrive before the deadline; exchange waited 1"})));
  CHECK(landed.error().what == cause::timeout);
  CHECK(landed.error().rank == rank);
  CHECK(t.rounds() == 0);
  CHECK(t.digest() == anchor);
  CHECK(toy::sentence(toy::outcome_of(t.try_step(m.gradients(rank, 1)))) ==
        "diloco: this trainer cannot go on since: " + landed.error().message);
}
