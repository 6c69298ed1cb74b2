// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/compressor.hpp>
#include <diloco/core/access.hpp>
#include <diloco/core/float_formats.hpp>
#include <diloco/core/lanes.hpp>
#include <diloco/core/rng.hpp>
#include <diloco/state/layout.hpp>
#include <diloco/sweep/residual.hpp>
#include <diloco/wire/plan.hpp>

#include <cstddef>
#include <type_traits>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// A count known at compile time. `std::integral_constant` would convert to int on the host only.
template <int N>
struct full_block {
  DILOCO_HD constexpr operator int() const { return N; }
};

namespace detail {

template <class Kernel, lanes L, class Tile>
DILOCO_TAIL DILOCO_HD inline void call_for_tail(Kernel const& kernel, L l, Tile const& t, int offset) {
  kernel.block(l, t, offset, static_cast<int>(t.count) - offset);
}

}  // namespace detail

/// Calls kernel.block(l, t, offset, count) for each block of the tile. Full blocks come first, with the count
/// as a constant. The tail comes last, in code of its own.
template <int Block, class Kernel, lanes L, class Tile>
DILOCO_HD inline void for_each_block(Kernel const& kernel, L l, Tile const& t) {
  int const count = static_cast<int>(t.count);
  int offset = 0;
  for (; offset + Block <= count; offset += Block) kernel.block(l, t, offset, full_block<Block>{});
  if (offset == count) return;
  if constexpr (L::width > 1) {
    kernel.block(l, t, offset, count - offset);
  } else {
    // Passes copies. If the originals were passed by address, g++ would reload their members in every block.
    Kernel const copy = kernel;
    Tile const same = t;
    detail::call_for_tail(copy, l, same, offset);
  }
}

/// Calls f(offset, count) for each block of the tile, for work on single elements. On the host one copy of
/// the code does full blocks and the tail, because for_first needs no constant there.
template <int Block, lanes L, class F>
DILOCO_HD inline void for_each_piece(L, tile const& t, F&& f) {
  int const count = static_cast<int>(t.count);
  if constexpr (L::width > 1) {
    int offset = 0;
    for (; offset + Block <= count; offset += Block) f(offset, full_block<Block>{});
    if (offset < count) f(offset, count - offset);
  } else {
    for (int offset = 0; offset < count; offset += Block)
      f(offset, count - offset < Block ? count - offset : Block);
  }
}

/// The gradients of all rows, as float or bfloat16. Null means that the row has no gradient in this step.
struct gradient_rows {
  void const* const* rows;
  std::uint64_t const* is_bf16;
  /// Calls f with a pointer to the tile's first element.
  template <class F>
  DILOCO_HD void of(tile const& t, F&& f) const {
    if (rows[t.row] == nullptr) return;
    if (is_bf16[t.row] != 0)
      f(static_cast<bfloat16 const*>(rows[t.row]) + t.begin);
    else
      f(static_cast<float const*>(rows[t.row]) + t.begin);
  }
};

/// Upper limits of magnitudes. Within them, a round leaves all state finite.
struct magnitude_limits {
  float sent = 0x1.fffffep+127f;      ///< of encoded values
  float anchor = 0x1.fffffep+126f;    ///< half the largest float: leaves room for a step of equal size
  float estimate = 0x1.fffffep+127f;  ///< of Δ and of the estimate of Δ; only EF21
};
/// These replace a block's magnitude bits. Both are above every limit.
inline constexpr std::uint32_t anchor_too_large = 0xffffffffu, estimate_too_large = 0xfffffffeu;

/// Factors for the elements of a pseudo-gradient before it is sent. A row without factors is sent as it is.
struct element_weights {
  float const* const* rows = nullptr;  // (rows, stride): first element of each
  std::size_t stride = 0;
  float prior = 0.0f;
  /// The terms that are added to `prior`, from the tile's first element on. Null where the row has none.
  DILOCO_HD float const* of(tile const& t) const {
    float const* const row = rows[t.row * stride];
    return row == nullptr ? nullptr : row + t.begin;
  }
};

/// Writes θ into the caller's tensors where θ is the trainer's own float32 copy. A bfloat16 tensor gets θ
/// rounded to nearest even, or stochastically up or down with mean θ.
/// Where |θ| would round to Inf, stochastic rounding gives the largest number. A float32 tensor gets θ
/// itself. `stream` is the same on all ranks after a round.
struct callers_rows {
  bfloat16* const* narrow = nullptr;  // (rows); null: no θ is a copy
  float* const* wide = nullptr;       // (rows)
  bool stochastic = false;
  std::uint32_t seed = 0;
  draw stream = {};

  /// Returns θ if the caller's value still equals θ rounded, because θ has more digits. Otherwise returns
  /// the caller's value. With stochastic rounding, both bfloat16 neighbours of θ count as equal.
  DILOCO_HD float adopted(bfloat16 x, float theta) const {
    std::uint32_t const bits = bits_of(theta), nearest = nearest_bf16(theta).bits;
    bool const drawn =
        stochastic && static_cast<std::uint16_t>(x.bits - static_cast<std::uint16_t>(bits >> 16)) <= 1;
    return x.bits == nearest || drawn ? theta : as_float(x);
  }
  /// As `adopted`, for one block of θ before its step. Usually no element changed; then it writes nothing.
  /// Costs two integer operations and one maximum per element. Reads the cache lines that `write` will write.
  template <int Block, lanes L>
  DILOCO_HD void adopt(L l, tile const& t, int offset, int count, float* DILOCO_RESTRICT theta) const {
    if (narrow != nullptr && narrow[t.row] != nullptr) adopt_narrow<Block>(l, t, offset, count, theta);
  }

  /// Writes θ to the caller's tensor of this row.
  template <int Block, lanes L>
  DILOCO_HD void write(L l, tile const& t, int offset, int count, float const* DILOCO_RESTRICT theta) const {
    if (narrow != nullptr && (narrow[t.row] != nullptr || wide[t.row] != nullptr))
      write_copy<Block>(l, t, offset, count, theta);
  }

 private:
  template <int Block, lanes L>
  DILOCO_RARE DILOCO_HD void adopt_narrow(L l, tile const& t, int offset, int count,
                                          float* DILOCO_RESTRICT theta) const {
    bfloat16 const* DILOCO_RESTRICT from = narrow[t.row] + t.begin + offset + first_element<L, Block>(l);
    constexpr int size = lane_elements<L, Block>;
    int const mine = owned_elements<L, Block>(l, count);
    std::uint32_t const room = stochastic ? 0xffffu : 0x8000u;
    std::uint32_t farthest = 0;
    for_first<L, size, 16>(mine, [&](int i) {
      std::uint32_t const seen = static_cast<std::uint32_t>(from[i].bits) << 16;
      farthest = larger(farthest, seen - bits_of(theta[i]) + room);
    });
    if (farthest <= 2 * room) return;
    for_first<L, size, 16>(mine, [&](int i) { theta[i] = adopted(from[i], theta[i]); });
  }

  template <int Block, lanes L>
  DILOCO_RARE DILOCO_HD void write_copy(L l, tile const& t, int offset, int count,
                                        float const* DILOCO_RESTRICT theta) const {
    constexpr int size = lane_elements<L, Block>;
    int const first = offset + first_element<L, Block>(l), mine = owned_elements<L, Block>(l, count);
    if (narrow[t.row] == nullptr) {
      float* DILOCO_RESTRICT to = wide[t.row] + t.begin + first;
      move_lane<L, size>(theta, mine, to, [](float x) { return x; });
      return;
    }
    bfloat16* DILOCO_RESTRICT to = narrow[t.row] + t.begin + first;
    if (stochastic) {
      std::uint32_t u[size];
      // Draws are indexed by row and position, because a tile's column counts within the list of its group.
      std::uint64_t const element = (std::uint64_t{t.row} << 40) + t.begin + static_cast<std::size_t>(first);
      if constexpr (size % 8 == 0 || 8 % size == 0) {
        draw_sixteen(u, element, stream, seed);
      } else {  // blocks of 96 over 32 lanes
        for (int i = 0; i < size; ++i) {
          std::uint32_t one[1];
          draw_sixteen(one, element + static_cast<std::uint64_t>(i), stream, seed);
          u[i] = one[0];
        }
      }
      for_first<L, size, 16>(mine, [&](int i) {
        std::uint32_t const bits = bits_of(theta[i]), up = (bits + u[i]) >> 16;
        to[i].bits = static_cast<std::uint16_t>((up & 0x7fffu) < 0x7f80u ? up : bits >> 16);
      });
    } else {
      move_lane<L, size>(theta, mine, to, [](float x) { return nearest_bf16(x); });
    }
  }
};

/// Prefetches a cache line. The line may lie past the end of the memory.
DILOCO_HD inline void will_read([[maybe_unused]] std::byte const* line) {
#if !DILOCO_ON_DEVICE
  __builtin_prefetch(line);
#endif
}

/// Index of the first random draw of a block, rounded up to 8. Philox gives eight draws per call, and
/// results must not depend on the lane width. Rows shorter than 256 need not start at a multiple of 8, so
/// neighbours may share up to seven draws.
DILOCO_HD constexpr std::size_t drawn_at(std::size_t column) { return (column + 7) / 8 * 8; }

/// Address of the block at `offset` of a tile within the message, given the tile's first byte.
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

/// Compresses one block with known magnitude bits. Writes its codes and, where there is a residual, e ←
/// keep(x, own decoded bytes, e).
/// If the block's magnitude is beyond `largest`, it marks the row and writes zeros. `column` is where the
/// block begins in the residual's columns.
template <block_compressor C, class Step, int Bits, lanes L>
DILOCO_HD inline void encode_block(L l, C const& compressor, Step const& step, lane_block<L, C::block>& x,
                                   block_info info, std::uint32_t magnitude, wire_block out,
                                   residual_columns<Bits, C::block> const& residual, std::size_t column,
                                   std::uint32_t* bad_row, std::uint32_t row, float largest) {
  magnitude = L::max(magnitude);
  if (magnitude > bits_of(largest)) {
    if (L::rank() == 0)
      L::atomic_min(bad_row, magnitude == anchor_too_large ? row | message_header::anchor_flag : row);
    for (int i = 0; i < x.size; ++i) x.v[i] = 0.0f;
    magnitude = 0;
  }
  info.amax = float_of(magnitude);
  int const count = info.count;
  compressor.encode(l, x, info, out);
  if (residual.none()) return;
  L::sync();
  int const mine = owned_elements<L, C::block>(l, count);
  auto const before = residual.block(l, column, count);
  wire_block_view const in{out.code, out.side};
  if constexpr (Bits == 8) {
    lane_block<L, C::block> e = {};
    compressor.decode(l, count, in, [&](int i, float y) {
      if (count == C::block || i < mine) e.v[i] = step.keep(x.v[i], y, before(i));
    });
    residual.store(l, column, count, e);
  } else {
    constexpr int size = lane_elements<L, C::block>;
    float* DILOCO_RESTRICT e = residual.to + column + first_element<L, C::block>(l);
    if (L::width > 1 && count == C::block) {
      lane_values<float, size> kept;
      compressor.decode(l, count, in, [&](int i, float y) { kept[i] = step.keep(x.v[i], y, before(i)); });
      store_lane<size>(aligned{e}, kept);
    } else if (count == C::block) {
      compressor.decode(l, count, in, [&](int i, float y) { e[i] = step.keep(x.v[i], y, before(i)); });
    } else {
      // The last byte of codes may reach past the tail.
      compressor.decode(l, count, in, [&](int i, float y) {
        if (i < mine) e[i] = step.keep(x.v[i], y, before(i));
      });
    }
  }
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
