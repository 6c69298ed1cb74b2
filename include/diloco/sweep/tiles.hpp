// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/compressor.hpp>
#include <diloco/core/lanes.hpp>
#include <diloco/state/layout.hpp>
#include <diloco/wire/plan.hpp>

#include <cstddef>
#include <type_traits>

namespace diloco {
inline namespace v0 {

/// A count that is known at compile time (`std::integral_constant` converts on the host only).
template <int N>
struct full_block {
  DILOCO_HD constexpr operator int() const { return N; }
};

/// Calls f(offset, count) for each block of the tile: full blocks first, with the count as a constant, then the tail.
template <int Block, class F>
DILOCO_HD inline void for_each_block(tile const& t, F&& f) {
  int const count = static_cast<int>(t.count);
  int offset = 0;
  for (; offset + Block <= count; offset += Block) f(offset, full_block<Block>{});
  if (offset < count) f(offset, count - offset);
}

/// Where the block at `offset` of a tile lies on the wire, given the tile's first byte.
template <compressor C, class Byte>
DILOCO_HD inline auto block_at(Byte* tile_bytes, tile const& t, int offset) {
  int const index = offset / C::block;
  Byte* code = tile_bytes + static_cast<std::size_t>(index) * C::code_bytes(C::block);
  Byte* side = tile_bytes + code_plane_bytes<C>(t.count) + static_cast<std::size_t>(index) * C::side_bytes;
  if constexpr (std::is_const_v<Byte>)
    return wire_block_view{code, side};
  else
    return wire_block{code, side};
}

/// Compresses one block, whose magnitude bits are known, and remembers what it failed to say: writes the wire and, where
/// asked, e ← keep(x, own decoded bytes). A block that cannot be sent is marked by its row and written as zeros.
template <compressor C, class Feedback, lanes L>
DILOCO_HD inline void encode_block(L l, C const& compressor, Feedback const& feedback, fragment<L, C::block>& x,
                                   block_info info, std::uint32_t magnitude, wire_block out,
                                   float* DILOCO_RESTRICT residual, std::uint32_t* bad_row, std::uint32_t row) {
  magnitude = L::max(magnitude);
  if (magnitude > bits_of(C::largest)) {
    if (L::rank() == 0) L::atomic_min(bad_row, row);
    for (int i = 0; i < x.size; ++i) x.v[i] = 0.0f;
    magnitude = 0;
  }
  info.amax = float_of(magnitude);
  int const count = info.count;
  compressor.encode(l, x, info, out);
  if (residual == nullptr) return;
  L::sync();
  float* DILOCO_RESTRICT e = residual + first_element<L, C::block>(l);
  int const mine = owned_elements<L, C::block>(l, count);
  if (count == C::block) {
    compressor.decode(l, count, wire_block_view{out.code, out.side},
                      [&](int i, float y) { e[i] = feedback.keep(x.v[i], y); });
  } else {
    // A byte of codes may reach past the tail.
    compressor.decode(l, count, wire_block_view{out.code, out.side}, [&](int i, float y) {
      if (i < mine) e[i] = feedback.keep(x.v[i], y);
    });
  }
}

}  // namespace v0
}  // namespace diloco
