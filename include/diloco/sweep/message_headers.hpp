// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/lanes.hpp>
#include <diloco/wire/message_header.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Writes a message header before each shard's payload, with the first row that cannot be sent and whether θ
/// stood still, and forgets both. Runs on the executor, so a launch does not wait for the encoding. One
/// index.
struct write_headers_kernel {
  message_header const* headers;  // (shards)
  std::uint32_t* bad_row;
  std::uint32_t* moved;
  bool must_move;
  std::byte* slots;  // (shards, slot_bytes)
  std::size_t slot_bytes;
  std::size_t shards;

  template <lanes L>
  DILOCO_HD void operator()(L, std::size_t) const {
    std::uint32_t const bad = *bad_row;
    bool const stands = must_move && *moved == message_header::no_row;
    for (auto s = static_cast<std::size_t>(L::rank()); s < shards; s += static_cast<std::size_t>(L::width)) {
      message_header f = headers[s];
      f.bad_row = bad;
      if (stands) f.flags |= message_header::stood_still;
      write_header(slots + s * slot_bytes, f);
    }
    L::sync();
    if (L::rank() == 0) *bad_row = *moved = message_header::no_row;
  }
};

/// Brings what stands before each payload to where the host reads it. One index a wire.
struct collect_headers_kernel {
  std::byte const* const* wires;
  message_header* to;

  template <lanes L>
  DILOCO_HD void operator()(L, std::size_t k) const {
    if (L::rank() == 0) to[k] = read_header(wires[k]);
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
