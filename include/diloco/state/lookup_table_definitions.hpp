// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/state/lookup_table.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

DILOCO_CORE void lookup_table::upload_tensors(memory_source const& where, layout const& l) const {
  for (std::size_t r = 0; r < l.rows().size(); ++r) {
    host_.theta[r] = l.rows()[r].data;
    host_.bf16[r] = l.rows()[r].bf16;
    host_.samples[r] = l.rows()[r].samples;
  }
  memory_.upload(where, host_.tiles, host_.gradients);
}

DILOCO_COLD DILOCO_CORE void lookup_table::write_group_tiles(layout const& l) const {
  tile* next = host_.group_tiles;
  for (std::size_t g = 0; g < l.groups().size(); ++g) {
    for (tile t : l.tiles()) {
      layout::row const& r = l.rows()[t.row];
      if (r.group != g) continue;
      t.column = r.group_column + t.begin;
      *next++ = t;
    }
  }
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
