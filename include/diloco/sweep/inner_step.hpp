// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/optimizer.hpp>
#include <diloco/sweep/tiles.hpp>

#include <utility>

namespace diloco {
inline namespace v0 {

/// The inner sweep: (θ, slots) ← step(θ, grad_scale·g, slots), one pass over all tensors.
template <class Step, std::size_t Slots>
struct inner_step_kernel {
  static constexpr int block = 256;

  Step step;
  float grad_scale;
  tile const* tiles;
  float* const* theta;                   // (rows) the caller's tensors
  float const* const* gradients;         // (rows)
  float* slots[Slots == 0 ? 1 : Slots];  // padded columns

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    tile const t = tiles[index];
    float* p = theta[t.row] + t.begin;
    float const* g = gradients[t.row] + t.begin;
    for_each_block<block>(t, [&](int offset, auto count) {
      one_block(l, p + offset, g + offset, t.column + static_cast<std::size_t>(offset), count,
                std::make_index_sequence<Slots>{});
    });
  }

 private:
  template <lanes L, std::size_t... I>
  DILOCO_HD void one_block(L l, float* p, float const* g, [[maybe_unused]] std::size_t column, int count,
                           std::index_sequence<I...>) const {
    int const first = first_element<L, block>(l);
    update(l, owned_elements<L, block>(l, count), p + first, g + first, (slots[I] + column + first)...);
  }
  template <lanes L, class... Slot>
  DILOCO_HD void update(L, int n, float* DILOCO_RESTRICT p, float const* DILOCO_RESTRICT g,
                        Slot* DILOCO_RESTRICT... slot) const {
    for_first<L, lane_elements<L, block>>(n, [&](int i) { step(p[i], product(grad_scale, g[i]), slot[i]...); });
  }
};

/// Marks the first row that holds a value which is not finite. Reads 4 B/param, writes nothing else.
struct find_non_finite_kernel {
  static constexpr int block = 256;

  tile const* tiles;
  float const* const* rows;
  std::uint32_t* bad_row;

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    tile const t = tiles[index];
    float const* p = rows[t.row] + t.begin;
    std::uint32_t largest = 0;
    for_each_block<block>(t, [&](int offset, auto count) {
      float const* DILOCO_RESTRICT x = p + offset + first_element<L, block>(l);
      int const mine = owned_elements<L, block>(l, count);
      for_first<L, lane_elements<L, block>>(mine, [&](int i) { largest = larger(largest, magnitude_bits(x[i])); });
    });
    largest = L::max(largest);
    if (largest >= 0x7f800000u && L::rank() == 0) L::atomic_min(bad_row, t.row);
  }
};

}  // namespace v0
}  // namespace diloco
