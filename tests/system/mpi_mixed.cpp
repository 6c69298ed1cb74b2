// SPDX-License-Identifier: Apache-2.0
// Host ranks and device ranks in one run over MPI. All ranks must have the same anchor after every round and
// the bits of a host run.
// Ranks with an odd number have the device: a GPU if nvcc compiles this, otherwise a fake device.
#include "support/mpi_world.hpp"
#include "support/placed.hpp"
#if defined(__CUDACC__)
#include <diloco/executor/cuda.cuh>
#else
#include "support/lazy_device.hpp"
#endif

#include <doctest/doctest.h>
#include <diloco/transport/mpi.hpp>

using namespace diloco;

namespace {

#if defined(__CUDACC__)
using device = cuda_stream;
#else
using device = lazy_device;
#endif

/// Digests of the anchor after each of four rounds.
template <class C, class Transport, class Executor>
std::vector<std::uint64_t> digests(Transport transport, Executor where, pattern exchange) {
  int const rank = transport.rank();
  placed<Executor> p(where, {1, 255, 4097, 513, 9000});
  toy::trainer_of<adamw, nesterov, C, Transport, Executor> t(
      {.exchange = {exchange}, .transport = std::move(transport), .schedule = every(2), .executor = where},
      p.parameters);
  std::vector<std::uint64_t> seen;
  for (long step = 0; step < 8; ++step) {
    t.step(p.at(rank, step), {.tokens = 1.0 + rank});
    if (t.rounds() != seen.size()) seen.push_back(t.digest());
  }
  return seen;
}

template <class C>
void check_mixed() {
  for (pattern const exchange : toy::patterns) {
    CAPTURE(C::name);
    CAPTURE(static_cast<int>(exchange));
    auto const mixed = world_rank() % 2 == 1 ? digests<C>(mpi(MPI_COMM_WORLD), device{}, exchange)
                                             : digests<C>(mpi(MPI_COMM_WORLD), cpp{}, exchange);
    CHECK(mixed == digests<C>(mpi(MPI_COMM_WORLD), cpp{}, exchange));
    CHECK(mixed.size() == 4);
    std::vector<std::uint64_t> first = mixed;
    MPI_Bcast(first.data(), 4, MPI_UINT64_T, 0, MPI_COMM_WORLD);
    CHECK(mixed == first);
  }
}

}  // namespace

TEST_CASE("mixed machines: f32") { check_mixed<f32>(); }
TEST_CASE("mixed machines: absmax4") { check_mixed<absmax<4>>(); }
TEST_CASE("mixed machines: top_k") { check_mixed<top_k<64>>(); }
