// SPDX-License-Identifier: Apache-2.0 The same run over MPI and over threads gives the same bits.
// Mismatches are named on every rank, and bytes are counted. Checks are collective, so every rank makes
// every check and the same calls.
#include "support/mpi_world.hpp"
#include "support/toy.hpp"

#include <doctest/doctest.h>
#include <diloco/transport/mpi.hpp>

#include <limits>

using namespace diloco;

namespace {

std::vector<std::size_t> const sizes{1, 255, 4097, 513};
constexpr int rounds = 3, inner_steps = 2;

template <class C, class Transport>
using trainer = toy::trainer_of<adamw, nesterov, C, Transport>;

/// Digests of one worker after each round, over any transport.
template <class C, class Transport>
std::vector<std::uint64_t> digests_over(Transport transport, pattern exchange) {
  int const rank = transport.rank();
  toy::model m(sizes);
  trainer<C, Transport> t(
      {.exchange = {exchange}, .transport = std::move(transport), .schedule = every(inner_steps)},
      m.parameters());
  std::vector<std::uint64_t> digests;
  for (long step = 0; step < rounds * inner_steps; ++step) {
    t.step(m.gradients(rank, step), {.tokens = 1.0 + rank});
    if (t.rounds() != digests.size()) digests.push_back(t.digest());
  }
  return digests;
}

template <class C>
void check_same_bits() {
  for (pattern const exchange : toy::patterns) {
    CAPTURE(C::name);
    CAPTURE(static_cast<int>(exchange));
    auto const here = digests_over<C>(mpi(MPI_COMM_WORLD), exchange);
    auto const threaded =
        toy::on_each_rank(world_size(), [&](threads t) { return digests_over<C>(std::move(t), exchange); });
    CHECK(here.size() == rounds);
    CHECK(here == threaded[0]);
  }
}

}  // namespace

TEST_CASE("mpi: the same bits as over threads, f32") { check_same_bits<f32>(); }
TEST_CASE("mpi: the same bits as over threads, absmax4") { check_same_bits<absmax<4>>(); }

TEST_CASE("mpi: groups give the same bits as over threads, and their bytes are counted") {
  int const group = world_size() % 2 == 0 ? 2 : 1;
  auto const run = [&](auto transport, std::size_t* far) {
    int const rank = transport.rank();
    toy::model m(sizes);
    counted watched(std::move(transport), group);
    auto const counts = watched.counts();
    DiLoCo<adamw, nesterov, absmax<4>, decltype(watched), error_feedback, weighted_mean, two_level<absmax<8>>>
        t({.exchange = {group, {}}, .transport = std::move(watched), .schedule = every(inner_steps)},
          m.parameters());
    std::size_t const before = counts->sent_bytes, far_before = counts->between_groups;
    for (long step = 0; step < rounds * inner_steps; ++step)
      t.step(m.gradients(rank, step), {.tokens = 1.0 + rank});
    CHECK(counts->sent_bytes - before == rounds * t.wire_bytes_per_round());
    CHECK(counts->between_groups - far_before == rounds * t.wire_bytes_between_groups());
    if (far != nullptr) *far = t.wire_bytes_between_groups();
    return t.digest();
  };
  std::size_t far = 0;
  auto const here = run(mpi(MPI_COMM_WORLD), &far);
  auto const threaded =
      toy::on_each_rank(world_size(), [&](threads t) { return run(std::move(t), nullptr); });
  CHECK(here == threaded[0]);
  CHECK((far > 0) == (world_size() > group));
}

TEST_CASE("mpi: wires arrive in rank order, whole or cut") {
  mpi transport(MPI_COMM_WORLD);
  int const rank = transport.rank(), size = transport.size();
  CHECK(rank == world_rank());
  CHECK(size == world_size());
  auto const k = static_cast<std::size_t>(size);
  constexpr std::size_t slot = 48;
  // Byte i from rank r to rank t is 16·r + t, so every slot shows its sender and its receiver.
  auto const fill = [&](wires& w, std::size_t slots) {
    for (std::size_t s = 0; s < slots; ++s) {
      for (std::size_t i = 0; i < slot; ++i)
        w.send.data()[s * slot + i] = static_cast<std::byte>(16 * rank + static_cast<int>(s));
    }
  };
  wires whole{cpp{}.allocate_wire(slot), cpp{}.allocate_wire(slot * k)},
      cut{cpp{}.allocate_wire(slot * k), cpp{}.allocate_wire(slot * k)};
  fill(whole, 1);
  fill(cut, k);
  // Both are in flight at once and are waited for in the opposite order.
  auto first = transport.all_gather(std::move(whole), {0, 0});
  auto second = transport.all_to_all(std::move(cut), {0, 1});
  auto cut_arrived = second.wait(deadline_after(60));
  auto whole_arrived = first.wait(deadline_after(60));
  REQUIRE(whole_arrived);
  REQUIRE(cut_arrived);
  REQUIRE(whole_arrived->roster().size() == k);
  for (int r = 0; r < size; ++r) {
    CHECK(whole_arrived->roster()[static_cast<std::size_t>(r)] == r);
    CHECK(whole_arrived->message(r).size() == slot);
    CHECK(whole_arrived->message(r)[slot - 1] == static_cast<std::byte>(16 * r));
    CHECK(cut_arrived->message(r).size() == slot);
    CHECK(cut_arrived->message(r)[0] == static_cast<std::byte>(16 * r + rank));
  }
  auto const back = std::move(*whole_arrived).reclaim(deadline_after(60));
  REQUIRE(back);
  CHECK((*back).send.size() == slot);
}

TEST_CASE("mpi: counted bytes are the told bytes") {
  for (pattern const exchange : toy::patterns) {
    toy::model m(sizes);
    counted watched{mpi(MPI_COMM_WORLD)};
    auto const counts = watched.counts();
    trainer<absmax<4>, counted<mpi>> t(
        {.exchange = {exchange}, .transport = std::move(watched), .schedule = every(1)}, m.parameters());
    CHECK(counts->sent_bytes == 8 * (contract_term_count + 2 * sizes.size() + 1) *
                                    static_cast<std::size_t>(world_size() - 1));  // the contract
    std::size_t const before = counts->sent_bytes;
    for (int round = 0; round < rounds; ++round) t.step(m.gradients(world_rank(), round));
    CHECK(counts->sent_bytes - before == rounds * t.wire_bytes_per_round());
    CHECK((t.wire_bytes_per_round() > 0) == (world_size() > 1));
  }
}

TEST_CASE("mpi: what does not match is named on every rank") {
  if (world_size() == 1) return;
  int const rank = world_rank(), odd = world_size() - 1;
  auto const made = [&](auto change) {
    toy::model m(sizes);
    trainer<f32, mpi>::recipe_type r{.exchange = {}, .transport = mpi(MPI_COMM_WORLD), .schedule = every(20)};
    if (rank == odd) change(r, m);
    return toy::sentence(toy::outcome_of(trainer<f32, mpi>::make(std::move(r), m.parameters())));
  };
  std::string const start = "diloco: contract: rank " + std::to_string(odd) + " and rank 0 disagree on the ";
  std::string const end = "; give all ranks the same";
  CHECK(made([](auto&, auto&) {}) == "no error");
  CHECK(made([](auto& r, auto&) { r.schedule = every(30); }) ==
        start + "schedule's inner_steps; rank " + std::to_string(odd) + " has 30 and rank 0 has 20" + end);
  CHECK(made([](auto&, toy::model& m) { m.parameters().pop_back(); }) ==
        start + "tensors; rank " + std::to_string(odd) +
            " has 3 tensors of 4353 elements in all and rank 0 has 4 tensors of 4866 elements in all" + end);
  std::string const seen = made([](auto&, toy::model& m) { m[2][4096] += 1; });
  CHECK(seen.substr(0, seen.find(" has ")) == start + "initial values of 't2'; rank " + std::to_string(odd));
  // The error of a rank that cannot be constructed arrives at once, and the next trainer can use the
  // communicator.
  std::string const bad = "diloco: schedule every: inner_steps = 0 must be a number not below 1";
  CHECK(made([](auto& r, auto&) { r.schedule = every(0); }) ==
        (rank == odd ? bad : "diloco: rank " + std::to_string(odd) + " refused: " + bad));
  std::string const nan = "diloco: the parameter 't1' holds a value that is not finite";
  CHECK(made([](auto&, toy::model& m) { m[1][0] = std::numeric_limits<float>::quiet_NaN(); }) ==
        (rank == odd ? nan : "diloco: rank " + std::to_string(odd) + " refused: " + nan));
  CHECK(made([](auto&, auto&) {}) == "no error");
}

TEST_CASE(
    "mpi: a round that one rank cannot take part in is dropped on every rank, and the next one stands") {
  for (pattern const exchange : toy::patterns) {
    int const rank = world_rank(), odd = world_size() - 1;
    toy::model m(sizes);
    trainer<absmax<4>, mpi> t(
        {.exchange = {exchange}, .transport = mpi(MPI_COMM_WORLD), .schedule = every(1000)}, m.parameters());
    t.step(m.gradients(rank, 0));
    t.sync();
    t.step(m.gradients(rank, 1));
    float const kept = m[2][4096];
    if (rank == odd) m[2][4096] = std::numeric_limits<float>::quiet_NaN();
    auto const before = toy::state_of(t, m);
    auto const dropped = t.try_sync();
    CHECK(toy::sentence(toy::outcome_of(dropped)) ==
          "diloco: round 1: rank " + std::to_string(odd) +
              ": the pseudo-gradient of 't2' is not finite or beyond 1.2152943e+37, the "
              "largest magnitude of nesterov; the round is dropped on every rank and nothing was changed");
    CHECK(toy::state_of(t, m) == before);
    m[2][4096] = kept;
    CHECK(toy::sentence(toy::outcome_of(t.try_sync())) == "no error");
    CHECK(t.rounds() == 2);
  }
}

TEST_CASE("mpi: the caller's traffic on the same communicator does not meet ours") {
  int const rank = world_rank(), size = world_size();
  mpi transport(MPI_COMM_WORLD);
  int sum = 0;
  wires w{cpp{}.allocate_wire(16), cpp{}.allocate_wire(16 * static_cast<std::size_t>(size))};
  auto pending = transport.all_gather(std::move(w), {0, 0});
  MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  CHECK(sum == size * (size - 1) / 2);
  CHECK(pending.wait(deadline_after(60)).has_value());
}
