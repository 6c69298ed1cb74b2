// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/executor.hpp>
#include <diloco/concepts/transport.hpp>
#include <diloco/state/layout.hpp>
#include <diloco/wire/plan.hpp>

#include <cstring>

namespace diloco {
inline namespace v0 {

/// Bytes that a trainer took through its executor, all at construction. Names, shapes and the plan of tiles (some 40 B per
/// 4,096 elements) lie on the host's heap beside them.
struct footprint {
  std::size_t parameters = 0;   ///< elements of the caller's tensors that are trained
  std::size_t state_bytes = 0;  ///< columns: anchor, residuals, slots
  std::size_t wire_bytes = 0;   ///< send and receive buffers
  std::size_t index_bytes = 0;  ///< tiles and pointers
  [[nodiscard]] std::size_t total_bytes() const { return state_bytes + wire_bytes + index_bytes; }
  [[nodiscard]] double state_bytes_per_parameter() const {
    return static_cast<double>(state_bytes) / static_cast<double>(parameters);
  }
};

/// What the kernels look things up in: one allocation, cut in slices.
class index_memory {
 public:
  template <executor E>
  index_memory(E const& where, layout const& l, wire_plan const& plan, int ranks)
      : tiles_(l.tiles().size()),
        group_tiles_(l.groups().size() > 1 ? tiles_ : 0),
        slices_(plan.slices().size()),
        rows_(l.rows().size()),
        ranks_(static_cast<std::size_t>(ranks)),
        shards_(plan.carried() == 0 ? 0 : static_cast<std::size_t>(plan.shards())),
        carried_(2 * rows_ * plan.carried()),
        memory_(where.allocate_wire(bytes())) {
    std::memcpy(tiles(), l.tiles().data(), tiles_ * sizeof(tile));
    if (group_tiles_ != 0) write_group_tiles(l);
    if (slices_ != 0) std::memcpy(slices(), plan.slices().data(), slices_ * sizeof(slice_record));
    for (std::size_t r = 0; r < rows_; ++r) {
      bf16()[r] = l.rows()[r].bf16;
      shown()[r] = l.rows()[r].shown;
    }
    place_theta(l);
    for (std::size_t s = 0; s < shards_; ++s) shard_columns()[s] = plan[static_cast<int>(s)].column;
  }

  /// Once every row's float32 numbers have their place.
  void place_theta(layout const& l) const {
    for (std::size_t r = 0; r < rows_; ++r) theta()[r] = l.rows()[r].data;
  }

  [[nodiscard]] tile* tiles() const { return memory_.as<tile>(); }
  [[nodiscard]] std::size_t tile_count() const { return tiles_; }
  /// The same tiles group after group, each with its place in the group's columns.
  [[nodiscard]] tile* group_tiles() const { return tiles() + group_tiles_; }
  [[nodiscard]] slice_record* slices() const {
    return reinterpret_cast<slice_record*>(tiles() + tiles_ + group_tiles_);
  }
  [[nodiscard]] float** theta() const { return reinterpret_cast<float**>(slices() + slices_); }
  [[nodiscard]] bfloat16** bf16() const { return reinterpret_cast<bfloat16**>(theta() + rows_); }
  [[nodiscard]] float** shown() const { return reinterpret_cast<float**>(bf16() + rows_); }
  /// Of float, or of bfloat16 where the flag beside says so.
  [[nodiscard]] void const** gradients() const {
    return const_cast<void const**>(reinterpret_cast<void**>(shown() + rows_));
  }
  [[nodiscard]] std::uint64_t* gradient_is_bf16() const {
    return reinterpret_cast<std::uint64_t*>(gradients() + rows_);
  }
  [[nodiscard]] std::byte const** wires() const {
    return reinterpret_cast<std::byte const**>(gradient_is_bf16() + rows_);
  }
  [[nodiscard]] float* coefficients() const { return reinterpret_cast<float*>(wires() + ranks_); }
  [[nodiscard]] double* weights() const { return reinterpret_cast<double*>(coefficients() + (ranks_ + 1) / 2 * 2); }
  [[nodiscard]] std::uint32_t* bad_row() const { return reinterpret_cast<std::uint32_t*>(weights() + ranks_); }
  /// Where columns travel beside the pseudo-gradient: first element of each shard; (rows, planes) where they lie, and where
  /// their mean goes.
  [[nodiscard]] std::size_t* shard_columns() const { return reinterpret_cast<std::size_t*>(bad_row() + 2); }
  [[nodiscard]] float** carried_from() const { return reinterpret_cast<float**>(shard_columns() + shards_); }
  [[nodiscard]] float** carried_to() const { return carried_from() + carried_ / 2; }
  [[nodiscard]] std::size_t bytes() const {
    return (tiles_ + group_tiles_) * sizeof(tile) + slices_ * sizeof(slice_record) + 5 * rows_ * sizeof(void*) +
           ranks_ * sizeof(void*) + (ranks_ + 1) / 2 * 2 * sizeof(float) + ranks_ * sizeof(double) +
           sizeof(std::uint64_t) + shards_ * sizeof(std::size_t) + carried_ * sizeof(float*);
  }

 private:
  void write_group_tiles(layout const& l) {
    tile* next = group_tiles();
    for (std::size_t g = 0; g < l.groups().size(); ++g) {
      for (tile t : l.tiles()) {
        layout::row const& r = l.rows()[t.row];
        if (r.group != g) continue;
        t.column = r.group_column + t.begin;
        *next++ = t;
      }
    }
  }

  std::size_t tiles_, group_tiles_, slices_, rows_, ranks_, shards_, carried_;
  buffer memory_;
};

/// The buffers of one round: what goes out first, and under scatter–gather what the owner sends back.
struct round_wires {
  wires contribution;
  wires share;

  /// `heard`: how many slots come in.
  template <transport T, executor E>
  static round_wires allocate(E const& where, wire_plan const& plan, int heard, bool owners_send_back) {
    auto const slots = [&](std::size_t n) { return n == 0 ? buffer{} : where.allocate_wire(n * plan.slot_bytes()); };
    auto const inbox = [&] { return T::receives_in_place ? std::size_t{0} : static_cast<std::size_t>(heard); };
    std::size_t const shards = static_cast<std::size_t>(plan.shards());
    round_wires w{{slots(shards), slots(inbox())}, {}};
    if (owners_send_back) w.share = {slots(1), slots(inbox())};
    return w;
  }
  [[nodiscard]] std::size_t bytes() const {
    return contribution.send.size() + contribution.receive.size() + share.send.size() + share.receive.size();
  }
};

}  // namespace v0
}  // namespace diloco
