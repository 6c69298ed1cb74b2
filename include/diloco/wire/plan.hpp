// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/compressor.hpp>
#include <diloco/state/layout.hpp>
#include <diloco/wire/frame.hpp>

#include <vector>

namespace diloco {
inline namespace v0 {

/// Bytes of one tile on the wire: codes of all its blocks, then their side information, each padded to 16 bytes so that
/// both can be read with full-width loads.
template <compressor C>
DILOCO_HD constexpr std::size_t code_plane_bytes(std::size_t count) {
  std::size_t const full = count / C::block, rest = count % C::block;
  return (full * C::code_bytes(C::block) + (rest != 0 ? C::code_bytes(rest) : 0) + 15) / 16 * 16;
}
template <compressor C>
DILOCO_HD constexpr std::size_t tile_wire_bytes(std::size_t count) {
  std::size_t const blocks = (count + C::block - 1) / C::block;
  return code_plane_bytes<C>(count) + (blocks * C::side_bytes + 15) / 16 * 16;
}

/// How the payload lies in slots. `shards` is 1 for gather (a slot carries everything) and K for scatter–gather (slot r
/// carries what rank r combines). All slots have one size, so counts never need to be exchanged.
class wire_plan {
 public:
  template <compressor C>
  static wire_plan of(layout& l, int shards) {
    wire_plan plan;
    plan.shards_.resize(static_cast<std::size_t>(shards));
    std::size_t const share =
        (l.column_elements() + static_cast<std::size_t>(shards) - 1) / static_cast<std::size_t>(shards);
    std::vector<tile>& tiles = l.tiles();
    for (std::size_t i = 0; i < tiles.size(); ++i) {
      tile& t = tiles[i];
      t.shard = static_cast<std::uint32_t>(t.column / share);
      shard& s = plan.shards_[t.shard];
      if (s.tiles == 0) s = {i, 0, t.column, 0, 0};
      t.wire = s.payload_bytes;
      s.tiles += 1;
      s.payload_bytes += tile_wire_bytes<C>(t.count);
      s.elements = t.column + (t.count + C::block - 1) / C::block * C::block - s.column;
    }
    std::size_t largest = 0;
    for (shard const& s : plan.shards_) largest = s.payload_bytes > largest ? s.payload_bytes : largest;
    plan.slot_bytes_ = sizeof(frame) + largest;
    return plan;
  }

  struct shard {
    std::size_t first_tile = 0, tiles = 0;
    std::size_t column = 0, elements = 0;  ///< its part of the padded columns
    std::size_t payload_bytes = 0;
  };
  [[nodiscard]] shard const& operator[](int s) const { return shards_[static_cast<std::size_t>(s)]; }
  [[nodiscard]] int shards() const { return static_cast<int>(shards_.size()); }
  [[nodiscard]] std::size_t slot_bytes() const { return slot_bytes_; }

 private:
  std::vector<shard> shards_;
  std::size_t slot_bytes_ = 0;
};

}  // namespace v0
}  // namespace diloco
