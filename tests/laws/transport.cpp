// SPDX-License-Identifier: Apache-2.0
// Every transport of one process × every law. (MPI meets the same laws under mpirun: system/mpi_*.cpp.)
#include "support.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
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

/// Rank 0 with 1, 2 with 3 and so on.
int neighbour(int rank, int ranks) { return (rank ^ 1) < ranks ? rank ^ 1 : rank; }

TEST_CASE_TEMPLATE_DEFINE("transport laws of pairs", Wrapped, pairing_laws) {
  for (int workers : {1, 2, 4, 5}) {
    SUBCASE("the wires of the lower and of the higher rank, in this order on both; a rank left alone hears itself") {
      run_threads(workers, [&](threads end) {
        auto transport = Wrapped::wrap(std::move(end));
        int const rank = transport.rank();
        for (std::uint64_t round = 0; round < 60; ++round) {
          // Whom one meets changes, and nobody waits for the others in between.
          int const partner = gossip{7}.partner(round, rank, workers);
          auto const said = [&](int r) {
            return static_cast<std::uint32_t>(1000 * r) + static_cast<std::uint32_t>(round);
          };
          auto pending = transport.exchange(message(1, said(rank)), partner, {round, 0});
          auto arrived = pending.wait(soon());
          REQUIRE(arrived);
          int const lower = std::min(rank, partner), higher = std::max(rank, partner);
          REQUIRE(arrived->roster().size() == (partner == rank ? 1u : 2u));
          REQUIRE(arrived->roster().front() == lower);
          REQUIRE(arrived->roster().back() == higher);
          REQUIRE(arrived->wire(0).size() == 16);
          REQUIRE(word(arrived->wire(0), 0) == said(lower));
          if (partner != rank) REQUIRE(word(arrived->wire(1), 0) == said(higher));
          arrived->done();
          auto back = std::move(*arrived).reclaim(soon());
          REQUIRE(back);
          CHECK(back->send.size() == 16);
          std::memset(back->send.data(), 0xFF, 16);  // nobody may read it any more
        }
      });
    }
  }
  SUBCASE("a wire may be read until its reader says done") {
    std::atomic<bool> reading{true};
    run_threads(2, [&](threads end) {
      auto transport = Wrapped::wrap(std::move(end));
      int const rank = transport.rank();
      auto pending = transport.exchange(message(1, static_cast<std::uint32_t>(rank)), 1 - rank, {0, 0});
      auto arrived = pending.wait(soon());
      REQUIRE(arrived);
      if (rank == 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        REQUIRE(word(arrived->wire(1), 0) == 1);
        reading = false;
        arrived->done();
      } else {
        auto back = std::move(*arrived).reclaim(soon());
        REQUIRE(back);
        CHECK(!reading);
        std::memset(back->send.data(), 0xFF, back->send.size());
      }
    });
  }
  SUBCASE("two ranks meet though a third never comes, and go on to the next round") {
    std::atomic<int> met{0};
    run_threads(4, [&](threads end) {
      auto transport = Wrapped::wrap(std::move(end));
      int const rank = transport.rank();
      if (rank >= 2) {  // here, and silent, until the others are through
        while (met < 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return;
      }
      for (std::uint64_t round = 0; round < 20; ++round) {
        auto pending = transport.exchange(message(1, 0), neighbour(rank, 4), {round, 0});
        REQUIRE(pending.wait(soon()));
      }
      ++met;
    });
  }
  SUBCASE("the deadline is honoured, the partner named, and no other pair harmed") {
    std::atomic<int> through{0};
    run_threads(4, [&](threads end) {
      auto transport = Wrapped::wrap(std::move(end));
      int const rank = transport.rank();
      if (rank == 1) {
        while (through < 3) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        // Too late for what was given up: it must not become complete for those who come after.
        auto const late = transport.exchange(message(1, 0), 0, {4, 0}).wait(soon());
        REQUIRE(!late);
        CHECK(late.error().message == "diloco: threads: round 4: rank 1 did not arrive before the deadline");
        return;
      }
      auto const start = std::chrono::steady_clock::now();
      auto const arrived =
          transport.exchange(message(1, 0), neighbour(rank, 4), {4, 0}).wait(soon(rank == 0 ? 0.1 : 20));
      double const took = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      CHECK(arrived.has_value() == (rank != 0));
      if (rank == 0) {
        REQUIRE(!arrived);
        CHECK(arrived.error().what == cause::timeout);
        CHECK(arrived.error().rank == 0);
        CHECK(arrived.error().message == "diloco: threads: round 4: rank 1 did not arrive before the deadline");
        CHECK(took >= 0.1);
        CHECK(took < 5.0);
      }
      ++through;
    });
  }
  SUBCASE("exchanges of different rounds, phases or sizes never meet") {
    for (int difference : {0, 1, 2}) {
      std::atomic<int> refused{0};
      run_threads(2, [&](threads end) {
        auto transport = Wrapped::wrap(std::move(end));
        int const rank = transport.rank();
        exchange_tag tag{5, 0};
        if (rank == 1 && difference == 0) tag.round = 6;
        if (rank == 1 && difference == 1) tag.phase = 1;
        auto pending = transport.exchange(message(rank == 1 && difference == 2 ? 2 : 1, 0), 1 - rank, tag);
        auto const arrived = pending.wait(soon());
        REQUIRE(!arrived);
        CHECK(arrived.error().message.find(" started another exchange (round ") != std::string::npos);
        ++refused;
      });
      CHECK(refused == 2);
    }
  }
  SUBCASE("a partner that leaves, or drops its part, is named at once; who does not meet it goes on") {
    for (bool drops : {false, true}) {
      std::atomic<bool> dropped{false};
      run_threads(4, [&](threads end) {
        auto transport = Wrapped::wrap(std::move(end));
        int const rank = transport.rank();
        if (rank == 3) {
          if (drops) {
            auto const lost = transport.exchange(message(1, 0), 2, {9, 0});
          }
          dropped = true;
          return;
        }
        while (!dropped) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        auto const arrived = transport.exchange(message(1, 0), neighbour(rank, 4), {9, 0}).wait(soon());
        CHECK(arrived.has_value() == (rank != 2));
        if (rank != 2) return;
        REQUIRE(!arrived);
        CHECK(arrived.error().what == cause::peer_lost);
        CHECK(arrived.error().message ==
              (drops ? "diloco: threads: round 9: rank 3 dropped its flight before it landed"
                     : "diloco: threads: round 9: rank 3 left before its part of the exchange"));
      });
    }
  }
  SUBCASE("pairs and exchanges of all ranks do not meet") {
    run_threads(2, [&](threads end) {
      auto transport = Wrapped::wrap(std::move(end));
      int const rank = transport.rank();
      auto const mine = static_cast<std::uint32_t>(rank);
      auto all = transport.all_gather(message(1, 10 + mine), {3, 0});
      auto pair = transport.exchange(message(1, 20 + mine), 1 - rank, {3, 0});
      auto next = transport.exchange(message(1, 30 + mine), 1 - rank, {4, 0});  // two under way, in order
      auto const later = next.wait(soon());
      auto const of_pair = pair.wait(soon());
      auto const of_all = all.wait(soon());
      REQUIRE(of_all);
      REQUIRE(of_pair);
      REQUIRE(later);
      for (std::uint32_t k : {0u, 1u}) {
        CHECK(word(of_all->wire(static_cast<int>(k)), 0) == 10 + k);
        CHECK(word(of_pair->wire(static_cast<int>(k)), 0) == 20 + k);
        CHECK(word(later->wire(static_cast<int>(k)), 0) == 30 + k);
      }
    });
  }
}
TEST_CASE_TEMPLATE_INVOKE(pairing_laws, plain, with_counts);

TEST_CASE("pairs: more exchanges than can be under way are an error, not a wait") {
  run_threads(2, [&](threads transport) {
    if (transport.rank() == 1) return;
    std::vector<threads::pending> started;
    for (std::uint64_t i = 0; i < 16; ++i) started.push_back(transport.exchange(message(1, 0), 1, {i, 0}));
    auto const last = transport.exchange(message(1, 0), 1, {16, 0}).wait(soon());
    REQUIRE(!last);
    CHECK(last.error().message.find("rank 0 started more exchanges than can be under way") != std::string::npos);
  });
}

TEST_CASE("gossip: everybody's partner has it as partner, one is left of an odd number, and all pairs are as likely") {
  for (int ranks : {1, 2, 3, 4, 5, 8, 17}) {
    CAPTURE(ranks);
    constexpr int rounds = 3000;
    std::vector<int> met(static_cast<std::size_t>(ranks * ranks));
    for (std::uint64_t round = 0; round < rounds; ++round) {
      int left = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        int const partner = gossip{3}.partner(round, rank, ranks);
        REQUIRE(partner >= 0);
        REQUIRE(partner < ranks);
        REQUIRE(gossip{3}.partner(round, partner, ranks) == rank);
        left += partner == rank;
        met[static_cast<std::size_t>(rank * ranks + partner)] += 1;
      }
      REQUIRE(left == ranks % 2);
    }
    // Each meets each of the others, or of an odd number itself, in 1 of so many rounds; five standard deviations.
    double const share = 1.0 / (ranks - 1 + ranks % 2), expected = rounds * share;
    double const tolerance = 5 * std::sqrt(expected * (1 - share)) + 1e-9;
    for (int a = 0; a < ranks; ++a) {
      for (int b = 0; b < ranks; ++b) {
        double const seen = met[static_cast<std::size_t>(a * ranks + b)];
        CHECK(std::abs(seen - (a == b && ranks % 2 == 0 ? 0 : expected)) <= tolerance);
      }
    }
  }
}

TEST_CASE("gossip: round, seed and number of ranks draw by themselves") {
  auto const drawn = [](std::uint32_t seed, std::uint64_t first, int ranks) {
    std::vector<int> partners;
    for (std::uint64_t round = first; round < first + 40; ++round)
      partners.push_back(gossip{seed}.partner(round, 0, ranks));
    return partners;
  };
  CHECK(drawn(0, 0, 8) != drawn(1, 0, 8));
  CHECK(drawn(0, 0, 8) != drawn(0, 40, 8));
  CHECK(drawn(0, 0, 8) != drawn(0, std::uint64_t{1} << 32, 8));
  CHECK(drawn(5, 7, 8) == drawn(5, 7, 8));
  // The same wherever it is computed: rank 0 among four, seed 0.
  std::vector<int> const first{1, 1, 1, 1, 1, 1, 1, 3, 2, 2, 3, 3};
  CHECK(std::equal(first.begin(), first.end(), drawn(0, 0, 4).begin()));
  static_assert(gossip{}.partner(7, 0, 4) == 3, "a pure function");
  // Whom one meets says nothing about whom one meets next.
  int again = 0;
  for (std::uint64_t round = 0; round < 3000; ++round)
    again += gossip{}.partner(round, 0, 4) == gossip{}.partner(round + 1, 0, 4);
  CHECK(std::abs(again - 1000) < 130);  // five standard deviations
}

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
  auto paired = transport.exchange(message(1, 43), 0, {1, 0}).wait(soon());
  REQUIRE(paired);
  REQUIRE(paired->roster().size() == 1);
  CHECK(word(paired->wire(0), 0) == 43);
}

}  // namespace
