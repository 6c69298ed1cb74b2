// SPDX-License-Identifier: Apache-2.0
// A rank is late by 0.9 to 3 deadlines, or is stopped for so long anywhere in its round. Either all members commit the round, or none does, or a member gave
// up while it waited for votes.
// In the last case its own error says so, and the next round of those who committed is an error, too. Two
// members never continue with different anchors.
#include "support/mpi_world.hpp"
#include "support/toy.hpp"

#include <doctest/doctest.h>
#include <diloco/transport/mpi.hpp>

#include <array>
#include <chrono>
#include <thread>

#include <signal.h>
#include <unistd.h>

using namespace diloco;

namespace {

constexpr double limit = 0.4;

/// Gathered on every rank: whether each rank committed and had its next round, and the digest of its anchor.
struct ending {
  std::vector<std::uint64_t> committed, went_on, digest;
};

/// Stops the process of another rank after some microseconds, and lets it go on later.
std::jthread stopping(int victim, int microseconds, double seconds) {
  std::int64_t const own = getpid();
  std::vector<std::int64_t> all(static_cast<std::size_t>(world_size()));
  MPI_Allgather(&own, 1, MPI_INT64_T, all.data(), 1, MPI_INT64_T, MPI_COMM_WORLD);
  if (world_size() == 1 || world_rank() != (victim + 1) % world_size()) return {};
  return std::jthread(
      [process = static_cast<pid_t>(all[static_cast<std::size_t>(victim)]), microseconds, seconds] {
        std::this_thread::sleep_for(std::chrono::microseconds(microseconds));
        kill(process, SIGSTOP);
        std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
        kill(process, SIGCONT);
      });
}

/// `stopped_after`: microseconds after the round begins; below 0, the rank sleeps before it.
ending trial(pattern exchange, std::size_t elements, int late, double deadlines, int stopped_after) {
  toy::model m({elements});
  toy::trainer_of<sgd, nesterov, absmax<8>, mpi> t({.exchange = {exchange},
                                                    .transport = mpi(MPI_COMM_WORLD),
                                                    .schedule = every(1000),
                                                    .deadline_seconds = limit},
                                                   m.parameters());
  t.step(m.gradients(world_rank(), 0));
  bool const sleeps = stopped_after < 0;
  MPI_Barrier(MPI_COMM_WORLD);
  std::jthread const stops = sleeps ? std::jthread() : stopping(late, stopped_after, deadlines * limit);
  if (sleeps && world_rank() == late)
    std::this_thread::sleep_for(std::chrono::duration<double>(deadlines * limit));
  bool const committed = t.try_sync().has_value();
  std::uint64_t const digest = t.digest();
  bool const stepped = t.try_step(m.gradients(world_rank(), 1)).has_value();
  bool const went_on = stepped && t.try_sync().has_value();
  std::array<std::uint64_t, 3> const mine{committed, went_on, digest};
  auto const size = static_cast<std::size_t>(world_size());
  std::vector<std::uint64_t> all(3 * size);
  MPI_Allgather(mine.data(), 3, MPI_UINT64_T, all.data(), 3, MPI_UINT64_T, MPI_COMM_WORLD);
  ending e;
  for (std::size_t r = 0; r < size; ++r) {
    e.committed.push_back(all[3 * r]);
    e.went_on.push_back(all[3 * r + 1]);
    e.digest.push_back(all[3 * r + 2]);
  }
  return e;
}

}  // namespace

TEST_CASE("mpi: a late rank splits nobody in silence") {
  int splits = 0, trials = 0;
  for (double const deadlines : {0.9, 1.0, 1.1, 3.0}) {
    for (int const way : {0, 1, 2, 3}) {
      pattern const exchange = toy::patterns[way % 2];
      int const stopped_after = way < 2 ? -1 : 30 * trials;
      std::size_t const elements = trials / 4 % 2 == 0 ? 256 : 300000;
      int const late = trials % world_size();
      trials += 1;
      ending const e = trial(exchange, elements, late, deadlines, stopped_after);
      CAPTURE(deadlines);
      CAPTURE(elements);
      bool split = false;
      for (std::size_t r = 1; r < e.digest.size(); ++r) split |= e.digest[r] != e.digest[0];
      splits += split ? 1 : 0;
      for (std::size_t r = 0; r < e.digest.size(); ++r) {
        CAPTURE(r);
        if (split) CHECK(e.went_on[r] == 0);
        CHECK((e.committed[r] == 1 || e.went_on[r] == 0));
      }
    }
  }
  if (world_rank() == 0) MESSAGE("members differed, and were told, in " << splits << " of " << trials);
}
