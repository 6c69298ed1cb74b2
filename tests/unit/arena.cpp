// SPDX-License-Identifier: Apache-2.0
// The arena that device tests take memory from, here over host memory; and `new` on top of it.
#include "support/arena_new.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <set>
#include <thread>
#include <vector>

namespace {

using support::arena;

/// An arena that owns its memory.
struct owned {
  std::byte* memory;
  arena all;
  explicit owned(std::size_t bytes)
      : memory(static_cast<std::byte*>(
            std::aligned_alloc(arena::largest_alignment, arena::largest_alignment * 4))),
        all(memory, bytes) {}
  ~owned() { std::free(memory); }
  owned(owned const&) = delete;
  owned& operator=(owned const&) = delete;
};

bool aligned(void const* p, std::size_t to) { return reinterpret_cast<std::uintptr_t>(p) % to == 0; }

/// Makes `new` use an arena during its lifetime.
struct in_use {
  explicit in_use(arena& a) { support::arena_in_use = &a; }
  ~in_use() { support::arena_in_use = nullptr; }
  in_use(in_use const&) = delete;
  in_use& operator=(in_use const&) = delete;
};

}  // namespace

TEST_CASE("arena: blocks are aligned, inside, and do not overlap") {
  owned o(8 << 20);
  std::vector<std::pair<std::byte*, std::size_t>> blocks;
  for (std::size_t alignment : {16u, 64u, 256u, 4096u, 2u << 20}) {
    for (std::size_t bytes : {0u, 1u, 255u, 256u, 257u, 10000u}) {
      auto* const p = static_cast<std::byte*>(o.all.take(bytes, alignment));
      if (p == nullptr) continue;  // there is room for three blocks of the largest alignment
      CHECK(aligned(p, alignment));
      CHECK(o.all.holds(p));
      CHECK((p >= o.memory && p + bytes <= o.memory + (8 << 20)));
      for (auto const& [other, size] : blocks) CHECK((p + bytes <= other || other + size <= p));
      blocks.emplace_back(p, std::max<std::size_t>(bytes, 1));
    }
  }
  CHECK(blocks.size() >= 24);
}

TEST_CASE("arena: what is given back is taken again, by its size") {
  owned o(1 << 20);
  void* const small = o.all.take(300, 16);
  void* const large = o.all.take(5000, 16);
  std::memset(small, 0xff, 300);
  o.all.give_back(small);
  o.all.give_back(large);
  CHECK(o.all.take(4097, 64) == large);
  CHECK(o.all.take(512, 512) == small);
  CHECK(o.all.take(512, 16) != small);
  for (int i = 0; i < 100000; ++i) o.all.give_back(o.all.take(100000, 16));
  CHECK(o.all.refused() == 0);
}

TEST_CASE("arena: full, it gives nothing and counts; what it does not own, it knows") {
  owned o(64 << 10);
  std::set<void*> blocks;
  while (void* const p = o.all.take(1000, 16)) blocks.insert(p);
  CHECK(blocks.size() == 63);  // the rest holds the sizes of all blocks
  CHECK(o.all.refused() == 1);
  CHECK(o.all.take(~std::size_t{0}, 16) == nullptr);
  CHECK(o.all.take(1, arena::largest_alignment * 2) == nullptr);
  o.all.give_back(*blocks.begin());
  CHECK(o.all.take(1024, 16) == *blocks.begin());
  int foreign = 0;
  CHECK_FALSE(o.all.holds(&foreign));
  CHECK_FALSE(o.all.holds(nullptr));
  CHECK_FALSE(o.all.holds(o.memory + (64 << 10)));
  CHECK(o.all.holds(o.memory + 255 * arena::unit - 1));
  CHECK_FALSE(o.all.holds(o.memory + 255 * arena::unit));
}

TEST_CASE("arena: threads take and give back at once") {
  owned o(8 << 20);
  std::vector<std::jthread> threads;
  std::atomic<int> damaged{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20000; ++i) {
        auto const size = static_cast<std::size_t>(1 + i % 3000);
        auto* const p = static_cast<unsigned char*>(o.all.take(size, 16));
        if (p == nullptr) continue;
        std::memset(p, t, size);
        damaged += p[0] != t || p[size - 1] != t ? 1 : 0;
        o.all.give_back(p);
      }
    });
  }
  threads.clear();
  CHECK(damaged == 0);
  CHECK(o.all.refused() == 0);
}

TEST_CASE("arena: every form of new takes from the arena in use, every delete tells where from") {
  struct alignas(1024) wide {
    float v[256];
  };
  owned o(1 << 20);
  auto* const before = new int(1);
  // asserted below, because doctest allocates too
  bool from_arena[7], aligned_well = false, fell_back = false;
  {
    in_use const now(o.all);
    auto* const one = new int(2);
    auto* const many = new double[100];
    auto* const quiet = new (std::nothrow) int(3);
    auto* const quiet_many = new (std::nothrow) int[3];
    auto* const big = new wide;
    auto* const bigs = new wide[3];
    auto* const quiet_big = new (std::nothrow) wide;
    void* const all[] = {one, many, quiet, quiet_many, big, bigs, quiet_big};
    for (std::size_t i = 0; i < 7; ++i) from_arena[i] = o.all.holds(all[i]);
    aligned_well = aligned(big, 1024) && aligned(bigs, 1024) && aligned(quiet_big, 1024);
    delete one;
    delete[] many;
    delete quiet;
    delete[] quiet_many;
    delete big;
    delete[] bigs;
    delete quiet_big;
    delete before;  // allocated by malloc
    std::vector<std::byte> const too_large(2 << 20);
    fell_back = !o.all.holds(too_large.data());
  }
  CHECK(fell_back);
  for (bool each : from_arena) CHECK(each);
  CHECK(aligned_well);
  CHECK(o.all.refused() == 1);
}
