// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/compressor.hpp>
#include <diloco/core/access.hpp>
#include <diloco/core/fma.hpp>
#include <diloco/core/pack.hpp>

#include <cstddef>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// The two buffers of a residual. Kernels read `from`; `to` becomes current when the round commits. Both are
/// null where there is no residual.
/// `Bits` = 32: plain floats. `Bits` = 8: integers in ±127, and behind all of them one float per block of
/// `Block` elements.
template <int Bits, int Block>
struct residual_columns {
  static_assert(Bits == 32 || Bits == 8, "diloco: feedback: residual_bits is 32 or 8");
  static_assert(Block % 4 == 0);

  float* from = nullptr;
  float* to = nullptr;
  std::size_t elements = 0;

  /// Floats of storage for a column of n elements. n must be a multiple of Block.
  static constexpr std::size_t floats(std::size_t n) { return Bits == 32 ? n : n / 4 + n / Block; }
  DILOCO_HD bool none() const { return to == nullptr; }

  /// Returns e(i), the residual of the lane's i-th element in the block at `column`. 8-bit values are widened
  /// first, because a loop that also loads bytes does not vectorize (1.4 instead of 0.3 ns per element).
  template <lanes L>
  DILOCO_HD auto block(L l, std::size_t column, int count) const {
    if constexpr (Bits == 32 && L::width > 1) {
      widened<L> w = {};
      read_lane<L, lane_elements<L, Block>>(from + column + first_element<L, Block>(l),
                                            owned_elements<L, Block>(l, count),
                                            [&](int i, float e) { w.e.v[i] = e; });
      return w;
    } else if constexpr (Bits == 32) {
      return floats_of_block{from + column + first_element<L, Block>(l)};
    } else {
      auto const* DILOCO_RESTRICT q =
          reinterpret_cast<signed char const*>(from) + column + first_element<L, Block>(l);
      float const unit = from[elements / 4 + column / Block];
      widened<L> w = {};
      read_lane<L, lane_elements<L, Block>>(
          q, owned_elements<L, Block>(l, count),
          [&](int i, signed char code) { w.e.v[i] = product(static_cast<float>(code), unit); });
      return w;
    }
  }
  /// Stores a block in 8 bits: q = rne(e·127/amax), read back as q·(amax/127).
  template <lanes L>
  DILOCO_HD void store(L l, std::size_t column, int count, lane_block<L, Block> const& e) const {
    static_assert(Bits == 8);
    int const mine = owned_elements<L, Block>(l, count);
    std::uint32_t magnitude = 0;
    for (int i = 0; i < e.size; ++i) magnitude = larger(magnitude, i < mine ? magnitude_bits(e.v[i]) : 0u);
    float const amax = float_of(L::max(magnitude));
    bool const zero = amax < smallest_block_magnitude;
    float const scale = zero ? 0.0f : 127.0f / amax;
    pack<8, Block>(l, count, reinterpret_cast<std::byte*>(to) + column, [&](int i) {
      return bits_of(fma(e.v[i], scale, 12582912.0f)) & 0xffu;
    });  // adding 1.5·2²³ makes the FPU round
    if (L::rank() == 0) to[elements / 4 + column / Block] = zero ? 0.0f : amax * (1.0f / 127.0f);
  }

 private:
  struct floats_of_block {
    float const* DILOCO_RESTRICT e;
    DILOCO_HD float operator()(int i) const { return e[i]; }
  };
  template <lanes L>
  struct widened {
    lane_block<L, Block> e;
    DILOCO_HD float operator()(int i) const { return e.v[i]; }
  };
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
