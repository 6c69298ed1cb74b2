// SPDX-License-Identifier: Apache-2.0
// Every transport of one process × every law. (MPI meets the same laws under mpirun: system/mpi_*.cpp.)
#include "support.hpp"

#include <atomic>
#include <cstring>
#include <thread>

namespace {

using namespace diloco;

wires message(std::size_t slots, std::uint32_t value) {
  wires w{cpp{}.allocate_wire(slots * 16), {}};
  for (std::size_t s = 0; s < slots; ++s) {
    w.send.as<std::uint32_t>()[4 * s] = value;
    w.send.as<std::uint32_t>()[4 * s + 1] = static_cast<std::uint32_t>(s);
  }
  return w;
}
std::uint32_t word(std::span<std::byte const> wire, std::size_t i) {
  std::uint32_t v;
  std::memcpy(&v, wire.data() + 4 * i, sizeof v);
  return v;
}
deadline soon(double seconds = 20) { return deadline_after(seconds); }

struct plain {
  static threads wrap(threads t) { return t; }
};
struct with_counts {
  static counted<threads> wrap(threads t) { return counted(std::move(t)); }
};

TEST_CASE_TEMPLATE_DEFINE("transport laws", Wrapped, transport_laws) {
  for (int workers : {1, 2, 4, 7}) {
    auto const n = static_cast<std::size_t>(workers);
    SUBCASE("wires come in rank order, from a roster that is the same everywhere") {
      run_threads(workers, [&](threads end) {
        auto transport = Wrapped::wrap(std::move(end));
        auto const rank = static_cast<std::uint32_t>(transport.rank());
        for (std::uint64_t round = 0; round < 30; ++round) {
          auto pending = transport.all_gather(message(1, rank * 1000 + static_cast<std::uint32_t>(round)), {round, 0});
          auto arrived = pending.wait(soon());
          REQUIRE(arrived);
          REQUIRE(arrived->roster().size() == n);
          for (std::size_t k = 0; k < n; ++k) {
            REQUIRE(arrived->roster()[k] == static_cast<int>(k));
            REQUIRE(arrived->wire(static_cast<int>(k)).size() == 16);
            REQUIRE(word(arrived->wire(static_cast<int>(k)), 0) == k * 1000 + round);
          }
          arrived->done();
          REQUIRE(std::move(*arrived).reclaim(soon()));
        }
      });
    }
    SUBCASE("all_to_all brings slot r of every rank to rank r") {
      run_threads(workers, [&](threads end) {
        auto transport = Wrapped::wrap(std::move(end));
        auto const rank = static_cast<std::uint32_t>(transport.rank());
        auto pending = transport.all_to_all(message(n, rank), {1, 0});
        auto arrived = pending.wait(soon());
        REQUIRE(arrived);
        for (std::size_t k = 0; k < n; ++k) {
          auto const wire = arrived->wire(static_cast<int>(k));
          REQUIRE(wire.size() == 16);
          REQUIRE(word(wire, 0) == k);
          REQUIRE(word(wire, 1) == rank);
        }
      });
    }
    SUBCASE("a wire may be read until its reader says done, whatever the others do") {
      std::atomic<bool> reading{true};
      run_threads(workers, [&](threads end) {
        auto transport = Wrapped::wrap(std::move(end));
        int const rank = transport.rank();
        auto pending = transport.all_gather(message(1, static_cast<std::uint32_t>(rank)), {0, 0});
        auto arrived = pending.wait(soon());
        REQUIRE(arrived);
        if (rank == 0) {
          std::this_thread::sleep_for(std::chrono::milliseconds(20));
          for (std::size_t k = 0; k < n; ++k) REQUIRE(word(arrived->wire(static_cast<int>(k)), 0) == k);
          reading = false;
          arrived->done();
        } else {
          arrived->done();
          auto back = std::move(*arrived).reclaim(soon());
          REQUIRE(back);
          CHECK(!reading);
          std::memset(back->send.data(), 0xFF, back->send.size());
        }
      });
    }
  }
  SUBCASE("the deadline is honoured, and the error names who is missing") {
    std::atomic<int> refused{0};
    run_threads(3, [&](threads end) {
      auto transport = Wrapped::wrap(std::move(end));
      int const rank = transport.rank();
      if (rank == 1) {
        while (refused < 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return;
      }
      auto const start = std::chrono::steady_clock::now();
      auto pending = transport.all_gather(message(1, 0), {4, 0});
      auto const arrived = pending.wait(soon(0.1));
      double const took = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      REQUIRE(!arrived);
      CHECK(arrived.error().what == cause::timeout);
      CHECK(arrived.error().message == "diloco: threads: round 4: rank 1 did not arrive before the deadline");
      CHECK(took < 5.0);
      ++refused;
    });
  }
  SUBCASE("exchanges of different rounds never meet") {
    std::atomic<int> refused{0};
    run_threads(2, [&](threads end) {
      auto transport = Wrapped::wrap(std::move(end));
      auto pending = transport.all_gather(message(1, 0), {static_cast<std::uint64_t>(transport.rank()), 0});
      auto const arrived = pending.wait(soon());
      if (!arrived) ++refused;
    });
    CHECK(refused == 2);
  }
  SUBCASE("a rank that leaves is named at once") {
    run_threads(3, [&](threads end) {
      auto transport = Wrapped::wrap(std::move(end));
      if (transport.rank() == 2) return;
      auto pending = transport.all_gather(message(1, 0), {0, 0});
      auto const arrived = pending.wait(soon());
      REQUIRE(!arrived);
      CHECK(arrived.error().what == cause::peer_lost);
      CHECK(arrived.error().message.find("rank 2 left") != std::string::npos);
    });
  }
}
TEST_CASE_TEMPLATE_INVOKE(transport_laws, plain, with_counts);

TEST_CASE("alone hands back its own wire") {
  alone transport;
  auto pending = transport.all_gather(message(1, 42), {0, 0});
  auto arrived = pending.wait(soon());
  REQUIRE(arrived);
  REQUIRE(arrived->roster().size() == 1);
  CHECK(word(arrived->wire(0), 0) == 42);
  auto back = std::move(*arrived).reclaim(soon());
  REQUIRE(back);
  CHECK(back->send.size() == 16);
}

}  // namespace
