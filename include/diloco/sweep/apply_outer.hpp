// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/combine.hpp>
#include <diloco/concepts/feedback.hpp>
#include <diloco/concepts/optimizer.hpp>
#include <diloco/sweep/tiles.hpp>

#include <utility>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// In place of a rule: each shard may have a message of each group.
struct group_messages {};

/// What a worker received: one message per contributor. Each is a slot with every tile of the shard. `Rule`:
/// a block_combine, group_messages, or void for a sum with coefficients.
template <compressor C, class Rule = void>
struct received_wires;

template <block_compressor C, class Rule>
struct received_wires<C, Rule> {
  static constexpr int block = C::block;
  static constexpr bool by_group = std::is_same_v<Rule, group_messages>;
  struct no_rule {};

  C compressor;
  std::byte const* const* wire;  // (contributors) slots; sharded: (shards), by group (shards, contributors)
  float const* coefficient;      // (contributors)
  int contributors;              // of each tile
  bool sharded;                  // each shard has messages of its own: one with coefficient 1, or by group
  std::conditional_t<std::is_void_v<Rule> || by_group, no_rule, Rule> rule = {};

  template <lanes L>
  DILOCO_HD void prepare(L, tile const&) const {}

  /// g = Σ c_k · decode(wire_k), in roster order, one fma each; or what the rule makes of all.
  template <lanes L>
  DILOCO_HD lane_block<L, C::block> combine(L l, tile const& t, int offset, int count) const {
    if constexpr (by_group) {
      if (sharded) return combine_groups(l, t, offset, count);
    } else if constexpr (!std::is_void_v<Rule>) {
      if (!sharded) return combine_each(l, t, offset, count);
    }
    lane_block<L, C::block> g;
    float const first = sharded ? 1.0f : coefficient[0];
    decode(l, wire[sharded ? t.shard : 0], t, offset, count,
           [&](int i, float y) { g.v[i] = product(first, y); });
    for (int k = 1; k < (sharded ? 1 : contributors); ++k) {
      float const c = coefficient[k];
      decode(l, wire[k], t, offset, count, [&](int i, float y) { g.v[i] = fma(c, y, g.v[i]); });
    }
    return g;
  }

 private:
  /// Apart from the sum over messages: with one loop for both, g++ 12 makes sweep B up to three times slower
  /// (absmax<8>, K = 8).
  template <lanes L>
  DILOCO_HD lane_block<L, C::block> combine_groups(L l, tile const& t, int offset, int count) const {
    lane_block<L, C::block> g;
    std::byte const* const* const from = wire + std::size_t{t.shard} * static_cast<std::size_t>(contributors);
    float const first = coefficient[0];
    decode(l, from[0], t, offset, count, [&](int i, float y) { g.v[i] = product(first, y); });
    for (int k = 1; k < contributors; ++k) {
      float const c = coefficient[k];
      decode(l, from[k], t, offset, count, [&](int i, float y) { g.v[i] = fma(c, y, g.v[i]); });
    }
    return g;
  }
  template <lanes L>
  DILOCO_HD lane_block<L, C::block> combine_each(L l, tile const& t, int offset, int count) const {
    lane_block<L, C::block> each[max_seen_contributors], g = {};
    float* v[max_seen_contributors];
    int n = 0;
    for (int k = 0; k < contributors; ++k) {
      if (coefficient[k] == 0.0f) continue;
      v[n] = each[n].v;
      decode(l, wire[k], t, offset, count, [&](int i, float y) { each[n].v[i] = y; });
      ++n;
    }
    rule.block(v, n, count == C::block ? g.size : owned_elements<L, C::block>(l, count), g.v);
    return g;
  }
  template <lanes L, class Sink>
  DILOCO_HD void decode(L l, std::byte const* slot, tile const& t, int offset, int count, Sink&& sink) const {
    auto const in = block_at<C>(slot + sizeof(message_header) + t.wire, t, offset);
    // Hardware prefetch falls behind where several messages advance by a line or two each. This prefetch
    // gives 1.6 instead of 1.9 ns per element (absmax<4>, K = 8, 2^24 parameters).
    // Codes of 16 or 32 bits would become slower. Codes of 8 bits stay the same.
    constexpr std::size_t line = 64, ahead = 2048, bytes = C::code_bytes(C::block);
    if constexpr (L::width == 1 && bytes <= 2 * line) {
      for (std::size_t i = 0; i < bytes; i += line) will_read(in.code + ahead + i);
    }
    compressor.decode(l, count, in, static_cast<Sink&&>(sink));
  }
};

/// Sweep B: g = combine(wires); (θ̄, slots) ← outer(θ̄, g, slots); θ ← θ̄.
/// If steps were taken while the round was in flight, θ ← mix·θ + (1−mix)·θ̄. The anchor is never mixed.
/// Weighted: g is a sum of weighted numbers, so it is first divided by the mean of the weights. Anchored: the
/// step also gets the mean of the anchors.
/// Direct: there is no anchor, and the step is on θ. The kernel notes a row whose θ passes the limit.
template <compressor C, class Step, std::size_t Slots, bool Weighted = false, bool Anchored = false,
          bool Direct = false, class Rule = void>
struct apply_outer_kernel {
  static constexpr int block_size = received_wires<C, Rule>::block;

  received_wires<C, Rule> wires;
  Step step;
  float mix;
  tile const* tiles;
  float* const* theta;                   // (rows)
  float* anchor;                         // padded column
  float* slots[Slots == 0 ? 1 : Slots];  // padded columns
  float* estimate = nullptr;             // padded column: the kernel adds g to it and steps by the sum
  float* mean_residual = nullptr;        // padded column: the kernel subtracts g from it
  callers_rows callers = {};
  element_weights weights = {};        // of the weighted rows
  float const* mean_weight = nullptr;  // padded column: Σ c_k·h_k
  float const* mean_anchor = nullptr;  // padded column: Σ c_k·θ̄_k
  std::uint32_t* too_large = nullptr;  // direct only: first row whose θ is beyond `largest`
  float largest = 0.0f;

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    tile const t = tiles[index];
    wires.prepare(l, t);
    for_each_block<block_size>(*this, l, t);
  }
  /// One block of a tile; for_each_block calls it.
  template <lanes L, class Count>
  DILOCO_HD void block(L l, tile const& t, int offset, Count count) const {
    one_block(l, t, offset, count, std::make_index_sequence<Slots>{});
  }

 private:
  template <lanes L, std::size_t... Index>
  DILOCO_HD void one_block(L l, tile const& t, int offset, int count, std::index_sequence<Index...>) const {
    int const first = first_element<L, block_size>(l), mine = owned_elements<L, block_size>(l, count);
    std::size_t const column = t.column + static_cast<std::size_t>(offset + first);
    auto g = wires.combine(l, t, offset, count);
    if constexpr (Weighted) {
      if (weights.of(t) != nullptr) {
        float const* const h = mean_weight + column;
        // Bytes that no encoder wrote must not cause a division by zero.
        for_first<L, lane_elements<L, block_size>>(mine, [&](int i) {
          float const w = h[i] + weights.prior;
          g.v[i] = g.v[i] / (w > 0x1p-60f ? w : 0x1p-60f);
        });
      }
    }
    if (mean_residual != nullptr)
      settle<L>(mine, mean_residual + column, [&](int i, float& e) { e -= g.v[i]; });
    if (estimate != nullptr)
      settle<L>(mine, estimate + column, [&](int i, float& h) { h = g.v[i] = h + g.v[i]; });
    float* const local = theta[t.row] + t.begin + offset + first;
    if constexpr (Direct) {
      std::uint32_t const magnitude = L::max(step_directly<L>(mine, g, local, (slots[Index] + column)...));
      if (magnitude > bits_of(largest) && L::rank() == 0) L::atomic_min(too_large, t.row);
    } else {
      update<L>(mine, g, local, anchor + column, Anchored ? mean_anchor + column : nullptr,
                (slots[Index] + column)...);
    }
    callers.template write<block_size>(l, t, offset, count, local);
  }
  template <lanes L, class F>
  DILOCO_HD static void settle(int n, float* DILOCO_RESTRICT column, F&& f) {
    if constexpr (L::width > 1) {
      if (n == lane_elements<L, block_size>) {
        in_registers<lane_elements<L, block_size>>(f, updates{aligned{column}});
        return;
      }
    }
    for_first<L, lane_elements<L, block_size>>(n, [&](int i) { f(i, column[i]); });
  }
  /// Returns the bits of the lane's largest |θ|.
  template <lanes L, class... Slot>
  DILOCO_HD std::uint32_t step_directly(int n, lane_block<L, block_size> const& g, float* DILOCO_RESTRICT p,
                                        Slot* DILOCO_RESTRICT... slot) const {
    constexpr int size = lane_elements<L, block_size>;
    std::uint32_t magnitude = 0;
    if constexpr (L::width > 1) {
      if (n == size) {
        in_registers<size>(
            [&](int i, float& q, Slot&... s) {
              step(q, g.v[i], s...);
              magnitude = larger(magnitude, magnitude_bits(q));
            },
            updates{anywhere{p}}, updates{aligned{slot}}...);
        return magnitude;
      }
    }
    for_first<L, size>(n, [&](int i) {
      step(p[i], g.v[i], slot[i]...);
      magnitude = larger(magnitude, magnitude_bits(p[i]));
    });
    return magnitude;
  }
  template <lanes L, class... Slot>
  DILOCO_HD void update(int n, lane_block<L, block_size> const& g, float* DILOCO_RESTRICT local,
                        float* DILOCO_RESTRICT p, [[maybe_unused]] float const* DILOCO_RESTRICT mean,
                        Slot* DILOCO_RESTRICT... slot) const {
    constexpr int size = lane_elements<L, block_size>;
    if constexpr (L::width > 1) {
      if (n == size && mix == 0.0f)
        return update_in_registers<L>(
            g, writes{anywhere{local}}, [](float q, float) { return q; }, p, mean, slot...);
      if (n == size)
        return update_in_registers<L>(
            g, updates{anywhere{local}}, [this](float q, float x) { return fma(mix, x - q, q); }, p, mean,
            slot...);
    }
    auto const one = [&](int i) {
      if constexpr (Anchored)
        step(p[i], g.v[i], mean[i], slot[i]...);
      else
        step(p[i], g.v[i], slot[i]...);
    };
    auto const mixed = [&](int i) { local[i] = fma(mix, local[i] - p[i], p[i]); };
    if constexpr (L::width > 1) {
      for_first<L, size>(n, [&](int i) {
        one(i);
        if (mix == 0.0f)
          local[i] = p[i];
        else
          mixed(i);
      });
    } else {
      // A loop of its own mixes, so that the step is compiled once.
      float unused[size];
      float* DILOCO_RESTRICT const to = mix == 0.0f ? local : unused;
      for_first<L, size>(n, [&](int i) {
        one(i);
        to[i] = p[i];
      });
      if (mix != 0.0f) for_first<L, size>(n, mixed);
    }
  }
  /// The same for a full block, on many lanes.
  template <lanes L, class Local, class Show, class... Slot>
  DILOCO_HD void update_in_registers(lane_block<L, block_size> const& g, Local local, Show show, float* p,
                                     [[maybe_unused]] float const* mean, Slot*... slot) const {
    constexpr int size = lane_elements<L, block_size>;
    if constexpr (Anchored) {
      in_registers<size>(
          [&](int i, float& q, float& x, float m, Slot&... s) {
            step(q, g.v[i], m, s...);
            x = show(q, x);
          },
          updates{aligned{p}}, local, reads{aligned{mean}}, updates{aligned{slot}}...);
    } else {
      in_registers<size>(
          [&](int i, float& q, float& x, Slot&... s) {
            step(q, g.v[i], s...);
            x = show(q, x);
          },
          updates{aligned{p}}, local, updates{aligned{slot}}...);
    }
  }
};

/// A tile whose place in the message of a leg that combines differs.
struct recoded_tile : tile {
  std::size_t back;  // first byte within the shard's payload
};

/// The owner's part of scatter–gather. It combines every rank's version of this shard, adds the owner's own
/// residual and encodes the result once, with `Back`. Every rank decodes these bytes, the owner included.
template <block_compressor C, feedback F, class Rule = void, block_compressor Back = C>
struct combine_shard_kernel {
  received_wires<C, Rule> wires;
  Back compressor;
  feedback_step<F> step;
  tile const* tiles;                                      // of this shard
  tile const* combined_tiles;                             // the same, as they lie in `slot`
  std::size_t column;                                     // where the shard starts in the padded columns
  residual_columns<residual_bits<F>, C::block> residual;  // (shard elements)
  std::byte* slot;                                        // (slot_bytes) what this rank sends to all ranks
  std::uint32_t* bad_row;
  draw stream;
  float largest;  // largest magnitude that may be sent

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    if constexpr (std::is_same_v<Back, C>)
      for_each_block<C::block>(*this, l, tiles[index]);
    else
      for_each_block<C::block>(*this, l, recoded_tile{tiles[index], combined_tiles[index].wire});
  }
  /// One block of a tile; for_each_block calls it.
  template <lanes L, class Tile, class Count>
  DILOCO_HD void block(L l, Tile const& t, int offset, Count count) const {
    std::size_t const local = t.column - column + static_cast<std::size_t>(offset);
    int const mine = owned_elements<L, C::block>(l, count);
    auto x = wires.combine(l, t, offset, count);
    std::uint32_t magnitude = 0;
    if (residual.none()) {
      for_first<L, lane_elements<L, C::block>>(
          mine, [&](int i) { magnitude = larger(magnitude, magnitude_bits(x.v[i])); });
    } else {
      auto const e = residual.block(l, local, count);
      for_first<L, lane_elements<L, C::block>>(mine, [&](int i) {
        x.v[i] = step.want(x.v[i], e(i));
        magnitude = larger(magnitude, magnitude_bits(x.v[i]));
      });
    }
    if (count != C::block) {
      for (int i = 0; i < x.size; ++i) x.v[i] = i < mine ? x.v[i] : 0.0f;
    }
    encode_block(l, compressor, step, x,
                 block_info{count, 0.0f, drawn_at(t.column + static_cast<std::size_t>(offset)), stream},
                 magnitude, block_at<Back>(slot + sizeof(message_header) + place(t), t, offset), residual,
                 local, bad_row, t.row, largest);
  }

 private:
  template <class Tile>
  DILOCO_HD static std::size_t place(Tile const& t) {
    if constexpr (std::is_same_v<Tile, recoded_tile>)
      return t.back;
    else
      return t.wire;
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
