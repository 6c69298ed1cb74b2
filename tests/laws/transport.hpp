// SPDX-License-Identifier: Apache-2.0
#pragma once

// Laws of every transport, and of every transport that can pair, over a World:
//   run(workers, f)       f(transport) on a thread per rank; rethrows what any of them threw
//   receives_in_place     as the transport states
//   knows_peers           it reports who is missing, left, or started another exchange
//   takes_back            an exchange that one rank gave up is over for its peers
//   late_of_all, late_of_pair   start of the error message when rank 1 does not come in round 4
#include "support.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

namespace laws {

using namespace diloco;

/// Buffers with `slots` slots to send, and with room to receive where the transport needs it.
template <class World>
wires message(std::size_t slots, std::uint32_t value, std::size_t receive = 1) {
  wires w{cpp{}.allocate_wire(slots * 16), {}};
  if (!World::receives_in_place) w.receive = cpp{}.allocate_wire(receive * 16);
  for (std::size_t s = 0; s < slots; ++s) {
    w.send.as<std::uint32_t>()[4 * s] = value;
    w.send.as<std::uint32_t>()[4 * s + 1] = static_cast<std::uint32_t>(s);
  }
  return w;
}
inline std::uint32_t word(std::span<std::byte const> wire, std::size_t i) {
  std::uint32_t v;
  std::memcpy(&v, wire.data() + 4 * i, sizeof v);
  return v;
}
inline deadline soon(double seconds = 20) { return deadline_after(seconds); }

TEST_CASE_TEMPLATE_DEFINE("transport laws", World, transport_laws) {
  for (int workers : {1, 2, 4, 7}) {
    auto const n = static_cast<std::size_t>(workers);
    SUBCASE("wires come in rank order, from a roster that is the same everywhere") {
      World::run(workers, [&](auto transport) {
        auto const rank = static_cast<std::uint32_t>(transport.rank());
        for (std::uint64_t round = 0; round < 30; ++round) {
          auto const said = rank * 1000 + static_cast<std::uint32_t>(round);
          auto pending = transport.all_gather(message<World>(1, said, n), {round, 0});
          auto arrived = pending.wait(soon());
          REQUIRE(arrived);
          REQUIRE(arrived->roster().size() == n);
          for (std::size_t k = 0; k < n; ++k) {
            REQUIRE(arrived->roster()[k] == static_cast<int>(k));
            REQUIRE(arrived->message(static_cast<int>(k)).size() == 16);
            REQUIRE(word(arrived->message(static_cast<int>(k)), 0) == k * 1000 + round);
          }
          arrived->done();
          REQUIRE(std::move(*arrived).reclaim(soon()));
        }
      });
    }
    SUBCASE("all_to_all brings slot r of every rank to rank r") {
      World::run(workers, [&](auto transport) {
        auto const rank = static_cast<std::uint32_t>(transport.rank());
        auto pending = transport.all_to_all(message<World>(n, rank, n), {1, 0});
        auto arrived = pending.wait(soon());
        REQUIRE(arrived);
        for (std::size_t k = 0; k < n; ++k) {
          auto const wire = arrived->message(static_cast<int>(k));
          REQUIRE(wire.size() == 16);
          REQUIRE(word(wire, 0) == k);
          REQUIRE(word(wire, 1) == rank);
        }
      });
    }
    SUBCASE("a wire may be read until its reader says done, whatever the others do") {
      std::atomic<bool> reading{true};
      World::run(workers, [&](auto transport) {
        int const rank = transport.rank();
        auto pending = transport.all_gather(message<World>(1, static_cast<std::uint32_t>(rank), n), {0, 0});
        auto arrived = pending.wait(soon());
        REQUIRE(arrived);
        if (rank == 0) {
          std::this_thread::sleep_for(std::chrono::milliseconds(20));
          for (std::size_t k = 0; k < n; ++k) REQUIRE(word(arrived->message(static_cast<int>(k)), 0) == k);
          reading = false;
          arrived->done();
        } else {
          arrived->done();
          auto back = std::move(*arrived).reclaim(soon());
          REQUIRE(back);
          if (World::receives_in_place) CHECK(!reading);
          std::memset(back->send.data(), 0xFF, back->send.size());
        }
      });
    }
  }
  SUBCASE("the deadline is honoured, and the error names who is missing") {
    std::atomic<int> refused{0};
    World::run(3, [&](auto transport) {
      int const rank = transport.rank();
      if (rank == 1) {
        while (refused < 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return;
      }
      auto const start = std::chrono::steady_clock::now();
      auto pending = transport.all_gather(message<World>(1, 0, 3), {4, 0});
      auto const arrived = pending.wait(soon(0.1));
      double const took = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      REQUIRE(!arrived);
      CHECK(arrived.error().what == cause::timeout);
      CHECK(arrived.error().message.starts_with(World::late_of_all));
      CHECK(arrived.error().message.find("; all_gather waited 0.") != std::string::npos);
      CHECK(arrived.error().message.ends_with(" s of 0.1 s"));
      CHECK(took < 5.0);
      ++refused;
    });
  }
  if (!World::knows_peers) return;
  SUBCASE("exchanges of different rounds never meet") {
    std::atomic<int> refused{0};
    World::run(2, [&](auto transport) {
      auto pending =
          transport.all_gather(message<World>(1, 0, 2), {static_cast<std::uint64_t>(transport.rank()), 0});
      auto const arrived = pending.wait(soon());
      if (!arrived) ++refused;
    });
    CHECK(refused == 2);
  }
  SUBCASE("a rank that leaves is named at once") {
    World::run(3, [&](auto transport) {
      if (transport.rank() == 2) return;
      auto pending = transport.all_gather(message<World>(1, 0, 3), {0, 0});
      auto const arrived = pending.wait(soon());
      REQUIRE(!arrived);
      CHECK(arrived.error().what == cause::peer_lost);
      CHECK(arrived.error().message.find("rank 2 left") != std::string::npos);
    });
  }
}
/// Pairs rank 0 with 1, 2 with 3 and so on.
inline int neighbour(int rank, int ranks) { return (rank ^ 1) < ranks ? rank ^ 1 : rank; }

TEST_CASE_TEMPLATE_DEFINE("transport laws of pairs", World, pairing_laws) {
  for (int workers : {1, 2, 4, 5}) {
    SUBCASE(
        "the wires of the lower and of the higher rank, in this order on both; a rank left alone hears "
        "itself") {
      World::run(workers, [&](auto transport) {
        int const rank = transport.rank();
        for (std::uint64_t round = 0; round < 60; ++round) {
          // The partner changes, and no other rank is waited for in between.
          int const partner = gossip{7}.partner(round, rank, workers);
          auto const said = [&](int r) {
            return static_cast<std::uint32_t>(1000 * r) + static_cast<std::uint32_t>(round);
          };
          auto pending = transport.exchange(message<World>(1, said(rank)), partner, {round, 0});
          auto arrived = pending.wait(soon());
          REQUIRE(arrived);
          int const lower = std::min(rank, partner), higher = std::max(rank, partner);
          REQUIRE(arrived->roster().size() == (partner == rank ? 1u : 2u));
          REQUIRE(arrived->roster().front() == lower);
          REQUIRE(arrived->roster().back() == higher);
          REQUIRE(arrived->message(0).size() == 16);
          REQUIRE(word(arrived->message(0), 0) == said(lower));
          if (partner != rank) REQUIRE(word(arrived->message(1), 0) == said(higher));
          arrived->done();
          auto back = std::move(*arrived).reclaim(soon());
          REQUIRE(back);
          CHECK(back->send.size() == 16);
          std::memset(back->send.data(), 0xFF, 16);  // no rank may read it any more
        }
      });
    }
  }
  SUBCASE("a wire may be read until its reader says done") {
    std::atomic<bool> reading{true};
    World::run(2, [&](auto transport) {
      int const rank = transport.rank();
      auto pending =
          transport.exchange(message<World>(1, static_cast<std::uint32_t>(rank)), 1 - rank, {0, 0});
      auto arrived = pending.wait(soon());
      REQUIRE(arrived);
      if (rank == 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        REQUIRE(word(arrived->message(1), 0) == 1);
        reading = false;
        arrived->done();
      } else {
        auto back = std::move(*arrived).reclaim(soon());
        REQUIRE(back);
        if (World::receives_in_place) CHECK(!reading);
        std::memset(back->send.data(), 0xFF, back->send.size());
      }
    });
  }
  SUBCASE("two ranks meet though a third never comes, and go on to the next round") {
    std::atomic<int> met{0};
    World::run(4, [&](auto transport) {
      int const rank = transport.rank();
      if (rank >= 2) {  // present but silent until the others have finished
        while (met < 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return;
      }
      for (std::uint64_t round = 0; round < 20; ++round) {
        auto pending = transport.exchange(message<World>(1, 0), neighbour(rank, 4), {round, 0});
        REQUIRE(pending.wait(soon()));
      }
      ++met;
    });
  }
  SUBCASE("the deadline is honoured, the partner named, and no other pair harmed") {
    std::atomic<int> through{0};
    World::run(4, [&](auto transport) {
      int const rank = transport.rank();
      if (rank == 1) {
        while (through < 3) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        // This message is too late for the exchange that was given up. It must not complete a later one.
        if (!World::takes_back) return;
        auto const late = transport.exchange(message<World>(1, 0), 0, {4, 0}).wait(soon());
        REQUIRE(!late);
        CHECK(late.error().message.starts_with(World::late_of_all));
        return;
      }
      auto const start = std::chrono::steady_clock::now();
      auto const arrived = transport.exchange(message<World>(1, 0), neighbour(rank, 4), {4, 0})
                               .wait(soon(rank == 0 ? 0.1 : 20));
      double const took = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      CHECK(arrived.has_value() == (rank != 0));
      if (rank == 0) {
        REQUIRE(!arrived);
        CHECK(arrived.error().what == cause::timeout);
        CHECK(arrived.error().rank == 0);
        CHECK(arrived.error().message.starts_with(World::late_of_pair));
        CHECK(arrived.error().message.find("; exchange waited 0.") != std::string::npos);
        CHECK(took >= 0.1);
        CHECK(took < 5.0);
      }
      ++through;
    });
  }
  SUBCASE("pairs and exchanges of all ranks do not meet") {
    World::run(2, [&](auto transport) {
      int const rank = transport.rank();
      auto const mine = static_cast<std::uint32_t>(rank);
      auto all = transport.all_gather(message<World>(1, 10 + mine, 2), {3, 0});
      auto pair = transport.exchange(message<World>(1, 20 + mine), 1 - rank, {3, 0});
      auto next =
          transport.exchange(message<World>(1, 30 + mine), 1 - rank, {4, 0});  // two in flight, in order
      auto const later = next.wait(soon());
      auto const of_pair = pair.wait(soon());
      auto const of_all = all.wait(soon());
      REQUIRE(of_all);
      REQUIRE(of_pair);
      REQUIRE(later);
      for (std::uint32_t k : {0u, 1u}) {
        CHECK(word(of_all->message(static_cast<int>(k)), 0) == 10 + k);
        CHECK(word(of_pair->message(static_cast<int>(k)), 0) == 20 + k);
        CHECK(word(later->message(static_cast<int>(k)), 0) == 30 + k);
      }
    });
  }
  if (!World::knows_peers) return;
  SUBCASE("exchanges of different rounds, phases or sizes never meet") {
    for (int difference : {0, 1, 2}) {
      std::atomic<int> refused{0};
      World::run(2, [&](auto transport) {
        int const rank = transport.rank();
        exchange_tag tag{5, 0};
        if (rank == 1 && difference == 0) tag.round = 6;
        if (rank == 1 && difference == 1) tag.phase = 1;
        auto pending =
            transport.exchange(message<World>(rank == 1 && difference == 2 ? 2 : 1, 0), 1 - rank, tag);
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
      World::run(4, [&](auto transport) {
        int const rank = transport.rank();
        if (rank == 3) {
          if (drops) {
            auto const lost = transport.exchange(message<World>(1, 0), 2, {9, 0});
          }
          dropped = true;
          return;
        }
        while (!dropped) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        auto const arrived =
            transport.exchange(message<World>(1, 0), neighbour(rank, 4), {9, 0}).wait(soon());
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
}

/// Of six ranks: three groups of two neighbours, and two groups of every second rank.
inline rank_group near(int rank) { return {rank / 2 * 2, 2, 1}; }
inline rank_group far(int rank) { return {rank % 2, 3, 2}; }

TEST_CASE_TEMPLATE_DEFINE("transport laws of groups", World, group_laws) {
  SUBCASE("messages of the group in its order, whole or cut") {
    World::run(6, [&](auto transport) {
      int const rank = transport.rank();
      for (std::uint64_t round = 0; round < 30; ++round) {
        for (rank_group const g : {near(rank), far(rank), rank_group{0, 6, 1}, rank_group{rank, 1, 1}}) {
          auto const n = static_cast<std::size_t>(g.count);
          auto const said = [&](int r) {
            return static_cast<std::uint32_t>(1000 * r) + static_cast<std::uint32_t>(round);
          };
          auto whole = transport.all_gather(message<World>(1, said(rank), n), g, {round, 0});
          auto cut = transport.all_to_all(message<World>(n, said(rank), n), g, {round, 1});
          auto all = whole.wait(soon());
          auto mine = cut.wait(soon());
          REQUIRE(all);
          REQUIRE(mine);
          for (auto* arrived : {&*all, &*mine}) {
            REQUIRE(arrived->roster().size() == n);
            for (int k = 0; k < g.count; ++k) {
              REQUIRE(arrived->roster()[static_cast<std::size_t>(k)] == g.rank(k));
              REQUIRE(arrived->message(k).size() == 16);
              REQUIRE(word(arrived->message(k), 0) == said(g.rank(k)));
            }
          }
          for (int k = 0; k < g.count; ++k)
            REQUIRE(word(mine->message(k), 1) == static_cast<std::uint32_t>(g.place_of(rank)));
          all->done();
          mine->done();
          REQUIRE(std::move(*all).reclaim(soon()));
          REQUIRE(std::move(*mine).reclaim(soon()));
        }
      }
    });
  }
  SUBCASE("a group goes on though another never comes, and one that misses a rank names it") {
    std::atomic<int> through{0};
    World::run(6, [&](auto transport) {
      int const rank = transport.rank();
      if (rank == 3) {
        while (through < 5) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return;
      }
      for (std::uint64_t round = 0; round < (rank == 2 ? 1u : 20u); ++round) {
        auto const arrived = transport.all_gather(message<World>(1, 0, 2), near(rank), {round, 0})
                                 .wait(soon(rank == 2 ? 0.1 : 20));
        CHECK(arrived.has_value() == (rank != 2));
        if (rank != 2) continue;
        REQUIRE(!arrived);
        CHECK(arrived.error().what == cause::timeout);
        if (World::knows_peers)
          CHECK(arrived.error().message.find("rank 3 did not arrive before the deadline") !=
                std::string::npos);
      }
      ++through;
    });
  }
  SUBCASE("exchanges of groups, of pairs and of all ranks do not meet") {
    World::run(2, [&](auto transport) {
      int const rank = transport.rank();
      auto const mine = static_cast<std::uint32_t>(rank);
      auto all = transport.all_gather(message<World>(1, 10 + mine, 2), {3, 0});
      auto group = transport.all_gather(message<World>(1, 20 + mine, 2), rank_group{0, 2, 1}, {3, 0});
      auto pair = transport.exchange(message<World>(1, 30 + mine), 1 - rank, {3, 0});
      auto const of_pair = pair.wait(soon());
      auto const of_group = group.wait(soon());
      auto const of_all = all.wait(soon());
      REQUIRE(of_all);
      REQUIRE(of_group);
      REQUIRE(of_pair);
      for (std::uint32_t k : {0u, 1u}) {
        CHECK(word(of_all->message(static_cast<int>(k)), 0) == 10 + k);
        CHECK(word(of_group->message(static_cast<int>(k)), 0) == 20 + k);
        CHECK(word(of_pair->message(static_cast<int>(k)), 0) == 30 + k);
      }
    });
  }
}

}  // namespace laws
