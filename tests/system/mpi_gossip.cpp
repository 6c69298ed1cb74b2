// SPDX-License-Identifier: Apache-2.0
// Rounds of pairs over MPI: the same bits as over threads, messages of the two ranks only, counted bytes, and
// a round that is dropped for one pair.
#include "support/mpi_world.hpp"
#include "support/toy.hpp"

#include <doctest/doctest.h>
#include <diloco/transport/mpi.hpp>

#include <algorithm>
#include <limits>

using namespace diloco;

namespace {

std::vector<std::size_t> const sizes{1, 255, 4097, 513};
constexpr int rounds = 8;

template <class C, class Transport>
using trainer = DiLoCo<adamw, noloco, C, Transport, error_feedback, weighted_mean, gossip, every>;

/// Digests of one worker after each round, over any transport. In round 3 the last rank's θ is NaN once.
template <class C, class Transport>
std::vector<std::uint64_t> digests_over(Transport transport) {
  int const rank = transport.rank(), last = transport.size() - 1;
  toy::model m(sizes);
  trainer<C, Transport> t({.exchange = {4}, .transport = std::move(transport), .schedule = every(1000)},
                          m.parameters());
  std::vector<std::uint64_t> digests;
  for (long round = 0; round < rounds; ++round) {
    t.step(m.gradients(rank, round), {.tokens = 1.0 + rank});
    float const kept = m[2][4096];
    if (round == 3 && rank == last) m[2][4096] = std::numeric_limits<float>::quiet_NaN();
    bool const landed = t.try_sync().has_value();
    if (round == 3 && rank == last) m[2][4096] = kept;
    bool const in_pair = rank == last || gossip{4}.partner(3, last, last + 1) == rank;
    CHECK(landed == !(round == 3 && in_pair));
    CHECK(t.rounds() == static_cast<std::uint64_t>(round) + 1);
    digests.push_back(t.digest());
  }
  return digests;
}

template <class C>
void check_same_bits() {
  CAPTURE(C::name);
  auto const here = digests_over<C>(mpi(MPI_COMM_WORLD));
  auto const threaded =
      toy::on_each_rank(world_size(), [&](threads t) { return digests_over<C>(std::move(t)); });
  CHECK(here == threaded[static_cast<std::size_t>(world_rank())]);
  if (world_size() > 2) CHECK(threaded[0] != threaded[1]);
}

wires message(int value) {
  wires w{cpp{}.allocate_wire(48), cpp{}.allocate_wire(48)};
  for (std::size_t i = 0; i < 48; ++i) w.send.data()[i] = static_cast<std::byte>(value);
  return w;
}

}  // namespace

TEST_CASE("mpi pairs: the same bits as over threads, f32") { check_same_bits<f32>(); }
TEST_CASE("mpi pairs: the same bits as over threads, absmax4") { check_same_bits<absmax<4>>(); }

TEST_CASE("mpi pairs: the wires of the lower and of the higher rank, whatever is under way beside them") {
  mpi transport(MPI_COMM_WORLD);
  int const rank = transport.rank(), size = transport.size();
  for (std::uint64_t round = 0; round < 20; ++round) {
    int const partner = gossip{1}.partner(round, rank, size), lower = std::min(rank, partner);
    auto const value = [&](int r, int which) { return 50 * which + 10 * r + static_cast<int>(round % 10); };
    auto first = transport.exchange(message(value(rank, 0)), partner, {round, 0});
    auto second = transport.exchange(message(value(rank, 1)), partner, {round, 1});
    auto const later = second.wait(deadline_after(60));
    auto arrived = first.wait(deadline_after(60));
    REQUIRE(arrived);
    REQUIRE(later);
    REQUIRE(arrived->roster().size() == (partner == rank ? 1u : 2u));
    CHECK(arrived->roster().front() == lower);
    CHECK(arrived->roster().back() == std::max(rank, partner));
    for (int k = 0; k < static_cast<int>(arrived->roster().size()); ++k) {
      int const from = arrived->roster()[static_cast<std::size_t>(k)];
      CHECK(arrived->message(k).size() == 48);
      CHECK(arrived->message(k)[47] == static_cast<std::byte>(value(from, 0)));
      CHECK(later->message(k)[0] == static_cast<std::byte>(value(from, 1)));
    }
    arrived->done();
    auto const back = std::move(*arrived).reclaim(deadline_after(60));
    REQUIRE(back);
    CHECK((*back).send.size() == 48);
    CHECK((*back).receive.size() == 48);
  }
}

TEST_CASE("mpi pairs: two ranks meet though the others are elsewhere") {
  mpi transport(MPI_COMM_WORLD);
  int const rank = transport.rank(), size = transport.size();
  if (size == 4) {
    if (rank < 2) {
      for (std::uint64_t round = 0; round < 10; ++round)
        CHECK(transport.exchange(message(rank), 1 - rank, {round, 0}).wait(deadline_after(60)).has_value());
      int const through = 1;
      MPI_Send(&through, 1, MPI_INT, 2 + rank, 0, MPI_COMM_WORLD);
    } else {  // takes part in no exchange of this pair until the others have finished
      int through = 0;
      MPI_Recv(&through, 1, MPI_INT, rank - 2, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      CHECK(through == 1);
    }
  }
}

TEST_CASE("mpi pairs: counted bytes are the told bytes") {
  toy::model m(sizes);
  counted watched{mpi(MPI_COMM_WORLD)};
  auto const counts = watched.counts();
  trainer<absmax<4>, counted<mpi>> t({.exchange = {}, .transport = std::move(watched), .schedule = every(1)},
                                     m.parameters());
  std::uint64_t const before = counts->sent_bytes;
  for (int round = 0; round < rounds; ++round) t.step(m.gradients(world_rank(), round));
  CHECK(counts->sent_bytes - before == rounds * t.wire_bytes_per_round());
  CHECK((t.wire_bytes_per_round() > 0) == (world_size() > 1));
  // Each rank sends and receives one slot and one vote, whatever the number of ranks. The rest is for
  // checksums.
  if (world_size() > 1)
    CHECK(t.footprint().wire_bytes ==
          2 * t.wire_bytes_per_round() + static_cast<std::size_t>(world_size()) *
                                             checksum_parts_of(t.wire_bytes_per_round() - vote_bytes) *
                                             sizeof(checksum));
}
