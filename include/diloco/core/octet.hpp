// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>

#include <cstdint>
#include <type_traits>

#if DILOCO_VECTORS
namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace octets {

/// Eight floats and their bits. They are passed by value only under DILOCO_AVX2, because the ABI is different
/// without AVX.
using floats8 = float __attribute__((vector_size(32)));
using ints8 = std::int32_t __attribute__((vector_size(32)));
using words8 = std::uint32_t __attribute__((vector_size(32)));
/// Eight floats at any address.
struct __attribute__((packed, may_alias)) loose8 {
  floats8 v;
};

#if DILOCO_AVX2
inline floats8 load8(float const* x) { return reinterpret_cast<loose8 const*>(x)->v; }
inline void store8(float* x, floats8 v) { reinterpret_cast<loose8*>(x)->v = v; }
inline words8 bits_of(floats8 x) { return reinterpret_cast<words8>(x); }
inline floats8 float_of(words8 x) { return reinterpret_cast<floats8>(x); }
inline floats8 all8(float x) { return floats8{x, x, x, x, x, x, x, x}; }

inline floats8 fma(floats8 a, floats8 b, floats8 c) { return __builtin_ia32_vfmaddps256(a, b, c); }
/// If one operand is NaN, the result is the second operand.
inline floats8 lesser(floats8 a, floats8 b) { return __builtin_ia32_minps256(a, b); }
inline floats8 greater(floats8 a, floats8 b) { return __builtin_ia32_maxps256(a, b); }
/// −1 where a ≥ b, else 0.
inline words8 minus_at_least(floats8 a, floats8 b) { return reinterpret_cast<words8>(a >= b); }
/// Converts signed integers to floats, and floats to integers towards 0.
inline floats8 floats_of(words8 x) { return __builtin_convertvector(reinterpret_cast<ints8>(x), floats8); }
inline words8 truncated(floats8 x) { return reinterpret_cast<words8>(__builtin_convertvector(x, ints8)); }
/// x where y's top bit is 0, −x where it is 1, 0 where y is 0.
inline words8 negated_as(words8 x, words8 y) {
  return reinterpret_cast<words8>(
      __builtin_ia32_psignd256(reinterpret_cast<ints8>(x), reinterpret_cast<ints8>(y)));
}

/// number(k), where k is the lowest three bits of `index`; the bits above are ignored. It is `pick` in one
/// instruction. `number` returns float or int.
template <class Number>
inline auto pick8(words8 index, Number) {
  constexpr Number n{};
  if constexpr (std::is_same_v<decltype(n(0)), float>) {
    floats8 const table = {n(0), n(1), n(2), n(3), n(4), n(5), n(6), n(7)};
    return floats8(__builtin_ia32_permvarsf256(table, reinterpret_cast<ints8>(index)));
  } else {
    ints8 const table = {n(0), n(1), n(2), n(3), n(4), n(5), n(6), n(7)};
    return reinterpret_cast<words8>(__builtin_ia32_permvarsi256(table, reinterpret_cast<ints8>(index)));
  }
}

/// Stores 32 numbers below 256 as bytes in five instructions. From an array of words g++ takes thirteen.
inline void store_bytes(std::uint8_t* out, words8 a, words8 b, words8 c, words8 d) {
  auto const low = __builtin_ia32_packusdw256(reinterpret_cast<ints8>(a), reinterpret_cast<ints8>(b));
  auto const high = __builtin_ia32_packusdw256(reinterpret_cast<ints8>(c), reinterpret_cast<ints8>(d));
  auto const all = reinterpret_cast<ints8>(__builtin_ia32_packuswb256(low, high));
  auto const in_order = __builtin_ia32_permvarsi256(all, ints8{0, 4, 1, 5, 2, 6, 3, 7});
  __builtin_memcpy(out, &in_order, sizeof in_order);
}
#endif

}  // namespace octets
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
#endif
