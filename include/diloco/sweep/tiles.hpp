// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/compressor.hpp>
#include <diloco/core/lanes.hpp>
#include <diloco/state/layout.hpp>
#include <diloco/wire/plan.hpp>

#include <cstddef>

namespace diloco {
inline namespace v0 {

/// Calls f(offset, count) for each block of the tile: full blocks first, then the tail.
template <int Block, class F>
DILOCO_HD inline void for_each_block(tile const& t, F&& f) {
  int const count = static_cast<int>(t.count);
  int offset = 0;
  for (; offset + Block <= count; offset += Block) f(offset, Block);
  if (offset < count) f(offset, count - offset);
}

/// Where the block at `offset` of a tile lies on the wire, given the tile's first byte.
template <compressor C, class Byte>
DILOCO_HD inline auto block_at(Byte* tile_bytes, tile const& t, int offset) {
  int const index = offset / C::block;
  Byte* code = tile_bytes + static_cast<std::size_t>(index) * C::code_bytes(C::block);
  Byte* side = tile_bytes + code_plane_bytes<C>(t.count) + static_cast<std::size_t>(index) * C::side_bytes;
  if constexpr (std::is_const_v<Byte>) return wire_block_view{code, side};
  else return wire_block{code, side};
}

/// Compresses one block and remembers what it failed to say: writes the wire and, where asked, e ← x − own decoded bytes.
/// A block that cannot be sent is marked by its row and written as zeros.
template <compressor C, class Feedback, lanes L>
DILOCO_HD inline void encode_block(L l, C const& compressor, Feedback const& feedback, fragment<L, C::block>& x, int count,
                                   wire_block out, float* residual, std::uint32_t* bad_row, std::uint32_t row) {
  std::uint32_t const magnitude = magnitude_bits(l, x);
  float amax = float_of(magnitude);
  if (magnitude > bits_of(C::largest)) {
    if (L::rank() == 0) L::atomic_min(bad_row, row);
    for (int i = 0; i < x.size; ++i) x.v[i] = 0.0f;
    amax = 0.0f;
  }
  compressor.encode(l, x, block_info{count, amax}, out);
  if (residual == nullptr) return;
  L::sync();
  auto const y = compressor.decode(l, count, wire_block_view{out.code, out.side});
  for (int i = 0; i < x.size; ++i) x.v[i] = feedback.keep(x.v[i], y.v[i]);
  store<C::block>(l, x, residual, count);
}

}  // namespace v0
}  // namespace diloco
