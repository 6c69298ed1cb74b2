// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/compressor.hpp>
#include <diloco/core/fma.hpp>

#include <cstddef>

namespace diloco {
inline namespace v0 {

/// A residual's two buffers: `from` is read, `to` becomes current when the round commits; both null where there is none.
/// `Bits` is 32, plain floats, or 8: integers in ±127 and, behind all of them, a float per block of `Block` elements.
template <int Bits, int Block>
struct residual_columns {
  static_assert(Bits == 32 || Bits == 8, "diloco: feedback: residual_bits is 32 or 8");
  static_assert(Block % 4 == 0);

  float* from = nullptr;
  float* to = nullptr;
  std::size_t elements = 0;

  /// Floats that a column of n elements takes; n is a multiple of Block.
  static constexpr std::size_t floats(std::size_t n) { return Bits == 32 ? n : n / 4 + n / Block; }
  DILOCO_HD bool none() const { return to == nullptr; }

  /// e of the block that begins at `column`, as a function of the element within the block.
  DILOCO_HD auto block(std::size_t column) const {
    if constexpr (Bits == 32) {
      return floats_of_block{from + column};
    } else {
      return integers_of_block{reinterpret_cast<signed char const*>(from) + column,
                               from[elements / 4 + column / Block]};
    }
  }
  /// Stores a block in 8 bits: q = rne(e·127/amax), read back as q·(amax/127).
  template <lanes L>
  DILOCO_HD void store(L l, std::size_t column, int count, fragment<L, Block> const& e) const {
    static_assert(Bits == 8);
    int const mine = owned_elements<L, Block>(l, count);
    std::uint32_t magnitude = 0;
    for (int i = 0; i < e.size; ++i) magnitude = larger(magnitude, i < mine ? magnitude_bits(e.v[i]) : 0u);
    float const amax = float_of(L::max(magnitude));
    bool const zero = amax < smallest_block_magnitude;
    float const scale = zero ? 0.0f : 127.0f / amax;
    auto* DILOCO_RESTRICT code = reinterpret_cast<signed char*>(to) + column + first_element<L, Block>(l);
    for_first<L, lane_elements<L, Block>>(mine, [&](int i) {
      code[i] = static_cast<signed char>(bits_of(fma(e.v[i], scale, 12582912.0f)));  // 1.5·2²³: the FPU rounds
    });
    if (L::rank() == 0) to[elements / 4 + column / Block] = zero ? 0.0f : amax * (1.0f / 127.0f);
  }

 private:
  struct floats_of_block {
    float const* DILOCO_RESTRICT e;
    DILOCO_HD float operator()(int i) const { return e[i]; }
  };
  struct integers_of_block {
    signed char const* DILOCO_RESTRICT q;
    float unit;
    DILOCO_HD float operator()(int i) const { return product(static_cast<float>(q[i]), unit); }
  };
};

}  // namespace v0
}  // namespace diloco
