// SPDX-License-Identifier: Apache-2.0
// transport/nccl.hpp over NCCL itself. The test starts two and four processes of its own program, over
// sockets and over files. They share one GPU, or have one each if there are enough.
// Each gathers, exchanges and pairs bytes in device and pinned memory and checks them. Then one is late, and
// the others must get an error in time and end.
#include "support/placed.hpp"

#include <diloco/diloco.hpp>
#include <diloco/executor/cuda.cuh>
#include <diloco/transport/nccl.hpp>

#include <doctest/doctest.h>

#include <spawn.h>
#include <sys/wait.h>

#include <filesystem>
#include <map>

extern char** environ;

namespace {

using namespace diloco;

deadline soon(double seconds = 60) { return deadline_after(seconds); }
std::uint32_t word(int from, int to, std::uint64_t round, std::size_t i) {
  return static_cast<std::uint32_t>(mix64(static_cast<std::uint64_t>(from * 64 + to), round * 1000003 + i));
}

/// Stores its input some time after its launch. An exchange that does not wait for it sends other bytes.
__global__ void late_copy(std::uint32_t* to, std::uint32_t const* from, std::size_t n) {
  for (long long const start = clock64(); clock64() - start < 10000000;) {
  }
  for (std::size_t i = threadIdx.x; i < n; i += blockDim.x) to[i] = from[i];
}

struct end_of_rank {
  nccl transport;
  cuda_stream executor;
  bool pinned = false;
  std::vector<buffer> staged{};  // read by the stream, so kept until the exchange is over
  int unfinished = 0;            // exchanges that began before their bytes were written

  [[nodiscard]] buffer get(std::size_t bytes) const {
    return pinned ? executor.allocate_wire(bytes) : executor.allocate(bytes);
  }
  /// `slots` of n words each for the exchange. The executor's stream writes them, possibly after NCCL has
  /// been called.
  wires message(int slots, int receive, std::size_t n, std::uint64_t round) {
    std::vector<std::uint32_t> said;
    for (int r = 0; r < slots; ++r) {
      for (std::size_t i = 0; i < n; ++i)
        said.push_back(word(transport.rank(), slots == 1 ? 0 : r, round, i));
    }
    wires w{get(4 * said.size()), get(4 * n * static_cast<std::size_t>(receive))};
    staged.push_back(executor.allocate(4 * said.size()));
    cudaMemcpyAsync(staged.back().data(), said.data(), 4 * said.size(), cudaMemcpyDefault, executor.stream);
    late_copy<<<1, 256, 0, executor.stream>>>(w.send.as<std::uint32_t>(), staged.back().as<std::uint32_t>(),
                                              said.size());
    CHECK(cudaGetLastError() == cudaSuccess);
    transport.after(executor);
    unfinished += cudaStreamQuery(executor.stream) == cudaErrorNotReady;
    return w;
  }
  void check(std::span<std::byte const> wire, int from, int to, std::size_t n, std::uint64_t round) {
    std::vector<std::uint32_t> heard(n), expected(n);
    REQUIRE(wire.size() == 4 * n);
    REQUIRE(cudaMemcpy(heard.data(), wire.data(), 4 * n, cudaMemcpyDefault) == cudaSuccess);
    for (std::size_t i = 0; i < n; ++i) expected[i] = word(from, to, round, i);
    REQUIRE(heard == expected);
  }
  void rounds() {
    int const rank = transport.rank(), ranks = transport.size();
    for (std::uint64_t round = 0; round < 12; ++round) {
      std::size_t const n = round % 4 == 3 ? 300004 : 2 + 2 * round;
      auto gathered = transport.all_gather(message(1, ranks, n, round), {round, 0}).wait(soon());
      REQUIRE_MESSAGE(gathered, gathered.error().message);
      for (int k = 0; k < ranks; ++k) check(gathered->message(k), k, 0, n, round);
      auto cut = transport.all_to_all(message(ranks, ranks, n, round), {round, 1}).wait(soon());
      REQUIRE_MESSAGE(cut, cut.error().message);
      for (int k = 0; k < ranks; ++k) check(cut->message(k), k, rank, n, round);
      int const partner = gossip{5}.partner(round, rank, ranks);
      auto paired = transport.exchange(message(1, 1, n, round), partner, {round, 2}).wait(soon());
      REQUIRE_MESSAGE(paired, paired.error().message);
      auto const pair = paired->roster();
      for (std::size_t k = 0; k < pair.size(); ++k)
        check(paired->message(static_cast<int>(k)), pair[k], 0, n, round);
      staged.clear();
    }
    auto first = transport.all_gather(message(1, ranks, 1000, 50), {50, 0});  // two in flight
    auto second = transport.all_gather(message(1, ranks, 10, 51), {51, 0});
    auto const later = second.wait(soon()), sooner = first.wait(soon());
    REQUIRE(later);
    REQUIRE(sooner);
    for (int k = 0; k < ranks; ++k) check(sooner->message(k), k, 0, 1000, 50);
    for (int k = 0; k < ranks; ++k) check(later->message(k), k, 0, 10, 51);
    staged.clear();
    CHECK(unfinished > 0);  // otherwise nothing was shown about `after`
  }
  void one_is_late() {
    if (transport.rank() == transport.size() - 1) {
      std::this_thread::sleep_for(std::chrono::seconds(6));
      return;
    }
    auto const start = std::chrono::steady_clock::now();
    auto const missed = transport.all_gather(message(1, transport.size(), 1000, 99), {99, 0}).wait(soon(1));
    double const took = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    REQUIRE_FALSE(missed);
    CHECK(
        missed.error().message.starts_with("diloco: nccl: round 99 phase 0: not every rank arrived before "
                                           "the deadline (NCCL does not tell which); "
                                           "all_gather waited 1"));
    CHECK(missed.error().what == cause::timeout);
    CHECK(took >= 1);
    CHECK(took < 1 + nccl::give_up_seconds + 1);
    CHECK_FALSE(transport.all_gather(message(1, transport.size(), 10, 100), {100, 0}).wait(soon(1)));
    CHECK(cudaDeviceSynchronize() == cudaSuccess);  // no kernel is left that waits forever
  }
};

/// Digests of one worker's anchor after each of eight steps, with a round in every second step.
template <class Outer, class Exchange, class Transport, class Executor>
std::vector<std::uint64_t> digests(Transport transport, Executor where, Exchange exchange) {
  int const rank = transport.rank();
  placed<Executor> p(where, {1, 255, 4097, 9000}, true);
  DiLoCo<adamw, Outer, absmax<4>, Transport, error_feedback, weighted_mean, Exchange, every, Executor, silent>
      t({.exchange = exchange, .transport = std::move(transport), .schedule = every(2), .executor = where},
        p.parameters);
  std::vector<std::uint64_t> seen;
  for (long step = 0; step < 8; ++step) {
    t.step(p.at(rank, step), {.tokens = 1.0 + rank});
    seen.push_back(t.digest());
  }
  return seen;
}

/// Whole rounds over NCCL have the bits of rounds over host threads.
template <class Outer, class Exchange>
void check_rounds(nccl const& transport, cuda_stream const& executor, Exchange exchange) {
  CAPTURE(Exchange::name);
  auto const host = toy::on_each_rank(
      transport.size(), [&](threads t) { return digests<Outer>(std::move(t), cpp{}, exchange); });
  CHECK(digests<Outer>(transport, executor, exchange) == host[static_cast<std::size_t>(transport.rank())]);
}

std::string variable(char const* name) { return std::getenv(name) == nullptr ? "" : std::getenv(name); }

/// Starts this program again as one rank.
pid_t start(std::map<std::string, std::string> variables) {
  std::string filter = "--test-case=one rank of a world", all = "--no-skip", self = "/proc/self/exe";
  std::vector<std::string> texts;
  for (char** e = environ; *e != nullptr; ++e) {
    if (std::string const one = *e; !variables.contains(one.substr(0, one.find('=')))) texts.push_back(one);
  }
  for (auto const& [name, text] : variables) texts.push_back(name + "=" + text);
  std::vector<char*> environment;
  for (auto& t : texts) environment.push_back(t.data());
  environment.push_back(nullptr);
  char* const arguments[] = {self.data(), filter.data(), all.data(), nullptr};
  pid_t child = -1;
  REQUIRE(posix_spawn(&child, self.c_str(), nullptr, nullptr, arguments, environment.data()) == 0);
  return child;
}

std::filesystem::path meeting_place() {
  return std::filesystem::temp_directory_path() / ("diloco_nccl_" + std::to_string(::getpid()));
}

void run_world(int ranks, bool by_files, bool on_one_gpu, int port) {
  std::vector<pid_t> children;
  for (int rank = 0; rank < ranks; ++rank) {
    children.push_back(start({{"RANK", std::to_string(rank)},
                              {"WORLD_SIZE", std::to_string(ranks)},
                              {"MASTER_ADDR", "127.0.0.1"},
                              {"MASTER_PORT", std::to_string(port)},
                              {"TEST_FILE", by_files ? meeting_place().string() : ""},
                              {"TEST_DEVICE", std::to_string(on_one_gpu ? 0 : rank)},
                              {"NCCL_HOSTID", on_one_gpu ? "rank" + std::to_string(rank) : "one"}}));
  }
  for (pid_t const child : children) {
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
  }
}

}  // namespace

TEST_CASE("one rank of a world" * doctest::skip() *
          doctest::description("skipped by itself: the case below runs it in a process for each rank")) {
  auto const store = tcp_store::from_environment();
  REQUIRE(store);
  REQUIRE(cudaSetDevice(std::atoi(variable("TEST_DEVICE").c_str())) == cudaSuccess);
  cuda_stream executor;
  REQUIRE(cudaStreamCreateWithFlags(&executor.stream, cudaStreamNonBlocking) == cudaSuccess);
  std::string const file = variable("TEST_FILE");
  auto made =
      file.empty() ? nccl::make(*store) : nccl::make(file_store{store->rank, store->size, file, file});
  REQUIRE_MESSAGE(made, made.error().message);
  end_of_rank end{std::move(*made), executor};
  end.rounds();
  check_rounds<nesterov>(end.transport, executor, gather{});
  check_rounds<nesterov>(end.transport, executor, scatter_gather{});
  check_rounds<noloco>(end.transport, executor, gossip{3});
  end.pinned = true;
  end.rounds();
  end.pinned = false;
  end.one_is_late();
}

TEST_CASE("nccl: worlds of processes") {
  int devices = 0;
  REQUIRE(cudaGetDeviceCount(&devices) == cudaSuccess);
  int port = 20000 + ::getpid() % 10000;
  for (int ranks : {2, 4}) {
    run_world(ranks, false, true, port++);
    run_world(ranks, true, true, port++);
    if (devices >= ranks) run_world(ranks, false, false, port++);
  }
}

TEST_CASE("nccl: a world of one") {
  cuda_stream executor;
  REQUIRE(cudaStreamCreateWithFlags(&executor.stream, cudaStreamNonBlocking) == cudaSuccess);
  end_of_rank end{nccl(tcp_store{.rank = 0, .size = 1}), executor};
  end.rounds();
}
