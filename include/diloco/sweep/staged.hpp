// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/executor.hpp>
#include <diloco/sweep/apply_outer.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

// The path of compressors that need more than one block at a time. A tile is one chunk of one slice.
// Sweep A writes x to a workbench and lets the compressor's stages read it. If the new residual is plain
// floats, its column is the workbench. Decoding the rank's own message over x then turns it into the
// residual.
// Sweep B sums the received messages chunk by chunk in a free column. It steps by each chunk while it is in
// cache.

template <staged_compressor C>
DILOCO_HD inline slice_shape shape_of(slice_record const& r, draw const& stream, float const* constants,
                                      float const* memory) {
  return {r.elements,
          r.columns,
          r.column,
          stream,
          static_cast<std::size_t>(C::block),
          tile_wire_bytes<C>(C::block),
          constants,
          memory};
}

/// The inputs and outputs of the stages of one encoding.
template <staged_compressor C>
struct stage_work {
  C compressor;
  tile const* tiles;           // of the shards in `slots`
  slice_record const* slices;  // (all)
  float* x;                    // workbench; x[0] is element `column` of the padded columns
  std::size_t column;
  std::byte* slots;  // (shards, slot_bytes)
  std::size_t slot_bytes;
  std::byte* scratch;
  float const* constants;
  float const* memory;
  float* next_memory;
  draw stream;
  std::size_t memory_first = 0;  // index of the first element of both memories among those of all slices

  DILOCO_HD slice slice_of(std::uint32_t index) const {
    slice_record const& r = slices[index];
    slice p;
    static_cast<slice_shape&>(p) = shape_of<C>(r, stream, constants, memory + (r.memory - memory_first));
    std::byte* const payload = slots + r.shard * slot_bytes + sizeof(message_header);
    p.x = x + (r.column - column);
    p.side = payload + r.wire;
    p.codes = payload + r.codes;
    p.scratch = scratch + r.scratch;
    p.next_memory = next_memory + (r.memory - memory_first);
    return p;
  }
  /// The slice as a receiver of the message sees it.
  DILOCO_HD slice_view view_of(std::uint32_t index) const {
    slice const p = slice_of(index);
    slice_view v{p, p.side, p.codes};
    v.stream = draw{stream.round, 0, 0};
    if constexpr (!agrees_on_memory<C>) v.memory = nullptr;
    return v;
  }
  DILOCO_HD float* x_of(tile const& t) const { return x + (t.column - column); }
  DILOCO_HD std::size_t chunk_of(tile const& t) const {
    return (t.column - slices[t.slice].column) / C::block;
  }
};

/// Calls f(i) for each element of a tile, distributed over all lanes.
template <lanes L, class F>
DILOCO_HD inline void for_each_element(L, tile const& t, F&& f) {
  for (auto i = static_cast<std::size_t>(L::rank()); i < t.count; i += static_cast<std::size_t>(L::width))
    f(i);
}

/// Calls f(i, e) for each element of a tile whose residual begins at `column`. e is 0 where there is no
/// residual.
template <int Bits, int Block, lanes L, class F>
DILOCO_HD inline void for_each_residual(L l, tile const& t, residual_columns<Bits, Block> const& residual,
                                        std::size_t column, F&& f) {
  for_each_piece<Block>(l, t, [&](int offset, auto count) {
    int const first = offset + first_element<L, Block>(l), mine = owned_elements<L, Block>(l, count);
    if (residual.none()) {
      for_first<L, lane_elements<L, Block>>(mine, [&](int i) { f(first + i, 0.0f); });
    } else {
      auto const e = residual.block(l, column + static_cast<std::size_t>(offset), count);
      for_first<L, lane_elements<L, Block>>(mine, [&](int i) { f(first + i, e(i)); });
    }
  });
}

/// x = want(θ̄ − θ, e). Weighted: x is made of (h + prior)·(θ̄ − θ).
template <feedback F, int Block, bool Weighted = false>
struct local_delta {
  feedback_step<F> step;
  float* const* theta;  // (rows)
  float const* anchor;  // padded column
  residual_columns<residual_bits<F>, Block> residual;
  magnitude_limits limits;
  element_weights weights = {};

  /// Returns 0, or a magnitude above every limit if the anchor or an estimate is too large.
  template <lanes L>
  DILOCO_HD std::uint32_t fill(L l, tile const& t, float* DILOCO_RESTRICT x) const {
    float const* DILOCO_RESTRICT p = theta[t.row] + t.begin;
    float const* DILOCO_RESTRICT from = anchor + t.column;
    std::uint32_t anchored = 0, estimated = 0;
    if constexpr (Weighted) {
      if (float const* const h = weights.of(t); h != nullptr) {
        for_each_residual(l, t, residual, t.column, [&](int i, float e) {
          x[i] = step.want(product(h[i] + weights.prior, from[i] - p[i]), e);
          anchored = larger(anchored, magnitude_bits(from[i]));
        });
        return anchored > bits_of(limits.anchor) ? anchor_too_large : 0;
      }
    }
    for_each_residual(l, t, residual, t.column, [&](int i, float e) {
      float const delta = from[i] - p[i];
      x[i] = step.want(delta, e);
      anchored = larger(anchored, magnitude_bits(from[i]));
      if constexpr (keeps_estimate<F>)
        estimated = larger(estimated, larger(magnitude_bits(delta), magnitude_bits(e)));
    });
    if (anchored > bits_of(limits.anchor)) return anchor_too_large;
    return estimated > bits_of(limits.estimate) ? estimate_too_large : 0;
  }
};

/// x = want(Σ c_k · decode(wire_k), e). The owner of a shard sends this on.
template <staged_compressor C, feedback F, int Block>
struct combined_delta {
  received_wires<C> wires;
  feedback_step<F> step;
  std::size_t column;  // index in the padded columns where the shard and its residual start
  residual_columns<residual_bits<F>, Block> residual;

  template <lanes L>
  DILOCO_HD std::uint32_t fill(L l, tile const& t, float* DILOCO_RESTRICT x) const {
    wires.add_up(l, t, x);
    if (!residual.none())
      for_each_residual(l, t, residual, t.column - column,
                        [&](int i, float e) { x[i] = step.want(x[i], e); });
    return 0;
  }
};

/// The residual of one tile: e ← keep(x, y, e). keep is linear in y. So x becomes keep(x, 0, e), and the
/// rank's own message, times keep(0, 1, 0), is decoded onto it.
template <class Step, int Bits, int Block>
struct keeper {
  Step step;
  std::size_t column;  // index in the padded columns where the residual starts
  residual_columns<Bits, Block> residual;

  template <lanes L, staged_compressor C>
  DILOCO_HD void operator()(L l, stage_work<C> const& work, tile const& t) const {
    if (residual.none()) return;
    float* const x = work.x_of(t);
    std::size_t const local = t.column - column;
    for_each_residual(l, t, residual, local, [&](int i, float e) { x[i] = step.keep(x[i], 0.0f, e); });
    L::sync();
    float const factor = step.keep(0.0f, 1.0f, 0.0f);
    if (factor != 0.0f) work.compressor.decode(l, work.view_of(t.slice), work.chunk_of(t), factor, x);
    if constexpr (Bits == 8) {
      L::sync();
      for_each_piece<Block>(l, t, [&](int offset, auto count) {
        lane_block<L, Block> e = {};
        int const first = first_element<L, Block>(l);
        for_first<L, lane_elements<L, Block>>(owned_elements<L, Block>(l, count),
                                              [&](int i) { e.v[i] = x[offset + first + i]; });
        residual.store(l, local + static_cast<std::size_t>(offset), count, e);
      });
    }
  }
};

/// The first stage. It fills the workbench, marks rows that cannot be sent, and runs a fused stage. If that
/// is the only stage, it also writes the residual.
template <staged_compressor C, class Source, class Keep>
struct first_stage_kernel {
  stage_work<C> work;
  Source source;
  Keep keep;
  std::uint32_t* bad_row;
  float largest;  // largest magnitude that may be sent

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    tile const t = work.tiles[index];
    float* const x = work.x_of(t);
    std::uint32_t magnitude = source.fill(l, t, x);
    L::sync();  // `fill` gives lanes whole runs of a block, the loop below single elements
    for_each_element(l, t, [&](std::size_t i) { magnitude = larger(magnitude, magnitude_bits(x[i])); });
    magnitude = L::max(magnitude);
    if (magnitude > bits_of(largest)) {
      if (L::rank() == 0)
        L::atomic_min(bad_row, magnitude == anchor_too_large ? t.row | message_header::anchor_flag : t.row);
      for_each_element(l, t, [&](std::size_t i) { x[i] = 0.0f; });
    }
    if constexpr (stage_at<C, 0> == stage::fused) {
      L::sync();
      work.compressor.template encode<0>(l, work.slice_of(t.slice), work.chunk_of(t));
      if constexpr (one_fused_stage<C>) {
        L::sync();
        keep(l, work, t);
      }
    }
  }
};

/// A later stage. It runs on each chunk or on each slice.
template <staged_compressor C, int Stage>
struct stage_kernel {
  stage_work<C> work;
  std::uint32_t first_slice;

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    if constexpr (stage_at<C, Stage> == stage::whole) {
      work.compressor.template encode<Stage>(
          l, work.slice_of(first_slice + static_cast<std::uint32_t>(index)), 0);
    } else {
      tile const t = work.tiles[index];
      work.compressor.template encode<Stage>(l, work.slice_of(t.slice), work.chunk_of(t));
    }
  }
};

template <staged_compressor C, class Keep>
struct keep_kernel {
  stage_work<C> work;
  Keep keep;

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    keep(l, work, work.tiles[index]);
  }
};

/// The received messages of staged compressors. Their sum is formed chunk by chunk in a column and read from
/// there.
template <staged_compressor C, class Rule>
struct received_wires<C, Rule> {
  static_assert(std::is_void_v<Rule>);
  static constexpr int block = padding_of<C>;

  C compressor;
  std::byte const* const* wire;  // (contributors) slots, or (shards, contributors)
  float const* coefficient;      // (contributors)
  int contributors;              // of each tile
  bool sharded;                  // each shard has messages of its own
  slice_record const* slices = nullptr;
  float const* constants = nullptr;
  float* sums = nullptr;  // padded column that may be overwritten
  draw stream = {};
  float const* memory = nullptr;  // null unless all ranks agree on it

  template <lanes L>
  DILOCO_HD void prepare(L l, tile const& t) const {
    add_up(l, t, sums + t.column);
  }
  template <lanes L>
  DILOCO_HD lane_block<L, block> combine(L l, tile const& t, int offset, int count) const {
    lane_block<L, block> g;
    float const* const from = sums + t.column + offset + first_element<L, block>(l);
    for_first<L, lane_elements<L, block>>(owned_elements<L, block>(l, count),
                                          [&](int i) { g.v[i] = from[i]; });
    return g;
  }
  DILOCO_HD slice_contributors contributors_of(std::uint32_t index) const {
    slice_record const& r = slices[index];
    slice_contributors p;
    static_cast<slice_shape&>(p) =
        shape_of<C>(r, stream, constants, agrees_on_memory<C> ? memory + r.memory : nullptr);
    p.contributors = contributors;
    p.wires = wire + (sharded ? r.shard * static_cast<std::uint32_t>(contributors) : 0);
    p.coefficients = coefficient;
    p.side = sizeof(message_header) + r.wire;
    p.codes = sizeof(message_header) + r.codes;
    return p;
  }
  /// g = Σ c_k · decode(wire_k) over one tile, in roster order.
  template <lanes L>
  DILOCO_HD void add_up(L l, tile const& t, float* g) const {
    for_each_element(l, t, [&](std::size_t i) { g[i] = 0.0f; });
    slice_contributors const p = contributors_of(t.slice);
    std::size_t const chunk = (t.column - slices[t.slice].column) / C::block;
    for (int k = 0; k < p.contributors; ++k) {
      L::sync();
      compressor.decode(l, p.message(k), chunk, p.coefficient(k), g);
    }
    L::sync();
  }
};

/// Computes the next memory of each slice from the messages of a committed round. Without messages it
/// computes the memory of the first round.
template <agrees_on_memory C>
struct agree_kernel {
  received_wires<C> wires;
  float* next_memory;  // of all slices

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    auto const slice = static_cast<std::uint32_t>(index);
    wires.compressor.agree(l, wires.contributors_of(slice), next_memory + wires.slices[slice].memory);
  }
};

/// The part of a model that the stages process: `tiles` tiles from work.tiles on and `slices` slices from
/// first_slice on.
struct stage_extent {
  std::size_t tiles, first_slice, slices;
};

/// Runs all stages in order and then updates the residual. Enqueues.
template <executor E, staged_compressor C, class Source, class Keep>
void run_stages(E const& where, stage_work<C> const& work, stage_extent const& extent, Source const& source,
                Keep const& keep, std::uint32_t* bad_row, float largest) {
  where.for_each(extent.tiles, first_stage_kernel<C, Source, Keep>{work, source, keep, bad_row, largest});
  auto const run = [&]<std::size_t S>(std::integral_constant<std::size_t, S>) {
    if constexpr (stage_at<C, S> != stage::fused) {
      where.for_each(
          stage_at<C, S> == stage::whole ? extent.slices : extent.tiles,
          stage_kernel<C, static_cast<int>(S)>{work, static_cast<std::uint32_t>(extent.first_slice)});
    }
  };
  [&]<std::size_t... S>(std::index_sequence<S...>) { (run(std::integral_constant<std::size_t, S>{}), ...); }
  (std::make_index_sequence<stage_count<C>>{});
  if constexpr (!one_fused_stage<C>) where.for_each(extent.tiles, keep_kernel<C, Keep>{work, keep});
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
