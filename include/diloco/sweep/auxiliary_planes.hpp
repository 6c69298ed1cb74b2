// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/sweep/tiles.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Columns sent beside the pseudo-gradient, as float32 planes after each shard's payload.
struct auxiliary_planes {
  tile const* tiles;
  float* const* from;                // (rows, planes): first element of each row; null: the row has none
  float* const* to;                  // likewise: destination of the mean
  std::size_t const* shard_columns;  // (shards): first padded element
  std::size_t planes;
  // offset: bytes from slot start
  // stride: elements between planes
  std::size_t offset, stride;

  template <class Byte>
  DILOCO_HD auto* on_wire(Byte* slot, tile const& t, std::size_t plane) const {
    using number = std::conditional_t<std::is_const_v<Byte>, float const, float>;
    return reinterpret_cast<number*>(slot + offset) + plane * stride + (t.column - shard_columns[t.shard]);
  }
  DILOCO_HD float* column(float* const* table, tile const& t, std::size_t plane) const {
    float* const row = table[t.row * planes + plane];
    return row == nullptr ? nullptr : row + t.begin;
  }
};

/// Writes the columns into the slots and records the first non-finite row.
struct write_planes_kernel {
  static constexpr int block = 256;

  auxiliary_planes planes;
  std::byte* slots;  // (shards, slot_bytes)
  std::size_t slot_bytes;
  std::uint32_t* bad_row;

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    tile const t = planes.tiles[index];
    std::uint32_t largest = 0;
    for (std::size_t plane = 0; plane < planes.planes; ++plane) {
      float const* const from = planes.column(planes.from, t, plane);
      if (from == nullptr) continue;
      float* const to = planes.on_wire(slots + t.shard * slot_bytes, t, plane);
      for_each_piece<block>(l, t, [&](int offset, auto count) {
        int const first = offset + first_element<L, block>(l);
        float const* DILOCO_RESTRICT x = from + first;
        float* DILOCO_RESTRICT y = to + first;
        for_first<L, lane_elements<L, block>>(owned_elements<L, block>(l, count), [&](int i) {
          largest = larger(largest, magnitude_bits(x[i]));
          y[i] = x[i];
        });
      });
    }
    largest = L::max(largest);
    if (largest >= 0x7f800000u && L::rank() == 0) L::atomic_min(bad_row, t.row);
  }
};

/// Computes the mean Σ c_k · wire_k in roster order. Non-finite values count as 0.
/// With to_slot: writes the shard's mean there. Otherwise: writes the mean to the destination columns.
/// mix applies only if source and destination are the same column x: x ← mix·x + (1 − mix)·mean.
struct average_planes_kernel {
  static constexpr int block = 256;

  auxiliary_planes planes;
  std::byte const* const* wire;  // (contributors) slots, or (shards, contributors)
  float const* coefficient;      // (contributors)
  int contributors;              // of each tile
  bool sharded;                  // each shard has messages of its own
  std::byte* to_slot;            // null: write to the destination columns
  float mix;

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    tile const t = planes.tiles[index];
    for (std::size_t plane = 0; plane < planes.planes; ++plane) {
      float* const column = planes.column(planes.to, t, plane);
      if (column == nullptr) continue;
      float* const to = to_slot == nullptr ? column : planes.on_wire(to_slot, t, plane);
      std::byte const* const* const from =
          wire + (sharded ? t.shard * static_cast<std::uint32_t>(contributors) : 0);
      for_each_piece<block>(l, t, [&](int offset, auto count) {
        int const first = offset + first_element<L, block>(l);
        int const mine = owned_elements<L, block>(l, count);
        lane_block<L, block> sum;
        for (int k = 0; k < contributors; ++k) {
          float const c = coefficient[k];
          float const* DILOCO_RESTRICT y = planes.on_wire(from[k], t, plane) + first;
          for_first<L, lane_elements<L, block>>(
              mine, [&](int i) { sum.v[i] = fma(c, finite_or_zero(y[i]), k == 0 ? 0.0f : sum.v[i]); });
        }
        float* DILOCO_RESTRICT out = to + first;
        bool const in_place = to_slot == nullptr && column == planes.column(planes.from, t, plane);
        float const keep = in_place ? mix : 0.0f;
        for_first<L, lane_elements<L, block>>(
            mine, [&](int i) { out[i] = keep == 0.0f ? sum.v[i] : fma(keep, out[i] - sum.v[i], sum.v[i]); });
      });
    }
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
