// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/feedback.hpp>
#include <diloco/sweep/tiles.hpp>

namespace diloco {
inline namespace v0 {

/// Sweep A: x = want(θ̄ − θ, e); wire = encode(x); e′ = keep(x, decode(wire)). The pseudo-gradient never exists in memory.
/// The new residual goes beside the old one and becomes current when the round commits.
template <compressor C, feedback F>
struct encode_kernel {
  C compressor;
  F feedback;
  tile const* tiles;
  float* const* theta;          // (rows)
  float const* anchor;          // padded column
  float const* residual;        // padded column, or null
  float* next_residual;         // padded column, or null
  std::byte* slots;             // (shards, slot_bytes)
  std::size_t slot_bytes;
  std::uint32_t* bad_row;

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    tile const t = tiles[index];
    float const* p = theta[t.row] + t.begin;
    std::byte* bytes = slots + t.shard * slot_bytes + sizeof(frame) + t.wire;
    for_each_block<C::block>(t, [&](int offset, int count) {
      std::size_t const column = t.column + static_cast<std::size_t>(offset);
      auto x = load<C::block>(l, anchor + column, count);
      auto const local = load<C::block>(l, p + offset, count);
      for (int i = 0; i < x.size; ++i) x.v[i] -= local.v[i];
      if (residual != nullptr) {
        auto const e = load<C::block>(l, residual + column, count);
        for (int i = 0; i < x.size; ++i) x.v[i] = feedback.want(x.v[i], e.v[i]);
      }
      encode_block(l, compressor, feedback, x, count, block_at<C>(bytes, t, offset),
                   next_residual == nullptr ? nullptr : next_residual + column, bad_row, t.row);
    });
  }
};

}  // namespace v0
}  // namespace diloco
