// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/feedback.hpp>
#include <diloco/sweep/tiles.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Sweep A: x = want(θ̄ − θ, e); wire = encode(x); e′ = keep(x, decode(wire), e). The pseudo-gradient never
/// exists in memory.
/// The new residual is written to the second buffer. It becomes current when the round commits.
/// Weighted: the kernel encodes (h + prior)·(θ̄ − θ).
template <block_compressor C, feedback F, bool Weighted = false>
struct encode_kernel {
  C compressor;
  feedback_step<F> step;
  tile const* tiles;
  float* const* theta;  // (rows)
  float const* anchor;  // padded column
  residual_columns<residual_bits<F>, C::block> residual;
  std::byte* slots;  // (shards, slot_bytes)
  std::size_t slot_bytes;
  std::uint32_t* bad_row;
  draw stream;
  magnitude_limits limits;
  element_weights weights = {};

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    for_each_block<C::block>(*this, l, tiles[index]);
  }
  /// One block of a tile; for_each_block calls it.
  template <lanes L, class Count>
  DILOCO_HD void block(L l, tile const& t, int offset, Count count) const {
    std::size_t const column = t.column + static_cast<std::size_t>(offset);
    std::byte* bytes = slots + t.shard * slot_bytes + sizeof(message_header) + t.wire;
    lane_block<L, C::block> x;
    std::uint32_t const magnitude = measure(l, x, count, theta[t.row] + t.begin + offset, column, t, offset);
    encode_block(l, compressor, step, x, block_info{count, 0.0f, drawn_at(column), stream}, magnitude,
                 block_at<C>(bytes, t, offset), residual, column, bad_row, t.row, limits.sent);
  }

 private:
  template <lanes L>
  DILOCO_HD std::uint32_t measure(L l, lane_block<L, C::block>& x, int count, float const* DILOCO_RESTRICT p,
                                  std::size_t column, tile const& t, int offset) const {
    int const first = first_element<L, C::block>(l);
    int const mine = owned_elements<L, C::block>(l, count);
    float const* DILOCO_RESTRICT from = anchor + column;
    std::uint32_t magnitude = 0, anchored = 0, estimated = 0;
    if (count != C::block) x = {};
    [[maybe_unused]] auto const w = weigh(l, t, offset, count);
    if constexpr (L::width > 1) {
      if (count == C::block)
        in_registers<lane_elements<L, C::block>>(
            [&](int i, float a, float q) {
              x.v[i] = a - q;
              anchored = larger(anchored, magnitude_bits(a));
            },
            reads{aligned{from + first}}, reads{anywhere{p + first}});
    }
    bool const in_place = L::width > 1 && count == C::block;
    auto const delta = [&](int i) {
      float const d = in_place ? x.v[i] : from[first + i] - p[first + i];
      if (!in_place) anchored = larger(anchored, magnitude_bits(from[first + i]));
      if constexpr (Weighted)
        return product(w.v[i], d);
      else
        return d;
    };
    if (residual.none()) {
      for_first<L, lane_elements<L, C::block>>(mine, [&](int i) {
        x.v[i] = delta(i);
        magnitude = larger(magnitude, magnitude_bits(x.v[i]));
      });
    } else {
      auto const e = residual.block(l, column, count);
      for_first<L, lane_elements<L, C::block>>(mine, [&](int i) {
        float const d = delta(i), left = e(i);
        x.v[i] = step.want(d, left);
        magnitude = larger(magnitude, magnitude_bits(x.v[i]));
        if constexpr (keeps_estimate<F>)
          estimated = larger(estimated, larger(magnitude_bits(d), magnitude_bits(left)));
      });
    }
    if (estimated > bits_of(limits.estimate)) magnitude = estimate_too_large;
    return anchored > bits_of(limits.anchor) ? anchor_too_large : magnitude;
  }
  template <lanes L>
  DILOCO_HD auto weigh([[maybe_unused]] L l, [[maybe_unused]] tile const& t, [[maybe_unused]] int offset,
                       [[maybe_unused]] int count) const {
    if constexpr (!Weighted) {
      return 0;
    } else {
      lane_block<L, C::block> w;
      for (int i = 0; i < w.size; ++i) w.v[i] = 1.0f;
      float const* const row = weights.of(t);
      if (row == nullptr) return w;
      float const* const h = row + offset + first_element<L, C::block>(l);
      read_lane<L, lane_elements<L, C::block>>(h, owned_elements<L, C::block>(l, count),
                                               [&](int i, float x) { w.v[i] = x + weights.prior; });
      return w;
    }
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
