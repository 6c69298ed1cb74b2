// SPDX-License-Identifier: Apache-2.0
// One rank of run.py: one step, one round in which one rank is killed or stopped, and one round more. Prints what it saw as
// one line of JSON. It does not call MPI_Finalize, which would wait for the rank that is gone.
//
// usage: rank VICTIM MICROSECONDS DEADLINES ELEMENTS gather|scatter_gather
//   The victim's process stops so many microseconds after the round began: for so many deadlines, or for ever by SIGKILL
//   where DEADLINES is 0.
#include "support/mpi_world.hpp"
#include "support/toy.hpp"

#include <diloco/transport/mpi.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace diloco;

namespace {

constexpr double limit = 0.3;

/// A child that will stop its parent: a thread would be stopped with it. It waits for a byte in `starts`.
struct child {
  pid_t process = 0;
  int starts = -1;
};

child fork_stopper(int microseconds, double deadlines) {
  pid_t const parent = getpid();
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) std::abort();
  pid_t const process = fork();
  if (process != 0) return {process, ends[1]};
  char byte = 0;
  if (read(ends[0], &byte, 1) != 1) _exit(1);
  usleep(static_cast<useconds_t>(microseconds));
  kill(parent, deadlines == 0 ? SIGKILL : SIGSTOP);
  if (deadlines == 0) _exit(0);
  usleep(static_cast<useconds_t>(deadlines * limit * 1e6));
  kill(parent, SIGCONT);
  _exit(0);
}

std::string quoted(std::string const& text) {
  std::string s = "\"";
  for (char const c : text) {
    if (c == '"' || c == '\\') s += '\\';
    s += c;
  }
  return s + '"';
}

}  // namespace

int main(int count, char** words) {
  int provided = 0;
  MPI_Init_thread(&count, &words, MPI_THREAD_MULTIPLE, &provided);
  if (count != 6) return 2;
  int const victim = std::atoi(words[1]), microseconds = std::atoi(words[2]), rank = world_rank();
  double const deadlines = std::atof(words[3]);
  bool const two_legs = std::string_view(words[5]) == "scatter_gather";
  toy::model m({static_cast<std::size_t>(std::atol(words[4]))});
  toy::trainer_of<sgd, nesterov, absmax<8>, mpi> t(
      {.exchange = {two_legs ? pattern::scatter_gather : pattern::gather},
       .transport = mpi(MPI_COMM_WORLD),
       .schedule = every(1000),
       .deadline_seconds = limit},
      m.parameters());
  t.step(m.gradients(rank, 0));
  child const stopper = rank == victim ? fork_stopper(microseconds, deadlines) : child{};
  MPI_Barrier(MPI_COMM_WORLD);
  if (rank == victim && write(stopper.starts, "", 1) != 1) std::abort();

  auto const round = t.try_sync();
  std::uint64_t const digest = t.digest();
  std::string next = round ? "" : "not tried";
  if (round) {
    auto const stepped = t.try_step(m.gradients(rank, 1));
    auto const second = stepped ? t.try_sync() : stepped;
    next = second ? "" : second.error().message;
  }
  std::printf("{\"rank\": %d, \"digest\": \"%016llx\", \"committed\": %s, \"error\": %s, \"next_error\": %s}\n", rank,
              static_cast<unsigned long long>(digest), round ? "true" : "false",
              quoted(round ? "" : round.error().message).c_str(), quoted(next).c_str());
  std::fflush(stdout);
  if (rank == victim && deadlines == 0) pause();
  if (rank == victim) waitpid(stopper.process, nullptr, 0);
  // Peers may still read what this rank posted in shared memory.
  std::this_thread::sleep_for(std::chrono::duration<double>(2 * limit));
  _exit(0);
}
