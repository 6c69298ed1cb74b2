// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/state/layout.hpp>
#include <diloco/state/memory_source.hpp>

#include <cstring>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// What kernels look up about the model: its tiles, and where each row's elements lie. The host writes
/// `host()`; kernels read the same arrays through `operator->`.
class lookup_table {
 public:
  struct arrays {
    tile* tiles;
    tile* group_tiles;     ///< the tiles group by group, each with its place in the columns of its group
    tile* combined_tiles;  ///< the tiles, each with its place in a message that combines
    float** theta;         ///< (rows)
    bfloat16** bf16;       ///< (rows) the caller's tensor, where θ is a float32 copy of it
    float** samples;       ///< (rows) the caller's tensor, where it shows samples of θ
    // From here on what changes with a step.
    void const** gradients;           ///< (rows) of float, or of bfloat16 where the flag says so; null: none
    std::uint64_t* gradient_is_bf16;  ///< (rows)
    std::byte* end;
  };

  /// `combined`: the tiles of the legs that combine, where they have a compressor of their own.
  lookup_table(memory_source const& where, layout const& l, std::vector<tile> const& combined = {})
      : lookup_table(where, l, combined, l.groups().size() > 1 ? l.tiles().size() : 0) {}

  [[nodiscard]] arrays const* operator->() const { return &kernel_; }
  [[nodiscard]] arrays const& host() const { return host_; }
  [[nodiscard]] std::size_t tile_count() const { return tiles_; }
  /// First row with a number that is not finite.
  [[nodiscard]] std::uint32_t* not_finite() const { return answers_.as<std::uint32_t>(); }
  [[nodiscard]] float* norm() const { return reinterpret_cast<float*>(not_finite() + 1); }
  [[nodiscard]] std::size_t bytes() const { return memory_.bytes() + answers_.size(); }

  /// Enqueues. Needs the place of each row's float32 numbers.
  void upload_tensors(memory_source const& where, layout const& l) const;
  /// Enqueues.
  void upload_gradients(memory_source const& where) const {
    memory_.upload(where, host_.gradients, host_.end);
  }

 private:
  DILOCO_COLD lookup_table(memory_source const& where, layout const& l, std::vector<tile> const& combined,
                           std::size_t group_tiles)
      : tiles_(l.tiles().size()), answers_(where.allocate_shared(2 * sizeof(std::uint32_t))) {
    std::size_t const rows = l.rows().size();
    array_layout a;
    auto const tiles = a.add<tile>(tiles_), groups = a.add<tile>(group_tiles);
    auto const others = a.add<tile>(combined.size());
    auto const theta = a.add<float*>(rows);
    auto const bf16 = a.add<bfloat16*>(rows);
    auto const samples = a.add<float*>(rows);
    auto const gradients = a.add<void const*>(rows);
    auto const kinds = a.add<std::uint64_t>(rows);
    auto const end = a.add<std::byte>(0);
    memory_ = mirrored(where, a.bytes());
    auto const at = [&](std::byte* base) {
      return arrays{tiles.in(base),
                    group_tiles == 0 ? tiles.in(base) : groups.in(base),
                    combined.empty() ? tiles.in(base) : others.in(base),
                    theta.in(base),
                    bf16.in(base),
                    samples.in(base),
                    gradients.in(base),
                    kinds.in(base),
                    end.in(base)};
    };
    host_ = at(memory_.host());
    kernel_ = at(memory_.seen_by_kernels());
    std::memcpy(host_.tiles, l.tiles().data(), tiles_ * sizeof(tile));
    if (!combined.empty()) std::memcpy(host_.combined_tiles, combined.data(), tiles_ * sizeof(tile));
    if (group_tiles != 0) write_group_tiles(l);
  }
  void write_group_tiles(layout const& l) const;

  std::size_t tiles_;
  buffer answers_;
  mirrored memory_;
  arrays host_{}, kernel_{};
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

#if DILOCO_HEADER_ONLY
#include <diloco/state/lookup_table_definitions.hpp>
#endif
