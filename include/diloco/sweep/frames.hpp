// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/lanes.hpp>
#include <diloco/wire/frame.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Writes a frame before each shard's payload, with the first row that cannot be sent and whether θ stood
/// still, and forgets both. On the executor, so that a launch need not wait for the sweep to know it. One
/// index.
struct write_frames_kernel {
  frame const* frames;  // (shards)
  std::uint32_t* bad_row;
  std::uint32_t* moved;
  bool must_move;
  std::byte* slots;  // (shards, slot_bytes)
  std::size_t slot_bytes;
  std::size_t shards;

  template <lanes L>
  DILOCO_HD void operator()(L, std::size_t) const {
    std::uint32_t const bad = *bad_row;
    bool const stands = must_move && *moved == frame::no_row;
    for (auto s = static_cast<std::size_t>(L::rank()); s < shards; s += static_cast<std::size_t>(L::width)) {
      frame f = frames[s];
      f.bad_row = bad;
      if (stands) f.flags |= frame::stood_still;
      write_frame(slots + s * slot_bytes, f);
    }
    L::sync();
    if (L::rank() == 0) *bad_row = *moved = frame::no_row;
  }
};

/// Brings what stands before each payload to where the host reads it. One index a wire.
struct collect_frames_kernel {
  std::byte const* const* wires;
  frame* to;

  template <lanes L>
  DILOCO_HD void operator()(L, std::size_t k) const {
    if (L::rank() == 0) to[k] = read_frame(wires[k]);
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
