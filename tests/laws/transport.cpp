// SPDX-License-Identifier: Apache-2.0 Runs every law on every transport of one process. MPI runs the same
// laws under mpirun: system/mpi_*.cpp. NCCL runs them over a fake NCCL in nccl_transport.cpp.
#include "transport.hpp"

#include <algorithm>
#include <cmath>

namespace {

using namespace diloco;
using laws::message, laws::soon, laws::word;

struct plain {
  static constexpr bool receives_in_place = true, knows_peers = true, takes_back = true;
  static constexpr std::string_view late_of_all =
      "diloco: threads: round 4: rank 1 did not arrive before the deadline";
  static constexpr std::string_view late_of_pair = late_of_all;
  template <class F>
  static void run(int workers, F&& f) {
    run_threads(workers, [&](threads end) { f(std::move(end)); });
  }
};
struct with_counts : plain {
  template <class F>
  static void run(int workers, F&& f) {
    run_threads(workers, [&](threads end) { f(counted(std::move(end))); });
  }
};
TEST_CASE_TEMPLATE_INVOKE(laws::transport_laws, plain, with_counts);
TEST_CASE_TEMPLATE_INVOKE(laws::pairing_laws, plain, with_counts);
TEST_CASE_TEMPLATE_INVOKE(laws::group_laws, plain, with_counts);

TEST_CASE("pairs: more exchanges than can be under way are an error, not a wait") {
  run_threads(2, [&](threads transport) {
    if (transport.rank() == 1) return;
    std::vector<threads::pending> started;
    for (std::uint64_t i = 0; i < 80; ++i)
      started.push_back(transport.exchange(message<plain>(1, 0), 1, {i, 0}));
    auto const last = transport.exchange(message<plain>(1, 0), 1, {80, 0}).wait(soon());
    REQUIRE(!last);
    CHECK(last.error().message.find("rank 0 started more exchanges than can be under way") !=
          std::string::npos);
  });
}

TEST_CASE(
    "gossip: everybody's partner has it as partner, one is left of an odd number, and all pairs are as "
    "likely") {
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
    // Each rank meets every other rank equally often, and itself if the number of ranks is odd. The bound is
    // five standard deviations.
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
  // The same on every machine: rank 0 of four, seed 0.
  std::vector<int> const first{1, 1, 1, 1, 1, 1, 1, 3, 2, 2, 3, 3};
  CHECK(std::equal(first.begin(), first.end(), drawn(0, 0, 4).begin()));
  static_assert(gossip{}.partner(7, 0, 4) == 3, "a pure function");
  // The partner of one round says nothing about the next partner.
  int again = 0;
  for (std::uint64_t round = 0; round < 3000; ++round)
    again += gossip{}.partner(round, 0, 4) == gossip{}.partner(round + 1, 0, 4);
  CHECK(std::abs(again - 1000) < 130);  // five standard deviations
}

TEST_CASE("alone hands back its own wire") {
  alone transport;
  auto pending = transport.all_gather(message<plain>(1, 42), {0, 0});
  auto arrived = pending.wait(soon());
  REQUIRE(arrived);
  REQUIRE(arrived->roster().size() == 1);
  CHECK(word(arrived->message(0), 0) == 42);
  auto back = std::move(*arrived).reclaim(soon());
  REQUIRE(back);
  CHECK(back->send.size() == 16);
  auto paired = transport.exchange(message<plain>(1, 43), 0, {1, 0}).wait(soon());
  REQUIRE(paired);
  REQUIRE(paired->roster().size() == 1);
  CHECK(word(paired->message(0), 0) == 43);
}

}  // namespace
