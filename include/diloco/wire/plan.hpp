// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/staged.hpp>
#include <diloco/state/layout.hpp>
#include <diloco/wire/message_header.hpp>

#include <vector>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Bytes of the codes in one tile, padded to 16 bytes for full-width loads.
template <compressor C>
DILOCO_HD constexpr std::size_t code_plane_bytes(std::size_t count) {
  std::size_t const full = count / C::block, rest = count % C::block;
  return (full * C::code_bytes(C::block) + (rest != 0 ? C::code_bytes(rest) : 0) + 15) / 16 * 16;
}
/// Bytes of one tile in a message: codes, then side information, each padded to 16.
template <compressor C>
DILOCO_HD constexpr std::size_t tile_wire_bytes(std::size_t count) {
  std::size_t const blocks = (count + C::block - 1) / C::block;
  return code_plane_bytes<C>(count) + (blocks * block_side_bytes<C> + 15) / 16 * 16;
}

/// Where a slice of a staged compressor lies. A slice is consecutive tiles of one row that go into one slot.
/// The message holds the bytes of the whole slice, padded to 16 bytes, and then its chunks.
struct slice_record {
  std::size_t elements = 0, columns = 0;
  std::size_t column = 0;  ///< first element within the trainer's padded columns
  std::size_t tiles = 0;
  std::size_t wire = 0;     ///< first byte within its shard's payload
  std::size_t codes = 0;    ///< likewise, for its first chunk
  std::size_t scratch = 0;  ///< first byte
  std::size_t memory = 0;   ///< first element
  std::uint32_t shard = 0;
  std::uint32_t unused = 0;
};

/// Layout of one fragment's payload in slots. `shards` is 1 for gather, where a slot carries everything. It
/// is K for scatter–gather, where slot r carries what rank r combines.
/// All slots have one size, so ranks never need to exchange counts. `planes` planes of plain float32 follow
/// the payloads, at the same offset in every slot.
class wire_plan {
 public:
  /// Lays out a fragment for compressor C. Also writes shard, slice and offset into the layout's tiles, where
  /// a later call overwrites them.
  template <compressor C>
  static wire_plan of(layout& l, int shards, std::size_t planes = 0, std::size_t fragment = 0) {
    wire_plan plan;
    plan.shards_.resize(static_cast<std::size_t>(shards));
    plan.fragment_ = l.fragments()[fragment];
    std::vector<tile>& tiles = l.tiles();
    std::size_t const end = plan.fragment_.first_tile + plan.fragment_.tiles;
    for (std::size_t i = plan.fragment_.first_tile; i < end; ++i) {
      tile& t = tiles[i];
      t.shard =
          static_cast<std::uint32_t>(plan.shard_at(wants_whole_tensors<C> ? t.column - t.begin : t.column));
      shard& s = plan.shards_[t.shard];
      // Rounds the first column down to a cache line, so rows have the same alignment in the shard as in
      // the column.
      if (s.tiles == 0)
        s = {i,
             0,
             t.column / layout::line_elements * layout::line_elements,
             0,
             0,
             plan.slices_.size(),
             0,
             plan.memory_elements_,
             0};
      if constexpr (states_stages<C>) plan.add_to_slices<C>(l, i, s);
      t.wire = s.payload_bytes;
      s.tiles += 1;
      s.payload_bytes += tile_wire_bytes<C>(t.count);
      std::size_t last = t.column;
      static_cast<void>(l.place(last, t.count));
      s.elements = last - s.column;
    }
    plan.lay_out_slots(planes);
    return plan;
  }

  struct shard {
    std::size_t first_tile = 0, tiles = 0;
    std::size_t column = 0, elements = 0;  ///< the shard's part of the padded columns
    std::size_t payload_bytes = 0;
    std::size_t first_slice = 0, slices = 0;
    std::size_t first_memory = 0, memory_elements = 0;  ///< the part of the memory that its slices use
  };
  [[nodiscard]] shard const& operator[](int s) const { return shards_[static_cast<std::size_t>(s)]; }
  [[nodiscard]] layout::fragment const& fragment() const { return fragment_; }
  [[nodiscard]] int shards() const { return static_cast<int>(shards_.size()); }
  [[nodiscard]] std::size_t slot_bytes() const { return slot_bytes_; }
  [[nodiscard]] std::vector<slice_record> const& slices() const { return slices_; }
  [[nodiscard]] std::size_t planes() const { return planes_; }
  /// bytes from the start of a slot
  [[nodiscard]] std::size_t planes_offset() const { return planes_offset_; }
  [[nodiscard]] std::size_t planes_stride() const { return planes_stride_; }  ///< elements of one plane
  [[nodiscard]] std::size_t scratch_bytes() const { return scratch_bytes_; }
  [[nodiscard]] std::size_t memory_elements() const { return memory_elements_; }
  /// Sum over all shards, without message headers and without the padding to the largest shard.
  [[nodiscard]] std::size_t payload_bytes() const;

 private:
  /// Sets slot size and plane offsets from the largest shard. Call it after all shards are known.
  void lay_out_slots(std::size_t planes);
  /// Tile i begins a slice if it begins a tensor or a shard. The slice is then measured and placed.
  template <compressor C>
  void add_to_slices(layout& l, std::size_t i, shard& s) {
    std::vector<tile>& tiles = l.tiles();
    tile& t = tiles[i];
    if (t.begin == 0 || s.tiles == 0) {
      layout::row const& r = l.rows()[t.row];
      std::size_t const columns = r.columns();
      std::size_t const share =
          shards_.size() == 1 || wants_whole_tensors<C> ? r.size : elements_in_shard(l, i);
      std::size_t const elements = share < r.size - t.begin ? share : r.size - t.begin;
      std::size_t const side = (C::slice_bytes(elements, columns) + 15) / 16 * 16;
      slices_.push_back({elements, columns, t.column, 0, s.payload_bytes, s.payload_bytes + side,
                         scratch_bytes_, memory_elements_, t.shard, 0});
      s.payload_bytes += side;
      s.slices += 1;
      scratch_bytes_ += (scratch_bytes_of<C>(elements, columns) + 15) / 16 * 16;
      s.memory_elements += memory_elements_of<C>(elements, columns);
      memory_elements_ += memory_elements_of<C>(elements, columns);
    }
    t.slice = static_cast<std::uint32_t>(slices_.size() - 1);
    slices_.back().tiles += 1;
  }
  /// Elements of tile i's row from tile i to the end of the shard. A tile belongs to the shard where it
  /// begins.
  [[nodiscard]] std::size_t elements_in_shard(layout& l, std::size_t i) const;

  /// The shard that owns the tile at this element of the padded columns.
  [[nodiscard]] std::size_t shard_at(std::size_t column) const {
    return (column - fragment_.column) / ((fragment_.elements + shards_.size() - 1) / shards_.size());
  }

  layout::fragment fragment_;
  std::vector<shard> shards_;
  std::vector<slice_record> slices_;
  std::size_t scratch_bytes_ = 0, memory_elements_ = 0;
  std::size_t slot_bytes_ = 0;
  std::size_t planes_ = 0, planes_offset_ = 0, planes_stride_ = 0;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

#if DILOCO_HEADER_ONLY
#include <diloco/wire/plan_definitions.hpp>
#endif
