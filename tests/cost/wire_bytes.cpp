// SPDX-License-Identifier: Apache-2.0
// Bytes on the network: counted when sent, reported by the trainer, and computed by hand.
#include "support/toy.hpp"

#include <doctest/doctest.h>

using namespace diloco;

namespace {

// One tile in a message: all codes, then all scales, each padded to 16 bytes.
static_assert(tile_wire_bytes<f32>(0) == 0 && tile_wire_bytes<f32>(1) == 16 && tile_wire_bytes<f32>(4) == 16);
static_assert(tile_wire_bytes<f32>(255) == 1024 && tile_wire_bytes<f32>(256) == 1024 &&
              tile_wire_bytes<f32>(257) == 1040);
static_assert(tile_wire_bytes<f32>(4095) == 16384 && tile_wire_bytes<f32>(4096) == 16384);
static_assert(tile_wire_bytes<f16>(1) == 16 && tile_wire_bytes<f16>(255) == 512 &&
              tile_wire_bytes<f16>(256) == 512);
static_assert(tile_wire_bytes<f16>(257) == 528 && tile_wire_bytes<bf16>(257) == 528 &&
              tile_wire_bytes<bf16>(4096) == 8192);
static_assert(tile_wire_bytes<absmax<8>>(0) == 0 && tile_wire_bytes<absmax<8>>(1) == 16 + 16);
static_assert(tile_wire_bytes<absmax<8>>(255) == 256 + 16 && tile_wire_bytes<absmax<8>>(256) == 256 + 16);
static_assert(tile_wire_bytes<absmax<8>>(257) == 272 + 16 && tile_wire_bytes<absmax<8>>(1024) == 1024 + 16);
static_assert(tile_wire_bytes<absmax<8>>(1025) == 1040 + 32 && tile_wire_bytes<absmax<8>>(4096) == 4096 + 64);
static_assert(tile_wire_bytes<absmax<4>>(1) == 16 + 16 && tile_wire_bytes<absmax<4>>(33) == 32 + 16);
static_assert(tile_wire_bytes<absmax<4>>(255) == 128 + 16 && tile_wire_bytes<absmax<4>>(256) == 128 + 16);
static_assert(tile_wire_bytes<absmax<4>>(257) == 144 + 16 && tile_wire_bytes<absmax<4>>(4095) == 2048 + 64);
static_assert(tile_wire_bytes<absmax<4>>(4096) == 2048 + 64);
static_assert(tile_wire_bytes<absmax<4, 64>>(31) == 16 + 16 && tile_wire_bytes<absmax<4, 64>>(64) == 32 + 16);
static_assert(tile_wire_bytes<absmax<4, 64>>(65) == 48 + 16 &&
              tile_wire_bytes<absmax<4, 64>>(320) == 160 + 32);
static_assert(tile_wire_bytes<sign<>>(1) == 16 + 16 && tile_wire_bytes<sign<>>(255) == 32 + 16);
static_assert(tile_wire_bytes<sign<>>(256) == 32 + 16 && tile_wire_bytes<sign<>>(257) == 48 + 16);
static_assert(tile_wire_bytes<sign<>>(4096) == 512 + 64);
static_assert(tile_wire_bytes<sign<512>>(511) == 64 + 16 && tile_wire_bytes<sign<512>>(512) == 64 + 16);
static_assert(tile_wire_bytes<sign<512>>(513) == 80 + 16);

constexpr std::size_t header_bytes = 128, votes = 2 * header_bytes;
/// Eleven terms, two for each tensor, and the rank's part of the run's number. Each has 8 bytes.
constexpr std::size_t contract_bytes(std::size_t tensors) {
  return 8 * (contract_term_count + 2 * tensors + 1);
}
constexpr int rounds = 3;

/// What a rank reported and what was counted, without the contract.
struct traffic {
  std::size_t told, counted, operations, contract, probed;
  bool same_counts;
};

template <class C>
std::vector<traffic> traffic_of(std::vector<std::size_t> const& sizes, int workers, pattern exchange) {
  return toy::on_each_rank(workers, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    counted watched(std::move(transport));
    auto const counts = watched.counts();
    toy::trainer_of<adamw, nesterov, C, counted<threads>, cpp, counters> t(
        {.exchange = {exchange}, .transport = std::move(watched), .schedule = every(1)}, m.parameters());
    std::size_t const at_start = counts->sent_bytes, operations_at_start = counts->operations;
    for (int round = 0; round < rounds; ++round) t.step(m.gradients(rank, round));
    return traffic{t.wire_bytes_per_round(),
                   counts->sent_bytes - at_start,
                   counts->operations - operations_at_start,
                   at_start,
                   t.probe().sent_bytes,
                   t.transport().sent_bytes() == counts->sent_bytes};
  });
}

/// Payload of all tensors, in tiles of at most 4096 elements.
template <class C>
std::size_t payload_of(std::vector<std::size_t> const& sizes) {
  std::size_t sum = 0;
  for (std::size_t n : sizes) sum += n / 4096 * tile_wire_bytes<C>(4096) + tile_wire_bytes<C>(n % 4096);
  return sum;
}

template <class C>
void check(std::vector<std::size_t> const& sizes, int workers) {
  CAPTURE(C::name);
  CAPTURE(workers);
  CAPTURE(sizes.back());
  auto const k = static_cast<std::size_t>(workers);
  for (traffic const& t : traffic_of<C>(sizes, workers, pattern::gather)) {
    CHECK(t.contract == (k - 1) * contract_bytes(sizes.size()));
    CHECK(t.told == (k - 1) * (header_bytes + payload_of<C>(sizes) + votes));
    CHECK(t.counted == rounds * t.told);
    CHECK(t.probed == t.counted);
    CHECK(t.same_counts);
    CHECK(t.operations == rounds * (k == 1 ? 1 : 2));
  }
  for (traffic const& t : traffic_of<C>(sizes, workers, pattern::scatter_gather)) {
    CHECK(t.contract == (k - 1) * contract_bytes(sizes.size()));
    CHECK(t.counted == rounds * t.told);
    CHECK(t.probed == t.counted);
    CHECK(t.same_counts);
    CHECK(t.operations == rounds * (k == 1 ? 2 : 3));
    // Two phases of K − 1 slots. A slot holds the largest shard, which is between 1/K of the payload and all
    // of it.
    std::size_t const shares = t.told - (k - 1) * votes;
    CHECK(shares >= 2 * (k - 1) * (header_bytes + (payload_of<C>(sizes) + k - 1) / k));
    CHECK(shares <= 2 * (k - 1) * (header_bytes + payload_of<C>(sizes)));
  }
}

template <class C>
void check_all() {
  for (int const workers : {1, 2, 3, 4}) {
    for (std::size_t const n : {1u, 255u, 256u, 257u, 4095u, 4096u, 4097u})
      check<C>({n}, workers);  // up to 4096: one tile, fewer than ranks
    check<C>({1, 255, 4097, 256, 20000}, workers);
  }
}

}  // namespace

TEST_CASE("counted bytes are the told bytes: f32") { check_all<f32>(); }
TEST_CASE("counted bytes are the told bytes: absmax4") { check_all<absmax<4>>(); }
TEST_CASE("counted bytes are the told bytes: sign") { check_all<sign<>>(); }

TEST_CASE("scatter-gather by hand: four ranks, five tiles of one tensor") {
  // 20000 elements: tiles of 4096, 4096, 4096, 4096 and 3616. The padded column has 20224, so a share is
  // 5056.
  // A tile goes to the shard in which it begins: 0 and 4096 to the first, then one each.
  std::size_t const slot = header_bytes + 2 * tile_wire_bytes<absmax<8>>(4096);
  for (traffic const& t : traffic_of<absmax<8>>({20000}, 4, pattern::scatter_gather)) {
    CHECK(t.told == 2 * 3 * slot + 3 * votes);
    CHECK(t.counted == rounds * t.told);
  }
}
