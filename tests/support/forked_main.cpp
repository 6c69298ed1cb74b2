// SPDX-License-Identifier: Apache-2.0
// main of a suite over forked_lanes. Every `new` returns memory that processes share.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "support/arena_new.hpp"

#include <sys/mman.h>

#include <cstdio>

int main(int argc, char** argv) {
  constexpr std::size_t bytes = std::size_t{512} << 20, more = support::arena::largest_alignment;
  void* const memory = mmap(nullptr, bytes + more, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 1;
  auto const at = (reinterpret_cast<std::uintptr_t>(memory) + more - 1) / more * more;
  static support::arena all(reinterpret_cast<std::byte*>(at), bytes);
  support::arena_in_use = &all;
  int const result = doctest::Context(argc, argv).run();
  if (all.refused() != 0) std::printf("%zu allocations found no room\n", all.refused());
  return all.refused() != 0 ? 1 : result;
}
