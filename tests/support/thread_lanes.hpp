// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "support/executors.hpp"

#include <barrier>
#include <bit>
#include <thread>
#include <vector>

#if DILOCO_TEST_ON_DEVICE
using lane_threads = support::main_executor;  // it already has 32 lanes, so threads are not needed
#else

/// 32 threads that own one block together, as a warp does on a device, with the same collective calls. So
/// tests without a GPU can show that kernels give the bits of one thread. One group at a time per process.
struct thread_lanes {
  static constexpr int width = 32;
  static int rank() { return own; }
  static std::uint32_t max(std::uint32_t x) { return max_of<32>(x); }
  static std::uint32_t sum(std::uint32_t x) {
    return exchange(x, [](std::uint32_t const* all) {
      std::uint32_t s = 0;
      for (int r = 0; r < 32; ++r) s += all[r];
      return s;
    });
  }
  static std::uint32_t before(std::uint32_t x) {
    return exchange(x, [](std::uint32_t const* all) {
      std::uint32_t s = 0;
      for (int r = 0; r < own; ++r) s += all[r];
      return s;
    });
  }
  template <int Lanes>
  static std::uint32_t max_of(std::uint32_t x) {
    return exchange(x, [](std::uint32_t const* all) {
      std::uint32_t most = 0;
      for (int r = own / Lanes * Lanes; r < own / Lanes * Lanes + Lanes; ++r)
        most = diloco::larger(most, all[r]);
      return most;
    });
  }
  static float partner(float x, int mask) {
    return diloco::float_of(
        exchange(diloco::bits_of(x), [mask](std::uint32_t const* all) { return all[own ^ mask]; }));
  }
  static double partner(double x, int mask) {
    auto const bits = std::bit_cast<std::uint64_t>(x);
    auto const exchanged = [mask](std::uint64_t word) -> std::uint64_t {
      return exchange(static_cast<std::uint32_t>(word),
                      [mask](std::uint32_t const* all) { return all[own ^ mask]; });
    };
    return std::bit_cast<double>(exchanged(bits) | exchanged(bits >> 32) << 32);
  }
  static void atomic_min(std::uint32_t* p, std::uint32_t x) { diloco::solo::atomic_min(p, x); }
  static void atomic_add(std::uint32_t* p, std::uint32_t x) { __atomic_fetch_add(p, x, __ATOMIC_RELAXED); }
  static void sync() { meeting.arrive_and_wait(); }

 private:
  template <class F>
  static std::uint32_t exchange(std::uint32_t x, F&& f) {
    words[own] = x;
    sync();
    std::uint32_t const result = f(words);
    sync();  // before the next exchange overwrites them
    return result;
  }
  static inline thread_local int own = 0;
  static inline std::uint32_t words[32];
  static inline std::barrier<> meeting{32};
  friend struct lane_threads;
};
static_assert(diloco::lanes<thread_lanes>);

/// Runs thread_lanes over one tile after another.
struct lane_threads {
  static constexpr std::string_view name = "lane_threads";
  static constexpr bool columns_on_host = true;
  static constexpr diloco::executor_traits traits{};
  [[nodiscard]] diloco::buffer allocate(std::size_t bytes) const { return diloco::cpp{}.allocate(bytes); }
  [[nodiscard]] diloco::buffer allocate_wire(std::size_t bytes) const {
    return diloco::cpp{}.allocate(bytes);
  }
  template <class Kernel>
  void for_each(std::size_t n, Kernel const& kernel) const {
    std::vector<std::jthread> threads;
    for (int r = 0; r < 32; ++r) {
      threads.emplace_back([&kernel, n, r] {
        thread_lanes::own = r;
        for (std::size_t tile = 0; tile < n; ++tile) kernel(thread_lanes{}, tile);
      });
    }
  }
  void wait() const {}
};

#endif
