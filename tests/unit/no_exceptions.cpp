// SPDX-License-Identifier: Apache-2.0
// Compiled with -fno-exceptions. The `try_` functions suffice for a whole run, and `raise` prints the error
// message and aborts.
#include "support/toy.hpp"

#include <doctest/doctest.h>
#include <diloco/state/safetensors.hpp>

#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <limits>

static_assert(DILOCO_EXCEPTIONS == 0, "tests/CMakeLists.txt compiles this file with -fno-exceptions");

using namespace diloco;

namespace {

using trainer = toy::trainer_of<adamw, nesterov, absmax<8>, alone>;

/// What a child process that runs f writes to stderr, and the signal that ended it.
template <class F>
std::pair<std::string, int> dying(F&& f) {
  int ends[2];
  if (pipe(ends) != 0) return {"no pipe", 0};
  pid_t const child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    std::signal(SIGABRT, SIG_DFL);  // doctest's handler would report a crash of the whole run
    f();
    _exit(0);
  }
  close(ends[1]);
  std::string said;
  char buffer[256];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
    said.append(buffer, static_cast<std::size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return {said, WIFSIGNALED(status) ? WTERMSIG(status) : 0};
}

}  // namespace

TEST_CASE("without exceptions: make, step, launch, land and sync") {
  toy::model m({5, 300});
  auto made = trainer::make({.exchange = {}, .transport = alone{}, .schedule = every(2)}, m.parameters());
  CHECK(made.has_value());
  if (!made) return;
  trainer& t = *made;
  for (int step = 0; step < 4; ++step) CHECK(t.try_step(m.gradients(0, step)).has_value());
  CHECK(t.rounds() == 2);
  auto flight = t.try_launch();
  CHECK(flight.has_value());
  auto const second = t.try_launch();
  CHECK_FALSE(second.has_value());
  CHECK(second.error().message == "diloco: launch: round 2 is under way; land it first");
  // The round has no weight, because no step was taken since the last one.
  auto const landed = t.try_land(std::move(*flight));
  CHECK(landed.has_value() == false);
  CHECK(landed.error().what == cause::bad_setting);
  CHECK(t.try_step(m.gradients(0, 9)).has_value());
  CHECK(t.try_sync().has_value());
  CHECK(t.rounds() == 3);
}

TEST_CASE("without exceptions: errors are values") {
  toy::model m({5, 300});
  auto const bad =
      trainer::make({.exchange = {}, .transport = alone{}, .schedule = every(0)}, m.parameters());
  CHECK_FALSE(bad.has_value());
  CHECK(bad.error().message == "diloco: schedule every: inner_steps = 0 must be a number not below 1");
  auto made = trainer::make({.exchange = {}, .transport = alone{}, .schedule = every(2)}, m.parameters());
  CHECK(made.has_value());
  if (!made) return;
  auto& gradients = m.gradients(0, 0);
  gradients[1][7] = std::numeric_limits<float>::quiet_NaN();
  auto const stepped = made->try_step(gradients);
  CHECK_FALSE(stepped.has_value());
  CHECK(stepped.error().what == cause::not_finite);
}

TEST_CASE("without exceptions: a file that is none is a value") {
  auto const loaded = safetensors::load("/nowhere");
  CHECK_FALSE(loaded.has_value());
  CHECK(loaded.error().what == cause::bad_file);
  std::byte const bytes[3]{};
  auto const read = safetensors::read(bytes, "f");
  CHECK_FALSE(read.has_value());
  CHECK(read.error().message ==
        "diloco: safetensors 'f': its 3 bytes are too few for the length of a header; it was cut short: copy "
        "or write it "
        "again");
}

TEST_CASE("without exceptions: raise prints the sentence and aborts") {
  auto const [said, signal] = dying([] { raise({cause::timeout, 0, 0, "diloco: sample: too late"}); });
  CHECK(said == "diloco: sample: too late\n");
  CHECK(signal == SIGABRT);
  auto const [from_value, other_signal] = dying([] {
    toy::model m({5});
    trainer t({.exchange = {}, .transport = alone{}, .schedule = every(0)}, m.parameters());
  });
  CHECK(from_value == "diloco: schedule every: inner_steps = 0 must be a number not below 1\n");
  CHECK(other_signal == SIGABRT);
}
