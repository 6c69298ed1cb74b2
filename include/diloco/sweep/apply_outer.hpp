// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/feedback.hpp>
#include <diloco/concepts/optimizer.hpp>
#include <diloco/sweep/tiles.hpp>

#include <utility>

namespace diloco {
inline namespace v0 {

/// What was received: `voices` wires, each a slot with every tile of the shard in question.
template <compressor C>
struct received_wires {
  C compressor;
  std::byte const* const* wire;   // (voices) slots; under scatter–gather one per shard
  float const* coefficient;       // (voices)
  int voices;
  bool sharded;                   // true: the one voice for tile t is wire[t.shard], coefficient 1

  /// g = Σ c_k · decode(wire_k), in roster order, one fma each.
  template <lanes L>
  DILOCO_HD fragment<L, C::block> combine(L l, tile const& t, int offset, int count) const {
    if (sharded) return decode(l, wire[t.shard], t, offset, count);
    fragment<L, C::block> g = decode(l, wire[0], t, offset, count);
    float const first = coefficient[0];
    for (int i = 0; i < g.size; ++i) g.v[i] *= first;
    for (int k = 1; k < voices; ++k) {
      auto const y = decode(l, wire[k], t, offset, count);
      float const c = coefficient[k];
      for (int i = 0; i < g.size; ++i) g.v[i] = fma(c, y.v[i], g.v[i]);
    }
    return g;
  }

 private:
  template <lanes L>
  DILOCO_HD fragment<L, C::block> decode(L l, std::byte const* slot, tile const& t, int offset, int count) const {
    return compressor.decode(l, count, block_at<C>(slot + sizeof(frame) + t.wire, t, offset));
  }
};

/// Sweep B: g = combine(wires); (θ̄, slots) ← outer(θ̄, g, slots); θ ← θ̄, or mix·θ + (1−mix)·θ̄ where steps were taken
/// while the round was under way. The anchor is never mixed.
template <compressor C, class Step, std::size_t Slots>
struct apply_outer_kernel {
  received_wires<C> wires;
  Step step;
  float mix;
  tile const* tiles;
  float* const* theta;                   // (rows)
  float* anchor;                         // padded column
  float* slots[Slots == 0 ? 1 : Slots];  // padded columns

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    tile const t = tiles[index];
    for_each_block<C::block>(t, [&](int offset, int count) {
      one_block(l, t, offset, count, std::make_index_sequence<Slots>{});
    });
  }

 private:
  template <lanes L, std::size_t... I>
  DILOCO_HD void one_block(L l, tile const& t, int offset, int count, std::index_sequence<I...>) const {
    std::size_t const column = t.column + static_cast<std::size_t>(offset);
    auto const g = wires.combine(l, t, offset, count);
    auto p = load<C::block>(l, anchor + column, count);
    fragment<L, C::block> state[Slots + 1] = {load<C::block>(l, slots[I] + column, count)...};
    for (int i = 0; i < p.size; ++i) step(p.v[i], g.v[i], state[I].v[i]...);
    store<C::block>(l, p, anchor + column, count);
    (store<C::block>(l, state[I], slots[I] + column, count), ...);
    float* local = theta[t.row] + t.begin + offset;
    if (mix != 0.0f) {
      auto const q = load<C::block>(l, local, count);
      for (int i = 0; i < p.size; ++i) p.v[i] = fma(mix, q.v[i] - p.v[i], p.v[i]);
    }
    store<C::block>(l, p, local, count);
  }
};

/// The owner's part of scatter–gather: combines every rank's version of this shard, adds the owner's own residual, and
/// encodes the result once. Everybody, the owner included, then decodes these bytes.
template <compressor C, feedback F>
struct combine_shard_kernel {
  received_wires<C> wires;
  F feedback;
  tile const* tiles;        // of this shard
  std::size_t column;       // where the shard starts in the padded columns
  float const* residual;    // (shard elements), or null
  float* next_residual;     // (shard elements), or null
  std::byte* slot;          // (slot_bytes) what this rank gathers to everybody
  std::uint32_t* bad_row;

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    tile const t = tiles[index];
    for_each_block<C::block>(t, [&](int offset, int count) {
      std::size_t const local = t.column - column + static_cast<std::size_t>(offset);
      auto x = wires.combine(l, t, offset, count);
      if (residual != nullptr) {
        auto const e = load<C::block>(l, residual + local, count);
        for (int i = 0; i < x.size; ++i) x.v[i] = feedback.want(x.v[i], e.v[i]);
      }
      encode_block(l, wires.compressor, feedback, x, count, block_at<C>(slot + sizeof(frame) + t.wire, t, offset),
                   next_residual == nullptr ? nullptr : next_residual + local, bad_row, t.row);
    });
  }
};

}  // namespace v0
}  // namespace diloco
