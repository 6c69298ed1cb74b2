// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/wire/plan.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

DILOCO_CORE std::size_t wire_plan::payload_bytes() const {
  std::size_t sum = 0;
  for (shard const& s : shards_) sum += s.payload_bytes;
  return sum;
}

DILOCO_CORE void wire_plan::lay_out_slots(std::size_t planes) {
  std::size_t largest = 0;
  for (shard const& s : shards_) {
    largest = s.payload_bytes > largest ? s.payload_bytes : largest;
    planes_stride_ = s.elements > planes_stride_ ? s.elements : planes_stride_;
  }
  // Rounds up to whole cache lines, so planes are aligned and transports get slots of whole words.
  planes_stride_ =
      (planes_stride_ + layout::line_elements - 1) / layout::line_elements * layout::line_elements;
  planes_offset_ = sizeof(message_header) + (largest + 15) / 16 * 16;
  planes_ = planes;
  slot_bytes_ = planes == 0 ? sizeof(message_header) + largest
                            : planes_offset_ + planes * planes_stride_ * sizeof(float);
}

DILOCO_CORE std::size_t wire_plan::elements_in_shard(layout& l, std::size_t i) const {
  std::vector<tile> const& tiles = l.tiles();
  std::size_t sum = 0;
  for (std::size_t k = i; k < tiles.size() && tiles[k].row == tiles[i].row; ++k) {
    if (shard_at(tiles[k].column) != shard_at(tiles[i].column)) break;
    sum += tiles[k].count;
  }
  return sum;
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
