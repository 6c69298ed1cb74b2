// SPDX-License-Identifier: Apache-2.0
// No allocation after construction. Every operator new of this program is counted per thread. A worker that
// steps, launches and lands must count none, from the first step on.
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <new>

namespace {

thread_local std::size_t allocations = 0;

void* counted_allocation(std::size_t bytes, std::size_t alignment) {
  ++allocations;
  void* const memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// Not inlined: otherwise g++ would see `free` of memory from a `new` that it cannot see through, and warn.
[[gnu::noinline]] void* operator new(std::size_t n) {
  return counted_allocation(n, alignof(std::max_align_t));
}
[[gnu::noinline]] void* operator new[](std::size_t n) {
  return counted_allocation(n, alignof(std::max_align_t));
}
[[gnu::noinline]] void* operator new(std::size_t n, std::align_val_t a) {
  return counted_allocation(n, static_cast<std::size_t>(a));
}
[[gnu::noinline]] void* operator new[](std::size_t n, std::align_val_t a) {
  return counted_allocation(n, static_cast<std::size_t>(a));
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

using namespace diloco;

namespace {

std::vector<std::size_t> const sizes{5, 700, 4097, 256};

constexpr long due = 9;  // of the schedule: it starts one round; the caller starts the others
constexpr std::uint64_t rounds_of_a_run = 4;

/// Runs steps up to a scheduled round, then rounds by hand with a step in between and mixed landings. Returns
/// this thread's allocations.
template <class Trainer>
std::size_t allocated_by_a_run(Trainer& t, toy::model& m, int rank) {
  std::size_t const before = allocations;
  for (long step = 0; step < due; ++step) t.step(m.gradients(rank, step), {.lr_scale = 0.5f, .tokens = 3});
  for (long step = due; step < due + 2; ++step) {
    t.step(m.gradients(rank, step));
    auto flight = t.launch();
    t.step(m.gradients(rank, step + 10));
    t.land(std::move(flight), {.mix = 0.5f});
  }
  t.sync();
  return allocations - before;
}

template <class C, class Inner>
void check_alone() {
  CAPTURE(C::name);
  toy::model m(sizes);
  toy::trainer_of<Inner, nesterov, C, alone, cpp, counters> t(
      {.exchange = {}, .transport = alone{}, .schedule = every(due)}, m.parameters());
  CHECK(allocated_by_a_run(t, m, 0) == 0);
  CHECK(t.rounds() == rounds_of_a_run);
}

template <class C>
void check_threads(int workers, pattern exchange) {
  CAPTURE(C::name);
  CAPTURE(workers);
  CAPTURE(static_cast<int>(exchange));
  auto const seen = toy::on_each_rank(workers, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    toy::trainer_of<adamw, nesterov, C, counted<threads>> t(
        {.exchange = {exchange}, .transport = counted(std::move(transport)), .schedule = every(due)},
        m.parameters());
    return std::pair{allocated_by_a_run(t, m, rank), t.rounds()};
  });
  for (auto const& [allocated, rounds] : seen) {
    CHECK(allocated == 0);
    CHECK(rounds == rounds_of_a_run);
  }
}

}  // namespace

TEST_CASE("the count sees what it should see") {
  std::size_t const before = allocations;
  auto const one = std::make_unique<int>(1);
  buffer const wire = cpp{}.allocate_wire(64);
  CHECK(allocations - before == 2);
  CHECK(*one == 1);
}

TEST_CASE("alone: nothing is allocated after construction") {
  check_alone<f32, adamw>();
  check_alone<bf16, lion>();
  check_alone<absmax<8>, sgd>();
  check_alone<absmax<4>, adamw>();
  check_alone<sign<>, plain_sgd>();
}

TEST_CASE("threads: nothing is allocated after construction") {
  for (int const workers : {2, 4}) {
    for (pattern const exchange : toy::patterns) {
      check_threads<f32>(workers, exchange);
      check_threads<absmax<4>>(workers, exchange);
    }
  }
}

TEST_CASE("threads in pairs: nothing is allocated after construction, whoever meets whom") {
  for (int const workers : {2, 5}) {
    auto const seen = toy::on_each_rank(workers, [&](threads transport) {
      int const rank = transport.rank();
      toy::model m(sizes);
      DiLoCo<adamw, noloco, absmax<4>, counted<threads>, error_feedback, weighted_mean, gossip, every> t(
          {.exchange = {}, .transport = counted(std::move(transport)), .schedule = every(due)},
          m.parameters());
      std::size_t const sum = allocated_by_a_run(t, m, rank), before = allocations;
      for (long round = 0; round < 20; ++round) {
        t.step(m.gradients(rank, round));
        if (t.rounds() == rounds_of_a_run + static_cast<std::uint64_t>(round)) t.sync();
      }
      return std::pair{sum + allocations - before, t.rounds()};
    });
    for (auto const& [allocated, rounds] : seen) {
      CHECK(allocated == 0);
      CHECK(rounds == rounds_of_a_run + 20);
    }
  }
}

TEST_CASE("external inner: nothing is allocated after construction") {
  toy::model m(sizes);
  toy::trainer_of<external, nesterov, absmax<8>, alone> t(
      {.exchange = {}, .transport = alone{}, .schedule = every(due)}, m.parameters());
  std::size_t const before = allocations;
  for (int step = 0; step < 6; ++step) {
    m[1][7] -= 0.125f;
    t.after_step(2);
    if (step % 3 == 2) t.sync();
  }
  CHECK(allocations - before == 0);
  CHECK(t.rounds() == 2);
}
