// SPDX-License-Identifier: Apache-2.0
// Making the transport over MPI has a deadline and names the missing rank. A world of one must be asked for,
// whatever the launcher's variables say.
#include "support/mpi_world.hpp"
#include "support/toy.hpp"

#include <doctest/doctest.h>
#include <diloco/transport/mpi.hpp>

#include <chrono>
#include <cstdlib>
#include <thread>

using namespace diloco;

namespace {

using settings = std::vector<std::pair<char const*, char const*>>;

/// Sets a launcher's environment variables and clears those of the launcher that started this test.
class environment {
 public:
  explicit environment(settings const& changed) {
    for (char const* const name : all) {
      char const* const text = std::getenv(name);
      before_.emplace_back(text == nullptr ? std::nullopt : std::optional<std::string>(text));
      ::unsetenv(name);
    }
    for (auto const& [name, text] : changed) ::setenv(name, text, 1);
  }
  ~environment() {
    for (std::size_t i = 0; i < before_.size(); ++i)
      before_[i] ? ::setenv(all[i], before_[i]->c_str(), 1) : ::unsetenv(all[i]);
  }
  environment(environment const&) = delete;
  environment& operator=(environment const&) = delete;

 private:
  static constexpr char const* all[] = {"OMPI_COMM_WORLD_SIZE",
                                        "OMPI_COMM_WORLD_RANK",
                                        "MV2_COMM_WORLD_SIZE",
                                        "MV2_COMM_WORLD_RANK",
                                        "MVP_COMM_WORLD_SIZE",
                                        "MVP_COMM_WORLD_RANK",
                                        "PMI_SIZE",
                                        "PMI_RANK",
                                        "PMIX_SIZE",
                                        "PMIX_RANK",
                                        "WORLD_SIZE",
                                        "RANK",
                                        "LOCAL_RANK",
                                        "SLURM_NTASKS",
                                        "SLURM_NPROCS",
                                        "SLURM_STEP_NUM_TASKS",
                                        "SLURM_PROCID",
                                        "SLURM_STEP_ID",
                                        "ENVIRONMENT"};
  std::vector<std::optional<std::string>> before_;
};

/// This rank's error message if it cannot make its transport, or "made".
template <class... Arguments>
std::string made(Arguments... arguments) {
  auto const t = mpi::make(arguments...);
  return t ? say({"made ", t->size()}) : t.error().message;
}
std::string refusal(char const* variable, int value, bool is_rank = false) {
  return say({"diloco: mpi: ", variable, " = ", value, " promises ", is_rank ? "at least " : "",
              is_rank ? value + 1 : value,
              " ranks and MPI_COMM_WORLD has 1; start the program with the launcher of the MPI that it is "
              "linked with, or "
              "ask for a world of one by mpi(world, 1)"});
}

}  // namespace

TEST_CASE("mpi: a late rank costs the others one deadline, and is named") {
  int const rank = world_rank(), size = world_size();
  constexpr double limit = 0.5, margin = 4.0;
  if (size == 1) return;
  for (bool const two : {false, true}) {
    if (two && size < 4) continue;
    MPI_Comm all = MPI_COMM_NULL;
    MPI_Comm_dup(MPI_COMM_WORLD, &all);
    MPI_Barrier(MPI_COMM_WORLD);
    auto const start = std::chrono::steady_clock::now();
    bool const late = rank == size - 1 || (two && rank == 1);
    if (late) std::this_thread::sleep_for(std::chrono::duration<double>(2.5 * limit));
    auto const t = mpi::make(all, mpi::as_launched, late ? 1.0 : limit);
    double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (!late) {
      REQUIRE_FALSE(t);
      CHECK(t.error().message.starts_with(
          say({"diloco: mpi: ", two ? "ranks 1 and 3" : say({"rank ", size - 1}),
               " did not make the transport before the deadline; MPI_Comm_idup waited 0."})));
      CHECK(t.error().message.ends_with(" s of 0.5 s"));
      CHECK(t.error().what == cause::timeout);
      CHECK(t.error().rank == rank);
      CHECK(seconds >= limit);
      CHECK(seconds < limit + margin);
    }
    MPI_Barrier(MPI_COMM_WORLD);
  }
}

TEST_CASE("mpi: destroying a transport waits for nobody") {
  int const rank = world_rank(), size = world_size();
  auto t = std::make_unique<mpi>(MPI_COMM_WORLD);
  MPI_Barrier(MPI_COMM_WORLD);
  auto const start = std::chrono::steady_clock::now();
  if (rank == size - 1 && size > 1) std::this_thread::sleep_for(std::chrono::milliseconds(600));
  t.reset();
  if (rank != size - 1)
    CHECK(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < 0.5);
  MPI_Barrier(MPI_COMM_WORLD);
}

TEST_CASE("mpi: the expected size, and settings that make no sense") {
  int const size = world_size();
  std::string const start = "diloco: mpi: ";
  CHECK(made(MPI_COMM_WORLD) == say({"made ", size}));
  CHECK(made(MPI_COMM_WORLD, size) == say({"made ", size}));
  CHECK(made(MPI_COMM_WORLD, size, 20.0) == say({"made ", size}));
  CHECK(made(MPI_COMM_SELF) == "made 1");
  CHECK(made(MPI_COMM_SELF, 1) == "made 1");
  CHECK(made(MPI_COMM_WORLD, size + 1) ==
        start +
            say({"expected_size = ", size + 1, " and the communicator has ", size,
                 size == 1 ? " rank" : " ranks",
                 "; start as many processes, with the launcher of the MPI that the program is linked with"}));
  CHECK_THROWS_AS(mpi(MPI_COMM_WORLD, size + 3), exception);
  for (int const none : {0, -2}) {
    CHECK(made(MPI_COMM_WORLD, none) ==
          start + say({"expected_size = ", none,
                       " is no world; say how many ranks there are, and 1 for one that is alone"}));
  }
  CHECK(made(MPI_COMM_WORLD, size, 0.0) == start + "deadline_seconds = 0 must be in (0, 1e9)");
  CHECK(made(MPI_COMM_WORLD, size, std::numeric_limits<double>::quiet_NaN()) ==
        start + "deadline_seconds = nan must be in (0, 1e9)");
  CHECK(made(MPI_COMM_NULL) == start + "the communicator is MPI_COMM_NULL; give one that this process is in");
  if (size == 1) return;
  MPI_Comm part = MPI_COMM_NULL, between = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, world_rank() % 2, 0, &part);
  CHECK(made(part) == say({"made ", size / 2}));
  MPI_Intercomm_create(part, 0, MPI_COMM_WORLD, 1 - world_rank() % 2, 0, &between);
  CHECK(made(between) ==
        start + "the communicator is an inter-communicator; merge it by MPI_Intercomm_merge");
  MPI_Comm_free(&between);
  MPI_Comm_free(&part);
  static_assert(!std::is_constructible_v<mpi, MPI_Comm, double>,
                "a deadline in the place of a number of ranks");
}

TEST_CASE("mpi: a launcher that promised more than a world of one is named") {
  int const size = world_size();
  for (char const* const name :
       {"OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "MVP_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_SIZE"}) {
    environment const e(settings{{name, "4"}});
    CHECK(made(MPI_COMM_WORLD) == (size == 1 ? refusal(name, 4) : say({"made ", size})));
    CHECK(made(MPI_COMM_WORLD, size) == say({"made ", size}));  // asked for
    CHECK(made(MPI_COMM_SELF) == "made 1");
  }
  if (size > 1) return;
  for (char const* const name :
       {"OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "MVP_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"}) {
    environment const third(settings{{name, "3"}});
    CHECK(made(MPI_COMM_WORLD) == refusal(name, 3, true));
  }
  auto const under = [](settings const& s) {
    environment const e(s);
    return made(MPI_COMM_WORLD);
  };
  // torchrun, and a WORLD_SIZE that another program set
  CHECK(under({{"WORLD_SIZE", "8"}, {"RANK", "0"}}) == refusal("WORLD_SIZE", 8));
  CHECK(under({{"WORLD_SIZE", "8"}, {"LOCAL_RANK", "0"}}) == refusal("WORLD_SIZE", 8));
  CHECK(under({{"WORLD_SIZE", "8"}}) == "made 1");
  CHECK(under({{"RANK", "2"}}) == refusal("RANK", 2, true));
  // Slurm: a step's task, the batch script, a shell of salloc
  CHECK(under({{"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}}) ==
        refusal("SLURM_STEP_NUM_TASKS", 4));
  CHECK(under({{"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}}) == refusal("SLURM_NTASKS", 4));
  CHECK(under({{"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "1"}}) == refusal("SLURM_NTASKS", 4));
  CHECK(under({{"SLURM_PROCID", "1"}}) == refusal("SLURM_PROCID", 1, true));
  CHECK(under({{"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}, {"ENVIRONMENT", "BATCH"}}) == "made 1");
  CHECK(
      under(
          {{"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}, {"ENVIRONMENT", "BATCH"}, {"SLURM_STEP_ID", "0"}}) ==
      refusal("SLURM_NTASKS", 4));
  CHECK(under({{"SLURM_NTASKS", "4"}}) == "made 1");
  CHECK(under({{"SLURM_STEP_NUM_TASKS", "1"}, {"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}}) == "made 1");
  // The inner launcher's variables take precedence.
  CHECK(under({{"OMPI_COMM_WORLD_SIZE", "1"}, {"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_PROCID", "2"}}) ==
        "made 1");
  // A world of one under every launcher, and values that are not numbers
  for (char const* const one : {"1", "", "four", "-4", "0", "99999999999999999999"}) {
    CHECK(under({{"PMI_SIZE", one}}) == "made 1");
    CHECK(under({{"OMPI_COMM_WORLD_SIZE", one}}) == "made 1");
  }
  MPI_Comm same = MPI_COMM_NULL;
  MPI_Comm_dup(MPI_COMM_WORLD, &same);
  environment const four(settings{{"PMI_SIZE", "4"}});
  CHECK(made(same) == refusal("PMI_SIZE", 4));
  CHECK(made(same, 1) == "made 1");
  MPI_Comm_free(&same);
}

TEST_CASE("making the transport: a rank that asks for what is not there is heard by the others at once") {
  if (world_size() < 2) return;
  auto const from = std::chrono::steady_clock::now();
  auto const made = mpi::make(MPI_COMM_WORLD, world_rank() == 1 ? 77 : mpi::as_launched, 30);
  REQUIRE_FALSE(made);
  if (world_rank() == 1)
    CHECK(made.error().message.find("expected_size = 77") != std::string::npos);
  else
    CHECK(made.error().message == "diloco: mpi: rank 1 refused to make the transport; look at its own error");
  CHECK(std::chrono::steady_clock::now() - from < std::chrono::seconds(15));
}
