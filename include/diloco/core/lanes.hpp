// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>
#include <diloco/core/fma.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// A group of threads that own one block together. Reductions take integers only, because a maximum and an
/// integer sum do not depend on the order. So one thread on the host and 32 on the device get the same bits.
template <class L>
concept lanes = std::is_empty_v<L> && requires(std::uint32_t x, std::uint32_t* p) {
  { L::width } -> std::convertible_to<int>;
  { L::rank() } -> std::same_as<int>;
  { L::max(x) } -> std::same_as<std::uint32_t>;
  { L::sum(x) } -> std::same_as<std::uint32_t>;
  { L::before(x) } -> std::same_as<std::uint32_t>;              // sum over the lanes of lower rank
  { L::template max_of<1>(x) } -> std::same_as<std::uint32_t>;  // over each aligned group of so many lanes
  { L::partner(1.0f, 1) } -> std::same_as<float>;               // the value of lane rank() ^ mask
  { L::partner(1.0, 1) } -> std::same_as<double>;
  L::atomic_min(p, x);
  L::atomic_add(p, x);
  L::sync();
};

/// The lanes of the host: one thread owns the whole block.
struct solo {
  static constexpr int width = 1;
  DILOCO_HD static constexpr int rank() { return 0; }
  DILOCO_HD static constexpr std::uint32_t max(std::uint32_t x) { return x; }
  DILOCO_HD static constexpr std::uint32_t sum(std::uint32_t x) { return x; }
  DILOCO_HD static constexpr std::uint32_t before(std::uint32_t) { return 0; }
  template <int>
  DILOCO_HD static constexpr std::uint32_t max_of(std::uint32_t x) {
    return x;
  }
  template <class T>
  DILOCO_HD static constexpr T partner(T x, int) {
    return x;
  }
  DILOCO_HD static void atomic_min([[maybe_unused]] std::uint32_t* p, [[maybe_unused]] std::uint32_t x) {
#if !DILOCO_ON_DEVICE
    auto seen = __atomic_load_n(p, __ATOMIC_RELAXED);
    while (x < seen && !__atomic_compare_exchange_n(p, &seen, x, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
#endif
  }
  DILOCO_HD static void atomic_add(std::uint32_t* p, std::uint32_t x) {
    *p += x;
  }  // memory of this lane group only
  DILOCO_HD static constexpr void sync() {}
};

/// The part of a block that one lane holds in registers: `size` consecutive elements from `rank() * size`.
template <lanes L, int Block>
struct lane_block {
  static_assert(Block % L::width == 0, "diloco: a block must be a multiple of the lanes' width");
  static constexpr int size = Block / L::width;
  float v[size];
};

/// Number of elements in one lane's part of a block.
template <lanes L, int Block>
inline constexpr int lane_elements = lane_block<L, Block>::size;

/// First element of this lane within its block.
template <lanes L, int Block>
DILOCO_HD constexpr int first_element(L) {
  return L::rank() * lane_elements<L, Block>;
}

/// How many of this lane's elements lie in [0, count). For a full block it is a constant, so every loop over
/// it has constant length.
template <lanes L, int Block>
DILOCO_HD constexpr int owned_elements(L l, int count) {
  if (count == Block) return lane_elements<L, Block>;
  int const mine = count - first_element<L, Block>(l);
  return mine < 0 ? 0 : mine < lane_elements<L, Block> ? mine : lane_elements<L, Block>;
}

/// Calls f(i) for i in [0, n), n ≤ N. A lane of many predicates a loop of constant length, because an array
/// that is indexed up to a runtime bound would leave its registers for the stack.
/// On the host, the vector loop runs over whole groups of 8 (16 where the loop moves 16-bit numbers), so that
/// it needs no epilogue. A scalar loop does the rest. Of one loop to n, g++ makes three times the code.
template <lanes L, int N, int Group = 8, class F>
DILOCO_HD inline void for_first(int n, F&& f) {
  if constexpr (L::width > 1) {
    for (int i = 0; i < N; ++i) {
      if (n == N || i < n) f(i);
    }
  } else {
    int const whole = n & ~(Group - 1);
    for (int i = 0; i < whole; ++i) f(i);
    for (int i = whole; i < n; ++i) {
      f(i);
      DILOCO_NO_VECTOR;
    }
  }
}

/// Bits of |x|. Compared as integers, NaN and Inf are above every finite magnitude. So one vectorizable
/// maximum measures a block and also finds numbers that must not be sent (a float max would drop NaN).
DILOCO_HD inline std::uint32_t magnitude_bits(float x) { return bits_of(x) & 0x7fffffffu; }

/// The power of two that scales numbers so that the largest is in [1, 4), given the largest's magnitude bits.
/// Where the largest is below 2⁻¹²⁶, the scaled one is below 1. Squares and sums of scaled numbers stay in
/// range, and the scaling is exact. It is 1 for Inf and NaN.
DILOCO_HD constexpr float unit_of(std::uint32_t largest) {
  std::uint32_t const exponent = largest & 0x7f800000u;
  if (exponent == 0x7f800000u) return 1.0f;
  return float_of(exponent == 0x7f000000u ? 0x00800000u : 0x7f000000u - exponent);
}

DILOCO_HD inline std::uint32_t larger(std::uint32_t a, std::uint32_t b) { return a > b ? a : b; }

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
